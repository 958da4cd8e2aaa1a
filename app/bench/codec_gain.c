/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What choosing a codec per page is worth: pages of real files, sent over a link
 * of 1 Gbit/s by each codec alone and by the chooser. Encoding, choosing and
 * decoding are measured, the link's share is computed from the bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "bench.h"
#include "tp_codec.h"
#include "tp_codec_chooser.h"

#define GAIN_PAGES 2048u		/* of a set, 8 MiB */
#define GAIN_PASSES 7u
#define GAIN_NS_PER_KIB 8192u		/* 1 Gbit/s */
#define GAIN_NAME_CHARS 48

/* The choices without a base, and after them the chooser. */
static const uint8_t fixed[] = { TP_CODEC_RAW, TP_CODEC_LZ4, TP_CODEC_DEFLATE };
#define GAIN_OPS (RTE_DIM(fixed) + 1)

struct gain_bench {
	struct tp_codec *codec;
	struct tp_codec_cost best_case[TP_CODEC_COUNT];
	double ns_per_tick;
	const uint8_t *pages;
	uint32_t page_count;
	uint8_t out[BENCH_PAGE_BYTES];
	uint8_t result[BENCH_PAGE_BYTES];
};

struct gain_op {
	struct gain_bench *gain;
	int fixed;			/* codec, -1: the chooser */
};

struct gain_set {
	const char *name;
	/* Pages read into memory, or -errno after one line on stderr. */
	int (*fill)(struct bench *bench, uint8_t *pages, uint32_t count);
};

static uint64_t
clock_ns(void *context)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t
ticks_to_ns(const struct gain_bench *gain, uint64_t ticks)
{
	return (uint32_t)((double)ticks * gain->ns_per_tick);
}

/*
 * One page there: ns, or -EIO. The time to choose and to learn is in it, as what
 * the page takes beside its encoding.
 */
static int
page_send(struct gain_bench *gain, struct tp_codec_chooser *chooser, int want,
	  const uint8_t *page, uint64_t *total_ns)
{
	struct tp_codec_choice choice = { .id = (uint8_t)want };
	struct tp_codec_cost outcome;
	enum tp_codec_id id = TP_CODEC_COUNT;
	uint64_t start = rte_rdtsc_precise();
	uint64_t chosen = start;
	uint64_t encoded, decoded;
	int bytes;

	if (chooser != NULL) {
		choice = tp_codec_chooser_choose(chooser, page, false, 0);
		chosen = rte_rdtsc_precise();
	}
	bytes = tp_codec_encode(gain->codec, choice.id, page, NULL, BENCH_PAGE_BYTES, gain->out,
		&id);
	encoded = rte_rdtsc_precise();
	if (bytes < 0 || tp_codec_decode(gain->codec, id, id == TP_CODEC_RAW ? page : gain->out,
			(uint32_t)bytes, NULL, gain->result, BENCH_PAGE_BYTES) < 0)
		return -EIO;
	decoded = rte_rdtsc_precise();
	outcome.encode_ns = ticks_to_ns(gain, encoded - chosen);
	outcome.decode_ns = ticks_to_ns(gain, decoded - encoded);
	outcome.bytes = (uint32_t)bytes;
	if (chooser != NULL) {
		tp_codec_chooser_learn(chooser, choice, &outcome);
		decoded = rte_rdtsc_precise();
	}
	*total_ns += ticks_to_ns(gain, decoded - start) +
		((uint64_t)bytes * GAIN_NS_PER_KIB >> 10);
	return memcmp(gain->result, page, BENCH_PAGE_BYTES) == 0 ? 0 : -EIO;
}

