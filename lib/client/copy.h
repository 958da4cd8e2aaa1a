/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Copies between a page and a buffer in which no aligned 1, 2, 4 or 8 bytes of
 * the page ever tear, whatever another program does to the page meanwhile.
 *
 * How it works: the copy is cut where the *page* is aligned. Ends that are not a
 * multiple of 8 go as single moves of 4, 2 and 1; the middle as aligned 8-byte
 * words, or as aligned 16-byte vectors. An aligned vector move never crosses a
 * cache line, and x86 processors carry it out as one access, or as aligned
 * 8-byte halves: either keeps its words whole. memcpy() promises no such thing.
 */
#ifndef CLIENT_COPY_H
#define CLIENT_COPY_H

#include <stdint.h>
#include <string.h>

#include <rte_branch_prediction.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if defined(__SANITIZE_THREAD__)
/* TSan knows of races only what it sees: single atomic moves. */
#define CLIENT_COPY_VECTORS 0
#elif defined(__SSE2__)
#define CLIENT_COPY_VECTORS 1
#else
#define CLIENT_COPY_VECTORS 0
#endif

/* Move one aligned unit; the page side is an access of its own, the other may be misaligned. */
#define CLIENT_COPY_UNIT(type, name)						\
static inline void								\
client_copy_out_##name(void *to, const void *from)				\
{										\
	type value = __atomic_load_n((const type *)from, __ATOMIC_RELAXED);	\
										\
	memcpy(to, &value, sizeof(value));					\
}										\
static inline void								\
client_copy_in_##name(void *to, const void *from)				\
{										\
	type value;								\
										\
	memcpy(&value, from, sizeof(value));					\
	__atomic_store_n((type *)to, value, __ATOMIC_RELAXED);			\
}
CLIENT_COPY_UNIT(uint8_t, 1)
CLIENT_COPY_UNIT(uint16_t, 2)
CLIENT_COPY_UNIT(uint32_t, 4)
CLIENT_COPY_UNIT(uint64_t, 8)
#undef CLIENT_COPY_UNIT

/* Largest aligned unit at page address @p at that is within @p bytes, below 8 or 8. */
static inline uint32_t
client_copy_unit(uintptr_t at, uint32_t bytes)
{
	uint32_t unit = 8;

	while ((at & (unit - 1)) != 0 || unit > bytes)
		unit >>= 1;
	return unit;
}

static inline void
client_copy_out_unit(uint8_t *to, const uint8_t *from, uint32_t unit)
{
	if (unit == 8)
		client_copy_out_8(to, from);
	else if (unit == 4)
		client_copy_out_4(to, from);
	else if (unit == 2)
		client_copy_out_2(to, from);
	else
		client_copy_out_1(to, from);
}

static inline void
client_copy_in_unit(uint8_t *to, const uint8_t *from, uint32_t unit)
{
	if (unit == 8)
		client_copy_in_8(to, from);
	else if (unit == 4)
		client_copy_in_4(to, from);
	else if (unit == 2)
		client_copy_in_2(to, from);
	else
		client_copy_in_1(to, from);
}

#if CLIENT_COPY_VECTORS
/*
 * 64 bytes at a time. The empty asm keeps the compiler from seeing a memcpy()
 * in the loop and calling it.
 */
static inline uint32_t
client_copy_out_lines(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
	uint32_t done;

	for (done = 0; bytes - done >= 64; done += 64) {
		const __m128i *source = (const __m128i *)(const void *)(from + done);
		__m128i *target = (__m128i *)(void *)(to + done);
		__m128i a = _mm_load_si128(source), b = _mm_load_si128(source + 1);
		__m128i c = _mm_load_si128(source + 2), d = _mm_load_si128(source + 3);

		_mm_storeu_si128(target, a);
		_mm_storeu_si128(target + 1, b);
		_mm_storeu_si128(target + 2, c);
		_mm_storeu_si128(target + 3, d);
		__asm__ volatile("" : : : "memory");
	}
	return done;
}

static inline uint32_t
client_copy_in_lines(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
	uint32_t done;

	for (done = 0; bytes - done >= 64; done += 64) {
		const __m128i *source = (const __m128i *)(const void *)(from + done);
		__m128i *target = (__m128i *)(void *)(to + done);
		__m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
		__m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);

		_mm_store_si128(target, a);
		_mm_store_si128(target + 1, b);
		_mm_store_si128(target + 2, c);
		_mm_store_si128(target + 3, d);
		__asm__ volatile("" : : : "memory");
	}
	return done;
}
#endif

/* The rest of an out copy: any length, any alignment. */
static inline void
client_copy_out_long(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
	while (bytes > 0) {
		uint32_t done;

#if CLIENT_COPY_VECTORS
		if (bytes >= 64 && ((uintptr_t)from & 15) == 0) {
			done = client_copy_out_lines(to, from, bytes);
		} else
#endif
		{
			done = client_copy_unit((uintptr_t)from, bytes);
			client_copy_out_unit(to, from, done);
		}
		to += done;
		from += done;
		bytes -= done;
	}
}

static inline void
client_copy_in_long(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
	while (bytes > 0) {
		uint32_t done;

#if CLIENT_COPY_VECTORS
		if (bytes >= 64 && ((uintptr_t)to & 15) == 0) {
			done = client_copy_in_lines(to, from, bytes);
		} else
#endif
		{
			done = client_copy_unit((uintptr_t)to, bytes);
			client_copy_in_unit(to, from, done);
		}
		to += done;
		from += done;
		bytes -= done;
	}
}

/* Page to buffer. */
static inline void
client_copy_out(void *to, const void *from, uint32_t bytes)
{
	if (likely(bytes == 8 && ((uintptr_t)from & 7) == 0))
		client_copy_out_8(to, from);
	else
		client_copy_out_long(to, from, bytes);
}

/* Buffer to page. */
static inline void
client_copy_in(void *to, const void *from, uint32_t bytes)
{
	if (likely(bytes == 8 && ((uintptr_t)to & 7) == 0))
		client_copy_in_8(to, from);
	else
		client_copy_in_long(to, from, bytes);
}

#endif /* CLIENT_COPY_H */
