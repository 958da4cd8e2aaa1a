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

#include "store_dir.h"
#include "tp_catalogue.h"

#define LEASE UINT64_C(100000000)

struct rig {
	struct tp_store *store;
	struct tp_catalogue *catalogue;
};

static int
setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	store_dir_make();
	rig->store = store_dir_open();
	rig->catalogue = tp_catalogue_open(rig->store, TP_ADDRESS_SPLIT_DEFAULT);
	*state = rig;
	return rig->catalogue == NULL;
}

static int
teardown(void **state)
{
	struct rig *rig = *state;

	tp_catalogue_close(rig->catalogue);
	tp_store_close(rig->store);
	free(rig);
	store_dir_remove();
	return 0;
}

static struct tp_node_record
node_of(uint16_t id)
{
	return (struct tp_node_record){
		.id = id, .state = TP_NODE_MEMBER, .ip = 0x0a000000u + id, .udp_port = 4000,
		.worker_count = 1, .lease_ns = LEASE,
	};
}

static uint32_t
join(struct rig *rig, uint16_t id, uint64_t now)
{
	struct tp_node_record self = node_of(id);

	assert_int_equal(tp_catalogue_node_join(rig->catalogue, &self, now, NULL), 0);
	return self.epoch;
}

static void
test_catalogue_other_split_is_refused(void **state)
{
	struct rig *rig = *state;
	struct tp_address_split split;
	struct tp_catalogue *second;

	assert_int_equal(tp_address_split_init(&split, 6), 0);
	assert_null(tp_catalogue_open(rig->store, split));
	assert_int_equal(rte_errno, EINVAL);
	assert_null(tp_catalogue_open(rig->store, (struct tp_address_split){ 40, 6 }));
	assert_int_equal(rte_errno, EINVAL);
	assert_int_equal(tp_catalogue_split_read(rig->store, &split), 0);
	assert_int_equal(split.node_bits, 14);
	second = tp_catalogue_open(rig->store, split);
	assert_non_null(second);
	assert_int_equal(tp_catalogue_split(second).offset_bits, 32);
	assert_ptr_equal(tp_catalogue_store(second), rig->store);
	tp_catalogue_close(second);
	tp_catalogue_close(NULL);
}

static void
test_node_join_counts_epochs_and_tells_what_was(void **state)
{
	struct rig *rig = *state;
	struct tp_node_record self = node_of(7);
	struct tp_node_record previous;
	struct tp_node_record read;

	self.has_mac = 1;
	memcpy(self.mac, "\x02\x00\x00\x00\x00\x07", 6);
	assert_int_equal(tp_catalogue_node_get(rig->catalogue, 7, &read), -ENOENT);
	assert_int_equal(tp_catalogue_node_join(rig->catalogue, &self, 100, &previous), 0);
	assert_int_equal(previous.state, 0);
	assert_int_equal(self.epoch, 1);
	assert_int_equal(tp_catalogue_node_join(rig->catalogue, &self, 200, &previous), 0);
	assert_int_equal(self.epoch, 2);
	assert_int_equal(previous.state, TP_NODE_MEMBER);
	assert_int_equal(previous.epoch, 1);
	assert_int_equal(previous.lease_stamp, 100);
	assert_int_equal(tp_catalogue_node_get(rig->catalogue, 7, &read), 0);
	assert_memory_equal(&read, &self, sizeof(read));
	assert_int_equal(read.lease_stamp, 200);
}

static void
test_node_join_bad_field_is_refused(void **state)
{
	struct rig *rig = *state;
	struct tp_node_record self = node_of(16384);

	assert_int_equal(tp_catalogue_node_join(rig->catalogue, &self, 1, NULL), -EINVAL);
	self = node_of(1);
	self.worker_count = 0;
	assert_int_equal(tp_catalogue_node_join(rig->catalogue, &self, 1, NULL), -EINVAL);
	self = node_of(1);
	self.state = TP_NODE_LEFT;
	assert_int_equal(tp_catalogue_node_join(rig->catalogue, &self, 1, NULL), -EINVAL);
	assert_int_equal(tp_catalogue_node_get(rig->catalogue, 1, &self), -ENOENT);
}

static void
test_node_joining_is_activated_once(void **state)
{
	struct rig *rig = *state;
	struct tp_node_record self = node_of(1);
	struct tp_node_record read;

	self.state = TP_NODE_JOINING;
	assert_int_equal(tp_catalogue_node_join(rig->catalogue, &self, 1, NULL), 0);
	assert_int_equal(tp_catalogue_node_renew(rig->catalogue, 1, self.epoch, 5), 0);
	assert_int_equal(tp_catalogue_node_activate(rig->catalogue, 1, self.epoch + 1), -ESTALE);
	assert_int_equal(tp_catalogue_node_activate(rig->catalogue, 1, self.epoch), 0);
	assert_int_equal(tp_catalogue_node_activate(rig->catalogue, 1, self.epoch), 0);
	assert_int_equal(tp_catalogue_node_get(rig->catalogue, 1, &read), 0);
	assert_int_equal(read.state, TP_NODE_MEMBER);
	assert_int_equal(read.lease_stamp, 5);
	assert_int_equal(tp_catalogue_node_activate(rig->catalogue, 2, 1), -ESTALE);
}

