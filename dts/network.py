# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Nodes in network namespaces, joined by a bridge that can lose and cut.

Every node has a namespace with one or more veth devices net0, net1, ...; their
other ends are ports of the bridges br0, br1, ... in a namespace of their own.
Devices have jumbo frames and no offloads, so that AF_PACKET sees what was sent.
Faults are rules of nftables in the bridge family's forward hook: they act on
AF_PACKET traffic as on any other.
"""

import json
from dataclasses import dataclass, field

from lab import Lab, run

OFFLOADS = ("rx", "tx", "sg", "tso", "gso", "gro", "rxvlan", "txvlan")


@dataclass
class Node:
    """One namespace of the network."""

    number: int
    netns: str
    devices: list[str] = field(default_factory=list)
    macs: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Short name, n1 to nN."""
        return f"n{self.number}"

    @property
    def kernel_address(self) -> str:
        """What the kernel gets where a case wants it to speak on net0."""
        return f"10.85.0.{self.number}"


def device_make(netns: str, device: str, mac: str, mtu: int, *peer: object) -> None:
    """Make a veth device in a namespace; peer says where its other end is."""
    run("ip", "link", "add", device, "address", mac, "mtu", mtu, "netns", netns,
        "type", "veth", "peer", *peer)
    run("ip", "-n", netns, "link", "set", device, "up")


def kernel_addresses_set(nodes: list[Node]) -> None:
    """Give the kernel of each node an address on net0, 10.85.0.1 to 10.85.0.N."""
    for node in nodes:
        run("ip", "-n", node.netns, "addr", "replace", f"{node.kernel_address}/24", "dev",
            node.devices[0])


def kernel_addresses_remove(nodes: list[Node]) -> None:
    """Leave the devices to those who speak on them without the kernel."""
    for node in nodes:
        run("ip", "-n", node.netns, "addr", "flush", "dev", node.devices[0])


class Pair:
    """Two namespaces joined by cables: veth devices net0, net1, ... of one are
    the other ends of those of the other, with the kernel's default offloads."""

    def __init__(self, lab: Lab, port_count: int = 1, mtu: int = 9000):
        self.mtu = mtu
        self.nodes = [Node(number, lab.netns(f"n{number}")) for number in (1, 2)]
        here, there = self.nodes
        for port in range(port_count):
            device = f"net{port}"
            for node in self.nodes:
                node.devices.append(device)
                node.macs.append(f"02:54:50:{port:02x}:00:{node.number:02x}")
            device_make(here.netns, device, here.macs[port], mtu, "name", device, "address",
                        there.macs[port], "mtu", mtu, "netns", there.netns)
            run("ip", "-n", there.netns, "link", "set", device, "up")

    def scatter_gather(self, on: bool) -> None:
        """Whether the devices take frames in pieces, and with that segments."""
        for node in self.nodes:
            for device in node.devices:
                run("ip", "netns", "exec", node.netns, "ethtool", "-K", device, "sg",
                    "on" if on else "off")


