#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Rows of the log in docs/benchmarks.md, from lines of telepage-bench --json.

Of several runs of one benchmark the row has the median of each figure; of
differences and ratios, the median of those of the runs.
"""
import argparse
import datetime
import json
import statistics
import sys

# name: (goal as text, limit for the p50, from that of the run's baseline)
GOALS = {
    "client_hit_lat_hot": ("<= 25 ns", lambda raw: 25),
    "client_hit_lat_64m": ("<= load + 25 ns", lambda raw: raw + 25),
    "node_miss_lat": ("<= 1.25 x raw", lambda raw: 1.25 * raw),
    "client_miss_lat": ("<= raw + 2.5 us", lambda raw: raw + 2500),
    "client_atomic_lat": ("<= 1.5 x raw + 2.5 us", lambda raw: 1.5 * raw + 2500),
    "pool_loan_rate_1_slot_cache": ("<= rte_mempool", lambda raw: raw),
    "pool_loan_rate_2_slot_pool": ("<= rte_mempool", lambda raw: raw),
    "directory_bytes_per_page": ("<= 72", lambda raw: 72),
    "node_idle_cpu": ("<= 2 %", lambda raw: 2),
    "session_rto": ("<= 1 ms", lambda _: 1000),
    "session_loss_p999_1e-3": ("<= loss-free + 2 RTO", lambda calm: calm + 2000),
    "node_wake_local_lat": ("<= 100 us", lambda raw: 100),
    "attach_lat_socket": ("<= 5 ms", lambda raw: 5000),
    "attach_lat_secondary": ("<= 100 ms", lambda raw: 100000),
    # A page of 4096 bytes in so many ns.
    "codec_delta_same_hot": (">= 30 GB/s", lambda _: 4096 / 30),
    "codec_delta_same_256m": (">= 0.9 x memcmp", lambda memcmp: memcmp / 0.9),
    "codec_delta_same_256m_random": (">= 0.9 x memcmp", lambda memcmp: memcmp / 0.9),
    "codec_delta_5pct_hot": (">= 4 GB/s", lambda _: 4096 / 4),
    "codec_delta_5pct_256m": (">= 4 GB/s", lambda _: 4096 / 4),
    "codec_wire_bytes_worst": ("<= 1.15 x lines + 32 B", lambda _: 1),
    "codec_wire_bytes_largest": ("<= raw + 1 %", lambda _: 1.01),
    # ns per operation: half of theirs is twice their rate.
    **{f"pmem_{what}_{size}_{threads}": (">= 2 x libpmemobj's rate", lambda obj: obj / 2)
       for what, sizes in (("tx_rate", (64, 256, 4096)), ("alloc_rate", (64, 1024, 16384)))
       for size in sizes for threads in (1, 2)},
    **{f"pmem_hybrid_hit_{what}": ("<= 1.2 x DRAM", lambda dram: 1.2 * dram)
       for what in ("lat_64", "lat_4096", "lat_64_hot", "lat_64_w10_none",
                    "lat_64_w10_eventual")},
    **{f"pmem_block_{place}_{what}_{depth}": (">= nbdkit file's rate", lambda file: file)
       for place in ("memory", "disk") for what in ("write_flush", "write_flush_32", "read")
       for depth in (1, 16)},
    **{f"pmem_btree_{what}": (">= LMDB's rate", lambda lmdb: lmdb)
       for what in ("insert", "delete")},
    **{f"pmem_btree_{what}": (">= 0.8 x LMDB's rate", lambda lmdb: lmdb / 0.8)
       for what in ("get", "scan")},
    **{f"pmem_btree_obj_{what}": (">= 2 x libpmemobj's rate", lambda obj: obj / 2)
       for what in ("insert", "get", "scan", "delete")},
    **{f"pmem_recovery_time_{size}": ("<= 1 s/GiB", lambda _: 1000) for size in (64, 4096)},
    "pmem_open_clean_10g": ("<= 100 ms", lambda _: 100),
    "pmem_open_clean_10g_2g_used": ("<= 100 ms", lambda _: 100),
    "pmem_btree_insert_p99": ("<= 5 x p50", lambda p50: 5 * p50),
}

# The same, for the p99 of both sides.
GOALS_P99 = {
    "client_miss_lat_neighbour": ("p99 <= 10 x quiet p99", lambda quiet: 10 * quiet),
    "demand_under_bulk_lat": ("p99 <= 2 x idle p99", lambda idle: 2 * idle),
    "void_lat": ("p99 <= 250 ms", lambda _: 250),
    **{f"void_lat_{what}": ("p99 <= 250 ms", lambda _: 250)
       for what in ("stop", "cut", "cut_there", "cut_back")},
    "void_lat_fast": ("p99 <= 20 ms", lambda _: 20),
}
# What is done to others, against quiet times, and against the same beside the cluster.
for what in ("clients", "kill", "stop"):
    for kind in ("miss", "hit"):
        for suffix, other in (("", "quiet"), ("_net", "beside")):
            GOALS_P99[f"bystander_{kind}_{what}{suffix}"] = (
                f"p99 <= 1.2 x p99 {other}", lambda p99: 1.2 * p99)

# The same, for the p99.9 of both sides. An RTO is 1 ms: see session_rto.
GOALS_P999 = {
    "session_loss_lat_1e-3": ("p99.9 <= loss-free + 2 RTO", lambda calm: calm + 2000),
}

# Where more is better: the p50 must be at least this part of the baseline's.
GOALS_LEAST = {
    "session_loss_bw_1e-4": 0.97,
    "session_loss_bw_1e-3": 0.95,
    "session_loss_bw_1e-2": 0.80,
    "bulk_under_demand_bw": 0.80,
    **{f"pmem_hybrid_hit_ratio_{what}": 1.0 for what in ("1", "10", "50", "10_scan")},
}


# Rates: the least that the p50 may be.
GOALS_RATE = {
    "page_stream_bw": (">= 0.9 x raw", lambda raw: 0.9 * raw),
    "page_stream_bw_64k_x8": (">= 0.9 x raw", lambda raw: 0.9 * raw),
    "page_stream_bw_random": (">= 0.9 x raw", lambda raw: 0.9 * raw),
    "fabric_small_msg_rate": (">= 25 M/s", lambda _: 25),
    "fabric_small_msg_rate_alone": (">= 5 M/s", lambda _: 5),
}


def goal_of(run):
    """(goal as text, "p50", "p99" or "p999", limit), "-" and None if it has none."""
    if run["name"] in GOALS_P999:
        text, limit = GOALS_P999[run["name"]]
        return text, "p999", limit
    if run["name"] in GOALS_P99:
        text, limit = GOALS_P99[run["name"]]
        return text, "p99", limit
    if run["name"] in GOALS_RATE:
        text, limit = GOALS_RATE[run["name"]]
        return text, "p50", limit
    if run["name"] == "node_wake_remote_lat":
        # Where no descriptor tells of a frame the node looks from time to time.
        limit = 2000 if "memif" in run["command"] else 100
        return f"<= {limit} us", "p50", lambda _: limit
    if run["name"].startswith(("pmem_tx", "pmem_alloc", "pmem_btree")) and "baseline" not in run:
        return "-", "p50", None  # built without what it is compared with
    if run["name"].startswith("codec_adaptive_gain"):
        return "<= best fixed + 5 %", "p50", lambda fixed: 1.05 * fixed
    text, limit = GOALS.get(run["name"], ("-", None))
    return text, "p50", limit


def number(value):
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def row(runs, context):
    first = runs[0]
    p50 = statistics.median(run["p50"] for run in runs)
    tail = number(statistics.median(run["p99"] for run in runs))
    base = ratio = "-"
    verdict = "-"
    goal, figure, limit = goal_of(first)
    least = GOALS_LEAST.get(first["name"])
    if "baseline" in first:
        raw = statistics.median(run["baseline"]["p50"] for run in runs)
        base = f"{first['baseline']['name']} {number(raw)}"
        ratio = f"{statistics.median(run['ratio'] for run in runs):.2f}"
    if limit is not None:
        shares = [run[figure] / limit(run.get("baseline", {}).get(figure, 0)) for run in runs]
        if first["name"] in GOALS_RATE:
            shares = [1 / share for share in shares]
        share = statistics.median(shares)
        verdict = f"met ({share:.2f})" if share <= 1 else f"missed ({share:.2f})"
    if least is not None:
        part = statistics.median(run["ratio"] for run in runs)
        goal = f">= {100 * least:.0f} %"
        verdict = f"{'met' if part >= least else 'missed'} ({part / least:.2f})"
    if figure == "p999":
        tail = f"p99.9 {number(statistics.median(run['p999'] for run in runs))}"
    return (f"| {context.date} | `{first['command']}` {first['name']} | {number(p50)} "
            f"{first['unit']} | {tail} | {base} | {ratio} | {goal} | {verdict} | "
            f"{len(runs)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedule", default="default")
    parser.add_argument("--load", default="?")
    parser.add_argument("--commit", default="?")
    context = parser.parse_args()
    context.date = datetime.date.today().isoformat()
    groups = {}
    failed = {}
    machine = "unknown"
    pages = set()
    for line in sys.stdin:
        run = json.loads(line)
        if run.get("failed"):
            failed[run["command"]] = failed.get(run["command"], 0) + 1
            continue
        machine = run["machine"]
        pages.add(run["pages"] if "baseline" in run else "2M")
        groups.setdefault((run["command"], run["name"]), []).append(run)
    print(f"\nMachine: {machine}; pages {', '.join(sorted(pages))}; load at the start {context.load}; scheduling "
          f"{context.schedule}; commit {context.commit}; release build without asserts.\n")
    print("| date | benchmark | p50 | p99 | compared with | ratio | goal | outcome | runs |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for runs in groups.values():
        print(row(runs, context))
    for command, count in failed.items():
        print(f"| {context.date} | `{command}` | failed | - | - | - | - | failed | {count} |")


main()
