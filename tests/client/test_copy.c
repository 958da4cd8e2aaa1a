/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Copies to and from pages: every length and alignment against memcpy(), and
 * whole words while another thread writes.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "copy.h"

#define LENGTH_MAX 300
#define GUARD_BYTE 0xa5

static void
copy_fill(uint8_t *bytes, size_t count, uint32_t seed)
{
	size_t i;

	for (i = 0; i < count; i++)
		bytes[i] = (uint8_t)(seed + i * 131);
}

/* Both directions at every pair of alignments; bytes around the target must stay. */
static void
test_copy_every_alignment_and_length_exact(void **state)
{
	alignas(64) uint8_t page[LENGTH_MAX + 64], buffer[LENGTH_MAX + 64];
	uint8_t expected[LENGTH_MAX + 64];
	uint32_t page_at, buffer_at, length;

	for (page_at = 0; page_at < 17; page_at++) {
		for (buffer_at = 0; buffer_at < 9; buffer_at++) {
			for (length = 0; length < LENGTH_MAX; length += 1 + length / 40) {
				copy_fill(page, sizeof(page), length);
				memset(buffer, GUARD_BYTE, sizeof(buffer));
				memset(expected, GUARD_BYTE, sizeof(expected));
				memcpy(expected + buffer_at, page + page_at, length);
				client_copy_out(buffer + buffer_at, page + page_at, length);
				assert_memory_equal(buffer, expected, sizeof(buffer));

				copy_fill(buffer, sizeof(buffer), length + 7);
				memset(page, GUARD_BYTE, sizeof(page));
				memset(expected, GUARD_BYTE, sizeof(expected));
				memcpy(expected + page_at, buffer + buffer_at, length);
				client_copy_in(page + page_at, buffer + buffer_at, length);
				assert_memory_equal(page, expected, sizeof(page));
			}
		}
	}
}

struct copy_writer {
	alignas(64) uint64_t page[64];
	_Atomic int stop;
};

/* Each word is n * the same odd constant in both halves: a torn one is not. */
static void *
copy_write(void *argument)
{
	struct copy_writer *writer = argument;
	uint64_t values[64];
	uint32_t n = 0, i;

	while (!atomic_load_explicit(&writer->stop, memory_order_relaxed)) {
		n++;
		for (i = 0; i < 64; i++)
			values[i] = (uint64_t)n << 32 | n;
		client_copy_in(writer->page, values, sizeof(values));
	}
	return NULL;
}

static void
test_copy_beside_a_writer_words_whole(void **state)
{
	struct copy_writer writer = { .stop = 0 };
	uint64_t values[64];
	pthread_t thread;
	uint32_t round, i;

	assert_int_equal(pthread_create(&thread, NULL, copy_write, &writer), 0);
	for (round = 0; round < 20000; round++) {
		client_copy_out((uint8_t *)values + 4, (const uint8_t *)writer.page + 8,
				sizeof(values) - 8);
		for (i = 0; i < 63; i++) {
			uint64_t value;

			memcpy(&value, (uint8_t *)values + 4 + i * 8, 8);
			assert_int_equal(value >> 32, value & UINT32_MAX);
		}
	}
	atomic_store_explicit(&writer.stop, 1, memory_order_relaxed);
	pthread_join(thread, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_every_alignment_and_length_exact),
		cmocka_unit_test(test_copy_beside_a_writer_words_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
