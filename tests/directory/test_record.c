/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <rte_common.h>
#include <rte_errno.h>

#include "record_priv.h"
#include "store_dir.h"
#include "store_priv.h"
#include "tp_generation.h"

static const struct tp_address_split split = { .node_bits = 6, .offset_bits = 40 };
static struct region_set set_in;
static struct region_set set_out;
static unsigned char buffer[RECORD_REGIONS_BYTES_MAX + 64];

static struct tp_node_record
sample_node(void)
{
	return (struct tp_node_record){
		.id = 5, .state = TP_NODE_MEMBER, .has_mac = 1, .epoch = 9, .ip = 0x0a000001,
		.udp_port = 4791, .worker_count = 2, .mac = { 2, 0, 0, 0, 0, 1 },
		.lease_stamp = 1234567890123, .lease_ns = 100000000,
	};
}

static void
fill_set(uint32_t count)
{
	memset(&set_in, 0, sizeof(set_in));
	set_in.id_last = count + 10;
	set_in.count = count;
	set_in.generation_last = 1000;
	for (uint32_t i = 0; i < count; i++) {
		struct tp_region *region = &set_in.regions[i];

		*region = (struct tp_region){
			.id = i + 1,
			.state = TP_REGION_ACTIVE,
			.mode = TP_REGION_RW,
			.distribution = (uint8_t)(1 + i % 3),
			.page_shift = 12,
			.base = tp_address_pack(split, 3, (uint64_t)(i + 1) << 21),
			.bytes = 4096,
			.generation = tp_generation_pack(3, i % 1000 + 1),
			.created = i % 2 == 0 ? 0 : tp_generation_pack(3, i % 1000 / 2 + 1),
			.born_node = 3,
			.node_count = i % 3 == 0 ? 1 : i % 3 == 1 ? 64 : 0,
		};
		for (uint16_t n = 0; n < region->node_count; n++)
			region->nodes[n] = (uint16_t)(63 - n);
		strcpy(region->name, "region");
		assert_true(record_region_check(region, split));
	}
}

static size_t
encode_set(void)
{
	return record_regions_encode(&set_in, (struct record_regions *)buffer);
}

static void
test_record_node_round_trips(void **state)
{
	struct tp_node_record node = sample_node();
	struct tp_node_record read;
	struct record_node record;

	record_node_encode(&node, &record);
	assert_int_equal(record_node_decode(&record, sizeof(record), &read), 0);
	assert_memory_equal(&read, &node, sizeof(node));
}

static void
test_record_node_bytes_are_those_published(void **state)
{
	static const unsigned char golden[] = {
		'T', 'P', 'N', 'D', 1, 0, 0, 0, 56, 0, 0, 0, 0, 0, 0, 0,
		5, 0, 2, 1, 9, 0, 0, 0, 1, 0, 0, 10, 0xb7, 0x12, 2, 0,
		2, 0, 0, 0, 0, 1, 0, 0, 0xcb, 0x04, 0xfb, 0x71, 0x1f, 0x01, 0, 0,
		0x00, 0xe1, 0xf5, 0x05, 0, 0, 0, 0,
	};
	struct tp_node_record node = sample_node();
	struct record_node record;

	record_node_encode(&node, &record);
	assert_int_not_equal(record.head.crc, 0);
	record.head.crc = 0;
	assert_memory_equal(&record, golden, sizeof(golden));
}

static void
test_record_crc_is_crc32c(void **state)
{
	assert_int_equal(store_crc(0, "123456789", 9), 0xE3069283);
	assert_int_equal(store_crc(store_crc(0, "1234", 4), "56789", 5), 0xE3069283);
}

static void
test_record_regions_round_trip(void **state)
{
	static const uint32_t counts[] = { 0, 1, 7, TP_CATALOGUE_REGIONS_MAX };

	for (size_t i = 0; i < RTE_DIM(counts); i++) {
		size_t bytes;

		fill_set(counts[i]);
		bytes = encode_set();
		assert_int_equal(record_regions_decode(buffer, bytes, split, &set_out), 0);
		assert_int_equal(set_out.count, counts[i]);
		assert_int_equal(set_out.id_last, set_in.id_last);
		assert_int_equal(set_out.generation_last, set_in.generation_last);
		assert_memory_equal(set_out.regions, set_in.regions,
			counts[i] * sizeof(set_in.regions[0]));
	}
}

