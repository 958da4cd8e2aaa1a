/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A node for the tests of lib/client: the memory of the ABI, and a loop that
 * serves the rings from a table of pages. It keeps the rules a node keeps: a
 * page is taken away only when no guard names it.
 */
#ifndef FAKE_NODE_H
#define FAKE_NODE_H

#include <pthread.h>

#include "tp_client.h"
#include "tp_segment.h"

#define FAKE_PAGE_BYTES 4096u
#define FAKE_PAGES 16u
#define FAKE_SLOTS 32u
#define FAKE_WORKERS 2u
#define FAKE_THREADS 4u
#define FAKE_TSC_HZ 1000000000ull	/* virtual time counts nanoseconds */
#define FAKE_GUARD_LEASE 10000000ull
#define FAKE_REGION_ID 7u
#define FAKE_REGION_ADDRESS 0x0000C00000200000ull
#define FAKE_REGION_BYTES (FAKE_PAGES * FAKE_PAGE_BYTES)

struct fake_node;

/* What a test may do to a request: change the completion; false: no answer now. */
typedef bool (*fake_hook)(struct fake_node *fake, const struct tp_abi_request *request,
			  struct tp_abi_completion *completion);

struct fake_page {
	uint32_t sequence;
	enum tp_access access;
	uint8_t home[FAKE_PAGE_BYTES];
};

struct fake_node {
	struct tp_segment *segments[4];		/* node, slots, client, words */
	struct tp_abi_node *node;
	uint8_t *slots;
	struct tp_abi_client *client;
	_Atomic uint64_t *words;
	struct fake_page pages[FAKE_PAGES];	/* page i lives in slot i when present */
	uint64_t granted[FAKE_THREADS][TP_ABI_GUARDS];
	uint32_t request_tail[FAKE_THREADS][FAKE_WORKERS];
	uint32_t completion_head[FAKE_THREADS][FAKE_WORKERS];
	_Atomic uint64_t tsc;			/* virtual time */
	uint64_t tsc_step;			/* that fake_node_poll() adds */
	bool stopped;				/* serves nothing, no heartbeat */
	bool real_time;				/* guards last by the TSC, not by tsc */
	fake_hook hook;
	uint32_t served[TP_ABI_OP_COUNT];
	uint32_t fetched[FAKE_PAGES];		/* times a FETCH named that page */
	uint32_t polls;
	uint32_t woken;				/* threads that slept, and were woken by an answer */
	struct tp_abi_request last;
	struct tp_control_request control_last;
	struct tp_control_region region;
	int control_error;			/* -errno of the channel */
	enum tp_reason control_reason;
	int32_t control_errno;
	void (*control_hook)(struct fake_node *fake, struct tp_control_response *response);
};

struct fake_node *fake_node_create(void);
void fake_node_destroy(struct fake_node *fake);

/* A backend that runs the fake inline, in virtual time. */
struct tp_client_backend fake_node_backend(struct fake_node *fake);

/* One turn: serve all rings. Signature of tp_client_backend.poll. */
void fake_node_poll(void *ctx);

/* A completion for a request held back before. */
void fake_node_answer(struct fake_node *fake, uint32_t thread, uint32_t worker,
		      const struct tp_abi_completion *completion);

/* Make the page present with this access (contents from home). */
void fake_page_publish(struct fake_node *fake, uint32_t page, enum tp_access access);

/* Take it away: unpublish; true once no guard names it and the contents are back home. */
bool fake_page_revoke(struct fake_node *fake, uint32_t page);

/* Where the current contents are. */
uint8_t *fake_page_data(struct fake_node *fake, uint32_t page);

/* Does any hazard slot hold something? */
bool fake_node_guarded(struct fake_node *fake);

/* Answer a control request as a node does; fds are duplicates. */
int fake_node_control(void *ctx, const struct tp_control_request *request,
		      struct tp_control_response *response, int *fds, unsigned int fd_max);

#endif /* FAKE_NODE_H */
