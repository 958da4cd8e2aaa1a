/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Each byte of each field of what a pool consists of, flipped: found, reported with its
 * place and with what is lost, never taken for data, repaired where that can be. Of
 * the B+tree: test_btree_damage.c. docs/pmem.md, "Checks and what they find".
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "heap.h"
#include "pmem_priv.h"
#include "pool_file.h"

#define POOL_BYTES TP_PMEM_POOL_BYTES_MIN
#define LANES 2u
#define BIG_BYTES 20000u	/* more than a lane: logged in an extent */
#define SAMPLES 16u		/* of bytes of a field longer than FIELD_ALL */
#define FIELD_ALL 128u

struct field {
	const char *name;
	uint32_t offset;
	uint32_t bytes;
};

#define FIELD(type, field) { #field, offsetof(struct type, field), sizeof(((struct type *)0)->field) }

static const struct field super_fields[] = {
	FIELD(pmem_super, magic), FIELD(pmem_super, version), FIELD(pmem_super, crc),
	FIELD(pmem_super, uuid), FIELD(pmem_super, generation), FIELD(pmem_super, pool_bytes),
	FIELD(pmem_super, features), FIELD(pmem_super, created_s), FIELD(pmem_super, name),
	FIELD(pmem_super, log_offset), FIELD(pmem_super, lane_count),
	FIELD(pmem_super, lane_bytes), FIELD(pmem_super, chunk_bytes),
	FIELD(pmem_super, zone_count), FIELD(pmem_super, reserved), FIELD(pmem_super, zones[0]),
	FIELD(pmem_super, zones[1]),
	{ "zones[2] on", offsetof(struct pmem_super, zones[2]),
	  sizeof(struct pmem_zone_record) * (PMEM_ZONES_MAX - 2) },
	FIELD(pmem_super, reserved_end),
};

static const struct field state_fields[] = {
	FIELD(pmem_state, crc), FIELD(pmem_state, flags), FIELD(pmem_state, generation),
	FIELD(pmem_state, epoch), FIELD(pmem_state, watermark), FIELD(pmem_state, open_count),
	FIELD(pmem_state, bad_shutdown_count), FIELD(pmem_state, unsafe_shutdowns),
	FIELD(pmem_state, uuid), FIELD(pmem_state, reserved),
};

static const struct field root_fields[] = {
	FIELD(pmem_root, crc), FIELD(pmem_root, reserved), FIELD(pmem_root, offset),
	FIELD(pmem_root, name), FIELD(pmem_root, reserved_end),
};

/* Of one that sets 8 bytes: an entry, and the bytes. */
static const struct field record_fields[] = {
	FIELD(pmem_record, crc), FIELD(pmem_record, bytes), FIELD(pmem_record, seq),
	FIELD(pmem_record, epoch), FIELD(pmem_record, lasting), FIELD(pmem_record, flags),
	{ "entry", sizeof(struct pmem_record), 8 },
	{ "payload", sizeof(struct pmem_record) + 8, 8 },
};

static const struct field external_fields[] = {
	FIELD(pmem_record, crc), FIELD(pmem_record, bytes), FIELD(pmem_record, seq),
	FIELD(pmem_record, epoch), FIELD(pmem_record, lasting), FIELD(pmem_record, flags),
	{ "entry", sizeof(struct pmem_record), 8 },
	{ "CRC of the extent", sizeof(struct pmem_record) + 8, 8 },
};

static const struct field extent_fields[] = { { "logged entries", 0, BIG_BYTES + 8 } };
static const struct field word_fields[] = { { "word", 0, 8 } };

/* One thing on the medium, and what is said when it is damaged. */
struct area {
	const char *name;
	const struct field *fields;
	uint32_t field_count;
	uint64_t offset;
	int open_error;
	enum tp_pmem_check_verdict verdict;
	uint64_t found_at;
	const char *text;		/* part of what is said */
};

#define AREA(what, list) .name = (what), .fields = (list), .field_count = RTE_DIM(list)

/* Offsets in the pool that is damaged. */
struct places {
	uint64_t plain;			/* record */
	uint64_t external;
	uint64_t extent;
	uint64_t kind;
	uint64_t wear;
	uint64_t bitmap;
};

