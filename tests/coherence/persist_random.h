/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#ifndef PERSIST_RANDOM_H
#define PERSIST_RANDOM_H

#include "net.h"

#define PERSIST_HOME 0

/* What went wrong, NULL: nothing. Valid until the next call. */
const char *persist_random(uint64_t seed, int mutant);

#endif /* PERSIST_RANDOM_H */
