/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pages of real files: what codecs are measured on.
 */
#ifndef BENCH_CODEC_PAGES_H
#define BENCH_CODEC_PAGES_H

#include "bench.h"

#define CODEC_PAGES_SETS 4u	/* a program, a text, a database, noise */

/** What a set is called. */
const char *codec_pages_name(unsigned int set);

/** Fill pages with those of a set. 0, or -errno after one line on stderr. */
int codec_pages_fill(struct bench *bench, unsigned int set, uint8_t *pages, uint32_t count);

#endif /* BENCH_CODEC_PAGES_H */
