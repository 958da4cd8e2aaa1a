/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <rte_common.h>
#include <rte_errno.h>

#include "store_dir.h"

static int
get(struct tp_store *store, const char *key, uint64_t *version)
{
	char value[64] = "";
	size_t bytes = 0;
	int ret = tp_store_get(store, key, value, sizeof(value), &bytes, version);

	return ret < 0 ? ret : atoi(value);
}

static int
put(struct tp_store *store, const char *key, int number)
{
	char value[64];
	uint64_t version = 0;

	snprintf(value, sizeof(value), "%d", number);
	tp_store_get(store, key, NULL, 0, NULL, &version);
	return tp_store_cas(store, key, version, value, strlen(value) + 1, NULL);
}

static void
test_store_url_bad_is_refused(void **state)
{
	static const struct {
		const char *url;
		int error;
	} cases[] = {
		{ "", EINVAL },
		{ ":/tmp", EINVAL },
		{ "file", EINVAL },
		{ "file:relative/path", EINVAL },
		{ "etcd://localhost", EPROTONOSUPPORT },
		{ "fil:/tmp", EPROTONOSUPPORT },
		{ "file:/proc/version/x", ENOTDIR },
	};

	for (size_t i = 0; i < RTE_DIM(cases); i++) {
		rte_errno = 0;
		assert_null(tp_store_open(cases[i].url));
		assert_int_equal(rte_errno, cases[i].error);
	}
	tp_store_close(NULL);
}

static void
test_store_key_bad_is_refused(void **state)
{
	struct tp_store *store = store_dir_open();
	static const char *const bad[] = { "", "/", "a/", "/a", "a//b", "..", "a/../b", ".a",
		"a/.b", "A", "a b", "a\n", "\xc3\xa4", "a%b", "a\\b" };
	char longest[TP_STORE_KEY_MAX + 2];

	for (size_t i = 0; i < RTE_DIM(bad); i++) {
		assert_int_equal(get(store, bad[i], NULL), -EINVAL);
		assert_int_equal(tp_store_cas(store, bad[i], 0, "x", 1, NULL), -EINVAL);
		assert_int_equal(tp_store_delete(store, bad[i], 1), -EINVAL);
	}
	memset(longest, 'k', sizeof(longest));
	longest[TP_STORE_KEY_MAX + 1] = '\0';
	assert_int_equal(put(store, longest, 1), -EINVAL);
	longest[TP_STORE_KEY_MAX] = '\0';
	assert_int_equal(put(store, longest, 1), 0);
	assert_int_equal(get(store, longest, NULL), 1);
	assert_int_equal(put(store, "a.b_c-d/0", 2), 0);
	tp_store_close(store);
}

static void
test_store_cas_checks_the_version(void **state)
{
	struct tp_store *store = store_dir_open();
	uint64_t first;
	uint64_t second;
	uint64_t read;

	assert_int_equal(get(store, "k", NULL), -ENOENT);
	assert_int_equal(tp_store_cas(store, "k", 3, "1", 2, NULL), -EAGAIN);
	assert_int_equal(tp_store_cas(store, "k", 0, "1", 2, &first), 0);
	assert_int_equal(tp_store_cas(store, "k", 0, "2", 2, NULL), -EAGAIN);
	assert_int_equal(get(store, "k", &read), 1);
	assert_int_equal(read, first);
	assert_int_equal(tp_store_cas(store, "k", first, "2", 2, &second), 0);
	assert_true(second > first);
	assert_int_equal(tp_store_cas(store, "k", first, "3", 2, NULL), -EAGAIN);
	assert_int_equal(get(store, "k", NULL), 2);
	assert_int_equal(store_dir_file_count(), 1);
	tp_store_close(store);
}

static void
test_store_deleted_key_never_gets_an_old_version(void **state)
{
	struct tp_store *store = store_dir_open();
	uint64_t first;
	uint64_t second;

	assert_int_equal(tp_store_delete(store, "k", 1), -ENOENT);
	assert_int_equal(tp_store_cas(store, "k", 0, "1", 2, &first), 0);
	assert_int_equal(tp_store_delete(store, "k", first + 1), -EAGAIN);
	assert_int_equal(tp_store_delete(store, "k", first), 0);
	assert_int_equal(tp_store_delete(store, "k", first), -ENOENT);
	assert_int_equal(get(store, "k", NULL), -ENOENT);
	assert_int_equal(tp_store_cas(store, "k", first, "2", 2, NULL), -EAGAIN);
	assert_int_equal(store_dir_file_count(), 0);
	assert_int_equal(tp_store_cas(store, "k", 0, "2", 2, &second), 0);
	assert_true(second > first);
	tp_store_close(store);
}

