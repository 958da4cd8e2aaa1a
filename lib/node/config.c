/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The configuration file of a node: an ini file whose every key is one row of a
 * table here (docs/prog_guide/node.md, "Configuration").
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cfgfile.h>
#include <rte_common.h>
#include <rte_ether.h>

#include "node_priv.h"

#define CONFIG_SECTIONS_MAX (2 + TP_NODE_PORTS_MAX + TP_NODE_PEERS_MAX)
#define CONFIG_ENTRIES_MAX 64

enum config_type {
	CONFIG_U8,
	CONFIG_U16,
	CONFIG_U32,
	CONFIG_BOOL,
	CONFIG_TEXT,	/* up to max - 1 characters */
	CONFIG_IP,
	CONFIG_MAC,	/* and has_mac before it */
	CONFIG_CODEC,	/* auto, or the name of one */
};

struct config_key {
	const char *name;
	enum config_type type;
	size_t offset;
	uint64_t min;
	uint64_t max;
};

#define NODE_KEY(name, field, type, min, max) \
	{ name, type, offsetof(struct tp_node_config, field), min, max }

static const struct config_key config_node_keys[] = {
	NODE_KEY("id", id, CONFIG_U16, 1, TP_NODE_COUNT_MAX - 1),
	NODE_KEY("name", name, CONFIG_TEXT, 1, TP_NODE_NAME_BYTES),
	NODE_KEY("workers", workers, CONFIG_U16, 1, TP_ABI_WORKERS_MAX),
	NODE_KEY("store", store, CONFIG_TEXT, 1, TP_NODE_URL_BYTES),
	NODE_KEY("node_id_max", node_id_max, CONFIG_U16, 1, TP_NODE_COUNT_MAX - 1),
	NODE_KEY("node_bits", node_bits, CONFIG_U8, 1, TP_NODE_BITS_MAX),
	NODE_KEY("udp_port", base_port, CONFIG_U16, 1024, UINT16_MAX - TP_ABI_WORKERS_MAX),
	NODE_KEY("page_bytes", page_bytes, CONFIG_U32, 4096, 2 << 20),
	NODE_KEY("cache_mib", cache_mib, CONFIG_U32, 1, 1 << 20),
	NODE_KEY("home_mib", home_mib, CONFIG_U32, 1, 1 << 20),
	NODE_KEY("heap_mib", heap_mib, CONFIG_U32, 0, 1 << 20),
	NODE_KEY("frame_crc", frame_crc, CONFIG_BOOL, 0, 1),
	NODE_KEY("codec", codec_only, CONFIG_CODEC, 0, 0),
	NODE_KEY("codec_base_mib", codec_base_mib, CONFIG_U32, 0, 1 << 16),
	NODE_KEY("lease_ms", lease_ms, CONFIG_U32, 4, 60000),
	NODE_KEY("fence_margin_ms", fence_margin_ms, CONFIG_U32, 1, 60000),
	NODE_KEY("guard_lease_ms", guard_lease_ms, CONFIG_U32, 1, 10000),
	NODE_KEY("peer_timeout_ms", peer_timeout_ms, CONFIG_U32, 5, 60000),
	NODE_KEY("realtime", realtime, CONFIG_BOOL, 0, 1),
	NODE_KEY("huge_pages", huge_pages, CONFIG_BOOL, 0, 1),
	NODE_KEY("tx_frames", tx_frames, CONFIG_U32, 256, 65536),
	NODE_KEY("rx_frames", rx_frames, CONFIG_U32, 256, 65536),
	NODE_KEY("attach", attach, CONFIG_BOOL, 0, 1),
	NODE_KEY("inject", inject, CONFIG_BOOL, 0, 1),
	NODE_KEY("socket", socket_path, CONFIG_TEXT, 1, 108),
};

static const struct config_key config_pmem_keys[] = {
	NODE_KEY("pool", pool, CONFIG_TEXT, 1, TP_NODE_PATH_BYTES),
	NODE_KEY("size_mib", pool_mib, CONFIG_U32, 32, 8 << 20),
	NODE_KEY("sweep_ms", pool_sweep_ms, CONFIG_U32, 0, 3600000),
};

#define PORT_KEY(name, field, type, min, max) \
	{ name, type, offsetof(struct tp_node_port_config, field), min, max }

