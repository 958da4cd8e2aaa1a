/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Attaching again to the successor of a node that died: two fake nodes, one
 * after the other behind the same socket.
 */
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"
#include "tp_inject.h"

struct node {
	struct fake_node *fake;
	char path[64];
	int listener;
	_Atomic int connection;
	pthread_t thread;
	int bells[FAKE_WORKERS];
	_Atomic uint32_t surplus_op;	/* is answered twice */
	_Atomic bool surplus_sent;
	void (*hook)(void *ctx);	/* before a request of hook_op is answered */
	void *hook_ctx;
	uint32_t hook_op;
	_Atomic bool hook_answered;	/* what it was called for */
};

static uint32_t region_id;	/* of the next node's region */
static char folder[] = "/tmp/tp-reattach-XXXXXX";

static void
node_respond(struct node *node, int connection, const struct tp_control_request *request)
{
	struct tp_control_response response;
	unsigned int count;
	int fds[4 + FAKE_WORKERS];
	bool hooked = node->hook != NULL && request->op == node->hook_op;
	uint32_t i;

	if (hooked)
		node->hook(node->hook_ctx);
	fake_node_control(node->fake, request, &response, fds, 4);
	for (i = 0; request->op == TP_CONTROL_ATTACH && i < FAKE_WORKERS; i++)
		fds[response.fd_count++] = dup(node->bells[i]);
	count = response.fd_count;
	tp_fd_send(connection, &response, sizeof(response), fds, count);
	if (request->op == node->surplus_op) {
		tp_fd_send(connection, &response, sizeof(response), NULL, 0);
		node->surplus_sent = true;
	}
	if (hooked)
		node->hook_answered = true;
	while (count > 0)
		close(fds[--count]);
}

/* One connection after the other, until the listener is shut down. */
static void *
node_run(void *argument)
{
	struct node *node = argument;
	struct tp_control_request request;
	unsigned int count;
	int connection;

	while ((connection = accept(node->listener, NULL, NULL)) >= 0) {
		node->connection = connection;
		while (tp_fd_recv(connection, &request, sizeof(request), NULL, 0, &count) ==
		       (ssize_t)sizeof(request))
			node_respond(node, connection, &request);
		node->connection = -1;
		close(connection);
	}
	return NULL;
}

/* A node whose words say: page 0 is here, and may be written. */
static void
node_start(struct node *node, uint8_t content, uint32_t epoch)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint32_t i;

	*node = (struct node){ .fake = fake_node_create(), .connection = -1 };
	for (i = 0; i < FAKE_WORKERS; i++)
		node->bells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	memset(node->fake->pages[0].home, content, FAKE_PAGE_BYTES);
	fake_page_publish(node->fake, 0, TP_ACCESS_WRITE);
	node->fake->node->epoch = epoch;
	node->fake->region.generation += epoch;
	node->fake->region.id = region_id;
	snprintf(node->path, sizeof(node->path), "%s/sock", folder);
	strcpy(address.sun_path, node->path);
	node->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(node->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(node->listener, 4), 0);
	assert_int_equal(pthread_create(&node->thread, NULL, node_run, node), 0);
}

/* As the kernel does it when a node is killed; its last lease is over. */
static void
node_die(struct node *node)
{
	int connection;
	uint32_t i;

	atomic_store(&node->fake->node->lease_until_tsc, 0);
	unlink(node->path);
	shutdown(node->listener, SHUT_RDWR);
	connection = node->connection;
	if (connection >= 0)
		shutdown(connection, SHUT_RDWR);
	pthread_join(node->thread, NULL);
	close(node->listener);
	for (i = 0; i < FAKE_WORKERS; i++)
		close(node->bells[i]);
}

struct attached {
	struct node first;
	struct node second;
	bool second_runs;
	struct tp_client *client;
	struct tp_thread *thread;
	struct tp_client_region *region;
};

static struct attached *
attached_new(bool reattach)
{
	struct attached *a = calloc(1, sizeof(*a));
	struct tp_client_config config = {
		.thread_count = FAKE_THREADS,
		.timeout_ns = 200000000,
		.control_timeout_ns = 2000000000,
		.reattach = reattach,
	};

	assert_non_null(a);
	region_id = FAKE_REGION_ID;
	node_start(&a->first, 0x11, 1);
	config.socket_path = a->first.path;
	assert_int_equal(tp_client_attach(&config, &a->client), 0);
	assert_int_equal(tp_thread_register(a->client, &a->thread), 0);
	assert_int_equal(tp_client_region_open(a->client, "test", &a->region), 0);
	return a;
}

