# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Telepage nodes in a lab: what the quickstart and the suites both start."""

import configparser
import os
from pathlib import Path

from lab import Lab, LabError, Process, run
from network import Network

ROOT = Path(__file__).resolve().parent.parent

# Ring frames that hold a 9000-byte frame; the driver wants them to divide a block
# of whole pages.
AF_PACKET_RING = "blocksz=36864,framesz=9216,framecnt=512"


class Cluster:
    """telepaged processes, one in each namespace of a network."""

    def __init__(self, lab: Lab, network: Network, build: Path, workers: int = 1,
                 settings: dict | None = None):
        self.lab = lab
        self.network = network
        self.build = build
        self.workers = workers
        self.settings = settings or {}
        self.processes: dict[int, Process] = {}
        self._prefixes = {node.number: lab.dpdk_prefix(node.name) for node in network.nodes}

    def config(self, number: int) -> Path:
        """Write a node's configuration: the shipped one, with the lab's paths."""
        parser = configparser.ConfigParser(comment_prefixes=(";",), interpolation=None)
        parser.read(ROOT / "config" / "node1.ini")
        for section in [name for name in parser.sections() if name.startswith("peer")]:
            parser.remove_section(section)
        parser["node"].update({
            "id": str(number),
            "name": f"node{number}",
            "workers": str(self.workers),
            "store": f"file:{self.lab.dir}/store",
        })
        parser["port 0"]["ip"] = f"10.84.0.{number}"
        for key, value in self.settings.items():
            parser["node"][key] = str(value)
        path = self.lab.dir / f"node{number}.ini"
        with open(path, "w", encoding="utf-8") as output:
            parser.write(output)
        return path

    def eal_arguments(self, number: int) -> list[str]:
        """EAL arguments of a node: control on lcore 0, workers from 1."""
        cpus = sorted(os.sched_getaffinity(0))
        lcores = [f"0@({','.join(map(str, cpus))})"]
        for worker in range(self.workers):
            cpu = cpus[(number - 1 + worker) % len(cpus)]
            lcores.append(f"{worker + 1}@{cpu}")
        device = self.network.node(number).devices[0]
        return [
            "--lcores", ",".join(lcores),
            "--file-prefix", self._prefixes[number],
            "--huge-dir", str(self.lab.dir / "huge"),
            "--huge-unlink=existing", "--no-pci",
            f"--vdev=net_af_packet0,iface={device},qpairs={self.workers},{AF_PACKET_RING}",
        ]

    def start_node(self, number: int) -> Process:
        """Start one node; it may still be joining on return."""
        process = self.lab.start(
            f"node{number}", self.build / "telepaged", *self.eal_arguments(number), "--",
            "--config", self.config(number), netns=self.network.node(number).netns)
        self.processes[number] = process
        return process

    def command(self, number: int, *words: object, timeout: float = 60) -> str:
        """Run the telepage command attached to a node; what it prints."""
        return run("ip", "netns", "exec", self.network.node(number).netns,
                   self.build / "telepage", "--prefix", self._prefixes[number], *words,
                   timeout=timeout)

    def start_command(self, name: str, number: int, *words: object) -> Process:
        """Start the telepage command attached to a node."""
        return self.lab.start(
            name, self.build / "telepage", "--prefix", self._prefixes[number], *words,
            netns=self.network.node(number).netns)

    def stop(self) -> None:
        """Stop every node in order; LabError when one fails to."""
        for number, process in self.processes.items():
            if process.is_running and (status := process.stop()) != 0:
                raise LabError(f"node {number} ended with {status}:\n{process.output()}")
        self.processes.clear()
