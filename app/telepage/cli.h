/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage, the command: what its files share. One file a subject, one row a
 * command in main.c; all state is in struct cli.
 */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_client.h"

/* Exit codes. */
#define CLI_OK 0
#define CLI_FAILED 1
#define CLI_USAGE 2

struct cli {
	const char *prefix;
	const char *socket;
	const char *eal_arguments;	/* NULL: attach without EAL */
	uint64_t timeout_ns;
	bool json;
	struct tp_client *client;
	struct tp_thread *thread;
};

struct cli_command {
	const char *name;
	const char *arguments;		/* for the usage line */
	const char *help;
	bool needs_node;
	int (*run)(struct cli *cli, int argc, char **argv);	/* argv[0] is the name; exit code */
};

extern const struct cli_command cli_commands[];

int cli_status(struct cli *cli, int argc, char **argv);
int cli_stats(struct cli *cli, int argc, char **argv);
int cli_region(struct cli *cli, int argc, char **argv);
int cli_put(struct cli *cli, int argc, char **argv);
int cli_get(struct cli *cli, int argc, char **argv);
int cli_persist(struct cli *cli, int argc, char **argv);
int cli_atomic(struct cli *cli, int argc, char **argv);
int cli_inject(struct cli *cli, int argc, char **argv);
int cli_pmem(struct cli *cli, int argc, char **argv);
int cli_protocol(struct cli *cli, int argc, char **argv);

/* One line on stderr, "telepage: " in front. Returns CLI_FAILED. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for a wrong command line; returns CLI_USAGE. */
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What an error of a client call means to a person. */
const char *cli_strerror(int error);
/* "timeout, not done" and the like; points into a static buffer of the caller's. */
const char *cli_result_text(struct tp_result result, char *text, size_t text_bytes);
/*
 * The cluster may be busy finding out that a node is gone: true, after a short
 * sleep, while --timeout has not passed since the first failure. *until_ns is 0
 * before that.
 */
bool cli_may_repeat(const struct cli *cli, struct tp_result result, uint64_t *until_ns);
/* A region by name, or an error message. */
int cli_region_open(struct cli *cli, const char *name, struct tp_client_region **region);

/* parse.c: false for anything but a whole number in range. Sizes take K, M, G, T. */
bool cli_parse_number(const char *text, uint64_t max, uint64_t *value);
bool cli_parse_size(const char *text, uint64_t *bytes);
/* Numbers with commas in between. Returns how many, 0: wrong or more than max. */
uint32_t cli_parse_list(const char *text, uint16_t *values, uint32_t max);

/* latency.c: how long calls took, in classes of about 3 %. */
struct cli_latency;
enum cli_latency_kind { CLI_LATENCY_HIT, CLI_LATENCY_MISS, CLI_LATENCY_KINDS };
struct cli_latency *cli_latency_create(void);
void cli_latency_destroy(struct cli_latency *latency);
void cli_latency_add(struct cli_latency *latency, enum cli_latency_kind kind, uint64_t ns);
uint64_t cli_latency_count(const struct cli_latency *latency, enum cli_latency_kind kind);
/* ns that @p permille of the calls stayed below. */
uint64_t cli_latency_quantile(const struct cli_latency *latency, enum cli_latency_kind kind,
			      uint32_t permille);

uint64_t cli_now_ns(void);
/* Since tp_client_tsc() was start: the clock to read around single calls. */
uint64_t cli_elapsed_ns(const struct cli *cli, uint64_t start);

#endif /* CLI_H */