static int
setup(void **state)
{
	*state = attached_new(false);
	return 0;
}

static int
setup_keeper(void **state)
{
	*state = attached_new(true);
	return 0;
}

static void
second_start(struct attached *a)
{
	node_start(&a->second, 0x22, 2);
	a->second_runs = true;
}

static int
teardown(void **state)
{
	struct attached *a = *state;

	tp_client_detach(a->client);
	fake_node_destroy(a->first.fake);
	if (a->second_runs) {
		node_die(&a->second);
		fake_node_destroy(a->second.fake);
	}
	free(a);
	return 0;
}

static uint8_t
byte_read(struct attached *a, uint64_t offset)
{
	uint8_t byte = 0;

	assert_ok(tp_read(a->thread, a->region, offset, &byte, 1), 1);
	return byte;
}

static void
test_reattach_handles_go_on_at_the_successor(void **state)
{
	struct attached *a = *state;
	struct tp_client_region *again;
	struct tp_thread *other;
	uint64_t old = 0;
	uint8_t byte = 0x33;

	assert_int_equal(tp_client_reattach(a->client), 0);
	assert_int_equal(byte_read(a, 5), 0x11);
	node_die(&a->first);
	assert_int_equal(tp_read(a->thread, a->region, 5, &byte, 1).reason, TP_NODE_CRASHED);
	assert_int_equal(tp_client_reattach(a->client), -ENOENT);
	assert_int_equal(tp_client_region_open(a->client, "test", &again), -ECONNRESET);
	second_start(a);
	assert_int_equal(tp_client_reattach(a->client), 0);
	assert_true(tp_client_is_alive(a->client));
	assert_int_equal(tp_client_node(a->client)->epoch, 2);
	assert_int_equal(tp_client_region_info(a->region)->generation,
			 a->second.fake->region.generation);
	assert_int_equal(byte_read(a, 5), 0x22);
	byte = 0x33;
	assert_ok(tp_write(a->thread, a->region, 5, &byte, 1), 1);
	assert_int_equal(fake_page_data(a->second.fake, 0)[5], 0x33);
	assert_ok(tp_atomic_add64(a->thread, a->region, 64, 1, &old), 8);
	assert_int_equal(fake_page_data(a->second.fake, 0)[64], 0x23);
	assert_int_equal(tp_lookup(a->region, 0), TP_ACCESS_WRITE);
	/* New handles and old ones are the same things. */
	assert_int_equal(tp_thread_register(a->client, &other), 0);
	assert_int_equal(tp_client_region_open(a->client, "test", &again), 0);
	assert_ok(tp_read(other, a->region, 5, &byte, 1), 1);
	assert_ok(tp_read(a->thread, again, 5, &byte, 1), 1);
	assert_int_equal(byte, 0x33);
	tp_client_region_close(again);
	tp_thread_unregister(other);
	tp_thread_unregister(a->thread);
	assert_int_equal(a->second.fake->client->threads[0].active, 0);
	tp_client_region_close(a->region);
}

static void
test_reattach_access_under_way_ends_and_pin_is_lost(void **state)
{
	struct attached *a = *state;
	struct tp_op op, queued;
	struct tp_pin pin;
	uint8_t byte;

	assert_ok(tp_pin(a->thread, a->region, 0, 64, TP_ACCESS_WRITE, &pin), 64);
	/* Page 1 is not here, and nobody answers. */
	assert_false(tp_submit_read(a->thread, a->region, FAKE_PAGE_BYTES, &byte, 1, &op));
	assert_false(tp_submit_atomic(a->thread, a->region, 2 * FAKE_PAGE_BYTES, TP_ATOMIC_ADD, 8,
				      1, 0, &queued));
	node_die(&a->first);
	second_start(a);
	assert_int_equal(tp_client_reattach(a->client), 0);
	assert_true(tp_op_poll(a->thread, &op));
	assert_int_equal(op.result.reason, TP_NODE_CRASHED);
	assert_int_equal(op.result.effect, TP_EFFECT_NOT_DONE);
	assert_int_equal(tp_op_wait(a->thread, &queued).reason, TP_NODE_CRASHED);
	assert_int_equal(queued.result.effect, TP_EFFECT_UNKNOWN);
	/* It may be touched, and changes nothing. */
	memset(pin.address, 0x44, 64);
	assert_int_equal(tp_unpin(a->thread, &pin).reason, TP_PARTITION);
	assert_int_equal(byte_read(a, 0), 0x22);
	assert_int_equal(fake_page_data(a->second.fake, 0)[0], 0x22);
	assert_false(fake_node_guarded(a->second.fake));
}

