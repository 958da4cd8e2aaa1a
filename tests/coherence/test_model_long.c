/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * test_model with more seeds and more runs.
 */
#define MODEL_LONG
#include "test_model.c"