struct finding {
	unsigned int damage;
	enum tp_pmem_check_verdict verdict;
	uint64_t offset;
	bool says;
	const char *text;		/* to look for */
};

static char closed[POOL_FILE_CHARS];
static char crashed[POOL_FILE_CHARS];
static char copy[POOL_FILE_CHARS];
static struct places places;

static void
number_set(struct tp_pmem_pool *pool, uint64_t number)
{
	struct tp_pmem_tx *tx;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_write(tx, tp_pmem_ptr(pool, tp_pmem_root_get(pool, "number")),
		&number, sizeof(number)), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
}

static void
big_set(struct tp_pmem_pool *pool, int byte)
{
	void *big = tp_pmem_ptr(pool, tp_pmem_root_get(pool, "big"));
	struct tp_pmem_tx *tx;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_add_range(tx, big, BIG_BYTES), 0);
	memset(big, byte, BIG_BYTES);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
}

/* The lane that this thread has used, which begins with a record of one line. */
static void
places_find(const struct tp_pmem_pool *pool)
{
	const struct heap_zone *zone = &pool->heap->zones[0];
	const struct pmem_record *record = NULL;
	const uint8_t *begin, *end;

	for (uint32_t lane = 0; lane < LANES && record == NULL; lane++)
		record = pmem_record_at(pool, lane, 0, pool->epoch,
			rte_le_to_cpu_64(pool->state.watermark));
	assert_non_null(record);
	assert_int_equal(record->bytes, sizeof(*record) + 16);
	places.plain = (uint64_t)((const uint8_t *)record - pool->device->media);
	record += 2;
	assert_int_equal(record->flags, PMEM_RECORD_EXTERNAL);
	places.external = places.plain + PMEM_RECORD_ALIGN;
	assert_int_equal(pmem_record_entries(pool, record, &begin, &end), 0);
	assert_int_equal(end - begin, BIG_BYTES + 8);
	places.extent = (uint64_t)(begin - pool->device->media);
	places.kind = zone->offset;
	places.wear = zone->wear_offset;
	places.bitmap = zone->bitmap_offset;
}

static int
group_setup(void **state)
{
	const struct tp_pmem_pool_config config = { .name = "damaged", .lane_count = LANES,
		.lane_bytes = PMEM_LANE_BYTES_MIN };
	struct tp_pmem_pool *pool;
	struct tp_pmem_tx *tx;
	uint64_t block;

	pool_file_force_lines(true);
	pool_file_path(closed, "closed");
	pool_file_path(crashed, "crashed");
	pool_file_path(copy, "copy");
	assert_int_equal(tp_pmem_pool_create(closed, POOL_BYTES, &config, &pool), 0);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, 64, TP_PMEM_ALLOC_ZERO, &block), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "number", block), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, BIG_BYTES, TP_PMEM_ALLOC_ZERO, &block), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "big", block), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_pool_checkpoint(pool), 0);
	number_set(pool, 1);
	big_set(pool, 0x5a);
	number_set(pool, 2);
	number_set(pool, 3);
	places_find(pool);
	pool_file_copy(closed, crashed);
	pool_file_close(pool);
	return 0;
}

static int
group_teardown(void **state)
{
	pool_file_force_lines(false);
	return 0;
}

static void
flip(const char *path, uint64_t offset, uint8_t bits)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= bits;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

static void
found(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset, const char *text)
{
	struct finding *finding = context;

	if (verdict == TP_PMEM_CHECK_NOTE)
		return;
	finding->damage++;
	finding->verdict = verdict;
	finding->offset = offset;
	finding->says = strstr(text, finding->text) != NULL;
}

/* What can be read of a pool is what was committed. */
static void
contents_verify(const struct tp_pmem_pool *pool)
{
	uint64_t number = tp_pmem_root_get(pool, "number"), big = tp_pmem_root_get(pool, "big");
	const uint8_t *bytes = tp_pmem_ptr(pool, big);

	if (number != 0)
		assert_int_equal(*(uint64_t *)tp_pmem_ptr(pool, number), 3);
	for (uint32_t i = 0; big != 0 && i < BIG_BYTES; i++)
		if (bytes[i] != 0x5a)
			fail_msg("byte %u of the long block is %#x", i, bytes[i]);
	assert_true(number != 0 || big != 0);
}

