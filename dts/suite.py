# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""What a test suite is: a class with test_ methods and a lab.

One feature a suite, in dts/tests/TestSuite_<feature>.py. Each case has a
docstring with a "Steps:" and a "Verify:" part; dts/run.py insists.
"""

import os
import random
from pathlib import Path

from lab import Lab

# Whether suites do all they can, for hours if need be: dts/run.py --full.
FULL = os.environ.get("TP_FULL", "") not in ("", "0")
# How often they repeat instead, and what chance begins with: --count, --seed. So hours can
# be cut into pieces that differ.
COUNT: int | None = None
SEED: int | None = None
# What one repetition may take, a node's restart and a stop of 10 s within.
REPETITION_SECONDS = 15


def times(usual: int, full: int) -> int:
    """How often a case repeats what it does."""
    if COUNT is not None:
        return COUNT
    return full if FULL else usual


def chance(seed: int) -> random.Random:
    """What a suite draws from: the same every time, if no other seed was asked for."""
    return random.Random(seed if SEED is None else SEED)


class SkipCase(Exception):
    """The machine or the build lacks what the case needs."""


class Failure(AssertionError):
    """The thing under test did not do what it should."""


class TestSuite:
    """Base of all suites."""

    # Seconds a case may take.
    case_seconds = 120
    # What the suite is run for, one after the other, each in a lab of its own.
    variants: tuple[dict, ...] = ({},)

    def __init__(self, lab: Lab, build: Path):
        self.lab = lab
        self.build = build
        self.variant: dict = {}

    def set_up_suite(self) -> None:
        """Before the first case."""

    def tear_down_suite(self) -> None:
        """After the last case; the lab undoes itself."""

    def set_up_test_case(self) -> None:
        """Before each case."""

    def tear_down_test_case(self) -> None:
        """After each case, also a failed one."""

    def case_limit(self) -> int:
        """Seconds a case may take: with --count what is asked for may need more than usual."""
        return self.case_seconds + REPETITION_SECONDS * (COUNT or 0)

    @staticmethod
    def verify(condition: object, message: str) -> None:
        """Fail the case unless the condition holds."""
        if not condition:
            raise Failure(message)

    @staticmethod
    def skip(reason: str) -> None:
        """Skip the case, or from set_up_suite the suite."""
        raise SkipCase(reason)

    def program(self, path: str) -> Path:
        """A program of the build; skips where it is not built."""
        program = self.build / path
        if not program.exists():
            self.skip(f"{path} is not built")
        return program
