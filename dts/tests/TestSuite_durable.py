# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Durable regions: what was persisted is there when their home comes back."""

import re
import shutil
import signal
import struct
import time

import suite
from cluster_suite import MIB, ClusterSuite

KILLS, KILLS_FULL = 4, 100
# On memif only node 2 finds the others again.
HOME = 2
PAGE = 4096
WORDS = 32
TRUTH = struct.Struct("<2Q")
BEGUN_PAUSE = (0.2, 1.5)


class TestDurable(ClusterSuite):
    """Every node has a pool; the regions are at home on node 2.

    On memif with --full only: node 3 is a memif client of node 2, and does not always find
    a server again that has gone ("Wrong ring").
    """

    variants = ({"pmd": "af_packet", "workers": 1}, {"pmd": "af_packet", "workers": 2},
                *([{"pmd": "memif", "workers": 1}, {"pmd": "memif", "workers": 2}]
                  if suite.FULL else []))
    settings = {**ClusterSuite.settings, "pool_mib": 64}
    fresh_cluster = True
    case_seconds = 7200 if suite.FULL else 240

    def set_up_suite(self) -> None:
        """Chance is the run's."""
        self.chance = suite.chance(11)
        super().set_up_suite()

    # -- what cases are made of

    def durable(self, name: str, size: str = "1M") -> str:
        """A durable region at home on node 2."""
        return self.region(name, size, "--distribution", "home", "--nodes", HOME,
                           "--durability", "local")

    def kill(self, *numbers: int) -> None:
        """kill -9."""
        for number in numbers:
            self.cluster.processes[number].send_signal(signal.SIGKILL)
        for number in numbers:
            self.cluster.processes.pop(number).wait()

    def all_together(self) -> None:
        """Wait until every node reaches all others."""
        for number in self.cluster.numbers:
            self.cluster.await_members(number, self.cluster.numbers)

    def home_returns(self) -> None:
        """Start the home's successor."""
        self.cluster.start_node(HOME)
        self.all_together()

    def verify_truth(self, region: str, truth, first: int) -> None:
        """Every word of a load is what was persisted, or a later value."""
        target = self.lab.scratch() / "words"
        self.cluster.command(1, "get", region, target)
        contents = target.read_bytes()
        for word, (begun, ended) in enumerate(TRUTH.iter_unpack(truth.read_bytes())):
            value, = struct.unpack_from("<Q", contents, (first + word) * PAGE)
            self.verify(ended <= value <= begun,
                        f"word {word} is {value}, was persisted as {ended}, written as {begun}")

    def addresses(self) -> list[str]:
        """Addresses of the durable regions, which tell that they are."""
        listed = self.cluster.command(1, "region", "ls")
        found = re.findall(r" local +(0x[89ab][0-9a-f]{11}) ", listed)
        self.verify(len(found) == listed.count(" local ") > 0, f"region ls says {listed}")
        return found

    # -- cases

    def test_persisted_region_outlives_its_home(self) -> None:
        """One kill of the home.

        Steps:
            Put a file into a durable region from node 1, persist it from node 3, kill -9 its
            home, start that again.
        Verify:
            The region has an address of the durable range and says that it is durable; every
            node reads the file back, the home from its pool. What cannot be so durable is
            refused by name.
        """
        region = self.durable("lasts")
        wanted = self.data(MIB)
        listed = self.cluster.command(1, "region", "ls")
        self.verify(" local " in listed, f"region ls says {listed}")
        self.addresses()
        self.cluster.command(1, "put", region, wanted)
        self.cluster.command(3, "persist", region)
        self.kill(HOME)
        self.home_returns()
        for number in (1, HOME, 3):
            self.verify_get(number, region, wanted)
        loaded = self.cluster.telemetry(HOME)["pages_loaded"]
        self.verify(loaded == MIB // PAGE, f"{loaded} pages were taken from the pool")
        self.cluster.command(3, "put", region, self.data(PAGE))
        self.cluster.command(3, "persist", region, "--bytes", PAGE)
        pool = self.cluster.telemetry(HOME, "/tp/pmem/stats")
        self.verify(pool["pages"] == 1 and pool["bytes"] == PAGE and pool["regions"] == 1
                    and pool["errors"] == pool["damaged"] == 0, f"the pool says {pool}")
        said = self.command_refused(1, "region", "create", "more", "--size", "1M",
                                    "--durability", "replicated-later")
        self.verify("replicated" in said, said)
        said = self.command_refused(1, "region", "create", "large", "--size", "1G", "--nodes",
                                    HOME, "--durability", "local")
        self.verify("no room" in said, said)

    def test_persisted_region_outlives_all_nodes_and_the_store(self) -> None:
        """The machine is gone, but for the pools.

        Steps:
            Persist a file, kill -9 all nodes, remove the store, start all nodes.
        Verify:
            The region is in the new catalogue, at its address, and reads as it was.
        """
        region = self.durable("lasts")
        wanted = self.data(MIB)
        self.cluster.command(3, "put", region, wanted)
        self.cluster.command(1, "persist", region)
        before = self.addresses()
        self.kill(*self.cluster.numbers)
        shutil.rmtree(self.cluster.dir / "store")
        self.cluster.start()
        after = self.addresses()
        self.verify(before == after, f"it was at {before}, is at {after}")
        for number in self.cluster.numbers:
            self.verify_get(number, region, wanted)

    def test_home_that_leaves_in_order_loses_nothing(self) -> None:
        """SIGTERM instead of kill -9.

        Steps:
            Put a file from the home itself, which nobody persists; stop the home in order,
            start it again.
        Verify:
            Nothing of it is lost.
        """
        region = self.durable("lasts")
        wanted = self.data(MIB)
        self.cluster.command(HOME, "put", region, wanted)
        self.cluster.processes[HOME].send_signal(signal.SIGTERM)
        process = self.cluster.processes.pop(HOME)
        self.verify(process.wait(10) == 0, f"node {HOME}: {process.output()}")
        self.home_returns()
        self.verify_get(3, region, wanted)

    def test_nothing_persisted_is_lost_by_kills(self) -> None:
        """kill -9 of the home under load, again and again.

        Steps:
            Programs on node 1 and 3 write rising values into words of a durable region, persist
            some, and note for each word what they have begun and what was persisted. Kill -9
            the home at any time, start its successor, --count times.
        Verify:
            They never read less than what was persisted, nor what was not written; nor does
            the region, after the last kill.
        """
        region = self.durable("lasts")
        kills = suite.COUNT or (KILLS_FULL if suite.FULL else KILLS)
        loads = []
        for place, number in enumerate((1, 3)):
            truth = self.truth()
            load = self.load(number, "persist", region, words=WORDS, stride=PAGE,
                             offset=place * WORDS * PAGE, seed=number + 1, timeout=1000,
                             truth=truth, reattach=True)
            load.truth = truth
            loads.append(load)
        for kill in range(kills):
            time.sleep(self.chance.uniform(*BEGUN_PAUSE))
            self.kill(HOME)
            self.home_returns()
            for load in loads:
                self.verify(load.process.is_running, f"kill {kill}: a program ended:\n"
                            f"{load.process.output()}")
        time.sleep(1)
        for load in loads:
            result = load.stop()
            self.verify(result["errors"] == 0, result["error"])
            self.verify(result["done"] > 0, f"nothing was persisted: {result}")
            print(f"        {result['done']} times persisted, VOID: {result['reasons']}",
                  flush=True)
        self.kill(HOME)
        self.home_returns()
        for place, load in enumerate(loads):
            self.verify_truth(region, load.truth, place * WORDS)
