/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A program attaches to the node on its machine and uses regions of memory that
 * live anywhere in the cluster. This header: attach, threads, regions,
 * allocation. Accesses: tp_access.h. Guide: docs/prog_guide/client.md.
 */
#ifndef TP_CLIENT_H
#define TP_CLIENT_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tp_abi.h"
#include "tp_abi_control.h"
#include "tp_access.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_client;

#define TP_CLIENT_TIMEOUT_NS 1000000000ull	/* default deadline of an access */
#define TP_CLIENT_THREADS 4			/* default number of threads */

enum tp_attach_way {
	TP_ATTACH_AUTO = 0,	/* SECONDARY if EAL runs as one in this program, else SOCKET */
	TP_ATTACH_SOCKET,	/* without EAL */
	TP_ATTACH_SECONDARY,	/* as a DPDK secondary process */
};

struct tp_client_config {
	const char *socket_path;	/* of the node; NULL: found by file_prefix */
	const char *file_prefix;	/* the node's DPDK --file-prefix; NULL: "rte" */
	uint32_t thread_count;		/* 1 to TP_ABI_THREADS_MAX; 0: TP_CLIENT_THREADS */
	uint64_t timeout_ns;		/* of accesses; 0: TP_CLIENT_TIMEOUT_NS */
	uint64_t control_timeout_ns;	/* of attach and region calls; 0: 10 s */
	enum tp_attach_way way;		/* for tp_attach() */
	bool reattach;			/* go on with the node's successor: tp_client_reattach() */
	int eal_argc;			/* SECONDARY: arguments for EAL, if it does not run yet, */
	char **eal_argv;		/* as of main(); NULL: --file-prefix alone */
};

/*
 * The node's side where there is no socket: a node embedded in this program, or
 * the simulator. All memory stays the backend's and outlives the client.
 */
struct tp_client_backend {
	struct tp_abi_node *node;
	void *slots;
	size_t slot_bytes_total;
	struct tp_abi_client *segment;	/* of this client, made by the node; length says its size */
	/* A control request; 0 or -errno of the channel. Descriptors put into fds (shape
	 * [fd_max], response->fd_count of them) become the client's. NULL: none is possible. */
	int (*control)(void *ctx, const struct tp_control_request *request,
		       struct tp_control_response *response, int *fds, unsigned int fd_max);
	/* Called while waiting, drives the node. NULL: somebody else does. */
	void (*poll)(void *ctx);
	/* A page will be asked for of that worker, who may have what it knows of the page
	 * brought nearer; called while whether the page is here is still looked up. May be NULL. */
	void (*hint)(void *ctx, uint32_t worker, uint32_t region_id, uint32_t page_index);
	/* Is the node that was attached to still there? NULL: it always is. */
	bool (*is_alive)(void *ctx);
	/* tp_client_detach() is done: the memory above is not used any more. May be NULL. */
	void (*detach)(void *ctx);
	void *ctx;
	/* Doorbells of the node's workers, shape [bell_count], copied; 0: its workers
	 * do not sleep, or look by themselves soon enough. */
	const int *bells;
	uint32_t bell_count;
	const _Atomic uint64_t *virtual_tsc;	/* time instead of the TSC; NULL: the TSC */
	uint64_t timeout_ns;			/* as in struct tp_client_config */
};

/**
 * Attach to the node on this machine: the call for every program.
 *
 * By default a program in which EAL runs as a secondary process attaches as
 * such, every other one by the node's Unix socket; config->way asks for either.
 * Rings, memory and everything after this call are the same for both.
 * TP_ATTACH_SECONDARY starts EAL if it does not run yet, see tp_eal_attach(),
 * which a program calls itself if it wants to know the arguments EAL used; once
 * EAL runs, its prefix says which node.
 *
 * @param config  NULL for all defaults.
 * @param client  Written only on success.
 * @return
 *   0, or as tp_client_attach() and tp_eal_attach(). A secondary that is refused
 *   with -EOWNERDEAD may still attach with TP_ATTACH_SOCKET.
 * @threads Main thread where EAL is started, else any.
 * @cost    System calls; 10 to 100 ms where EAL is started.
 */
int tp_attach(const struct tp_client_config *config, struct tp_client **client);

/**
 * Attach to a node by its Unix socket. Needs no EAL; the program may be killed
 * at any instant without harm to the node or to other programs.
 *
 * @param config  NULL for all defaults.
 * @param client  Written only on success.
 * @return
 *   0, or:
 *   - -EINVAL: bad configuration.
 *   - -ENOENT, -ECONNREFUSED: no node there.
 *   - -ENOSPC: the node has no room for one more client.
 *   - -EPROTO: the node speaks another version, or what it sent makes no sense.
 *   - -ETIMEDOUT: it did not answer; -ENOMEM; another errno of socket or mmap.
 * @threads Any.
 * @cost    System calls.
 */
int tp_client_attach(const struct tp_client_config *config, struct tp_client **client);

/**
 * Attach without a socket; see struct tp_client_backend.
 *
 * @return 0, -EINVAL, -EPROTO (the memory has no valid headers), -ENOMEM.
 * @threads Any.
 */