/* Of a damaged file: what is said of it, and what opening it gives. */
static void
damage_verify(const char *path, const struct area *area, const struct field *field, uint32_t at)
{
	struct finding finding = { .text = area->text };
	struct tp_pmem_pool *pool = NULL;
	int ret = tp_pmem_pool_check(path, false, found, &finding);

	if (ret != 1 || finding.damage != 1 || finding.verdict != area->verdict ||
			finding.offset != area->found_at || !finding.says)
		fail_msg("%s, byte %u of %s: %d, %u findings, the last at %#llx", area->name, at,
			field->name, ret, finding.damage, (unsigned long long)finding.offset);
	ret = tp_pmem_pool_open(path, TP_PMEM_OPEN_READ_ONLY, &pool);
	if (ret != area->open_error)
		fail_msg("%s, byte %u of %s: opened: %d", area->name, at, field->name, ret);
	if (ret == 0) {
		contents_verify(pool);
		pool_file_close(pool);
	} else {
		assert_non_null(strstr(tp_pmem_error(), "damaged"));
	}
}

/* What can be repaired is; what is lost is lost once only, where the log is concerned. */
static void
repair_verify(const char *path, const struct area *area)
{
	struct finding finding = { .text = area->text };
	struct tp_pmem_pool *pool;
	bool is_log = area->open_error != 0;

	pool_file_copy(path, copy);
	assert_int_equal(tp_pmem_pool_check(copy, true, found, &finding),
		area->verdict == TP_PMEM_CHECK_LOST);
	assert_int_equal(finding.damage, 1);
	assert_int_equal(tp_pmem_pool_check(copy, false, NULL, NULL),
		area->verdict == TP_PMEM_CHECK_LOST && !is_log);
	pool = pool_file_open(copy);
	if (!is_log)
		contents_verify(pool);
	pool_file_close(pool);
}

static void
area_verify(const char *path, const struct area *area, uint32_t covered)
{
	uint32_t bytes = 0;

	for (uint32_t f = 0; f < area->field_count; f++) {
		const struct field *field = &area->fields[f];
		uint32_t step = field->bytes <= FIELD_ALL ? 1 : field->bytes / SAMPLES;

		for (uint32_t at = 0; at < field->bytes; at += step) {
			uint64_t offset = area->offset + field->offset + at;
			uint8_t bits = (uint8_t)(1 << (at + f) % 8);

			flip(path, offset, bits);
			damage_verify(path, area, field, at);
			if (at == 0)
				repair_verify(path, area);
			flip(path, offset, bits);
		}
		bytes += field->bytes;
	}
	/* No field is forgotten. */
	assert_int_equal(bytes, covered);
	assert_int_equal(tp_pmem_pool_check(path, false, NULL, NULL), 0);
}

static void
test_superblocks(void **state)
{
	for (unsigned int i = 0; i < PMEM_SUPER_COPIES; i++) {
		const struct area area = { AREA("superblock", super_fields),
			.offset = pmem_super_offset(i), .verdict = TP_PMEM_CHECK_REPAIRABLE,
			.found_at = pmem_super_offset(i), .text = i == 0 ? "copy 0" : "copy 1" };

		area_verify(closed, &area, sizeof(struct pmem_super));
		area_verify(crashed, &area, sizeof(struct pmem_super));
	}
}

static void
test_states(void **state)
{
	for (unsigned int i = 0; i < PMEM_STATE_COPIES; i++) {
		const struct area area = { AREA("state", state_fields),
			.offset = pmem_state_offset(i), .verdict = TP_PMEM_CHECK_REPAIRABLE,
			.found_at = pmem_state_offset(i), .text = i % 2 == 0 ? "copy 0" : "copy 1" };

		area_verify(closed, &area, sizeof(struct pmem_state));
		area_verify(crashed, &area, sizeof(struct pmem_state));
	}
}