static void __attribute__((noinline))
stack_fill(void)
{
	uint8_t bytes[4096];

	memset(bytes, 0x5a, sizeof(bytes));
	__asm__ volatile ("" :: "r" (bytes) : "memory");
}

static void
test_reattach_region_replaced_is_void_others_go_on(void **state)
{
	struct attached *a = *state;
	struct tp_client_region *again;
	struct tp_vector vector;
	struct tp_pin pin;
	struct tp_op op;
	uint8_t byte = 1;

	vector = (struct tp_vector){ .buffer = &byte, .bytes = 1 };
	node_die(&a->first);
	region_id = FAKE_REGION_ID + 1;
	second_start(a);
	assert_int_equal(tp_client_reattach(a->client), 0);
	assert_int_equal(tp_read(a->thread, a->region, 0, &byte, 1).reason, TP_GENERATION);
	assert_int_equal(tp_write(a->thread, a->region, 0, &byte, 1).reason, TP_GENERATION);
	assert_true(tp_submit_clear(a->thread, a->region, &op));
	assert_int_equal(op.result.reason, TP_GENERATION);
	/* Calls that wait for an access that never began: whatever was on their stack. */
	stack_fill();
	assert_void(tp_readv(a->thread, a->region, &vector, 1), TP_GENERATION, 1, 0);
	stack_fill();
	assert_void(tp_writev(a->thread, a->region, &vector, 1), TP_GENERATION, 1, 0);
	stack_fill();
	assert_void(tp_pin(a->thread, a->region, 0, 8, TP_ACCESS_READ, &pin), TP_GENERATION, 1, 0);
	stack_fill();
	assert_void(tp_flush(a->thread, a->region, 0, 8), TP_GENERATION, 1, 0);
	stack_fill();
	assert_void(tp_invalidate(a->thread, a->region, 0, 8), TP_GENERATION, 1, 0);
	stack_fill();
	assert_void(tp_clear(a->thread, a->region), TP_GENERATION, 1, 0);
	stack_fill();
	assert_void(tp_atomic_add64(a->thread, a->region, 0, 1, NULL), TP_GENERATION, 1, 0);
	assert_int_equal(tp_client_region_open(a->client, "test", &again), 0);
	assert_ok(tp_read(a->thread, again, 0, &byte, 1), 1);
	assert_int_equal(byte, 0x22);
}

static void
test_reattach_again_after_the_next_death(void **state)
{
	struct attached *a = *state;

	node_die(&a->first);
	second_start(a);
	assert_int_equal(tp_client_reattach(a->client), 0);
	node_die(&a->second);
	fake_node_destroy(a->first.fake);
	a->first = a->second;
	second_start(a);
	assert_int_equal(tp_client_reattach(a->client), 0);
	assert_int_equal(byte_read(a, 1), 0x22);
}

/* An answer that nobody read must not hide the end of the connection behind it. */
static void
test_reattach_unread_answer_death_is_seen(void **state)
{
	struct attached *a = *state;
	uint64_t stats[TP_CONTROL_STATS_MAX];

	a->first.surplus_op = TP_CONTROL_STATS;
	assert_int_equal(tp_client_stats_get(a->client, stats), 0);
	while (!a->first.surplus_sent)
		sched_yield();
	node_die(&a->first);
	assert_false(tp_client_is_alive(a->client));
	second_start(a);
	assert_int_equal(tp_client_reattach(a->client), 0);
	assert_int_equal(tp_client_node(a->client)->epoch, 2);
	assert_int_equal(byte_read(a, 1), 0x22);
}

struct late {
	struct attached *a;
	struct tp_thread *thread;
	pthread_t runner;
	int ret;
};

static void *
late_register(void *argument)
{
	struct late *late = argument;

	late->ret = tp_thread_register(late->a->client, &late->thread);
	return NULL;
}

