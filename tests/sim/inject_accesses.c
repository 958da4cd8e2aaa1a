/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Accesses, at once and submitted, and what is asked after them.
 */
#include "inject_calls.h"

static struct outcome
call_read(struct world *w)
{
	return of_result(tp_read(w->thread, w->region, NEAR, &w->buffers[0], 8));
}

static struct outcome
call_write(struct world *w)
{
	w->buffers[0] = NEW_NEAR;
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	return of_result(tp_write(w->thread, w->region, NEAR, &w->buffers[0], 8));
}

static void
vectors_fill(struct world *w, struct tp_vector vectors[2])
{
	vectors[0] = (struct tp_vector){ NEAR, &w->buffers[0], 8 };
	vectors[1] = (struct tp_vector){ FAR, &w->buffers[1], 8 };
}

static struct outcome
call_readv(struct world *w)
{
	struct tp_vector vectors[2];

	vectors_fill(w, vectors);
	return of_result(tp_readv(w->thread, w->region, vectors, 2));
}

static void
writev_prepare(struct world *w, struct tp_vector vectors[2])
{
	w->buffers[0] = NEW_NEAR;
	w->buffers[1] = NEW_FAR;
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	will_change(w, FAR, OLD_FAR, NEW_FAR, 16);
	vectors_fill(w, vectors);
}

static struct outcome
call_writev(struct world *w)
{
	struct tp_vector vectors[2];

	writev_prepare(w, vectors);
	return of_result(tp_writev(w->thread, w->region, vectors, 2));
}

static struct outcome
call_invalidate(struct world *w)
{
	return of_result(tp_invalidate(w->thread, w->region, NEAR, PAGE));
}

static struct outcome
call_flush(struct world *w)
{
	return of_result(tp_flush(w->thread, w->region, NEAR, PAGE));
}

static struct outcome
call_clear(struct world *w)
{
	return of_result(tp_clear(w->thread, w->region));
}

static struct outcome
call_atomic_load(struct world *w)
{
	return of_result(tp_atomic_load64(w->thread, w->region, NEAR, &w->buffers[0]));
}

static struct outcome
call_atomic_add(struct world *w)
{
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	return of_result(tp_atomic_add64(w->thread, w->region, NEAR, 1, &w->buffers[0]));
}

static struct outcome
call_atomic_cas(struct world *w)
{
	will_change(w, NEAR, OLD_NEAR, 77, 8);
	return of_result(tp_atomic_cas64(w->thread, w->region, NEAR, OLD_NEAR, 77,
		&w->buffers[0]));
}

static struct outcome
call_atomic(struct world *w)
{
	will_change(w, NEAR, OLD_NEAR, 5, 4);
	return of_result(tp_atomic(w->thread, w->region, NEAR, TP_ATOMIC_EXCHANGE, 4, 5, 0,
		&w->buffers[0]));
}

static struct outcome
call_pin_read(struct world *w)
{
	struct tp_pin pin;
	struct tp_result result = tp_pin(w->thread, w->region, NEAR, 8, TP_ACCESS_READ, &pin);

	if (!tp_result_is_ok(result))
		return of_result(result);
	assert_int_equal(*(uint64_t *)pin.address, OLD_NEAR);
	return of_result(tp_unpin(w->thread, &pin));
}

static struct outcome
call_pin_write(struct world *w)
{
	struct tp_pin pin;
	struct tp_result result = tp_pin(w->thread, w->region, NEAR, 8, TP_ACCESS_WRITE, &pin);

	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 0);
	if (!tp_result_is_ok(result))
		return of_result(result);
	*(uint64_t *)pin.address = NEW_NEAR;
	result = tp_unpin(w->thread, &pin);
	return of_result(tp_result_is_ok(result) ? result : tp_result_unknown(result.reason));
}

/* The same, submitted and waited for. */
static struct outcome
call_submit_read(struct world *w)
{
	return of_submit(w, tp_submit_read(w->thread, w->region, NEAR, &w->buffers[0], 8, &w->op));
}

static struct outcome
call_submit_write(struct world *w)
{
	w->buffers[0] = NEW_NEAR;
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	return of_submit(w, tp_submit_write(w->thread, w->region, NEAR, &w->buffers[0], 8,
		&w->op));
}

static struct outcome
call_submit_readv(struct world *w)
{
	struct tp_vector vectors[2];

	vectors_fill(w, vectors);
	return of_submit(w, tp_submit_readv(w->thread, w->region, vectors, 2, &w->op));
}

static struct outcome
call_submit_writev(struct world *w)
{
	struct tp_vector vectors[2];

	writev_prepare(w, vectors);
	return of_submit(w, tp_submit_writev(w->thread, w->region, vectors, 2, &w->op));
}

