/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pages for the tests of codecs: memory that faults right behind its end (the
 * compressors' assembler is not instrumented), and contents of several kinds.
 */
#ifndef PAGES_H
#define PAGES_H

#include <stddef.h>
#include <stdint.h>

/** Memory whose last byte stands before an inaccessible page. Never NULL. */
uint8_t *guarded_alloc(size_t bytes);
void guarded_free(uint8_t *memory, size_t bytes);

/** Next number of a seeded sequence. */
uint64_t random_next(uint64_t *state);

enum page_kind {
	PAGE_ZERO,
	PAGE_ALIKE,
	PAGE_TEXT,
	PAGE_RECORDS,
	PAGE_RANDOM,
	PAGE_KIND_COUNT
};

void page_fill(uint8_t *page, uint32_t bytes, enum page_kind kind, uint64_t *random);

/** Change count random words (8 bytes) of a page. */
void page_scribble(uint8_t *page, uint32_t bytes, uint32_t count, uint64_t *random);

#endif /* PAGES_H */
