# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Suites inside a virtual machine: drivers of PCI network cards, on vfio-pci."""

import sys

from cluster import ROOT
from lab import LabError
from suite import FULL, TestSuite
from vm.image import VmMissing, prepare
from vm.machine import Machine

NODES = 3
KINDS = ("virtio", "e1000e")
# What is run on each kind of card: suite, workers for the one queue.
RUNS = (("port", 1),) if not FULL else tuple(
    (name, workers) for name in ("port", "sharing", "atomics", "kill_client", "kill_node")
    for workers in (1, 2))


class TestVm(TestSuite):
    """Three cards of a kind on one hub; a node on each, all in one machine."""

    case_seconds = 3600 if FULL else 300
    # Of that, booting and switching off take the rest.
    inside_seconds = 900 if FULL else 200

    def set_up_suite(self) -> None:
        """What to boot."""
        for program in ("telepaged", "telepage", "dts/telepage-load"):
            self.program(program)
        try:
            self.image = prepare(self.build / "vm")
        except VmMissing as reason:
            self.skip(str(reason))

    def suites_pass(self, machine: Machine, *words: str, seconds: float) -> None:
        """Run suites inside; none may fail, nor be skipped."""
        output = machine.run(
            "suites", sys.executable, ROOT / "dts" / "run.py", "--build-dir", self.build, *words,
            seconds=seconds, env={"TP_PCI": ",".join(machine.pci_addresses),
                                  "TP_PATIENCE": "3"})
        print(output, end="", flush=True)
        passed, _, skipped = (int(word) for word in output.splitlines()[-1].split()[::2])
        self.verify(passed > 0 and skipped == 0, f"{passed} passed, {skipped} skipped")

    def cards_pass(self, kind: str, name: str, workers: int) -> None:
        """Boot a machine with such cards and run what they must pass."""
        machine = Machine(self.lab, self.image, nics=(kind,) * NODES)
        machine.boot()
        machine.nics_bind()
        self.suites_pass(machine, name, "--variant", f"pci,{workers}", seconds=self.inside_seconds)
        machine.power_off()

    def test_command_that_hangs_ends_with_its_machine(self) -> None:
        """What suites rely on: commands have a status, an output, and an end.

        Steps:
            Run a command that prints, one that fails, and one that never ends; boot again.
        Verify:
            The output; an error with the status; an error, and the machine is off; the
            new machine has nothing of the old one but its folder /vm.
        """
        machine = Machine(self.lab, self.image)
        machine.boot()
        self.verify(machine.run("print", "cat", "/proc/1/comm") == "guest\n", "process 1")
        for words, wanted in ((("sh", "-c", "exit 3"), "status 3"), (("sleep", 1000), "no end")):
            try:
                machine.run("wrong", "sh", "-c", 'touch /tmp/old /vm/old; exec "$@"', "sh", *words,
                            seconds=5)
                self.verify(False, f"{words} is no error")
            except LabError as error:
                self.verify(wanted in str(error), f"{words}: {error}")
        self.verify(not machine.is_running, "a machine whose command hangs goes on")
        machine.boot()
        machine.run("state", "sh", "-c", "[ ! -e /tmp/old ] && [ -e /vm/old ]")


def run_add(kind: str, name: str, workers: int) -> None:
    """A case of its own for each, so that each can be run alone."""
    def case(self: TestVm) -> None:
        self.cards_pass(kind, name, workers)

    case.__doc__ = f"""DPDK's driver of {kind} on the kernel's vfio-pci, behind an IOMMU.

    Steps:
        Run suite {name} in a machine with three such cards, {workers} workers a node.
    Verify:
        It passes, nothing is skipped, the machine ends in order.
    """
    setattr(TestVm, f"test_{name}_passes_on_{kind}_cards_{workers}", case)


for _kind in KINDS:
    for _name, _workers in RUNS:
        run_add(_kind, _name, _workers)
