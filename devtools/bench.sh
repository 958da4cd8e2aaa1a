#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
#
# The figures with goals: builds for speed, runs every benchmark of a set ROUNDS
# times on this machine, and appends the medians of the rounds to the log in
# docs/benchmarks.md. The machine should do nothing else.
#
# usage: devtools/bench.sh [--set sharing|life|fabric|codec|pmem] [--rounds N] [--rt] [--build FOLDER]
#                          [--dry-run]
#   --set      codec: deltas, their bytes, the choice of a codec
#              sharing: hits, misses, atomics, pool, directory (default)
#              fabric: pages in bulk, sessions on links that lose frames or are full
#              life: idle nodes, attaching, nodes that die, a computing neighbour
#              pmem: transactions and blocks against libpmemobj, volumes against nbdkit's file
#                    plugin, the B+tree against LMDB, hybrid objects against DRAM and LRU
#   --rt       SCHED_RR: for a machine that is not quiet; the log says so
#   --dry-run  print the rows, leave docs/benchmarks.md alone
set -eu
cd "$(dirname "$0")/.."

set_name=sharing
rounds=5
build=/tmp/telepage-bench-lto
schedule=
target=docs/benchmarks.md
while [ $# -gt 0 ]; do
	case $1 in
	--set) set_name=$2; shift ;;
	--rounds) rounds=$2; shift ;;
	--build) build=$2; shift ;;
	--rt) schedule="chrt -r 10" ;;
	--dry-run) target=/dev/stdout ;;
	*) sed -n 's/^# \{0,1\}//; 5,20p' "$0"; exit 2 ;;
	esac
	shift
done
if [ "$(id -u)" -ne 0 ]; then
	echo "bench: needs root, for huge pages and namespaces" >&2
	exit 1
fi

[ -f "$build/build.ninja" ] ||
	meson setup "$build" --buildtype=release -Dasserts=false -Dtests=false \
		-Db_lto=true > /dev/null
ninja -C "$build" > /dev/null

lines=$(mktemp)
output=$(mktemp)
trap 'rm -f "$lines" "$output"' EXIT
load=$(cut -d' ' -f1 /proc/loadavg)
run() {
	echo "bench: $*" >&2
	i=0
	while [ $i -lt "$rounds" ]; do
		# shellcheck disable=SC2086
		if timeout 300 $schedule "$build/telepage-bench" "$@" --json > "$output"; then
			sed "s|^{|{\"command\":\"$*\",|" "$output" >> "$lines"
		else
			echo "{\"command\":\"$*\",\"failed\":true}" >> "$lines"
		fi
		i=$((i + 1))
	done
}
case $set_name in
codec)
	run codec_delta_rate
	run codec_wire_bytes
	run codec_adaptive_gain
	run codec_link_gain --pmd af_packet
	;;
pmem)
	run pmem_tx_rate
	run pmem_alloc_rate
	run pmem_block_iops
	for what in insert get scan delete obj; do
		run pmem_btree_$what
	done
	run pmem_recovery_time
	run pmem_hybrid_hit_lat
	run pmem_hybrid_miss_lat
	run pmem_hybrid_hit_ratio
	;;
sharing)
	run client_hit_lat
	for pmd in memif af_packet; do
		for name in raw_rtt node_miss_lat node_evict_lat node_atomic_lat \
			client_miss_lat client_atomic_lat; do
			run $name --pmd $pmd
		done
	done
	for pmd in af_xdp tap; do
		for name in raw_rtt node_miss_lat client_miss_lat; do
			run $name --pmd $pmd
		done
	done
	run pool_loan_rate
	run directory_bytes_per_page
	;;
fabric)
	for pmd in memif af_packet; do
		for mtu in 9000 1500; do
			run page_stream_bw --pmd $pmd --mtu $mtu
		done
		run client_stream_bw --pmd $pmd
		run session_loss_bw --pmd $pmd
		run demand_under_bulk_lat --pmd $pmd
	done
	run foreign_drop_cost
	run foreign_flood_lat --pmd af_packet
	run fabric_small_msg_rate --pmd memif
	run fabric_small_msg_rate_alone --pmd memif
	;;
life)
	for pmd in memif af_packet af_xdp tap; do
		run node_idle_cpu --pmd $pmd
	done
	run attach_lat
	for pmd in memif af_packet; do
		run client_miss_lat --neighbour --pmd $pmd
		run bystander_lat --pmd $pmd
		run void_lat_stop --pmd $pmd
		run void_lat_cut --pmd $pmd
	done
	for pmd in memif af_packet tap; do
		run void_lat --pmd $pmd
		run void_lat_fast --pmd $pmd
	done
	;;
*)
	echo "bench: no set $set_name" >&2
	exit 2
	;;
esac

python3 devtools/bench_rows.py --schedule "${schedule:-default}" --load "$load" \
	--commit "$(git rev-parse --short HEAD)" < "$lines" >> "$target"
