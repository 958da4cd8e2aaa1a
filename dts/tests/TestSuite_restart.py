# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Nodes that die, stand still or are cut off, and come back in any order."""

import itertools
import json
import signal
import struct
import time

import suite
from cluster import XDP
from cluster_suite import ClusterSuite
from lab import LabError, run, wait_until

KILLS, KILLS_FULL = 6, 50
STOPS, STOPS_FULL = 2, 20
STOP_SECONDS, STOP_SECONDS_FULL = 3, 10
# Deadline of one recorded access, and how much later than that a program that
# shares its core may see it end.
TIMEOUT_MS = 2000
LATE_MS = 3000
WORDS = 48
PAUSE = 0.5

# struct record of dts/load/record.h.
RECORD = struct.Struct("<6Q2I3B5x")
DONE, UNKNOWN = 0, 1
LOAD, STORE = 1, 2


def record(invoke: int, response: int, kind: int, outcome: int, operand: int = 0,
           result: int = 0) -> bytes:
    """An operation of one word."""
    return RECORD.pack(invoke, response, operand, 0, result, 1, 1, 0, kind, outcome,
                       kind == LOAD)


class TestRestart(ClusterSuite):
    """Every access yields a value or VOID, and what was seen is one history.

    On memif only node 2 dies, for a memif client does not look for a server that has
    gone, and nothing is cut: there is no bridge.
    """

    variants = ({"pmd": "af_packet", "workers": 2}, {"pmd": "memif", "workers": 2},
                *([{"pmd": "af_packet", "workers": 1}, {"pmd": "memif", "workers": 1},
                   {"pmd": XDP, "workers": 1}] if suite.FULL else []))
    settings = {**ClusterSuite.settings, "lease_ms": 250, "fence_margin_ms": 50,
                "peer_timeout_ms": 500, "guard_lease_ms": 50}
    fresh_cluster = True
    case_seconds = 7200 if suite.FULL else 240

    def set_up_suite(self) -> None:
        """The checker has to be there."""
        self.linearize = self.program("dts/telepage-linearize")
        self.chance = suite.chance(5)
        super().set_up_suite()

    # -- nodes

    @property
    def mortal(self) -> list[int]:
        """Nodes whose successors find the others."""
        return [2] if self.cluster.pmd == "memif" else self.cluster.numbers

    def kill_nodes(self, numbers: tuple) -> None:
        """kill -9, all at once."""
        for number in numbers:
            self.cluster.processes[number].send_signal(signal.SIGKILL)
        for number in numbers:
            self.cluster.processes.pop(number).wait()

    def all_together(self) -> None:
        """Wait until every node reaches all others."""
        for number in self.cluster.numbers:
            self.cluster.await_members(number, self.cluster.numbers)

    def reset(self, region: str) -> None:
        """Empty a region; nodes may still be busy with each other."""

        def done() -> bool:
            try:
                self.cluster.command(1, "region", "reset", region)
            except LabError:
                return False
            return True

        wait_until(done, 20, f"reset of {region}")

    # -- histories

    def recorders(self, region: str) -> list:
        """Programs on every node that note what they do and see."""
        loads = []
        for number in self.cluster.numbers:
            for _ in range(2):
                self._files += 1
                path = self.lab.scratch() / f"record{self._files}"
                load = self.load(number, "record", region, words=WORDS, stride=1024,
                                 seed=self._files, timeout=TIMEOUT_MS, record=path,
                                 reattach=True)
                load.path = path
                loads.append(load)
        return loads

    def verify_history(self, loads: list, what: str) -> None:
        """End the programs; what they saw together is linearizable."""
        results = [load.stop() for load in loads]
        for result in results:
            self.verify(result["errors"] == 0, f"{what}: {result['error']}")
            self.verify(result["done"] > 0, f"{what}: a program did nothing: {result}")
            self.verify(result["longest_ns"] < (TIMEOUT_MS + LATE_MS) * 1000000,
                        f"{what}: an access took {result['longest_ns'] / 1e6:.0f} ms")
        verdict = json.loads(run(self.linearize, *[load.path for load in loads], check=False,
                                 timeout=600).splitlines()[-1])
        voids = sum(sum(result["reasons"].values()) for result in results)
        print(f"        {what}: {verdict['operations']} operations, {voids} VOID, "
              f"{verdict['unknown']} unknown, settled: "
              f"{sum(result['settled_done'] for result in results)} done, "
              f"{sum(result['settled_never'] for result in results)} never, longest "
              f"{max(result['longest_ns'] for result in results) / 1e6:.0f} ms, longest to VOID "
              f"{max(result['void_longest_ns'] for result in results) / 1e6:.0f} ms", flush=True)
        self.verify(verdict["violations"] == 0, f"{what}: not linearizable: {verdict}")
        self.verify(verdict["gave_up"] * 10 < verdict["words"],
                    f"{what}: most of it could not be checked: {verdict}")

    # -- cases

    def test_checker_finds_histories_that_cannot_be(self) -> None:
        """The checker itself, on records written by hand.

        Steps:
            A write that ended, then a read of the value before; the same where the write's
            outcome is unknown.
        Verify:
            The first is refused, the second is not.
        """
        for outcome, violations in ((DONE, 1), (UNKNOWN, 0)):
            path = self.lab.scratch() / f"by-hand{outcome}"
            path.write_bytes(record(1000000, 1001000, STORE, outcome, operand=7)
                             + record(1002000, 1003000, LOAD, DONE, result=0))
            verdict = json.loads(run(self.linearize, path, check=False))
            self.verify(verdict["violations"] == violations, f"outcome {outcome}: {verdict}")

    def test_nodes_killed_come_back_in_any_order(self) -> None:
        """One node, two, all of them; their successors in every order.

        Steps:
            A word at home on each node is set. Kill one node, two, all three; start their
            successors in an order (for all three: two orders, with --full each), without
            waiting for one before the next.
        Verify:
            All reach each other again, in later epochs. Words of nodes that lived are
            kept; words of nodes that died are VOID (node crashed) on every node, never
            an older value, until their region is reset; then they are 0, and usable.
        """
        names = {number: self.region(f"home{number}", "64K", "--distribution", "home",
                                     "--nodes", number) for number in self.cluster.numbers}
        orders = list(itertools.permutations(self.cluster.numbers))
        if not suite.FULL:
            orders = self.chance.sample(orders, 2)
        cycles = [(2,), (3, 1), *orders]
        if len(self.mortal) == 1:
            cycles = [(2,)] * 3
        for value, cycle in enumerate(cycles, 1):
            for name in names.values():
                self.cluster.command(1, "atomic", name, 0, "store", value)
                self.verify(self.word(3, name, 0) == value, "a word does not travel")
            before = {member["id"]: member["epoch"] for member in
                      self.cluster.status(1)["members"]}
            self.kill_nodes(cycle)
            for number in cycle:
                self.cluster.start_node(number)
                time.sleep(self.chance.uniform(0, 0.2))
            self.all_together()
            after = {member["id"]: member["epoch"] for member in
                     self.cluster.status(1)["members"]}
            self.verify(all(after[number] > before[number] for number in cycle),
                        f"epochs were {before}, are {after}")
            self.words_after(names, cycle, value)

    def words_after(self, names: dict, cycle: tuple, value: int) -> None:
        """What each node reads once they are back."""
        for number, name in names.items():
            for reader in self.cluster.numbers:
                if number not in cycle:
                    self.verify(self.word(reader, name, 0) == value,
                                f"node {reader} lost a word of node {number}, which lived")
                    continue
                said = self.command_refused(reader, "atomic", name, 0, "load")
                self.verify("crashed" in said, f"{cycle}: a word of node {number}: {said}")
            if number in cycle:
                self.reset(name)
                for reader in self.cluster.numbers:
                    self.verify(self.word(reader, name, 0) == 0, "not empty after its reset")

    def test_history_holds_while_nodes_are_killed(self) -> None:
        """kill -9 under load.

        Steps:
            Two programs on every node read, write and swap words of all nodes, and note
            it. 6 (50) times kill a node at random, start it again, and reset the region
            when all are back. The programs attach again by themselves.
        Verify:
            Programs of a node that was killed go on with its successor. Every access ended
            by its deadline. The history of every word is linearizable,
            with outcomes that are unknown allowed to take effect later or never.
        """
        region = self.region("words", "256K")
        loads = self.recorders(region)
        for _ in range(suite.times(KILLS, KILLS_FULL)):
            time.sleep(PAUSE)
            victim = self.chance.choice(self.mortal)
            self.kill_nodes((victim,))
            time.sleep(self.chance.uniform(0, PAUSE))
            self.cluster.start_node(victim)
            self.all_together()
            self.reset(region)
        time.sleep(PAUSE)
        self.verify_history(loads, "kills")
        again = sum(load.process.output().count("attached again") for load in loads)
        self.verify(again > 0, "no program attached again to the successor of its node")

    def test_history_holds_while_nodes_stand_still(self) -> None:
        """SIGSTOP under load.

        Steps:
            As above, but stop a node for 3 s (10 s) and let it go on, twice (20 times).
            Nothing dies, so nothing is reset.
        Verify:
            As above.
        """
        region = self.region("words", "256K")
        loads = self.recorders(region)
        for _ in range(suite.times(STOPS, STOPS_FULL)):
            time.sleep(PAUSE)
            process = self.cluster.processes[self.chance.choice(self.cluster.numbers)]
            process.send_signal(signal.SIGSTOP)
            time.sleep(STOP_SECONDS_FULL if suite.FULL else STOP_SECONDS)
            process.send_signal(signal.SIGCONT)
            self.all_together()
        time.sleep(PAUSE)
        self.verify_history(loads, "stops")
        self.verify_alive()

    def test_history_holds_while_the_network_is_cut(self) -> None:
        """Partitions by nftables in the bridge, healed.

        Steps:
            As above, while two nodes are cut off from each other, one way only, one node
            from all others, and all of it is healed after 1.5 s each.
        Verify:
            As above; frames were dropped; all nodes reach each other again, and the
            region can be used.
        """
        if self.cluster.pmd == "memif":
            self.skip("no frame of it goes over the bridge")
        region = self.region("words", "256K")
        loads = self.recorders(region)
        for cut in (lambda: self.network.cut(1, 2), lambda: self.network.cut(2, 3, False),
                    lambda: self.network.cut(3, 1, False), lambda: self.network.isolate(2)):
            time.sleep(PAUSE)
            cut()
            time.sleep(3 * PAUSE)
            self.verify(self.network.dropped() > 0, "nothing was cut")
            self.network.heal()
            self.all_together()
        time.sleep(PAUSE)
        self.verify_history(loads, "cuts")
        self.cluster.command(2, "atomic", region, 65536, "add", 7)
        self.verify(self.word(3, region, 65536) == 7, "the region is not usable")
