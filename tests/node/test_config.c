/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The configuration file: what is read, and that every fault is told by file,
 * section and key.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tp_node.h"

#define GOOD_NODE "[node]\nid = 3\nstore = file:/tmp/store\n"
#define GOOD_PORT "[port 0]\ndevice = net0\nip = 10.1.2.3\n"

static struct tp_node_config config;
static char message[256];

/* Write text to a file and load it. */
static int
load(const char *text)
{
	char path[] = "/tmp/tp_config_XXXXXX";
	int fd = mkstemp(path);
	int ret;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	message[0] = '\0';
	ret = tp_node_config_load(path, &config, message, sizeof(message));
	unlink(path);
	if (ret == -EINVAL)
		assert_non_null(strstr(message, path));
	return ret;
}

static void
test_config_complete_file_read(void **state)
{
	assert_int_equal(load("; comment\n"
		"[node]\nid = 3\nname = three\nworkers = 2\nstore = file:/run/x\n"
		"cache_mib = 8\nhome_mib = 32\nheap_mib = 0\nlease_ms = 100\ncodec = lz4\n"
		"peer_timeout_ms = 250\nhuge_pages = no\nrealtime = no\nattach = no\ninject = yes\n"
		"[port 0]\ndevice = net_af_packet0\nip = 10.84.0.3\nmtu = 9000\n"
		"[port 1]\ndevice = net1\nip = 10.85.0.3\n"
		"[peer 1]\nip = 10.84.0.1\n"
		"[peer 2]\nmac = 02:54:50:00:00:02\nport = 1\n"), 0);
	assert_int_equal(config.id, 3);
	assert_string_equal(config.name, "three");
	assert_int_equal(config.workers, 2);
	assert_string_equal(config.store, "file:/run/x");
	assert_int_equal(config.cache_mib, 8);
	assert_int_equal(config.heap_mib, 0);
	assert_int_equal(config.lease_ms, 100);
	assert_int_equal(config.codec_only, 1 + TP_CODEC_LZ4);
	assert_int_equal(config.fence_margin_ms, 20);
	assert_false(config.huge_pages);
	assert_false(config.realtime);
	assert_false(config.attach);
	assert_true(config.inject);
	assert_int_equal(config.port_count, 2);
	assert_string_equal(config.ports[0].device, "net_af_packet0");
	assert_int_equal(config.ports[0].ip, 0x0a540003);
	assert_int_equal(config.ports[0].mtu, 9000);
	assert_int_equal(config.ports[1].mtu, 1500);
	assert_int_equal(config.peer_count, 2);
	assert_int_equal(config.peers[0].ip, 0x0a540001);
	assert_false(config.peers[0].has_mac);
	assert_true(config.peers[1].has_mac);
	assert_int_equal(config.peers[1].mac[5], 2);
	assert_int_equal(config.peers[1].port, 1);
}

static void
test_config_missing_file_named(void **state)
{
	assert_int_equal(tp_node_config_load("/nonexistent/x.ini", &config, message,
		sizeof(message)), -ENOENT);
	assert_non_null(strstr(message, "/nonexistent/x.ini"));
}

