/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The rows of the two tables.
 */
#ifndef CACHE_PRIV_H
#define CACHE_PRIV_H

#include "coherence_priv.h"

struct coherence_cache_rule {
	enum coherence_way (*action)(struct coherence_event *ev);	/* NULL: unexpected */
	const char *name;
	uint8_t next;
	uint8_t other;
};

struct coherence_home_rule {
	enum coherence_way (*action)(struct coherence_event *ev);	/* NULL: unexpected */
	const char *name;
	uint8_t next;
	uint8_t other;
};

const struct coherence_cache_rule *coherence_cache_rule_get(unsigned int state,
	unsigned int event);
const struct coherence_home_rule *coherence_home_rule_get(unsigned int state, unsigned int event);

#endif /* CACHE_PRIV_H */
