# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Who is measured by peer_bench.py, and how each is started.

All speak between the same two namespaces over the same veth devices; who asks is
pinned to the first core, who serves to the second. The kernel has addresses on
the devices only while a contender speaks through the kernel.
"""

import contextlib
import json
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import Lab, LabError, Process, run, wait_until
from network import Network, Node, Pair, kernel_addresses_remove, kernel_addresses_set

PAGE = 4096
PORT = 13400
SECONDS = 60
# Environment of UCX: this device and no other way, and no words of its own.
UCX_TCP = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "net0", "UCX_WARN_UNUSED_ENV_VARS": "n"}
UCX_SHM = {"UCX_TLS": "posix,self", "UCX_WARN_UNUSED_ENV_VARS": "n"}
# Open MPI between namespaces: its daemon there is started by our agent, not by ssh.
MPIRUN = ("mpirun", "--allow-run-as-root", "--bind-to", "none", "--mca", "plm", "rsh",
          "--mca", "oob_tcp_if_include", "net0", "--mca", "btl_tcp_if_include", "net0",
          "--mca", "btl", "tcp,self", "--mca", "mpi_yield_when_idle", "0")


def reason(output: str) -> str:
    """The line of a failed program's output that says most: its last error."""
    lines = [re.sub(r"^(\[[^]]*\])?[\s*]*", "", line) for line in output.splitlines()]
    lines = [line for line in lines if line and "MCA parameter" not in line]
    errors = [line for line in lines
              if re.search(r"MPI_ERR_|error|fail|cannot|refused|timed out", line, re.IGNORECASE)]
    named = [line for line in errors if "MPI_ERR_" in line]
    return (named or errors or lines or ["nothing said"])[-1][:160]


class Stage:
    """Two namespaces, two cores, and what has been started there."""

    def __init__(self, lab: Lab, build: Path, network: Pair | Network, count: int):
        self.lab = lab
        self.build = build
        self.network = network
        self.count = count
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise LabError("two sides that poll need two cores")
        # Who asks, who serves.
        self.cores = cores[:2]
        self.servers: dict[str, Process] = {}
        self._starts = 0
        self._port = PORT

    @property
    def nodes(self) -> list[Node]:
        """Who asks, who serves."""
        return self.network.nodes

    @property
    def address(self) -> str:
        """Of who serves, as the kernel has it."""
        return self.nodes[1].kernel_address

    def port(self) -> int:
        """A TCP port that nothing has used yet."""
        self._port += 1
        return self._port

    def program(self, path: str) -> Path:
        """A program of the build."""
        program = self.build / path
        if not program.exists():
            raise LabError(f"{path} is not built")
        return program

    def start(self, side: int, *words: object, env: dict | None = None) -> Process:
        """Start a program on a side's core, in its namespace."""
        self._starts += 1
        return self.lab.start(f"peer-{self._starts}", "taskset", "-c", self.cores[side], *words,
                              netns=self.nodes[side].netns, env=env)

    def finish(self, process: Process, seconds: float = SECONDS) -> str:
        """Wait for a program; what it printed, LabError with its last line if it failed."""
        try:
            status = process.wait(seconds)
        except LabError as error:
            process.kill()
            raise LabError(f"no end within {seconds:.0f} s") from error
        output = process.output()
        if status != 0:
            raise LabError(f"ended with {status}: {reason(output)}")
        return output

    @contextlib.contextmanager
    def kernel_speaks(self) -> Iterator[None]:
        """The kernel has addresses on net0 meanwhile."""
        kernel_addresses_set(self.nodes)
        try:
            yield
        finally:
            kernel_addresses_remove(self.nodes)

    @contextlib.contextmanager
    def nodes_speak(self) -> Iterator[None]:
        """The devices are meanwhile as we advise for af_packet: frames in one piece."""
        if isinstance(self.network, Network):
            yield
            return
        self.network.scatter_gather(False)
        try:
            yield
        finally:
            self.network.scatter_gather(True)

    @contextlib.contextmanager
    def server(self, name: str, start: Callable[[], Process]) -> Iterator[None]:
        """A server that stays, but rests while others are measured."""
        fresh = name not in self.servers
        if fresh:
            self.servers[name] = start()
        process = self.servers[name]
        process.send_signal(signal.SIGCONT)
        try:
            yield
        except BaseException:
            # Perhaps it has not got all of its values.
            process.kill()
            del self.servers[name]
            raise
        process.send_signal(signal.SIGSTOP)


