/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Checkpoint files: what comes back is what was there at one moment; a file is whole or not
 * there, whichever system call was the last; what is damaged is refused by name.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_snapshot.h"
#include "tp_pmem_tx.h"
#include "tp_pmem_volume.h"

#define POOL_BYTES (UINT64_C(8) << 20)
#define PATH_CHARS (POOL_FILE_CHARS + 32)
#define TEXT_CHARS 300

struct root {
	uint64_t value;
	uint64_t same;		/* always as value */
	uint8_t area[8192];
};

static char path[POOL_FILE_CHARS];

/*
 * The program ends at the n-th system call that writes: before it, in the middle of it.
 */
static unsigned int calls, calls_until_end;
static unsigned int unsynced;	/* writes since the last fsync */

ssize_t __real_pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int __real_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __real_link(const char *from, const char *to);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_link(const char *from, const char *to);

static bool
call_is_last(void)
{
	return ++calls == calls_until_end;
}

ssize_t
__wrap_pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
	unsynced++;
	if (call_is_last()) {
		__real_pwrite64(fd, data, bytes / 2, offset);
		_exit(7);
	}
	return __real_pwrite64(fd, data, bytes, offset);
}

int
__wrap_fsync(int fd)
{
	if (call_is_last())
		_exit(7);
	unsynced = 0;
	return __real_fsync(fd);
}

/* A name must not be there before what it names is lasting. */
int
__wrap_rename(const char *from, const char *to)
{
	if (unsynced != 0)
		_exit(8);
	if (call_is_last())
		_exit(7);
	return __real_rename(from, to);
}

int
__wrap_link(const char *from, const char *to)
{
	if (unsynced != 0)
		_exit(8);
	if (call_is_last())
		_exit(7);
	return __real_link(from, to);
}

static void
file_path(char text[PATH_CHARS], unsigned int number, const char *suffix)
{
	snprintf(text, PATH_CHARS, "%s.ckpt-%06u%s", path, number, suffix);
}

static void
all_unlink(void)
{
	char text[PATH_CHARS];

	unlink(path);
	for (unsigned int i = 1; i < 40; i++) {
		file_path(text, i, "");
		unlink(text);
		file_path(text, i, ".tmp");
		unlink(text);
	}
	snprintf(text, sizeof(text), "%s.restore-tmp", path);
	unlink(text);
}

static struct root *
root_of(struct tp_pmem_pool *pool)
{
	return tp_pmem_ptr(pool, tp_pmem_root_get(pool, "root"));
}

static void
value_set(struct tp_pmem_pool *pool, uint64_t value)
{
	struct root *root = root_of(pool);
	struct tp_pmem_tx *tx;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_add_range(tx, root, sizeof(*root)), 0);
	root->value = value;
	root->same = value;
	memset(root->area, (int)value, sizeof(root->area));
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
}

static struct tp_pmem_pool *
pool_make(const char *name)
{
	struct tp_pmem_pool *pool;
	struct tp_pmem_tx *tx;
	uint64_t offset;

	pool_file_path(path, name);
	all_unlink();
	pool = pool_file_create(path, POOL_BYTES);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, sizeof(struct root), TP_PMEM_ALLOC_ZERO, &offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "root", offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	return pool;
}

static void
value_expect(uint64_t value)
{
	struct tp_pmem_pool *pool = pool_file_open(path);
	struct tp_pmem_pool_info info;
	const struct root *root = root_of(pool);

	tp_pmem_pool_info_get(pool, &info);
	assert_true(info.was_clean);
	assert_int_equal(root->value, value);
	assert_int_equal(root->same, value);
	for (size_t i = 0; i < sizeof(root->area); i++)
		assert_int_equal(root->area[i], (uint8_t)value);
	pool_file_close(pool);
	assert_int_equal(tp_pmem_pool_check(path, false, NULL, NULL), 0);
}

