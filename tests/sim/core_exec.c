/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What lib/node does with an outbox, on modelled memory: slots are a few words,
 * frame words are plain structs, a guard is a record of the client.
 */
#include <string.h>

#include "core.h"
#include "tp_types.h"

static struct content *
slot_of(struct core *core, uint32_t n, uint32_t slot)
{
	struct core_node *node = &core->nodes[n];

	if (slot >= node->slot_count)
		core_fail(core, "node %u: slot %u of %u", n + 1, slot, node->slot_count);
	return &node->slots[slot];
}

/* Is there a guard that a revocation must wait for? */
static bool
guarded(const struct core_node *node, uint32_t clients, uint32_t page, bool write_only)
{
	uint32_t c;

	for (c = 0; c < clients; c++) {
		const struct core_guard *g = &node->clients[c].guard;

		if (g->active && !g->broken && g->page == page && (g->write || !write_only))
			return true;
	}
	return false;
}

static void
revoke(struct core *core, uint32_t n, uint32_t w, const struct tp_action *action)
{
	struct core_node *node = &core->nodes[n];
	struct core_worker *worker = &node->workers[w];
	uint32_t page = action->page_index;
	struct core_word *word = &node->words[page];

	word->access = action->access;
	word->sequence++;
	/* A region that is removed revokes what is being revoked: the wait goes on. */
	worker->revoke_write_only[page] = action->access == TP_ACCESS_READ;
	if (worker->revoking[page])
		return;
	if (!guarded(node, core->clients_per_node, page, worker->revoke_write_only[page])) {
		worker->clear[worker->clear_count++] = page;
		return;
	}
	worker->revoking[page] = true;
	worker->revoke_since[page] = core->now;
	core_event_add(core, CORE_GUARD_LEASE + 100 * SIM_US, EVENT_GUARD_LOOK, n, w, NULL);
}

static void
atomic(struct core *core, uint32_t n, uint32_t w, const struct tp_action *action)
{
	struct content *slot = slot_of(core, n, action->slot);
	struct tp_action reply = *action;
	uint32_t index = action->msg.atomic_offset_words / 2;
	struct history_op op = { .kind = action->msg.atomic_op, .operand = action->msg.operand,
		.compare = action->msg.compare };

	reply.msg.operand = slot->word[index];
	if (action->kept != NULL)
		*action->kept = slot->word[index];
	reply.msg.type = TP_MSG_AMO_RESULT;
	reply.slot = TP_SLOT_ABSENT;
	reply.kept = NULL;
	slot->word[index] = history_apply(&op, slot->word[index]);
	core_send(core, n, w, &reply);
}

static void
carry_out(struct core *core, uint32_t n, uint32_t w, const struct tp_action *action)
{
	struct core_node *node = &core->nodes[n];
	struct core_worker *worker = &node->workers[w];
	struct core_word *word;

	core_trace(core, "action", n << 8 | action->type, action->page_index, action->slot);
	switch (action->type) {
	case TP_ACTION_SEND:
		if (worker->gathering && action->node != n + 1 &&
		    core_base_of(core, n, w, &action->msg) == NULL &&
		    tp_coherence_batch_add(&worker->batch, action))
			break;
		core_send(core, n, w, action);
		break;
	case TP_ACTION_COPY_IN:
		if (worker->incoming == NULL)
			core_fail(core, "node %u: COPY_IN without a payload", n + 1);
		*slot_of(core, n, action->slot) = *worker->incoming;
		break;
	case TP_ACTION_ZERO:
		memset(slot_of(core, n, action->slot), 0, sizeof(struct content));
		break;
	case TP_ACTION_COPY_SLOT:
		*slot_of(core, n, action->slot) = *slot_of(core, n, action->from_slot);
		break;
	case TP_ACTION_PUBLISH:
		slot_of(core, n, action->slot);
		word = &node->words[action->page_index];
		word->access = action->access;
		word->slot = action->slot;
		word->sequence++;
		break;
	case TP_ACTION_REVOKE:
		revoke(core, n, w, action);
		break;
	case TP_ACTION_COMPLETE:
		core_client_complete(core, n, action);
		break;
	case TP_ACTION_ATOMIC:
		atomic(core, n, w, action);
		break;
	case TP_ACTION_FENCE:
		core_fence(core, n, action->node - 1u);
		break;
	case TP_ACTION_REQUEST_DONE:
		core_token_done(core, n, w, action->token);
		break;
	default:
		core_fail(core, "node %u: action %u", n + 1, action->type);
	}
}