static void
test_store_values_of_any_size_come_back(void **state)
{
	struct tp_store *store = store_dir_open();
	static unsigned char value[TP_STORE_VALUE_MAX + 1];
	static unsigned char read[TP_STORE_VALUE_MAX];
	size_t sizes[] = { 0, 1, 4095, 65536, TP_STORE_VALUE_MAX };
	uint64_t version = 0;
	uint64_t seed = 3;
	size_t bytes;

	for (size_t i = 0; i < sizeof(value); i++)
		value[i] = (unsigned char)random_next(&seed);
	for (size_t i = 0; i < RTE_DIM(sizes); i++) {
		assert_int_equal(tp_store_cas(store, "k", version, value, sizes[i], &version), 0);
		assert_int_equal(tp_store_get(store, "k", read, sizeof(read), &bytes, NULL), 0);
		assert_int_equal(bytes, sizes[i]);
		assert_memory_equal(read, value, bytes);
	}
	assert_int_equal(tp_store_cas(store, "k", version, value, sizeof(value), NULL), -EMSGSIZE);
	assert_int_equal(tp_store_get(store, "k", read, 10, &bytes, NULL), -EMSGSIZE);
	assert_int_equal(bytes, TP_STORE_VALUE_MAX);
	tp_store_close(store);
}

struct listing {
	char text[1024];
	int stop_after;
};

static int
list_one(void *ctx, const char *key)
{
	struct listing *listing = ctx;

	strcat(listing->text, key);
	strcat(listing->text, " ");
	return --listing->stop_after == 0 ? 77 : 0;
}

static void
test_store_list_is_sorted_and_by_prefix(void **state)
{
	struct tp_store *store = store_dir_open();
	static const char *const keys[] = {
		"node/2", "region/b", "node/10", "nodes", "region/a/c",
	};
	struct listing all = { "", 0 };
	struct listing nodes = { "", 0 };
	struct listing first = { "", 1 };

	for (size_t i = 0; i < RTE_DIM(keys); i++)
		assert_int_equal(put(store, keys[i], (int)i), 0);
	assert_int_equal(tp_store_list(store, "", list_one, &all), 0);
	assert_string_equal(all.text, "node/10 node/2 nodes region/a/c region/b ");
	assert_int_equal(tp_store_list(store, "node/", list_one, &nodes), 0);
	assert_string_equal(nodes.text, "node/10 node/2 ");
	assert_int_equal(tp_store_list(store, "region/", list_one, &first), 77);
	assert_string_equal(first.text, "region/a/c ");
	tp_store_close(store);
}

static void
test_store_revision_follows_other_handles(void **state)
{
	struct tp_store *store = store_dir_open();
	struct tp_store *other = store_dir_open();
	uint64_t revision = tp_store_revision(store, "node");
	uint64_t regions = tp_store_revision(store, "region");
	uint64_t version;

	assert_true(revision != 0);
	assert_int_equal(tp_store_revision(store, "node"), revision);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(put(other, "node/1", i), 0);
		assert_int_not_equal(tp_store_revision(store, "node"), revision);
		revision = tp_store_revision(store, "node");
		assert_int_equal(tp_store_revision(store, "node"), revision);
	}
	assert_int_equal(get(store, "node/1", &version), 9);
	assert_int_equal(tp_store_delete(other, "node/1", version), 0);
	assert_int_not_equal(tp_store_revision(store, "node"), revision);
	revision = tp_store_revision(store, "node");
	/* What did not happen is no change. */
	assert_int_equal(tp_store_cas(other, "node/1", 5, "x", 1, NULL), -EAGAIN);
	assert_int_equal(tp_store_revision(store, "node"), revision);
	assert_int_equal(tp_store_revision(store, "region"), regions);
	tp_store_close(other);
	tp_store_close(store);
}

static void
test_store_reopened_holds_what_was_written(void **state)
{
	struct tp_store *store = store_dir_open();

	assert_int_equal(put(store, "a/b", 5), 0);
	tp_store_close(store);
	store = store_dir_open();
	assert_int_equal(get(store, "a/b", NULL), 5);
	tp_store_close(store);
}

