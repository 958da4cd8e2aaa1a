/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage-hold PREFIX: a secondary process that takes the locks it shares with
 * its node and stays inside the gate with them, for suites to stop or kill it
 * there. What a kill at the worst instant of rte_eal_init() leaves behind.
 */
#include <stdio.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_eal_memconfig.h>

#include "tp_client.h"

int __wrap_rte_eal_init(int argc, char **argv);
int __real_rte_eal_init(int argc, char **argv);

int
__wrap_rte_eal_init(int argc, char **argv)
{
	int ret = __real_rte_eal_init(argc, argv);

	if (ret < 0)
		return ret;
	rte_mcfg_mem_write_lock();
	rte_mcfg_tailq_write_lock();
	rte_mcfg_mempool_write_lock();
	fprintf(stderr, "inside\n");
	for (;;)
		pause();
}

int
main(int argc, char **argv)
{
	char *eal[] = { argv[0], (char[]){ "--file-prefix" }, argc == 2 ? argv[1] : NULL,
			(char[]){ "--no-pci" }, NULL };
	int ret;

	if (argc != 2) {
		fprintf(stderr, "usage: telepage-hold PREFIX\n");
		return 2;
	}
	ret = tp_eal_attach(4, eal);
	fprintf(stderr, "telepage-hold: not inside: %d\n", ret);
	tp_client_exit(1);
}
