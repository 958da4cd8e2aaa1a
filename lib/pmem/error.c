/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What a failed call has to say beyond its errno, per thread.
 */
#include <stdarg.h>
#include <stdio.h>

#include "pmem_priv.h"

#define ERROR_CHARS 256

static _Thread_local char error_text[ERROR_CHARS];

int
pmem_error(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error_text, sizeof(error_text), format, args);
	va_end(args);
	return -error;
}

const char *
tp_pmem_error(void)
{
	return error_text;
}
