/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The one error model: every outcome is a value, or VOID with a reason and, for
 * mutations, whether the effect is known. See docs/architecture.md, "Errors".
 */
#ifndef TP_RESULT_H
#define TP_RESULT_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Reasons of VOID. The numbers are part of the wire format and of the
 * client ABI: never reuse one.
 *   name          id  what happened
 */
#define TP_REASON_LIST(REASON)						\
	REASON(OK,           0, "ok")					\
	REASON(TIMEOUT,      1, "timeout")				\
	REASON(UNREACHABLE,  2, "unreachable")				\
	REASON(PARTITION,    3, "partition")				\
	REASON(NODE_CRASHED, 4, "node crashed")				\
	REASON(PERMISSION,   5, "permission")				\
	REASON(GENERATION,   6, "generation")				\
	REASON(CORRUPTION,   7, "corruption")				\
	REASON(INVALID,      8, "invalid")				\
	REASON(EXHAUSTED,    9, "exhausted")

enum tp_reason {
#define TP_REASON_AS_ENUM(name, id, text) TP_##name = (id),
	TP_REASON_LIST(TP_REASON_AS_ENUM)
#undef TP_REASON_AS_ENUM
	TP_REASON_COUNT
};

/* What is known of the effect of a call that returned VOID. */
enum tp_effect {
	TP_EFFECT_DONE = 0,	/* the call took effect (only with TP_OK) */
	TP_EFFECT_NOT_DONE = 1,	/* it did not and never will */
	TP_EFFECT_UNKNOWN = 2,	/* it may have, or may yet, take effect once */
};

/**
 * Outcome of one call. Fits one register.
 */
struct tp_result {
	uint8_t reason;		/* enum tp_reason */
	uint8_t effect;		/* enum tp_effect */
	uint8_t flags;		/* TP_RESULT_* */
	uint8_t reserved;
	uint32_t bytes_done;	/* prefix of the transfer that was done */
};

#define TP_RESULT_FINAL 1u	/* unknown, and to stay so: nobody can tell, however often one asks */

static_assert(sizeof(struct tp_result) == 8, "one register");

/** Success that moved @p bytes bytes. */
static inline struct tp_result
tp_result_ok(uint32_t bytes)
{
	return (struct tp_result){ .reason = TP_OK, .effect = TP_EFFECT_DONE, .bytes_done = bytes };
}

/** VOID without an effect: refused, or never sent. */
static inline struct tp_result
tp_result_void(enum tp_reason reason)
{
	return (struct tp_result){ .reason = (uint8_t)reason, .effect = TP_EFFECT_NOT_DONE };
}

/** VOID of a mutation that was sent and whose fate is not known. */
static inline struct tp_result
tp_result_unknown(enum tp_reason reason)
{
	return (struct tp_result){ .reason = (uint8_t)reason, .effect = TP_EFFECT_UNKNOWN };
}

/** The same, and nobody will ever be able to tell. */
static inline struct tp_result
tp_result_unknown_final(enum tp_reason reason)
{
	struct tp_result result = tp_result_unknown(reason);

	result.flags = TP_RESULT_FINAL;
	return result;
}

static inline bool
tp_result_is_ok(struct tp_result result)
{
	return result.reason == TP_OK;
}

/** Is the effect not known, and could it become known by asking (again)? */
static inline bool
tp_result_may_settle(struct tp_result result)
{
	return result.effect == TP_EFFECT_UNKNOWN && !(result.flags & TP_RESULT_FINAL);
}

/**
 * Text of a reason, for logs and the CLI.
 *
 * @return A constant string, "unknown reason" for a number out of range.
 * @threads Any.
 */
const char *tp_reason_name(unsigned int reason);

/**
 * The errno that stands for a reason where a call returns int.
 *
 * @return 0 for TP_OK, else a positive errno.
 * @threads Any.
 */
int tp_reason_errno(unsigned int reason);

#ifdef __cplusplus
}
#endif

#endif /* TP_RESULT_H */
