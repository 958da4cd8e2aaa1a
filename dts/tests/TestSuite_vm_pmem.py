# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Pools of persistent memory in a virtual machine whose power is cut."""

import re
import shutil
import time

import suite
from suite import TestSuite, times
from vm.image import VmMissing, prepare
from vm.machine import Job, Machine
from vm.nvdimm import TOOLS, Nvdimms, nvdimm_make

FILE_SYSTEMS = ("ext4", "xfs")
WRITERS = 2


class TestVmPmem(TestSuite):
    """lib/pmem on DAX and on a device of persistent memory."""

    case_seconds = 3600 if suite.FULL else 400

    def set_up_suite(self) -> None:
        """What to boot, and what to run there."""
        self.writer = self.program("dts/telepage-pmem-writer")
        self.cli = self.program("telepage")
        for tool in TOOLS:
            if shutil.which(tool) is None:
                self.skip(f"{tool} is not installed")
        try:
            self.image = prepare(self.build / "vm")
        except VmMissing as reason:
            self.skip(str(reason))

    def machine(self, *mib: int, persistence: str = "mem-ctrl") -> tuple[Machine, Nvdimms]:
        """A running machine with NVDIMMs of these sizes."""
        files = tuple(nvdimm_make(self.lab, f"nvdimm{i}", size) for i, size in enumerate(mib))
        machine = Machine(self.lab, self.image, memory_mib=1024, nvdimms=files,
                          persistence=persistence)
        machine.boot()
        nvdimms = Nvdimms(machine)
        nvdimms.find()
        return machine, nvdimms

    def places(self, nvdimms: Nvdimms) -> list[str]:
        """A pool's file on each file system and the device, with everything mounted."""
        files = [nvdimms.mount(i, file_system) + "/pool"
                 for i, file_system in enumerate(FILE_SYSTEMS)]
        return [*files, nvdimms.device(len(FILE_SYSTEMS))]

    def verify_info(self, machine: Machine, path: str, granularity: str) -> None:
        """What `telepage pmem info` says of a pool."""
        said = machine.run("info", self.cli, "pmem", "info", path)
        found = re.search(r"^granularity +(.*)$", said, re.MULTILINE)
        self.verify(found is not None and found[1] == granularity, f"{path}: {said}")

    def verify_check(self, machine: Machine, path: str) -> None:
        """`telepage pmem check` finds no damage."""
        said = machine.run("pmem-check", self.cli, "pmem", "check", path)
        self.verify(said.endswith(f"{path}: sound\n"), said)

    @staticmethod
    def durable(job: Job) -> list[int]:
        """The last transactions of each writer that it said to be durable."""
        output = job.output()
        # A line that was being written is cut off.
        lines = output[:output.rfind("\n") + 1]
        return [int(([0] + re.findall(rf"^durable {i}: (\d+)$", lines, re.MULTILINE))[-1])
                for i in range(WRITERS)]

    def write_until_cut(self, machine: Machine, places: list[str], seconds: float
                        ) -> list[list[int]]:
        """Write everywhere, cut the power; what was said to be durable."""
        jobs = [machine.start("write", self.writer, "write", place) for place in places]
        for job in jobs:
            job.wait_for("durable", 100)
        time.sleep(seconds)
        self.verify(all(job.status is None for job in jobs),
                    "a writer ended:\n" + "".join(job.output()[-300:] for job in jobs))
        said = [self.durable(job) for job in jobs]
        machine.kill()
        return said

    def verify_pool(self, machine: Machine, place: str, durable: list[int]) -> int:
        """It is sound, complete and not older than was said; transactions recovered."""
        self.verify_check(machine, place)
        found = machine.run("check", self.writer, "check", place, seconds=100)
        newest = [int(word) for word in re.search(r"newest: (.*)\n", found)[1].split()]
        self.verify(all(have >= want for have, want in zip(newest, durable)),
                    f"{place}: {durable} were durable, the newest are {newest}")
        return int(re.search(r"recovered: (\d+)\n", found)[1])

    def test_pools_survive_power_cuts(self) -> None:
        """Pools with two writers each, and a machine that dies.

        Steps:
            On ext4 and xfs with DAX, and on a device, make pools; write to all of them
            with two threads each: blocks, ranges and a B+tree in each transaction; cut the
            power at a random moment; boot again. With --full 50 times.
        Verify:
            `telepage pmem info` shows the granularity of cache lines everywhere. After each
            cut each pool is sound; it holds just what its last transactions left, which are
            no older than was said to be durable; no block is leaked. The log was needed.
        """
        chance = suite.chance(7)
        recovered = 0
        machine, nvdimms = self.machine(512, 512, 64)
        for i, file_system in enumerate(FILE_SYSTEMS):
            nvdimms.format(i, file_system)
        nvdimms.device_make(len(FILE_SYSTEMS))
        places = self.places(nvdimms)
        for place in places:
            machine.run("create", self.writer, "create", place)
            self.verify_info(machine, place, "cache line")
        for _ in range(times(1, 50)):
            said = self.write_until_cut(machine, places, chance.uniform(0, 1.5))
            machine.boot()
            nvdimms.find()
            places = self.places(nvdimms)
            recovered += sum(self.verify_pool(machine, place, durable)
                             for place, durable in zip(places, said))
        self.verify(recovered > 0, "no transaction was in a log")

    def test_device_without_flushes_holds_a_pool(self) -> None:
        """A machine that keeps what its caches hold when the power goes.

        Steps:
            Make a pool on a device there, write, cut the power, boot; then close the pool,
            open it anew and look at each of its pages.
        Verify:
            `telepage pmem info` shows the granularity of bytes; the pool is as it must be.
        """
        machine, nvdimms = self.machine(64, persistence="cpu")
        nvdimms.device_make(0)
        place = nvdimms.device(0)
        machine.run("create", self.writer, "create", place)
        self.verify_info(machine, place, "byte")
        said = self.write_until_cut(machine, [place], 0.5)
        machine.boot()
        nvdimms.find()
        place = nvdimms.device(0)
        self.verify_pool(machine, place, said[0])
        print(machine.run("touch", self.writer, "touch", place), end="", flush=True)
        machine.power_off()
