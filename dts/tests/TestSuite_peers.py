# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""devtools/bench-peers.sh: do the other systems run, and is what they did reported."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import peer_report
import peer_run
from lab import Lab, LabError
from suite import TestSuite

COUNT = 200
SIZES = set(peer_report.SIZES)
# What a contender needs on the machine, besides our programs.
TOOLS = {"UCX": "ucx_perftest", "ucx_": "ucx_perftest", "Open MPI": "mpirun",
         "Redis": "redis-server", "memcached": "memcached", "TCP": "iperf3"}


class TestPeers(TestSuite):
    """Skipped where the peers are not: CI need not install them."""

    case_seconds = 240

    def contenders(self, table: tuple) -> list[peer_run.Contender]:
        """The contenders that are not ours, and whose tools are here."""
        found = []
        for one in table:
            tool = next((tool for start, tool in TOOLS.items() if one.name.startswith(start)), "")
            if not one.name.startswith(("telepage", "raw")) and (not tool or shutil.which(tool)):
                found.append(one)
        return found

    def programs_await(self) -> None:
        """Skip where not one of our programs for them is built."""
        if not list(self.build.glob("dts/peer/telepage-peer-*")):
            self.skip("built without -Dpeers=true, see devtools/bench-peers.sh")

    def test_every_peer_gets_its_pages(self) -> None:
        """A get of each size by each of the systems that are installed.

        Steps:
            Run each contender with 200 gets a size; the programs check each page.
        Verify:
            Every size has a figure, and p99 is not below p50. Open MPI's osc rdma, which
            does not work over tcp in Debian 12, may say so.
        """
        self.programs_await()
        with Lab() as lab:
            stage = peer_run.latency_stage(lab, self.build, COUNT)
            for one in self.contenders(peer_run.LATENCY):
                try:
                    rows = one.run(stage)
                except LabError as error:
                    missing = "is not built" in str(error)
                    self.verify(missing or "osc rdma" in one.name, f"{one.name}: {error}")
                    continue
                sizes = {row["bytes"] for row in rows}
                self.verify(sizes in (SIZES, {peer_run.PAGE}), f"{one.name}: sizes {sizes}")
                for row in rows:
                    # ucx_perftest, which measures one size, tells each in a run of its own.
                    ordered = row["p50"] <= row["p99"] or len(rows) == 1
                    self.verify(row["p50"] > 0 and ordered, f"{one.name}: {row}")

    def test_throughput_of_peers_under_loss(self) -> None:
        """UCX and TCP through a bridge that loses one frame in a hundred.

        Steps:
            Stream with each while the bridge loses frames.
        Verify:
            Each brings bytes; frames were lost.
        """
        self.programs_await()
        with Lab() as lab:
            stage, network = peer_run.loss_stage(lab, self.build, COUNT)
            network.loss(1, port=0)
            for one in self.contenders(peer_run.THROUGHPUT):
                before = network.dropped()
                self.verify(one.run(stage) > 0, f"{one.name}: nothing")
                self.verify(network.dropped() > before, f"{one.name}: no frame was lost")

    def test_report_has_figures_ratios_and_reasons(self) -> None:
        """The report of made-up figures; needs no peer.

        Steps:
            Write three rounds of figures, one contender that failed, and the report.
        Verify:
            Medians, ratios within rounds, the outcome of each goal and the reason of the
            failure are in the table; text around the marks stays; so does a second report.
        """
        folder = Path(self.lab.dir, "docs")
        folder.mkdir()
        page = folder / "benchmarks.md"
        page.write_text(f"before\n{peer_report.BEGIN}\nold\n{peer_report.END}\nafter\n")
        data = self.figures_write()
        peer_report.tables_write(data, page)
        text = page.read_text()
        # The best peer of the rounds: 8, 10 and 16 us; ours 4, 6 and 8: ratios .5, .6 and .5.
        for wanted in ("| 6.00 | 10.00 | 0.500 | <= 0.55 | met (0.91) |",
                       "| 10.00 | 10.00 | 1.000 | <= 0.8 | missed (1.25) |",
                       f"Faster than {peer_run.EMBEDDED}: nobody.",
                       "no such provider", "| 500 | 500 | 250 (50 %) |"):
            self.verify(wanted in text, f"no {wanted!r} in:\n{text}")
        self.verify("memcached" not in text, "a row of who was not tried")
        self.verify(text.startswith("before\n") and text.endswith("\nafter\n")
                    and "old" not in text, "what is around the marks has changed")
        peer_report.tables_write(data, page)
        self.verify(page.read_text() == text, "the second report differs")

    def test_chart_is_svg_with_every_line(self) -> None:
        """The chart of the same figures.

        Steps:
            Draw it twice.
        Verify:
            XML that names the contenders which have figures; the same bytes both times.
        """
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            self.skip("python3-matplotlib is not installed")
        paths = [Path(self.lab.dir, name) for name in ("a.svg", "b.svg")]
        for path in paths:
            peer_report.chart(self.figures_write(), path)
        text = "".join(ElementTree.parse(paths[0]).getroot().itertext())
        for name in (peer_run.EMBEDDED, "UCX tcp get", "TCP"):
            self.verify(name in text, f"no {name} in the chart")
        self.verify(paths[0].read_bytes() == paths[1].read_bytes(), "two charts differ")

    def figures_write(self) -> peer_report.Data:
        """Three rounds of made-up figures."""
        lines: list[dict] = [{"part": "run", "date": "2026-01-01", "machine": "m", "commit": "c",
                              "packages": "p", "load": "0.5"}]
        for number in range(3):
            for name, us in ((peer_run.EMBEDDED, (4, 6, 8)), (peer_run.ATTACHED, (8, 10, 16)),
                             ("UCX tcp get", (8, 10, 16)), (peer_run.REDIS, (80, 80, 80))):
                lines.append({"part": "latency", "round": number, "contender": name,
                              "bytes": peer_run.PAGE, "p50": 1000 * us[number],
                              "p99": 2000 * us[number]})
            lines.append({"part": "latency", "round": number,
                          "contender": "libfabric tcp read", "failed": "no such provider"})
            for part, loss, rate in (("cable", None, 500), ("loss", 0.0, 500),
                                     ("loss", 0.01, 250)):
                lines.append({"part": part, "round": number, "loss": loss, "contender": "TCP",
                              "mb_s": float(rate)})
        path = Path(self.lab.dir, "figures.jsonl")
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return peer_report.Data(path)
