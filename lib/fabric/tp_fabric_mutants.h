/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Deliberate faults of sessions, for the tests that must catch them. Only in the
 * library dep_fabric_mutants, which is compiled with TP_MUTANTS.
 */
#ifndef TP_FABRIC_MUTANTS_H
#define TP_FABRIC_MUTANTS_H

#ifdef __cplusplus
extern "C" {
#endif

struct tp_endpoint;

#define TP_FABRIC_MUTANT_LIST(MUTANT)							\
	MUTANT(none,             "sessions as they are")				\
	MUTANT(no_order_rule,    "three later packets do not make one lost")		\
	MUTANT(no_time_rule,     "being late does not make a packet lost")		\
	MUTANT(no_probe,         "a lost tail waits for the timeout")			\
	MUTANT(halve_each_loss,  "every loss halves the windows")			\
	MUTANT(deaf_to_delay,    "no window is cut by delay")				\
	MUTANT(deaf_to_loss,     "no window is cut by loss")				\
	MUTANT(bulk_no_window,   "bulk may fill the session's window")			\
	MUTANT(bulk_all_credits, "bulk may use every credit")				\
	MUTANT(no_ack_asked,     "a full window does not ask for an ack")	\
	MUTANT(many_first_only,  "of several messages in a packet one is delivered")	\
	MUTANT(bulk_always_joined, "bulk shares packets on slow links, too")		\
	MUTANT(echo_early,       "what came in a long turn came at its begin")

enum tp_fabric_mutant {
#define TP_FABRIC_MUTANT_AS_ENUM(name, help) TP_FABRIC_MUTANT_##name,
	TP_FABRIC_MUTANT_LIST(TP_FABRIC_MUTANT_AS_ENUM)
#undef TP_FABRIC_MUTANT_AS_ENUM
	TP_FABRIC_MUTANT_COUNT
};

/** Turn one fault on, or all off with TP_FABRIC_MUTANT_none. @threads Owner lcore. */
void tp_fabric_mutant_set(struct tp_endpoint *ep, enum tp_fabric_mutant mutant);

#ifdef __cplusplus
}
#endif

#endif /* TP_FABRIC_MUTANTS_H */