/* Carry out the outbox, and the events that follow in the same turn. */
void
core_run(struct core *core, uint32_t n, uint32_t w)
{
	struct core_worker *worker = &core->nodes[n].workers[w];
	uint32_t i;

	for (;;) {
		if (worker->outbox.count > worker->outbox.capacity)
			core_fail(core, "node %u: outbox overrun", n + 1);
		for (i = 0; i < worker->outbox.count; i++)
			carry_out(core, n, w, &worker->outbox.actions[i]);
		worker->outbox.count = 0;
		worker->incoming = NULL;
		if (worker->clear_count == 0)
			break;
		tp_coherence_guards_clear(worker->engine, CORE_REGION,
			worker->clear[--worker->clear_count], core->now, &worker->outbox);
	}
	core_poll_soon(core, n, w);
}

/* Sometimes at once, sometimes only after a few more events. */
void
core_poll_soon(struct core *core, uint32_t n, uint32_t w)
{
	struct core_worker *worker = &core->nodes[n].workers[w];

	if (worker->poll_scheduled)
		return;
	worker->poll_scheduled = true;
	core_event_add(core, sim_rng_chance(&core->rng, 700) ? 0 :
		       sim_rng_below(&core->rng, 5000), EVENT_POLL, n, w, NULL);
}

/* Guards have changed, or time has passed: which revocations can go on? */
void
core_guards_look(struct core *core, uint32_t n, uint32_t w)
{
	struct core_node *node = &core->nodes[n];
	struct core_worker *worker = &node->workers[w];
	uint32_t page, c;

	for (page = 0; page < core->workload.pages; page++) {
		uint32_t slot;

		if (!worker->revoking[page])
			continue;
		if (!guarded(node, core->clients_per_node, page, worker->revoke_write_only[page])) {
			worker->revoking[page] = false;
			tp_coherence_guards_clear(worker->engine, CORE_REGION, page, core->now,
				&worker->outbox);
			core_run(core, n, w);
			continue;
		}
		if (core->now < worker->revoke_since[page] + CORE_GUARD_LEASE)
			continue;
		slot = tp_coherence_guards_expired(worker->engine, CORE_REGION, page, core->now,
			&worker->outbox);
		if (slot == TP_SLOT_ABSENT) {
			core_run(core, n, w);
			core_event_add(core, SIM_MS, EVENT_GUARD_LOOK, n, w, NULL);
			continue;
		}
		worker->revoking[page] = false;
		core_trace(core, "guards broken", n, page, slot);
		for (c = 0; c < core->clients_per_node; c++) {
			struct core_guard *g = &node->clients[c].guard;

			if (!g->active || g->broken || g->page != page)
				continue;
			g->broken = true;
			g->quarantined = slot;
			slot = CORE_NONE;	/* the last to go would return it: one is enough here */
		}
		core_run(core, n, w);
	}
}

void
core_guard_release(struct core *core, uint32_t n, uint32_t c)
{
	struct core_node *node = &core->nodes[n];
	struct core_guard *g = &node->clients[c].guard;
	uint32_t w = core_worker_of(core, node, g->page), slot = g->quarantined, other;

	if (!g->active)
		return;
	g->active = false;
	if (g->broken && slot != CORE_NONE) {
		/* Others with a broken guard on the same slot keep it in quarantine. */
		for (other = 0; other < core->clients_per_node; other++) {
			struct core_guard *o = &node->clients[other].guard;

			if (o->active && o->broken && o->slot == g->slot &&
			    o->quarantined == CORE_NONE) {
				o->quarantined = slot;
				return;
			}
		}
		tp_coherence_slot_return(node->workers[w].engine, slot);
		core_poll_soon(core, n, w);
		return;
	}
	core_guards_look(core, n, w);
}

/* A new generation of the region has words of its own; no number is used again. */
void
core_region_words_clear(struct core *core, uint32_t n)
{
	uint32_t page;

	for (page = 0; page < core->workload.pages; page++) {
		core->nodes[n].words[page].access = TP_ACCESS_NONE;
		core->nodes[n].words[page].sequence++;
	}
}
