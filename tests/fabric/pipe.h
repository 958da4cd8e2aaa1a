/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A stream of messages of one page from node 1 to node 2 over a simulated wire
 * that takes PIPE_DELAY_NS each way, with losses that a test picks.
 */
#ifndef PIPE_H
#define PIPE_H

#include "sim_cluster.h"

#define PIPE_DELAY_NS UINT64_C(20000)

struct pipe {
	uint32_t messages;
	uint64_t gap_ns;		/* between them; 0: as fast as they are taken */
	bool bulk;			/* at the priority of bulk, else normal */
	uint64_t service_ns;		/* a message takes the wire so long; 0: none */
	uint32_t loss_ppm;		/* of all packets, both ways */
	bool demand_safe;		/* but not of demands */
	uint32_t drop_first;		/* messages from this one on are lost ... */
	uint32_t drop_count;		/* ... so many of them ... */
	uint32_t drop_again;		/* ... and so many times more */
	uint32_t demand_every;		/* after so many messages an urgent one; 0: none */
	uint64_t seed;
};

struct pipe_result {
	uint32_t delivered;		/* in time, without demands */
	uint32_t demands;		/* delivered */
	uint64_t span;			/* first sent to last delivered */
	uint64_t latency_max;		/* taken to delivered, of the later three quarters */
	uint64_t demand_max;
	uint64_t queue_max_late;	/* on the wire, behind others; of the later three quarters */
	uint64_t retransmits;
	uint64_t probes;
	uint64_t timeouts;
	uint64_t cuts;
	struct tp_session_info info;	/* of the sender, at the end */
};

/** Run it; what is not delivered within ten virtual seconds is missing in the result. */
void pipe_run(const struct pipe *pipe, struct pipe_result *result);

/** A sim_message that keeps every request open. */
void pipe_message_ignore(struct sim_node *node, const struct tp_message *message);

#endif /* PIPE_H */