static void
test_record_extents_and_cluster_round_trip(void **state)
{
	struct extent_chunk in = { .region_id = 3, .chunk = 9,
		.generation = tp_generation_pack(3, 4) };
	struct tp_address_split read;
	struct record_cluster cluster;
	struct record_extents record;
	struct extent_chunk out;

	for (uint32_t i = 0; i < RECORD_EXTENTS; i++)
		in.nodes[i] = i % 3 == 0 ? TP_NODE_NONE : (uint16_t)i;
	record_extents_encode(&in, &record);
	assert_int_equal(record_extents_decode(&record, sizeof(record), &out), 0);
	assert_memory_equal(&in, &out, sizeof(in));
	record_cluster_encode(split, &cluster);
	assert_int_equal(record_cluster_decode(&cluster, sizeof(cluster), &read), 0);
	assert_int_equal(read.node_bits, 6);
	assert_int_equal(read.offset_bits, 40);
}

static void
test_record_any_flipped_bit_or_length_is_refused(void **state)
{
	struct tp_node_record node = sample_node();
	struct tp_node_record read;
	struct record_node record;
	unsigned char *bytes = (unsigned char *)&record;
	size_t length;

	record_node_encode(&node, &record);
	for (size_t i = 0; i < sizeof(record) * 8; i++) {
		bytes[i / 8] ^= (unsigned char)(1 << i % 8);
		assert_int_equal(record_node_decode(&record, sizeof(record), &read), -EBADMSG);
		bytes[i / 8] ^= (unsigned char)(1 << i % 8);
	}
	fill_set(3);
	length = encode_set();
	for (size_t i = 0; i < length * 8; i++) {
		buffer[i / 8] ^= (unsigned char)(1 << i % 8);
		assert_int_equal(record_regions_decode(buffer, length, split, &set_out), -EBADMSG);
		buffer[i / 8] ^= (unsigned char)(1 << i % 8);
	}
	for (size_t i = 0; i < length + 64; i++)
		assert_int_equal(record_regions_decode(buffer, i, split, &set_out),
			i == length ? 0 : -EBADMSG);
}

/* Damage behind a right checksum: what another version or a bug may write. */
static int
decode_resealed(size_t length)
{
	struct record_head *head = (struct record_head *)buffer;

	head->crc = 0;
	head->crc = rte_cpu_to_le_32(store_crc(0, buffer, length));
	return record_regions_decode(buffer, length, split, &set_out);
}

static void
test_record_regions_bad_field_is_refused(void **state)
{
	static const struct {
		size_t offset;		/* in the second region's record */
		unsigned char value;
	} bad[] = {
		{ 0, 1 },	/* id not ascending */
		{ 1, 1 },	/* id above id_last */
		{ 4, 0 }, { 4, 3 },	/* state */
		{ 5, 0 }, { 5, 3 },	/* mode */
		{ 6, 0 }, { 6, 4 }, { 6, 1 },	/* distribution; home with 64 nodes */
		{ 7, 11 }, { 7, 22 },	/* page_shift */
		{ 8, 1 }, { 13, 0 }, { 13, 0xc4 }, { 10, 0 },	/* base: alignment, range, node */
		{ 17, 0 }, { 16, 1 }, { 22, 1 },	/* bytes: none, part of a page, too many */
		{ 28, 1 }, { 24, 0 },	/* generation above the last; none */
		{ 32, 4 },	/* born node is not that of the base */
		{ 34, 65 },	/* node count */
		{ 37, 4 },	/* bank */
		{ 39, 1 }, { 48, 1 }, { 63, 1 },	/* reserved */
		{ 44, 1 },	/* created in a later generation */
		{ 64, 0 }, { 64, '.' }, { 66, '/' },	/* name */
		{ 128, 62 }, { 129, 1 },	/* node twice, node out of range */
	};
	size_t second = sizeof(struct record_regions) + sizeof(struct record_region);
	size_t length;

	fill_set(2);
	length = encode_set();
	assert_int_equal(decode_resealed(length), 0);
	for (size_t i = 0; i < RTE_DIM(bad); i++) {
		unsigned char *byte = &buffer[second + bad[i].offset];
		unsigned char good = *byte;

		*byte = bad[i].value;
		assert_int_not_equal(good, bad[i].value);
		assert_int_equal(decode_resealed(length), -EBADMSG);
		*byte = good;
	}
	memset(&buffer[second + 64], 'a', 64);
	assert_int_equal(decode_resealed(length), -EBADMSG);
}

