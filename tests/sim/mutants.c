/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Mutants at the borders of the libraries: the linker puts these in the way of
 * calls from lib/node (--wrap in meson.build).
 */
#include "mutants.h"
#include "tp_coherence.h"
#include "tp_endpoint.h"

unsigned int sim_mutant = MUTANT_none;

static uint32_t calls;

void __real_tp_endpoint_request_done(struct tp_endpoint *ep, uint64_t token);
void __wrap_tp_endpoint_request_done(struct tp_endpoint *ep, uint64_t token);
void __real_tp_coherence_message(struct tp_coherence *coherence, uint16_t from_node,
	uint16_t from_worker, const struct tp_coherence_msg *msg, uint32_t payload_bytes,
	uint64_t token, uint64_t now, struct tp_outbox *outbox);
void __wrap_tp_coherence_message(struct tp_coherence *coherence, uint16_t from_node,
	uint16_t from_worker, const struct tp_coherence_msg *msg, uint32_t payload_bytes,
	uint64_t token, uint64_t now, struct tp_outbox *outbox);
void __real_tp_coherence_request(struct tp_coherence *coherence, uint32_t region_id,
	uint32_t page_index, uint64_t generation, enum tp_coherence_want want,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client,
	uint64_t now, struct tp_outbox *outbox);
void __wrap_tp_coherence_request(struct tp_coherence *coherence, uint32_t region_id,
	uint32_t page_index, uint64_t generation, enum tp_coherence_want want,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client,
	uint64_t now, struct tp_outbox *outbox);
struct tp_coherence *__real_tp_coherence_create(const struct tp_coherence_config *config);
struct tp_coherence *__wrap_tp_coherence_create(const struct tp_coherence_config *config);

void
sim_mutants_reset(void)
{
	calls = 0;
}

void
__wrap_tp_endpoint_request_done(struct tp_endpoint *ep, uint64_t token)
{
	if (sim_mutant == SIM_MUTANT_credit_leak && ++calls % 64 == 0)
		return;
	__real_tp_endpoint_request_done(ep, token);
}

void
__wrap_tp_coherence_message(struct tp_coherence *coherence, uint16_t from_node,
	uint16_t from_worker, const struct tp_coherence_msg *msg, uint32_t payload_bytes,
	uint64_t token, uint64_t now, struct tp_outbox *outbox)
{
	bool tenth = (sim_mutant == SIM_MUTANT_duplicate_delivery ||
		      sim_mutant == SIM_MUTANT_lost_message) && ++calls % 10 == 0;

	if (tenth && sim_mutant == SIM_MUTANT_lost_message)
		return;
	__real_tp_coherence_message(coherence, from_node, from_worker, msg, payload_bytes, token,
		now, outbox);
	if (tenth)
		__real_tp_coherence_message(coherence, from_node, from_worker, msg, payload_bytes,
			token, now, outbox);
}

void
__wrap_tp_coherence_request(struct tp_coherence *coherence, uint32_t region_id,
	uint32_t page_index, uint64_t generation, enum tp_coherence_want want,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client,
	uint64_t now, struct tp_outbox *outbox)
{
	struct tp_coherence_client late = *client;

	if (sim_mutant == SIM_MUTANT_late_deadline)
		late.deadline += 100000;
	__real_tp_coherence_request(coherence, region_id, page_index, generation, want, atomic,
		&late, now, outbox);
}

struct tp_coherence *
__wrap_tp_coherence_create(const struct tp_coherence_config *config)
{
	struct tp_coherence *coherence = __real_tp_coherence_create(config);

	if (coherence != NULL && sim_mutant < TP_COHERENCE_MUTANT_COUNT)
		tp_coherence_mutant_set(coherence, (enum tp_coherence_mutant)sim_mutant);
	return coherence;
}
