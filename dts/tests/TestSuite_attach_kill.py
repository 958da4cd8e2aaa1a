# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Programs that are killed at any instant from their start on, also inside attach."""

import contextlib
import os
import signal
import socket
import statistics
import threading
import time
from pathlib import Path

import suite
from cluster import TAP, XDP
from cluster_suite import ClusterSuite
from lab import LabError, Process, wait_until

# Kills a case: by hand (dts/run.py --full) as many as the project promises.
# On other ports than af_packet a node that poisoned its gate takes longer to restart.
KILLS, KILLS_OTHERS, KILLS_FULL = 40, 20, 500
# After how many kills a node must be found whole.
ROUND = 20
SECONDARIES = 8
RING_SECONDS = 2
END_SECONDS = 1.0
# The same where other work keeps the node off its cores.
END_SECONDS_CROWDED = 4.0
# What telepaged and EAL keep in the run directory of a node that runs.
OWN_FILES = ("config", "dpdk_telemetry", "fbarray_memseg", "fbarray_memzone", "hugepage_info",
             "mp_socket", "telepage.sock")
DIED = "died while it attached as a DPDK secondary process"
STANDS = "stands still while it attaches as a DPDK secondary process"


class Ringer:
    """Rings doorbells without end, as long as the block lasts."""

    def __init__(self, paths: list[str]):
        self.paths = paths
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.ring, daemon=True)

    def ring(self) -> None:
        """Until the end."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
            bell.setblocking(False)
            while not self.ended.is_set():
                for path in self.paths:
                    with contextlib.suppress(BlockingIOError):
                        bell.sendto(b"x", path)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()


class TestAttachKill(ClusterSuite):
    """kill -9 from exec on, half of it inside attach, for both ways of attaching."""

    variants = ({"pmd": "af_packet", "workers": 1}, {"pmd": "memif", "workers": 2},
                {"pmd": TAP, "workers": 1}, *([{"pmd": XDP, "workers": 1}] if suite.FULL else []))
    # Short leases: a restarted node need not wait long. Patient with the machine all the same.
    settings = {**ClusterSuite.settings, "lease_ms": 250, "fence_margin_ms": 50}
    fresh_cluster = True
    node_count = 2
    case_seconds = 7200 if suite.FULL else 300

    def set_up_suite(self) -> None:
        """The program that takes DPDK's locks has to be there."""
        self.hold = self.program("dts/telepage-hold")
        self.example = self.program("examples/example_shared_array")
        self.chance = suite.chance(11)
        self._regions = 0
        super().set_up_suite()

    # -- what is looked at

    def rundir(self) -> Path:
        """EAL's run directory of node 1."""
        return Path("/run/dpdk", self.cluster.prefixes[1])

    def strangers(self) -> list[str]:
        """Files in the run directory that are not the node's."""
        return [name for name in os.listdir(self.rundir())
                if not name.startswith(OWN_FILES) or name.startswith("mp_socket_")
                or name.rpartition("_")[2].isdigit()]

    def heap(self) -> int:
        """Bytes taken of the node's DPDK heap."""
        return self.cluster.telemetry(1, "/eal/heap_info,0")["Alloc_size"]

    def whole(self, heap: int) -> None:
        """Node 1 has forgotten all its programs, and holds nothing of theirs."""
        try:
            wait_until(lambda: self.cluster.telemetry(1)["client_count"] == 0, 10,
                       "end of all clients")
            wait_until(lambda: not any(
                value for name, value in self.cluster.telemetry(1, "/tp/node/usage").items()
                if not name.endswith("_slots")), 10, "rest")
            wait_until(lambda: not self.strangers(), 5, "tidy run directory")
        except LabError as error:
            self.verify(False, f"{error}: {self.cluster.telemetry(1, '/tp/node/usage')}, "
                               f"{self.strangers()}")
        taken = self.heap()
        self.verify(taken <= heap, f"DPDK heap: {heap} bytes were taken, {taken} are")

    def ends(self) -> None:
        """SIGTERM ends node 1 within a second, and its files with it."""
        process, huge = self.cluster.processes.pop(1), self.lab.dir / "huge"
        mine = f"{self.cluster.prefixes[1]}map_"
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status = process.wait(10)
        seconds = time.monotonic() - started
        crowded = os.getloadavg()[0] > os.cpu_count()
        self.verify(seconds < (END_SECONDS_CROWDED if crowded else END_SECONDS),
                    f"node 1 ended after {seconds:.2f} s")
        self.verify(status == 0, f"node 1 ended with {status}:\n{process.output()}")
        self.verify(not self.rundir().exists(), "its run directory is still there")
        left = [name for name in os.listdir(huge) if name.startswith(mine)]
        self.verify(not left, f"huge pages are left: {left}")

    def kills(self) -> int:
        """How many programs a case kills."""
        return suite.times(KILLS if self.cluster.pmd == "af_packet" else KILLS_OTHERS,
                           KILLS_FULL)

    # -- programs

    def victim(self, region: str, seed: int, *words: object) -> Process:
        """Start a program that uses everything. In no namespace: exec is the first thing."""
        return self.lab.start(
            f"victim{seed}", self.build / "dts" / "telepage-load", "mix", "--prefix",
            self.cluster.prefixes[1], "--region", region, "--seed", seed, *words)

    def attach_seconds(self, region: str, *words: object) -> float:
        """How long a program takes from exec to its first access."""
        times = []
        for seed in range(5):
            started = time.monotonic()
            victim = self.victim(region, seed, *words)
            while "running" not in victim.output():
                self.verify(victim.is_running, victim.output())
                time.sleep(0.001)
            times.append(time.monotonic() - started)
            victim.send_signal(signal.SIGTERM)
            victim.wait()
            self.forget(victim)
        return statistics.median(times)

    def forget(self, process: Process) -> None:
        """A program that has ended needs no log any more."""
        process.log.unlink()
        self.lab.processes.remove(process)

    def kill_one(self, region: str, seed: int, attach: float, *words: object) -> None:
        """Start a program and kill it, inside attach in every other case."""
        inside = seed % 2 == 0
        victim = self.victim(region, seed, *words)
        time.sleep(self.chance.uniform(0, attach) if inside else
                   self.chance.uniform(attach, attach + 0.05))
        status = victim.kill()
        self.verify(status == -signal.SIGKILL, f"ended with {status}: {victim.output()}")
        self.forget(victim)

    def new_region(self) -> str:
        """A region with pages on both nodes."""
        self._regions += 1
        return self.region(f"r{self._regions}", "2M", "--nodes", "1,2")

    def by_socket(self, region: str) -> None:
        """A program can attach without EAL, and its accesses are done."""
        self.cluster.command(1, "atomic", region, 0, "add", 1)

    def as_secondary(self, region: str) -> str:
        """A program can attach as a secondary process; what it prints."""
        fresh = self.lab.start(f"fresh{time.monotonic_ns()}", self.build / "telepage",
                               "--prefix", self.cluster.prefixes[1], "--secondary", "--no-pci",
                               "atomic", region, 0, "load")
        try:
            status = fresh.wait(40)
        except LabError:
            self.verify(False, f"a secondary process hangs: {fresh.output()}")
        return fresh.output() if status != 0 else ""

    def calm(self, restarts: bool = False) -> list:
        """Loads on node 2's own memory that notice nothing of what happens on node 1."""
        if self.cluster.pmd == "memif" and restarts:
            return []
        region, truth = self.region(f"calm{time.monotonic_ns()}", "64K", "--nodes", "2"), \
            self.truth()
        return [self.load(2, "increment", region, words=8, window=4, truth=truth),
                self.load(2, "watch", region, words=8, truth=truth)]

    # -- cases

    def test_program_killed_at_any_instant_leaves_nothing(self) -> None:
        """Attached by the socket alone.

        Steps:
            40 (500) times start a program on node 1 that reads, writes, adds and pins with
            accesses in flight, and kill it: every other one within the time that attach
            takes, the rest up to 50 ms later.
        Verify:
            After every 20: the node counts no client, request, guard or quarantined slot, the
            run directory and the DPDK heap are as before, a fresh program can attach either
            way. Programs of node 2 see nothing. SIGTERM ends the node within 1 s, with its
            files.
        """
        region, calm = self.new_region(), self.calm()
        heap = self.heap()
        attach = self.attach_seconds(region)
        for seed in range(self.kills()):
            self.kill_one(region, seed, attach)
            if seed % ROUND == ROUND - 1:
                self.by_socket(region)
                self.whole(heap)
        refused = self.as_secondary(region)
        self.verify(not refused, refused)
        for load in calm:
            self.verify_clean(load.stop())
        self.ends()

    def test_secondary_killed_at_any_instant_leaves_nothing(self) -> None:
        """Attached as a DPDK secondary process.

        Steps:
            As above with secondary processes. When one died inside the gate, look at the
            node, then end it by SIGTERM and start it again.
        Verify:
            As above; a death inside the gate is one line in the node's log, later
            secondaries are refused with a message at once, programs without EAL are
            served; the node ends within 1 s all the same, and its successor takes
            secondaries again.
        """
        region, calm = self.new_region(), self.calm(restarts=True)
        heap = self.heap()
        attach = self.attach_seconds(region, "--secondary")
        poisoned = 0
        for seed in range(self.kills()):
            self.kill_one(region, seed, attach, "--secondary")
            if self.is_poisoned(region):
                poisoned += 1
                region, heap = self.restart()
            elif seed % ROUND == ROUND - 1:
                self.whole(heap)
        print(f"        {poisoned} of {seed + 1} died inside the gate, DPDK heap grew by "
              f"{self.heap() - heap} bytes", flush=True)
        for load in calm:
            self.verify_clean(load.stop())
        self.ends()

    def test_secondary_that_ends_gives_all_memory_back(self) -> None:
        """In order, without a kill: what EAL and drivers take for a secondary process.

        Steps:
            8 times attach a secondary process that does one access and ends.
        Verify:
            The node's DPDK heap, which never grows, holds as much as before.
        """
        region = self.new_region()
        before = self.heap()
        for _ in range(SECONDARIES):
            refused = self.as_secondary(region)
            self.verify(not refused, refused)
        self.verify(self.heap() == before,
                    f"DPDK heap: {before} bytes were taken, {self.heap()} are")

    def is_poisoned(self, region: str) -> bool:
        """Whether the last one died inside the gate; a fresh attach says the same."""
        self.by_socket(region)
        refused = self.as_secondary(region)
        lines = self.cluster.processes[1].output().count(DIED)
        if refused:
            self.verify("died while it attached" in refused, f"refused, but: {refused}")
        self.verify(lines == (1 if refused else 0),
                    f"{lines} lines in the node's log, and a secondary is told {refused!r}")
        return bool(refused)

    def restart(self) -> tuple[str, int]:
        """End node 1 and start it again; a region on it, and its heap."""
        self.ends()
        self.cluster.start_node(1)
        if self.cluster.pmd == "memif":
            # The driver of its peer does not look for a server that went.
            self.cluster.processes[1].wait_for("ready")
            self.cluster.processes.pop(2).kill()
            self.cluster.start_node(2)
        for number in self.cluster.numbers:
            self.cluster.await_members(number, self.cluster.numbers)
        region, heap = self.new_region(), self.heap()
        refused = self.as_secondary(region)
        self.verify(not refused, f"the successor takes no secondary: {refused}")
        return region, heap

    def test_node_ends_though_a_secondary_holds_its_locks(self) -> None:
        """The worst instant: with the locks of memory, tail queues and pools taken.

        Steps:
            A secondary on node 1 takes DPDK's shared locks inside the gate; stop it, then
            end the node. Again, and kill it instead.
        Verify:
            Programs without EAL are served; the node says in one line that one died,
            or stands still, and refuses others at once (of the stopped one: after 2 s, then
            at once); SIGTERM ends it within 1 s,
            its run directory, socket and huge pages are gone.
        """
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            region = self.new_region()
            holder = self.lab.start(f"hold{signum}", self.hold, self.cluster.prefixes[1])
            holder.wait_for("inside")
            holder.send_signal(signum)
            self.by_socket(region)
            data = self.data(1 << 20)
            self.cluster.command(1, "put", region, data)
            self.verify_get(2, region, data)
            if signum == signal.SIGSTOP:
                self.nobody_waits(region)
            if signum == signal.SIGKILL:
                holder.wait()
                self.verify(self.is_poisoned(region), "nobody noticed the death")
            self.ends()
            if signum == signal.SIGSTOP:
                holder.kill()
                self.restart_both()

    def nobody_waits(self, region: str) -> None:
        """One stands still inside: others are refused, the first after 2 s, then at once."""
        for limit in (10, 5):
            begun = time.monotonic()
            refused = self.as_secondary(region)
            seconds = time.monotonic() - begun
            self.verify("stands still while it attaches" in refused,
                        f"a secondary is told {refused!r}")
            self.verify(seconds < limit, f"it waited {seconds:.1f} s for who stands still")
        lines = self.cluster.processes[1].output().count(STANDS)
        self.verify(lines == 1, f"{lines} lines in the node's log")

    def restart_both(self) -> None:
        """Both nodes anew."""
        for process in self.cluster.processes.values():
            process.kill()
        self.cluster.processes.clear()
        self.cluster.start()

    def test_program_that_ends_in_any_way_disturbs_no_port(self) -> None:
        """Exit, death, --help and other EAL arguments, while traffic goes over the ports.

        Steps:
            Programs on both nodes change and watch each other's words. Meanwhile on node 1:
            secondaries that end in order, that are killed, that are asked for --help, with a
            wrong option, with other lcores and devices of their own, and one that claims to
            be the primary.
        Verify:
            Those programs see no VOID and no wrong value; frames still pass in both
            directions; the gate is still open.
        """
        region, truth = self.region("calm", "64K", "--nodes", "1,2"), self.truth()
        calm = [self.load(number, mode, region, words=8, truth=truth, timeout=20000)
                for number in (1, 2) for mode in ("increment", "watch")]
        array = self.region("array", "64K", "--nodes", "1,2")
        prefix = ("--file-prefix", self.cluster.prefixes[1], "--no-pci")
        for words, ends_well in (
                ((*prefix, "--", array, "fill"), True),
                ((*prefix, "--help"), True),
                ((*prefix, "--", "nonsense"), False),
                ((*prefix, "--nonsense"), False),
                ((*prefix, "--lcores", "7@0", "--vdev=net_null0", "--", array, "fill"), True),
                ((*prefix, "--proc-type=primary", "--", array, "fill"), False),
                ((*prefix, "--vdev=net_null1", "-m", "64", "--", array, "sum"), True)):
            process = self.lab.start(f"array{time.monotonic_ns()}", self.example, *words)
            status = process.wait(40)
            self.verify(not ends_well or status == 0, f"{words}: {status}: {process.output()}")
        for seed in range(4):
            victim = self.victim(array, seed, "--secondary")
            victim.wait_for("running")
            victim.kill()
        refused = self.as_secondary(array)
        self.verify(not refused, refused)
        for load in calm:
            self.verify_clean(load.stop())
        data = self.data(1 << 20)
        after = self.region("after", "2M", "--nodes", "1,2")
        for source, target in ((1, 2), (2, 1)):
            self.cluster.command(source, "put", after, data)
            self.verify_get(target, after, data)
        self.verify_alive()

    def test_doorbell_rung_without_end_disturbs_nobody(self) -> None:
        """The datagram sockets beside memif: whoever can reach them may ring.

        Steps:
            Programs on both nodes change and watch each other's words, while somebody rings
            node 1's doorbells as fast as he can; then nobody asks for anything while he does.
        Verify:
            Those programs see no VOID and no wrong value. Node 1 stops listening to rings
            that bring nothing, counts them, and sleeps.
        """
        if self.cluster.pmd != "memif":
            self.skip("it has no doorbell")
        region, truth = self.region("calm", "64K", "--nodes", "1,2"), self.truth()
        bells = [str(path) for path in self.cluster.dir.glob("memif12.0s*")]
        self.verify(len(bells) == self.variant["workers"], f"doorbells: {bells}")
        with Ringer(bells):
            calm = [self.load(number, mode, region, words=8, truth=truth)
                    for number in (1, 2) for mode in ("increment", "watch")]
            time.sleep(RING_SECONDS)
            for load in calm:
                self.verify_clean(load.stop())
            started = time.monotonic()
            before = self.cluster.telemetry(1, "/tp/node")["rings_vain"]
            time.sleep(RING_SECONDS)
            vain = self.cluster.telemetry(1, "/tp/node")["rings_vain"] - before
            limit = 2 * len(bells) * (time.monotonic() - started) * 1000
        # For each that is heard a worker sleeps for 1 ms; twice as many for the start.
        self.verify(0 < vain <= limit, f"{vain} rings were heard, {limit:.0f} at most may be")
        self.verify_alive()
