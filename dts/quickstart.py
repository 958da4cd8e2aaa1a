# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Three nodes share memory: what devtools/quickstart.sh runs after building.

Each step is a method; the list in main() is the order.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from cluster import PATIENT, Cluster
from lab import Lab, LabError, signals_end_program
from network import Network

NODES = 3
HUGEPAGES = 384
MIB = 1 << 20
EDIT_BYTES = 4 * MIB
COUNTERS = 8
INCREMENTS = 300_000
LOOKS = 200_000

# Rows of the table: text, counter, whether it must have happened.
ROWS = (
    ("hits", "hits", True),
    ("misses", "misses", True),
    ("forwards", "forwards", True),
    ("upgrades", "upgrades", True),
    ("invalidations", "invalidations", True),
    ("evictions", "evictions", True),
    ("write-backs", "write_backs", True),
    ("remote atomics", "atomics_sent", True),
    ("pages in", "pages_in", True),
    ("MiB received", "rx_bytes", True),
    ("retransmissions", "tx_retransmits", False),
)


class Progress:
    """One line a step, counting while it runs where someone watches."""

    def __init__(self, text: str):
        self.text = text
        self.detail = ""
        self._start = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def _line(self) -> str:
        seconds = time.monotonic() - self._start
        return f"{self.text:<44} {seconds:5.1f} s  {self.detail}"

    def _tick(self) -> None:
        while not self._ended.wait(0.2):
            print(f"\r{self._line()}\x1b[K", end="", flush=True)

    def __enter__(self) -> "Progress":
        if sys.stdout.isatty():
            self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
            print("\r\x1b[K", end="")
        print(self._line() + ("" if kind is None else "  FAILED"), flush=True)


