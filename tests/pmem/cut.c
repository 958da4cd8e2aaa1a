/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * See cut.h. The lasting bytes are a memfd; a state is a private mapping of it with
 * some of the words put in, which recovery may change at will.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <rte_common.h>

#include "cut.h"

#define CUT_LINES_ALL 6u	/* every subset of so many lines, samples of more */
#define CUT_LINES_SAMPLES 24u
#define CUT_REPORTS 5u
#define WORD_BYTES 8u

/* A word stored and not lasting. */
struct pending {
	uint64_t offset;
	uint64_t value;
	bool is_flushed;
};

struct cut {
	struct tp_pmem_device device;
	int media_fd;			/* what the program under test sees */
	int lasting_fd;
	uint8_t *lasting;		/* NULL: a state, whose stores are not recorded */
	uint64_t bytes;
	struct pending *pending;	/* in order of time */
	size_t pending_count;
	size_t pending_capacity;
	cut_check_fn *check;
	void *context;
	unsigned int samples;
	unsigned int recovery_every;
	enum cut_mutant mutant;
	uint64_t random;
	uint64_t fences;
	uint64_t states;
	uint64_t failures;
	bool is_closed;
};

static struct cut *
to_cut(struct tp_pmem_device *device)
{
	return (struct cut *)(void *)device;
}

static uint64_t
random_next(struct cut *cut)
{
	cut->random ^= cut->random << 13;
	cut->random ^= cut->random >> 7;
	cut->random ^= cut->random << 17;
	return cut->random;
}

static void
note(struct cut *cut, const void *media, size_t bytes, bool is_flushed)
{
	uint64_t begin = (uint64_t)((const uint8_t *)media - cut->device.media);

	if (cut->lasting == NULL)
		return;
	for (uint64_t at = begin & ~UINT64_C(7); at < begin + bytes; at += WORD_BYTES) {
		struct pending *pending;

		if (cut->pending_count == cut->pending_capacity) {
			cut->pending_capacity = cut->pending_capacity * 2 + 1024;
			cut->pending = realloc(cut->pending,
				cut->pending_capacity * sizeof(*cut->pending));
			assert_non_null(cut->pending);
		}
		pending = &cut->pending[cut->pending_count++];
		pending->offset = at;
		pending->is_flushed = is_flushed;
		memcpy(&pending->value, cut->device.media + at, WORD_BYTES);
	}
}

/* Words of one store become visible one by one; all versions of each are kept. */
static void
cut_store(struct tp_pmem_device *device, void *media, const void *src, size_t bytes)
{
	memcpy(media, src, bytes);
	note(to_cut(device), media, bytes, to_cut(device)->mutant != CUT_STORE_CACHED);
}

static void
cut_write(struct tp_pmem_device *device, void *media, const void *src, size_t bytes)
{
	memcpy(media, src, bytes);
	note(to_cut(device), media, bytes, false);
}

static bool
cut_replace(struct tp_pmem_device *device, uint64_t *media, uint64_t expected, uint64_t desired)
{
	if (!__atomic_compare_exchange_n(media, &expected, desired, false, __ATOMIC_ACQ_REL,
			__ATOMIC_RELAXED))
		return false;
	note(to_cut(device), media, sizeof(*media), false);
	return true;
}

static void
cut_flush(struct tp_pmem_device *device, const void *media, size_t bytes)
{
	struct cut *cut = to_cut(device);
	uint64_t unit = device->granularity == TP_PMEM_GRANULARITY_PAGE ? 4096 : 64;
	uint64_t begin = (uint64_t)((const uint8_t *)media - device->media);
	uint64_t end = (begin + bytes + unit - 1) & ~(unit - 1);

	begin &= ~(unit - 1);
	if (cut->mutant == CUT_NO_FLUSH)
		return;
	for (size_t i = 0; i < cut->pending_count; i++)
		if (cut->pending[i].offset >= begin && cut->pending[i].offset < end)
			cut->pending[i].is_flushed = true;
}

/* A word became lasting: what was stored there before can not come after it. */
static size_t
older_drop(struct cut *cut, size_t kept, uint64_t offset)
{
	size_t left = 0;

	for (size_t i = 0; i < kept; i++)
		if (cut->pending[i].offset != offset)
			cut->pending[left++] = cut->pending[i];
	return left;
}

static int
cut_fence(struct tp_pmem_device *device)
{
	struct cut *cut = to_cut(device);
	size_t kept = 0;

	cut_now(cut);
	if (cut->fences++ % 3 == 2 && cut->mutant == CUT_NO_FENCE)
		return 0;
	for (size_t i = 0; i < cut->pending_count; i++) {
		const struct pending *pending = &cut->pending[i];

		if (pending->is_flushed) {
			memcpy(cut->lasting + pending->offset, &pending->value, WORD_BYTES);
			kept = older_drop(cut, kept, pending->offset);
		} else {
			cut->pending[kept++] = *pending;
		}
	}
	cut->pending_count = kept;
	return 0;
}

