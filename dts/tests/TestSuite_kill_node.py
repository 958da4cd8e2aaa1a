# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Nodes that are killed while others use their memory."""

import time

from cluster import XDP
from cluster_suite import ClusterSuite, port_variants
from lab import run

TOLD = {"unreachable", "node crashed", "partition"}


class TestKillNode(ClusterSuite):
    """kill -9 of a node: who waits for it is told, the others go on."""

    variants = port_variants(xdp=True)
    fresh_cluster = True

    def test_node_killed_is_void_and_others_go_on(self) -> None:
        """Programs on both other nodes and on the dead one.

        How long it takes to be told is a figure (void_lat) and, with a clock that
        nobody else uses, a check of the simulator; here other work shares the cores.

        Steps:
            Words at home on node 2 are incremented on all nodes, with deadlines of seconds;
            words at home on nodes 1 and 3 are incremented there. Kill node 2, and start
            it again later.
        Verify:
            Every access that waits for node 2 ends VOID because of the node, none at its
            deadline; programs of nodes 1 and 3 on each other's memory see no VOID, and
            exact totals. The node can come back; its memory is VOID until the region is
            reset.
        """
        lost, kept, waiting, going_on = self.programs_start()
        time.sleep(0.5)
        self.cluster.processes.pop(2).kill()
        for load in waiting:
            result = load.result(20)
            self.verify(result["reasons"], "the dead node's memory still answers")
            self.verify(set(result["reasons"]) <= TOLD, f"not told: {result['reasons']}")
        self.survivors(kept, [load.stop() for load in going_on])
        self.node_returns(lost)

    def has_xdp_program(self, number: int) -> bool:
        """Whether the kernel runs one on the node's device."""
        node = self.network.node(number)
        if not node.devices:
            return False
        return "prog/xdp" in run("ip", "-n", node.netns, "link", "show", node.devices[0])

    def survivors(self, kept: str, results: list) -> None:
        """Programs of nodes 1 and 3 on their own memory have noticed nothing."""
        self.cluster.await_members(1, [1, 3])
        self.cluster.await_members(3, [1, 3])
        for result in results:
            self.verify_clean(result)
        done = sum(result["done"] for result in results)
        totals = [self.word(3, kept, 8 * i) for i in range(8)]
        self.verify(sum(totals) == done, f"{done} increments, totals {totals}")

    def programs_start(self) -> tuple:
        """Regions and the programs that use them."""
        lost = self.region("lost", "1M", "--distribution", "home", "--nodes", "2")
        kept = self.region("kept", "1M", "--distribution", "striped", "--nodes", "1,3")
        truth = self.truth()
        waiting = [self.load(number, "increment", lost, words=8, window=8, until_void=1)
                   for number in (1, 2, 3)]
        going_on = [self.load(number, "increment", kept, words=8, window=4, truth=truth)
                    for number in (1, 3)]
        return lost, kept, waiting, going_on

    def node_returns(self, lost: str) -> None:
        """The killed node comes back with nothing of what it had."""
        self.cluster.start_node(2)
        for number in self.cluster.numbers:
            self.cluster.await_members(number, self.cluster.numbers)
        self.verify("crashed" in self.command_refused(1, "atomic", lost, 0, "load"),
                    "memory that died with its node is not VOID (node crashed)")
        self.cluster.command(1, "region", "reset", lost)
        for number in self.cluster.numbers:
            self.cluster.command(number, "atomic", lost, 0, "add", 1)
        self.verify(self.word(2, lost, 0) == 3, "the region is not usable after its reset")

    def test_node_stopped_in_order_leaves_at_once(self) -> None:
        """SIGTERM instead: nobody has to find out.

        Steps:
            Stop node 2 by SIGTERM, then use a region of nodes 1 and 3.
        Verify:
            It ends with status 0 within 2 s, and takes its program from an AF_XDP device;
            the others drop it from their members and go on; it can come back.
        """
        kept = self.region("kept", "1M", "--nodes", "1,3")
        self.verify(self.has_xdp_program(2) == (self.variant["pmd"] == XDP), "XDP program")
        self.verify(self.cluster.processes.pop(2).stop(seconds=2) == 0, "status is not 0")
        self.verify(not self.has_xdp_program(2), "the node left its XDP program behind")
        self.cluster.await_members(1, [1, 3])
        self.cluster.command(1, "atomic", kept, 0, "add", 5)
        self.verify(self.word(3, kept, 0) == 5, "the others do not go on")
        self.cluster.start_node(2)
        self.cluster.await_members(2, [1, 2, 3])
        self.verify(self.word(2, kept, 0) == 5, "the node that came back reads another value")
