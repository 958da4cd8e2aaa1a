/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Shared by the files of the catalogue: catalogue.c (settings), catalogue_node.c,
 * catalogue_region.c, catalogue_extent.c.
 *
 * Keys: "cluster", "node/<id>", "region/all", "extent/<bank>/<chunk>".
 */
#ifndef CATALOGUE_PRIV_H
#define CATALOGUE_PRIV_H

#include "record_priv.h"
#include "store_priv.h"
#include "tp_catalogue.h"

struct tp_catalogue {
	struct tp_store *store;
	struct tp_address_split split;
	struct record_regions *record;	/* RECORD_REGIONS_BYTES_MAX: region/all as stored */
	struct region_set *set;		/* the same, parsed */
	uint64_t set_version;		/* of both; 0: there is none yet */
};

/* Most keys have few writers: losing this often means somebody spins. */
#define CATALOGUE_TRIES 10000

#endif /* CATALOGUE_PRIV_H */