static void
test_config_fault_names_section_and_key(void **state)
{
	static const struct {
		const char *text;
		const char *said;
	} faults[] = {
		{ GOOD_PORT, "[node] missing" },
		{ GOOD_NODE, "[node] no section [port 0]" },
		{ "[node]\nstore = file:/x\n" GOOD_PORT, "[node] id: missing" },
		{ "[node]\nid = 1\n" GOOD_PORT, "[node] store: missing" },
		{ "[node]\nid = 0\n" GOOD_PORT, "[node] id: 0 is not between" },
		{ "[node]\nid = -1\n" GOOD_PORT, "[node] id: -1 is not a number" },
		{ "[node]\nid = 1x\n" GOOD_PORT, "[node] id: 1x is not a number" },
		{ "[node]\nid = 99999999999999999999999\n" GOOD_PORT, "[node] id: 9999" },
		{ "[node]\nid = 65\nstore = file:/x\n" GOOD_PORT, "[node] id: above node_id_max" },
		{ "[node]\nid = 1\ncolour = red\n" GOOD_PORT, "[node] unknown key colour" },
		{ GOOD_NODE "codec = zip\n" GOOD_PORT, "[node] codec: zip is no codec" },
		{ GOOD_NODE "lease_ms = 3\n" GOOD_PORT, "[node] lease_ms: 3 is not between" },
		{ GOOD_NODE "attach = maybe\n" GOOD_PORT, "[node] attach: maybe is neither" },
		{ GOOD_NODE "workers = 17\n" GOOD_PORT, "[node] workers: 17 is not between" },
		{ GOOD_NODE "page_bytes = 5000\n" GOOD_PORT, "[node] page_bytes: not a power" },
		{ GOOD_NODE "node_id_max = 600\nnode_bits = 6\n" GOOD_PORT, "[node] node_id_max: does not fit" },
		{ GOOD_NODE "[port 0]\nip = 10.1.2.3\n", "[port 0] device: missing" },
		{ GOOD_NODE "[port 0]\ndevice = x\n", "[port 0] ip: missing" },
		{ GOOD_NODE "[port 0]\ndevice = x\nip = 10.1.2\n", "[port 0] ip: 10.1.2 is not" },
		{ GOOD_NODE "[port 0]\ndevice = x\nip = 10.1.2.3\nmtu = 1400\n",
		  "[port 0] mtu: 1400" },
		{ GOOD_NODE "[port 0]\ndevice = x\nip = 10.1.2.3\nqueues = 0\n",
		  "[port 0] queues: 0" },
		{ GOOD_NODE "[port 1]\ndevice = x\nip = 10.1.2.3\n",
		  "[port 1] ports are numbered" },
		{ GOOD_NODE GOOD_PORT "[peer 0]\n", "[peer 0] no node has" },
		{ GOOD_NODE GOOD_PORT "[peer 1]\nmac = 01:00:00:00:00:01\n",
		  "[peer 1] mac: 01:00" },
		{ GOOD_NODE GOOD_PORT "[peer 1]\nmac = zz\n", "[peer 1] mac: zz is not" },
		{ GOOD_NODE GOOD_PORT "[peer 1]\nport = 1\n", "[peer 1] port: there is no" },
		{ GOOD_NODE GOOD_PORT "[peer 1]\nport = 0\n[peer 1]\nport = 0\n",
		  "[peer 1] given twice" },
		{ GOOD_NODE GOOD_PORT "[pear 1]\nport = 0\n", "[pear 1] unknown section" },
		{ GOOD_NODE GOOD_PORT "[port x]\ndevice = x\n", "[port x] unknown section" },
	};
	size_t i;

	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		int ret = load(faults[i].text);

		if (ret != -EINVAL || strstr(message, faults[i].said) == NULL)
			fail_msg("case %zu: %d, \"%s\" lacks \"%s\"", i, ret, message,
				faults[i].said);
	}
}

static void
test_config_fault_leaves_output_untouched(void **state)
{
	memset(&config, 0x5a, sizeof(config));
	assert_int_equal(load("[node]\nid = 1\nbad = 1\n"), -EINVAL);
	assert_int_equal(config.id, 0x5a5a);
}

static void
test_config_random_text_never_accepted(void **state)
{
	static const char alphabet[] = "[]node port0=1 \n\t;id.x:-";
	uint64_t seed = 42;
	char text[200];
	int i;
	size_t k;

	for (i = 0; i < 500; i++) {
		for (k = 0; k < sizeof(text) - 1; k++) {
			seed = seed * UINT64_C(6364136223846793005) + 1;
			text[k] = alphabet[(seed >> 33) % (sizeof(alphabet) - 1)];
		}
		text[k] = '\0';
		assert_true(load(text) < 0);
		assert_true(strlen(message) > 0);
	}
}

static void
test_config_pmem_names_a_pool(void **state)
{
	assert_int_equal(load(GOOD_NODE GOOD_PORT), 0);
	assert_string_equal(config.pool, "");
	assert_int_equal(load(GOOD_NODE "[pmem]\npool = /a/b\nsize_mib = 64\nsweep_ms = 0\n"
		GOOD_PORT), 0);
	assert_string_equal(config.pool, "/a/b");
	assert_int_equal(config.pool_mib, 64);
	assert_int_equal(config.pool_sweep_ms, 0);
	assert_int_equal(load(GOOD_NODE "[pmem]\npool = /a\n" GOOD_PORT), 0);
	assert_int_equal(config.pool_mib, 256);
	assert_int_equal(load(GOOD_NODE "[pmem]\nsize_mib = 1\n" GOOD_PORT), -EINVAL);
	assert_non_null(strstr(message, "[pmem] size_mib"));
	assert_int_equal(load(GOOD_NODE "[pmem]\nsize = 64\n" GOOD_PORT), -EINVAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_complete_file_read),
		cmocka_unit_test(test_config_missing_file_named),
		cmocka_unit_test(test_config_fault_names_section_and_key),
		cmocka_unit_test(test_config_fault_leaves_output_untouched),
		cmocka_unit_test(test_config_random_text_never_accepted),
		cmocka_unit_test(test_config_pmem_names_a_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