static struct outcome
call_submit_atomic(struct world *w)
{
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	w->atomic = true;
	return of_submit(w, tp_submit_atomic(w->thread, w->region, NEAR, TP_ATOMIC_ADD, 8, 1, 0,
		&w->op));
}

/* An unknown one is asked after while the fault goes on. */
static struct outcome
call_op_settle(struct world *w)
{
	call_submit_atomic(w);
	return of_result(tp_op_settle(w->thread, w->region, &w->op));
}

static struct outcome
call_atomic_settle(struct world *w)
{
	struct tp_result result;

	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	w->atomic = true;
	w->waited = true;
	result = tp_atomic_add64(w->thread, w->region, NEAR, 1, NULL);
	if (result.effect == TP_EFFECT_UNKNOWN)
		result = tp_atomic_settle(w->thread, w->region, NULL);
	return of_result(result);
}

static struct outcome
call_submit_settle(struct world *w)
{
	call_submit_atomic(w);
	return of_submit(w, tp_submit_settle(w->thread, NULL, &w->op));
}

static struct outcome
call_submit_pin(struct world *w)
{
	struct tp_pin pin;
	struct outcome outcome;

	outcome = of_submit(w, tp_submit_pin(w->thread, w->region, NEAR, 8, TP_ACCESS_READ, &pin,
		&w->op));
	if (tp_result_is_ok(outcome.result))
		outcome = of_result(tp_unpin(w->thread, &pin));
	return outcome;
}

static struct outcome
call_submit_invalidate(struct world *w)
{
	return of_submit(w, tp_submit_invalidate(w->thread, w->region, NEAR, PAGE, &w->op));
}

static struct outcome
call_submit_flush(struct world *w)
{
	return of_submit(w, tp_submit_flush(w->thread, w->region, NEAR, PAGE, &w->op));
}

static struct outcome
call_submit_clear(struct world *w)
{
	return of_submit(w, tp_submit_clear(w->thread, w->region, &w->op));
}

static struct outcome
call_submit_nop(struct world *w)
{
	return of_submit(w, tp_submit_nop(w->thread, 0, &w->op));
}

/* Polled by a program that lets time pass itself. */
static struct outcome
call_op_poll(struct world *w)
{
	w->buffers[0] = NEW_NEAR;
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	tp_submit_write(w->thread, w->region, NEAR, &w->buffers[0], 8, &w->op);
	while (!tp_op_poll(w->thread, &w->op))
		tp_sim_advance(w->sim, MS / 10);
	return of_result(w->op.result);
}

const struct call inject_accesses[] = {
	{ "tp_read", OF_DATA, call_read },
	{ "tp_write", OF_DATA, call_write },
	{ "tp_readv", OF_DATA, call_readv },
	{ "tp_writev", OF_DATA, call_writev },
	{ "tp_atomic_load64", OF_DATA, call_atomic_load },
	{ "tp_atomic_add64", OF_DATA, call_atomic_add },
	{ "tp_atomic_cas64", OF_DATA, call_atomic_cas },
	{ "tp_atomic", OF_DATA, call_atomic },
	{ "tp_pin to read, tp_unpin", OF_DATA, call_pin_read },
	{ "tp_pin to write, tp_unpin", OF_DATA, call_pin_write },
	{ "tp_submit_read, tp_op_wait", OF_DATA, call_submit_read },
	{ "tp_submit_write, tp_op_wait", OF_DATA, call_submit_write },
	{ "tp_submit_readv, tp_op_wait", OF_DATA, call_submit_readv },
	{ "tp_submit_writev, tp_op_wait", OF_DATA, call_submit_writev },
	{ "tp_submit_atomic, tp_op_wait", OF_DATA, call_submit_atomic },
	{ "tp_submit_pin, tp_op_wait", OF_DATA, call_submit_pin },
	{ "tp_submit_write, tp_op_poll", OF_DATA, call_op_poll },
	{ "tp_op_settle", OF_DATA, call_op_settle, true },
	{ "tp_submit_settle", OF_DATA, call_submit_settle, true },
	{ "tp_atomic_settle", OF_DATA, call_atomic_settle, true },
	{ "tp_invalidate", OF_COPIES, call_invalidate },
	{ "tp_flush", OF_COPIES, call_flush },
	{ "tp_clear", OF_COPIES, call_clear },
	{ "tp_submit_invalidate", OF_COPIES, call_submit_invalidate },
	{ "tp_submit_flush", OF_COPIES, call_submit_flush },
	{ "tp_submit_clear", OF_COPIES, call_submit_clear },
	{ "tp_submit_nop", OF_WORKER, call_submit_nop },
	{ .name = NULL },
};
