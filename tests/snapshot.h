/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * For fuzz targets: what is under test is made once, and is as it was then before
 * each input, so that an input alone says what happens. Memory that is taken between
 * snapshot_begin() and snapshot_end() is put back by snapshot_restore(). The program
 * is linked with --wrap for the functions below (tests/meson.build).
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>

/* Of a block that is too large to be put back whole: tables are filled from their start. */
#define SNAPSHOT_START_BYTES 8192u

/** From now on memory that is taken is part of the snapshot, blocks of up to bytes_max whole. */
void snapshot_begin(size_t bytes_max);
void snapshot_end(void);

/** This is how it is to be. */
void snapshot_take(void);

/** Put it back. */
void snapshot_restore(void);

/** While on, whoever takes or gives back memory aborts: a datapath does not. */
void snapshot_watch(bool on);

/** free() of the target's own, at any time. */
void snapshot_free(void *memory);

#endif /* SNAPSHOT_H */
