# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Programs that are killed while they use shared memory."""

import random
import time

from cluster_suite import ClusterSuite
from lab import LabError, wait_until

KILLS = 20


class TestKillClient(ClusterSuite):
    """kill -9 of attached programs: nobody else notices, nothing leaks."""

    def idle(self, number: int) -> dict:
        """What a node holds once nothing is under way."""
        usage: dict = {}

        def settled() -> bool:
            nonlocal usage
            usage = self.cluster.telemetry(number, "/tp/node/usage")
            return not any(value for name, value in usage.items() if not name.endswith("_slots"))

        try:
            wait_until(settled, 10, "rest")
        except LabError:
            self.verify(False, f"node {number} does not come to rest: {usage}")
        return usage

    def test_client_killed_under_load_leaks_nothing(self) -> None:
        """Twenty programs killed in the middle of everything.

        Steps:
            20 times: start a program on node 1 that reads, writes, adds and pins, with
            accesses in flight, and kill it at a random instant. Meanwhile programs on
            nodes 1 and 2 increment and watch words of their own.
        Verify:
            Those see no wrong value and no VOID. In the end the node counts no client,
            holds no request, guard or quarantined slot, and every slot of the cache can
            be used; 60 more programs in turn find room.
        """
        region, truth = self.region("kill", "4M"), self.truth()
        private = self.region("unharmed")
        others = [self.load(1, "watch", private, words=8, truth=truth),
                  self.load(1, "increment", private, words=8, window=4, timeout=30000,
                            truth=truth),
                  self.load(2, "increment", private, words=8, window=4, timeout=30000,
                            truth=truth)]
        chance = random.Random(2)
        for seed in range(KILLS):
            victim = self.load(1, "mix", region, seed=seed)
            time.sleep(chance.uniform(0.005, 0.15))
            self.verify(victim.process.is_running, victim.process.output())
            victim.process.kill()
        for load in others:
            self.verify_clean(load.stop())
        wait_until(lambda: self.cluster.telemetry(1)["client_count"] == 0, 10,
                   "end of all clients")
        node = self.cluster.telemetry(1)
        self.verify(node["clients_added"] == node["clients_removed"],
                    f"{node['clients_added']} clients came, {node['clients_removed']} went")
        self.verify(node["protocol_errors"] == 0, "errors of the protocol")
        for number in self.cluster.numbers:
            self.idle(number)
        data = self.data(4 << 20)
        self.cluster.command(1, "put", region, data)
        for number in self.cluster.numbers:
            self.verify_get(number, region, data)
        usage = self.idle(1)
        self.verify(usage["cache_slots"] <= 256, f"{usage['cache_slots']} of 256 slots in use")
        for _ in range(60):
            self.cluster.command(1, "atomic", region, 0, "load")
        self.verify_alive()

    def test_client_stopped_while_it_holds_pages_delays_nobody_for_long(self) -> None:
        """A program that is stopped with accesses in flight, then goes on.

        Steps:
            Stop (SIGSTOP) a program on node 1 that uses everything, three times; put a
            file into the same region from node 2 each time; let it go on.
        Verify:
            The file is put and read in full each time, and the program ends in order.
        """
        region = self.region("stopped", "2M")
        victim = self.load(1, "mix", region, bytes=1 << 20)
        data = self.data(1 << 20)
        for _ in range(3):
            time.sleep(0.1)
            victim.process.send_signal(19)
            self.cluster.command(2, "put", region, data, "--offset", 1 << 20)
            self.cluster.command(2, "put", region, data)
            self.verify_get(3, region, data)
            victim.process.send_signal(18)
        result = victim.stop()
        self.verify(result["errors"] == 0, result["error"])
        self.idle(1)
