/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tp_segment.h"

#define KIB 1024u

static struct tp_segment *
segment_make(enum tp_segment_type type, size_t bytes)
{
	struct tp_segment_config config = { .type = type, .bytes = bytes, .name = "test" };
	struct tp_segment *segment = NULL;

	assert_int_equal(tp_segment_create(&config, &segment), 0);
	return segment;
}

/* A name in a fresh directory; nothing exists there. */
static void
path_make(char *dir, char *path, size_t path_bytes)
{
	strcpy(dir, "/tmp/tp_segment_XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, path_bytes, "%s/file", dir);
}

static void
test_segment_every_memory_type_is_zeroed_writable_and_rounded(void **state)
{
	static const enum tp_segment_type types[] = { TP_SEGMENT_HEAP, TP_SEGMENT_SHARED,
						      TP_SEGMENT_HUGE };

	for (unsigned int i = 0; i < 3; i++) {
		struct tp_segment *segment = segment_make(types[i], 5000);
		uint8_t *base = tp_segment_base(segment);
		size_t bytes = tp_segment_bytes(segment);

		assert_true(tp_segment_type(segment) == types[i] ||
			    (types[i] == TP_SEGMENT_HUGE &&
			     tp_segment_type(segment) == TP_SEGMENT_SHARED));
		assert_int_equal(bytes, types[i] == TP_SEGMENT_HUGE ? 2048 * KIB : 8 * KIB);
		assert_false(tp_segment_readonly(segment));
		assert_true(tp_segment_fd(segment) >= 0);
		assert_int_equal(base[0] | base[bytes - 1], 0);
		memset(base, 0xa5, bytes);
		/* Sealed: nobody can take pages away. */
		assert_int_equal(ftruncate(tp_segment_fd(segment), 0), -1);
		assert_int_equal(ftruncate(tp_segment_fd(segment), (off_t)bytes * 2), -1);
		tp_segment_destroy(segment);
	}
}

static void
test_segment_huge_without_enough_pages_falls_back_to_shared(void **state)
{
	/* Far more than any test machine reserves, and never touched as huge. */
	struct tp_segment_config config = { .type = TP_SEGMENT_HUGE, .bytes = 16 * KIB };
	struct tp_segment *segment, *hog = NULL;
	unsigned long free_pages = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "r");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		sscanf(line, "HugePages_Free: %lu", &free_pages);
	fclose(file);
	if (free_pages > 512)
		skip();
	if (free_pages > 0)
		hog = segment_make(TP_SEGMENT_HUGE, free_pages * 2048 * KIB);
	assert_int_equal(tp_segment_create(&config, &segment), 0);
	assert_int_equal(tp_segment_type(segment), TP_SEGMENT_SHARED);
	assert_int_equal(tp_segment_bytes(segment), 2048 * KIB);
	tp_segment_destroy(segment);
	tp_segment_destroy(hog);
}

static void
test_segment_shared_takes_pages_at_once_and_sparse_none(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_SHARED, .bytes = 64 * KIB };
	struct tp_segment *full, *sparse;
	struct stat st;

	assert_int_equal(tp_segment_create(&config, &full), 0);
	config.sparse = true;
	assert_int_equal(tp_segment_create(&config, &sparse), 0);
	assert_int_equal(fstat(tp_segment_fd(full), &st), 0);
	assert_int_equal(st.st_blocks * 512, 64 * KIB);
	assert_int_equal(fstat(tp_segment_fd(sparse), &st), 0);
	assert_int_equal(st.st_blocks, 0);
	tp_segment_destroy(full);
	tp_segment_destroy(sparse);
}

static void
test_segment_fixed_address_is_kept_or_refused(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_HEAP, .bytes = 64 * KIB };
	struct tp_segment *first, *second = NULL;
	void *address = mmap(NULL, 64 * KIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* A place that is free, whatever a sanitizer keeps for itself. */
	assert_ptr_not_equal(address, MAP_FAILED);
	munmap(address, 64 * KIB);
	config.address = address;
	assert_int_equal(tp_segment_create(&config, &first), 0);
	assert_ptr_equal(tp_segment_base(first), address);
	assert_int_equal(tp_segment_create(&config, &second), -EEXIST);
	assert_null(second);
	config.address = (char *)address + 1;
	assert_int_equal(tp_segment_create(&config, &second), -EINVAL);
	tp_segment_destroy(first);
}

