# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Telepage nodes in a lab: what the quickstart and the suites both start."""

import configparser
import json
import os
import socket
from pathlib import Path

from lab import Lab, LabError, Process, run, wait_until
from network import Network

ROOT = Path(__file__).resolve().parent.parent

# Ring frames that hold a 9000-byte frame; the driver wants them to divide a block
# of whole pages.
AF_PACKET_RING = "blocksz=36864,framesz=9216,framecnt=512"
# Buffers that hold a 9000-byte frame: a page then moves in one.
MEMIF_BUFFERS = "rsize=10,bsize=9216"

PMDS = ("af_packet", "memif")
# Sockets whose memory the kernel shares, on one queue of the device: it takes no frame
# that does not fit a page, and wants the device's other end to have such an MTU, too.
XDP = "af_xdp"
XDP_MTU = 3400
# Who polls anyway needs no system call of the driver for each time that it finds nothing.
XDP_ARGS = "busy_budget=0"
# A tap device of the node's namespace, on a bridge there with its way out.
TAP = "tap"
# Network cards that are bound to vfio-pci, one a node, all on one network: where
# TP_PCI names them, as 0000:01:00.0,0000:02:00.0,...
PCI = "pci"
PCI_DEVICES = tuple(filter(None, os.environ.get("TP_PCI", "").split(",")))

# A dozen pollers share the cores of one machine here, perhaps with other work:
# silence means less than between machines, so do not call it death that soon. In a
# machine whose instructions are emulated even less: TP_PATIENCE=3 there.
PATIENCE = int(os.environ.get("TP_PATIENCE", "1"))
PATIENT = {key: value * PATIENCE for key, value in
           {"lease_ms": 500, "fence_margin_ms": 100, "peer_timeout_ms": 1000,
            "guard_lease_ms": 200}.items()}


# Deadline of an access of the telepage command: only a hang should meet it.
ACCESS_MS = 20000


def xdp_is_missing() -> str:
    """Why this machine can have no AF_XDP port; empty where it can."""
    try:
        socket.socket(getattr(socket, "AF_XDP", 44), socket.SOCK_RAW, 0).close()
    except OSError as error:
        return f"the kernel has no AF_XDP sockets for us: {error.strerror}"
    return ""


