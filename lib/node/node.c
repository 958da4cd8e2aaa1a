/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A node on DPDK ports: the control side on the main lcore, workers on their
 * own or there too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include "node_priv.h"
#include "tp_store.h"

#define NODE_CONTROL_NS UINT64_C(50000)
#define NODE_ATTACH_NS UINT64_C(200000)
#define NODE_CALL_TIMEOUT_NS UINT64_C(5000000000)
#define NODE_CODEC_PAGE 4096u		/* what costs of codecs are told for */
#define NODE_STOP_NS UINT64_C(500000000)

uint64_t
tp_node_now(const struct tp_node *node)
{
	return node_clock_ns(&node->clock, rte_rdtsc());
}

static uint32_t
node_worker_poll(struct tp_node *node, uint16_t worker, uint64_t now)
{
	return node_port_rings_poll(node, worker, now) +
		tp_worker_poll(tp_control_worker(node->control, worker), now);
}

uint32_t
tp_node_poll(struct tp_node *node)
{
	uint64_t now = tp_node_now(node);
	uint32_t work = 0;
	uint16_t w;

	if (now >= node->control_at) {
		node->control_at = now + NODE_CONTROL_NS;
		work += tp_control_poll(node->control, now);
	}
	if (node->attach != NULL && now >= node->attach_at) {
		node->attached_at = now;
		node->attach_at = now + NODE_ATTACH_NS;
		work += attach_poll(node->attach, now);
	}
	for (w = node->worker_first; w < node->config.workers; w++)
		work += node_worker_poll(node, w, now);
	return work;
}

void
tp_node_run(struct tp_node *node, const volatile sig_atomic_t *stop)
{
	struct node_poller poller;

	node_poller_init(&poller, node, node->worker_first, node->config.workers, true);
	while (!*stop)
		node_poller_idle(&poller, tp_node_poll(node));
	node->crowd = poller.idle.crowd;
	node_poller_fini(&poller);
}

struct node_lcore {
	struct tp_node *node;
	uint16_t worker;
};

static int
node_lcore_main(void *arg)
{
	struct node_lcore lcore = *(struct node_lcore *)arg;
	struct tp_node *node = lcore.node;
	struct node_poller poller;

	free(arg);
	node_poller_init(&poller, node, lcore.worker, (uint16_t)(lcore.worker + 1), false);
	/* Pairs with the release in node_lcores_stop(). */
	while (!atomic_load_explicit(&node->lcores_stop, memory_order_acquire))
		node_poller_idle(&poller,
			node_worker_poll(node, lcore.worker, tp_node_now(node)));
	node_poller_fini(&poller);
	return 0;
}

static void
node_lcores_stop(struct tp_node *node)
{
	uint16_t w;

	/* Pairs with the acquire in node_lcore_main(). */
	atomic_store_explicit(&node->lcores_stop, true, memory_order_release);
	for (w = 0; w < node->worker_first; w++)
		idle_bell_ring(node->worker_fds[w]);
	for (w = 0; w < node->worker_first; w++)
		rte_eal_wait_lcore(node->lcores[w]);
	node->worker_first = 0;
}

int
tp_node_start_workers(struct tp_node *node, const unsigned int *lcores, unsigned int count)
{
	unsigned int i;

	if (count == 0 || count > node->config.workers)
		return -EINVAL;
	if (node->worker_first != 0)
		return -EALREADY;
	for (i = 0; i < count; i++)
		if (rte_eal_get_lcore_state(lcores[i]) != WAIT)
			return -EBUSY;
	atomic_store_explicit(&node->lcores_stop, false, memory_order_relaxed);
	for (i = 0; i < count; i++) {
		struct node_lcore *lcore = malloc(sizeof(*lcore));
		int ret = -ENOMEM;

		if (lcore != NULL) {
			*lcore = (struct node_lcore){ .node = node, .worker = (uint16_t)i };
			ret = rte_eal_remote_launch(node_lcore_main, lcore, lcores[i]);
		}
		if (ret < 0) {
			free(lcore);
			node_lcores_stop(node);
			return ret;
		}
		node->lcores[i] = lcores[i];
		node->worker_first = (uint16_t)(i + 1);
	}
	return 0;
}

