/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: any bytes as a configuration file. What is taken passes the
 * check that a node makes; what is refused says why, in a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_log.h>

#include "tp_node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const lines[] = {
	"\n[node]\nid = 1\nstore = file:/x\n", "\n[port 0]\ndevice = x\nip = 10.0.0.1\n",
	"\n[peer 2]\n", "\n[", "]\n", "\nid = ", "\nname = ", "\nworkers = ", "\nudp_port = ",
	"\npage_bytes = ", "\ncache_mib = ", "\nlease_ms = ", "\nguard_lease_ms = ",
	"\npeer_timeout_ms = ", "\nhuge_pages = ", "\nnode_id_max = ", "\nnode_bits = ",
	"\nsocket = ", "\nattach = ", "\nip = ", "\ngateway = ", "\nprefix_length = ",
	"\nmtu = ", "\nqueues = ", "\nport = ", "\nmac = ", "02:00:00:00:00:01", "10.0.0.2", "yes",
	"no", "4096", "9000",
};

/* Bytes above 127 are words of the language, the others stand for themselves. */
static size_t
text_make(char *text, size_t room, const uint8_t *data, size_t size)
{
	size_t length = 0;
	size_t i;

	for (i = 0; i < size; i++) {
		char self[2] = { (char)data[i], '\0' };
		const char *word = data[i] < 128 ? self :
			lines[data[i] % (sizeof(lines) / sizeof(lines[0]))];
		size_t part = data[i] < 128 ? 1 : strlen(word);

		if (length + part > room)
			break;
		memcpy(text + length, word, part);
		length += part;
	}
	return length;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[8192];
	static struct tp_node_config config;
	static int fd = -1;
	char path[32];
	char message[128];
	int ret;

	if (fd < 0) {
		rte_log_set_global_level(RTE_LOG_EMERG);
		fd = memfd_create("config", MFD_CLOEXEC);
	}
	size = text_make(text, sizeof(text), data, size);
	if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, text, size, 0) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(message, 0x5a, sizeof(message));
	ret = tp_node_config_load(path, &config, message, sizeof(message));
	if (ret < 0) {
		if (memchr(message, '\0', sizeof(message)) == NULL || message[0] == '\0')
			abort();
		return 0;
	}
	if (tp_node_config_check(&config, message, sizeof(message)) < 0)
		abort();
	return 0;
}