static void
test_node_fenced_cannot_renew(void **state)
{
	struct rig *rig = *state;
	uint32_t epoch = join(rig, 3, 100);
	struct tp_node_record read;
	uint64_t lease_stamp = 0;
	uint64_t lease_ns = 0;

	assert_int_equal(tp_catalogue_node_renew(rig->catalogue, 3, epoch, 555), 0);
	assert_int_equal(tp_catalogue_node_fence(rig->catalogue, 3, epoch, &lease_stamp, &lease_ns),
		0);
	assert_int_equal(lease_stamp, 555);
	assert_int_equal(lease_ns, LEASE);
	assert_int_equal(tp_catalogue_node_renew(rig->catalogue, 3, epoch, 600), -ESTALE);
	assert_int_equal(tp_catalogue_node_activate(rig->catalogue, 3, epoch), -ESTALE);
	assert_int_equal(tp_catalogue_node_leave(rig->catalogue, 3, epoch), -ESTALE);
	/* A second fencer learns the same. */
	lease_stamp = 0;
	assert_int_equal(tp_catalogue_node_fence(rig->catalogue, 3, epoch, &lease_stamp, NULL), 0);
	assert_int_equal(lease_stamp, 555);
	assert_int_equal(tp_catalogue_node_get(rig->catalogue, 3, &read), 0);
	assert_int_equal(read.state, TP_NODE_FENCED);
	/* It comes back with a new epoch; fencing the old one is over. */
	assert_int_equal(join(rig, 3, 700), epoch + 1);
	assert_int_equal(tp_catalogue_node_fence(rig->catalogue, 3, epoch, NULL, NULL), -ESTALE);
	assert_int_equal(tp_catalogue_node_renew(rig->catalogue, 3, epoch, 701), -ESTALE);
	assert_int_equal(tp_catalogue_node_renew(rig->catalogue, 3, epoch + 1, 701), 0);
}

static void
test_node_left_is_neither_renewed_nor_fenced(void **state)
{
	struct rig *rig = *state;
	uint32_t epoch = join(rig, 3, 100);

	assert_int_equal(tp_catalogue_node_leave(rig->catalogue, 3, epoch + 1), -ESTALE);
	assert_int_equal(tp_catalogue_node_leave(rig->catalogue, 3, epoch), 0);
	assert_int_equal(tp_catalogue_node_renew(rig->catalogue, 3, epoch, 200), -ESTALE);
	assert_int_equal(tp_catalogue_node_fence(rig->catalogue, 3, epoch, NULL, NULL), -ESTALE);
	assert_int_equal(tp_catalogue_node_fence(rig->catalogue, 4, 1, NULL, NULL), -ENOENT);
	assert_int_equal(tp_catalogue_node_renew(rig->catalogue, 4, 1, 200), -ESTALE);
}

static void
test_node_list_is_by_id_and_tells_how_many(void **state)
{
	struct rig *rig = *state;
	static const uint16_t ids[] = { 300, 2, 16383, 0, 10 };
	struct tp_node_record records[3];

	assert_int_equal(tp_catalogue_node_list(rig->catalogue, records, 3), 0);
	for (size_t i = 0; i < RTE_DIM(ids); i++)
		join(rig, ids[i], 1);
	assert_int_equal(tp_catalogue_node_list(rig->catalogue, records, 3), 5);
	assert_int_equal(records[0].id, 0);
	assert_int_equal(records[1].id, 2);
	assert_int_equal(records[2].id, 10);
}

static void
test_node_revision_follows_renewals_of_others(void **state)
{
	struct rig *rig = *state;
	struct tp_store *store = store_dir_open();
	struct tp_catalogue *other = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);
	uint32_t epoch = join(rig, 1, 1);
	uint64_t revision = tp_catalogue_node_revision(rig->catalogue);
	uint64_t regions = tp_catalogue_region_revision(rig->catalogue);

	assert_int_equal(tp_catalogue_node_revision(rig->catalogue), revision);
	assert_int_equal(tp_catalogue_node_renew(other, 1, epoch, 9), 0);
	assert_int_not_equal(tp_catalogue_node_revision(rig->catalogue), revision);
	assert_int_equal(tp_catalogue_region_revision(rig->catalogue), regions);
	tp_catalogue_close(other);
	tp_store_close(store);
}

static void
test_node_record_of_garbage_is_refused(void **state)
{
	struct rig *rig = *state;
	struct tp_node_record read;

	assert_int_equal(tp_store_cas(rig->store, "node/00009", 0, "garbage", 7, NULL), 0);
	assert_int_equal(tp_catalogue_node_get(rig->catalogue, 9, &read), -EBADMSG);
	assert_int_equal(tp_catalogue_node_renew(rig->catalogue, 9, 1, 1), -EBADMSG);
	assert_int_equal(tp_catalogue_node_list(rig->catalogue, &read, 1), -EBADMSG);
}

/* A record copied under another node's key is not that node's. */
static void
test_node_record_of_another_id_is_refused(void **state)
{
	struct rig *rig = *state;
	struct tp_node_record read;
	char value[256];
	size_t bytes;

	join(rig, 1, 1);
	assert_int_equal(tp_store_get(rig->store, "node/00001", value, sizeof(value), &bytes, NULL),
		0);
	assert_int_equal(tp_store_cas(rig->store, "node/00002", 0, value, bytes, NULL), 0);
	assert_int_equal(tp_catalogue_node_get(rig->catalogue, 2, &read), -EBADMSG);
}

#define NODE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		NODE_TEST(test_catalogue_other_split_is_refused),
		NODE_TEST(test_node_join_counts_epochs_and_tells_what_was),
		NODE_TEST(test_node_join_bad_field_is_refused),
		NODE_TEST(test_node_joining_is_activated_once),
		NODE_TEST(test_node_fenced_cannot_renew),
		NODE_TEST(test_node_left_is_neither_renewed_nor_fenced),
		NODE_TEST(test_node_list_is_by_id_and_tells_how_many),
		NODE_TEST(test_node_revision_follows_renewals_of_others),
		NODE_TEST(test_node_record_of_garbage_is_refused),
		NODE_TEST(test_node_record_of_another_id_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
