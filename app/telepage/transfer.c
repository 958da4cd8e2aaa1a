/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage put, get: a file into a region and back.
 *
 * How it works: the range is cut into chunks, and a window of them is in flight
 * at once in a ring of slots; the oldest is waited for, so that the file is read
 * and written in order. With --latency one page is in flight at a time, and each
 * page is asked again for 8 bytes, which are a hit by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#define TRANSFER_WINDOW 4	/* each asks ahead for pages of its own */
#define TRANSFER_CHUNK 65536u
#define TRANSFER_PROGRESS_NS 200000000ull

struct transfer_slot {
	struct tp_op op;
	uint8_t *buffer;
	uint64_t offset;
	uint32_t bytes;
	uint64_t started_tsc;
};

struct transfer {
	struct cli *cli;
	const char *file_name;
	const char *verb;		/* "put" or "get" */
	bool put;
	bool to_stdout;			/* data on stdout: the summary goes to stderr */
	int fd;
	struct tp_client_region *region;
	uint64_t offset;		/* of the next chunk */
	uint64_t left;			/* bytes not yet in a chunk */
	uint64_t total;			/* bytes of all, 0: not known */
	uint64_t done;
	uint32_t chunk;
	uint32_t window;
	uint64_t started_ns;
	uint64_t progress_ns;		/* when to print next; 0: nobody watches */
	struct cli_latency *latency;	/* NULL unless asked for */
	uint32_t head;
	uint32_t tail;
	struct transfer_slot slots[TRANSFER_WINDOW];
};

/* Up to bytes; fewer at the end of the file only. -1: error. */
static ssize_t
transfer_read_full(int fd, uint8_t *buffer, size_t bytes)
{
	size_t done = 0;
	ssize_t ret;

	while (done < bytes) {
		ret = read(fd, buffer + done, bytes - done);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret < 0)
			return -1;
		if (ret == 0)
			break;
		done += (size_t)ret;
	}
	return (ssize_t)done;
}

static bool
transfer_write_full(int fd, const uint8_t *buffer, size_t bytes)
{
	while (bytes > 0) {
		ssize_t ret = write(fd, buffer, bytes);

		if (ret < 0 && errno == EINTR)
			continue;
		if (ret < 0)
			return false;
		buffer += ret;
		bytes -= (size_t)ret;
	}
	return true;
}

static void
transfer_progress(struct transfer *transfer, bool last)
{
	uint64_t now = cli_now_ns();
	double mib = (double)transfer->done / 1048576.0;
	double seconds = (double)(now - transfer->started_ns) / 1e9;

	if (transfer->progress_ns == 0 || (now < transfer->progress_ns && !last))
		return;
	transfer->progress_ns = now + TRANSFER_PROGRESS_NS;
	if (last)
		fprintf(stderr, "\r\x1b[K");
	else if (transfer->total != 0)
		fprintf(stderr, "\r%s %.1f of %.1f MiB, %.1f MiB/s\x1b[K", transfer->verb, mib,
			(double)transfer->total / 1048576.0, mib / seconds);
	else
		fprintf(stderr, "\r%s %.1f MiB, %.1f MiB/s\x1b[K", transfer->verb, mib,
			mib / seconds);
}

/* Start the next chunk. 1: started, 0: there is none, -1: error, said. */
static int
transfer_next(struct transfer *transfer)
{
	struct transfer_slot *slot = &transfer->slots[transfer->head % transfer->window];
	uint64_t bytes = transfer->chunk - transfer->offset % transfer->chunk;
	struct tp_thread *thread = transfer->cli->thread;
	ssize_t got;

	if (bytes > transfer->left)
		bytes = transfer->left;
	if (transfer->put && bytes > 0) {
		got = transfer_read_full(transfer->fd, slot->buffer, bytes);
		if (got < 0) {
			cli_error("cannot read %s: %s", transfer->file_name, strerror(errno));
			return -1;
		}
		if ((uint64_t)got < bytes)
			transfer->left = (uint64_t)got;
		bytes = (uint64_t)got;
	}
	if (bytes == 0)
		return 0;
	slot->offset = transfer->offset;
	slot->bytes = (uint32_t)bytes;
	slot->started_tsc = tp_client_tsc(transfer->cli->client);
	if (transfer->put)
		tp_submit_write(thread, transfer->region, slot->offset, slot->buffer, bytes,
				&slot->op);
	else
		tp_submit_read(thread, transfer->region, slot->offset, slot->buffer, bytes,
			       &slot->op);
	transfer->offset += bytes;
	transfer->left -= bytes;
	transfer->head++;
	return 1;
}