/* All pages once, by a chooser without experience. Picoseconds as ticks. */
static int
gain_once(void *context, uint64_t *ticks)
{
	struct gain_op *op = context;
	struct gain_bench *gain = op->gain;
	struct tp_codec_chooser chooser;
	uint64_t total = 0;
	int ret = 0;

	tp_codec_chooser_init(&chooser, BENCH_PAGE_BYTES, gain->best_case);
	tp_codec_chooser_link_set(&chooser, GAIN_NS_PER_KIB);
	for (uint32_t i = 0; i < gain->page_count && ret == 0; i++)
		ret = page_send(gain, op->fixed < 0 ? &chooser : NULL, op->fixed,
				gain->pages + (size_t)i * BENCH_PAGE_BYTES, &total);
	*ticks = total * 1000 / gain->page_count;
	return ret;
}

static int
gain_measure(struct bench *bench, struct gain_bench *gain, const char *set)
{
	const struct bench_plan plan = { .rounds = GAIN_PASSES, .batch = 1 };
	struct gain_op contexts[GAIN_OPS];
	struct bench_op ops[GAIN_OPS];
	char name[GAIN_NAME_CHARS];
	unsigned int best = 0;
	int ret;

	for (unsigned int i = 0; i < GAIN_OPS; i++) {
		contexts[i] = (struct gain_op){ gain, i < RTE_DIM(fixed) ? fixed[i] : -1 };
		ops[i] = (struct bench_op){ gain_once, NULL, NULL, &contexts[i], { 0 } };
	}
	ret = bench_interleave(ops, GAIN_OPS, &plan);
	if (ret < 0)
		return ret;
	for (unsigned int i = 1; i < RTE_DIM(fixed); i++)
		if (bench_samples_quantile(&ops[i].samples, 0.5) <
		    bench_samples_quantile(&ops[best].samples, 0.5))
			best = i;
	snprintf(name, sizeof(name), "codec_adaptive_gain_%s", set);
	bench_report(bench, &(struct bench_row){
		.name = name,
		.unit = "ns",
		.scale = 1e-3,
		.samples = &ops[RTE_DIM(fixed)].samples,
		.baseline_name = tp_codec_name(fixed[best]),
		.baseline_scale = 1e-3,
		.baseline = &ops[best].samples,
	});
	for (unsigned int i = 0; i < GAIN_OPS; i++)
		bench_samples_fini(&ops[i].samples);
	return 0;
}

/* Whole pages of a file, from its start again when it is too short. */
static int
file_read(const char *path, uint8_t *pages, uint32_t count)
{
	const size_t wanted = (size_t)count * BENCH_PAGE_BYTES;
	size_t done = 0;
	ssize_t got = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (done < wanted) {
		got = read(fd, pages + done, wanted - done);
		if (got < 0)
			break;
		done += (size_t)got;
		if (got > 0)
			continue;
		/* The end: go on with copies, in whole pages. */
		size_t whole = done / BENCH_PAGE_BYTES * BENCH_PAGE_BYTES;

		if (whole == 0)
			break;
		for (size_t at = whole; at < wanted; at++)
			pages[at] = pages[at - whole];
		done = wanted;
	}
	close(fd);
	return done == wanted ? 0 : got < 0 ? -errno : -ENODATA;
}

/* The first of some files that is there. */
static int
files_read(const char *const *paths, uint8_t *pages, uint32_t count)
{
	int ret = -ENOENT;

	for (; *paths != NULL && ret < 0; paths++)
		ret = file_read(*paths, pages, count);
	return ret;
}

static int
fill_binary(struct bench *bench, uint8_t *pages, uint32_t count)
{
	static const char *const paths[] = { "/usr/bin/python3", "/proc/self/exe", NULL };

	return files_read(paths, pages, count);
}

static int
fill_text(struct bench *bench, uint8_t *pages, uint32_t count)
{
	static const char *const paths[] = {
		"/var/lib/dpkg/status", "/usr/share/common-licenses/GPL-3", NULL,
	};

	return files_read(paths, pages, count);
}