class Network:
    """A star of namespaces."""

    def __init__(self, lab: Lab, node_count: int, port_count: int = 1, mtu: int = 9000):
        self.lab = lab
        self.mtu = mtu
        self._rules: list[str] = []
        self._bridge_netns = lab.netns("br")
        for port in range(port_count):
            self._bridge_add(f"br{port}")
        self.nodes = [self._node_add(i + 1, port_count) for i in range(node_count)]

    @property
    def bridge_netns(self) -> str:
        """Namespace of the bridges and of their ports, pN.M for port M of node N."""
        return self._bridge_netns

    def node(self, number: int) -> Node:
        """Node by its number, from 1."""
        return self.nodes[number - 1]

    # -- building

    def _bridge_add(self, name: str) -> None:
        # Multicast snooping off: queries of the bridge itself are noise here.
        run("ip", "-n", self._bridge_netns, "link", "add", name, "mtu", self.mtu, "type",
            "bridge", "forward_delay", 0, "stp_state", 0, "mcast_snooping", 0)
        run("ip", "-n", self._bridge_netns, "link", "set", name, "up")

    def _node_add(self, number: int, port_count: int) -> Node:
        node = Node(number, self.lab.netns(f"n{number}"))
        for port in range(port_count):
            device = f"net{port}"
            mac = f"02:54:50:{port:02x}:{number >> 8:02x}:{number & 255:02x}"
            device_make(node.netns, device, mac, self.mtu, "name",
                        self._port_name(number, port), "mtu", self.mtu, "netns",
                        self._bridge_netns)
            run("ip", "-n", self._bridge_netns, "link", "set", self._port_name(number, port),
                "master", f"br{port}", "up")
            # Which of these a kernel lets change differs: ask for each alone.
            for netns, name in ((node.netns, device),
                                (self._bridge_netns, self._port_name(number, port))):
                for offload in OFFLOADS:
                    run("ip", "netns", "exec", netns, "ethtool", "-K", name, offload, "off",
                        check=False)
            node.devices.append(device)
            node.macs.append(mac)
        return node

    @staticmethod
    def _port_name(number: int, port: int) -> str:
        return f"p{number}.{port}"

    # -- faults

    def _match(self, source: int | None, target: int | None) -> str:
        words = []
        if source is not None:
            words.append(f'iifname "p{source}.*"')
        if target is not None:
            words.append(f'oifname "p{target}.*"')
        return " ".join(words)

    def _apply(self) -> None:
        rules = "\n".join(f"    {rule} counter drop" for rule in self._rules)
        run("ip", "netns", "exec", self._bridge_netns, "nft", "-f", "-", stdin=f"""
table bridge telepage
delete table bridge telepage
table bridge telepage {{
  chain faults {{
    type filter hook forward priority 0; policy accept;
{rules}
  }}
}}
""")

    def loss(self, percent: float, source: int | None = None, target: int | None = None,
             port: int | None = None) -> None:
        """Lose frames at random, of all traffic or from and to given nodes, on all
        bridges or on that of one port."""
        share = round(percent * 100)
        ports = ""
        if port is not None:
            names = ", ".join(f'"{self._port_name(node.number, port)}"' for node in self.nodes)
            ports = f"iifname {{ {names} }} "
        self._rules.append(
            f"{ports}{self._match(source, target)} numgen random mod 10000 < {share}")
        self._apply()

    def cut(self, source: int, target: int, both_ways: bool = True) -> None:
        """Cut two nodes off from each other, or one way only."""
        self._rules.append(self._match(source, target))
        if both_ways:
            self._rules.append(self._match(target, source))
        self._apply()

    def isolate(self, number: int) -> None:
        """Cut a node off from everybody."""
        self._rules += [self._match(number, None), self._match(None, number)]
        self._apply()

    def heal(self) -> None:
        """Take every fault away."""
        self._rules.clear()
        self._apply()

    def dropped(self) -> int:
        """Frames that the present rules have dropped."""
        if not self._rules:
            return 0
        listing = json.loads(run("ip", "netns", "exec", self._bridge_netns, "nft", "-j", "list",
                                 "table", "bridge", "telepage"))
        return sum(
            part["counter"]["packets"]
            for item in listing["nftables"] if "rule" in item
            for part in item["rule"]["expr"] if "counter" in part
        )

    def rate_limit(self, number: int, mbit: int) -> None:
        """Limit what a node receives; 0 takes the limit away."""
        port = self._port_name(number, 0)
        run("tc", "-n", self._bridge_netns, "qdisc", "del", "dev", port, "root", check=False)
        if mbit:
            run("tc", "-n", self._bridge_netns, "qdisc", "add", "dev", port, "root", "tbf",
                "rate", f"{mbit}mbit", "burst", "256k", "latency", "50ms")
