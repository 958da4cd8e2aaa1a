# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Frames that are nobody's: a node that gets a million of them serves as before."""

import sys
from pathlib import Path

from cluster_suite import MIB, ClusterSuite

FRAMES = 1_000_000
COUNT = 20000
WORDS = 8
SCRIPT = Path(__file__).resolve().parent.parent / "load" / "foreign.py"


class TestForeign(ClusterSuite):
    """Random and damaged frames at a living node."""

    variants = ({"pmd": "af_packet", "workers": 1}, {"pmd": "af_packet", "workers": 2})

    def test_million_foreign_frames_change_nothing(self) -> None:
        """Drops, counted by reason.

        Steps:
            While two nodes increment words of a striped region, send a million frames into
            the port of node 1: a third are frames of its own traffic, damaged, the
            others random. Then put and read a file.
        Verify:
            The increments end without an error or VOID and their sum is exact, the file is
            whole on every node, no session was lost and nobody was fenced; what was
            dropped is counted under several reasons.
        """
        region, truth = self.region("words", "1M", "--distribution", "striped"), self.truth()
        before = self.cluster.telemetry(1)
        loads = [self.load(number, "increment", region, words=WORDS, count=COUNT, window=4,
                           timeout=30000, truth=truth) for number in (1, 2)]
        flood = self.lab.start("foreign", sys.executable, SCRIPT, "p1.0",
                               self.network.node(1).macs[0], FRAMES, 7,
                               netns=self.network.bridge_netns)
        self.verify(flood.wait(80) == 0, flood.output())
        sent, seen = (int(word) for word in flood.output().split())
        self.verify(sent == FRAMES and seen > 0, f"{sent} sent, {seen} seen to be damaged")
        for load in loads:
            self.verify_clean(load.result())
        totals = [self.word(3, region, 8 * i) for i in range(WORDS)]
        self.verify(totals == [2 * COUNT // WORDS] * WORDS, f"totals: {totals}")
        after = self.cluster.telemetry(1)
        data = self.data(2 * MIB)
        file = self.region("file", "2M", "--distribution", "striped")
        self.cluster.command(1, "put", file, data)
        for number in self.cluster.numbers:
            self.verify_get(number, file, data)
        dropped = {name: after[name] - before[name] for name in after
                   if name.startswith("drop_") and after[name] != before[name]}
        self.verify(len(dropped) >= 5 and sum(dropped.values()) > FRAMES / 20,
                    f"dropped: {dropped}")
        self.verify(after["epoch"] == before["epoch"], "the node was fenced")
        self.verify(after["sessions_reset"] == before["sessions_reset"], "a session was lost")