/* What restore or list said of each file. */
struct said {
	unsigned int count;
	int errors[8];
	uint64_t numbers[8];
	char texts[8][TEXT_CHARS];
};

static void
said_note(void *context, const char *file, int error, const char *text,
	  const struct tp_pmem_snapshot_info *info)
{
	struct said *said = context;

	assert_true(said->count < 8);
	assert_true(strstr(file, ".ckpt-") != NULL);
	said->errors[said->count] = error;
	said->numbers[said->count] = info->number;
	snprintf(said->texts[said->count], TEXT_CHARS, "%s", text);
	said->count++;
}

static int
restore(uint64_t number, uint32_t flags, struct said *said)
{
	static struct said unused;

	if (said == NULL)
		said = &unused;
	memset(said, 0, sizeof(*said));
	return tp_pmem_snapshot_restore(path, number, path, flags, said_note, said);
}

static void
test_snapshot_restores_the_newest(void **state)
{
	struct tp_pmem_pool *pool = pool_make("snapshot");
	struct said said = { 0 };
	char text[PATH_CHARS];
	uint64_t number;

	for (uint64_t i = 1; i <= 3; i++) {
		value_set(pool, i);
		assert_int_equal(tp_pmem_snapshot_save(pool, path, &number), 0);
		assert_int_equal(number, i);
	}
	value_set(pool, 99);
	assert_int_equal(restore(0, TP_PMEM_RESTORE_REPLACE, NULL), -EBUSY);
	pool_file_close(pool);
	assert_int_equal(tp_pmem_snapshot_list(path, said_note, &said), 3);
	assert_int_equal(said.numbers[0], 3);
	assert_int_equal(said.numbers[2], 1);
	assert_int_equal(restore(0, 0, NULL), -EEXIST);
	value_expect(99);
	assert_int_equal(restore(0, TP_PMEM_RESTORE_REPLACE, &said), 0);
	assert_int_equal(said.count, 1);
	value_expect(3);
	assert_int_equal(restore(1, TP_PMEM_RESTORE_REPLACE, NULL), 0);
	value_expect(1);
	unlink(path);
	assert_int_equal(restore(2, 0, NULL), 0);
	value_expect(2);
	assert_int_equal(restore(7, TP_PMEM_RESTORE_REPLACE, NULL), -ENOENT);
	assert_int_equal(restore(0, 8, NULL), -EINVAL);
	/* Others' files are not ours. */
	snprintf(text, sizeof(text), "%s.ckpt-00004", path);
	close(open(text, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(tp_pmem_snapshot_list(path, NULL, NULL), 3);
	unlink(text);
	assert_int_equal(tp_pmem_snapshot_list("/nowhere/at/all", NULL, NULL), -ENOENT);
	all_unlink();
	assert_int_equal(restore(0, 0, NULL), -ENOENT);
	assert_int_equal(access(path, F_OK), -1);
}

/* The pool and its volume, while others change both. */
struct worker {
	struct tp_pmem_pool *pool;
	struct tp_pmem_volume *volume;
	atomic_bool stop;
};

static void *
tx_main(void *context)
{
	struct worker *worker = context;

	for (uint64_t i = 1; !atomic_load(&worker->stop); i++)
		value_set(worker->pool, i);
	return NULL;
}

/* Block 1 is written and flushed before block 0: it is never the older one. */
static void *
volume_main(void *context)
{
	struct worker *worker = context;
	uint8_t data[TP_PMEM_VOLUME_BLOCK_BYTES];

	for (uint64_t i = 1; !atomic_load(&worker->stop); i++) {
		memset(data, (int)(i % 251), sizeof(data));
		memcpy(data, &i, sizeof(i));
		assert_int_equal(tp_pmem_volume_write(worker->volume, sizeof(data), sizeof(data), data,
			TP_PMEM_VOLUME_FUA), 0);
		assert_int_equal(tp_pmem_volume_write(worker->volume, 0, sizeof(data), data, 0), 0);
	}
	return NULL;
}

static void
moment_check(uint64_t number)
{
	struct tp_pmem_volume *volume;
	struct tp_pmem_pool *pool;
	const struct root *root;
	uint64_t first = 0, second = 0;

	unlink(path);
	assert_int_equal(restore(number, 0, NULL), 0);
	pool = pool_file_open(path);
	root = root_of(pool);
	assert_int_equal(root->value, root->same);
	assert_int_equal(root->area[0], (uint8_t)root->value);
	assert_int_equal(root->area[sizeof(root->area) - 1], (uint8_t)root->value);
	assert_int_equal(tp_pmem_volume_open(pool, "disk", &volume), 0);
	assert_int_equal(tp_pmem_volume_read(volume, 0, sizeof(first), &first), 0);
	assert_int_equal(tp_pmem_volume_read(volume, 4096, sizeof(second), &second), 0);
	assert_in_range(second, first, first + 1);
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	pool_file_close(pool);
}

static void
test_snapshot_of_a_busy_pool_is_one_moment(void **state)
{
	struct worker worker = { .pool = pool_make("snapshot-busy") };
	pthread_t threads[2];

	assert_int_equal(tp_pmem_volume_create(worker.pool, "disk", 64 << 10), 0);
	assert_int_equal(tp_pmem_volume_open(worker.pool, "disk", &worker.volume), 0);
	assert_int_equal(pthread_create(&threads[0], NULL, tx_main, &worker), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, volume_main, &worker), 0);
	for (unsigned int i = 0; i < 20; i++) {
		usleep(2000);
		assert_int_equal(tp_pmem_snapshot_save(worker.pool, path, NULL), 0);
	}
	atomic_store(&worker.stop, true);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	assert_int_equal(tp_pmem_volume_close(worker.volume), 0);
	pool_file_close(worker.pool);
	for (unsigned int i = 1; i <= 20; i++)
		moment_check(i);
	all_unlink();
}

/* A pool that was not closed: what recovery finds goes into the file; the pool stays as it is. */
static void
test_snapshot_of_a_pool_not_closed_is_recovered(void **state)
{
	struct tp_pmem_pool *pool = pool_make("snapshot-dead"), *found;
	char copy[POOL_FILE_CHARS];

	value_set(pool, 5);
	pool_file_path(copy, "snapshot-dead-copy");
	pool_file_copy(path, copy);
	pool_file_close(pool);
	assert_int_equal(rename(copy, path), 0);
	assert_int_equal(tp_pmem_pool_open(path, TP_PMEM_OPEN_READ_ONLY, &found), 0);
	assert_int_equal(tp_pmem_snapshot_save(found, path, NULL), 0);
	pool_file_close(found);
	assert_int_equal(restore(0, TP_PMEM_RESTORE_REPLACE, NULL), 0);
	value_expect(5);
	all_unlink();
}

static void
file_flip(const char *file, off_t offset)
{
	int fd = open(file, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte ^= 4;
	assert_int_equal(__real_pwrite64(fd, &byte, 1, offset), 1);
	close(fd);
}

/* The newest is refused with this, the one before comes. */
static void
refused_expect(int error, const char *text)
{
	struct said said = { 0 };

	assert_int_equal(restore(0, TP_PMEM_RESTORE_REPLACE, &said), 0);
	assert_int_equal(said.count, 2);
	assert_int_equal(said.errors[0], error);
	if (strstr(said.texts[0], text) == NULL)
		fail_msg("%s: not %s", said.texts[0], text);
	assert_int_equal(said.errors[1], 0);
	value_expect(1);
	assert_int_equal(restore(2, TP_PMEM_RESTORE_REPLACE, &said), error);
	value_expect(1);
}

static void
test_snapshot_damaged_is_refused(void **state)
{
	struct tp_pmem_pool *pool = pool_make("snapshot-damage");
	char file[PATH_CHARS];
	struct said said = { 0 };
	uint32_t version = 2;
	struct stat st;
	int fd;

	value_set(pool, 1);
	assert_int_equal(tp_pmem_snapshot_save(pool, path, NULL), 0);
	value_set(pool, 2);
	assert_int_equal(tp_pmem_snapshot_save(pool, path, NULL), 0);
	pool_file_close(pool);
	file_path(file, 2, "");
	assert_int_equal(stat(file, &st), 0);
	/* Every byte of the head's fields, some of each piece, of the table. */
	for (off_t at = 0; at < st.st_size; at += at < 84 ? 1 : 4001) {
		file_flip(file, at);
		refused_expect(at < 8 ? -EMEDIUMTYPE : -EBADMSG, at < 8 ? "not a checkpoint" :
			"checksum is wrong");
		file_flip(file, at);
	}
	for (off_t at = 0; at < st.st_size; at += st.st_size / 7) {
		char whole[PATH_CHARS];

		file_path(whole, 3, ".tmp");
		pool_file_copy(file, whole);
		assert_int_equal(truncate(file, at), 0);
		refused_expect(-ENODATA, "truncated");
		assert_int_equal(__real_rename(whole, file), 0);
	}
	/* Versions are said by number: with a CRC that is right. */
	fd = open(file, O_RDWR);
	assert_int_equal(__real_pwrite64(fd, &version, 4, 8), 4);
	{
		static uint8_t head[4096];
		uint32_t crc = 0;

		assert_int_equal(pread(fd, head, sizeof(head), 0), sizeof(head));
		memset(head + 12, 0, 4);
		crc = tp_pmem_crc(0, head, sizeof(head));
		assert_int_equal(__real_pwrite64(fd, &crc, 4, 12), 4);
	}
	close(fd);
	refused_expect(-EPROTONOSUPPORT, "version 2");
	/* Both bad: nothing is restored, the pool stays. */
	file_path(file, 1, "");
	file_flip(file, 5000);
	assert_int_equal(restore(0, TP_PMEM_RESTORE_REPLACE, &said), -ENOENT);
	assert_int_equal(said.count, 2);
	value_expect(1);
	all_unlink();
}

static void
test_snapshot_of_another_pool_is_refused(void **state)
{
	struct tp_pmem_pool *pool = pool_make("snapshot-uuid");
	struct said said = { 0 };
	int fd;

	assert_int_equal(tp_pmem_snapshot_save(pool, path, NULL), 0);
	pool_file_close(pool);
	unlink(path);
	pool_file_close(pool_file_create(path, POOL_BYTES));
	assert_int_equal(restore(1, TP_PMEM_RESTORE_REPLACE, &said), -EXDEV);
	assert_true(strstr(said.texts[0], "UUID") != NULL);
	/* What is no pool is not replaced; what was one to the point of nothing is. */
	fd = open(path, O_RDWR | O_TRUNC);
	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	close(fd);
	assert_int_equal(restore(1, TP_PMEM_RESTORE_REPLACE, NULL), -EMEDIUMTYPE);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(restore(1, TP_PMEM_RESTORE_REPLACE, NULL), 0);
	value_expect(0);
	all_unlink();
}

/*
 * Every cut.
 */

/* Run in a child that ends at the n-th call. True: it came to its end. */
static bool
child_run(unsigned int until, void (*work)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		calls = 0;
		unsynced = 0;
		calls_until_end = until;
		work();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 7);
	return WEXITSTATUS(status) == 0;
}

static void
save_work(void)
{
	struct tp_pmem_pool *pool;

	if (tp_pmem_pool_open(path, TP_PMEM_OPEN_READ_ONLY, &pool) < 0 ||
			tp_pmem_snapshot_save(pool, path, NULL) < 0)
		_exit(1);
}

static void
test_snapshot_cut_while_saved_is_whole_or_not_there(void **state)
{
	struct tp_pmem_pool *pool = pool_make("snapshot-cut");
	char file[PATH_CHARS];
	unsigned int until = 0;
	bool ended;

	value_set(pool, 6);
	pool_file_close(pool);
	do {
		file_path(file, 1, "");
		unlink(file);
		ended = child_run(++until, save_work);
		assert_int_equal(tp_pmem_snapshot_list(path, NULL, NULL),
			access(file, F_OK) == 0 ? 1 : 0);
		if (ended)
			assert_int_equal(access(file, F_OK), 0);
	} while (!ended);
	assert_true(until > 6);
	print_message("%u cuts\n", until - 1);
	value_expect(6);
	assert_int_equal(restore(1, TP_PMEM_RESTORE_REPLACE, NULL), 0);
	value_expect(6);
	all_unlink();
}

/* Files that take the name of a device would hide it, and be in memory. */
static void
test_snapshot_of_and_to_a_device_is_refused(void **state)
{
	struct tp_pmem_pool *pool = pool_make("snapshot-device");
	char device[PATH_CHARS], text[PATH_CHARS + 16];
	struct stat st;

	value_set(pool, 1);
	snprintf(device, sizeof(device), "%s.device", path);
	unlink(device);
	assert_int_equal(symlink("/dev/zero", device), 0);
	assert_int_equal(tp_pmem_snapshot_save(pool, device, NULL), -EINVAL);
	assert_non_null(strstr(tp_pmem_error(), "a device"));
	snprintf(text, sizeof(text), "%s.ckpt-000001", device);
	assert_int_equal(access(text, F_OK), -1);
	assert_int_equal(tp_pmem_snapshot_save(pool, path, NULL), 0);
	pool_file_close(pool);
	for (uint32_t flags = 0; flags <= TP_PMEM_RESTORE_REPLACE; flags++) {
		assert_int_equal(tp_pmem_snapshot_restore(path, 0, device, flags, NULL, NULL),
			-ENOTSUP);
		assert_non_null(strstr(tp_pmem_error(), "a device"));
	}
	assert_int_equal(lstat(device, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	unlink(device);
	all_unlink();
}

static void
restore_work(void)
{
	if (restore(0, TP_PMEM_RESTORE_REPLACE, NULL) < 0)
		_exit(1);
}

static void
test_snapshot_cut_while_restored_is_old_or_new(void **state)
{
	for (unsigned int there = 0; there < 2; there++) {
		struct tp_pmem_pool *pool = pool_make("snapshot-recut");
		unsigned int until = 0;
		bool ended, done = false;

		value_set(pool, 1);
		assert_int_equal(tp_pmem_snapshot_save(pool, path, NULL), 0);
		value_set(pool, 2);
		pool_file_close(pool);
		if (!there)
			unlink(path);
		do {
			ended = child_run(++until, restore_work);
			/* The last call is the fsync of the folder: the name is there by then. */
			if (access(path, F_OK) == 0) {
				pool = pool_file_open(path);
				done = root_of(pool)->value == 1;
				pool_file_close(pool);
				value_expect(done ? 1 : 2);
			}
			assert_true(there || done || access(path, F_OK) != 0);
			if (!there && done && !ended)
				unlink(path);
		} while (!ended);
		assert_true(done && until > 5);
		value_expect(1);
		all_unlink();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_snapshot_restores_the_newest),
		cmocka_unit_test(test_snapshot_of_a_busy_pool_is_one_moment),
		cmocka_unit_test(test_snapshot_of_a_pool_not_closed_is_recovered),
		cmocka_unit_test(test_snapshot_damaged_is_refused),
		cmocka_unit_test(test_snapshot_of_and_to_a_device_is_refused),
		cmocka_unit_test(test_snapshot_of_another_pool_is_refused),
		cmocka_unit_test(test_snapshot_cut_while_saved_is_whole_or_not_there),
		cmocka_unit_test(test_snapshot_cut_while_restored_is_old_or_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
