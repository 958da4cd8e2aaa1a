/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pages.h"

#define OS_PAGE 4096u

static size_t
guarded_length(size_t bytes)
{
	return (bytes + OS_PAGE - 1) / OS_PAGE * OS_PAGE;
}

uint8_t *
guarded_alloc(size_t bytes)
{
	size_t length = guarded_length(bytes);
	uint8_t *memory = mmap(NULL, length + OS_PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || mprotect(memory + length, OS_PAGE, PROT_NONE) < 0)
		abort();
	return memory + length - bytes;
}

void
guarded_free(uint8_t *memory, size_t bytes)
{
	size_t length = guarded_length(bytes);

	munmap(memory + bytes - length, length + OS_PAGE);
}

uint64_t
random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static void
fill_text(uint8_t *page, uint32_t bytes, uint64_t *random)
{
	static const char *const words[] = {
		"page ", "of ", "the ", "memory ", "node ", "is ", "a ", "there ", "where\n",
	};
	const char *word = "";

	for (uint32_t i = 0; i < bytes; i++) {
		if (*word == 0)
			word = words[random_next(random) % (sizeof(words) / sizeof(words[0]))];
		page[i] = (uint8_t)*word++;
	}
}

/* Rows of 32 bytes: a counter, a small number, a random one, padding. */
static void
fill_records(uint8_t *page, uint32_t bytes, uint64_t *random)
{
	uint64_t row[4] = { random_next(random) };

	for (uint32_t at = 0; at < bytes; at += sizeof(row)) {
		row[0]++;
		row[1] = random_next(random) % 100;
		row[2] = random_next(random);
		memcpy(page + at, row, sizeof(row));
	}
}

void
page_fill(uint8_t *page, uint32_t bytes, enum page_kind kind, uint64_t *random)
{
	uint64_t word;

	switch (kind) {
	case PAGE_ZERO:
		memset(page, 0, bytes);
		break;
	case PAGE_ALIKE:
		memset(page, 0x5a, bytes);
		break;
	case PAGE_TEXT:
		fill_text(page, bytes, random);
		break;
	case PAGE_RECORDS:
		fill_records(page, bytes, random);
		break;
	default:
		for (uint32_t at = 0; at < bytes; at += sizeof(word)) {
			word = random_next(random);
			memcpy(page + at, &word, sizeof(word));
		}
	}
}

void
page_scribble(uint8_t *page, uint32_t bytes, uint32_t count, uint64_t *random)
{
	uint64_t word;

	for (uint32_t i = 0; i < count; i++) {
		uint8_t *at = page + 8 * (random_next(random) % (bytes / 8));

		memcpy(&word, at, sizeof(word));
		word ^= random_next(random) | 1;
		memcpy(at, &word, sizeof(word));
	}
}
