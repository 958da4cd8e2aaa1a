/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Telling a node to fail, so that programs can be tested for what they do then:
 * one call a fault, on the node that the client is attached to. Faults add up
 * until they are cleared. A real node takes them only with `inject = yes` in its
 * configuration; a simulated one always does.
 *
 * docs/prog_guide/inject.md says what each kind does, and what a program sees.
 */
#ifndef TP_INJECT_H
#define TP_INJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_abi_control.h"
#include "tp_client.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A fault. What a kind does not use must be 0. */
struct tp_inject_spec {
	enum tp_inject_kind kind;
	const uint16_t *peers;	/* shape [peer_count]: the nodes it is about */
	uint32_t peer_count;	/* 0: all other members there are now */
	const char *region;	/* PERMISSION; CORRUPTION of a region's pages; else NULL */
	uint32_t rate_ppm;	/* CORRUPTION of frames, LOSS, DUPLICATE, REORDER: of a million */
	uint64_t delay_ns;	/* SLOW: of each frame sent, at most 10 s */
	uint64_t after;		/* CRASH: with the n-th client request from now on; 0: at once */
	bool one_way;		/* PARTITION, rates: only what this node sends */
};

/**
 * Inject one more fault.
 *
 * @return
 *   0, or with nothing changed:
 *   - -EPERM: the node's configuration does not allow it.
 *   - -EINVAL: a field that the kind does not use, or a value out of range.
 *   - -ENOENT: no such node or region (here).
 *   - -ENOSPC: too many faults, or peers, at a time.
 *   - -ENOTSUP: a region of more than 1,048,576 pages; a node that cannot crash.
 *   - -ENOMEM, or an error common to control calls (tp_client.h). A crash at once
 *     is answered by -ECONNRESET: the node is gone.
 * @threads Any; waits for the node.
 */
int tp_inject(struct tp_client *client, const struct tp_inject_spec *spec);

/**
 * End all injected faults of the node. Sessions with peers that were cut off
 * come back with the next greeting.
 *
 * @return 0, -EPERM, or a common error.
 * @threads Any; waits for the node.
 */
int tp_inject_clear(struct tp_client *client);

/**
 * Injected fault number index, 0, 1, ...
 *
 * @return 0, -ENOENT past the last, -EPERM, or a common error.
 * @threads Any; waits for the node.
 */
int tp_inject_get(struct tp_client *client, uint32_t index, struct tp_control_inject *inject);

/** Text of a kind, "unknown" for a number out of range. @threads Any. */
const char *tp_inject_kind_name(unsigned int kind);

#ifdef __cplusplus
}
#endif

#endif /* TP_INJECT_H */