/* Random damage behind a right checksum never gives an inconsistent region. */
static void
test_record_regions_random_damage_gives_valid_or_refused(void **state)
{
	uint64_t seed = 11;
	uint32_t accepted = 0;

	for (int i = 0; i < 50000; i++) {
		size_t length;

		if (i % 16 == 0) {
			fill_set(4);
			length = encode_set();
		}
		length = sizeof(struct record_regions) + 4 * sizeof(struct record_region);
		buffer[16 + random_next(&seed) % (length - 16)] = (unsigned char)random_next(&seed);
		if (decode_resealed(length) < 0)
			continue;
		accepted++;
		assert_true(set_out.count <= TP_CATALOGUE_REGIONS_MAX);
		for (uint32_t r = 0; r < set_out.count; r++) {
			const struct tp_region *region = &set_out.regions[r];

			assert_true(tp_address_range_is_valid(split, region->base, region->bytes));
			assert_true(region->node_count <= TP_REGION_NODES_MAX);
			assert_true(memchr(region->name, 0, sizeof(region->name)) != NULL);
			assert_int_equal(region->page_count,
				region->bytes >> region->page_shift);
		}
	}
	assert_true(accepted > 0);
}

static void
test_record_random_bytes_are_refused(void **state)
{
	uint64_t seed = 12;

	for (int i = 0; i < 20000; i++) {
		size_t length = random_next(&seed) % 600;
		struct tp_address_split read;
		struct tp_node_record node;
		struct extent_chunk chunk;

		for (size_t b = 0; b < length; b += 8) {
			uint64_t word = random_next(&seed);

			memcpy(&buffer[b], &word, 8);
		}
		assert_int_equal(record_node_decode(buffer, length, &node), -EBADMSG);
		assert_int_equal(record_cluster_decode(buffer, length, &read), -EBADMSG);
		assert_int_equal(record_extents_decode(buffer, length, &chunk), -EBADMSG);
		assert_int_equal(record_regions_decode(buffer, length, split, &set_out), -EBADMSG);
	}
}

static void
test_record_name_rule(void **state)
{
	char longest[TP_REGION_NAME_BYTES + 1];

	memset(longest, 'n', sizeof(longest));
	longest[TP_REGION_NAME_BYTES] = '\0';
	assert_false(record_name_is_valid(longest));
	longest[TP_REGION_NAME_BYTES - 1] = '\0';
	assert_true(record_name_is_valid(longest));
	assert_true(record_name_is_valid("Az09._-"));
	assert_false(record_name_is_valid(""));
	assert_false(record_name_is_valid(".x"));
	assert_false(record_name_is_valid("-x"));
	assert_false(record_name_is_valid("a/b"));
	assert_false(record_name_is_valid("a b"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_node_round_trips),
		cmocka_unit_test(test_record_node_bytes_are_those_published),
		cmocka_unit_test(test_record_crc_is_crc32c),
		cmocka_unit_test(test_record_regions_round_trip),
		cmocka_unit_test(test_record_extents_and_cluster_round_trip),
		cmocka_unit_test(test_record_any_flipped_bit_or_length_is_refused),
		cmocka_unit_test(test_record_regions_bad_field_is_refused),
		cmocka_unit_test(test_record_regions_random_damage_gives_valid_or_refused),
		cmocka_unit_test(test_record_random_bytes_are_refused),
		cmocka_unit_test(test_record_name_rule),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