/* With --latency: the page just used once more, 8 bytes of it. */
static bool
transfer_hit(struct transfer *transfer, const struct transfer_slot *slot)
{
	uint32_t bytes = slot->bytes < 8 ? slot->bytes : 8;
	struct tp_thread *thread = transfer->cli->thread;
	const struct tp_thread_stats *stats = tp_thread_stats_get(thread);
	uint64_t misses = stats->misses, started = tp_client_tsc(transfer->cli->client);
	struct tp_result result;

	if (transfer->put)
		result = tp_write(thread, transfer->region, slot->offset, slot->buffer, bytes);
	else
		result = tp_read(thread, transfer->region, slot->offset, slot->buffer, bytes);
	cli_latency_add(transfer->latency, stats->misses == misses ? CLI_LATENCY_HIT :
			CLI_LATENCY_MISS, cli_elapsed_ns(transfer->cli, started));
	return tp_result_is_ok(result);
}

/*
 * Do what is left of a chunk again. A write of the same bytes once more does no
 * harm, so it makes no difference whether it took effect.
 */
static struct tp_result
transfer_repeat(struct transfer *transfer, const struct transfer_slot *slot,
		struct tp_result result)
{
	struct tp_thread *thread = transfer->cli->thread;
	uint32_t done = result.bytes_done;
	uint64_t until_ns = 0;

	while (!tp_result_is_ok(result) && cli_may_repeat(transfer->cli, result, &until_ns)) {
		if (transfer->put)
			result = tp_write(thread, transfer->region, slot->offset + done,
					  slot->buffer + done, slot->bytes - done);
		else
			result = tp_read(thread, transfer->region, slot->offset + done,
					 slot->buffer + done, slot->bytes - done);
		done += result.bytes_done;
	}
	result.bytes_done = done;
	return result;
}

/* Wait for the oldest chunk. false: error, said. */
static bool
transfer_finish_oldest(struct transfer *transfer)
{
	struct transfer_slot *slot = &transfer->slots[transfer->tail % transfer->window];
	struct tp_result result = tp_op_wait(transfer->cli->thread, &slot->op);
	char text[96];

	transfer->tail++;
	if (!tp_result_is_ok(result))
		result = transfer_repeat(transfer, slot, result);
	if (!tp_result_is_ok(result)) {
		cli_error("%s stops at offset %" PRIu64 ": %s", transfer->verb,
			  slot->offset + result.bytes_done,
			  cli_result_text(result, text, sizeof(text)));
		return false;
	}
	if (transfer->latency != NULL) {
		/* Pages that were here already say how fast a copy is: neither kind. */
		if (slot->op.misses != 0)
			cli_latency_add(transfer->latency, CLI_LATENCY_MISS,
					cli_elapsed_ns(transfer->cli, slot->started_tsc));
		if (!transfer_hit(transfer, slot)) {
			cli_error("%s stops at offset %" PRIu64, transfer->verb, slot->offset);
			return false;
		}
	}
	if (!transfer->put && !transfer_write_full(transfer->fd, slot->buffer, slot->bytes)) {
		cli_error("cannot write %s: %s", transfer->file_name, strerror(errno));
		return false;
	}
	transfer->done += slot->bytes;
	return true;
}

