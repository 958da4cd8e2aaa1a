/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Deliberate faults that seeds must catch. Those of the protocol are inside
 * lib/coherence (tp_coherence_mutants.h); those below sit at the borders between
 * libraries: calls that are wrapped, and shared memory that is falsified.
 */
#ifndef SIM_MUTANTS_H
#define SIM_MUTANTS_H

#include "tp_coherence_mutants.h"

/*     name                harness  what is broken */
#define SIM_MUTANT_LIST(MUTANT)							\
	MUTANT(credit_leak,        cluster, "a finished request's credit is not always given back") \
	MUTANT(duplicate_delivery, cluster, "a session delivers some messages twice")	\
	MUTANT(lost_message,       cluster, "a session loses a message now and then")	\
	MUTANT(ignored_lease,      cluster, "clients serve hits past their node's lease") \
	MUTANT(skipped_guard_wait, cluster, "the node does not see the clients' guards") \
	MUTANT(late_notice,        cluster, "nodes take 200 ms to find that one is silent") \
	MUTANT(late_deadline,      core,    "the engine answers after the deadline") \
	MUTANT(unchecked_base,     core,    "a change is believed to be one of what is held")

enum sim_mutant {
	SIM_MUTANT_none = TP_COHERENCE_MUTANT_COUNT - 1,
#define SIM_MUTANT_AS_ENUM(name, harness, help) SIM_MUTANT_##name,
	SIM_MUTANT_LIST(SIM_MUTANT_AS_ENUM)
#undef SIM_MUTANT_AS_ENUM
	SIM_MUTANT_COUNT
};

/* The one that is on; MUTANT_none for none. Above SIM_MUTANT_none: of this file. */
extern unsigned int sim_mutant;

/* A new run: counters that mutants keep start again. */
void sim_mutants_reset(void);

#endif /* SIM_MUTANTS_H */
