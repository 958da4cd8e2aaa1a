# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""The lab itself: does the network carry, lose and cut, and does it all go away."""

import mmap
import re
import signal
import subprocess
import sys
from pathlib import Path

import janitor
import lab as lab_module
from lab import LabError, run, wait_until
from network import Network
from suite import TestSuite

MAP_HUGETLB = 0x40000  # not in the mmap module


def address(number: int) -> str:
    """Kernel address of a node while the lab tests itself."""
    return f"10.91.0.{number}"


class TestLab(TestSuite):
    """Self-test of dts/lab.py, dts/network.py and dts/janitor.py."""

    def set_up_suite(self) -> None:
        """Three nodes; real suites leave the kernel without an address."""
        self.network = Network(self.lab, 3)
        for node in self.network.nodes:
            run("ip", "-n", node.netns, "address", "add", f"{address(node.number)}/24", "dev",
                node.devices[0])

    def tear_down_test_case(self) -> None:
        """No fault outlives its case."""
        self.network.heal()

    def ping(self, source: int, target: int, count: int = 3, payload: int = 64) -> int:
        """Replies that arrived."""
        said = run("ip", "netns", "exec", self.network.node(source).netns, "ping", "-n", "-q",
                   "-c", count, "-i", "0.002", "-W", "1", "-M", "do", "-s", payload,
                   address(target), check=False)
        return int(re.search(r"(\d+) received", said).group(1))

    def test_network_jumbo_frames_arrive(self) -> None:
        """Frames of 9000 bytes pass between all nodes.

        Steps:
            Ping from every node to every other one with 8972 bytes of payload.
        Verify:
            Every reply arrives.
        """
        for source, target in ((1, 2), (2, 3), (3, 1)):
            self.verify(self.ping(source, target, payload=8972) == 3,
                        f"node {source} does not reach node {target}")

    def test_network_cut_and_heal(self) -> None:
        """A cut is between two nodes only, can be one-way, and heals.

        Steps:
            Fix the neighbours' addresses, cut 1 from 2 one way, ping; heal, ping.
        Verify:
            1 and 2 lose each other, 1 and 3 do not; the drop counter moved;
            after healing all is well.
        """
        for source, target in ((1, 2), (2, 1)):
            run("ip", "-n", self.network.node(source).netns, "neighbour", "replace",
                address(target), "lladdr", self.network.node(target).macs[0], "dev", "net0")
        self.network.cut(1, 2, both_ways=False)
        self.verify(self.ping(1, 2) == 0, "a cut lets frames through")
        self.verify(self.network.dropped() == 3, "the requests were not counted as dropped")
        self.verify(self.ping(2, 1) == 0, "replies pass the cut")
        self.verify(self.network.dropped() == 6, "the replies were not counted as dropped")
        self.verify(self.ping(1, 3) == 3, "the cut reaches a third node")
        self.network.heal()
        self.verify(self.ping(1, 2) == 3, "no traffic after healing")

    def test_network_isolate_reaches_nobody(self) -> None:
        """An isolated node is alone, the others are not.

        Steps:
            Isolate node 2, ping.
        Verify:
            Nothing between 2 and the others, all between 1 and 3.
        """
        self.network.isolate(2)
        self.verify(self.ping(2, 3) == 0 and self.ping(1, 2) == 0, "an isolated node talks")
        self.verify(self.ping(1, 3) == 3, "the others lost each other")

    def test_network_loss_is_near_the_asked_share(self) -> None:
        """Loss takes about the share of frames that was asked for.

        Steps:
            Lose 20 % from 1 to 3, ping 200 times.
        Verify:
            Between 5 % and 40 % of the requests are gone (more than five
            standard deviations to either side), and all are accounted for.
        """
        self.ping(1, 3)
        self.network.loss(20, source=1, target=3)
        got = self.ping(1, 3, count=200)
        self.verify(120 <= got <= 190, f"{got} of 200 replies under 20 % loss")
        self.verify(self.network.dropped() >= 200 - got, "a loss was not counted")

    def test_network_has_no_offloads(self) -> None:
        """What AF_PACKET sees is what was sent.

        Steps:
            Ask for the offloads of a node's device.
        Verify:
            Checksums and segmentation are off.
        """
        said = run("ip", "netns", "exec", self.network.node(1).netns, "ethtool", "-k", "net0")
        for name in ("tx-checksumming", "tcp-segmentation-offload", "generic-receive-offload",
                     "generic-segmentation-offload"):
            self.verify(f"{name}: off" in said, f"{name} is on")

    def test_process_stop_and_kill(self) -> None:
        """Processes end in order, or at once, with their children.

        Steps:
            Start a shell with a child in node 1's namespace, stop it; start one
            that ignores SIGTERM, stop it.
        Verify:
            The first ends by the signal; the second is killed and reported;
            nothing of either group is left.
        """
        netns = self.network.node(1).netns
        process = self.lab.start("sleeper", "sh", "-c", "sleep 60 & echo up; wait", netns=netns)
        process.wait_for("up")
        self.verify(process.stop() == -signal.SIGTERM, "not ended by SIGTERM")
        wait_until(lambda: not janitor.group_members(process.pid), 5, "end of the group")
        process = self.lab.start("stubborn", "sh", "-c", "trap '' TERM; echo up; sleep 60")
        process.wait_for("up")
        try:
            process.stop(seconds=0.5)
        except LabError:
            pass
        else:
            self.verify(False, "a process that ignored SIGTERM was not reported")
        wait_until(lambda: not janitor.group_members(process.pid), 5, "end of the group")

    def _lab_ends_by(self, signum: int) -> None:
        before = (janitor.HUGEPAGES / "nr_hugepages").read_text()
        outer = subprocess.Popen(
            [sys.executable, lab_module.__file__, "up", "--nodes", "2", "--hugepages", "3"],
            stdout=subprocess.PIPE, text=True)
        with outer:
            line = outer.stdout.readline()
            self.verify(line.startswith("lab "), f"unexpected output {line!r}")
            prefix = line.split()[1].rstrip(":")
            while "Ctrl-C" not in outer.stdout.readline():
                self.verify(outer.poll() is None, "the lab ended early")
            taken = (janitor.HUGEPAGES / "nr_hugepages").read_text()
            self.verify(int(taken) == int(before) + 3, f"{taken} huge pages after {before} + 3")
            outer.send_signal(signum)
            outer.wait(20)

        self.verify(outer.returncode != 0, "an interrupted lab reports success")

        def leftovers() -> list[str]:
            return ([str(path) for path in Path("/run/netns").glob(prefix + "*")]
                    + [str(path) for path in Path("/run").glob(prefix + "*")]
                    + [line for line in Path("/proc/mounts").read_text().splitlines()
                       if prefix in line])

        wait_until(lambda: not leftovers(), 20, f"clean-up, left: {leftovers()}")
        wait_until(lambda: (janitor.HUGEPAGES / "nr_hugepages").read_text() == before, 5,
                   "restored number of huge pages")

    def test_pages_still_in_use_are_not_given_back_twice(self) -> None:
        """A lab ends while a process that it had is not gone yet, and the next one begins.

        Steps:
            Reserve pages, use two of them, give all back, reserve others; let go of the
            two, give the others back.
        Verify:
            There are as many as before.
        """
        before = janitor.hugepages_reserved()
        self.verify(janitor.hugepages_change(4) == 4, "no huge pages")
        used = mmap.mmap(-1, 2 << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_HUGETLB)
        used[0] = used[2 << 20] = 1
        janitor.hugepages_change(-4)
        self.verify(janitor.hugepages_change(3) == 3, "no huge pages")
        used.close()
        janitor.hugepages_change(-3)
        left = int((janitor.HUGEPAGES / "nr_hugepages").read_text())
        self.verify(left == before, f"{left} pages left of {before}")

    def test_lab_killed_leaves_nothing(self) -> None:
        """The janitor cleans up after a lab that could not.

        Steps:
            Start a second lab with two nodes and three huge pages, kill -9 it.
        Verify:
            Its namespaces, mounts and folders go, the huge pages are as before.
        """
        self._lab_ends_by(signal.SIGKILL)

    def test_lab_interrupted_leaves_nothing(self) -> None:
        """The same after SIGTERM and SIGINT.

        Steps:
            Start a second lab, end it by SIGTERM; again with SIGINT.
        Verify:
            As above.
        """
        self._lab_ends_by(signal.SIGTERM)
        self._lab_ends_by(signal.SIGINT)
