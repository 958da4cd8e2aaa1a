/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Names that the wire, the client ABI and the deciders share.
 */
#ifndef TP_TYPES_H
#define TP_TYPES_H

#ifdef __cplusplus
extern "C" {
#endif

/* What a node's clients may do with its copy of a page. */
enum tp_access {
	TP_ACCESS_NONE = 0,
	TP_ACCESS_READ = 1,
	TP_ACCESS_WRITE = 3,
};

/*
 * Atomic operations. The numbers are on the wire and in the client ABI: never
 * reuse one. Operands are zero-extended to 64 bits.
 */
#define TP_ATOMIC_LIST(OP)	\
	OP(LOAD,     1)		\
	OP(STORE,    2)		\
	OP(ADD,      3)		\
	OP(CAS,      4)		\
	OP(EXCHANGE, 5)		\
	OP(AND,      6)		\
	OP(OR,       7)

enum tp_atomic_op {
#define TP_ATOMIC_AS_ENUM(name, id) TP_ATOMIC_##name = (id),
	TP_ATOMIC_LIST(TP_ATOMIC_AS_ENUM)
#undef TP_ATOMIC_AS_ENUM
	TP_ATOMIC_COUNT
};

#ifdef __cplusplus
}
#endif

#endif /* TP_TYPES_H */
