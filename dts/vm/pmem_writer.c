/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What suite vm_pmem runs in its virtual machine, on a file or a device:
 *	telepage-pmem-writer create PATH	makes a pool, and what its writers change
 *	telepage-pmem-writer write PATH		two writers without end; says what is durable
 *	telepage-pmem-writer check PATH		says which transactions are the last, checks all
 *	telepage-pmem-writer touch PATH		how long opening, and a look at each page, takes
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tp_pmem.h"
#include "writer.h"

#define POOL_BYTES (UINT64_C(32) << 20)
#define SAY_EVERY 16u
#define PAGE_BYTES 4096u

static struct writer writers[WRITERS];
static pthread_mutex_t say_mutex = PTHREAD_MUTEX_INITIALIZER;

static int
fail(const char *what)
{
	fprintf(stderr, "telepage-pmem-writer: %s: %s\n", what, tp_pmem_error());
	return EXIT_FAILURE;
}

static int
create(const char *path)
{
	struct tp_pmem_pool *pool;

	if (tp_pmem_pool_create(path, POOL_BYTES, NULL, &pool) < 0)
		return fail(path);
	if (writer_prepare(pool) < 0)
		return fail("prepare");
	return tp_pmem_pool_close(pool) < 0 ? fail("close") : EXIT_SUCCESS;
}

/* Each says its own number only: that of another may be seen before its commit. */
static void *
writer_main(void *context)
{
	struct writer *writer = context;

	for (;;) {
		if (writer_step(writer) < 0) {
			fail("write");
			exit(EXIT_FAILURE);
		}
		if (writer->half->number % SAY_EVERY == 0) {
			pthread_mutex_lock(&say_mutex);
			printf("durable %u: %" PRIu64 "\n", writer->index, writer->half->number);
			fflush(stdout);
			pthread_mutex_unlock(&say_mutex);
		}
	}
	return NULL;
}

static int
pool_open(const char *path, struct tp_pmem_pool **pool)
{
	if (tp_pmem_pool_open(path, 0, pool) < 0)
		return fail(path);
	for (unsigned int i = 0; i < WRITERS; i++)
		if (writer_open(&writers[i], *pool, i) < 0)
			return fail("writer");
	return EXIT_SUCCESS;
}

static int
write_on(const char *path)
{
	struct tp_pmem_pool *pool;
	pthread_t thread;

	if (pool_open(path, &pool) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	if (pthread_create(&thread, NULL, writer_main, &writers[1]) != 0)
		return fail("thread");
	writer_main(&writers[0]);
	return EXIT_FAILURE;
}

static int
check(const char *path)
{
	static struct writer_model models[WRITERS];
	struct tp_pmem_pool_info info;
	struct tp_pmem_pool *pool;
	const char *wrong;

	if (pool_open(path, &pool) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	tp_pmem_pool_info_get(pool, &info);
	printf("recovered: %" PRIu64 "\n", info.recovered_count);
	printf("newest:");
	for (unsigned int i = 0; i < WRITERS; i++) {
		printf(" %" PRIu64, writers[i].half->number);
		writer_close(&writers[i]);
	}
	printf("\n");
	wrong = writer_check(pool, models);
	if (wrong != NULL) {
		fprintf(stderr, "telepage-pmem-writer: %s: %s\n", path, wrong);
		return EXIT_FAILURE;
	}
	return tp_pmem_pool_close(pool) < 0 ? fail("close") : EXIT_SUCCESS;
}

static double
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int
touch(const char *path)
{
	struct tp_pmem_pool_info info;
	struct tp_pmem_pool *pool;
	double begin = now_us(), opened;
	volatile uint64_t sum = 0;

	if (tp_pmem_pool_open(path, 0, &pool) < 0)
		return fail(path);
	opened = now_us();
	tp_pmem_pool_info_get(pool, &info);
	for (uint64_t at = PAGE_BYTES; at < info.bytes; at += PAGE_BYTES)
		sum += *(const uint64_t *)tp_pmem_ptr(pool, at);
	printf("open: %.0f us, first look at a page: %.2f us\n", opened - begin,
	       (now_us() - opened) / ((double)info.bytes / PAGE_BYTES));
	return tp_pmem_pool_close(pool) < 0 ? fail("close") : EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const char *path);
	} modes[] = { { "create", create }, { "write", write_on }, { "check", check },
		{ "touch", touch } };

	for (size_t i = 0; argc == 3 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			return modes[i].run(argv[2]);
	fprintf(stderr, "usage: telepage-pmem-writer create|write|check|touch PATH\n");
	return EXIT_FAILURE;
}