static const struct config_key config_port_keys[] = {
	PORT_KEY("device", device, CONFIG_TEXT, 1, TP_NODE_DEVICE_BYTES),
	PORT_KEY("ip", ip, CONFIG_IP, 0, 0),
	PORT_KEY("gateway", gateway, CONFIG_IP, 0, 0),
	PORT_KEY("prefix_length", prefix_length, CONFIG_U8, 1, 31),
	PORT_KEY("mtu", mtu, CONFIG_U16, TP_WIRE_MTU_MIN, 9000),
	PORT_KEY("queues", queues, CONFIG_U16, 1, TP_ABI_WORKERS_MAX),
	PORT_KEY("link_mbit", link_mbit, CONFIG_U32, 0, 1000000),
};

#define PEER_KEY(name, field, type, min, max) \
	{ name, type, offsetof(struct tp_node_peer_config, field), min, max }

static const struct config_key config_peer_keys[] = {
	PEER_KEY("ip", ip, CONFIG_IP, 0, 0),
	PEER_KEY("mac", mac, CONFIG_MAC, 0, 0),
	PEER_KEY("port", port, CONFIG_U8, 0, TP_NODE_PORTS_MAX - 1),
};

static_assert(offsetof(struct tp_node_peer_config, mac) ==
	offsetof(struct tp_node_peer_config, has_mac) + 1, "CONFIG_MAC sets has_mac");

/* Where the reader is, for messages. */
struct config_place {
	const char *path;
	const char *section;
	char *message;
	size_t message_bytes;
};

static int __attribute__((format(printf, 2, 3)))
config_fault(const struct config_place *place, const char *format, ...)
{
	int used = snprintf(place->message, place->message_bytes, "%s: [%s] ", place->path,
		place->section);
	va_list args;

	if (used < 0 || (size_t)used >= place->message_bytes)
		return -EINVAL;
	va_start(args, format);
	vsnprintf(place->message + used, place->message_bytes - (size_t)used, format, args);
	va_end(args);
	return -EINVAL;
}

static int
config_number(const struct config_place *place, const struct config_key *key, const char *text,
	uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	if (errno != 0 || end == text || *end != '\0' || strchr(text, '-') != NULL)
		return config_fault(place, "%s: %s is not a number", key->name, text);
	if (*value < key->min || *value > key->max)
		return config_fault(place, "%s: %s is not between %llu and %llu", key->name, text,
			(unsigned long long)key->min, (unsigned long long)key->max);
	return 0;
}

static int
config_codec(const struct config_place *place, const struct config_key *key, const char *text,
	uint8_t *field)
{
	*field = 0;
	if (strcmp(text, "auto") == 0)
		return 0;
	for (unsigned int id = 0; id < TP_CODEC_COUNT; id++) {
		if (strcmp(text, tp_codec_name(id)) != 0)
			continue;
		*field = (uint8_t)(1 + id);
		return 0;
	}
	return config_fault(place, "%s: %s is no codec", key->name, text);
}

static int
config_bool(const struct config_place *place, const struct config_key *key, const char *text,
	bool *value)
{
	bool yes = strcmp(text, "yes") == 0 || strcmp(text, "1") == 0;

	if (!yes && strcmp(text, "no") != 0 && strcmp(text, "0") != 0)
		return config_fault(place, "%s: %s is neither yes nor no", key->name, text);
	*value = yes;
	return 0;
}

static int
config_address(const struct config_place *place, const struct config_key *key, const char *text,
	uint8_t *field)
{
	struct rte_ether_addr mac;
	struct in_addr ip;
	uint32_t host;

	if (key->type == CONFIG_MAC) {
		if (rte_ether_unformat_addr(text, &mac) < 0 ||
		    !rte_is_valid_assigned_ether_addr(&mac))
			return config_fault(place, "%s: %s is not a mac address", key->name, text);
		memcpy(field, mac.addr_bytes, sizeof(mac.addr_bytes));
		field[-1] = true;
		return 0;
	}
	if (inet_pton(AF_INET, text, &ip) != 1)
		return config_fault(place, "%s: %s is not an ipv4 address", key->name, text);
	host = ntohl(ip.s_addr);
	memcpy(field, &host, sizeof(host));
	return 0;
}