/* Every single flipped bit, and every cut, of a value file is found. */
static void
test_store_damaged_value_is_refused(void **state)
{
	struct tp_store *store = store_dir_open();
	unsigned char bytes[256];
	const char *path;
	ssize_t length;
	int fd;

	assert_int_equal(put(store, "some/key", 12345), 0);
	path = store_dir_value_file();
	assert_non_null(path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	length = pread(fd, bytes, sizeof(bytes), 0);
	assert_true(length > 24);
	for (ssize_t i = 0; i < length; i++)
		for (int bit = 0; bit < 8; bit++) {
			unsigned char damaged = bytes[i] ^ (unsigned char)(1 << bit);

			assert_int_equal(pwrite(fd, &damaged, 1, i), 1);
			assert_int_equal(get(store, "some/key", NULL), -EBADMSG);
			assert_int_equal(pwrite(fd, &bytes[i], 1, i), 1);
		}
	for (ssize_t cut = 0; cut < length; cut++) {
		assert_int_equal(ftruncate(fd, cut), 0);
		assert_int_equal(get(store, "some/key", NULL), -EBADMSG);
	}
	assert_int_equal(pwrite(fd, bytes, (size_t)length, 0), length);
	assert_int_equal(get(store, "some/key", NULL), 12345);
	assert_int_equal(pwrite(fd, "x", 1, length), 1);
	assert_int_equal(get(store, "some/key", NULL), -EBADMSG);
	close(fd);
	unlink(path);
	assert_int_equal(get(store, "some/key", NULL), -EBADMSG);
	tp_store_close(store);
}

static void
test_store_damaged_value_does_not_hide_others_in_a_list(void **state)
{
	struct tp_store *store = store_dir_open();
	struct listing listing = { "", 0 };
	const char *path;

	assert_int_equal(put(store, "node/1", 1), 0);
	path = store_dir_value_file();
	assert_int_equal(truncate(path, 10), 0);
	assert_int_equal(put(store, "node/2", 1), 0);
	assert_int_equal(tp_store_list(store, "node/", list_one, &listing), 0);
	assert_string_equal(listing.text, "node/2 ");
	tp_store_close(store);
}

static void
test_store_foreign_index_is_refused(void **state)
{
	struct tp_store *store = store_dir_open();
	char path[5000];
	int fd;

	tp_store_close(store);
	snprintf(path, sizeof(path), "%s/index", store_dir_path());
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "XXXX", 4, 0), 4);
	assert_null(tp_store_open(store_dir_url()));
	assert_int_equal(rte_errno, EBADMSG);
	assert_int_equal(pwrite(fd, "TPSI", 4, 0), 4);
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_null(tp_store_open(store_dir_url()));
	assert_int_equal(rte_errno, EBADMSG);
	close(fd);
}

static void
make_file(const char *name)
{
	char path[5000];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", store_dir_path(), name);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void
test_store_open_removes_superseded_files_only(void **state)
{
	struct tp_store *store = store_dir_open();
	char name[64];
	char current[5000];
	unsigned int slot;
	unsigned long version;

	for (int i = 0; i < 5; i++)
		assert_int_equal(put(store, "k", i), 0);
	snprintf(current, sizeof(current), "%s", store_dir_value_file());
	assert_int_equal(sscanf(strrchr(current, '/') + 1, "%x.%lx", &slot, &version), 2);
	snprintf(name, sizeof(name), "%04x.%016lx", slot, version - 1);
	make_file(name);
	make_file("new.1.2");
	/* Of a writer that may still commit it, and of somebody else. */
	snprintf(name, sizeof(name), "%04x.%016lx", slot, version + 1);
	make_file(name);
	make_file("ffff.readme");
	assert_int_equal(store_dir_file_count(), 5);
	tp_store_close(store);
	store = store_dir_open();
	assert_int_equal(store_dir_file_count(), 3);
	assert_int_equal(get(store, "k", NULL), 4);
	tp_store_close(store);
}

static void
test_store_full_of_keys_refuses_another(void **state)
{
	struct tp_store *store = store_dir_open();
	uint64_t version;
	char key[32];
	int ret = 0;
	int i;

	/* Deleted keys keep their place, so this needs no files. */
	for (i = 0; i < 9000 && ret == 0; i++) {
		snprintf(key, sizeof(key), "k/%d", i);
		ret = tp_store_cas(store, key, 0, "", 0, &version);
		if (ret == 0)
			assert_int_equal(tp_store_delete(store, key, version), 0);
	}
	assert_int_equal(ret, -ENOSPC);
	assert_int_equal(i - 1, 8192);
	assert_int_equal(get(store, key, NULL), -ENOENT);
	assert_int_equal(tp_store_cas(store, "k/0", 0, "1", 2, NULL), 0);
	assert_int_equal(get(store, "k/0", NULL), 1);
	tp_store_close(store);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_dir_setup, store_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_store_url_bad_is_refused),
		STORE_TEST(test_store_key_bad_is_refused),
		STORE_TEST(test_store_cas_checks_the_version),
		STORE_TEST(test_store_deleted_key_never_gets_an_old_version),
		STORE_TEST(test_store_values_of_any_size_come_back),
		STORE_TEST(test_store_list_is_sorted_and_by_prefix),
		STORE_TEST(test_store_revision_follows_other_handles),
		STORE_TEST(test_store_reopened_holds_what_was_written),
		STORE_TEST(test_store_damaged_value_is_refused),
		STORE_TEST(test_store_damaged_value_does_not_hide_others_in_a_list),
		STORE_TEST(test_store_foreign_index_is_refused),
		STORE_TEST(test_store_open_removes_superseded_files_only),
		STORE_TEST(test_store_full_of_keys_refuses_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
