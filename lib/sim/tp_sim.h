/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A cluster inside one program, for tests of programs that use Telepage: whole
 * nodes, their network and their store in memory, in virtual time. It needs no
 * root, no DPDK port, no huge page and no EAL.
 *
 * Nodes are the product's own code; clients are those of tp_client.h. Virtual
 * time passes while a call waits and in tp_sim_advance(), nowhere else: hits
 * take no time at all, and a program that polls memory must call
 * tp_sim_advance() in its loop. Nothing ever really sleeps. Two runs of one
 * program with one seed do exactly the same.
 *
 * One simulation, its clients and their threads belong to one thread of the
 * program; several simulations may run in several threads.
 *
 * docs/prog_guide/sim.md is the guide.
 */
#ifndef TP_SIM_H
#define TP_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_client.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_sim;

#define TP_SIM_NODES_MAX 32u
#define TP_SIM_WORKERS_MAX 2u

/** The network. Rates are per million frames. */
struct tp_sim_network {
	uint64_t delay_ns;	/* least time of a frame on its way; 0: 2 us */
	uint64_t jitter_ns;	/* more, evenly: lets frames overtake each other */
	uint32_t loss_ppm;
	uint32_t duplicate_ppm;
	uint32_t corrupt_ppm;	/* flips one to four bits */
};

struct tp_sim_config {
	uint64_t seed;
	struct tp_sim_network network;
};

/** What 0 means is said per field. */
struct tp_sim_node_config {
	uint16_t workers;		/* 1 to TP_SIM_WORKERS_MAX; 0: 1 */
	uint32_t page_bytes;		/* a power of two from 4096 on; 0: 4096 */
	uint64_t home_bytes;		/* pages that live here; 0: 2 MiB */
	uint64_t cache_bytes;		/* copies of others' pages; 0: 1 MiB */
	uint64_t heap_bytes;		/* for tp_client_alloc(); 0: 256 KiB */
	uint64_t lease_ns;		/* 0: 60 ms, as telepaged */
	uint64_t guard_lease_ns;	/* 0: 10 ms */
	uint64_t peer_timeout_ns;	/* 0: 120 ms */
	/* A file for the pool of durable regions, made if it is not there; copied. NULL: none. */
	const char *pool_path;
	uint64_t pool_bytes;		/* 0: 64 MiB */
};

/**
 * Make a cluster without nodes.
 *
 * @param config
 *   NULL: seed 0 and the default network.
 * @return
 *   The simulation, or NULL with rte_errno EINVAL (a rate above a million) or ENOMEM.
 * @threads Any; it then belongs to this one.
 */
struct tp_sim *tp_sim_create(const struct tp_sim_config *config);

/**
 * Detach the clients that are still there, stop all nodes where they stand and
 * free everything. Handles of those clients are gone.
 *
 * @param sim
 *   NULL is ignored.
 * @threads Owner of sim.
 */
void tp_sim_destroy(struct tp_sim *sim);

/** Change the network; frames on their way are not concerned. @return 0, -EINVAL. */
int tp_sim_network_set(struct tp_sim *sim, const struct tp_sim_network *network);

/**
 * Add a node, and let time pass until it is a member that the others answer.
 *
 * @param config
 *   NULL for all defaults.
 * @return
 *   Its number, 1, 2, ... in order of addition; or:
 *   - -EINVAL: the configuration.
 *   - -ENOSPC: TP_SIM_NODES_MAX nodes.
 *   - -ENOMEM.
 *   - -ETIMEDOUT: it did not become a member in 10 s (of virtual time), as
 *     under heavy loss; it goes on trying.
 * @threads Owner of sim.
 */
int tp_sim_node_add(struct tp_sim *sim, const struct tp_sim_node_config *config);

/**
 * Pull a node's network cable, and plug it in again. It still reaches the store:
 * the others find it silent, and once they need what it holds they fence it.
 *
 * @return 0, -ENOENT: no such node.
 * @threads Owner of sim.
 */
int tp_sim_node_offline(struct tp_sim *sim, unsigned int node);
int tp_sim_node_online(struct tp_sim *sim, unsigned int node);

/**
 * Kill a node between two instructions. What it had sent is still delivered; its
 * clients learn that it is gone and can only detach.
 *
 * @return 0, -ENOENT: no such node, or it does not run.
 * @threads Owner of sim.
 */
int tp_sim_node_crash(struct tp_sim *sim, unsigned int node);

/**
 * Start it again as a new process with the same configuration, empty memory and its
 * pool, and let time pass until it is a member. Clients attach anew.
 *
 * @return 0, -ENOENT: no such node; -EALREADY: it runs; -ENOMEM; -ETIMEDOUT: as
 *   tp_sim_node_add(); another errno of the node, as -EHOSTUNREACH with its store cut.
 * @threads Owner of sim.
 */
int tp_sim_node_restart(struct tp_sim *sim, unsigned int node);

/**
 * Stop a node as SIGSTOP does, and let it go on. Its clients run on meanwhile.
 *
 * @return 0, -ENOENT: no such node, or it does not run.
 * @threads Owner of sim.
 */
int tp_sim_node_pause(struct tp_sim *sim, unsigned int node);
int tp_sim_node_resume(struct tp_sim *sim, unsigned int node);

/** Is it a member with a running lease? @threads Owner of sim. */
bool tp_sim_node_is_serving(struct tp_sim *sim, unsigned int node);

/**
 * Cut the way from one node to another, and back unless one_way.
 *
 * @return 0, -ENOENT: no such node; -EINVAL: the same one twice.
 * @threads Owner of sim.
 */
int tp_sim_partition(struct tp_sim *sim, unsigned int from, unsigned int to, bool one_way);

/** Mend both ways. @return As tp_sim_partition(). @threads Owner of sim. */
int tp_sim_heal(struct tp_sim *sim, unsigned int a, unsigned int b);

/**
 * Cut a node off the cluster's store, or mend that: its lease lapses, and it
 * reads VOID(partition) until it is back.
 *
 * @return 0, -ENOENT: no such node.
 * @threads Owner of sim.
 */
int tp_sim_store_cut(struct tp_sim *sim, unsigned int node, bool cut);

/** Virtual time, nanoseconds. @threads Owner of sim. */
uint64_t tp_sim_now(const struct tp_sim *sim);

/** Let time pass. @threads Owner of sim. @cost What the nodes do in it. */
void tp_sim_advance(struct tp_sim *sim, uint64_t ns);

/**
 * Attach to a node, as tp_client_attach() does to a real one. Ends with
 * tp_client_detach(). A call of the client that waits drives the simulation;
 * tp_op_poll() does not.
 *
 * @param thread_count
 *   As in struct tp_client_config; 0: TP_CLIENT_THREADS.
 * @return
 *   The client, or NULL with rte_errno: ENOENT: no such node; ECONNREFUSED: it
 *   does not run; EINVAL: thread_count; ENOSPC: too many clients; ENOMEM.
 * @threads Owner of sim.
 */
struct tp_client *tp_sim_attach(struct tp_sim *sim, unsigned int node, uint32_t thread_count);

#ifdef __cplusplus
}
#endif

#endif /* TP_SIM_H */
