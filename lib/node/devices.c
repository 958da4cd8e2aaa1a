/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hides the virtual devices of this process from its secondary processes.
 *
 * A secondary asks the primary for its virtual devices while EAL starts, and
 * probes each: that costs the heap that both share memory which nobody gives
 * back (of DPDK 22.11 net_memif takes 2432 bytes a port and attach, net_tap
 * 256), and rte_eal_cleanup() there would close them. Clients never touch a
 * port (docs/architecture.md, "Attaching"), so they are told of none.
 */
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "node_priv.h"

#define DEVICES_ACTION "bus_vdev_mp"		/* of EAL's bus of virtual devices */
/* What the bus answers: the kind of the answer, how many devices there are, a name. */
#define DEVICES_ANSWER_BYTES ((int)(2 * sizeof(int) + 64))

/* EAL's thread for messages: no device was sent, and that is all. */
static int
devices_answer(const struct rte_mp_msg *message, const void *peer)
{
	struct rte_mp_msg answer;

	memset(&answer, 0, sizeof(answer));
	memcpy(answer.name, DEVICES_ACTION, sizeof(DEVICES_ACTION));
	answer.len_param = DEVICES_ANSWER_BYTES;
	return rte_mp_reply(&answer, peer);
}

/* For the rest of this process's life: who gets no answer at all waits for 5 s. */
void
node_devices_hide(void)
{
	rte_mp_action_unregister(DEVICES_ACTION);
	/* ENOTSUP: there can be no secondary processes. */
	if (rte_mp_action_register(DEVICES_ACTION, devices_answer) < 0 && rte_errno != ENOTSUP)
		TP_NODE_LOG(WARNING, "secondary processes cannot attach: %s",
			rte_strerror(rte_errno));
}
