/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Numbers on the command line.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"

static const char *
parse_digits(const char *text, uint64_t *value)
{
	char *end;

	/* strtoull() takes signs and spaces too. */
	if (!isdigit((unsigned char)text[0]))
		return NULL;
	errno = 0;
	*value = strtoull(text, &end, 0);
	return errno == 0 ? end : NULL;
}

bool
cli_parse_number(const char *text, uint64_t max, uint64_t *value)
{
	const char *end = parse_digits(text, value);

	return end != NULL && *end == '\0' && *value <= max;
}

bool
cli_parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *end = parse_digits(text, bytes), *unit;
	unsigned int shift;

	if (end == NULL)
		return false;
	if (*end == '\0')
		return true;
	unit = strchr(units, toupper((unsigned char)*end));
	if (unit == NULL || end[1] != '\0')
		return false;
	shift = 10 * (unsigned int)(unit - units + 1);
	if (*bytes > UINT64_MAX >> shift)
		return false;
	*bytes <<= shift;
	return true;
}

uint32_t
cli_parse_list(const char *text, uint16_t *values, uint32_t max)
{
	uint32_t count = 0;
	uint64_t value;

	while (count < max) {
		text = parse_digits(text, &value);
		if (text == NULL || value > UINT16_MAX)
			return 0;
		values[count++] = (uint16_t)value;
		if (*text == '\0')
			return count;
		if (*text++ != ',')
			return 0;
	}
	return 0;
}

uint64_t
cli_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
