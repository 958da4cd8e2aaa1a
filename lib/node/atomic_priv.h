/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The atomics of enum tp_atomic_op on memory of this process.
 */
#ifndef NODE_ATOMIC_PRIV_H
#define NODE_ATOMIC_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_types.h"

#define NODE_ATOMIC_RUN(name, type)						\
static inline uint64_t								\
name(type *word, enum tp_atomic_op op, type operand, type compare)		\
{										\
	switch (op) {								\
	case TP_ATOMIC_STORE:							\
	case TP_ATOMIC_EXCHANGE:						\
		return __atomic_exchange_n(word, operand, __ATOMIC_SEQ_CST);	\
	case TP_ATOMIC_ADD:							\
		return __atomic_fetch_add(word, operand, __ATOMIC_SEQ_CST);	\
	case TP_ATOMIC_CAS:							\
		__atomic_compare_exchange_n(word, &compare, operand, false,	\
			__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);			\
		return compare;							\
	case TP_ATOMIC_AND:							\
		return __atomic_fetch_and(word, operand, __ATOMIC_SEQ_CST);	\
	case TP_ATOMIC_OR:							\
		return __atomic_fetch_or(word, operand, __ATOMIC_SEQ_CST);	\
	default:								\
		return __atomic_load_n(word, __ATOMIC_SEQ_CST);			\
	}									\
}

NODE_ATOMIC_RUN(node_atomic_run32, uint32_t)
NODE_ATOMIC_RUN(node_atomic_run64, uint64_t)
#undef NODE_ATOMIC_RUN

/*
 * Run op on the 4 or 8 bytes at word, aligned; returns the old value. Operands
 * of 4-byte atomics are truncated.
 */
static inline uint64_t
node_atomic_run(void *at, unsigned int width, enum tp_atomic_op op, uint64_t operand,
	uint64_t compare)
{
	return width == 4 ?
		node_atomic_run32(at, op, (uint32_t)operand, (uint32_t)compare) :
		node_atomic_run64(at, op, operand, compare);
}

#endif /* NODE_ATOMIC_PRIV_H */
