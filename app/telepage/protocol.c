/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage protocol: the tables that run, as docs/coherence.md shows them.
 */
#include <stdio.h>

#include "cli.h"
#include "tp_coherence.h"

int
cli_protocol(struct cli *cli, int argc, char **argv)
{
	if (argc != 1)
		return cli_usage("protocol takes no argument");
	tp_coherence_table_print(stdout);
	return CLI_OK;
}
