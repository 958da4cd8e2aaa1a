# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""What a node tells of itself, to people and to programs."""

import json

import suite
from cluster import XDP
from cluster_suite import ClusterSuite

PATHS = {
    "/tp/node": ("id", "name", "state", "epoch", "worker_count", "lease_left_ns",
                 "client_count", "renewals"),
    "/tp/node/usage": ("requests", "waiters", "cache_slots", "home_slots", "quarantined"),
    "/tp/fabric/stats": ("rx_frames", "tx_frames", "tx_retransmits", "drop_crc"),
    "/tp/coherence/stats": ("misses", "forwards", "upgrades", "evictions", "write_backs",
                            "protocol_errors"),
    "/tp/inject/stats": ("cut", "lost", "duplicated", "corrupted", "reordered", "delayed"),
}


class TestTelemetry(ClusterSuite):
    """Telemetry of DPDK, and the output of the command."""

    variants = ({"pmd": "af_packet", "workers": 1}, {"pmd": "memif", "workers": 2},
                *([{"pmd": XDP, "workers": 2}] if suite.FULL else []))

    def test_endpoints_answer_and_count(self) -> None:
        """The endpoints that docs and tools name.

        Steps:
            Ask every node for every endpoint, move a file, ask again.
        Verify:
            Each answers JSON with the keys it should have; /tp lists them all; what the
            file must have moved is counted.
        """
        region = self.region("telemetry", "2M")
        before = {}
        for number in self.cluster.numbers:
            for path, keys in PATHS.items():
                answer = self.cluster.telemetry(number, path)
                missing = [key for key in keys if key not in answer]
                self.verify(not missing, f"{path} of node {number} lacks {missing}")
            before[number] = self.cluster.telemetry(number)
            self.verify(before[number]["id"] == number, "the node answers with another id")
            self.verify(before[number]["state"] == "member", before[number]["state"])
            self.verify(before[number]["worker_count"] == self.variant["workers"],
                        "another number of workers")
        data = self.data(2 << 20)
        self.cluster.command(1, "put", region, data)
        self.verify_get(2, region, data)
        after = {number: self.cluster.telemetry(number) for number in self.cluster.numbers}
        for number in (1, 2):
            for name in ("rx_frames", "tx_frames", "misses", "clients_added"):
                self.verify(after[number][name] > before[number][name],
                            f"node {number} does not count {name}")
        # A third of the pages is at home on node 2 already.
        moved = after[2]["pages_in"] - before[2]["pages_in"]
        self.verify(moved >= 300, f"{moved} pages came to node 2")

    def test_command_speaks_json(self) -> None:
        """Output for programs.

        Steps:
            status, stats, region ls, atomic, put and get with --json.
        Verify:
            Each is one JSON value and says what is so.
        """
        region = self.region("json", "64K")
        status = json.loads(self.cluster.command(2, "--json", "status"))
        self.verify(status["node"] == 2 and len(status["members"]) == 3, f"{status}")
        stats = json.loads(self.cluster.command(2, "--json", "stats"))
        self.verify("misses" in stats, f"{stats}")
        regions = json.loads(self.cluster.command(2, "--json", "region", "ls"))
        self.verify(any(row["name"] == region for row in regions), f"{regions}")
        self.cluster.command(1, "atomic", region, 0, "store", 41)
        answer = json.loads(self.cluster.command(2, "--json", "atomic", region, 0, "add", 1))
        self.verify(answer["old"] == 41, f"{answer}")
        answer = json.loads(self.cluster.command(3, "--json", "get", region, "/dev/null"))
        self.verify(answer["get"] == 65536, f"{answer}")

    def test_command_prints_the_protocol_and_help(self) -> None:
        """What needs no node.

        Steps:
            protocol and --help, with the prefix of no node.
        Verify:
            Both print; status says that no node is there.
        """
        self.verify("GET" in self.cluster.command(1, "protocol"), "no table")
        self.verify("usage" in self.cluster.command(1, "--help"), "no help")
        text = self.command_refused(1, "--prefix", "nobody", "status")
        self.verify("no node" in text, text)
