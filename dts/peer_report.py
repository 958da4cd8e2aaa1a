# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""The table of docs/benchmarks.md and docs/peers.svg, from the figures of peer_bench.py.

A figure is the median of the rounds. A ratio is the median of the ratios of the
rounds, so that both of its sides met the same disturbances. A contender that
failed in every round stands there with the reason.
"""

import json
import statistics
from pathlib import Path

import peer_run
from lab import LabError

BEGIN = "<!-- begin of what devtools/bench-peers.sh writes -->"
END = "<!-- end of what devtools/bench-peers.sh writes -->"
SIZES = (64, 256, 1024, 4096, 16384, 65536)
PAGE = peer_run.PAGE

# Figure, limit, and what the 4 KiB p50 of ours is divided by.
GOALS = (
    (peer_run.EMBEDDED, "rivals", 0.55),
    (peer_run.ATTACHED, "rivals", 0.8),
    (peer_run.EMBEDDED, peer_run.REDIS, 1 / 8),
)


class Data:
    """The figures of a file, by round."""

    def __init__(self, path: Path):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.runs = [line for line in lines if line["part"] == "run"]
        self.rows = [line for line in lines if line["part"] != "run"]

    def values(self, key: str, **what: object) -> dict[int, float]:
        """A figure by round: the rows that have what is asked for."""
        return {row["round"]: row[key] for row in self.rows
                if key in row and all(row.get(name) == value for name, value in what.items())}

    def median(self, key: str, **what: object) -> float | None:
        """Its median over the rounds; None if there is none."""
        values = self.values(key, **what)
        return statistics.median(values.values()) if values else None

    def p50(self, contender: str, size: int = PAGE) -> dict[int, float]:
        """Median latency of a size by round."""
        return self.values("p50", part="latency", contender=contender, bytes=size)

    def best(self) -> dict[int, float]:
        """The best of UCX tcp, libfabric and Open MPI at 4 KiB, by round."""
        best: dict[int, float] = {}
        for one in peer_run.LATENCY:
            if one.is_rival:
                for number, value in self.p50(one.name).items():
                    best[number] = min(value, best.get(number, value))
        return best

    def is_absent(self, part: str, contender: str) -> bool:
        """Whether a contender was not even tried."""
        return not any(row["part"] == part and row["contender"] == contender
                       for row in self.rows)

    def failure(self, part: str, contender: str) -> str:
        """Why a contender has no figure."""
        reasons = [row["failed"] for row in self.rows if "failed" in row
                   and row["part"] == part and row["contender"] == contender]
        return reasons[-1] if reasons else "-"


def ratio(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    """Median of the ratios of the rounds that have both."""
    both = [ours[number] / theirs[number] for number in ours if number in theirs]
    return statistics.median(both) if both else None


def text(value: float | None, scale: float = 1, digits: int = 2) -> str:
    """A figure, or that there is none."""
    return "-" if value is None else f"{value / scale:.{digits}f}"


def goal_lines(data: Data) -> list[str]:
    """page_fetch_vs_peers: one row a goal."""
    lines = ["| `page_fetch_vs_peers`, 4 KiB, p50 | ours, us | peer, us | ratio | goal | outcome |",
             "| --- | --- | --- | --- | --- | --- |"]
    for name, against, limit in GOALS:
        ours = data.p50(name)
        theirs = data.best() if against == "rivals" else data.p50(against)
        value = ratio(ours, theirs)
        peer = "the best of UCX tcp, libfabric, Open MPI" if against == "rivals" else against
        outcome = "-" if value is None else \
            f"{'met' if value <= limit else 'missed'} ({value / limit:.2f})"
        lines.append(
            f"| {name} / {peer} | {text(statistics.median(ours.values()) if ours else None, 1000)}"
            f" | {text(statistics.median(theirs.values()) if theirs else None, 1000)}"
            f" | {text(value, digits=3)} | <= {limit:g} | {outcome} |")
    return lines


def is_comparable(one: peer_run.Contender) -> bool:
    """Whether it gets the same bytes over the same cable as we do."""
    return not any(part in one.name for part in ("memif", "shared memory", "put_lat"))


def size_text(size: int) -> str:
    """64 B, 4 KiB."""
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


def faster_lines(data: Data) -> list[str]:
    """The cases that we lose: whoever is faster than ours at what."""
    lines = []
    for ours in (peer_run.EMBEDDED, peer_run.ATTACHED):
        cases = []
        for one in peer_run.LATENCY:
            if one.name.startswith(("telepage", "raw")) or not is_comparable(one):
                continue
            sizes = [size_text(size) for size in SIZES
                     if (ratio(data.p50(ours, size), data.p50(one.name, size)) or 0) > 1]
            tails = [data.values("p99", part="latency", contender=name, bytes=PAGE)
                     for name in (ours, one.name)]
            if (ratio(*tails) or 0) > 1:
                sizes.append("p99 of 4 KiB")
            if sizes:
                cases.append(f"{one.name} ({', '.join(sizes)})")
        lines.append(f"Faster than {ours}: {'; '.join(cases) or 'nobody'}.")
    return lines


def latency_lines(data: Data) -> list[str]:
    """All contenders: p50 by size, p99 of the page, ratios."""
    lines = ["| us | " + " | ".join(map(size_text, SIZES))
             + " | p99, 4 KiB | embedded / it | attached / it | how |",
             "| --- |" + " --- |" * (len(SIZES) + 4)]
    for one in peer_run.LATENCY:
        medians = [data.median("p50", part="latency", contender=one.name, bytes=size)
                   for size in SIZES]
        if data.is_absent("latency", one.name):
            continue
        if not any(medians):
            lines.append(f"| {one.name} |" + " - |" * (len(SIZES) + 3)
                         + f" {one.settings}. No figure: {data.failure('latency', one.name)} |")
            continue
        p99 = data.median("p99", part="latency", contender=one.name, bytes=PAGE)
        ratios = [ratio(data.p50(ours), data.p50(one.name)) if ours != one.name else None
                  for ours in (peer_run.EMBEDDED, peer_run.ATTACHED)]
        if not is_comparable(one):
            ratios = [None, None]
        lines.append(f"| {one.name} | " + " | ".join(text(value, 1000) for value in medians)
                     + f" | {text(p99, 1000)} | {text(ratios[0])} | {text(ratios[1])}"
                     f" | {one.settings} |")
    return lines


def throughput_lines(data: Data) -> list[str]:
    """All contenders: cable, and each rate of loss with its share of the loss-free."""
    losses = sorted({row["loss"] for row in data.rows if row["part"] == "loss"})
    lines = ["| MB/s | cable | " + " | ".join("bridge, no loss" if loss == 0 else f"loss {loss:g}"
                                              for loss in losses) + " | how |",
             "| --- | --- |" + " --- |" * (len(losses) + 1)]
    for one in peer_run.THROUGHPUT:
        if data.is_absent("loss", one.name):
            continue
        cable = data.median("mb_s", part="cable", contender=one.name)
        cells = [text(cable, digits=0)]
        free = data.values("mb_s", part="loss", contender=one.name, loss=0.0)
        for loss in losses:
            values = data.values("mb_s", part="loss", contender=one.name, loss=loss)
            share = ratio(values, free)
            cell = text(statistics.median(values.values()) if values else None, digits=0)
            cells.append(cell if loss == 0 or share is None else f"{cell} ({100 * share:.0f} %)")
        missing = ""
        if all(cell == "-" for cell in cells):
            missing = f". No figure: {data.failure('loss', one.name)}"
        elif "-" in cells:
            missing = f". Where there is no figure: {data.failure('loss', one.name)}"
        lines.append(f"| {one.name} | " + " | ".join(cells) + f" | {one.settings}{missing} |")
    return lines


def section(data: Data) -> str:
    """What stands between the two marks."""
    runs = data.runs
    loads = sorted(float(run["load"]) for run in runs)
    rounds = {part: len({row["round"] for row in data.rows if row["part"] == part})
              for part in ("latency", "loss")}
    last = runs[-1]
    return "\n".join([
        BEGIN, "",
        f"{last['date']}; {last['machine']}; {rounds['latency']} rounds of latency, "
        f"{rounds['loss']} of throughput; load of the minute before each {loads[0]:.2f} to "
        f"{loads[-1]:.2f}; commit {last['commit']}, release build without asserts; "
        f"{last['packages']}. Command: `devtools/bench-peers.sh`.", "",
        *goal_lines(data), "",
        "![Latency by size and throughput by loss](peers.svg)", "",
        *latency_lines(data), "",
        *faster_lines(data), "",
        *throughput_lines(data), "",
        END])


# Colour and line of who is on the chart; the others are in the table.
CHART_LATENCY = {
    peer_run.EMBEDDED: ("#0b6e4f", "o-"), peer_run.ATTACHED: ("#5ab88a", "o--"),
    "UCX tcp get": ("#1f77b4", "s-"), "libfabric tcp read": ("#d62728", "^-"),
    "libfabric udp;ofi_rxd read": ("#e89a9a", "^--"),
    "Open MPI get, osc pt2pt": ("#9467bd", "v-"), peer_run.REDIS: ("#8c564b", "D-"),
    "memcached get": ("#bcbd22", "D--"), "raw frames": ("#555555", "x:"),
}
CHART_THROUGHPUT = {
    peer_run.SESSION: ("#0b6e4f", "o-"), peer_run.STREAM: ("#5ab88a", "o--"),
    "UCX tcp put, 4 KiB": ("#1f77b4", "s-"),
    "UCX tcp put, 64 KiB": ("#86b7dc", "s--"), "TCP": ("#d62728", "^-"),
}


def chart(data: Data, path: Path) -> None:
    """Latency by size and throughput by loss, as SVG."""
    try:
        import matplotlib
    except ImportError as error:
        raise LabError("no chart: python3-matplotlib is not installed") from error
    matplotlib.use("svg")
    from matplotlib import pyplot

    # The same figures give the same file; text stays text.
    pyplot.rcParams.update({"svg.hashsalt": "telepage", "svg.fonttype": "none", "font.size": 9})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6))
    for name, (colour, style) in CHART_LATENCY.items():
        points = [(size, value / 1000) for size in SIZES
                  if (value := data.median("p50", part="latency", contender=name, bytes=size))]
        if points:
            left.plot(*zip(*points), style, color=colour, label=name, markersize=4)
    left.set(xscale="log", yscale="log", xlabel="bytes", ylabel="median of a get, us",
             title="Get over veth, one at a time")
    left.set_xticks(SIZES, ["64", "256", "1 Ki", "4 Ki", "16 Ki", "64 Ki"])
    left.set_yticks((5, 10, 20, 50, 100), ["5", "10", "20", "50", "100"])
    left.minorticks_off()
    losses = sorted({row["loss"] for row in data.rows if row["part"] == "loss"})
    for name, (colour, style) in CHART_THROUGHPUT.items():
        points = [(i, value) for i, loss in enumerate(losses)
                  if (value := data.median("mb_s", part="loss", contender=name,
                                           loss=loss)) is not None]
        if points:
            right.plot(*zip(*points), style, color=colour, label=name, markersize=4)
    right.set(xlabel="share of frames lost, both ways", ylabel="MB/s",
              title="Throughput through a bridge that loses frames")
    right.set_xticks(range(len(losses)), [f"{loss:g}" for loss in losses])
    right.set_ylim(bottom=0)
    left.legend(fontsize=7, ncols=2, loc=(0.02, 0.56))
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(True, color="#dddddd", linewidth=0.5)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))


def tables_write(data: Data, page: Path) -> None:
    """Replace what stands between the marks."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LabError(f"{page} lacks the marks between which the tables go")
    page.write_text(before + section(data) + after)


def write(path: Path, docs: Path) -> None:
    """The tables in the page, and the chart beside it."""
    data = Data(path)
    tables_write(data, docs / "benchmarks.md")
    chart(data, docs / "peers.svg")