/* The re-attach is under way: time for the other thread to come to the lock it holds. */
static void
late_begin(void *argument)
{
	struct late *late = argument;

	if (pthread_create(&late->runner, NULL, late_register, late) != 0)
		abort();
	usleep(50000);
}

static void
test_reattach_thread_registered_meanwhile_is_at_the_successor(void **state)
{
	struct attached *a = *state;
	struct late late = { .a = a };
	uint8_t byte = 0;

	node_die(&a->first);
	second_start(a);
	a->second.hook_ctx = &late;
	a->second.hook_op = TP_CONTROL_REGION_OPEN;
	a->second.hook = late_begin;
	assert_int_equal(tp_client_reattach(a->client), 0);
	pthread_join(late.runner, NULL);
	assert_int_equal(late.ret, 0);
	assert_ok(tp_read(late.thread, a->region, 0, &byte, 1), 1);
	assert_int_equal(byte, 0x22);
}

struct late_open {
	struct attached *a;
	struct tp_client_region *region;
	pthread_t runner;
	int ret;
};

static _Atomic bool opener_stopped, opener_goes_on;

static void
opener_stop(int number)
{
	opener_stopped = true;
	while (!opener_goes_on)
		sched_yield();
}

/* Its request is here: it must not come to the answer. */
static void
opener_interrupt(void *argument)
{
	struct late_open *late = argument;

	pthread_kill(late->runner, SIGUSR1);
	while (!opener_stopped)
		sched_yield();
}

static void
opener_continue(void *argument)
{
	opener_goes_on = true;
}

static void *
opener_run(void *argument)
{
	struct late_open *late = argument;

	late->ret = tp_client_region_open(late->a->client, "test", &late->region);
	return NULL;
}

/*
 * The node answers, dies and is replaced before the thread that asked has taken
 * the answer in: then the re-attach has the lock, and the answer is of no use.
 */
static void
test_reattach_region_opened_meanwhile_is_at_the_successor(void **state)
{
	struct sigaction action = { .sa_handler = opener_stop };
	struct attached *a = *state;
	struct late_open late = { .a = a };
	uint8_t byte = 0;

	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	opener_stopped = opener_goes_on = false;
	tp_client_region_close(a->region);
	a->first.hook_ctx = &late;
	a->first.hook_op = TP_CONTROL_REGION_OPEN;
	a->first.hook = opener_interrupt;
	assert_int_equal(pthread_create(&late.runner, NULL, opener_run, &late), 0);
	while (!a->first.hook_answered)
		sched_yield();
	node_die(&a->first);
	second_start(a);
	a->second.hook_op = TP_CONTROL_ATTACH;
	a->second.hook = opener_continue;
	assert_int_equal(tp_client_reattach(a->client), 0);
	pthread_join(late.runner, NULL);
	assert_int_equal(late.ret, 0);
	assert_ok(tp_read(a->thread, late.region, 0, &byte, 1), 1);
	assert_int_equal(byte, 0x22);
}

/* Descriptors of this process whose name has this in it. */
static unsigned int
fds_open(const char *what)
{
	char path[300], name[256];
	unsigned int count = 0;
	struct dirent *entry;
	ssize_t length;
	DIR *dir = opendir("/proc/self/fd");

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		length = readlink(path, name, sizeof(name) - 1);
		if (length < 0)
			continue;
		name[length] = '\0';
		count += strstr(name, what) != NULL;
	}
	closedir(dir);
	return count;
}

static void
test_reattach_leaves_no_descriptors_and_bells_ring(void **state)
{
	struct attached *a = *state;
	unsigned int memory = RTE_DIM(a->first.fake->segments), before;
	uint64_t stats[TP_CONTROL_STATS_MAX], rings = 0;
	struct tp_op op;

	/* Answered when the node has closed what it sent before. */
	assert_int_equal(tp_client_stats_get(a->client, stats), 0);
	before = fds_open("");
	/* What the client has mapped it has no descriptor of: these are the fake's. */
	assert_int_equal(fds_open("memfd"), memory);
	node_die(&a->first);
	second_start(a);
	assert_int_equal(tp_client_reattach(a->client), 0);
	assert_int_equal(tp_client_stats_get(a->client, stats), 0);
	assert_int_equal(fds_open("memfd"), 2 * memory);
	assert_int_equal(fds_open(""), before + memory);
	tp_abi_bell_arm(&a->second.fake->node->bells[1]);
	assert_false(tp_submit_nop(a->thread, 1, &op));
	assert_int_equal(read(a->second.bells[1], &rings, sizeof(rings)), sizeof(rings));
	assert_int_equal(rings, 1);
	assert_int_equal(read(a->second.bells[0], &rings, sizeof(rings)), -1);
}

