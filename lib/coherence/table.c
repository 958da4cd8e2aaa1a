/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The tables as text, and the states of one page for checks.
 */
#include <string.h>

#include "table_priv.h"

#define AS_NAME(name) #name,
static const char *const cache_states[] = { CACHE_STATE_LIST(AS_NAME) };
static const char *const cache_events[] = { CACHE_EVENT_LIST(AS_NAME) };
static const char *const home_states[] = { HOME_STATE_LIST(AS_NAME) };
static const char *const home_events[] = { HOME_EVENT_LIST(AS_NAME) };

static void
rule_print(FILE *out, const char *state, const char *event, const char *action, const char *next,
	const char *other)
{
	fprintf(out, "| %s | %s | %s | %s", state, event, action, next);
	if (other != next)
		fprintf(out, " or %s", other);
	fprintf(out, " |\n");
}

static void
cache_print(FILE *out)
{
	for (unsigned int s = 0; s < CACHE_STATE_COUNT; s++) {
		for (unsigned int e = 0; e < CACHE_EVENT_COUNT; e++) {
			const struct coherence_cache_rule *rule = coherence_cache_rule_get(s, e);

			if (rule->action == NULL)
				rule_print(out, cache_states[s], cache_events[e], "unexpected",
					cache_states[s], cache_states[s]);
			else
				rule_print(out, cache_states[s], cache_events[e], rule->name,
					cache_states[rule->next], cache_states[rule->other]);
		}
	}
}

static void
home_print(FILE *out)
{
	for (unsigned int s = 0; s < HOME_STATE_COUNT; s++) {
		for (unsigned int e = 0; e < HOME_EVENT_COUNT; e++) {
			const struct coherence_home_rule *rule = coherence_home_rule_get(s, e);

			rule_print(out, home_states[s], home_events[e], rule->name,
				home_states[rule->next], home_states[rule->other]);
		}
	}
}

void
tp_coherence_table_print(FILE *out)
{
	fprintf(out, "| cache state | event | action | next state |\n"
		     "| --- | --- | --- | --- |\n");
	cache_print(out);
	fprintf(out, "\n| home state | event | action | next state |\n"
		     "| --- | --- | --- | --- |\n");
	home_print(out);
}

void
tp_coherence_page_info_get(const struct tp_coherence *c, uint32_t region_id, uint32_t page_index,
	struct tp_coherence_page_info *info)
{
	struct coherence_region *region = coherence_region_find(c, region_id);
	struct coherence_event ev;

	*info = (struct tp_coherence_page_info){
		.cache_state = "",
		.home_state = "",
		.owner = TP_NODE_NONE,
		.slot = TP_SLOT_ABSENT,
	};
	if (region == NULL || page_index >= region->region->page_count ||
	    !coherence_page_is_owned(c, region, page_index))
		return;
	/* Nothing is changed through ev, but for an entry that is made. */
	coherence_event_init(&ev, (struct tp_coherence *)(uintptr_t)c, region, page_index);
	info->cache_state = cache_states[ev.page->state];
	info->generation = region->region->generation;
	info->slot = coherence_page_slot(&ev);
	if (!coherence_home_entry(&ev))
		return;
	info->home_state = home_states[ev.entry->state];
	info->owner = ev.entry->owner;
	info->sharer_count = tp_directory_sharer_count(c->config.directory_worker, ev.entry);
	info->sequence = ev.entry->sequence;
}
#ifdef TP_MUTANTS

void
tp_coherence_mutant_set(struct tp_coherence *c, enum tp_coherence_mutant mutant)
{
	c->mutant = mutant;
}
#endif
