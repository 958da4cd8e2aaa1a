# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Three nodes share memory: what devtools/quickstart.sh runs after building.

Each step is a method; the list in main() is the order.
"""

import argparse
import hashlib
import subprocess
import sys
import threading
import time
from pathlib import Path

from cluster import Cluster
from lab import Lab, LabError, signals_end_program, wait_until
from network import Network

NODES = 3
HUGEPAGES = 384
MIB = 1 << 20


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

    def machine(self, progress: Progress) -> None:
        """Huge pages and three namespaces on a bridge."""
        self.lab.hugepages(HUGEPAGES)
        network = Network(self.lab, NODES)
        if self.args.loss:
            network.loss(self.args.loss)
        self.cluster = Cluster(self.lab, network, self.args.build_dir)
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
        with subprocess.Popen(["tar", "-cf", "-", "-C", "/", "usr/include", "usr/share"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tar:
            with open(self.input, "wb") as output:
                left = self.args.size * MIB
                while left > 0 and (part := tar.stdout.read(min(left, MIB))):
                    output.write(part)
                    left -= len(part)
            tar.kill()

    def nodes(self, progress: Progress) -> None:
        """Start the nodes and wait until each answers."""
        for number in range(1, NODES + 1):
            self.cluster.start_node(number)
        for number in range(1, NODES + 1):
            self._await_node(number)
        progress.detail = f"{NODES} nodes answer"

    def _await_node(self, number: int) -> None:
        process = self.cluster.processes[number]

        def answers() -> bool:
            if not process.is_running:
                raise LabError(f"node {number} ended:\n{process.output()}")
            try:
                self.cluster.command(number, "status")
            except LabError:
                return False
            return True

        wait_until(answers, 30, f"answer from node {number}")

    def put(self, progress: Progress) -> None:
        """Create a region striped over the nodes, put the file in on node 1."""
        size = -(-self.input.stat().st_size // MIB)
        self.cluster.command(1, "region", "create", "demo", "--size", f"{size}M",
                             "--distribution", "striped")
        self.cluster.command(1, "put", "demo", self.input, timeout=300)
        progress.detail = f"region of {size} MiB"

    def get(self, progress: Progress) -> None:
        """Read it back on nodes 2 and 3 at once, two programs a node."""
        wanted = self._digest(self.input)
        size = self.input.stat().st_size
        readers = []
        for number in (2, 3):
            for program in (1, 2):
                target = self.lab.scratch() / f"output{number}.{program}"
                readers.append((target, self.cluster.start_command(
                    f"get{number}.{program}", number, "get", "demo", target, "--bytes", size)))
        for target, process in readers:
            if process.wait(300) != 0:
                raise LabError(f"{process.name} failed:\n{process.output()}")
            if self._digest(target) != wanted:
                raise LabError(f"{process.name} read something else than was put")
        progress.detail = f"4 x SHA-256 {wanted[:16]}..."

    @staticmethod
    def _digest(path: Path) -> str:
        with open(path, "rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()

    def stop(self, _progress: Progress) -> None:
        """Stop the nodes in order."""
        self.cluster.stop()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="quickstart.sh",
                                     description="three nodes share memory on this machine")
    parser.add_argument("--loss", type=float, default=0, help="per cent of frames to lose")
    parser.add_argument("--file", type=Path, help="file to share instead of a tar of /usr")
    parser.add_argument("--size", type=int, default=64, help="MiB of that tar")
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
                ("stop the nodes", demo.stop),
            )
            for text, step in steps:
                with Progress(text) as progress:
                    step(progress)
    except LabError as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    print("done; the machine is as it was before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
