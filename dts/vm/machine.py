# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""A virtual machine of a lab: boot it, run commands inside, kill it.

It sees the host's files read-only; what it writes is gone when it ends, but for
its folder /vm, which is Machine.dir here, and its NVDIMMs, which are files of the
host. It goes away with the lab, however that ends.
"""

import os
import shlex
import shutil
import socket
import time
from pathlib import Path

from lab import Lab, LabError, Process, wait_until
from vm.image import HERE, QEMU, Image

# No KVM: what calls itself that within virtual machines often cannot run one. So
# the same instructions everywhere; no AVX-512 among them.
CPU = "max,la57=off"
KERNEL_ARGS = (
    "console=ttyS0 quiet loglevel=4 panic=-1 nokaslr mitigations=off audit=0 apparmor=0 "
    "no_timer_check tsc=reliable random.trust_cpu=on 8250.nr_uarts=2 cryptomgr.notests"
)
NIC_SLOT = 8
# Modern virtio, and its memory accesses through the IOMMU as those of a card.
NICS = {
    "virtio": "virtio-net-pci,disable-legacy=on,iommu_platform=on,romfile=",
    "e1000e": "e1000e,romfile=",
}
# What dpdk-devbind.py does.
VFIO_BIND = """set -e
modprobe vfio_iommu_type1
modprobe vfio-pci
for address in "$@"; do
	device=/sys/bus/pci/devices/$address
	[ ! -e $device/driver ] || echo $address >$device/driver/unbind
	echo vfio-pci >$device/driver_override
	echo $address >/sys/bus/pci/drivers_probe
	[ "$(basename "$(readlink $device/driver)")" = vfio-pci ]
