# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""A node that stands still while the cluster goes on."""

import time

from cluster_suite import ClusterSuite
from lab import LabError, wait_until
from suite import Failure

ATTEMPTS = 3


class TestStoppedNode(ClusterSuite):
    """SIGSTOP and SIGCONT of a node: its copies must not be believed any more."""

    fresh_cluster = True
    settings = {**ClusterSuite.settings, "peer_timeout_ms": 120, "lease_ms": 60,
                "fence_margin_ms": 20}

    def stopped_for(self, seconds: float) -> None:
        """Words change on node 1 while node 3, whose programs watch them, is stopped.

        Where something else kept nodes 1 and 2 off their cores until they looked dead to
        each other there is nothing to be learned: try again.
        """
        for attempt in range(ATTEMPTS):
            try:
                self.stopped_once(seconds)
                return
            except (LabError, Failure):
                fenced = sum(self.cluster.telemetry(number)["fenced"] for number in (1, 2))
                if fenced == 0 or attempt == ATTEMPTS - 1 or self.wrong_values():
                    raise
                self.tear_down_test_case()
                self.cluster_start()

    def wrong_values(self) -> bool:
        """Whether a program that runs, or ran, has seen what it must not see."""
        return any(load.stop()["errors"] for load in self.loads)

    def stopped_once(self, seconds: float) -> None:
        """One attempt."""
        region, truth = self.region("stale", "1M", "--nodes", "1,2"), self.truth()
        write = self.load(1, "write", region, words=512, stride=64, truth=truth)
        watch = [self.load(3, "watch", region, words=512, stride=64, truth=truth,
                           timeout=1000) for _ in range(2)]
        witness = self.load(2, "watch", region, words=512, stride=64, truth=truth)
        time.sleep(0.3)
        self.cluster.processes[3].send_signal(19)
        before = self.word(2, region, 0)
        time.sleep(seconds)
        after = self.word(2, region, 0)
        self.cluster.processes[3].send_signal(18)
        self.verify(after > before, f"the cluster stood still: {before} to {after}")
        self.cluster.await_members(3, [1, 2, 3])
        # It reads again, and what it reads is of now.
        wait_until(lambda: self.word(3, region, 0) > after, 20, "word of today on node 3")
        time.sleep(0.3)
        for load in watch + [witness, write]:
            result = load.stop()
            self.verify(result["errors"] == 0, f"{result['mode']}: {result['error']}")
            self.verify(result["done"] > 0, f"{result['mode']} did nothing")
        self.verify(not self.cluster.processes[3].popen.poll(), "node 3 ended")

    def test_node_stopped_for_long_serves_nothing_stale(self) -> None:
        """Long enough that the others go on without it.

        Steps:
            Node 1 counts 512 words up; programs on node 3 read them, most often from
            node 3's copies. Stop node 3 for 1.5 s, meanwhile words change; continue it.
        Verify:
            No read that began after a change had ended yields an older value, before,
            while and after the node stood still. Node 3 was fenced, joins again, and
            reads words of today.
        """
        self.stopped_for(1.5)
        self.verify(self.cluster.telemetry(3)["joins"] > 1, "node 3 was never fenced")

    def test_node_stopped_again_and_again_serves_nothing_stale(self) -> None:
        """Stops around the length of a lease.

        Steps:
            As above, but stop node 3 for 20 to 140 ms, six times, at the end for 0.5 s.
        Verify:
            As above.
        """
        for milliseconds in (20, 45, 60, 80, 110, 140):
            self.cluster.processes[3].send_signal(19)
            time.sleep(milliseconds / 1000)
            self.cluster.processes[3].send_signal(18)
            time.sleep(0.05)
        self.cluster.await_members(3, [1, 2, 3])
        self.stopped_for(0.5)