static void
test_segment_bad_config_is_refused(void **state)
{
	const struct tp_segment_config bad[] = {
		{ .type = TP_SEGMENT_ANY, .bytes = 4096 },
		{ .type = TP_SEGMENT_TYPE_COUNT, .bytes = 4096 },
		{ .type = TP_SEGMENT_SHARED, .bytes = 0 },
		{ .type = TP_SEGMENT_SHARED, .bytes = SIZE_MAX },
		{ .type = TP_SEGMENT_SHARED, .bytes = 4096, .readonly = true },
		{ .type = TP_SEGMENT_HUGE, .bytes = 4096, .sparse = true },
		{ .type = TP_SEGMENT_FILE, .bytes = 4096 },
		{ .type = TP_SEGMENT_FILE, .bytes = 0, .path = "/tmp/tp_never_made" },
		{ .type = TP_SEGMENT_FILE, .path = "/tmp", .file_mode = 9 },
	};
	struct tp_segment *segment = NULL;

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(tp_segment_create(&bad[i], &segment), -EINVAL);
	assert_null(segment);
	assert_int_equal(access("/tmp/tp_never_made", F_OK), -1);
	tp_segment_destroy(NULL);
}

static void
test_segment_file_is_created_opened_and_kept(void **state)
{
	char dir[64], path[80];
	struct tp_segment_config config = { .type = TP_SEGMENT_FILE, .path = path, .bytes = 8192 };
	struct tp_segment *segment = NULL;

	path_make(dir, path, sizeof(path));
	config.file_mode = TP_SEGMENT_FILE_OPEN;
	assert_int_equal(tp_segment_create(&config, &segment), -ENOENT);
	config.file_mode = TP_SEGMENT_FILE_CREATE;
	assert_int_equal(tp_segment_create(&config, &segment), 0);
	strcpy(tp_segment_base(segment), "kept");
	tp_segment_destroy(segment);
	assert_int_equal(tp_segment_create(&config, &segment), -EEXIST);

	config.file_mode = TP_SEGMENT_FILE_OPEN;
	config.bytes = 0;
	assert_int_equal(tp_segment_create(&config, &segment), 0);
	assert_int_equal(tp_segment_bytes(segment), 8192);
	assert_string_equal(tp_segment_base(segment), "kept");
	tp_segment_destroy(segment);
	config.bytes = 8193;
	assert_int_equal(tp_segment_create(&config, &segment), -ENODATA);

	assert_int_equal(truncate(path, 0), 0);
	config.bytes = 0;
	assert_int_equal(tp_segment_create(&config, &segment), -ENODATA);
	unlink(path);
	rmdir(dir);
}

static void
test_segment_file_readonly_reads_and_faults_on_store(void **state)
{
	char dir[64], path[80];
	struct tp_segment_config config = { .type = TP_SEGMENT_FILE, .path = path, .bytes = 4096 };
	struct tp_segment *segment;
	int status;
	pid_t pid;

	path_make(dir, path, sizeof(path));
	assert_int_equal(tp_segment_create(&config, &segment), 0);
	strcpy(tp_segment_base(segment), "kept");
	tp_segment_destroy(segment);
	config.file_mode = TP_SEGMENT_FILE_OPEN_READONLY;
	assert_int_equal(tp_segment_create(&config, &segment), 0);
	assert_true(tp_segment_readonly(segment));
	assert_string_equal(tp_segment_base(segment), "kept");
	pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)tp_segment_base(segment) = 0;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	tp_segment_destroy(segment);
	unlink(path);
	rmdir(dir);
}

static void
test_segment_import_shares_the_bytes(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_SHARED, .bytes = 4096 };
	struct tp_segment *mine = segment_make(TP_SEGMENT_SHARED, 8192);
	struct tp_segment *theirs;

	assert_int_equal(tp_segment_import(dup(tp_segment_fd(mine)), &config, &theirs), 0);
	assert_int_equal(tp_segment_bytes(theirs), 8192);
	assert_int_equal(tp_segment_type(theirs), TP_SEGMENT_SHARED);
	strcpy(tp_segment_base(mine), "across");
	assert_string_equal(tp_segment_base(theirs), "across");
	tp_segment_destroy(mine);
	assert_string_equal(tp_segment_base(theirs), "across");
	tp_segment_destroy(theirs);
}

