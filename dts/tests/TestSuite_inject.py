# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Faults that nodes are told to have, and their end."""

import json
import time

import suite
from cluster import XDP
from cluster_suite import ClusterSuite
from lab import wait_until


class TestInject(ClusterSuite):
    """telepage inject on real ports."""

    # Faults are made beneath the sessions, the same for every port and worker.
    variants = ({"pmd": "af_packet", "workers": 1}, {"pmd": "memif", "workers": 2},
                *([{"pmd": XDP, "workers": 1}] if suite.FULL else []))
    settings = {**ClusterSuite.settings, "inject": "yes"}
    # Frames that are held back are buffers more.
    hugepages = 512

    def inject(self, number: int, *words: object) -> None:
        """Tell a node to fail."""
        self.cluster.command(number, "inject", *words)

    def tear_down_test_case(self) -> None:
        """No fault outlives its case."""
        super().tear_down_test_case()
        for number, process in self.cluster.processes.items():
            if process.is_running:
                self.cluster.command(number, "inject", "clear")

    def under_load(self, name: str, *words: object, void: str = "") -> None:
        """Inject on node 1 while two nodes count in node 2's memory, then clear.

        void: what node 1's accesses must read meanwhile; "" where they may go on.
        """
        region = self.region(f"under.{name}", "64K", "--distribution", "home", "--nodes", "2")
        spare, truth = self.region(f"spare.{name}", "64K", "--nodes", "2"), self.truth()
        loads = [self.load(number, "increment", region, words=64, stride=512, window=8,
                           timeout=3000, truth=truth) for number in (1, 2)]
        watch = self.load(3, "watch", region, words=64, stride=512, timeout=3000, truth=truth)
        self.inject(1, *words)
        if void:
            text = self.command_refused(1, "--timeout", 3000, "atomic", spare, 0, "add", 1)
            self.verify(void in text, f"{name}: node 1 reads {text}")
        time.sleep(0.5)
        self.inject(1, "clear")
        self.verify_alive()
        time.sleep(0.2)
        for load in loads + [watch]:
            result = load.stop()
            self.verify(result["errors"] == 0, f"{name}: {result['mode']}: {result['error']}")
            self.verify(result["done"] > 0, f"{name}: {result['mode']} did nothing")
        for number in self.cluster.numbers:
            self.cluster.command(number, "atomic", region, 0, "add", 1)
        words_seen = {self.word(number, region, 0) for number in self.cluster.numbers}
        self.verify(len(words_seen) == 1, f"{name}: nodes differ: {words_seen}")
        self.cluster.command(1, "region", "rm", region)
        self.cluster.command(1, "region", "rm", spare)

    def test_peer_cut_off_is_void_until_cleared(self) -> None:
        """Node 2 is out of node 1's reach in each way there is.

        Steps:
            While nodes 1 and 2 count and node 3 watches: unreachable, timeout, partition
            and partition one way of node 2 on node 1; then clear.
        Verify:
            Node 1 reads the reason that goes with the fault. Nobody sees a wrong value.
            After the clearing all nodes reach each other, and agree.
        """
        self.under_load("unreachable", "unreachable", "--peer", 2, void="unreachable")
        self.under_load("timeout", "timeout", "--peer", 2, void="timeout")
        self.under_load("partition", "partition", "--peer", 2, void="unreachable")
        self.under_load("one-way", "partition", "--peer", 2, "--one-way", void="unreachable")

    def test_bad_network_gives_no_wrong_value(self) -> None:
        """Frames damaged, lost, doubled, reordered and late.

        Steps:
            As above, with 2 % of frames damaged, 5 % lost, 20 % doubled, 20 %
            reordered, and 1 ms later to node 2.
        Verify:
            As above, but accesses may go on; damaged frames were dropped by their CRC; the
            node tells how many frames met each fault.
        """
        for kind, rate in (("corruption", 0.02), ("loss", 0.05), ("duplicate", 0.2),
                           ("reorder", 0.2)):
            self.under_load(kind, kind, "--rate", rate)
        dropped = sum(self.cluster.telemetry(number)["drop_crc"] for number in (1, 2))
        self.verify(dropped > 0, "no damaged frame was dropped")
        self.under_load("slow", "slow", "--peer", 2, "--delay", 1000)
        done = self.cluster.telemetry(1, "/tp/inject/stats")
        for name in ("corrupted", "lost", "duplicated", "reordered", "delayed"):
            self.verify(done[name] > 0, f"node 1 tells of no frames {name}: {done}")

    def test_region_denied_is_void_and_unchanged(self) -> None:
        """Accesses of one node to one region are refused.

        Steps:
            Put a file on node 1. Inject permission, then corruption, for the region;
            add to a word on node 1; change the file on node 2; clear.
        Verify:
            Node 1's accesses are refused with that reason while node 2's go on, and
            after the clearing node 1 reads what node 2 put and nothing of its own.
        """
        for kind in ("permission", "corruption"):
            region, data = self.region(f"deny.{kind}", "256K"), self.data(256 << 10)
            self.cluster.command(1, "put", region, data)
            self.inject(1, kind, "--region", region)
            listed = json.loads(self.cluster.command(1, "--json", "inject", "list"))
            self.verify([entry["kind"] for entry in listed] == [kind], f"listed: {listed}")
            text = self.command_refused(1, "atomic", region, 0, "add", 1)
            self.verify(kind in text, f"{kind}: node 1 reads {text}")
            self.verify_get(2, region, data)
            data = self.data(256 << 10)
            self.cluster.command(2, "put", region, data)
            self.inject(1, "clear")
            self.verify_get(1, region, data)
            self.cluster.command(1, "region", "rm", region)

    def test_fault_that_makes_no_sense_is_refused(self) -> None:
        """Wrong words, unknown peers and regions.

        Steps:
            Inject faults that lack something, or name what there is not.
        Verify:
            Each is refused with a message; nothing is injected.
        """
        for words in (("nonsense",), ("loss",), ("loss", "--rate", 2), ("slow", "--peer", 2),
                      ("unreachable", "--peer", 9), ("permission", "--region", "none"),
                      ("crash", "--peer", 2), ()):
            self.command_refused(1, "inject", *words)
        self.verify(not self.cluster.command(1, "inject", "list").strip(), "one was taken")

    def test_node_crash_ends_it_and_reset_heals(self) -> None:
        """A node that is told to crash.

        Steps:
            Node 1 counts in node 2's memory. Node 2 crashes with its fifth request from
            its own program; start it again, and reset the region.
        Verify:
            Node 2 ended as by SIGKILL. Its memory is VOID until the reset, then counts
            from 0 on all nodes.
        """
        region = self.region("crash", "64K", "--distribution", "home", "--nodes", "2")
        self.cluster.command(1, "atomic", region, 0, "add", 1)
        self.inject(2, "crash", "--after", 5)
        self.load(2, "churn", region, bytes=65536, timeout=1000)
        process = self.cluster.processes[2]
        wait_until(lambda: not process.is_running, 20, "end of node 2")
        self.verify(process.wait(1) == -9, f"node 2 ended with {process.wait(1)}")
        self.cluster.start_node(2)
        self.verify_alive()
        text = self.command_refused(1, "atomic", region, 0, "add", 1)
        self.verify("crashed" in text, f"node 1 reads {text}")
        self.cluster.command(1, "region", "reset", region)
        for number in self.cluster.numbers:
            self.cluster.command(number, "atomic", region, 0, "add", 1)
        self.verify(self.word(3, region, 0) == 3, "the counter did not start from 0")
        self.cluster.command(1, "region", "rm", region)