/* A file of SQLite: every package's files, with an index. */
static int
fill_database(struct bench *bench, uint8_t *pages, uint32_t count)
{
	static const char script[] =
		"python3 -c 'import glob, os, sqlite3, sys\n"
		"db = sqlite3.connect(sys.argv[1])\n"
		"db.execute(\"create table f(id integer primary key, p text, n text, s int, m real)\")\n"
		"for l in sorted(glob.glob(\"/var/lib/dpkg/info/*.list\")):\n"
		"    for n in open(l).read().split(chr(10)):\n"
		"        if os.path.isfile(n):\n"
		"            s = os.stat(n)\n"
		"            db.execute(\"insert into f(p, n, s, m) values(?, ?, ?, ?)\", "
		"(os.path.basename(l), n, s.st_size, s.st_mtime))\n"
		"db.execute(\"create index i on f(n)\")\n"
		"db.commit()' %s";
	char path[BENCH_PREFIX_CHARS + 32];
	char command[sizeof(script) + sizeof(path)];
	int ret;

	snprintf(path, sizeof(path), BENCH_FOLDER, bench->prefix);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), BENCH_FOLDER "/sqlite.db", bench->prefix);
	snprintf(command, sizeof(command), script, path);
	if (system(command) != 0)
		return -ENOENT;
	ret = file_read(path, pages, count);
	unlink(path);
	return ret;
}

static int
fill_random(struct bench *bench, uint8_t *pages, uint32_t count)
{
	return file_read("/dev/urandom", pages, count);
}

static const struct gain_set sets[] = {
	{ "binary", fill_binary },
	{ "text", fill_text },
	{ "database", fill_database },
	{ "random", fill_random },
};

/* Pages of all sets, one of each in turn. */
static void
mix_fill(uint8_t *mix, const uint8_t *pages)
{
	for (uint32_t i = 0; i < GAIN_PAGES; i++) {
		uint32_t from = i % RTE_DIM(sets) * GAIN_PAGES + i;

		memcpy(mix + (size_t)i * BENCH_PAGE_BYTES,
			pages + (size_t)from * BENCH_PAGE_BYTES, BENCH_PAGE_BYTES);
	}
}

static int
gain_sets_measure(struct bench *bench, struct gain_bench *gain, uint8_t *pages, uint8_t *mix)
{
	int ret;

	for (unsigned int i = 0; i < RTE_DIM(sets); i++) {
		gain->pages = pages + (size_t)i * GAIN_PAGES * BENCH_PAGE_BYTES;
		ret = sets[i].fill(bench, (uint8_t *)(uintptr_t)gain->pages, GAIN_PAGES);
		if (ret == 0)
			ret = gain_measure(bench, gain, sets[i].name);
		if (ret < 0) {
			fprintf(stderr, "telepage-bench: pages of a %s\n", sets[i].name);
			return ret;
		}
	}
	mix_fill(mix, pages);
	gain->pages = mix;
	return gain_measure(bench, gain, "mix");
}

int
bench_codec_adaptive_gain(struct bench *bench)
{
	const size_t set_bytes = (size_t)GAIN_PAGES * BENCH_PAGE_BYTES;
	static struct gain_bench gain;
	uint8_t *pages = bench_memory(bench, set_bytes * (RTE_DIM(sets) + 1));
	int ret = bench_pin(bench, 0);

	gain.ns_per_tick = bench->ns_per_tick;
	gain.page_count = GAIN_PAGES;
	gain.codec = tp_codec_create(BENCH_PAGE_BYTES);
	if (pages == NULL || gain.codec == NULL)
		ret = -ENOMEM;
	if (ret == 0)
		ret = tp_codec_calibrate(gain.codec, BENCH_PAGE_BYTES, clock_ns, NULL,
			gain.best_case);
	if (ret == 0)
		ret = gain_sets_measure(bench, &gain, pages, pages + RTE_DIM(sets) * set_bytes);
	tp_codec_destroy(gain.codec);
	return ret;
}