static void
node_clock_start(struct node_clock *fast)
{
	struct tp_clock clock;
	struct timespec now;

	/* The time of leases: it goes on while the machine sleeps. */
	clock_gettime(CLOCK_BOOTTIME, &now);
	clock.tsc_hz = rte_get_tsc_hz();
	clock.tsc_base = rte_rdtsc();
	clock.ns_base = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	node_clock_init(fast, &clock);
}

/* Port and static address of a peer. */
static uint8_t
node_route(void *ctx, uint16_t id, uint32_t ip, const uint8_t **mac_out)
{
	struct tp_node *node = ctx;
	uint16_t i;

	for (i = 0; i < node->config.peer_count; i++) {
		const struct tp_node_peer_config *peer = &node->config.peers[i];

		if (peer->node != id)
			continue;
		if (peer->ip != 0 && peer->ip != ip)
			TP_NODE_LOG(WARNING, "node %u has another address than configured", id);
		if (peer->has_mac)
			*mac_out = peer->mac;
		return peer->port;
	}
	return 0;
}

/* As if killed: nobody is told, nothing is tidied up. */
static void
node_crash(void *ctx)
{
	raise(SIGKILL);
}

static uint64_t
node_codec_now(void *ctx)
{
	return tp_node_now(ctx);
}

/* What codecs cost here, if a port is so slow that they may pay. */
static int
node_codec_calibrate(struct tp_node *node, struct tp_control_config *config,
	struct tp_codec_cost *costs)
{
	struct tp_codec *codec;
	bool slow = false;
	int ret;

	for (uint16_t p = 0; p < node->config.port_count; p++) {
		uint32_t mbit = node->config.ports[p].link_mbit;

		config->link_measured[p] = mbit == TP_NODE_LINK_MEASURED;
		if (mbit != 0 && mbit != TP_NODE_LINK_MEASURED)
			config->link_ns_per_kib[p] = RTE_MAX(8 * 1024 * 1000 / mbit, 1u);
		slow = slow || mbit != 0;
	}
	if (!slow)
		return 0;
	codec = tp_codec_create(NODE_CODEC_PAGE);
	if (codec == NULL)
		return -rte_errno;
	ret = tp_codec_calibrate(codec, NODE_CODEC_PAGE, node_codec_now, node, costs);
	tp_codec_destroy(codec);
	config->codec_costs = costs;
	config->codec_now_ns = node_codec_now;
	config->codec_now_ctx = node;
	return ret;
}

