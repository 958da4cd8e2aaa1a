# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""telepage-bench: do the benchmarks run, print what they promise, and clean up."""

import json
import signal
from pathlib import Path

import janitor
import suite
from cluster import xdp_is_missing
from lab import Process, run, wait_until
from network import Pair
from suite import TestSuite

QUANTILES = ("min", "p50", "p99", "p999", "max")


def machine_state(pid: int) -> list:
    """What a benchmark takes from the machine while it runs."""
    return [
        (janitor.HUGEPAGES / "nr_hugepages").read_text(),
        [str(path) for path in Path("/run/dpdk").glob(f"tp-bench-{pid}*")],
        janitor.group_members(pid),
        [str(path) for place in ("/dev/shm", "/var/tmp")
         for path in Path(place).glob(f"tp-bench-{pid}*")],
    ]


class TestBench(TestSuite):
    """The command line of telepage-bench; figures are no test's business."""

    def set_up_suite(self) -> None:
        """Find the program."""
        self.bench = self.program("telepage-bench")

    def start(self, *words: str) -> Process:
        """Start a benchmark."""
        return self.lab.start("bench-" + "-".join(words).replace("/", ""), self.bench, *words)

    def rows(self, *words: str) -> list[dict]:
        """Run a benchmark; its rows, checked."""
        rows = [json.loads(line) for line in run(self.bench, *words, "--json").splitlines()]
        self.verify(rows, f"{words[0]} printed nothing")
        for row in rows:
            self.verify(row["n"] > 0 and row["unit"] and row["machine"], f"incomplete: {row}")
            values = [row[key] for key in QUANTILES]
            self.verify(values == sorted(values) and values[0] > 0, f"no quantiles: {row}")
            if "baseline" in row:
                ratio = row["p50"] / row["baseline"]["p50"]
                # Both were rounded to a tenth for printing.
                self.verify(abs(row["ratio"] - ratio) < 0.1 * max(1, ratio), f"ratio: {row}")
        return rows

    def test_list_names_every_benchmark(self) -> None:
        """What is listed exists.

        Steps:
            Ask for the list, and for a benchmark that is not on it.
        Verify:
            The list has the baselines; the unknown one is refused.
        """
        names = [line.split()[0] for line in run(self.bench, "list").splitlines()]
        self.verify({"raw_rtt", "pool_loan_rate", "directory_bytes_per_page"} <= set(names),
                    f"listed: {names}")
        process = self.start("nonsense")
        self.verify(process.wait() == 2, "an unknown benchmark is not refused")

    def test_raw_runs_on_each_driver(self) -> None:
        """The raw baseline has a row per frame size on each driver.

        Steps:
            Run raw_rtt on memif and af_packet, and on af_xdp where the kernel has it.
        Verify:
            Two rows each, of that driver.
        """
        for pmd in ("memif", "af_packet", *(["af_xdp"] if not xdp_is_missing() else [])):
            drivers = [row["pmd"] for row in self.rows("raw_rtt", "--pmd", pmd)]
            self.verify(drivers == [pmd] * 2, f"rows of {drivers}")

    def test_fetch_runs_between_given_namespaces(self) -> None:
        """Gets of all sizes between namespaces that the lab has made.

        Steps:
            Join two namespaces by two cables; run node_fetch_lat there, then in a
            namespace that there is not, then without the second cable.
        Verify:
            A row per size, 64 bytes to 64 KiB; frames went over the cable of the nodes; the
            unknown namespace is refused; of the missing device the port is named.
        """
        pair = Pair(self.lab, 2)
        first = pair.nodes[0].netns
        rows = self.rows("node_fetch_lat", "--netns",
                         ",".join(node.netns for node in pair.nodes))
        names = [f"node_fetch_lat_{size}" for size in (64, 256, 1024, 4096, 16384, 65536)]
        self.verify([row["name"] for row in rows] == names, f"rows: {rows}")
        link = json.loads(run("ip", "-n", first, "-j", "-s", "link", "show", "net0"))[0]
        # At least a frame for every page that was asked for.
        self.verify(link["stats64"]["tx"]["packets"] > sum(row["n"] for row in rows),
                    f"frames on the cable: {link['stats64']}")
        process = self.start("raw_rtt", "--netns", f"{first},nonsense")
        self.verify(process.wait() == 1, "an unknown namespace is not refused")
        run("ip", "-n", first, "link", "del", "net1")
        process = self.start("node_fetch_lat", "--netns",
                             ",".join(node.netns for node in pair.nodes))
        self.verify(process.wait() == 1 and "no port net_af_packet1 came of" in process.output(),
                    process.output())

    def test_library_benchmarks_run(self) -> None:
        """Benchmarks without a link print their rows.

        Steps:
            Run pool_loan_rate and directory_bytes_per_page.
        Verify:
            Comparisons where promised; the directory at least its entries.
        """
        for row in self.rows("pool_loan_rate"):
            self.verify("rte_mempool" in row["baseline"]["name"], f"no baseline: {row}")
        self.verify(self.rows("directory_bytes_per_page")[0]["p50"] >= 64, "less than an entry")

    def test_recovery_benchmark_runs(self) -> None:
        """Pools of persistent memory are opened after a crash, and after none.

        Steps:
            Run pmem_recovery_time with --quick.
        Verify:
            A row of each.
        """
        names = [row["name"] for row in self.rows("pmem_recovery_time", "--quick")]
        self.verify(names == ["pmem_recovery_time_4096", "pmem_open_clean_512m"], f"rows: {names}")

    def test_link_benchmark_needs_a_device(self) -> None:
        """A link that cannot be shaped is refused.

        Steps:
            Run codec_link_gain on memif.
        Verify:
            It ends with an error that says what it needs.
        """
        process = self.start("codec_link_gain", "--pmd", "memif")
        self.verify(process.wait() == 1 and "--pmd af_packet" in process.output(),
                    process.output())

    def test_attach_benchmark_runs_both_ways(self) -> None:
        """Attaching to a real node, by the socket and as a secondary process.

        Steps:
            Run attach_lat.
        Verify:
            A row each way, with the node's core idle and busy.
        """
        names = {row["name"] for row in self.rows("attach_lat")}
        self.verify(names == {f"attach_lat_{way}{busy}" for way in ("socket", "secondary")
                              for busy in ("", "_busy")}, f"rows: {names}")

    def test_idle_nodes_serve_after_each_sleep(self) -> None:
        """Nodes and clients that sleep are woken, by each other and by each driver.

        Steps:
            Run node_idle_cpu on every driver: 40 (400) requests to the own node and as many
            to another one, each after all have gone to sleep. On af_xdp with --full.
        Verify:
            Every request is answered (the benchmark fails else): a row for each.
        """
        for pmd in ("memif", "af_packet", "tap", *(["af_xdp"] if suite.FULL else [])):
            names = [row["name"] for row in self.rows("node_idle_cpu", "--pmd", pmd,
                                                      *([] if suite.FULL else ["--quick"]))]
            self.verify(names == ["node_idle_cpu", "node_wake_local_lat",
                                  "node_wake_remote_lat"], f"{pmd}: rows {names}")

    def test_bench_killed_leaves_nothing(self) -> None:
        """A benchmark that dies gives the machine back.

        Steps:
            Start raw_rtt; when it has taken huge pages, kill -9 the measuring
            process alone. Again with SIGINT.
        Verify:
            Its peer ends, huge pages and run-time folders are as before.
        """
        for signum in (signal.SIGKILL, signal.SIGINT):
            huge = (janitor.HUGEPAGES / "nr_hugepages").read_text()
            process = self.start("raw_rtt", "--pmd", "af_packet")
            wait_until(lambda: (janitor.HUGEPAGES / "nr_hugepages").read_text() != huge
                       and len(machine_state(process.pid)[2]) > 1, 10, "peer and huge pages")
            process.popen.send_signal(signum)
            process.wait()
            wait_until(lambda: machine_state(process.pid) == [huge, [], [], []], 10,
                       f"clean-up, left: {machine_state(process.pid)}")
