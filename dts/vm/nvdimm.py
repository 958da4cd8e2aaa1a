# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Persistent memory of a virtual machine: files of the host that survive its end.

What is stored reaches such a file at once, flushed or not: a machine whose power
is cut loses registers and what its programs had not done yet, but no cache. So
this shows access, granularity and recovery, not flushes that are missing.
"""

from pathlib import Path

from lab import Lab
from vm.machine import Machine

MODULES = ("nfit", "nd_pmem", "dax_pmem", "device_dax", "ext4", "xfs")
MKFS = {"ext4": ("mkfs.ext4", "-q", "-F", "-b", 4096), "xfs": ("mkfs.xfs", "-q", "-f")}
TOOLS = ("ndctl", "mkfs.ext4", "mkfs.xfs")
REGIONS = """cd /sys/bus/nd/devices
until [ $(ls -d region* | wc -l) = $1 ]; do sleep 0.05; done
for region in region*; do
	echo ${region#region} $(($(cat $region/resource)))
done
"""


def nvdimm_make(lab: Lab, name: str, mib: int) -> Path:
    """A file for Machine(nvdimms=...): sparse, a multiple of 16 MiB; xfs wants 320."""
    path = lab.scratch() / name
    with open(path, "wb") as output:
        output.truncate(mib << 20)
    return path


class Nvdimms:
    """The NVDIMMs of a machine that runs, by their index in Machine(nvdimms=...)."""

    def __init__(self, machine: Machine):
        self.machine = machine
        # The kernel's numbers of them.
        self.regions: list[int] = []

    def find(self) -> None:
        """After each boot: load the drivers and wait for the devices."""
        self.machine.run("modules", "sh", "-c", 'for m in "$@"; do modprobe $m || exit 1; done',
                         "sh", *MODULES)
        listing = self.machine.run("regions", "sh", "-c", REGIONS, "sh",
                                   len(self.machine.nvdimms))
        # Numbered in no order, but where QEMU put them: one after the other.
        regions = [(int(place), int(number)) for number, place in
                   (line.split() for line in listing.splitlines())]
        self.regions = [number for _, number in sorted(regions)]

    def _wait(self, path: str) -> None:
        self.machine.run("wait", "sh", "-c", 'until [ -e "$1" ]; do sleep 0.05; done', "sh", path)

    def domain(self, index: int) -> str:
        """What the kernel takes power failures to spare."""
        return self.machine.run(
            "domain", "cat",
            f"/sys/bus/nd/devices/region{self.regions[index]}/persistence_domain").strip()

    def format(self, index: int, file_system: str) -> None:
        """For its first use: a file system, ext4 or xfs, with DAX."""
        self._namespace(index, "fsdax")
        self.machine.run("mkfs", *MKFS[file_system], self._block(index))

    def mount(self, index: int, file_system: str) -> str:
        """Mount it so that its files are mapped without a page cache; where."""
        place = f"/mnt/pmem{index}"
        self._wait(self._block(index))
        self.machine.run("mkdir", "mkdir", "-p", place)
        self.machine.run("mount", "mount", "-t", file_system, "-o", "dax=always",
                         self._block(index), place)
        return place

    def device_make(self, index: int) -> None:
        """For its first use: a device instead of a file system."""
        self._namespace(index, "devdax")

    def device(self, index: int) -> str:
        """Its device, /dev/daxN.0."""
        path = f"/dev/dax{self.regions[index]}.0"
        self._wait(path)
        return path

    def _block(self, index: int) -> str:
        return f"/dev/pmem{self.regions[index]}"

    def _namespace(self, index: int, mode: str) -> None:
        self.machine.run("namespace", "ndctl", "create-namespace", "-f", "-e",
                         f"namespace{self.regions[index]}.0", "-m", mode)