static bool
transfer_run(struct transfer *transfer)
{
	bool more = true, good = true;
	int ret;

	transfer->started_ns = cli_now_ns();
	while (good && (more || transfer->tail != transfer->head)) {
		while (good && more && transfer->head - transfer->tail < transfer->window) {
			ret = transfer_next(transfer);
			more = ret > 0;
			good = ret >= 0;
		}
		if (good && transfer->tail != transfer->head)
			good = transfer_finish_oldest(transfer);
		transfer_progress(transfer, false);
	}
	/* Buffers are in use until their accesses have ended. */
	for (; transfer->tail != transfer->head; transfer->tail++)
		tp_op_wait(transfer->cli->thread,
			   &transfer->slots[transfer->tail % transfer->window].op);
	transfer_progress(transfer, true);
	return good;
}

static void
transfer_latency_print(FILE *out, const struct transfer *transfer)
{
	static const char * const names[] = { "hit", "miss" };
	int kind;

	for (kind = 0; kind < CLI_LATENCY_KINDS; kind++) {
		uint64_t count = cli_latency_count(transfer->latency, kind);
		uint64_t p50 = cli_latency_quantile(transfer->latency, kind, 500);
		uint64_t p99 = cli_latency_quantile(transfer->latency, kind, 990);

		if (transfer->cli->json)
			fprintf(out, ", \"%s\": {\"n\": %" PRIu64 ", \"p50_ns\": %" PRIu64
				", \"p99_ns\": %" PRIu64 "}", names[kind], count, p50, p99);
		else
			fprintf(out, "%-4s %10" PRIu64 " calls, p50 %.2f us, p99 %.2f us\n",
				names[kind], count, (double)p50 / 1e3, (double)p99 / 1e3);
	}
}

static void
transfer_summary(const struct transfer *transfer)
{
	FILE *out = transfer->to_stdout ? stderr : stdout;
	double seconds = (double)(cli_now_ns() - transfer->started_ns) / 1e9;
	double mib = (double)transfer->done / 1048576.0;
	const struct tp_thread_stats *stats = tp_thread_stats_get(transfer->cli->thread);
	uint64_t misses = stats->misses + stats->fetches_ahead;

	if (transfer->cli->json)
		fprintf(out, "{\"%s\": %" PRIu64 ", \"seconds\": %.6f, \"bytes_per_second\": %.0f, "
			"\"misses\": %" PRIu64, transfer->verb, transfer->done, seconds,
			(double)transfer->done / seconds, misses);
	else
		fprintf(out, "%s %.1f MiB in %.2f s, %.1f MiB/s, %" PRIu64 " misses\n",
			transfer->verb, mib, seconds, mib / seconds, misses);
	if (transfer->latency != NULL)
		transfer_latency_print(out, transfer);
	if (transfer->cli->json)
		fputs("}\n", out);
}

/* Returns an exit code, or -1: go on. */
static int
transfer_options(struct transfer *transfer, int argc, char **argv)
{
	static const struct option options[] = {
		{ "offset", required_argument, NULL, 'o' },
		{ "bytes", required_argument, NULL, 'b' },
		{ "latency", no_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	transfer->left = UINT64_MAX;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'o':
			if (!cli_parse_size(optarg, &transfer->offset))
				return cli_usage("--offset %s: not a size", optarg);
			break;
		case 'b':
			if (!cli_parse_size(optarg, &transfer->left))
				return cli_usage("--bytes %s: not a size", optarg);
			break;
		case 'l':
			transfer->latency = cli_latency_create();
			break;
		default:
			return cli_usage("%s REGION FILE [--offset N] [--bytes N] [--latency]",
					 transfer->verb);
		}
	}
	if (optind + 2 != argc)
		return cli_usage("%s takes a region and a file", transfer->verb);
	transfer->file_name = argv[optind + 1];
	return -1;
}