int tp_client_attach_backend(const struct tp_client_backend *backend, struct tp_client **client);

/**
 * Attach again, where the node has died, to the one that runs in its place now:
 * one attempt. With reattach in the configuration the library does it by itself,
 * in a thread of its own, from the end of the node on.
 *
 * Until it has succeeded calls are VOID (node crashed), at once. Then all handles
 * go on: threads, and regions that are still there, in their present generation. A
 * region that was removed meanwhile is VOID (generation).
 *
 * Lost are: what was under way, which ends VOID (node crashed; atomics unknown, for
 * tp_op_settle() to ask about); pins, which tp_unpin() finds broken; the right to
 * fill a read-only region; counters of threads, which begin anew; and what was in
 * the memory of the dead node alone: VOID (node crashed) until its region is reset.
 *
 * Ends within control_timeout_ns, and when it has succeeded waits for the rest of
 * the dead node's lease: 2 s at most, in which nobody else waits.
 *
 * @return 0: attached (or still attached); else as tp_client_attach(), or
 *         -EOPNOTSUPP: not attached by a socket; -EBUSY: another thread's attempt
 *         took all the time.
 * @threads Any, none of whose callers may hold a lock that an access waits for.
 * @cost    System calls; no descriptors; the address space of the old node's headers
 *          and of the words of open regions until tp_client_detach().
 */
int tp_client_reattach(struct tp_client *client);

/**
 * Detach: the node takes back all that the client held. Region handles and
 * threads of the client are gone too. With reattach in the configuration it first
 * waits for the end of an attempt that is under way, see tp_client_reattach().
 *
 * @param client  May be NULL.
 * @threads Any one, when no other thread uses the client any more.
 */
void tp_client_detach(struct tp_client *client);

/**
 * rte_eal_init() as a secondary process of the node with this --file-prefix,
 * behind the node's gate: one program at a time, and none once another died
 * inside (stock DPDK would hang then). Call it instead of rte_eal_init(), then
 * tp_attach().
 *
 * Such a program must end with tp_client_exit() or _exit(): rte_eal_cleanup() in
 * a secondary would close the node's ports. It must never call ethdev, has no
 * service cores (rte_service_*), and should take no memory from EAL: what it took
 * is lost if it is killed, and so is the node's heap if that happens inside
 * rte_malloc().
 *
 * @param argc,argv  As for rte_eal_init(), without --proc-type.
 * @return
 *   Arguments used, as rte_eal_init(), or:
 *   - -EOWNERDEAD: a program died inside the gate; only a restart of the node helps.
 *   - -EBUSY: a program stands still inside the gate, stopped perhaps, and has kept
 *     others waiting for 2 s: nobody waits for it any more, until it goes on.
 *   - -ECONNREFUSED: no node with this prefix runs.
 *   - -ETIMEDOUT: another program stays inside the gate, or the node does not
 *     answer: 30 s at most.
 *   - -EPROTO: the node knows no gate.
 *   - -EINVAL, another errno of the socket or rte_eal_init().
 * @threads Main thread, once.
 */
int tp_eal_attach(int argc, char **argv);

/** Flush stdio and _exit(): the way a secondary process ends. @threads Any. */
_Noreturn void tp_client_exit(int status);

/** Where the DPDK runtime directory of a file prefix is; works without EAL.
 * @return 0, -ENAMETOOLONG. @threads Any. */
int tp_client_runtime_dir(const char *file_prefix, char *path, size_t path_bytes);

/** The node's header: id, epoch, workers, clock. @threads Any. */
const struct tp_abi_node *tp_client_node(const struct tp_client *client);

/** False once the node is known to be gone. @threads Any. */
bool tp_client_is_alive(struct tp_client *client);

/** Time as deadlines and pins count it. @threads Any. */
uint64_t tp_client_tsc(const struct tp_client *client);

/**
 * One member of the cluster, index 0, 1, ...
 *
 * @return 0, -ENOENT past the last; else as tp_client_region_open().
 * @threads Any; waits for the node.
 */
int tp_client_node_get(struct tp_client *client, uint32_t index, struct tp_control_node *node);

/** The node's counters, in the order of tp_coherence_stats. @threads Any; waits for the node. */
int tp_client_stats_get(struct tp_client *client, uint64_t stats[TP_CONTROL_STATS_MAX]);

/**
 * Get a thread's own rings and hazard slots.
 *
 * @param thread  Written only on success; used by one thread at a time.
 * @return 0, -EAGAIN: all the client's threads are taken.
 * @threads Any.
 */
int tp_thread_register(struct tp_client *client, struct tp_thread **thread);

/** Give it back; no access of it may be in flight. @threads Owner of thread. */
void tp_thread_unregister(struct tp_thread *thread);

/** Deadline of the accesses submitted from now on. @threads Owner of thread. */
void tp_thread_timeout_set(struct tp_thread *thread, uint64_t timeout_ns);

