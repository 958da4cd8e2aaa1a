/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Random lives of a durable region, whose home crashes again and again.
 */
#include <stdio.h>

#include "persist_random.h"

/* Anything that may happen to a durable region, in any order. */
static void
random_step(struct net *net)
{
	uint16_t node = (uint16_t)(net_random(net) % net->config.nodes);
	uint32_t page = (uint32_t)(net_random(net) % net->config.pages);

	switch (net_random(net) % 16) {
	case 0 ... 2:
		net_read(net, node, page);
		break;
	case 3 ... 5:
		net_write(net, node, page);
		break;
	case 6:
		net_add(net, node, page);
		break;
	case 7 ... 9:
		net_want(net, node, page, TP_WANT_PERSIST);
		break;
	case 10:
		net_want(net, node, page, TP_WANT_FLUSH);
		break;
	case 11:
		net_persist(net, PERSIST_HOME);
		break;
	case 12:
		tp_coherence_persist_all(net->node[PERSIST_HOME].engine);
		net_poll_all(net);
		break;
	default:
		for (int i = 0; i < 4 && net->flight_count != 0; i++)
			net_deliver(net, (uint32_t)(net_random(net) % net->flight_count));
		break;
	}
}

const char *
persist_random(uint64_t seed, int mutant)
{
	struct net_config config = { .nodes = 3, .pages = 3, .home_count = 1, .durable = true,
				     .random = true, .seed = seed, .mutant = mutant,
				     .persist_count = seed % 3 == 0 ? 2 : 0 };
	struct net *net = net_create(&config);
	static char failure[128];
	bool failed;

	net->quiet = mutant != 0;
	for (int life = 0; life < 3 && net->failure == NULL; life++) {
		for (int i = 0; i < 40 && net->failure == NULL; i++)
			random_step(net);
		if (life == 1)
			net_run(net);
		net_crash(net, PERSIST_HOME);
		net_fence(net, PERSIST_HOME);
		net_restart(net, PERSIST_HOME);
		net_run(net);
	}
	failed = net->failure != NULL || !net_is_idle(net);
	snprintf(failure, sizeof(failure), "seed %u: %s", (unsigned int)seed,
		net->failure != NULL ? net->failure : "something is left");
	net_destroy(net);
	return failed ? failure : NULL;
}
