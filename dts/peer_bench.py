# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Telepage beside what users would pick instead: devtools/bench-peers.sh.

Rounds of all contenders in turn between the same two namespaces. What each round
measured is appended to a file, one JSON line a figure; the table and the chart are
made of that file, so that rounds can be run one at a time.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

import peer_report  # noqa: E402
import peer_run  # noqa: E402
from lab import Lab, LabError, signals_end_program  # noqa: E402

PACKAGES = ("ucx-utils", "libfabric1", "openmpi-bin", "redis-server", "memcached", "iperf3")
COUNT = 10000
COUNT_SMOKE = 200


def machine() -> str:
    """What it was measured on, as telepage-bench has it."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}"


def versions() -> str:
    """The packages that are measured."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *PACKAGES],
                          capture_output=True, text=True)
    return ", ".join(line for line in done.stdout.splitlines() if line.strip())


def commit() -> str:
    """What of ours is measured."""
    done = subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"],
                          capture_output=True, text=True)
    return done.stdout.strip() or "?"


class Log:
    """The file of figures."""

    def __init__(self, path: Path):
        self.path = path
        self.failures = 0

    def add(self, **what: object) -> None:
        """One figure."""
        with open(self.path, "a") as file:
            file.write(json.dumps(what) + "\n")

    def measure(self, context: dict, contender: peer_run.Contender, stage: peer_run.Stage) -> None:
        """One contender in one round: its figures, or why there are none."""
        start = time.monotonic()
        try:
            result = contender.run(stage)
            rows = [{"mb_s": result}] if isinstance(result, float) else result
            if not rows:
                raise LabError("printed no figures")
            outcome = "  ".join(f"{row['p50'] / 1000:.2f}" if "p50" in row else
                                f"{row['mb_s']:.0f} MB/s" for row in rows)
        except (LabError, KeyError, ValueError, StopIteration) as error:
            rows = [{"failed": str(error) or type(error).__name__}]
            outcome = f"FAILED: {rows[0]['failed']}"
            self.failures += 1
        for row in rows:
            self.add(**context, contender=contender.name, **row)
        print(f"  {contender.name:36} {time.monotonic() - start:5.1f} s  {outcome}", flush=True)


def contenders(table: tuple, names: set[str], pattern: str) -> list:
    """Those of a table that there are, and that are asked for."""
    return [one for one in table
            if pattern in one.name and (not one.bench or one.bench in names)]


def round_latency(log: Log, args: argparse.Namespace, number: int) -> None:
    """A get of each size, all contenders in turn."""
    with Lab() as lab:
        stage = peer_run.latency_stage(lab, args.build_dir, args.count)
        for contender in contenders(peer_run.LATENCY, peer_run.bench_names(stage), args.only):
            log.measure({"part": "latency", "round": number}, contender, stage)


def round_loss(log: Log, args: argparse.Namespace, number: int) -> None:
    """Throughput over the cable, then over a bridge at each rate of loss."""
    with Lab() as lab:
        stage = peer_run.latency_stage(lab, args.build_dir, args.count)
        names = peer_run.bench_names(stage)
        for contender in contenders(peer_run.THROUGHPUT, names, args.only):
            log.measure({"part": "cable", "round": number}, contender, stage)
    with Lab() as lab:
        stage, network = peer_run.loss_stage(lab, args.build_dir, args.count)
        for loss in args.losses:
            network.heal()
            if loss > 0:
                # Not what raw frames go over: they are not sent again.
                network.loss(100 * loss, port=0)
            print(f"  loss {loss:g}", flush=True)
            for contender in contenders(peer_run.THROUGHPUT, names, args.only):
                log.measure({"part": "loss", "round": number, "loss": loss}, contender, stage)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="devtools/bench-peers.sh", description=__doc__)
    parser.add_argument("--build-dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5,
                        help="0 with --append: write the report of the figures there are")
    parser.add_argument("--part", choices=("latency", "loss", "all"), default="all")
    parser.add_argument("--only", default="", help="only contenders whose name contains this")
    parser.add_argument("--data", type=Path, help="file of figures (BUILD_DIR/peers.jsonl)")
    parser.add_argument("--append", action="store_true", help="keep the figures it has")
    parser.add_argument("--dry-run", action="store_true",
                        help="leave docs/benchmarks.md and the chart alone")
    parser.add_argument("--smoke", action="store_true",
                        help="one short round: does everything run? Not for figures")
    args = parser.parse_args()
    args.build_dir = args.build_dir.resolve()
    args.count = COUNT_SMOKE if args.smoke else COUNT
    args.losses = peer_run.LOSSES[-1:] if args.smoke else peer_run.LOSSES
    signals_end_program()
    args.data = args.data or args.build_dir / "peers.jsonl"
    if not args.append:
        args.data.unlink(missing_ok=True)
    log = Log(args.data)
    parts = {"latency": round_latency, "loss": round_loss}
    for number in range(1 if args.smoke else args.rounds):
        log.add(part="run", date=date.today().isoformat(), machine=machine(), packages=versions(),
                commit=commit(), load=Path("/proc/loadavg").read_text().split()[0])
        for name, function in parts.items():
            if args.part in (name, "all"):
                print(f"round {number + 1}, {name}", flush=True)
                function(log, args, time.time_ns())
    if not args.dry_run and not args.smoke:
        peer_report.write(args.data, HERE.parent / "docs")
    if log.failures:
        print(f"{log.failures} figures are missing: the report says why")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"bench-peers: {error}", file=sys.stderr)
        sys.exit(1)