/*
 * Regions. All calls wait for the node, at most control_timeout_ns in all, and may
 * be made from any thread. Errors common to them:
 *   -ETIMEDOUT, -ECONNRESET (the node is gone), -EHOSTUNREACH, -ENETUNREACH,
 *   -EPROTO (it answered nonsense), -EOPNOTSUPP (a backend without control),
 *   -EBUSY (calls of other threads took all the time),
 *   -EREMOTE (it was done in the cluster, but not here: open the region again).
 * Whether a call that failed changed something: tp_client_effect().
 */

/**
 * What is known of the effect of a call of this header that changes something
 * (create, destroy, reset, alloc, free) by what it returned.
 *
 * @threads Any.
 */
static inline enum tp_effect
tp_client_effect(int ret)
{
	switch (ret) {
	case 0:
	case -EREMOTE:
		return TP_EFFECT_DONE;
	case -EINPROGRESS:	/* of a backend that does not wait */
	case -ETIMEDOUT:
	case -ECONNRESET:
	case -EPROTO:
		return TP_EFFECT_UNKNOWN;
	default:
		return TP_EFFECT_NOT_DONE;
	}
}

struct tp_client_region_config {
	const char *name;		/* 1 to 63 of [a-z0-9._-] */
	uint64_t bytes;			/* rounded up to pages */
	uint32_t page_bytes;		/* 0: the node's */
	enum tp_region_mode mode;	/* 0: TP_REGION_RW */
	enum tp_region_distribution distribution; /* 0: TP_REGION_STRIPED */
	const uint16_t *nodes;		/* shape [node_count] */
	uint32_t node_count;		/* 0: every member */
	/* Beyond NONE every node of it needs a pool; not with TP_REGION_FIRST_TOUCH. */
	enum tp_durability durability;
};

/**
 * Create a region and open it. Returns once every member knows it.
 *
 * @return 0, or -EEXIST, -EINVAL, -ENOSPC (no addresses, or a pool has no room), or a common
 *         one; of a durable one, too: -ENODEV: a node of it has no pool; -ENOTSUP:
 *         TP_DURABILITY_REPLICATED, which is not built yet.
 */
int tp_client_region_create(struct tp_client *client, const struct tp_client_region_config *config,
			    struct tp_client_region **region);

/**
 * Open a region by name. Handles are shared: a second open gives the same one.
 *
 * @return 0, -ENOENT, or a common one.
 */
int tp_client_region_open(struct tp_client *client, const char *name,
			  struct tp_client_region **region);

/**
 * Open the region around a global address.
 *
 * @param offset  Of the address in the region; may be NULL.
 * @return 0, -ENOENT, or a common one.
 */
int tp_client_region_open_at(struct tp_client *client, uint64_t address,
			     struct tp_client_region **region, uint64_t *offset);

/**
 * Open a plain range of a node's memory: node and offset as packed in addresses.
 *
 * @param start  Offset of the range in the region returned.
 * @return 0, -ENOENT: no region covers it; -EINVAL: it does not fit in one; or a common one.
 */
int tp_client_range_open(struct tp_client *client, uint16_t node, uint64_t offset, uint64_t bytes,
			 struct tp_client_region **region, uint64_t *start);

/** Give a handle back; the last one unmaps it. No access may be in flight. NULL is ignored. */
void tp_client_region_close(struct tp_client_region *region);

/** Remove a region from the cluster. @return 0, -ENOENT, or a common one. */
int tp_client_region_destroy(struct tp_client *client, const char *name);

/** New generation, contents zero; handles to the old one read VOID(generation): open again.
 * @return 0, -ENOENT, or a common one. */
int tp_client_region_reset(struct tp_client *client, const char *name);

/** Region number index, 0, 1, ... @return 0, -ENOENT past the last, or a common one. */
int tp_client_region_get(struct tp_client *client, uint32_t index,
			 struct tp_control_region *info);

/** What a handle stands for. @threads Any. */
const struct tp_control_region *tp_client_region_info(const struct tp_client_region *region);

/* Memory by the byte from a node's heap. */
struct tp_ptr {
	uint64_t address;
	uint64_t generation;
};

/**
 * Allocate memory on a node.
 *
 * @param node  TP_CONTROL_NODE_ANY: this one.
 * @return 0, -EINVAL: 0 bytes; -ENOSPC; or a common one.
 */
int tp_client_alloc(struct tp_client *client, uint16_t node, uint64_t bytes, struct tp_ptr *ptr);

/** Give it back. @return 0, -ESTALE: freed already; -EINVAL: not from alloc; or a common one. */
int tp_client_free(struct tp_client *client, struct tp_ptr ptr);

/** Generation of the allocation or region at an address. @return 0, -ENOENT, or a common one. */
int tp_client_generation_get(struct tp_client *client, uint64_t address, uint64_t *generation);

/** Is the pointer still what it was? @return 0, -ESTALE: no; -ENOENT; or a common one. */
int tp_client_generation_check(struct tp_client *client, struct tp_ptr ptr);

#ifdef __cplusplus
}
#endif

#endif /* TP_CLIENT_H */
