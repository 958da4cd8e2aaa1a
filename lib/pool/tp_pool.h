/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * All of lib/pool: memory itself. See docs/prog_guide/pool.md.
 */
#ifndef TP_POOL_H
#define TP_POOL_H

#include "tp_buffer.h"
#include "tp_segment.h"
#include "tp_slot_pool.h"

#endif /* TP_POOL_H */