def json_rows(output: str) -> list[dict]:
    """The lines of a program's output that are rows."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def bench_rows(stage: Stage, *words: object) -> list[dict]:
    """Rows of telepage-bench; it pins its two sides itself."""
    with stage.nodes_speak():
        process = stage.lab.start(f"bench-{stage.port()}", stage.program("telepage-bench"),
                                  *words, "--json")
        return json_rows(stage.finish(process, 120))


def bench_names(stage: Stage) -> set[str]:
    """The benchmarks that this build has."""
    return {line.split()[0] for line in run(stage.program("telepage-bench"), "list").splitlines()
            if line.strip()}


def netns_words(stage: Stage) -> tuple[str, str]:
    """What tells telepage-bench where to run."""
    return "--netns", ",".join(node.netns for node in stage.nodes)


# -- latency: rows with bytes, p50, p99 in ns

def telepage_fetch(stage: Stage, name: str, *words: object) -> list[dict]:
    """node_fetch_lat or client_fetch_lat."""
    rows = bench_rows(stage, name, *(words or netns_words(stage)))
    return [{"bytes": int(row["name"].rpartition("_")[2]), "p50": row["p50"], "p99": row["p99"]}
            for row in rows]


def telepage_raw(stage: Stage) -> list[dict]:
    """The two bare DPDK processes that all figures of the fabric are held against."""
    names = {"raw_rtt_64_64": 64, "raw_rtt_64_4200": PAGE}
    return [{"bytes": names[row["name"]], "p50": row["p50"], "p99": row["p99"]}
            for row in bench_rows(stage, "raw_rtt", *netns_words(stage))]


def peer_rows(output: str) -> list[dict]:
    """What a program of dts/peer measured."""
    return [{"bytes": row["bytes"], "p50": row["p50"], "p99": row["p99"]}
            for row in json_rows(output)]


def peer_pair(stage: Stage, program: str, setting: str = "", env: dict | None = None,
              shared: bool = False) -> list[dict]:
    """One program of dts/peer on both sides; shared: both in the first namespace."""
    path, port = stage.program(f"dts/peer/telepage-peer-{program}"), stage.port()
    with contextlib.nullcontext() if shared else stage.kernel_speaks():
        address = "127.0.0.1" if shared else stage.address
        options = ("--port", port, "--setting", setting, "--count", stage.count)
        serve = stage.lab.start(
            f"serve-{port}", path, "--listen", address, "--cpu", stage.cores[1], *options,
            netns=stage.nodes[0 if shared else 1].netns, env=env)
        ask = stage.lab.start(
            f"ask-{port}", path, "--connect", address, "--cpu", stage.cores[0], "--listen",
            "127.0.0.1" if shared else stage.nodes[0].kernel_address, *options,
            netns=stage.nodes[0].netns, env=env)
        try:
            return peer_rows(stage.finish(ask))
        finally:
            if serve.is_running:
                with contextlib.suppress(LabError):
                    serve.wait(2)
            serve.kill()


def perftest(stage: Stage, env: dict, test: str, size: int, count: int, *words: object,
             shared: bool = False, seconds: float = SECONDS) -> dict:
    """One run of ucx_perftest: its final line as numbers by name."""
    port = stage.port()
    with contextlib.nullcontext() if shared else stage.kernel_speaks():
        sides = [stage.nodes[0], stage.nodes[0 if shared else 1]]
        serve = stage.lab.start(f"perftest-{port}", "taskset", "-c", stage.cores[1],
                                "ucx_perftest", "-p", port, netns=sides[1].netns, env=env)
        wait_until(lambda: f":{port} " in run("ip", "netns", "exec", sides[1].netns, "ss",
                                              "-Hltn"), 10, "ucx_perftest that listens")
        ask = stage.start(0, "ucx_perftest", "127.0.0.1" if shared else stage.address, "-p", port,
                          "-t", test, "-s", size, "-n", count, "-w", min(count, 2000), "-f", "-v",
                          *words, env=env)
        try:
            lines = stage.finish(ask, seconds).splitlines()
        finally:
            if serve.is_running:
                with contextlib.suppress(LabError):
                    serve.wait(2)
            serve.kill()
    names = [i for i, line in enumerate(lines) if line.startswith("iterations,")]
    if not names or len(lines) < names[-1] + 2:
        raise LabError(f"ucx_perftest printed no result: {lines[-1] if lines else ''}")
    return dict(zip(lines[names[-1]].split(","), map(float, lines[names[-1] + 1].split(","))))


def perftest_latency(stage: Stage, env: dict, test: str, shared: bool = False) -> list[dict]:
    """4 KiB by ucx_perftest, which tells one percentile a run."""
    # It keeps the last 2048 times, and counts those it has not got as well.
    count = max(4 * stage.count, 4096)
    ns = [1000 * perftest(stage, env, test, PAGE, count, "-R", rank,
                          shared=shared)[f"{rank}.0_percentile_lat"] for rank in (50, 99)]
    return [{"bytes": PAGE, "p50": ns[0], "p99": ns[1]}]


def mpi(stage: Stage, setting: str, *options: object, env: dict | None = None) -> list[dict]:
    """Open MPI: rank 0 asks, rank 1 has the window."""
    program = stage.program("dts/peer/telepage-peer-mpi")
    agent = stage.lab.dir / "mpi-agent"
    # What mpirun calls in place of ssh: agent HOST COMMAND...
    agent.write_text(f'#!/bin/sh\nshift\nexec ip netns exec {stage.nodes[1].netns} sh -c "$*"\n')
    agent.chmod(0o755)
    exports = [word for name, value in (env or {}).items() for word in ("-x", f"{name}={value}")]
    ranks: list[object] = []
    for rank, node in enumerate(stage.nodes):
        ranks += [":"] * rank + ["--host", f"{node.kernel_address}:1", "-np", 1, *exports, program,
                                 "--cpu", stage.cores[rank], "--count", stage.count,
                                 "--setting", setting]
    # Its sockets' names must be short, and its folder must go in any case.
    with stage.kernel_speaks(), tempfile.TemporaryDirectory(dir=stage.lab.dir) as folder:
        process = stage.lab.start(
            f"mpi-{stage.port()}", *MPIRUN, "--mca", "plm_rsh_agent", agent, "--mca",
            "orte_tmpdir_base", folder, *options, *ranks, netns=stage.nodes[0].netns)
        return peer_rows(stage.finish(process))


def store(stage: Stage, name: str, settings: tuple[str, ...],
          start: Callable[[int], Process]) -> dict[str, list[dict]]:
    """A key-value store, filled when first used: rows by setting."""
    program = stage.program(f"dts/peer/telepage-peer-{name}")
    port = {"redis": 6390, "memcached": 11390}[name]
    rows = {}
    with stage.kernel_speaks():
        fresh = name not in stage.servers
        with stage.server(name, lambda: start(port)):
            words = (program, "--connect", stage.address, "--port", port)
            if fresh:
                wait_until(lambda: f":{port} " in run(
                    "ip", "netns", "exec", stage.nodes[1].netns, "ss", "-Hltn"), 10,
                    f"{name} that listens")
                stage.finish(stage.start(0, *words, "--load"))
            for setting in settings:
                rows[setting] = peer_rows(stage.finish(stage.start(
                    0, *words, "--count", stage.count, "--setting", setting)))
    return rows


def redis(stage: Stage, setting: str) -> list[dict]:
    """Redis without persistence."""
    return store(stage, "redis", (setting,), lambda port: stage.start(
        1, "redis-server", "--save", "", "--appendonly", "no", "--protected-mode", "no",
        "--bind", stage.address, "--port", port, "--dir", stage.lab.dir))[setting]


def memcached(stage: Stage) -> list[dict]:
    """memcached with one thread: it has one core."""
    return store(stage, "memcached", ("",), lambda port: stage.start(
        1, "memcached", "-u", "nobody", "-l", stage.address, "-p", port, "-U", 0, "-m", 2048,
        "-t", 1))[""]


# -- throughput: MB/s

def telepage_stream(stage: Stage) -> float:
    """Pages by long reads, as a program that uses shared memory gets them."""
    row = bench_rows(stage, "page_stream_bw", *netns_words(stage))[0]
    return row["p50"] * {"GB/s": 1000, "MB/s": 1}[row["unit"]]


def telepage_session(stage: Stage) -> float:
    """Pages over a session; the frames that are lost are lost by the network alone."""
    rows = bench_rows(stage, "session_loss_bw", *netns_words(stage))
    return next(row["p50"] for row in rows if row["name"] == "session_bw")


def ucx_put(stage: Stage, size: int) -> float:
    """Puts by ucx_perftest, as many at once as it likes."""
    count = max(stage.count // 2, (1 << 30) // size if stage.count >= 1000 else 0)
    return perftest(stage, UCX_TCP, "ucp_put_bw", size, count,
                    seconds=20)["overall_bw"] * (1 << 20) / 1e6


def tcp_stream(stage: Stage) -> float:
    """One TCP connection by iperf3."""
    port = stage.port()
    with stage.kernel_speaks():
        serve = stage.start(1, "iperf3", "-s", "-1", "-B", stage.address, "-p", port)
        wait_until(lambda: f":{port} " in run("ip", "netns", "exec", stage.nodes[1].netns, "ss",
                                              "-Hltn"), 10, "iperf3 that listens")
        try:
            report = json.loads(stage.finish(stage.start(
                0, "iperf3", "-c", stage.address, "-p", port, "-t", 2, "-J"), 20))
        finally:
            serve.kill()
    return report["end"]["sum_received"]["bits_per_second"] / 8e6


@dataclass(frozen=True)
class Contender:
    """One line of a table."""

    name: str
    settings: str
    # Latency: rows; throughput: MB/s.
    run: Callable[[Stage], object]
    # Counts for "the best of UCX tcp, libfabric, Open MPI"
    is_rival: bool = False
    # Without it in the list of telepage-bench there is nothing to run
    bench: str = ""


EMBEDDED, ATTACHED = "telepage, embedded", "telepage, attached"
REDIS = "Redis GET"
SESSION, STREAM = "telepage, session", "telepage, page stream"

LATENCY = (
    Contender("raw frames", "two bare DPDK processes, 64 to 64 and 4200 bytes", telepage_raw),
    Contender(EMBEDDED, "`node_fetch_lat`", lambda s: telepage_fetch(s, "node_fetch_lat")),
    Contender(ATTACHED, "`client_fetch_lat`", lambda s: telepage_fetch(s, "client_fetch_lat")),
    Contender("UCX tcp get", "`UCX_TLS=tcp,self`, else as it comes; both sides poll",
              lambda s: peer_pair(s, "ucx", env=UCX_TCP), is_rival=True),
    Contender("libfabric tcp read", "provider `tcp`, `FI_EP_RDM`; both sides poll",
              lambda s: peer_pair(s, "fabric", "tcp"), is_rival=True),
    Contender("libfabric tcp;ofi_rxm read", "provider `tcp;ofi_rxm`; both sides poll",
              lambda s: peer_pair(s, "fabric", "tcp;ofi_rxm"), is_rival=True),
    Contender("libfabric udp;ofi_rxd read", "provider `udp;ofi_rxd`; both sides poll",
              lambda s: peer_pair(s, "fabric", "udp;ofi_rxd"), is_rival=True),
    Contender("Open MPI get, osc pt2pt", "`btl tcp,self`, `pml ob1`; both sides poll",
              lambda s: mpi(s, "pt2pt", "--mca", "pml", "ob1", "--mca", "osc", "pt2pt"),
              is_rival=True),
    Contender("Open MPI get, osc ucx", "`pml ucx`, `UCX_TLS=tcp,self`; both sides poll",
              lambda s: mpi(s, "ucx", "--mca", "pml", "ucx", "--mca", "osc", "ucx", "--mca",
                            "pml_ucx_tls", "any", "--mca", "pml_ucx_devices", "any", "--mca",
                            "osc_ucx_tls", "any", "--mca", "osc_ucx_devices", "any",
                            env=UCX_TCP), is_rival=True),
    Contender("Open MPI get, osc rdma", "`btl tcp,self`, `pml ob1`",
              lambda s: mpi(s, "rdma", "--mca", "pml", "ob1", "--mca", "osc", "rdma"),
              is_rival=True),
    Contender(REDIS, "no persistence; hiredis, which sleeps until the answer is there",
              lambda s: redis(s, "")),
    Contender("Redis GET, spinning", "the same; who asks never sleeps",
              lambda s: redis(s, "spin")),
    Contender("memcached get", "one thread; libmemcached, which sleeps", memcached),
    Contender("ucx_perftest ucp_put_lat, tcp", "one buffer; one way, half of a round trip",
              lambda s: perftest_latency(s, UCX_TCP, "ucp_put_lat")),
    Contender("telepage, embedded, memif", "`node_fetch_lat --pmd memif`, beside shared memory",
              lambda s: telepage_fetch(s, "node_fetch_lat", "--pmd", "memif")),
    Contender("UCX shared memory get", "`UCX_TLS=posix,self`, ordinary memory; both sides poll",
              lambda s: peer_pair(s, "ucx", env=UCX_SHM, shared=True)),
    Contender("ucx_perftest ucp_get, shared memory",
              "one buffer in the cache, copied from a segment that both map",
              lambda s: perftest_latency(s, UCX_SHM, "ucp_get", shared=True)),
)

THROUGHPUT = (
    Contender(SESSION, "`session_loss_bw`, 4 KiB pages of a set of 256 MiB", telepage_session,
              bench="session_loss_bw"),
    Contender(STREAM, "`page_stream_bw`, reads of 1 MiB by an embedded node, set of 256 MiB",
              telepage_stream, bench="page_stream_bw"),
    Contender("UCX tcp put, 4 KiB", "`ucx_perftest -t ucp_put_bw`, one buffer",
              lambda s: ucx_put(s, PAGE)),
    Contender("UCX tcp put, 64 KiB", "the same", lambda s: ucx_put(s, 16 * PAGE)),
    Contender("TCP", "`iperf3`, one connection, cubic", tcp_stream),
)

# Share of frames lost by the bridge, both ways.
LOSSES = (0.0, 1e-4, 1e-3, 1e-2)


def latency_stage(lab: Lab, build: Path, count: int) -> Stage:
    """Two namespaces and two cables, one for the nodes and one for what is raw."""
    return Stage(lab, build, Pair(lab, 2), count)


def loss_stage(lab: Lab, build: Path, count: int) -> tuple[Stage, Network]:
    """The same through bridges that can lose frames, without offloads."""
    network = Network(lab, 2, 2)
    return Stage(lab, build, network, count), network