static void
test_roots(void **state)
{
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t offset = PMEM_ROOT_OFFSET + i * sizeof(struct pmem_root);
		const struct area area = { AREA("root", root_fields), .offset = offset,
			.verdict = TP_PMEM_CHECK_LOST, .found_at = offset,
			.text = i == 0 ? "root 0 (" : "root 1 (" };

		area_verify(closed, &area, sizeof(struct pmem_root));
	}
}

static void
test_records(void **state)
{
	const struct area plain = { AREA("record", record_fields), .offset = places.plain,
		.open_error = -EBADMSG, .verdict = TP_PMEM_CHECK_LOST, .found_at = places.plain,
		.text = "are lost" };
	const struct area external = { AREA("external record", external_fields),
		.offset = places.external, .open_error = -EBADMSG, .verdict = TP_PMEM_CHECK_LOST,
		.found_at = places.external, .text = "are lost" };
	const struct area extent = { AREA("extent of a record", extent_fields),
		.offset = places.extent, .open_error = -EBADMSG, .verdict = TP_PMEM_CHECK_LOST,
		.found_at = places.external, .text = "are lost" };

	area_verify(crashed, &plain, sizeof(struct pmem_record) + 16);
	area_verify(crashed, &external, sizeof(struct pmem_record) + 16);
	area_verify(crashed, &extent, BIG_BYTES + 8);
}

static void
test_heap(void **state)
{
	const struct area kind = { AREA("kind of a chunk", word_fields), .offset = places.kind,
		.verdict = TP_PMEM_CHECK_LOST, .found_at = places.kind, .text = "not freed" };
	const struct area bitmap = { AREA("bitmap", word_fields), .offset = places.bitmap,
		.verdict = TP_PMEM_CHECK_REPAIRABLE, .found_at = places.bitmap,
		.text = "count as allocated" };

	area_verify(closed, &kind, sizeof(uint64_t));
	area_verify(closed, &bitmap, sizeof(uint64_t));
}

/* A count of how often it was written has no checksum: no data depends on it. */
static void
test_wear_is_not_covered(void **state)
{
	for (unsigned int at = 0; at < 8; at++) {
		struct tp_pmem_pool *pool;

		pool_file_copy(closed, copy);
		flip(copy, places.wear + at, 0x80);
		assert_int_equal(tp_pmem_pool_check(copy, false, NULL, NULL), 0);
		pool = pool_file_open(copy);
		contents_verify(pool);
		number_set(pool, 3);
		pool_file_close(pool);
	}
}

/* What has no other copy is refused, also by repair, and left as it is. */
static void
test_what_cannot_be_repaired_is_left(void **state)
{
	struct tp_pmem_pool *pool = NULL;

	pool_file_copy(closed, copy);
	for (unsigned int i = 0; i < PMEM_STATE_COPIES; i++)
		flip(copy, pmem_state_offset(i) + offsetof(struct pmem_state, epoch), 1);
	assert_int_equal(tp_pmem_pool_check(copy, true, NULL, NULL), -EBADMSG);
	assert_int_equal(tp_pmem_pool_open(copy, TP_PMEM_OPEN_REPAIR, &pool), -EBADMSG);
	assert_non_null(strstr(tp_pmem_error(), "state"));
	for (unsigned int i = 0; i < PMEM_STATE_COPIES; i++)
		flip(copy, pmem_state_offset(i) + offsetof(struct pmem_state, epoch), 1);
	for (unsigned int i = 0; i < PMEM_SUPER_COPIES; i++)
		flip(copy, pmem_super_offset(i) + offsetof(struct pmem_super, uuid), 1);
	assert_int_equal(tp_pmem_pool_check(copy, true, NULL, NULL), -EBADMSG);
	assert_non_null(strstr(tp_pmem_error(), "superblock"));
	for (unsigned int i = 0; i < PMEM_SUPER_COPIES; i++)
		flip(copy, pmem_super_offset(i) + offsetof(struct pmem_super, uuid), 1);
	pool = pool_file_open(copy);
	contents_verify(pool);
	pool_file_close(pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_superblocks),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_roots),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_heap),
		cmocka_unit_test(test_wear_is_not_covered),
		cmocka_unit_test(test_what_cannot_be_repaired_is_left),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
