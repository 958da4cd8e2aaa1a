/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Persistent memory in one program: a transaction, a B+tree and hybrid objects.
 *
 *	pmem_accounts POOL
 *
 * keeps accounts in the pool file POOL, which the first run makes: names are keys of a
 * B+tree, whose values are ids of hybrid objects, the accounts. Each run moves money from one to
 * another and prints all; the sum is the same whenever a run is killed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tp_pmem_btree.h"
#include "tp_pmem_hybrid.h"

#define POOL_BYTES (UINT64_C(16) << 20)
#define ACCOUNTS_MAX 1000
#define SUM_FIRST 100

/* What the root of the pool leads to. Offsets, not pointers. */
struct bank {
	uint64_t names;		/* B+tree: name to id */
	uint64_t accounts;	/* hybrid objects */
	uint64_t runs;
};

struct account {
	int64_t sum;
	uint64_t moves;
};

/* A pool that is open, and what is in it. */
struct handles {
	struct tp_pmem_pool *pool;
	struct bank *bank;
	struct tp_pmem_btree *names;
	struct tp_pmem_hybrid *accounts;
	struct tp_pmem_hybrid_thread *thread;
};

static const char *const people[] = { "ada", "barbara", "grace" };

/* All of it, or after a crash nothing: there is no half made bank. */
static int
bank_make(struct tp_pmem_pool *pool)
{
	struct bank *bank;
	struct tp_pmem_tx *tx;
	uint64_t offset;
	int ret = tp_pmem_tx_begin(pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, sizeof(*bank), TP_PMEM_ALLOC_ZERO, &offset);
	if (ret == 0) {
		bank = tp_pmem_ptr(pool, offset);
		ret = tp_pmem_btree_create(tx, &bank->names);
	}
	if (ret == 0)
		ret = tp_pmem_hybrid_create(tx, sizeof(struct account), ACCOUNTS_MAX,
			TP_PMEM_HYBRID_TRANSACTION, &bank->accounts);
	if (ret == 0)
		ret = tp_pmem_tx_root_set(tx, "bank", offset);
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

/*
 * The account first, then its name: killed in between, the next run finds an account
 * without a name, and makes it again.
 */
static int
accounts_make(struct handles *handles)
{
	struct account *account = NULL;
	int ret = 0;

	for (uint32_t id = 0; id < sizeof(people) / sizeof(people[0]) && ret == 0; id++) {
		if (tp_pmem_btree_get(handles->names, NULL, people[id],
				(uint32_t)strlen(people[id]), NULL, 0) >= 0)
			continue;
		ret = tp_pmem_hybrid_edit(handles->thread, id, sizeof(*account),
			TP_PMEM_HYBRID_WHOLE, (void **)&account);
		if (ret < 0)
			break;
		account->sum = SUM_FIRST;
		ret = tp_pmem_hybrid_commit(handles->thread);
		if (ret == 0)
			ret = tp_pmem_btree_put(handles->names, NULL, people[id],
				(uint32_t)strlen(people[id]), &id, sizeof(id), TP_PMEM_BTREE_INSERT);
	}
	return ret;
}

static int
bank_open(struct handles *handles, const char *path)
{
	/* DRAM for 64 accounts is enough here; each is durable when its commit returns. */
	const struct tp_pmem_hybrid_config config = { .cache_bytes = 64 * 64,
		.policy = TP_PMEM_HYBRID_WRITE_THROUGH, .thread_count = 1 };
	int ret = tp_pmem_pool_open(path, 0, &handles->pool);

	if (ret == -ENOENT)
		ret = tp_pmem_pool_create(path, POOL_BYTES, NULL, &handles->pool);
	if (ret == 0 && tp_pmem_root_get(handles->pool, "bank") == 0)
		ret = bank_make(handles->pool);
	if (ret < 0)
		return ret;
	handles->bank = tp_pmem_ptr(handles->pool, tp_pmem_root_get(handles->pool, "bank"));
	ret = tp_pmem_btree_open(handles->pool, handles->bank->names, &handles->names);
	if (ret == 0)
		ret = tp_pmem_hybrid_open(handles->pool, handles->bank->accounts, &config,
			&handles->accounts);
	if (ret == 0)
		ret = tp_pmem_hybrid_thread_open(handles->accounts, &handles->thread);
	return ret < 0 ? ret : accounts_make(handles);
}

/* Count a run: a plain word of the pool. */
static int
run_count(struct handles *handles)
{
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(handles->pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_add_range(tx, &handles->bank->runs, sizeof(handles->bank->runs));
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	handles->bank->runs++;
	return tp_pmem_tx_commit(tx, 0);
}

/* Both accounts change, or none. */
static int
move(struct handles *handles, uint32_t from, uint32_t to, int64_t sum)
{
	struct account *a = NULL, *b = NULL;
	int ret = tp_pmem_hybrid_edit(handles->thread, from, sizeof(*a), 0, (void **)&a);

	if (ret == 0)
		ret = tp_pmem_hybrid_edit(handles->thread, to, sizeof(*b), 0, (void **)&b);
	if (ret < 0) {
		tp_pmem_hybrid_abort(handles->thread);
		return ret;
	}
	a->sum -= sum;
	b->sum += sum;
	a->moves++;
	b->moves++;
	return tp_pmem_hybrid_commit(handles->thread);
}

/* In order of names. 0: the sum is what it has to be. */
static int
show(struct handles *handles)
{
	enum tp_pmem_btree_seek how = TP_PMEM_BTREE_FIRST;
	struct tp_pmem_btree_cursor *cursor;
	const void *name, *value;
	uint32_t name_bytes, value_bytes, id;
	struct tp_pmem_hybrid_pin pin;
	int64_t sum = 0;
	int ret = tp_pmem_btree_cursor_open(handles->names, &cursor);

	if (ret < 0)
		return ret;
	while ((ret = tp_pmem_btree_cursor_move(cursor, how, NULL, 0, &name, &name_bytes, &value,
			&value_bytes)) == 0) {
		memcpy(&id, value, sizeof(id));
		ret = tp_pmem_hybrid_get(handles->thread, id, &pin);
		if (ret < 0)
			break;
		printf("%-10.*s %" PRId64 "\n", (int)name_bytes, (const char *)name,
			((const struct account *)pin.data)->sum);
		sum += ((const struct account *)pin.data)->sum;
		tp_pmem_hybrid_put(handles->thread, &pin);
		how = TP_PMEM_BTREE_NEXT;
	}
	tp_pmem_btree_cursor_close(cursor);
	printf("run %" PRIu64 ", sum %" PRId64 "\n", handles->bank->runs, sum);
	if (ret != -ENOENT)
		return ret;
	return sum == SUM_FIRST * (int64_t)(sizeof(people) / sizeof(people[0])) ? 0 : -EBADMSG;
}

int
main(int argc, char **argv)
{
	struct handles handles = { 0 };
	int ret;

	if (argc != 2) {
		fprintf(stderr, "usage: pmem_accounts POOL\n");
		return 2;
	}
	ret = bank_open(&handles, argv[1]);
	if (ret == 0)
		ret = run_count(&handles);
	if (ret == 0)
		ret = move(&handles, (uint32_t)(handles.bank->runs % 3),
			(uint32_t)((handles.bank->runs + 1) % 3), 7);
	if (ret == 0)
		ret = show(&handles);
	if (ret < 0)
		fprintf(stderr, "pmem_accounts: %s: %s\n", strerror(-ret), tp_pmem_error());
	/* The other way round: the pool last. */
	tp_pmem_hybrid_close(handles.accounts);
	tp_pmem_btree_close(handles.names);
	if (handles.pool != NULL)
		tp_pmem_pool_close(handles.pool);
	return ret < 0 ? 1 : 0;
}