struct attempt {
	struct tp_client *client;
	pthread_t runner;
	_Atomic bool done;
	int ret;
};

static void *
attempt_run(void *argument)
{
	struct attempt *attempt = argument;

	attempt->ret = tp_client_reattach(attempt->client);
	attempt->done = true;
	return NULL;
}

/* The rest of the dead node's lease is waited for by who attaches again, and by nobody else. */
static void
test_reattach_waits_for_the_lease_alone(void **state)
{
	struct attached *a = *state;
	struct attempt attempt = { .client = a->client };

	node_die(&a->first);
	atomic_store(&a->first.fake->node->lease_until_tsc, UINT64_MAX);
	second_start(a);
	assert_int_equal(pthread_create(&attempt.runner, NULL, attempt_run, &attempt), 0);
	while (tp_client_node(a->client)->epoch != 2)
		sched_yield();
	tp_client_region_close(a->region);
	tp_thread_unregister(a->thread);
	assert_false(attempt.done);
	atomic_store(&a->first.fake->node->lease_until_tsc, 0);
	pthread_join(attempt.runner, NULL);
	assert_int_equal(attempt.ret, 0);
}

static void
test_reattach_faults_are_injected_at_the_successor(void **state)
{
	const struct tp_inject_spec spec = { .kind = TP_INJECT_LOSS, .rate_ppm = 1 };
	struct attached *a = *state;
	struct tp_control_inject inject;

	node_die(&a->first);
	second_start(a);
	assert_int_equal(tp_client_reattach(a->client), 0);
	assert_int_equal(tp_inject(a->client, &spec), 0);
	assert_int_equal(a->second.fake->control_last.op, TP_CONTROL_INJECT);
	assert_int_equal(tp_inject_get(a->client, 0, &inject), 0);
	assert_int_equal(tp_inject_clear(a->client), 0);
	assert_int_equal(a->second.fake->control_last.op, TP_CONTROL_INJECT_CLEAR);
}

static void
test_keeper_reattaches_by_itself(void **state)
{
	const struct timespec step = { .tv_nsec = 1000000 };
	struct attached *a = *state;
	struct tp_result result;
	uint8_t byte;
	int i;

	node_die(&a->first);
	second_start(a);
	for (i = 0; i < 5000; i++) {
		result = tp_read(a->thread, a->region, 0, &byte, 1);
		if (tp_result_is_ok(result))
			break;
		assert_int_equal(result.reason, TP_NODE_CRASHED);
		nanosleep(&step, NULL);
	}
	assert_ok(result, 1);
	assert_int_equal(byte, 0x22);
}

/* The keeper of a node that does not come back lets the program detach. */
static void
test_keeper_without_successor_stops(void **state)
{
	struct attached *a = *state;

	node_die(&a->first);
	usleep(20000);
}

static void
test_reattach_backend_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tp_client_reattach(f->client), -EOPNOTSUPP);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define KEEPER_CASE(name) cmocka_unit_test_setup_teardown(name, setup_keeper, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_reattach_handles_go_on_at_the_successor),
		CASE(test_reattach_access_under_way_ends_and_pin_is_lost),
		CASE(test_reattach_region_replaced_is_void_others_go_on),
		CASE(test_reattach_again_after_the_next_death),
		CASE(test_reattach_unread_answer_death_is_seen),
		CASE(test_reattach_thread_registered_meanwhile_is_at_the_successor),
		CASE(test_reattach_region_opened_meanwhile_is_at_the_successor),
		CASE(test_reattach_leaves_no_descriptors_and_bells_ring),
		CASE(test_reattach_waits_for_the_lease_alone),
		CASE(test_reattach_faults_are_injected_at_the_successor),
		KEEPER_CASE(test_keeper_reattaches_by_itself),
		KEEPER_CASE(test_keeper_without_successor_stops),
		fixture_test(test_reattach_backend_refused),
	};
	int ret;

	assert_non_null(mkdtemp(folder));
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return ret;
}
