/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Bytes in DRAM that grow.
 */
#include <stdlib.h>

#include "pmem_priv.h"

#define BUFFER_BYTES_MIN 1024u

void *
pmem_buffer_reserve(struct pmem_buffer *buffer, size_t more)
{
	size_t capacity = buffer->capacity > 0 ? buffer->capacity : BUFFER_BYTES_MIN;
	uint8_t *data;

	if (more > SIZE_MAX / 2 - buffer->bytes)
		return NULL;
	if (buffer->bytes + more <= buffer->capacity)
		return buffer->data + buffer->bytes;
	while (capacity < buffer->bytes + more)
		capacity *= 2;
	data = realloc(buffer->data, capacity);
	if (data == NULL)
		return NULL;
	buffer->data = data;
	buffer->capacity = capacity;
	return data + buffer->bytes;
}

void *
pmem_buffer_extend(struct pmem_buffer *buffer, size_t more)
{
	void *at = pmem_buffer_reserve(buffer, more);

	if (at != NULL)
		buffer->bytes += more;
	return at;
}

void
pmem_buffer_fini(struct pmem_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct pmem_buffer){ 0 };
}