static int
node_control_create(struct tp_node *node)
{
	struct tp_codec_cost costs[TP_CODEC_COUNT];
	const struct tp_node_config *from = &node->config;
	struct tp_control_config *config = calloc(1, sizeof(*config));
	int ret;

	if (config == NULL)
		return -ENOMEM;
	config->node_id = from->id;
	config->node_id_max = from->node_id_max;
	config->worker_count = from->workers;
	if (from->node_bits != 0)
		tp_address_split_init(&config->split, from->node_bits);
	config->store = node->store;
	config->clock = node->clock.clock;
	node_ports_links(node, config);
	config->base_port = from->base_port;
	config->steer = node_steer;
	config->steer_ctx = node;
	config->route = node_route;
	config->route_ctx = node;
	config->wake_worker = node_wake_worker;
	config->wake_control = node_wake_control;
	config->wake_ctx = node;
	config->page_bytes = from->page_bytes;
	config->home_slots = (uint32_t)(((uint64_t)from->home_mib << 20) / from->page_bytes);
	config->cache_slots = (uint32_t)(((uint64_t)from->cache_mib << 20) / from->page_bytes);
	config->heap_bytes = (uint64_t)from->heap_mib << 20;
	config->base_slots = (uint32_t)(((uint64_t)from->codec_base_mib << 20) / from->page_bytes);
	config->codec_only = from->codec_only;
	config->frame_crc = from->frame_crc;
	config->huge_pages = from->huge_pages;
	config->lease_ns = from->lease_ms * UINT64_C(1000000);
	config->fence_margin_ns = from->fence_margin_ms * UINT64_C(1000000);
	config->guard_lease_ns = from->guard_lease_ms * UINT64_C(1000000);
	config->peer_timeout_ns = from->peer_timeout_ms * UINT64_C(1000000);
	config->tx_frames = from->tx_frames;
	config->rx_frames = from->rx_frames;
	config->seed = node->clock.clock.tsc_base;
	config->inject = from->inject;
	config->pool_path = from->pool[0] == '\0' ? NULL : from->pool;
	config->pool_bytes = (uint64_t)from->pool_mib << 20;
	config->pool_threaded = true;
	config->pool_sweep_ns = from->pool_sweep_ms * UINT64_C(1000000);
	config->crash = node_crash;
	ret = node_codec_calibrate(node, config, costs);
	if (ret == 0) {
		node->control = tp_control_create(config, tp_node_now(node));
		ret = node->control == NULL ? -rte_errno : 0;
	}
	free(config);
	return ret;
}

static int
node_attach_create(struct tp_node *node)
{
	char path[sizeof(node->config.socket_path)];

	if (!node->config.attach)
		return 0;
	if (node->config.socket_path[0] != '\0')
		memcpy(path, node->config.socket_path, sizeof(path));
	else if (snprintf(path, sizeof(path), TP_CONTROL_PATH_FMT, rte_eal_get_runtime_dir()) >=
		 (int)sizeof(path))
		return -ENAMETOOLONG;
	node->attach = attach_create(node->control, path);
	if (node->attach == NULL)
		return -rte_errno;
	attach_rundir_set(node->attach, rte_eal_get_runtime_dir());
	attach_bells_set(node->attach, node->client_fds, node->config.workers);
	return 0;
}

static int
node_init(struct tp_node *node)
{
	int ret;

	node_clock_start(&node->clock);
	ret = node_bells_open(node);
	if (ret < 0)
		return ret;
	node->store = tp_store_open(node->config.store);
	if (node->store == NULL) {
		ret = -rte_errno;
		TP_NODE_LOG(ERR, "cannot open the store %s: %s", node->config.store,
			rte_strerror(rte_errno));
		return ret;
	}
	ret = node_ports_start(node);
	if (ret < 0)
		return ret;
	ret = node_control_create(node);
	if (ret < 0)
		return ret;
	node_devices_hide();
	ret = node_attach_create(node);
	if (ret < 0)
		return ret;
	return node_telemetry_add(node);
}

struct tp_node *
tp_node_create(const struct tp_node_config *config)
{
	struct tp_node *node;
	char message[256];
	int ret;

	ret = tp_node_config_check(config, message, sizeof(message));
	if (ret < 0) {
		TP_NODE_LOG(ERR, "%s", message);
		rte_errno = EINVAL;
		return NULL;
	}
	node = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*node), 64));
	if (node == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	memset(node, 0, sizeof(*node));
	node->config = *config;
	ret = node_init(node);
	if (ret < 0) {
		tp_node_destroy(node);
		rte_errno = -ret;
		return NULL;
	}
	return node;
}

bool
tp_node_is_ready(const struct tp_node *node)
{
	return tp_control_state_get(node->control) == TP_CONTROL_MEMBER &&
		tp_node_now(node) < tp_control_lease_until(node->control) &&
		tp_control_is_settled(node->control);
}

