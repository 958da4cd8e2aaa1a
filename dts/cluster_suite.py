# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Base of the suites that run a cluster: three nodes, on each kind of port, with
one and with two workers.

A case gets the running cluster of its suite. One that kills or stops nodes says
fresh_cluster = True in its class and gets a new one every time.
"""

import filecmp
import os
from pathlib import Path

from cluster import (PATIENT, PCI, PCI_DEVICES, PMDS, XDP, XDP_MTU, Cluster, Load,
                     xdp_is_missing)
from lab import LabError, run
from network import Network
import suite
from suite import TestSuite

MIB = 1 << 20


def port_variants(xdp: bool = suite.FULL) -> tuple[dict, ...]:
    """Every kind of port, with one and with two workers a node.

    AF_XDP in the suites that ask for it, for the time it takes, and in all with --full;
    network cards where there are some.
    """
    pmds = (*PMDS, XDP) if xdp or suite.FULL else PMDS
    if PCI_DEVICES:
        pmds = (*pmds, PCI)
    return tuple({"pmd": pmd, "workers": workers} for pmd in pmds for workers in (1, 2))


class ClusterSuite(TestSuite):
    """Some nodes and what the cases do with them."""

    variants = port_variants()
    # A cache small enough that a few MiB overflow it.
    settings: dict = {**PATIENT, "cache_mib": 1, "home_mib": 32, "heap_mib": 1}
    fresh_cluster = False
    node_count = 3
    # 2 MiB each, for the variant that needs most: two memif ports a node, two workers.
    hugepages = 320
    cluster: Cluster | None = None

    def set_up_suite(self) -> None:
        """Huge pages, namespaces, and the cluster."""
        for program in ("telepaged", "telepage", "dts/telepage-load"):
            self.program(program)
        is_xdp = self.variant["pmd"] == XDP
        if is_xdp and (reason := xdp_is_missing()):
            self.skip(reason)
        is_pci = self.variant["pmd"] == PCI
        if is_pci and len(PCI_DEVICES) < self.node_count:
            self.skip(f"TP_PCI names {len(PCI_DEVICES)} devices of {self.node_count}")
        self.lab.hugepages(self.hugepages)
        self.network = Network(self.lab, self.node_count, port_count=0 if is_pci else 1,
                               mtu=XDP_MTU if is_xdp else 9000)
        self.cluster = None
        self.loads: list[Load] = []
        self._files = 0
        if not self.fresh_cluster:
            self.cluster_start()

    def tear_down_suite(self) -> None:
        """Nodes must stop in order, too."""
        if self.cluster is not None and not self.fresh_cluster:
            self.cluster.stop()

    def set_up_test_case(self) -> None:
        """A new cluster for those that spoil it."""
        if self.fresh_cluster:
            self.cluster_start()

    def tear_down_test_case(self) -> None:
        """End what the case left running."""
        for load in self.loads:
            if load.process.is_running:
                load.process.kill()
        self.loads.clear()
        if self.fresh_cluster:
            for process in self.cluster.processes.values():
                if process.is_running:
                    process.kill()

    def cluster_start(self) -> None:
        """Start the nodes in the variant that is being tested."""
        self.cluster = Cluster(self.lab, self.network, self.build,
                               workers=self.variant["workers"], pmd=self.variant["pmd"],
                               settings=self.settings)
        self.cluster.start()

    # -- what cases are made of

    def region(self, name: str, size: str = "1M", *words: object) -> str:
        """Create a region from node 1; its name."""
        self.cluster.command(1, "region", "create", name, "--size", size, *words)
        return name

    def load(self, number: int, mode: str, region: str, **options: object) -> Load:
        """Start a load that does not outlive the case."""
        load = self.cluster.start_load(mode, number, mode, region, **options)
        self.loads.append(load)
        return load

    def truth(self) -> Path:
        """A new file for what is true of the words of a load."""
        self._files += 1
        return self.lab.dir / f"truth{self._files}"

    def data(self, size: int) -> Path:
        """A file of random bytes."""
        self._files += 1
        path = self.lab.scratch() / f"data{self._files}"
        path.write_bytes(os.urandom(size))
        return path

    def verify_get(self, number: int, region: str, wanted: Path, offset: int = 0) -> None:
        """Read a file back on a node and compare."""
        target = self.lab.scratch() / f"get{number}"
        self.cluster.command(number, "get", region, target, "--offset", offset, "--bytes",
                             wanted.stat().st_size)
        self.verify(filecmp.cmp(wanted, target, shallow=False),
                    f"node {number} reads something else than was put")

    def word(self, number: int, region: str, offset: int) -> int:
        """A word of a region, read on a node."""
        return int(self.cluster.command(number, "atomic", region, offset, "load"))

    def verify_clean(self, result: dict) -> None:
        """A load that saw no wrong value and no VOID."""
        self.verify(result["errors"] == 0, f"{result['mode']}: {result['error']}")
        self.verify(not result["reasons"] and result["unknown"] == 0,
                    f"{result['mode']} ended VOID: {result['reasons']}")

    def command_refused(self, number: int, *words: object) -> str:
        """Run a command that must fail in order; what it says."""
        netns = self.network.node(number).netns
        text = run("ip", "netns", "exec", netns, "sh", "-c",
                   '"$@" 2>&1; echo "status $?"', "sh", self.build / "telepage", "--prefix",
                   self.cluster.prefixes[number], *words)
        status = int(text.rsplit("status ", 1)[1])
        self.verify(status in (1, 2), f"{words}: status {status}: {text}")
        self.verify("telepage: " in text, f"{words}: no message: {text}")
        return text

    def verify_alive(self) -> None:
        """Every node answers and is whole."""
        for number, process in self.cluster.processes.items():
            self.verify(process.is_running, f"node {number} ended:\n{process.output()}")
            try:
                self.cluster.await_members(number, list(self.cluster.processes))
            except LabError as error:
                self.verify(False, str(error))
