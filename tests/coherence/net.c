/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The driver of lib/coherence in its tests: see net.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_byteorder.h>

#include "net.h"
#include "tp_generation.h"
#ifdef TP_MUTANTS
#include "tp_coherence_mutants.h"
#endif

#define OUTBOX_CAPACITY TP_ACTIONS_PER_EVENT
#define DEADLINE UINT64_C(1000000000000)

static void
fail(struct net *net, const char *what)
{
	if (net->failure != NULL)
		return;
	net->failure = what;
	if (!net->quiet)
		fprintf(stderr, "net: %s\n", what);
}

uint64_t
net_random(struct net *net)
{
	uint64_t z = (net->random_state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static bool
guard_blocks(const struct net *net, uint16_t node, uint32_t page, uint8_t access)
{
	for (uint32_t i = 0; i < net->op_count; i++) {
		const struct net_op *op = &net->op[i];

		if (op->node != node || op->page != page || !op->completed || op->finished)
			continue;
		if (op->access == TP_ACCESS_WRITE ||
		    (op->access == TP_ACCESS_READ && access == TP_ACCESS_NONE))
			return true;
	}
	return false;
}

static void
flight_add(struct net *net, uint16_t from, uint16_t to, const struct tp_coherence_msg *msg,
	const uint64_t *payload)
{
	struct net_flight *flight = &net->flight[net->flight_count];

	if (!net->node[from].up || !net->node[to].up)
		return;
	if (net->flight_count == NET_FLIGHTS_MAX) {
		fail(net, "too many messages under way");
		return;
	}
	net->flight_count++;
	*flight = (struct net_flight){ .from = from, .to = to, .msg = *msg };
	flight->has_payload = payload != NULL;
	flight->request = msg->type <= TP_MSG_AMO || msg->type == TP_MSG_SETTLE ||
		msg->type == TP_MSG_PERSIST;
	if (flight->request) {
		flight->token = net->token_next++;
		net->tokens_out++;
	}
	if (payload != NULL)
		memcpy(flight->payload, payload, sizeof(flight->payload));
}

/* The newest state of the page that is words, 1 + its number; 0: it was never so. */
static uint32_t
state_of(const struct net *net, uint32_t page, const uint64_t words[NET_WORDS])
{
	uint32_t i;

	for (i = net->state_count[page]; i > 0; i--)
		if (memcmp(net->states[page][i - 1], words, sizeof(net->states[page][0])) == 0)
			break;
	return i;
}

/* An access has changed the page. */
static void
state_add(struct net *net, uint32_t page)
{
	if (!net->config.durable)
		return;
	if (net->state_count[page] == NET_STATES_MAX) {
		fail(net, "too many changes of a page");
		return;
	}
	memcpy(net->states[page][net->state_count[page]++], net->latest[page],
		sizeof(net->latest[page]));
}

static uint64_t
atomic_run(const struct tp_coherence_msg *msg, uint64_t *word)
{
	uint64_t old = *word;
	uint64_t operand = rte_le_to_cpu_64(msg->operand);

	if (msg->atomic_op == TP_ATOMIC_ADD)
		*word = old + operand;
	return old;
}

static void
act_atomic(struct net *net, uint16_t n, const struct tp_action *action)
{
	struct tp_coherence_msg msg = action->msg;
	uint32_t word = rte_le_to_cpu_16(msg.atomic_offset_words) / 2;
	uint64_t *at = &net->node[n].slots[action->slot][word];
	uint64_t old;

	if (*at != net->latest[action->page_index][word])
		fail(net, "an atomic at home met an old value");
	old = atomic_run(&msg, at);
	if (action->kept != NULL)
		*action->kept = old;
	net->atomics_run++;
	net->latest[action->page_index][word] = *at;
	state_add(net, action->page_index);
	msg.operand = rte_cpu_to_le_64(old);
	flight_add(net, n, action->node, &msg, NULL);
}

/* What the pool of its home has of a page: zeros, unless it was persisted. */
static uint32_t
state_in_pool(const struct net *net, uint32_t page)
{
	static const uint64_t zero[NET_WORDS];
	const struct net_node *home = &net->node[tp_region_home(&net->region, page)];

	return state_of(net, page, home->pool_has[page] == TP_PERSISTED_PAGE ?
		home->pool[page] : zero);
}

static void
check_persisted(struct net *net, const struct net_op *op)
{
	if (state_in_pool(net, op->page) < op->since)
		fail(net, "what was persisted is older than what was asked for");
	if (net->lasts[op->page] < op->since)
		net->lasts[op->page] = op->since;
}

static void
act_persist(struct net *net, uint16_t n, const struct tp_action *action)
{
	struct net_node *node = &net->node[n];
	struct net_staged *staged = &node->staged[node->staged_count];

	if (node->staged_count == NET_STAGED_MAX) {
		fail(net, "more to persist than there is room for");
		return;
	}
	node->staged_count++;
	*staged = (struct net_staged){ .page = action->page_index, .to = action->node,
		.contents = action->slot != TP_SLOT_ABSENT, .msg = action->msg };
	if (staged->contents)
		memcpy(staged->words, node->slots[action->slot], sizeof(staged->words));
}

static void
act_complete(struct net *net, uint16_t n, const struct tp_action *action)
{
	struct net_op *op = &net->op[action->cookie];

	if (action->cookie >= net->op_count || op->completed || op->node != n) {
		fail(net, "a request was completed twice");
		return;
	}
	op->completed = true;
	op->result = action->result;
	if (op->want == TP_WANT_PERSIST && tp_result_is_ok(action->result))
		check_persisted(net, op);
	if (op->want == TP_WANT_SETTLE && tp_result_is_ok(action->result)) {
		struct net_op *of = &net->op[op->of];

		if (action->executed && of->fate == FATE_NEVER)
			fail(net, "an atomic that would never run was run");
		if (!action->executed && of->fate == FATE_RUN)
			fail(net, "an atomic that was run was not");
		of->fate = action->executed ? FATE_RUN : FATE_NEVER;
	}
	op->access = action->access;
	op->slot = action->slot;
	op->executed = action->executed;
	op->old = action->value;
	if (action->access == TP_ACCESS_NONE)
		op->finished = true;
	else if (!net->config.hold_guards)
		net_finish(net, (uint32_t)action->cookie);
}

static void
act(struct net *net, uint16_t n, const struct tp_action *action, const struct net_flight *flight)
{
	struct net_node *node = &net->node[n];
	uint32_t page = action->page_index;
	struct tp_coherence_msg msg = action->msg;

	switch (action->type) {
	case TP_ACTION_SEND:
		if (action->kept != NULL)
			msg.operand = rte_cpu_to_le_64(*action->kept);
		flight_add(net, n, action->node, &msg,
			action->slot == TP_SLOT_ABSENT ? NULL : node->slots[action->slot]);
		break;
	case TP_ACTION_COPY_IN:
		if (flight == NULL || !flight->has_payload)
			fail(net, "COPY_IN without a payload");
		else
			memcpy(node->slots[action->slot], flight->payload,
				sizeof(flight->payload));
		break;
	case TP_ACTION_ZERO:
		memset(node->slots[action->slot], 0, sizeof(node->slots[0]));
		break;
	case TP_ACTION_COPY_SLOT:
		memcpy(node->slots[action->slot], node->slots[action->from_slot],
			sizeof(node->slots[0]));
		break;
	case TP_ACTION_PUBLISH:
		node->word_slot[page] = action->slot;
		node->word_access[page] = action->access;
		break;
	case TP_ACTION_REVOKE:
		node->word_access[page] = action->access;
		node->revoking[page] = true;
		node->revoke_access[page] = action->access;
		break;
	case TP_ACTION_COMPLETE:
		act_complete(net, n, action);
		break;
	case TP_ACTION_ATOMIC:
		act_atomic(net, n, action);
		break;
	case TP_ACTION_FENCE:
		net->fences_asked |= 1u << action->node;
		break;
	case TP_ACTION_REQUEST_DONE:
		net->tokens_out--;
		break;
	case TP_ACTION_LOAD:
		if (node->pool_has[page] != TP_PERSISTED_PAGE)
			fail(net, "LOAD of what is not in the pool");
		memcpy(node->slots[action->slot], node->pool[page], sizeof(node->slots[0]));
		break;
	case TP_ACTION_PERSIST:
		act_persist(net, n, action);
		break;
	default:
		fail(net, "unknown action");
		break;
	}
}

/* Carry out an outbox; then what it made possible. */
static void
execute(struct net *net, uint16_t n, struct tp_outbox *outbox, const struct net_flight *flight)
{
	struct net_node *node = &net->node[n];
	uint32_t page;

	for (uint32_t i = 0; i < outbox->count; i++)
		act(net, n, &outbox->actions[i], flight);
	outbox->count = 0;
	for (page = 0; page < net->config.pages; page++) {
		if (!node->revoking[page] || guard_blocks(net, n, page, node->revoke_access[page]))
			continue;
		node->revoking[page] = false;
		tp_coherence_guards_clear(node->engine, NET_REGION_ID, page, net->now, outbox);
		execute(net, n, outbox, NULL);
	}
}

static struct tp_outbox *
outbox_get(void)
{
	static struct tp_action actions[OUTBOX_CAPACITY];
	static struct tp_outbox outbox = { .actions = actions, .capacity = OUTBOX_CAPACITY };

	outbox.count = 0;
	return &outbox;
}

static void
poll_node(struct net *net, uint16_t n)
{
	struct tp_outbox *outbox = outbox_get();
	int turns = 0;

	if (!net->node[n].up)
		return;
	while (tp_coherence_poll(net->node[n].engine, net->now, outbox) != 0) {
		execute(net, n, outbox, NULL);
		if (++turns == 100000) {
			fail(net, "poll finds work forever");
			return;
		}
	}
	execute(net, n, outbox, NULL);
}

void
net_poll_all(struct net *net)
{
	for (uint16_t n = 0; n < net->config.nodes; n++)
		poll_node(net, n);
}

/* One writer or many readers, and every published copy is the newest. */
void
net_check(struct net *net)
{
	for (uint32_t page = 0; page < net->config.pages; page++) {
		int writers = 0, readers = 0;

		for (uint16_t n = 0; n < net->config.nodes; n++) {
			const struct net_node *node = &net->node[n];

			if (!node->up || node->word_access[page] == TP_ACCESS_NONE)
				continue;
			if (node->word_access[page] == TP_ACCESS_WRITE)
				writers++;
			else
				readers++;
			if (!net->page_lost[page] && memcmp(node->slots[node->word_slot[page]],
				    net->latest[page], sizeof(net->latest[page])) != 0)
				fail(net, "a published copy is old");
		}
		if (writers > 1 || (writers == 1 && readers > 0))
			fail(net, "two may write, or one while others read");
	}
}

void
net_finish(struct net *net, uint32_t i)
{
	struct net_op *op = &net->op[i];
	uint64_t *word;

	if (!op->completed || op->finished || !net->node[op->node].up)
		return;
	word = &net->node[op->node].slots[op->slot][op->word];
	if (*word != net->latest[op->page][op->word] && !net->page_lost[op->page])
		fail(net, "an access met an old value");
	if (op->want == TP_WANT_READ) {
		op->value = *word;
	} else if (op->want == TP_WANT_ATOMIC) {
		op->old = *word;
		*word += op->value;
	} else {
		*word = op->value;
	}
	net->latest[op->page][op->word] = *word;
	if (op->want != TP_WANT_READ)
		state_add(net, op->page);
	op->finished = true;
	if (net->config.hold_guards) {
		execute(net, op->node, outbox_get(), NULL);
		poll_node(net, op->node);
	}
}

static uint32_t
ask(struct net *net, uint16_t n, uint32_t page, enum tp_coherence_want want, uint64_t value)
{
	struct tp_outbox *outbox = outbox_get();
	struct tp_coherence_client client = { .cookie = net->op_count,
					      .deadline = net->now + DEADLINE };
	struct tp_coherence_atomic atomic = { .op = TP_ATOMIC_ADD, .width = 8,
					      .operand = value,
					      .origin = (uint64_t)(want == TP_WANT_SETTLE ?
						net->op[value].node : n) << 48 | 1,
					      .sequence = client.cookie + 1 };
	struct net_op *op = &net->op[net->op_count++];

	*op = (struct net_op){ .used = true, .node = n, .page = page, .want = (uint8_t)want,
			       .value = value };
	op->word = (uint8_t)(client.cookie % NET_WORDS);
	op->since = net->state_count[page];
	if (want == TP_WANT_ATOMIC)
		op->word = 0;
	if (want == TP_WANT_SETTLE) {
		op->of = (uint32_t)value;
		atomic.sequence = value + 1;
	}
	tp_coherence_request(net->node[n].engine, NET_REGION_ID, page, net->region.generation,
		want, want == TP_WANT_ATOMIC || want == TP_WANT_SETTLE ? &atomic : NULL, &client,
		net->now, outbox);
	execute(net, n, outbox, NULL);
	poll_node(net, n);
	net_check(net);
	return (uint32_t)client.cookie;
}

uint32_t
net_read(struct net *net, uint16_t node, uint32_t page)
{
	return ask(net, node, page, TP_WANT_READ, 0);
}

uint32_t
net_write(struct net *net, uint16_t node, uint32_t page)
{
	return ask(net, node, page, TP_WANT_WRITE, net->value_next++);
}

uint32_t
net_add(struct net *net, uint16_t node, uint32_t page)
{
	return ask(net, node, page, TP_WANT_ATOMIC, 1);
}

bool
net_settle(struct net *net, uint16_t node, uint32_t page)
{
	for (uint32_t i = net->op_count; i-- > 0;) {
		const struct net_op *op = &net->op[i];

		if (op->node != node || op->page != page || op->want != TP_WANT_ATOMIC)
			continue;
		if (op->completed && op->result.effect != TP_EFFECT_UNKNOWN)
			return false;
		ask(net, node, page, TP_WANT_SETTLE, i);
		return true;
	}
	return false;
}

bool
net_settle_foreign(struct net *net, uint16_t node, uint32_t page)
{
	for (uint32_t i = net->op_count; i-- > 0;) {
		const struct net_op *op = &net->op[i];

		if (op->node == node || op->page != page || op->want != TP_WANT_ATOMIC ||
		    !op->completed || op->result.effect != TP_EFFECT_UNKNOWN)
			continue;
		ask(net, node, page, TP_WANT_SETTLE, i);
		return true;
	}
	return false;
}

uint32_t
net_want(struct net *net, uint16_t node, uint32_t page, enum tp_coherence_want want)
{
	return ask(net, node, page, want, 0);
}

void
net_deliver(struct net *net, uint32_t i)
{
	struct tp_outbox *outbox = outbox_get();
	struct net_flight flight = net->flight[i];

	memmove(&net->flight[i], &net->flight[i + 1],
		(net->flight_count - i - 1) * sizeof(flight));
	net->flight_count--;
	net->delivered[flight.msg.type]++;
	tp_coherence_message(net->node[flight.to].engine, flight.from, 0, &flight.msg,
		flight.has_payload ? 1u << net->region.page_shift : 0, flight.token, net->now,
		outbox);
	execute(net, flight.to, outbox, &flight);
	poll_node(net, flight.to);
	net_check(net);
}

bool
net_advance(struct net *net, uint64_t ns_max)
{
	uint64_t next = UINT64_MAX;

	for (uint16_t n = 0; n < net->config.nodes; n++) {
		uint64_t timer = tp_coherence_next_timer(net->node[n].engine);

		if (net->node[n].up && timer < next)
			next = timer;
	}
	if (next == UINT64_MAX || (next > net->now && next - net->now > ns_max))
		return false;
	if (next > net->now)
		net->now = next;
	net_poll_all(net);
	return true;
}

bool
net_persist(struct net *net, uint16_t n)
{
	struct net_node *node = &net->node[n];
	struct net_staged first = node->staged[0];

	if (!node->up || node->staged_count == 0)
		return false;
	memmove(&node->staged[0], &node->staged[1],
		--node->staged_count * sizeof(node->staged[0]));
	if (first.contents) {
		memcpy(node->pool[first.page], first.words, sizeof(first.words));
		node->pool_has[first.page] = TP_PERSISTED_PAGE;
	}
	if (first.msg.type != 0)
		flight_add(net, n, first.to, &first.msg, NULL);
	tp_coherence_persisted(node->engine);
	poll_node(net, n);
	return true;
}

static bool
persist_any(struct net *net)
{
	for (uint16_t n = 0; n < net->config.nodes; n++)
		if (net_persist(net, n))
			return true;
	return false;
}

static bool
has_waiters(const struct net *net)
{
	struct tp_coherence_usage usage;

	for (uint16_t n = 0; n < net->config.nodes; n++) {
		tp_coherence_usage_get(net->node[n].engine, &usage);
		if (net->node[n].up && (usage.waiters != 0 || usage.requests != 0))
			return true;
	}
	return false;
}

void
net_run(struct net *net)
{
	uint32_t steps = 0;

	net_poll_all(net);
	while (net->failure == NULL) {
		if (net->flight_count == 0 && persist_any(net))
			continue;
		if (net->flight_count == 0 && (!has_waiters(net) || !net_advance(net, UINT64_MAX)))
			break;
		if (net->flight_count != 0)
			net_deliver(net, net->config.random ?
				(uint32_t)(net_random(net) % net->flight_count) : 0);
		if (++steps == 200000) {
			fail(net, "no end of messages");
			break;
		}
	}
}

void
net_session_down(struct net *net, uint16_t a, uint16_t b)
{
	struct tp_outbox *outbox = outbox_get();
	uint32_t kept = 0;

	for (uint32_t i = 0; i < net->flight_count; i++) {
		const struct net_flight *flight = &net->flight[i];

		if ((flight->from == a && flight->to == b) ||
		    (flight->from == b && flight->to == a)) {
			if (flight->request)
				net->tokens_out--;
			continue;
		}
		net->flight[kept++] = *flight;
	}
	net->flight_count = kept;
	tp_coherence_peer_down(net->node[a].engine, b, net->now, outbox);
	execute(net, a, outbox, NULL);
	tp_coherence_peer_down(net->node[b].engine, a, net->now, outbox);
	execute(net, b, outbox, NULL);
	poll_node(net, a);
	poll_node(net, b);
}

void
net_session_up(struct net *net, uint16_t a, uint16_t b)
{
	struct tp_outbox *outbox = outbox_get();

	tp_coherence_peer_up(net->node[a].engine, b, 1, net->now, outbox);
	execute(net, a, outbox, NULL);
	tp_coherence_peer_up(net->node[b].engine, a, 1, net->now, outbox);
	execute(net, b, outbox, NULL);
	poll_node(net, a);
	poll_node(net, b);
}

void
net_crash(struct net *net, uint16_t node)
{
	for (uint16_t n = 0; n < net->config.nodes; n++)
		if (n != node && net->node[n].up)
			net_session_down(net, n, node);
	net->node[node].up = false;
	for (uint32_t i = 0; i < net->op_count; i++)
		if (net->op[i].node == node)
			net->op[i].completed = net->op[i].finished = true;
	for (uint32_t i = net->flight_count; i-- > 0;) {
		if (net->flight[i].to != node)
			continue;
		if (net->flight[i].request)
			net->tokens_out--;
		memmove(&net->flight[i], &net->flight[i + 1],
			(net->flight_count - i - 1) * sizeof(net->flight[0]));
		net->flight_count--;
	}
}

void
net_fence(struct net *net, uint16_t node)
{
	struct tp_outbox *outbox = outbox_get();

	for (uint16_t n = 0; n < net->config.nodes; n++) {
		if (n == node || !net->node[n].up)
			continue;
		tp_coherence_peer_fenced(net->node[n].engine, node, net->now, outbox);
		execute(net, n, outbox, NULL);
		poll_node(net, n);
	}
}

/* Nothing is under way, asked, held or owed. */
bool
net_is_idle(const struct net *net)
{
	struct tp_coherence_usage usage;

	if (net->flight_count != 0 || net->tokens_out != 0)
		return false;
	for (uint16_t n = 0; n < net->config.nodes; n++) {
		tp_coherence_usage_get(net->node[n].engine, &usage);
		if (net->node[n].up && (usage.requests != 0 || usage.waiters != 0 ||
					usage.busy != 0 || usage.deferred != 0))
			return false;
	}
	for (uint32_t i = 0; i < net->op_count; i++)
		if (!net->op[i].completed)
			return false;
	return true;
}

const char *
net_cache_state(const struct net *net, uint16_t node, uint32_t page)
{
	struct tp_coherence_page_info info;

	tp_coherence_page_info_get(net->node[node].engine, NET_REGION_ID, page, &info);
	return info.cache_state;
}

const char *
net_home_state(const struct net *net, uint32_t page)
{
	struct tp_coherence_page_info info;
	uint16_t home = tp_region_home(&net->region, page);

	tp_coherence_page_info_get(net->node[home].engine, NET_REGION_ID, page, &info);
	return info.home_state;
}

uint64_t
net_stat_errors(const struct net *net)
{
	uint64_t errors = 0;

	for (uint16_t n = 0; n < net->config.nodes; n++) {
		const struct tp_coherence_stats *stats =
			tp_coherence_stats_get(net->node[n].engine);

		errors += stats->protocol_errors + stats->bad_messages + stats->pages_lost;
	}
	return errors;
}

static enum tp_persisted
pool_persisted(void *ctx, uint32_t region_id, uint32_t page_index)
{
	struct net_node *node = ctx;

	if (region_id != NET_REGION_ID || page_index >= node->net->config.pages)
		fail(node->net, "the pool is asked for a page that there is not");
	return (enum tp_persisted)node->pool_has[page_index];
}

static void
node_create(struct net *net, uint16_t n)
{
	const struct net_config *config = &net->config;
	uint16_t id_max = config->node_id_max != 0 ? config->node_id_max : config->nodes - 1;
	uint32_t home_slots = config->home_slots != 0 ? config->home_slots : config->pages;
	struct tp_directory_config directory = {
		.region_count_max = 4,
		.worker_count_max = 1,
		.node_id_max = id_max,
	};
	struct tp_directory_worker_config worker = {
		.bitmap_count_max = config->bitmaps,
		.transient_count_max = 1,
		.transient_bytes = 64,
	};
	struct tp_coherence_config engine = {
		.node_id = n,
		.worker_count = 1,
		.node_id_max = id_max,
		.epoch = 1,
		.home_slot_count = home_slots,
		.cache_slot_first = home_slots,
		.cache_slot_count = config->cache_slots != 0 ? config->cache_slots : 8,
		.cache_slot_low = 1,
		.request_count = 64,
		.waiter_count = 64,
		.busy_count = 16,
		.deferred_count = 64,
		.slot_hint = config->slot_hint,
		.slot_hint_ctx = config->slot_hint_ctx,
		.persisted = config->durable ? pool_persisted : NULL,
		.persisted_ctx = &net->node[n],
	};
	struct net_node *node = &net->node[n];
	int slot = -1;

	if (config->durable)
		engine.persist_count = config->persist_count != 0 ?
			config->persist_count : NET_STAGED_MAX;
	node->net = net;
	node->up = true;
	node->directory = tp_directory_create(&directory);
	engine.directory = node->directory;
	engine.directory_worker = tp_directory_worker_create(node->directory, &worker);
	node->engine = tp_coherence_create(&engine);
#ifdef TP_MUTANTS
	tp_coherence_mutant_set(node->engine, (enum tp_coherence_mutant)config->mutant);
#endif
	if (n < config->home_count)
		slot = tp_directory_region_add(node->directory, NET_REGION_ID,
			net->region.generation, tp_region_home_count(&net->region, n));
	tp_coherence_region_add(node->engine, &net->region,
		slot < 0 ? UINT32_MAX : (uint32_t)slot, config->home_lost);
	memset(node->slots, 0xAA, sizeof(node->slots));
}

struct net *
net_create(const struct net_config *config)
{
	struct net *net = calloc(1, sizeof(*net));

	net->config = *config;
	net->random_state = config->seed;
	net->value_next = 1000;
	net->now = 1;
	net->region = (struct tp_region){
		.id = NET_REGION_ID,
		.state = TP_REGION_ACTIVE,
		.mode = TP_REGION_RW,
		.distribution = TP_REGION_STRIPED,
		.page_shift = 12,
		.base = TP_ADDRESS_BASE + (2u << 20),
		.bytes = (uint64_t)config->pages << 12,
		.generation = tp_generation_pack(1, 1),
		.page_count = config->pages,
		.node_count = config->home_count,
		.durability = config->durable ? TP_DURABILITY_LOCAL : TP_DURABILITY_NONE,
	};
	if (config->durable)
		net->region.base = TP_ADDRESS_DURABLE_BASE + (2u << 20);
	for (uint32_t page = 0; page < config->pages; page++)
		state_add(net, page);
	for (uint16_t n = 0; n < config->home_count; n++)
		net->region.nodes[n] = n;
	for (uint16_t n = 0; n < config->nodes; n++)
		node_create(net, n);
	for (uint16_t a = 0; a < config->nodes; a++)
		for (uint16_t b = 0; b < a; b++)
			net_session_up(net, a, b);
	return net;
}

/* It was written by a node that is gone, or in home memory alone: it is as persisted now. */
static void
roll_back(struct net *net, uint32_t page)
{
	uint32_t state = state_in_pool(net, page);

	if (state < net->lasts[page]) {
		fail(net, "a home came back without what was persisted");
		return;
	}
	memcpy(net->latest[page], net->states[page][state - 1], sizeof(net->latest[page]));
	net->page_lost[page] = false;
	state_add(net, page);
}

void
net_restart(struct net *net, uint16_t n)
{
	struct net_node *node = &net->node[n];
	struct tp_outbox *outbox = outbox_get();
	bool lost = net->config.home_lost;

	for (uint32_t page = 0; page < net->config.pages; page++)
		if (tp_region_home(&net->region, page) == n)
			roll_back(net, page);
	tp_coherence_destroy(node->engine);
	tp_directory_destroy(node->directory);
	node->staged_count = 0;
	/* The credits that it held are over with its sessions. */
	if (net->config.home_count == 1)
		net->tokens_out = 0;
	memset(node->word_access, 0, sizeof(node->word_access));
	memset(node->revoking, 0, sizeof(node->revoking));
	net->config.home_lost = true;
	node_create(net, n);
	net->config.home_lost = lost;
	for (uint16_t other = 0; other < net->config.nodes; other++) {
		if (other == n || !net->node[other].up)
			continue;
		tp_coherence_home_reset(net->node[other].engine, n, net->now, outbox);
		execute(net, other, outbox, NULL);
		poll_node(net, other);
		net_session_up(net, n, other);
	}
}

void
net_destroy(struct net *net)
{
	for (uint16_t n = 0; n < net->config.nodes; n++) {
		tp_coherence_destroy(net->node[n].engine);
		tp_directory_destroy(net->node[n].directory);
	}
	free(net);
}