static void
test_segment_import_of_bad_fd_is_refused_and_left_open(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_ANY };
	struct tp_segment *segment = NULL;
	int memory = memfd_create("t", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	int fixed = memfd_create("t", MFD_CLOEXEC);
	int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int socks[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, socks), 0);
	assert_int_equal(tp_segment_import(-1, &config, &segment), -EBADF);
	assert_int_equal(tp_segment_import(socks[0], &config, &segment), -EMEDIUMTYPE);
	assert_int_equal(tp_segment_import(memory, &config, &segment), -ENODATA);
	/* A memfd that could be cut under our feet and cannot be sealed. */
	assert_int_equal(ftruncate(fixed, 4096), 0);
	assert_int_equal(tp_segment_import(fixed, &config, &segment), -EPERM);
	config.type = TP_SEGMENT_HUGE;
	assert_int_equal(tp_segment_import(memory, &config, &segment), -EMEDIUMTYPE);
	config.type = TP_SEGMENT_FILE;
	assert_int_equal(tp_segment_import(socks[0], &config, &segment), -EINVAL);
	config.type = TP_SEGMENT_TYPE_COUNT;
	assert_int_equal(tp_segment_import(memory, &config, &segment), -EINVAL);
	if (file >= 0) {
		config.type = TP_SEGMENT_FILE;
		assert_int_equal(ftruncate(file, 4096), 0);
		config.bytes = 4097;
		assert_int_equal(tp_segment_import(file, &config, &segment), -ENODATA);
		config.bytes = 0;
		assert_int_equal(tp_segment_import(file, &config, &segment), 0);
		assert_int_equal(tp_segment_type(segment), TP_SEGMENT_FILE);
		tp_segment_destroy(segment);
	}
	assert_true(fcntl(memory, F_GETFD) >= 0);
	close(memory);
	close(fixed);
	close(socks[0]);
	close(socks[1]);
}

static void
test_segment_fd_closed_the_mapping_stays(void **state)
{
	struct tp_segment *segment = segment_make(TP_SEGMENT_SHARED, 4096);
	int fd = tp_segment_fd(segment), again;

	strcpy(tp_segment_base(segment), "still here");
	tp_segment_fd_close(segment);
	assert_int_equal(tp_segment_fd(segment), -1);
	again = dup(0);
	assert_true(again <= fd);
	tp_segment_fd_close(segment);
	assert_string_equal(tp_segment_base(segment), "still here");
	tp_segment_destroy(segment);
	/* Whoever has the number by now keeps it. */
	assert_int_equal(close(again), 0);
}

static void
test_segment_import_seals_an_unsealed_memfd(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_ANY, .bytes = 4096 };
	struct tp_segment *segment;
	int fd = memfd_create("t", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(tp_segment_import(fd, &config, &segment), 0);
	assert_int_equal(ftruncate(fd, 0), -1);
	tp_segment_destroy(segment);
}

static void
test_segment_import_readonly_descriptor_needs_readonly(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_ANY };
	struct tp_segment *mine = segment_make(TP_SEGMENT_SHARED, 4096);
	struct tp_segment *theirs;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", tp_segment_fd(mine));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(tp_segment_import(fd, &config, &theirs), -EACCES);
	config.readonly = true;
	assert_int_equal(tp_segment_import(fd, &config, &theirs), 0);
	strcpy(tp_segment_base(mine), "seen");
	assert_string_equal(tp_segment_base(theirs), "seen");
	tp_segment_destroy(theirs);
	tp_segment_destroy(mine);
}

static void
test_segment_type_every_one_has_a_name(void **state)
{
	for (unsigned int i = 0; i < TP_SEGMENT_TYPE_COUNT; i++)
		assert_string_not_equal(tp_segment_type_name(i), "unknown");
	assert_string_equal(tp_segment_type_name(TP_SEGMENT_TYPE_COUNT), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segment_every_memory_type_is_zeroed_writable_and_rounded),
		cmocka_unit_test(test_segment_huge_without_enough_pages_falls_back_to_shared),
		cmocka_unit_test(test_segment_shared_takes_pages_at_once_and_sparse_none),
		cmocka_unit_test(test_segment_fixed_address_is_kept_or_refused),
		cmocka_unit_test(test_segment_bad_config_is_refused),
		cmocka_unit_test(test_segment_file_is_created_opened_and_kept),
		cmocka_unit_test(test_segment_file_readonly_reads_and_faults_on_store),
		cmocka_unit_test(test_segment_import_shares_the_bytes),
		cmocka_unit_test(test_segment_import_of_bad_fd_is_refused_and_left_open),
		cmocka_unit_test(test_segment_fd_closed_the_mapping_stays),
		cmocka_unit_test(test_segment_import_seals_an_unsealed_memfd),
		cmocka_unit_test(test_segment_import_readonly_descriptor_needs_readonly),
		cmocka_unit_test(test_segment_type_every_one_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
