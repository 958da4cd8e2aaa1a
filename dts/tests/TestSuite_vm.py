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


class TestVm(TestSuite):
    """Three cards of a kind on one hub; a node on each, all in one machine."""

    case_seconds = 3600 if FULL else 300

    def set_up_suite(self) -> None:
        """What to boot."""
        for program in ("telepaged", "telepage", "dts/telepage-load"):
            self.program(program)
        try:
            self.image = prepare(self.build / "vm")
        except VmMissing as reason:
            self.skip(str(reason))

    def suites_pass(self, machine: Machine, *words: str, seconds: float = 280) -> None:
        """Run suites inside; none may fail, nor be skipped."""
        output = machine.run(
            "suites", sys.executable, ROOT / "dts" / "run.py", "--build-dir", self.build, *words,
            seconds=seconds, env={"TP_PCI": ",".join(machine.pci_addresses),
                                  "TP_PATIENCE": "3"})
        print(output, end="", flush=True)
        passed, _, skipped = (int(word) for word in output.splitlines()[-1].split()[::2])
        self.verify(passed > 0 and skipped == 0, f"{passed} passed, {skipped} skipped")

    def cards_pass(self, kind: str) -> None:
        """Boot a machine with such cards and run what they must pass."""
        machine = Machine(self.lab, self.image, nics=(kind,) * NODES)
        machine.boot()
        machine.nics_bind()
        self.suites_pass(machine, "port", "--variant", "pci,1")
        if FULL:
            self.suites_pass(machine, "port", "--variant", "pci,2")
            for name in ("sharing", "atomics", "kill_client", "kill_node"):
                for workers in (1, 2):
                    self.suites_pass(machine, name, "--variant", f"pci,{workers}", seconds=900)
        machine.power_off()

    def test_nodes_on_virtio_cards_pass_the_suites(self) -> None:
        """DPDK's net_virtio on the kernel's vfio-pci, behind an IOMMU.

        Steps:
            Run suite port in the machine: a file, atomics, a killed program, a killed
            node. With --full also sharing, atomics, kill_client and kill_node, with one
            and with two workers for the one queue.
        Verify:
            They pass, nothing is skipped, the machine ends in order.
        """
        self.cards_pass("virtio")

    def test_nodes_on_e1000e_cards_pass_the_suites(self) -> None:
        """The same with net_e1000_em.

        Steps:
            As above.
        Verify:
            As above.
        """
        self.cards_pass("e1000e")

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
