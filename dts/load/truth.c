/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The truth about the words, in a file on this machine: see struct load_truth.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "load.h"

bool
load_truth_map(struct load *load)
{
	size_t bytes = load->words * sizeof(*load->truth);
	void *memory;
	int fd;

	if (load->truth_path == NULL)
		return true;
	fd = open(load->truth_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	/* Whoever comes first makes it; growing it again changes nothing. */
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
		fprintf(stderr, "telepage-load: %s: %s\n", load->truth_path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory == MAP_FAILED) {
		fprintf(stderr, "telepage-load: cannot map %s\n", load->truth_path);
		return false;
	}
	load->truth = memory;
	return true;
}

void
load_truth_begin(struct load *load, uint64_t word)
{
	if (load->truth != NULL)
		atomic_fetch_add_explicit(&load->truth[word].begun, 1, memory_order_seq_cst);
}

void
load_truth_end(struct load *load, uint64_t word)
{
	if (load->truth != NULL)
		atomic_fetch_add_explicit(&load->truth[word].ended, 1, memory_order_seq_cst);
}
