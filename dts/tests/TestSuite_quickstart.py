# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""The demonstration that devtools/quickstart.sh runs after building."""

import re
import signal
import sys
from pathlib import Path

import janitor
from lab import Process, wait_until
from suite import TestSuite

PROGRAM = Path(__file__).resolve().parent.parent / "quickstart.py"


def machine_state() -> str:
    """What a lab takes from the machine beside what bears its name."""
    return (janitor.HUGEPAGES / "nr_hugepages").read_text()


class TestQuickstart(TestSuite):
    """It does what it says, and leaves the machine as it was."""

    case_seconds = 180

    def set_up_suite(self) -> None:
        """Needs the programs."""
        for program in ("telepaged", "telepage", "dts/telepage-load"):
            self.program(program)

    def start(self, name: str, *words: str) -> Process:
        """Start the demonstration."""
        return self.lab.start(name, sys.executable, PROGRAM, "--build-dir", self.build, *words)

    def verify_nothing_left(self, process: Process) -> None:
        """Neither processes nor namespaces, mounts or folders of that run."""
        def left() -> list[str]:
            prefix = f"tp-{process.pid}-"
            places = ("/run", "/run/netns", "/run/dpdk", "/var/tmp")
            mounts = Path("/proc/mounts").read_text().splitlines()
            return ([str(path) for place in places for path in Path(place).glob(prefix + "*")]
                    + [line for line in mounts if prefix in line]
                    + [str(pid) for pid in janitor.group_members(process.pid)])

        wait_until(lambda: not left(), 30, f"clean-up, left: {left()}")

    def verify_done(self, name: str, *words: str) -> str:
        """A run that ends well; what it printed."""
        before = machine_state()
        process = self.start(name, *words)
        self.verify(process.wait(170) == 0, process.output())
        self.verify_nothing_left(process)
        self.verify(machine_state() == before, f"the machine is not as it was: {before}, "
                                               f"now {machine_state()}")
        return process.output()

    def test_quickstart_shares_a_file_and_counts(self) -> None:
        """The main job.

        Steps:
            Run it as a user would.
        Verify:
            It ends well; the table counts hits, misses, forwards, upgrades, evictions
            and write-backs; nothing of it is left.
        """
        output = self.verify_done("quickstart")
        for row in ("hits", "misses", "forwards", "upgrades", "evictions", "write-backs"):
            found = re.search(rf"^{row} .* ([0-9,]+)$", output, re.MULTILINE)
            self.verify(found and int(found[1].replace(",", "")) > 0, f"no {row}:\n{output}")
        for text in ("8 counters, each 37,500", "hit latency", "miss latency"):
            self.verify(text in output, f"no {text!r}:\n{output}")

    def test_quickstart_under_loss_gives_the_same(self) -> None:
        """The same while frames are lost.

        Steps:
            Run it with --loss 1.
        Verify:
            It ends well, frames were sent again, nothing of it is left.
        """
        output = self.verify_done("loss", "--loss", "1")
        found = re.search(r"^retransmissions .* ([0-9,]+)$", output, re.MULTILINE)
        self.verify(found and int(found[1].replace(",", "")) > 0, output)

    def test_quickstart_interrupted_leaves_nothing(self) -> None:
        """Ctrl-C while programs are at work.

        Steps:
            Interrupt it while the nodes start, and while the file is read back.
        Verify:
            It ends with an error; nothing of it is left.
        """
        for text in ("make the network", "put the file"):
            before = machine_state()
            process = self.start(f"interrupt-{text.replace(' ', '-')}")
            process.wait_for(text)
            process.popen.send_signal(signal.SIGINT)
            self.verify(process.wait(30) != 0, "an interrupted run reports success")
            self.verify_nothing_left(process)
            self.verify(machine_state() == before, "the machine is not as it was")
