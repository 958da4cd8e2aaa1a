#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Send frames out of a device that no node wants: random ones, and damaged ones of its own.

usage: foreign.py DEVICE MAC COUNT SEED

What passes that way is taken from the wire, damaged here and there, and sent
to the node with that MAC: a third of all. The others are random bytes behind its
address, half of them with an EtherType that nodes look at.
"""
import random
import socket
import sys
import time

KEPT = 256
BATCH = 64


def frames_seen(device: socket.socket) -> list[bytes]:
    """Frames that pass by now, at most KEPT."""
    seen: list[bytes] = []
    until = time.monotonic() + 1
    while len(seen) < KEPT and time.monotonic() < until:
        try:
            seen.append(device.recv(9100))
        except TimeoutError:
            pass
    return seen


def damaged(chance: random.Random, frame: bytes, mac: bytes) -> bytes:
    """One frame, for that MAC, with a few bytes that are others, or cut."""
    copy = bytearray(frame)
    copy[0:6] = mac
    for _ in range(chance.randint(1, 4)):
        copy[chance.randrange(12, min(len(copy), 170))] ^= 1 << chance.randrange(8)
    return bytes(copy[:chance.randint(14, len(copy))] if chance.random() < 0.2 else copy)


def main() -> int:
    """Send them, print how many."""
    name, mac, count, seed = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), \
        int(sys.argv[3]), int(sys.argv[4])
    chance = random.Random(seed)
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    device.bind((name, 0))
    device.settimeout(0.1)
    seen = frames_seen(device)
    pool = [damaged(chance, chance.choice(seen), mac) for _ in range(4096)] if seen else []
    pool += [mac + chance.randbytes(chance.randint(8, 1500)) for _ in range(4096)]
    types = (b"\x08\x00", b"\x08\x06", b"\x86\xdd")
    pool += [mac + chance.randbytes(6) + chance.choice(types) +
             chance.randbytes(chance.randint(0, 1400)) for _ in range(4096)]
    sent = 0
    while sent < count:
        try:
            device.send(pool[chance.randrange(len(pool))])
            sent += 1
        except (TimeoutError, OSError):
            time.sleep(0.0005)
    print(sent, len(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
