/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Open MPI, one-sided: MPI_Get and MPI_Win_flush under MPI_Win_lock_all. Rank 0
 * asks, rank 1 has the window, and is in MPI all the time, as passive targets
 * without hardware must be.
 */
#include <errno.h>
#include <stdlib.h>

#include <mpi.h>

#include "peer.h"

#define RANK_ASKS 0
#define RANK_SERVES 1

struct mpi_state {
	MPI_Win win;
	MPI_Request over;	/* who serves: a barrier that who asks enters at the end */
};

static int
mpi_start(struct peer *peer, int *argc, char ***argv)
{
	int rank, size;

	MPI_Init(argc, argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	peer->serves = rank == RANK_SERVES;
	return size == 2 ? 0 : -EINVAL;
}

static int
mpi_open(struct peer *peer)
{
	struct mpi_state *state = calloc(1, sizeof(*state));

	if (state == NULL)
		return -ENOMEM;
	peer->driver = state;
	MPI_Win_create(peer->pages, peer->serves ? (MPI_Aint)PEER_SET_BYTES : 0, 1,
		       MPI_INFO_NULL, MPI_COMM_WORLD, &state->win);
	if (peer->serves)
		MPI_Ibarrier(MPI_COMM_WORLD, &state->over);
	else
		MPI_Win_lock_all(0, state->win);
	return 0;
}

static int
mpi_get(struct peer *peer, size_t offset, uint32_t bytes)
{
	struct mpi_state *state = peer->driver;

	MPI_Get(peer->pages + offset, (int)bytes, MPI_BYTE, RANK_SERVES, (MPI_Aint)offset,
		(int)bytes, MPI_BYTE, state->win);
	MPI_Win_flush(RANK_SERVES, state->win);
	peer->got = peer->pages + offset;
	return 0;
}

static bool
mpi_turn(struct peer *peer)
{
	struct mpi_state *state = peer->driver;
	int done;

	MPI_Test(&state->over, &done, MPI_STATUS_IGNORE);
	return !done;
}

static void
mpi_close(struct peer *peer)
{
	struct mpi_state *state = peer->driver;

	if (!peer->serves) {
		MPI_Win_unlock_all(state->win);
		MPI_Ibarrier(MPI_COMM_WORLD, &state->over);
		MPI_Wait(&state->over, MPI_STATUS_IGNORE);
	}
	MPI_Win_free(&state->win);
	MPI_Finalize();
	free(state);
}

int
main(int argc, char **argv)
{
	static const struct peer_driver driver = {
		.name = "mpi_get", .has_server = true, .start = mpi_start, .open = mpi_open,
		.get = mpi_get, .turn = mpi_turn, .close = mpi_close,
	};

	return peer_run(&driver, argc, argv);
}
