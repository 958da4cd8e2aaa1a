# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Virtual machines as a test lane: what the kernel of this machine lacks.

image.py makes what they boot, machine.py boots them, runs commands inside and
kills them; `initramfs` and `guest` run inside. docs/testing.md tells the rest.
"""
