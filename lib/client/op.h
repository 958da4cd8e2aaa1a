/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What one access does to one page: in place (a hit), and on a page that the
 * node just granted.
 */
#ifndef CLIENT_OP_H
#define CLIENT_OP_H

#include "client_priv.h"

/* The part of an access that is in one page. */
struct client_chunk {
	uint32_t page_index;
	uint32_t page_offset;
	uint32_t bytes;
	uint8_t *buffer;
};

enum client_hit client_access_try(struct tp_thread *thread, struct tp_op *op,
				  const struct client_chunk *chunk);

enum client_hit client_atomic_try(struct tp_thread *thread, struct tp_op *op,
				  const struct client_chunk *chunk);

/* What came of doing an access on a granted page. */
enum client_grant {
	CLIENT_GRANT_DONE,
	CLIENT_GRANT_KEPT,	/* done, and the hazard slot now belongs to a pin */
	CLIENT_GRANT_AGAIN,	/* too late, but nothing was changed */
	CLIENT_GRANT_BROKEN,	/* too late, and a change was made */
	CLIENT_GRANT_BAD,	/* the node granted nothing, or nonsense */
};

enum client_grant client_access_granted(struct tp_thread *thread, struct tp_op *op,
					const struct client_chunk *chunk, uint8_t guard,
					const struct tp_abi_completion *completion);

#endif /* CLIENT_OP_H */
