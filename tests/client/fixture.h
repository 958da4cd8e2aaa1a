/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A client attached to a fake node, one thread registered, the region open.
 */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include <rte_common.h>

#include "fake_node.h"

struct fixture {
	struct fake_node *fake;
	struct tp_client *client;
	struct tp_thread *thread;
	struct tp_client_region *region;
};

static inline int
fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct tp_client_backend backend;

	f->fake = fake_node_create();
	backend = fake_node_backend(f->fake);
	assert_int_equal(tp_client_attach_backend(&backend, &f->client), 0);
	assert_int_equal(tp_thread_register(f->client, &f->thread), 0);
	assert_int_equal(tp_client_region_open(f->client, "test", &f->region), 0);
	*state = f;
	return 0;
}

static inline int
fixture_teardown(void **state)
{
	struct fixture *f = *state;

	tp_client_detach(f->client);
	fake_node_destroy(f->fake);
	free(f);
	return 0;
}

#define fixture_test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#define assert_ok(result, bytes) do {					\
	struct tp_result result_ = (result);				\
	assert_string_equal(tp_reason_name(result_.reason), "ok");	\
	assert_int_equal(result_.effect, TP_EFFECT_DONE);		\
	assert_int_equal(result_.bytes_done, (bytes));			\
} while (0)

#define assert_void(result, why, what, bytes) do {			\
	struct tp_result result_ = (result);				\
	assert_string_equal(tp_reason_name(result_.reason), tp_reason_name(why)); \
	assert_int_equal(result_.effect, (what));			\
	assert_int_equal(result_.bytes_done, (bytes));			\
} while (0)

#endif /* FIXTURE_H */