class Cluster:
    """telepaged processes, one in each namespace of a network.

    With memif every pair of nodes has a link of its own, a Unix socket in the
    lab's folder, and the network's devices are idle.
    """

    def __init__(self, lab: Lab, network: Network, build: Path,
                 workers: int | tuple[int, ...] = 1, pmd: str = "af_packet",
                 settings: dict | None = None):
        if pmd not in (*PMDS, XDP, TAP, PCI):
            raise LabError(f"no network of kind {pmd}")
        self.lab = lab
        self.network = network
        self.build = build
        self.workers = workers
        self.pmd = pmd
        self.settings = settings or {}
        self.processes: dict[int, Process] = {}
        self.prefixes = {node.number: lab.dpdk_prefix(node.name) for node in network.nodes}
        # Each cluster of a lab is a new one.
        self.name = f"c{os.urandom(3).hex()}"
        self.dir = lab.dir / self.name
        self.dir.mkdir()
        self._starts = 0

    @property
    def numbers(self) -> list[int]:
        """Numbers of the nodes, from 1."""
        return [node.number for node in self.network.nodes]

    # -- configuration

    def workers_of(self, number: int) -> int:
        """Workers of a node: the same everywhere, or a count a node."""
        if isinstance(self.workers, int):
            return self.workers
        return self.workers[number - 1]

    def _peers(self, number: int) -> list[int]:
        return [other for other in self.numbers if other != number]

    def config(self, number: int) -> Path:
        """Write a node's configuration: the shipped one, with the lab's paths."""
        parser = configparser.ConfigParser(comment_prefixes=(";",), interpolation=None)
        parser.read(ROOT / "config" / "node1.ini")
        for section in [name for name in parser.sections() if name.startswith("peer")]:
            parser.remove_section(section)
        parser["node"].update({
            "id": str(number),
            "name": f"node{number}",
            "workers": str(self.workers_of(number)),
            "store": f"file:{self.dir}/store",
        })
        parser["port 0"]["ip"] = f"10.84.0.{number}"
        if self.pmd == TAP:
            # The driver of 22.11 cuts what is longer than an ordinary frame.
            parser["port 0"].update({"device": "net_tap0", "mtu": "1500"})
        if self.pmd == XDP:
            parser["port 0"].update({"device": "net_af_xdp0", "mtu": str(XDP_MTU)})
        if self.pmd == PCI:
            parser["port 0"]["device"] = PCI_DEVICES[number - 1]
        if self.pmd == "memif":
            self._config_memif(number, parser)
        for key, value in self.settings.items():
            if key == "pool_mib":
                parser["pmem"] = {"pool": f"{self.dir}/pool{number}", "size_mib": str(value)}
            else:
                parser["node"][key] = str(value)
        path = self.dir / f"node{number}.ini"
        with open(path, "w", encoding="utf-8") as output:
            parser.write(output)
        return path

    def _config_memif(self, number: int, parser: configparser.ConfigParser) -> None:
        """A port to every other node; the address is the node's on all of them."""
        for port, peer in enumerate(self._peers(number)):
            parser[f"port {port}"] = {"device": f"net_memif{port}",
                                      "ip": f"10.84.0.{number}", "mtu": "9000",
                                      "queues": str(min(self.workers_of(number),
                                                        self.workers_of(peer)))}
            parser[f"peer {peer}"] = {"port": str(port)}

    def _devices(self, number: int) -> list[str]:
        if self.pmd == "af_packet":
            device = self.network.node(number).devices[0]
            return [f"--vdev=net_af_packet0,iface={device},"
                    f"qpairs={self.workers_of(number)},{AF_PACKET_RING}"]
        if self.pmd == XDP:
            device = self.network.node(number).devices[0]
            return [f"--vdev=net_af_xdp0,iface={device},{XDP_ARGS}"]
        if self.pmd == TAP:
            return [f"--vdev=net_tap0,iface=tap{number}"]
        devices = []
        for port, peer in enumerate(self._peers(number)):
            low, high = sorted((number, peer))
            path = self.dir / f"memif{low}{high}"
            # A server must be there first, and once it has gone the driver's client
            # does not look for it again: node 2, which suites kill, is a client.
            role = "client" if number == 2 or (peer != 2 and number == high) else "server"
            if role == "server":
                # A killed one leaves its socket, and the driver does not replace it.
                path.unlink(missing_ok=True)
            devices.append(f"--vdev=net_memif{port},role={role},id=0,socket={path},"
                           f"socket-abstract=no,{MEMIF_BUFFERS}")
        return devices

    def eal_arguments(self, number: int) -> list[str]:
        """EAL arguments of a node: control on lcore 0, workers from 1."""
        cpus = sorted(os.sched_getaffinity(0))
        lcores = [f"0@({','.join(map(str, cpus))})"]
        for worker in range(self.workers_of(number)):
            cpu = cpus[(number - 1 + worker) % len(cpus)]
            lcores.append(f"{worker + 1}@{cpu}")
        return [
            "--lcores", ",".join(lcores),
            "--file-prefix", self.prefixes[number],
            "--huge-dir", str(self.lab.dir / "huge"),
            "--huge-unlink=existing",
            *(["-a", PCI_DEVICES[number - 1]] if self.pmd == PCI else
              ["--no-pci", *self._devices(number)]),
        ]

    # -- nodes

    def start_node(self, number: int) -> Process:
        """Start one node; it may still be joining on return."""
        self._starts += 1
        process = self.lab.start(
            f"{self.name}-node{number}-{self._starts}", self.build / "telepaged",
            *self.eal_arguments(number), "--", "--config", self.config(number),
            netns=self.network.node(number).netns)
        self.processes[number] = process
        if self.pmd == TAP:
            self._tap_join(number)
        return process

    def _tap_join(self, number: int) -> None:
        """Put a node's tap device on a bridge with the namespace's."""
        node = self.network.node(number)
        # Until its port has started, the driver gives the device the port's address.
        self.processes[number].wait_for("ready")
        run("ip", "-n", node.netns, "link", "add", "brtap", "mtu", 9000, "type", "bridge",
            "forward_delay", 0, "mcast_snooping", 0, check=False)
        run("ip", "-n", node.netns, "link", "set", node.devices[0], "master", "brtap")
        # The port keeps its address; the device must have another one, or the bridge
        # takes what is sent to it for its own.
        run("ip", "-n", node.netns, "link", "set", f"tap{number}", "address",
            f"06:54:50:00:00:{number:02x}", "mtu", 9000, "master", "brtap", "up")
        run("ip", "-n", node.netns, "link", "set", "brtap", "up")

    def start(self) -> None:
        """Start every node and wait until each reaches all the others."""
        for number in sorted(self.numbers, key=lambda number: (number == 2, number)):
            self.start_node(number)
            # A memif client looks for its server's socket when it starts.
            if self.pmd == "memif":
                self.processes[number].wait_for("ready")
        for number in self.numbers:
            self.await_members(number, self.numbers)

    def status(self, number: int) -> dict:
        """What a node says of itself and of the cluster."""
        return json.loads(self.command(number, "--json", "status"))

    def await_members(self, number: int, wanted: list[int],
                      seconds: float = 30 * PATIENCE) -> None:
        """Wait until a node is a member and reaches exactly these members."""
        process = self.processes[number]

        def reaches() -> bool:
            for other in wanted:
                if not self.processes[other].is_running:
                    raise LabError(f"node {other} ended:\n{self.processes[other].output()}")
            if "ready" not in process.output():
                return False
            try:
                status = self.status(number)
            except LabError:
                return False
            seen = [member["id"] for member in status["members"]
                    if member["state"] == "member"
                    and (member["id"] == number or member["reachable"])]
            return status["lease"] and sorted(seen) == sorted(wanted)

        wait_until(reaches, seconds, f"way from node {number} to {wanted}")

    def stop(self) -> None:
        """Stop every node in order; LabError when one fails to."""
        for process in self.processes.values():
            if process.is_running:
                process.send_signal(15)
        for number, process in self.processes.items():
            if process.popen.poll() is None and (status := process.wait(10)) != 0:
                raise LabError(f"node {number} ended with {status}:\n{process.output()}")
        self.processes.clear()

    # -- programs

    def command(self, number: int, *words: object, timeout: float = 60) -> str:
        """Run the telepage command attached to a node; what it prints."""
        return run("ip", "netns", "exec", self.network.node(number).netns,
                   self.build / "telepage", "--timeout", ACCESS_MS, "--prefix",
                   self.prefixes[number], *words, timeout=timeout)

    def start_command(self, name: str, number: int, *words: object) -> Process:
        """Start the telepage command attached to a node."""
        return self.lab.start(
            f"{self.name}-{name}", self.build / "telepage", "--timeout", ACCESS_MS, "--prefix",
            self.prefixes[number], *words, netns=self.network.node(number).netns)

    def start_load(self, name: str, number: int, mode: str, region: str,
                   **options: object) -> "Load":
        """Start telepage-load attached to a node, and wait until it is at work."""
        words = [f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}")
                 for key, value in options.items()]
        self._starts += 1
        process = self.lab.start(
            f"{self.name}-{name}-{self._starts}", self.build / "dts" / "telepage-load", mode,
            "--prefix", self.prefixes[number], "--region", region, *words,
            netns=self.network.node(number).netns)
        process.wait_for("running")
        return Load(process)

    def telemetry(self, number: int, *paths: str) -> dict:
        """What the node's telemetry answers, all paths merged."""
        answers: dict = {}
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(10)
            connection.connect(f"/run/dpdk/{self.prefixes[number]}/dpdk_telemetry.v2")
            connection.recv(16384)
            for path in paths or ("/tp/node", "/tp/fabric/stats", "/tp/coherence/stats"):
                connection.send(path.encode())
                answers.update(json.loads(connection.recv(1 << 17))[path.partition(",")[0]])
        return answers


class Load:
    """A telepage-load that runs."""

    def __init__(self, process: Process):
        self.process = process

    def result(self, seconds: float = 60) -> dict:
        """Wait for its end; what it reports."""
        status = self.process.wait(seconds)
        lines = self.process.output().splitlines()
        if not lines or not lines[-1].startswith("{"):
            raise LabError(f"{self.process.name} ended with {status}:\n{self.process.output()}")
        return json.loads(lines[-1])

    def stop(self, seconds: float = 30) -> dict:
        """End it in order; what it reports."""
        if self.process.is_running:
            self.process.send_signal(15)
        return self.result(seconds)