static int
config_value(const struct config_place *place, const struct config_key *key, const char *text,
	void *base)
{
	uint8_t *field = (uint8_t *)base + key->offset;
	uint64_t number = 0;
	bool flag = false;
	int ret;

	switch (key->type) {
	case CONFIG_TEXT:
		if (strlen(text) < key->min || strlen(text) >= key->max)
			return config_fault(place, "%s: empty, or longer than %llu characters",
				key->name, (unsigned long long)key->max - 1);
		strcpy((char *)field, text);
		return 0;
	case CONFIG_IP:
	case CONFIG_MAC:
		return config_address(place, key, text, field);
	case CONFIG_CODEC:
		return config_codec(place, key, text, field);
	case CONFIG_BOOL:
		ret = config_bool(place, key, text, &flag);
		if (ret == 0)
			memcpy(field, &flag, sizeof(flag));
		return ret;
	default:
		break;
	}
	ret = config_number(place, key, text, &number);
	if (ret < 0)
		return ret;
	if (key->type == CONFIG_U8) {
		*field = (uint8_t)number;
	} else if (key->type == CONFIG_U16) {
		uint16_t value = (uint16_t)number;

		memcpy(field, &value, sizeof(value));
	} else {
		uint32_t value = (uint32_t)number;

		memcpy(field, &value, sizeof(value));
	}
	return 0;
}

