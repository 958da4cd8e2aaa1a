/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The allocator of a node's heap region. Its books are in private memory, in
 * units of 64 bytes; it never touches the heap itself.
 */
#ifndef HEAP_PRIV_H
#define HEAP_PRIV_H

#include <stdint.h>

#define HEAP_UNIT_SHIFT 6

struct heap;

/* generation: of the first allocation. NULL with rte_errno EINVAL, ENOMEM. */
struct heap *heap_create(uint64_t bytes, uint64_t generation);
void heap_destroy(struct heap *heap);

/* 0; -EINVAL: 0 bytes; -ENOSPC: no run that long; -EOVERFLOW: generations exhausted. */
int heap_alloc(struct heap *heap, uint64_t bytes, uint64_t *offset_out, uint64_t *generation_out);

/* 0; -EINVAL: no allocation starts there, or it was freed; -ESTALE: another generation. */
int heap_free(struct heap *heap, uint64_t offset, uint64_t generation);

/* Generation of the allocation that holds offset; 0; -ENOENT. */
int heap_generation(const struct heap *heap, uint64_t offset, uint64_t *generation_out);

uint64_t heap_bytes_free(const struct heap *heap);

#endif /* HEAP_PRIV_H */
