/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * See snapshot.h. Blocks are the allocator's own, so that a sanitizer sees what is
 * touched beside them.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "snapshot.h"

#define SNAPSHOT_BLOCKS 128u

struct snapshot_block {
	void *memory;
	void *copy;
	size_t bytes;		/* that are put back */
};

static struct {
	struct snapshot_block blocks[SNAPSHOT_BLOCKS];
	unsigned int count;
	size_t bytes_max;
	bool records;
	bool watches;
} snapshot;

/* mmap() is that where offsets have 64 bits: meson sees to it. */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_mmap64(void *at, size_t bytes, int access, int flags, int fd, off_t offset);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_mmap64(void *at, size_t bytes, int access, int flags, int fd, off_t offset);
void __wrap_free(void *memory);

static void *
snapshot_note(void *memory, size_t bytes)
{
	if (snapshot.watches)
		abort();
	if (!snapshot.records)
		return memory;
	if (memory == NULL || snapshot.count == SNAPSHOT_BLOCKS)
		abort();
	snapshot.blocks[snapshot.count++] = (struct snapshot_block){
		.memory = memory,
		.bytes = bytes <= snapshot.bytes_max ? bytes : SNAPSHOT_START_BYTES,
	};
	return memory;
}

void *
__wrap_malloc(size_t bytes)
{
	return snapshot_note(__real_malloc(bytes), bytes);
}

void *
__wrap_calloc(size_t count, size_t bytes)
{
	return snapshot_note(__real_calloc(count, bytes), count * bytes);
}

void *
__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return snapshot_note(__real_aligned_alloc(alignment, bytes), bytes);
}

void *
__wrap_mmap64(void *at, size_t bytes, int access, int flags, int fd, off_t offset)
{
	return snapshot_note(__real_mmap64(at, bytes, access, flags, fd, offset), bytes);
}

void
__wrap_free(void *memory)
{
	/* What is set up may give up what it took, but then it is not in the snapshot. */
	if (snapshot.watches || snapshot.records)
		abort();
	__real_free(memory);
}

void
snapshot_begin(size_t bytes_max)
{
	snapshot.bytes_max = bytes_max;
	snapshot.records = true;
}

void
snapshot_end(void)
{
	snapshot.records = false;
}

void
snapshot_take(void)
{
	for (unsigned int i = 0; i < snapshot.count; i++) {
		struct snapshot_block *block = &snapshot.blocks[i];

		block->copy = __real_malloc(block->bytes);
		if (block->copy == NULL)
			abort();
		memcpy(block->copy, block->memory, block->bytes);
	}
}

void
snapshot_restore(void)
{
	for (unsigned int i = 0; i < snapshot.count; i++)
		memcpy(snapshot.blocks[i].memory, snapshot.blocks[i].copy,
			snapshot.blocks[i].bytes);
}

void
snapshot_watch(bool on)
{
	snapshot.watches = on;
}

void
snapshot_free(void *memory)
{
	__real_free(memory);
}
