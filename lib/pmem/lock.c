/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A lock of one word: a compare-and-swap to take it when nobody else has it, a plain
 * store to give it back, else a futex. (After Drepper, "Futexes Are Tricky", mutex 2,
 * whose release is an atomic exchange: here it would wait for the stores of the
 * section, which missed the caches, on the path of each commit.) The price: who begins to
 * wait in the very moment of a release may not be woken. So waits are bounded.
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_branch_prediction.h>
#include <rte_pause.h>

#include "pmem_priv.h"

#define LOCK_SPINS 100
#define LOCK_WAIT_NS 1000000

static_assert(sizeof(atomic_uint) == sizeof(uint32_t), "a futex");

bool
pmem_lock_try(struct pmem_lock *lock)
{
	unsigned int free = 0;

	/* acquire: pairs with the release in pmem_lock_release() */
	return atomic_compare_exchange_strong_explicit(&lock->state, &free, 1,
		memory_order_acquire, memory_order_relaxed);
}

void
pmem_lock_take(struct pmem_lock *lock)
{
	static const struct timespec wait = { .tv_nsec = LOCK_WAIT_NS };

	for (unsigned int i = 0; i < LOCK_SPINS; i++) {
		if (likely(pmem_lock_try(lock)))
			return;
		rte_pause();
	}
	/* acquire: pairs with the release in pmem_lock_release() */
	while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0)
		syscall(SYS_futex, &lock->state, FUTEX_WAIT_PRIVATE, 2, &wait, NULL, 0);
}

void
pmem_lock_release(struct pmem_lock *lock)
{
	unsigned int state = atomic_load_explicit(&lock->state, memory_order_relaxed);

	/* release: pairs with the acquires above */
	atomic_store_explicit(&lock->state, 0, memory_order_release);
	if (unlikely(state == 2))
		syscall(SYS_futex, &lock->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