int
tp_node_stop(struct tp_node *node, uint64_t timeout_ns)
{
	uint64_t deadline = tp_node_now(node) + timeout_ns;
	struct node_poller poller;

	tp_control_stop(node->control, tp_node_now(node));
	/* Workers and homes need the cores for what is given back: not spinning. */
	node_poller_init(&poller, node, node->worker_first, node->config.workers, true);
	/* To find out anew takes longer than there is time. */
	if (node->crowd.window != 0)
		poller.idle.crowd = node->crowd;
	while (tp_control_state_get(node->control) != TP_CONTROL_STOPPED &&
	       tp_node_now(node) < deadline)
		node_poller_idle(&poller, tp_node_poll(node));
	node_poller_fini(&poller);
	node_lcores_stop(node);
	return tp_control_state_get(node->control) == TP_CONTROL_STOPPED ? 0 : -ETIMEDOUT;
}

void
tp_node_destroy(struct tp_node *node)
{
	if (node == NULL)
		return;
	node_lcores_stop(node);
	node_telemetry_remove(node);
	if (node->control != NULL && tp_control_state_get(node->control) != TP_CONTROL_STOPPED)
		tp_node_stop(node, NODE_STOP_NS);
	attach_destroy(node->attach);
	tp_control_destroy(node->control);
	node_ports_stop(node);
	tp_store_close(node->store);
	node_bells_close(node);
	free(node);
}

struct tp_control *
tp_node_control(const struct tp_node *node)
{
	return node->control;
}

const char *
tp_node_socket_path(const struct tp_node *node)
{
	return node->attach == NULL ? "" : attach_path(node->attach);
}

int
tp_node_client_add(struct tp_node *node, uint32_t thread_count, struct tp_node_client *client)
{
	int id;

	do {
		id = tp_control_client_add(node->control, thread_count, tp_node_now(node));
		if (id == -EAGAIN)
			tp_node_poll(node);
	} while (id == -EAGAIN);
	if (id < 0)
		return id;
	client->id = id;
	client->node = tp_control_abi_node(node->control);
	client->slots = tp_control_slots(node->control, &client->slots_bytes);
	client->segment = tp_control_client_segment(node->control, id);
	client->bells = node->client_fds;
	client->bell_count = node->config.workers;
	return 0;
}

void
tp_node_page_hint(const struct tp_node *node, uint32_t worker, uint32_t region_id,
	uint32_t page_index)
{
	if (worker >= node->worker_first && worker < node->config.workers)
		tp_coherence_request_hint(tp_worker_coherence(
			tp_control_worker(node->control, (uint16_t)worker)), region_id, page_index);
}

int
tp_node_client_remove(struct tp_node *node, int client)
{
	return tp_control_client_remove(node->control, client, tp_node_now(node));
}

int
tp_node_call(struct tp_node *node, int client, const struct tp_control_request *request,
	struct tp_control_response *response, int *fds, unsigned int fd_max)
{
	uint64_t timeout = request->timeout_ns != 0 ? request->timeout_ns : NODE_CALL_TIMEOUT_NS;
	uint64_t deadline = tp_node_now(node) + timeout;
	int call = tp_control_call(node->control, client, request, tp_node_now(node));
	unsigned int i;
	int ret;

	if (call < 0)
		return call;
	while ((ret = tp_control_call_result(node->control, call, response, fds, fd_max)) ==
	       -EINPROGRESS) {
		/* The call itself ends at its deadline; this bounds a clock that jumps. */
		if (tp_node_now(node) > deadline + NODE_STOP_NS) {
			tp_control_call_cancel(node->control, call);
			return -ETIMEDOUT;
		}
		node->control_at = 0;
		tp_node_poll(node);
	}
	if (ret < 0)
		return ret;
	for (i = 0; i < response->fd_count; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (fds[i] < 0)
			goto close_fds;
	}
	return 0;

close_fds:
	ret = -errno;
	while (i-- > 0)
		close(fds[i]);
	return ret;
}
