/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What lib/node does about bases (docs/protocol.md section 7.3), on the model's
 * pages: every third seed sends changes where it may. Of those seeds' changes one
 * in 16 is of other contents than it says, and a node forgets one in 16 of what it
 * said that it holds: none of that may ever be data.
 */
#include <string.h>

#include "core.h"
#ifdef TP_MUTANTS
#include "mutants.h"
#define base_mutant() (sim_mutant == SIM_MUTANT_unchecked_base)
#else
#define base_mutant() false
#endif

#define ONE_IN 16

static bool
base_on(const struct core *core)
{
	return core->options->seed % 3 == 1;
}

/* The draws of other seeds stay as they were. */
static bool
one_in(struct core *core)
{
	return sim_rng_below(&core->fault_rng, ONE_IN) == 0;
}

static uint64_t
content_check(const struct content *content)
{
	uint64_t check = 1;

	for (uint32_t i = 0; i < SIM_WORDS; i++)
		check = (check ^ content->word[i]) * UINT64_C(0x9e3779b97f4a7c15) +
			(check >> 29);
	return check == 0 ? 1 : check;
}

static struct core_base *
base_of(struct core *core, uint32_t n, uint32_t w, const struct tp_coherence_msg *msg)
{
	return &core->nodes[n].workers[w].bases[msg->page_index % SIM_PAGES_MAX];
}

static void
base_save(struct core_base *base, const struct content *content, bool home)
{
	base->content = *content;
	base->check = content_check(content);
	base->home = home;
}

static uint64_t
home_check(struct core *core, uint32_t n, uint32_t w, const struct tp_coherence_msg *msg)
{
	struct core_node *node = &core->nodes[n];
	uint32_t slot = tp_coherence_page_slot(node->workers[w].engine, CORE_REGION,
		msg->page_index);

	return slot == TP_SLOT_ABSENT ? 0 : content_check(&node->slots[slot]);
}

static bool
is_get(const struct tp_coherence_msg *msg)
{
	return (msg->type == TP_MSG_GET_S || msg->type == TP_MSG_GET_M) && msg->flags == 0;
}

/* The base that a request to another node tells of, NULL: none. */
const struct core_base *
core_base_of(struct core *core, uint32_t n, uint32_t w, const struct tp_coherence_msg *msg)
{
	const struct core_base *base = base_of(core, n, w, msg);

	if (!base_on(core) || !is_get(msg) || core->nodes[n].workers[w].base_off ||
	    base->check == 0)
		return NULL;
	return base;
}

/* A message to another node says what is held here. */
void
core_base_tell(struct core *core, uint32_t n, uint32_t w, struct core_message *m)
{
	const struct core_base *base = core_base_of(core, n, w, &m->msg);

	if (base != NULL && m->item_count == 0)
		m->msg.operand = base->check;
	if (base_on(core) && !core->nodes[n].workers[w].base_off &&
	    (m->msg.type == TP_MSG_FWD_S || m->msg.type == TP_MSG_FWD_M ||
	     m->msg.type == TP_MSG_RECALL))
		m->msg.compare = home_check(core, n, w, &m->msg);
}

/* A page to another node: as a change if that holds what it was. */
void
core_base_encode(struct core *core, uint32_t n, uint32_t w, struct core_message *m)
{
	struct core_base *base = base_of(core, n, w, &m->msg);
	struct content page = m->content;
	uint64_t told = m->msg.operand;
	uint64_t lie;

	m->msg.operand = 0;
	if (!base_on(core))
		return;
	if (m->msg.type == TP_MSG_PUT_M)
		told = base->home && !core->nodes[n].workers[w].base_off ? base->check : 0;
	if (told != 0 && told == base->check) {
		m->base_check = told;
		m->page_check = content_check(&page);
		lie = one_in(core);
		for (uint32_t i = 0; i < SIM_WORDS; i++)
			m->content.word[i] = page.word[i] ^ (base->content.word[i] + lie);
	}
	base_save(base, &page, false);
}

/* false: the page of the message cannot be read. */
bool
core_base_decode(struct core *core, uint32_t n, uint32_t w, const struct core_message *m)
{
	struct core_worker *worker = &core->nodes[n].workers[w];
	struct core_base *base = base_of(core, n, w, &m->msg);
	bool to_home = m->msg.type == TP_MSG_WB || m->msg.type == TP_MSG_PUT_M;
	const struct content *from = &base->content;
	uint32_t slot = tp_coherence_page_slot(worker->engine, CORE_REGION, m->msg.page_index);

	worker->incoming = NULL;
	if (base_on(core) && m->msg.type == TP_MSG_GRANT_M && slot != TP_SLOT_ABSENT)
		base_save(base, &core->nodes[n].slots[slot], true);
	if (m->payload_bytes == 0) {
		if (m->msg.flags & TP_MSG_F_ZERO || (m->msg.type == TP_MSG_NACK &&
		    m->msg.flags & TP_MSG_F_RETRY))
			base->check = 0;
		return true;
	}
	worker->decoded = m->content;
	worker->incoming = &worker->decoded;
	if (m->base_check != 0) {
		if (one_in(core))
			base->check = 0;
		if (to_home && slot != TP_SLOT_ABSENT)
			from = &core->nodes[n].slots[slot];
		if (!base_mutant() && (to_home ? slot == TP_SLOT_ABSENT ||
		    content_check(from) != m->base_check : base->check != m->base_check))
			return false;
		for (uint32_t i = 0; i < SIM_WORDS; i++)
			worker->decoded.word[i] ^= from->word[i];
		if (!base_mutant() && content_check(&worker->decoded) != m->page_check)
			return false;
	}
	if (base_on(core))
		base_save(base, &worker->decoded,
			tp_region_home(&core->nodes[n].region, m->msg.page_index) == m->from + 1);
	return true;
}