done
"""


class Job:
    """A command that was started inside."""

    def __init__(self, machine: "Machine", name: str):
        self.machine = machine
        self.name = name

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        self.machine.listen()
        return self.machine.ended.get(self.name)

    def output(self) -> str:
        """What it has printed so far, both streams."""
        path = self.machine.dir / f"{self.name}.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def _is_over(self) -> bool:
        over = self.status is not None
        if not over and not self.machine.is_running:
            raise LabError(f"the machine ended while {self.name} ran:\n{self.output()}")
        return over

    def wait(self, seconds: float) -> int:
        """Wait for its end; its status. The machine is killed when it does not end."""
        try:
            wait_until(self._is_over, seconds, f"end of {self.name}")
        except LabError as error:
            self.machine.kill()
            raise LabError(f"{error}\n{self.output()}") from error
        return self.machine.ended[self.name]

    def wait_for(self, text: str, seconds: float) -> None:
        """Wait until it has printed a text."""

        def seen() -> bool:
            found = text in self.output()
            if not found and self._is_over():
                raise LabError(f"{self.name} ended early:\n{self.output()}")
            return found

        wait_until(seen, seconds, f"{text!r} from {self.name}")


class Machine:
    """One virtual machine, booted as often as wanted."""

    def __init__(self, lab: Lab, image: Image, memory_mib: int = 2048, cpus: int = 2,
                 nics: tuple[str, ...] = (), nvdimms: tuple[Path, ...] = (),
                 persistence: str = "mem-ctrl"):
        """
        nics: kinds of NICS, all on one hub. nvdimms: files, a multiple of 16 MiB long;
        persistence: what guests are told of the power failures those survive, mem-ctrl
        (what was flushed) or cpu (what was stored).
        """
        self.lab = lab
        self.image = image
        self.memory_mib = memory_mib
        self.cpus = cpus
        self.nics = nics
        self.nvdimms = nvdimms
        self.persistence = persistence
        self.ended: dict[str, int] = {}
        self.process: Process | None = None
        self._agent: socket.socket | None = None
        self._heard = b""
        self._boots = 0
        self._jobs = 0
        self.name = f"vm{len(lab.processes)}"
        self.dir = lab.dir / self.name
        self.dir.mkdir()
        shutil.copy(HERE / "guest", self.dir / "guest")
        (self.dir / "modules").write_text(str(image.modules))

    # -- what it is made of

    @property
    def pci_addresses(self) -> list[str]:
        """Where the NICs are on its bus, in their order."""
        return [f"0000:00:{NIC_SLOT + i:02x}.0" for i in range(len(self.nics))]

    def _nic_arguments(self) -> list[str]:
        if not self.nics:
            return []
        words = ["-device", "intel-iommu,caching-mode=on"]
        for i, kind in enumerate(self.nics):
            words += ["-netdev", f"hubport,id=hub{i},hubid=0", "-device",
                      f"{NICS[kind]},netdev=hub{i},addr={NIC_SLOT + i:#x},"
                      f"mac=02:54:50:00:00:{i + 1:02x}"]
        return words

    def _nvdimm_arguments(self) -> list[str]:
        words = []
        for i, path in enumerate(self.nvdimms):
            words += ["-object", f"memory-backend-file,id=memory{i},share=on,mem-path={path},"
                                 f"size={path.stat().st_size},align=2M",
                      "-device", f"nvdimm,id=nvdimm{i},memdev=memory{i}"]
        return words

    def _arguments(self) -> list[object]:
        machine, memory = "q35", f"{self.memory_mib}M"
        kernel_args = KERNEL_ARGS
        if self.nvdimms:
            total = self.memory_mib + sum(path.stat().st_size >> 20 for path in self.nvdimms)
            machine += f",nvdimm=on,nvdimm-persistence={self.persistence}"
            memory += f",slots={len(self.nvdimms)},maxmem={total + 1024}M"
        if self.nics:
            kernel_args += " intel_iommu=on iommu=pt"
        share = "local,security_model=none,multidevs=remap"
        return [
            QEMU, "-machine", machine, "-accel", "tcg,thread=multi", "-cpu", CPU,
            "-smp", self.cpus, "-m", memory, "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-sandbox", "on",
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-chardev", f"socket,id=agent,path={self.dir}/agent,server=on,wait=off",
            "-serial", "chardev:agent",
            "-kernel", self.image.kernel, "-initrd", self.image.initrd,
            "-append", kernel_args,
            "-fsdev", f"{share},id=host,path=/,readonly=on",
            "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
            "-fsdev", f"{share},id=vm,path={self.dir}",
            "-device", "virtio-9p-pci,fsdev=vm,mount_tag=vm",
            "-device", "virtio-rng-pci",
            *self._nic_arguments(), *self._nvdimm_arguments(),
        ]

    # -- boot and end

    @property
    def is_running(self) -> bool:
        """Whether it is switched on."""
        return self.process is not None and self.process.is_running

    def boot(self, seconds: float = 100) -> None:
        """Switch it on, and wait until it takes commands."""
        if self.is_running:
            raise LabError(f"{self.name} runs already")
        path = self.dir / "agent"
        path.unlink(missing_ok=True)
        self._boots += 1
        self._heard = b""
        self.process = self.lab.start(f"{self.name}-boot{self._boots}", *self._arguments())
        deadline = time.monotonic() + seconds
        # What it says before somebody listens is lost, so be there early.
        wait_until(lambda: self._connect(path), 10, f"serial port of {self.name}")
        wait_until(self._is_up, deadline - time.monotonic(), f"boot of {self.name}")

    def _connect(self, path: Path) -> bool:
        if not self.process.is_running:
            raise LabError(f"QEMU ended early:\n{self.process.output()}")
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            agent.connect(str(path))
        except OSError:
            agent.close()
            return False
        agent.setblocking(False)
        self._agent = agent
        return True

    def _is_up(self) -> bool:
        self.listen()
        if not self.is_running:
            raise LabError(f"{self.name} ended early:\n{self.process.output()}")
        return "up" in self.ended

    def listen(self) -> None:
        """Take what the machine has said."""
        try:
            while self._agent is not None and (data := self._agent.recv(4096)):
                self._heard += data
        except BlockingIOError:
            pass
        except OSError:
            self._disconnect()
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            words = line.decode(errors="replace").split()
            if words == ["up"]:
                self.ended["up"] = 0
            elif len(words) == 3 and words[0] == "ended":
                self.ended[words[1]] = int(words[2])

    def _disconnect(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._agent = None
        self.ended.pop("up", None)

    def kill(self) -> None:
        """Cut its power: nothing inside gets to do anything more."""
        if self.is_running:
            self.process.kill()
        self._disconnect()

    def power_off(self, seconds: float = 30) -> None:
        """End it in order."""
        self._agent.sendall(b"off now\n")
        self.process.wait(seconds)
        self._disconnect()

    # -- commands

    def start(self, name: str, *argv: object, env: dict | None = None) -> Job:
        """Start a command inside, as root, in a group of its own."""
        self._jobs += 1
        job = Job(self, f"{name}-{self._jobs}")
        words = [f"{key}={value}" for key, value in (env or {}).items()]
        line = shlex.join(["env", *words, *map(str, argv)])
        (self.dir / f"{job.name}.sh").write_text(f"cd /\nexec {line}\n")
        self._agent.sendall(f"run {job.name}\n".encode())
        return job

    def run(self, name: str, *argv: object, seconds: float = 60, env: dict | None = None) -> str:
        """Run a command inside to its end; its output, or LabError with that."""
        job = self.start(name, *argv, env=env)
        status = job.wait(seconds)
        if status != 0:
            raise LabError(f"{job.name}: status {status}:\n{job.output()}")
        return job.output()

    def nics_bind(self) -> None:
        """Take the NICs from the kernel: for DPDK, behind the machine's IOMMU."""
        self.run("bind", "sh", "-c", VFIO_BIND, "sh", *self.pci_addresses)
