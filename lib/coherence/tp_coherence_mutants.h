/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Deliberate faults of the protocol, for the tests that must catch them. Only
 * in the library dep_coherence_mutants, which is compiled with TP_MUTANTS.
 */
#ifndef TP_COHERENCE_MUTANTS_H
#define TP_COHERENCE_MUTANTS_H

#ifdef __cplusplus
extern "C" {
#endif

struct tp_coherence;

#define TP_COHERENCE_MUTANT_LIST(MUTANT)								\
	MUTANT(none,                 "the protocol as it is")					\
	MUTANT(skip_invalidation,    "INV is acknowledged and the copy kept")			\
	MUTANT(ack_before_unpublish, "INV is acknowledged before the guards are clear")		\
	MUTANT(stale_forward,        "the owner forwards the page and goes on writing to it")	\
	MUTANT(lost_write_back,      "PUT_M does not reach home memory")			\
	MUTANT(double_atomic,        "an atomic is sent, and run, again after a session was lost") \
	MUTANT(forget_results,       "a home forgets which atomics it has run")			\
	MUTANT(settle_without_fence, "an atomic settled as not done is run when it arrives")	\
	MUTANT(settle_without_foreign_fence, "the same, if another node asks")			\
	MUTANT(ignored_epoch,        "what a fenced node owned is served from home memory")	\
	MUTANT(grant_before_acks,    "a write is granted before the sharers acknowledged")	\
	MUTANT(upgrade_without_copy, "an upgrade is granted although the copy was invalidated")	\
	MUTANT(forget_sharer,        "GET_S does not make the requester a sharer")		\
	MUTANT(wb_no_ack_hold,       "the forwarded copy is dropped before WB_ACK")		\
	MUTANT(retry_new_grant,      "a repeated request is taken for a new one")		\
	MUTANT(evict_without_put,    "a modified copy is evicted without PUT_M")		\
	MUTANT(read_from_stale_home, "GET_S of an owned page is served from home memory") \
	MUTANT(batch_first_only,     "a home takes each page of a batch for the first one") \
	MUTANT(ahead_unheld,         "an INV that overtakes a page fetched ahead is forgotten") \
	MUTANT(persist_old_home,     "an owned page is persisted as home memory has it")	\
	MUTANT(forget_pool,          "a home that was started anew does not look into its pool")

enum tp_coherence_mutant {
#define TP_COHERENCE_MUTANT_AS_ENUM(name, help) MUTANT_##name,
	TP_COHERENCE_MUTANT_LIST(TP_COHERENCE_MUTANT_AS_ENUM)
#undef TP_COHERENCE_MUTANT_AS_ENUM
	TP_COHERENCE_MUTANT_COUNT
};

/** Turn one fault on, or all off with MUTANT_none. @threads Owner lcore. */
void tp_coherence_mutant_set(struct tp_coherence *coherence, enum tp_coherence_mutant mutant);

#ifdef __cplusplus
}
#endif

#endif /* TP_COHERENCE_MUTANTS_H */
