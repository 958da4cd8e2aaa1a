# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""A node that leaves in order with many changes that are at home elsewhere."""

import os
import time

from cluster import PATIENT
from cluster_suite import MIB, ClusterSuite

CACHE = 192 * MIB
PAGE = 4096


class TestLeave(ClusterSuite):
    """SIGTERM of a node whose cache is full of modified copies."""

    fresh_cluster = True
    node_count = 2
    settings = {**PATIENT, "cache_mib": 256, "home_mib": 256, "heap_mib": 1}
    hugepages = 1200

    def _leave(self, hogs: int) -> tuple[float, int]:
        """Fill node 2's cache with changes and stop it beside programs that compute.

        How long it took, and how many pages were lost.
        """
        region = self.region("big", f"{CACHE // MIB}M", "--distribution", "home", "--nodes",
                             "1")
        words, truth = CACHE // PAGE, self.truth()
        write = self.load(2, "write", region, words=words, stride=PAGE, truth=truth,
                          count=words).result(60)
        self.verify_clean(write)
        before = self.cluster.telemetry(1)
        cpus = sorted(os.sched_getaffinity(0))
        computing = [self.lab.start(f"hog{hog}", "taskset", "-c", cpus[hog % len(cpus)], "sh",
                                    "-c", "while :; do :; done") for hog in range(hogs)]
        try:
            # Time to find out that the cores are crowded.
            time.sleep(0.5 if hogs else 0)
            begun = time.monotonic()
            node = self.cluster.processes.pop(2)
            self.verify(node.stop(seconds=5) == 0, "status is not 0")
            seconds = time.monotonic() - begun
        finally:
            for hog in computing:
                hog.kill()
        # What had no time does not keep it from telling that it has gone.
        self.verify("could not be left" not in node.output(), node.output())
        self.verify(seconds < 2, f"node 2 took {seconds:.2f} s to leave")
        self.cluster.await_members(1, [1])
        watch = self.load(1, "watch", region, words=words, stride=PAGE, truth=truth,
                          count=words, until_void=3000)
        result = watch.result(60)
        lost = self.cluster.telemetry(1)["pages_lost"] - before["pages_lost"]
        print(f"        left in {seconds:.2f} s, {lost} of {words} pages lost", flush=True)
        self.verify(result["errors"] == 0, result["error"])
        self.verify(set(result["reasons"]) <= {"node crashed"}, f"VOID: {result['reasons']}")
        self.verify(lost or not result["reasons"], f"VOID, not lost: {result['reasons']}")
        return seconds, lost

    def test_node_with_full_cache_leaves_its_changes(self) -> None:
        """What it has no time to give back is VOID, and nothing is old.

        Steps:
            Write each page of 192 MiB at home on node 1 from node 2, so that node 2 has the
            only current copies. Stop node 2 by SIGTERM; read everything on node 1.
        Verify:
            Node 2 ends with status 0 within 2 s. Each word reads the value written, or
            VOID because the node has gone; which is at most what did not fit in its time.
        """
        self._leave(hogs=0)

    def test_node_leaves_its_changes_on_crowded_cores(self) -> None:
        """The same while a program computes on every core.

        Steps:
            As above, with an endless loop on each of the cores from before the signal on.
        Verify:
            As above.
        """
        self._leave(hogs=len(os.sched_getaffinity(0)))