static int
transfer_open_file(struct transfer *transfer)
{
	if (strcmp(transfer->file_name, "-") == 0) {
		transfer->fd = transfer->put ? STDIN_FILENO : STDOUT_FILENO;
		transfer->to_stdout = !transfer->put;
		return CLI_OK;
	}
	transfer->fd = transfer->put ? open(transfer->file_name, O_RDONLY | O_CLOEXEC) :
		open(transfer->file_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (transfer->fd < 0)
		return cli_error("cannot open %s: %s", transfer->file_name, strerror(errno));
	return CLI_OK;
}

/* How much there is to move: what was asked for, what the file has, what fits. */
static int
transfer_size(struct transfer *transfer)
{
	uint64_t room = tp_client_region_info(transfer->region)->bytes;
	const char *name = tp_client_region_info(transfer->region)->name;
	bool asked = transfer->left != UINT64_MAX;
	struct stat info;

	if (transfer->offset > room)
		return cli_error("region %s ends at %" PRIu64 ", before the offset", name, room);
	room -= transfer->offset;
	if (transfer->put && fstat(transfer->fd, &info) == 0 && S_ISREG(info.st_mode) &&
	    (uint64_t)info.st_size < transfer->left) {
		transfer->left = (uint64_t)info.st_size;
		asked = true;
	}
	if (asked && transfer->left > room)
		return cli_error("region %s has %" PRIu64 " bytes from there, not %" PRIu64, name,
				 room, transfer->left);
	if (!asked)
		transfer->left = room;
	transfer->total = asked || !transfer->put ? transfer->left : 0;
	return CLI_OK;
}

static int
transfer_buffers(struct transfer *transfer)
{
	uint32_t i;

	transfer->chunk = TRANSFER_CHUNK;
	transfer->window = TRANSFER_WINDOW;
	if (transfer->latency != NULL) {
		transfer->chunk = tp_client_region_info(transfer->region)->page_bytes;
		transfer->window = 1;
	}
	for (i = 0; i < transfer->window; i++) {
		transfer->slots[i].buffer = aligned_alloc(4096, transfer->chunk);
		if (transfer->slots[i].buffer == NULL)
			return cli_error("not enough memory");
	}
	if (isatty(STDERR_FILENO))
		transfer->progress_ns = cli_now_ns() + TRANSFER_PROGRESS_NS;
	return CLI_OK;
}

/* A stream may be longer than the region: that must not pass in silence. */
static bool
transfer_all_fitted(struct transfer *transfer)
{
	uint8_t byte;

	if (!transfer->put || transfer->total != 0 || transfer->left != 0 ||
	    transfer_read_full(transfer->fd, &byte, 1) <= 0)
		return true;
	cli_error("%s is longer than what the region has room for: %" PRIu64 " bytes are put",
		  transfer->file_name, transfer->done);
	return false;
}

static int
transfer_main(struct cli *cli, int argc, char **argv, bool put)
{
	struct transfer transfer = { .cli = cli, .verb = argv[0], .put = put, .fd = -1 };
	uint32_t i;
	int code;

	code = transfer_options(&transfer, argc, argv);
	if (code < 0)
		code = cli_region_open(cli, argv[optind], &transfer.region);
	if (code == CLI_OK)
		code = transfer_open_file(&transfer);
	if (code == CLI_OK)
		code = transfer_size(&transfer);
	if (code == CLI_OK)
		code = transfer_buffers(&transfer);
	if (code == CLI_OK) {
		if (transfer_run(&transfer) && transfer_all_fitted(&transfer))
			transfer_summary(&transfer);
		else
			code = CLI_FAILED;
	}
	if (transfer.fd > STDERR_FILENO && close(transfer.fd) < 0 && code == CLI_OK)
		code = cli_error("cannot write %s: %s", transfer.file_name, strerror(errno));
	for (i = 0; i < TRANSFER_WINDOW; i++)
		free(transfer.slots[i].buffer);
	cli_latency_destroy(transfer.latency);
	return code;
}

int
cli_put(struct cli *cli, int argc, char **argv)
{
	return transfer_main(cli, argc, argv, true);
}

int
cli_get(struct cli *cli, int argc, char **argv)
{
	return transfer_main(cli, argc, argv, false);
}
