# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""What every port must do, in so few steps that slow machines take seconds."""

import time

from cluster import PCI, PCI_DEVICES, TAP, XDP
from cluster_suite import MIB, ClusterSuite

TOLD = {"unreachable", "node crashed", "partition"}
COUNT = 2000
WORDS = 8


class TestPort(ClusterSuite):
    """One cluster, used, then hurt. af_packet and memif pass the longer suites instead."""

    variants = tuple({"pmd": pmd, "workers": workers}
                     for pmd in (XDP, TAP, *([PCI] if PCI_DEVICES else []))
                     for workers in ((1, 2) if pmd == PCI else (1,)))

    def port_stats(self, number: int) -> dict:
        """What ethdev counts at a node."""
        return self.cluster.telemetry(number, "/ethdev/stats,0")

    def test_port_carries_file_and_counts_no_error(self) -> None:
        """Pages in frames as large as the port has them.

        Steps:
            Put 3 MiB of random bytes into a striped region from node 1, read them on all
            nodes.
        Verify:
            Every node reads what was put; every port has sent and received, and counts no
            error and no lack of buffers.
        """
        region, data = self.region("file", "3M", "--distribution", "striped"), self.data(3 * MIB)
        self.cluster.command(1, "put", region, data)
        for number in self.cluster.numbers:
            self.verify_get(number, region, data)
        for number in self.cluster.numbers:
            stats = self.port_stats(number)
            self.verify(stats["ipackets"] > 0 and stats["opackets"] > 0, f"no frames: {stats}")
            self.verify(not any(stats[name] for name in ("ierrors", "oerrors", "rx_nombuf")),
                        f"node {number} counts errors of its port: {stats}")

    def test_port_atomics_are_exact_while_a_program_dies(self) -> None:
        """Small messages both ways, and a program that is killed among them.

        Steps:
            On each node 2,000 increments over 8 words; a program that reads, writes and
            pins on node 1 is killed meanwhile.
        Verify:
            No read is out of the range that is true at its time; the totals are exact on
            every node; node 1 has removed the dead program.
        """
        region, truth = self.region("counters"), self.truth()
        victim = self.load(1, "mix", self.region("other"), seed=1)
        loads = [self.load(number, "increment", region, words=WORDS, count=COUNT, window=8,
                           timeout=30000, truth=truth) for number in self.cluster.numbers]
        self.verify(victim.process.is_running, victim.process.output())
        victim.process.kill()
        for load in loads:
            result = load.result(90)
            self.verify_clean(result)
            self.verify(result["done"] == COUNT, f"{result['done']} increments, not {COUNT}")
        for number in self.cluster.numbers:
            totals = [self.word(number, region, 8 * i) for i in range(WORDS)]
            self.verify(totals == [3 * COUNT // WORDS] * WORDS, f"node {number}: {totals}")
        node = self.cluster.telemetry(1)
        self.verify(node["clients_added"] == node["clients_removed"], "the dead one is still there")
        self.verify(node["protocol_errors"] == 0 and node["bad_messages"] == 0, "bad messages")

    def test_port_node_killed_is_void_and_comes_back(self) -> None:
        """kill -9 of a node, and its next life on the same port.

        Steps:
            Programs on nodes 1 and 3 increment words at home on node 2, and words of their
            own; kill node 2; start it again; use its memory after a reset of the region.
        Verify:
            Who waits for node 2 is told; the others see no VOID and exact totals; the new
            life of node 2 reaches everybody and is reached.
        """
        lost = self.region("lost", "1M", "--distribution", "home", "--nodes", "2")
        kept = self.region("kept", "1M", "--distribution", "striped", "--nodes", "1,3")
        waiting = [self.load(number, "increment", lost, words=8, window=8, until_void=1)
                   for number in (1, 3)]
        going_on = [self.load(number, "increment", kept, words=8, window=4, timeout=30000)
                    for number in (1, 3)]
        time.sleep(0.3)
        self.cluster.processes.pop(2).kill()
        for load in waiting:
            result = load.result(30)
            self.verify(result["reasons"] and set(result["reasons"]) <= TOLD,
                        f"not told: {result['reasons']}")
        results = [load.stop() for load in going_on]
        for result in results:
            self.verify_clean(result)
        totals = [self.word(3, kept, 8 * i) for i in range(8)]
        self.verify(sum(totals) == sum(result["done"] for result in results), f"{totals}")
        self.cluster.start_node(2)
        for number in self.cluster.numbers:
            self.cluster.await_members(number, self.cluster.numbers)
        self.cluster.command(1, "region", "reset", lost)
        for number in self.cluster.numbers:
            self.cluster.command(number, "atomic", lost, 0, "add", 1)
        self.verify(self.word(2, lost, 0) == 3, "the region is not usable after its reset")