static int
config_section(struct rte_cfgfile *file, const struct config_place *place, int index,
	const struct config_key *keys, size_t key_count, void *base)
{
	struct rte_cfgfile_entry entries[CONFIG_ENTRIES_MAX];
	char name[CFG_NAME_LEN];
	int count = rte_cfgfile_section_num_entries_by_index(file, name, index);
	int i;
	size_t k;
	int ret;

	if (count > CONFIG_ENTRIES_MAX)
		return config_fault(place, "more than %d keys", CONFIG_ENTRIES_MAX);
	count = rte_cfgfile_section_entries_by_index(file, index, name, entries,
		CONFIG_ENTRIES_MAX);
	for (i = 0; i < count; i++) {
		for (k = 0; k < key_count && strcmp(keys[k].name, entries[i].name) != 0; k++)
			;
		if (k == key_count)
			return config_fault(place, "unknown key %s", entries[i].name);
		ret = config_value(place, &keys[k], entries[i].value, base);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Number behind the kind of a section ("port 0"), -1: none. */
static long
config_section_number(const char *section, const char *kind)
{
	size_t length = strlen(kind);
	char *end;
	long number;

	if (strncmp(section, kind, length) != 0 || section[length] != ' ')
		return -1;
	number = strtol(section + length + 1, &end, 10);
	return end == section + length + 1 || *end != '\0' ? -1 : number;
}

static int
config_port(struct rte_cfgfile *file, const struct config_place *place, int index, long number,
	struct tp_node_config *config)
{
	struct tp_node_port_config *port;

	if (number != config->port_count || number >= (long)TP_NODE_PORTS_MAX)
		return config_fault(place, "ports are numbered 0, 1, ... in order, to %u",
			TP_NODE_PORTS_MAX - 1);
	port = &config->ports[config->port_count++];
	*port = (struct tp_node_port_config){ .mtu = 1500, .prefix_length = 24,
		.link_mbit = TP_NODE_LINK_MEASURED };
	return config_section(file, place, index, config_port_keys, RTE_DIM(config_port_keys),
		port);
}

static int
config_peer(struct rte_cfgfile *file, const struct config_place *place, int index, long number,
	struct tp_node_config *config)
{
	struct tp_node_peer_config *peer;
	uint16_t i;

	if (number >= TP_NODE_COUNT_MAX || number == 0)
		return config_fault(place, "no node has that number");
	for (i = 0; i < config->peer_count; i++)
		if (config->peers[i].node == number)
			return config_fault(place, "given twice");
	if (config->peer_count == TP_NODE_PEERS_MAX)
		return config_fault(place, "more than %d peers", TP_NODE_PEERS_MAX);
	peer = &config->peers[config->peer_count++];
	*peer = (struct tp_node_peer_config){ .node = (uint16_t)number };
	return config_section(file, place, index, config_peer_keys, RTE_DIM(config_peer_keys),
		peer);
}

static int
config_sections(struct rte_cfgfile *file, struct config_place *place,
	struct tp_node_config *config)
{
	int count = rte_cfgfile_num_sections(file, "", 0);
	bool node = false;
	bool pmem = false;
	int i;

	for (i = 0; i < count; i++) {
		char name[CFG_NAME_LEN];
		int ret;

		rte_cfgfile_section_num_entries_by_index(file, name, i);
		place->section = name;
		if (strcmp(name, "node") == 0 && !node) {
			node = true;
			ret = config_section(file, place, i, config_node_keys,
				RTE_DIM(config_node_keys), config);
		} else if (strcmp(name, "pmem") == 0 && !pmem) {
			pmem = true;
			ret = config_section(file, place, i, config_pmem_keys,
				RTE_DIM(config_pmem_keys), config);
		} else if (config_section_number(name, "port") >= 0) {
			ret = config_port(file, place, i, config_section_number(name, "port"),
				config);
		} else if (config_section_number(name, "peer") >= 0) {
			ret = config_peer(file, place, i, config_section_number(name, "peer"),
				config);
		} else {
			ret = config_fault(place, "unknown section, or given twice");
		}
		if (ret < 0)
			return ret;
	}
	place->section = "node";
	return node ? 0 : config_fault(place, "missing");
}

void
tp_node_config_init(struct tp_node_config *config)
{
	*config = (struct tp_node_config){
		.workers = 1,
		.node_id_max = 64,
		.node_bits = 14,
		.base_port = TP_ENDPOINT_PORT_DEFAULT,
		.page_bytes = 4096,
		.cache_mib = 16,
		.home_mib = 64,
		.heap_mib = 16,
		.codec_base_mib = 16,
		.lease_ms = 60,
		.fence_margin_ms = 20,
		.guard_lease_ms = 10,
		.peer_timeout_ms = 120,
		.realtime = true,
		.huge_pages = true,
		.tx_frames = 1024,
		.rx_frames = 512,
		.attach = true,
		.pool_mib = 256,
		.pool_sweep_ms = 1000,
	};
}

/* What no single key can tell. */
int
tp_node_config_check(const struct tp_node_config *config, char *message, size_t message_bytes)
{
	struct config_place place = {
		.path = "configuration",
		.section = "node",
		.message = message,
		.message_bytes = message_bytes,
	};
	uint16_t i;

	if (config->id == 0)
		return config_fault(&place, "id: missing");
	if (config->id > config->node_id_max)
		return config_fault(&place, "id: above node_id_max, %u", config->node_id_max);
	if (config->node_id_max >= 1u << config->node_bits)
		return config_fault(&place, "node_id_max: does not fit node_bits, %u",
			config->node_bits);
	if (config->store[0] == '\0')
		return config_fault(&place, "store: missing");
	if (config->workers == 0 || config->workers > TP_ABI_WORKERS_MAX)
		return config_fault(&place, "workers: not between 1 and %u", TP_ABI_WORKERS_MAX);
	if (!rte_is_power_of_2(config->page_bytes) || config->page_bytes < 4096)
		return config_fault(&place, "page_bytes: not a power of two from 4096");
	if (((uint64_t)config->cache_mib << 20) / config->page_bytes < 8u * config->workers)
		return config_fault(&place, "cache_mib: fewer than 8 pages a worker");
	if (((uint64_t)config->home_mib << 20) / config->page_bytes < config->workers)
		return config_fault(&place, "home_mib: less than a page a worker");
	if (config->lease_ms < 4 || config->guard_lease_ms == 0 || config->peer_timeout_ms == 0)
		return config_fault(&place, "lease_ms, guard_lease_ms, peer_timeout_ms: too short");
	if (config->port_count == 0 || config->port_count > TP_NODE_PORTS_MAX)
		return config_fault(&place, "no section [port 0]");
	for (i = 0; i < config->port_count; i++) {
		char section[16];

		snprintf(section, sizeof(section), "port %u", i);
		place.section = section;
		if (config->ports[i].device[0] == '\0')
			return config_fault(&place, "device: missing");
		if (config->ports[i].ip == 0)
			return config_fault(&place, "ip: missing");
	}
	for (i = 0; i < config->peer_count; i++) {
		char section[16];

		snprintf(section, sizeof(section), "peer %u", config->peers[i].node);
		place.section = section;
		if (config->peers[i].port >= config->port_count)
			return config_fault(&place, "port: there is no [port %u]",
				config->peers[i].port);
	}
	return 0;
}

int
tp_node_config_load(const char *path, struct tp_node_config *config, char *message,
	size_t message_bytes)
{
	struct config_place place = {
		.path = path,
		.section = "file",
		.message = message,
		.message_bytes = message_bytes,
	};
	struct tp_node_config read;
	struct rte_cfgfile *file;
	char fault[256];
	int ret;

	if (access(path, R_OK) < 0) {
		snprintf(message, message_bytes, "%s: %s", path, strerror(errno));
		return -ENOENT;
	}
	file = rte_cfgfile_load(path, CFG_FLAG_EMPTY_VALUES);
	if (file == NULL)
		return config_fault(&place, "not an ini file");
	tp_node_config_init(&read);
	ret = config_sections(file, &place, &read);
	rte_cfgfile_close(file);
	if (ret < 0)
		return ret;
	ret = tp_node_config_check(&read, fault, sizeof(fault));
	if (ret < 0) {
		/* The check does not know the file. */
		snprintf(message, message_bytes, "%s: %s", path, strchr(fault, '['));
		return ret;
	}
	*config = read;
	return 0;
}
