/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The kernels that were built, best first. tp_codec_create() takes the first
 * one that the machine can run; the last one runs everywhere.
 */
#include "codec_priv.h"

const struct codec_kernel *const codec_kernels[] = {
#ifdef __x86_64__
	&codec_kernel_avx512,
	&codec_kernel_avx2,
#endif
	&codec_kernel_portable,
	NULL,
};
