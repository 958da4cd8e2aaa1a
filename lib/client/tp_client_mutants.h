/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Deliberate faults of the client, for the tests that must catch them. Only in
 * the library dep_client_mutants, which is compiled with TP_MUTANTS.
 */
#ifndef TP_CLIENT_MUTANTS_H
#define TP_CLIENT_MUTANTS_H

#ifdef __cplusplus
extern "C" {
#endif

struct tp_client;

#define TP_CLIENT_MUTANT_LIST(MUTANT)						\
	MUTANT(none,            "the client as it is")				\
	MUTANT(ignored_lease,   "hits are served though the node's lease has lapsed") \
	MUTANT(skip_guard,      "a change in place does not name its page")	\
	MUTANT(skip_second_look, "a read does not look at the frame word again") \
	MUTANT(ignored_guard_lease, "an access counts though its guard was broken") \
	MUTANT(early_clear,     "a grant is given back before the page is used")

enum tp_client_mutant {
#define TP_CLIENT_MUTANT_AS_ENUM(name, help) TP_CLIENT_MUTANT_##name,
	TP_CLIENT_MUTANT_LIST(TP_CLIENT_MUTANT_AS_ENUM)
#undef TP_CLIENT_MUTANT_AS_ENUM
	TP_CLIENT_MUTANT_COUNT
};

/** Turn one fault on, or all off with TP_CLIENT_MUTANT_none. @threads The client's only one. */
void tp_client_mutant_set(struct tp_client *client, enum tp_client_mutant mutant);

#ifdef __cplusplus
}
#endif

#endif /* TP_CLIENT_MUTANTS_H */
