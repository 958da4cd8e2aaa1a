# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Persistent memory in a virtual machine whose power is cut."""

import os
import re
import shutil
import time

from suite import FULL, TestSuite, chance, times
from vm.image import VmMissing, prepare
from vm.machine import Machine
from vm.nvdimm import TOOLS, Nvdimms, nvdimm_make

CUTS = (2, 50)  # usually, with --full
FILE_SYSTEMS = ("ext4", "xfs")


class TestVmNvdimm(TestSuite):
    """What lib/pmem is built on: DAX, granularity, and what is there after a cut."""

    case_seconds = 3600 if FULL else 240

    def set_up_suite(self) -> None:
        """What to boot, and what to run there."""
        self.probe = self.program("dts/telepage-nvdimm")
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

    def verify_granularity(self, machine: Machine, path: str, wanted: str) -> None:
        """What libpmem2 says of a mapping."""
        said = machine.run("probe", self.probe, "probe", path)
        self.verify(said == f"granularity: {wanted}\n", f"{path}: {said}")

    def places(self, nvdimms: Nvdimms) -> list[str]:
        """A file on each file system and the device, with everything mounted."""
        files = [nvdimms.mount(i, file_system) + "/data"
                 for i, file_system in enumerate(FILE_SYSTEMS)]
        return [*files, nvdimms.device(len(FILE_SYSTEMS))]

    def count_until_cut(self, machine: Machine, places: list[str], seconds: float) -> list[int]:
        """Write everywhere, cut the power; what was said to be durable."""
        jobs = [machine.start("count", self.probe, "count", place) for place in places]
        for job in jobs:
            job.wait_for("durable", 60)
        time.sleep(seconds)
        self.verify(all(job.status is None for job in jobs), "a writer ended")
        # What is said after these looks may be lost.
        said = [int(re.findall(r"durable: (\d+)\n", job.output())[-1]) for job in jobs]
        machine.kill()
        return said

    def test_data_survives_power_cuts(self) -> None:
        """Programs that write to mapped persistent memory, and a machine that dies.

        Steps:
            On ext4 and xfs with DAX, and on a device, write records and flush them, then
            their number, without end; cut the power at a random moment; boot again.
            Twice, with --full 50 times.
        Verify:
            libpmem2 sees the granularity of cache lines; after each cut the file systems
            mount, the newest record is whole, and not older than was said to be durable.
        """
        moments = chance(int.from_bytes(os.urandom(4)))
        machine, nvdimms = self.machine(512, 512, 64)
        self.verify(nvdimms.domain(0) == "memory_controller", nvdimms.domain(0))
        for i, file_system in enumerate(FILE_SYSTEMS):
            nvdimms.format(i, file_system)
        nvdimms.device_make(len(FILE_SYSTEMS))
        places = self.places(nvdimms)
        for place in places:
            self.verify_granularity(machine, place, "cache line")
        for _ in range(times(*CUTS)):
            said = self.count_until_cut(machine, places, moments.uniform(0, 1.5))
            machine.boot()
            nvdimms.find()
            places = self.places(nvdimms)
            for place, durable in zip(places, said):
                found = machine.run("check", self.probe, "check", place)
                newest = int(re.fullmatch(r"newest: (\d+)\n", found)[1])
                self.verify(newest >= durable,
                            f"{place}: {durable} was durable, the newest is {newest}")

    def test_granularity_is_that_of_the_memory(self) -> None:
        """What libpmem2 says where nothing need be flushed, and where all must be.

        Steps:
            Boot a machine that keeps what its caches hold when the power goes; ask for the
            granularity of a device, and of a file on a tmpfs.
        Verify:
            Bytes for the device, pages for the file.
        """
        machine, nvdimms = self.machine(64, persistence="cpu")
        self.verify(nvdimms.domain(0) == "cpu_cache", nvdimms.domain(0))
        nvdimms.device_make(0)
        self.verify_granularity(machine, nvdimms.device(0), "byte")
        self.verify_granularity(machine, "/tmp/file", "page")
