# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Programs that attach as a DPDK secondary process."""

import random
import time

from cluster_suite import ClusterSuite
from lab import Process

KILLS = 8


class TestSecondary(ClusterSuite):
    """Their exit, their death and their --help never disturb the node."""

    def set_up_suite(self) -> None:
        """The example has to be there."""
        self.example = self.program("examples/example_shared_array")
        super().set_up_suite()

    def secondary(self, number: int, *words: object) -> Process:
        """Start the example as a secondary of a node."""
        return self.lab.start(
            f"array{number}-{time.monotonic_ns()}", self.example, "--file-prefix",
            self.cluster.prefixes[number], "--no-pci", *words,
            netns=self.network.node(number).netns)

    def undisturbed(self) -> list:
        """Loads that must not notice anything."""
        region, truth = self.region(f"calm{time.monotonic_ns()}"), self.truth()
        return [self.load(1, "increment", region, words=8, window=4, truth=truth),
                self.load(2, "watch", region, words=8, truth=truth)]

    def verify_undisturbed(self, loads: list) -> None:
        """They saw nothing, and the ports still carry frames."""
        for load in loads:
            self.verify_clean(load.stop())
        self.verify_alive()
        data = self.data(1 << 20)
        region = self.region(f"after{time.monotonic_ns()}")
        self.cluster.command(1, "put", region, data)
        self.verify_get(2, region, data)

    def test_secondary_fills_and_sums_an_array(self) -> None:
        """The example does its work, and ends.

        Steps:
            Fill an array from a secondary of node 1, sum it up in secondaries of nodes
            2 and 3, one after the other; --help and a wrong command line as well.
        Verify:
            The sums are right; the nodes and other programs notice nothing.
        """
        calm = self.undisturbed()
        region = self.region("array", "64K")
        self.verify((fill := self.secondary(1, "--", region, "fill")).wait(30) == 0,
                    fill.output())
        wanted = sum(i * i for i in range(8192)) % (1 << 64)
        for number in (2, 3):
            process = self.secondary(number, "--", region, "sum")
            self.verify(process.wait(30) == 0, process.output())
            self.verify(process.output().split()[-1] == str(wanted), process.output())
        for words in (("--help",), ("--", "nonsense"), ("--nonsense",)):
            process = self.secondary(1, *words)
            process.wait(30)
        self.verify_undisturbed(calm)

    def test_secondary_killed_at_work_disturbs_nobody(self) -> None:
        """Killed after it has attached, and while it attaches.

        Steps:
            8 times: start the example on node 1, kill it after a random time of up to
            0.4 s.
        Verify:
            The node, its ports and programs attached by socket notice nothing; a later
            secondary either works, or is refused with a message (when the killed one
            was inside the gate), and never hangs.
        """
        calm = self.undisturbed()
        region = self.region("victim", "1M")
        chance = random.Random(7)
        for _ in range(KILLS):
            victim = self.secondary(1, "--", region, "fill")
            time.sleep(chance.uniform(0, 0.4))
            victim.kill()
        self.verify_undisturbed(calm)
        later = self.secondary(1, "--", region, "sum")
        status = later.wait(40)
        self.verify(status == 0 or "cannot attach" in later.output(),
                    f"status {status}: {later.output()}")