static int
cut_resize(struct tp_pmem_device *device, uint64_t bytes)
{
	return bytes <= to_cut(device)->bytes ? (device->bytes = bytes, 0) : -ENOSPC;
}

static void
cut_view_drop(struct tp_pmem_device *device, uint64_t offset, uint64_t bytes)
{
	madvise(device->view + offset, bytes, MADV_DONTNEED);
}

static void
cut_close(struct tp_pmem_device *device)
{
	to_cut(device)->is_closed = true;
}

static const struct tp_pmem_device_ops cut_ops = {
	.store = cut_store,
	.write = cut_write,
	.replace = cut_replace,
	.flush = cut_flush,
	.fence = cut_fence,
	.resize = cut_resize,
	.view_drop = cut_view_drop,
	.close = cut_close,
};

static uint8_t *
map(int fd, uint64_t bytes, int how)
{
	uint8_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, how, fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static int
memory_file(uint64_t bytes)
{
	int fd = memfd_create("cut", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

struct cut *
cut_create(uint64_t bytes, enum tp_pmem_granularity granularity, uint64_t seed)
{
	struct cut *cut = calloc(1, sizeof(*cut));

	assert_non_null(cut);
	cut->bytes = bytes;
	cut->random = seed * 2 + 1;
	cut->media_fd = memory_file(bytes);
	cut->lasting_fd = memory_file(bytes);
	cut->lasting = map(cut->lasting_fd, bytes, MAP_SHARED);
	cut->device = (struct tp_pmem_device){
		.ops = &cut_ops,
		.media = map(cut->media_fd, bytes, MAP_SHARED),
		.view = map(cut->media_fd, bytes, MAP_PRIVATE),
		.bytes = bytes,
		.granularity = granularity,
	};
	return cut;
}

struct tp_pmem_device *
cut_device(struct cut *cut)
{
	return &cut->device;
}

/*
 * States.
 */

/* How a state is put together from the pending words. */
enum state_kind {
	STATE_LINES,		/* whole lines by a mask or by chance, with their last values */
	STATE_WORDS,		/* each word: lasting, or any of its values */
	STATE_TIME,		/* all stores up to some moment, none after it */
	STATE_PAGES,		/* whole pages by chance, one of them torn at a word */
};

struct state {
	enum state_kind kind;
	uint64_t mask;		/* of lines; 0: by chance */
	uint64_t salt;
	size_t moment;
};

static uint64_t
mix(uint64_t a, uint64_t b)
{
	uint64_t x = (a ^ b * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9);

	x ^= x >> 31;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 29;
}

static unsigned int
line_index(const struct cut *cut, const uint64_t *lines, unsigned int count, size_t i)
{
	unsigned int line = 0;

	while (line < count && lines[line] != cut->pending[i].offset / 64)
		line++;
	return line;
}

static bool
word_is_in(const struct cut *cut, const struct state *state, const uint64_t *lines,
	   unsigned int line_count, size_t i)
{
	uint64_t offset = cut->pending[i].offset;
	uint64_t torn;

	switch (state->kind) {
	case STATE_LINES:
		if (state->mask != 0)
			return (state->mask >> line_index(cut, lines, line_count, i) & 1) != 0;
		return (mix(state->salt, offset / 64) & 1) != 0;
	case STATE_WORDS:
		return (mix(state->salt, offset * 31 + i) & 1) != 0;
	case STATE_TIME:
		return i < state->moment;
	case STATE_PAGES:
		torn = mix(state->salt, offset / 4096);
		return (torn & 1) != 0 || ((torn & 2) != 0 && offset % 4096 / 8 < (torn >> 8) % 512);
	}
	return false;
}

static void cut_watch_recovery(struct cut *cut, struct cut *child);

static void
state_report(struct cut *cut, const struct state *state, const char *what)
{
	if (cut->mutant == CUT_NONE && cut->failures < CUT_REPORTS)
		print_message("fence %llu, %zu words, state %d mask %llx salt %llx moment %zu: %s\n",
			(unsigned long long)cut->fences, cut->pending_count, (int)state->kind,
			(unsigned long long)state->mask, (unsigned long long)state->salt,
			state->moment, what);
	cut->failures++;
}

/* Recover from a state and have it looked at. */
static void
state_try(struct cut *cut, const struct state *state, const uint64_t *lines,
	  unsigned int line_count)
{
	struct cut child = {
		.bytes = cut->bytes,
		.random = random_next(cut),
		.lasting_fd = cut->lasting_fd,
		.device = {
			.ops = &cut_ops,
			.bytes = cut->device.bytes,
			.granularity = cut->device.granularity,
		},
	};
	struct tp_pmem_pool *pool = NULL;
	int ret;

	child.device.media = map(cut->lasting_fd, cut->bytes, MAP_PRIVATE);
	child.device.view = child.device.media;
	for (size_t i = 0; i < cut->pending_count; i++)
		if (word_is_in(cut, state, lines, line_count, i))
			memcpy(child.device.media + cut->pending[i].offset, &cut->pending[i].value,
				WORD_BYTES);
	cut->states++;
	if (cut->recovery_every > 0 && cut->states % cut->recovery_every == 0)
		cut_watch_recovery(cut, &child);
	ret = tp_pmem_pool_open_on(&child.device, 0, &pool);
	if (ret < 0) {
		state_report(cut, state, tp_pmem_error());
	} else {
		if (!cut->check(cut->context, pool))
			state_report(cut, state, "not as it must be");
		child.check = NULL;
		tp_pmem_pool_close(pool);
	}
	cut->failures += child.failures;
	cut->states += child.states;
	munmap(child.device.media, cut->bytes);
	if (child.lasting != NULL) {
		munmap(child.lasting, cut->bytes);
		close(child.lasting_fd);
	}
	free(child.pending);
}

/* The state becomes the lasting bytes of a cut of its own, so that recovery is cut too. */
static void
cut_watch_recovery(struct cut *cut, struct cut *child)
{
	child->lasting_fd = memory_file(cut->bytes);
	child->lasting = map(child->lasting_fd, cut->bytes, MAP_SHARED);
	memcpy(child->lasting, child->device.media, cut->bytes);
	child->check = cut->check;
	child->context = cut->context;
	child->samples = 2;
}

/* Lines with pending words, up to one more than there is room for. */
static unsigned int
lines_find(const struct cut *cut, uint64_t lines[CUT_LINES_ALL])
{
	unsigned int count = 0;

	for (size_t i = 0; i < cut->pending_count; i++) {
		if (line_index(cut, lines, count, i) < count)
			continue;
		if (count == CUT_LINES_ALL)
			return count + 1;
		lines[count++] = cut->pending[i].offset / 64;
	}
	return count;
}

static void
samples_try(struct cut *cut, enum state_kind kind, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct state state = { .kind = kind, .salt = random_next(cut) };

		state.moment = random_next(cut) % (cut->pending_count + 1);
		state_try(cut, &state, NULL, 0);
	}
}

void
cut_now(struct cut *cut)
{
	const struct state none = { .kind = STATE_TIME };
	const struct state all = { .kind = STATE_TIME, .moment = cut->pending_count };
	uint64_t lines[CUT_LINES_ALL];
	unsigned int count;

	if (cut->check == NULL)
		return;
	state_try(cut, &none, NULL, 0);
	if (cut->pending_count == 0)
		return;
	state_try(cut, &all, NULL, 0);
	count = lines_find(cut, lines);
	for (uint64_t mask = 1; count <= CUT_LINES_ALL && mask < UINT64_C(1) << count; mask++) {
		const struct state state = { .kind = STATE_LINES, .mask = mask };

		state_try(cut, &state, lines, count);
	}
	if (count > CUT_LINES_ALL)
		samples_try(cut, STATE_LINES, RTE_MIN(cut->samples * 2, CUT_LINES_SAMPLES));
	samples_try(cut, STATE_WORDS, cut->samples);
	samples_try(cut, STATE_TIME, cut->samples);
	samples_try(cut, STATE_PAGES, cut->samples);
}

void
cut_watch(struct cut *cut, cut_check_fn *check, void *context, unsigned int samples)
{
	cut->check = check;
	cut->context = context;
	cut->samples = samples;
}

void
cut_mutant_set(struct cut *cut, enum cut_mutant mutant)
{
	cut->mutant = mutant;
}

void
cut_recovery_every(struct cut *cut, unsigned int every)
{
	cut->recovery_every = every;
}

uint64_t
cut_states(const struct cut *cut)
{
	return cut->states;
}

uint64_t
cut_failures(const struct cut *cut)
{
	return cut->failures;
}

void
cut_destroy(struct cut *cut)
{
	assert_true(cut->is_closed);
	munmap(cut->device.media, cut->bytes);
	munmap(cut->device.view, cut->bytes);
	munmap(cut->lasting, cut->bytes);
	close(cut->media_fd);
	close(cut->lasting_fd);
	free(cut->pending);
	free(cut);
}