class Quickstart:
    """The demonstration; the lab undoes what it sets up."""

    def __init__(self, lab: Lab, args: argparse.Namespace):
        self.lab = lab
        self.args = args
        self.input = lab.scratch() / "input"
        self.cluster: Cluster | None = None
        self.hits = dict.fromkeys(range(1, NODES + 1), 0)
        self.latency: dict = {}

    def machine(self, progress: Progress) -> None:
        """Huge pages and three namespaces on a bridge."""
        self.lab.hugepages(HUGEPAGES)
        network = Network(self.lab, NODES)
        if self.args.loss:
            network.loss(self.args.loss)
        self.cluster = Cluster(self.lab, network, self.args.build_dir, settings=PATIENT)
        progress.detail = f"{HUGEPAGES * 2} MiB of huge pages, {NODES} namespaces" + (
            f", {self.args.loss} % loss" if self.args.loss else "")

    def file(self, progress: Progress) -> None:
        """A real file: the headers and documents of this machine, or the user's."""
        if self.args.file:
            self.input = self.args.file.resolve()
        else:
            self._file_pack()
        size = self.input.stat().st_size
        if size == 0:
            raise LabError(f"{self.input} is empty")
        progress.detail = f"{size / MIB:.1f} MiB"

    def _file_pack(self) -> None:
        """As much of the tar as was asked for: packed in full it would be gigabytes."""
        with subprocess.Popen(["tar", "-cf", "-", "-C", "/", "usr/include", "usr/share"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tar:
            with open(self.input, "wb") as output:
                left = self.args.size * MIB
                while left > 0 and (part := tar.stdout.read(min(left, MIB))):
                    output.write(part)
                    left -= len(part)
            tar.kill()

    def nodes(self, progress: Progress) -> None:
        """Start the nodes and wait until each reaches the others."""
        self.cluster.start()
        progress.detail = f"{NODES} nodes, 16 MiB of cache each"

    def put(self, progress: Progress) -> None:
        """Create a region striped over the nodes, put the file in on node 1."""
        size = -(-self.input.stat().st_size // MIB)
        self.cluster.command(1, "region", "create", "demo", "--size", f"{size}M",
                             "--distribution", "striped")
        self._command(progress, "put", 1, "put", "demo", self.input)

    def _command(self, progress: Progress, name: str, number: int, *words: object) -> None:
        """A telepage command; the line shows how fast it was."""
        process = self.cluster.start_command(name, number, *words)
        if process.wait(300) != 0:
            raise LabError(f"{name} failed:\n{process.output()}")
        progress.detail = process.output().strip().splitlines()[-1]

    def get(self, progress: Progress) -> None:
        """Read it back on nodes 2 and 3 at once, two programs a node."""
        wanted = self._digest(self.input)
        self._get_compare("get", (2, 2, 3, 3), wanted, 0, self.input.stat().st_size)
        progress.detail = f"4 x SHA-256 {wanted[:16]}..."

    def _get_compare(self, name: str, numbers: tuple, wanted: str, offset: int,
                     size: int) -> None:
        """One program for each number, all at once, on the node of that number."""
        readers = []
        for i, number in enumerate(numbers):
            target = self.lab.scratch() / f"{name}{i}"
            readers.append((target, self.cluster.start_command(
                f"{name}{i}", number, "get", "demo", target, "--offset", offset, "--bytes",
                size)))
        for target, process in readers:
            if process.wait(300) != 0:
                raise LabError(f"{process.name} failed:\n{process.output()}")
            if self._digest(target) != wanted:
                raise LabError(f"{process.name} read something else than was put")
            target.unlink()

    @staticmethod
    def _digest(path: Path) -> str:
        with open(path, "rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()

    def edit(self, progress: Progress) -> None:
        """Change the end of the file on node 2, which has just read it; look elsewhere."""
        size = min(EDIT_BYTES, self.input.stat().st_size)
        offset = self.input.stat().st_size - size
        change = self.lab.scratch() / "change"
        with open(self.input, "rb") as source:
            source.seek(offset)
            change.write_bytes(bytes(byte ^ 0x20 for byte in source.read(size)))
        self._command(progress, "edit", 2, "put", "demo", change, "--offset", offset)
        wanted = self._digest(change)
        self._get_compare("look", (1, 3), wanted, offset, size)
        progress.detail = f"{size / MIB:.0f} MiB, 2 x SHA-256 {wanted[:16]}..."

    def count(self, progress: Progress) -> None:
        """Programs on all nodes increment the same counters; the totals must be exact."""
        truth = self.lab.dir / "truth"
        self.cluster.command(1, "region", "create", "counters", "--size", "1M")
        loads = {number: self.cluster.start_load(
            "count", number, "increment", "counters", words=COUNTERS,
            count=INCREMENTS // NODES, window=16, timeout=30000, truth=truth)
            for number in self.cluster.numbers}
        for number, load in loads.items():
            result = load.result(300)
            if result["done"] != INCREMENTS // NODES or result["unknown"]:
                raise LabError(f"node {number} did {result['done']} increments, the fate of "
                               f"{result['unknown']} is unknown: {result['reasons']}")
        # Every node must now see what was done, and see it from its own copy.
        for number in self.cluster.numbers:
            result = self.cluster.start_load(
                "look", number, "watch", "counters", words=COUNTERS, count=LOOKS,
                truth=truth).result()
            if result["errors"] or result["done"] != LOOKS:
                raise LabError(f"node {number}: {result['error'] or result['reasons']}")
            self.hits[number] += result["hits"]
        totals = [int(self.cluster.command(1, "atomic", "counters", 8 * i, "load"))
                  for i in range(COUNTERS)]
        if totals != [INCREMENTS // COUNTERS] * COUNTERS:
            raise LabError(f"the counters are {totals}")
        progress.detail = f"{COUNTERS} counters, each {totals[0]:,}"

    def measure(self, progress: Progress) -> None:
        """Latency of misses and of hits, nothing else going on."""
        size = min(EDIT_BYTES, self.input.stat().st_size)
        output = self.cluster.command(3, "--json", "get", "demo", "/dev/null", "--bytes", size,
                                      "--latency", timeout=120)
        self.latency = json.loads(output)
        self.hits[3] += self.latency["hit"]["n"]
        progress.detail = f"{self.latency['miss']['n']} misses, one at a time"

    def table(self) -> str:
        """What the nodes counted; LabError when something that must happen did not."""
        stats = {number: self.cluster.telemetry(number) for number in self.cluster.numbers}
        for number in self.cluster.numbers:
            stats[number]["hits"] = self.hits[number]
        lines = [f"{'':<18}" + "".join(f"{f'node {number}':>12}" for number in stats)
                 + f"{'all':>14}"]
        missing = []
        for text, key, must in ROWS:
            row = [stats[number][key] for number in stats]
            if key.endswith("_bytes"):
                row = [round(value / MIB) for value in row]
            lines.append(f"{text:<18}" + "".join(f"{value:>12,}" for value in row)
                         + f"{sum(row):>14,}")
            if sum(row) == 0 and (must or (key == "tx_retransmits" and self.args.loss)):
                missing.append(text)
        for kind in ("hit", "miss"):
            figures = self.latency[kind]
            lines.append(f"{kind} latency, node 3: p50 {figures['p50_ns'] / 1e3:.2f} us, "
                         f"p99 {figures['p99_ns'] / 1e3:.2f} us")
        if missing:
            raise LabError("\n".join(lines) + f"\nnone of: {', '.join(missing)}")
        return "\n".join(lines)

    def stop(self, _progress: Progress) -> None:
        """Stop the nodes in order."""
        self.cluster.stop()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="quickstart.sh",
                                     description="three nodes share memory on this machine")
    parser.add_argument("--loss", type=float, default=0, help="per cent of frames to lose")
    parser.add_argument("--file", type=Path, help="file to share instead of a tar of /usr")
    parser.add_argument("--size", type=int, default=72, help="MiB of that tar")
    parser.add_argument("--build-dir", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Run the steps in order."""
    args = arguments()
    signals_end_program()
    try:
        with Lab() as lab:
            demo = Quickstart(lab, args)
            steps = (
                ("reserve huge pages, make the network", demo.machine),
                ("pack a file to share", demo.file),
                ("start the nodes", demo.nodes),
                ("put the file, from node 1", demo.put),
                ("get it on nodes 2 and 3, 2 programs each", demo.get),
                ("change its end on node 2, look on 1 and 3", demo.edit),
                (f"count to {INCREMENTS:,} on all three nodes", demo.count),
                ("measure on node 3", demo.measure),
            )
            for text, step in steps:
                with Progress(text) as progress:
                    step(progress)
            table = demo.table()
            with Progress("stop the nodes") as progress:
                demo.stop(progress)
    except LabError as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    print(f"\n{table}\n\ndone; the machine is as it was before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
