/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage pmem: what its files share.
 */
#ifndef PMEM_H
#define PMEM_H

#include "cli.h"
#include "tp_pmem.h"

struct pmem_options {
	uint64_t bytes;
	uint64_t number;
	uint64_t threads;
	bool blocks;
	bool list;
	bool replace;
	const char *prefix;		/* of checkpoint files; NULL: the pool's path */
	struct tp_pmem_pool_config config;
	const char *path;
};

/* One line on stderr, from what the library has to say. Returns CLI_FAILED. */
int cli_pmem_error(const char *what, const char *path, int error);

/* A string of JSON, with its quotes. */
void cli_pmem_json_text(const char *text);

int cli_pmem_checkpoint(struct cli *cli, const struct pmem_options *options);
int cli_pmem_restore(struct cli *cli, const struct pmem_options *options);
int cli_pmem_bench(struct cli *cli, const struct pmem_options *options);

#endif /* PMEM_H */
