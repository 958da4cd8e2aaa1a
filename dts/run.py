# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Run end-to-end suites: python3 dts/run.py [suite...]

The last line is "N passed, N failed, N skipped".
"""

import argparse
import contextlib
import importlib
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "tests")]
sys.dont_write_bytecode = True

from lab import Lab, LabError, signals_end_program  # noqa: E402
import suite  # noqa: E402
from suite import SkipCase, TestSuite  # noqa: E402

# Of so many processes that have ended a failed case shows the log; of living ones always.
LOGS_OF_ENDED = 8


@dataclass
class Count:
    """Cases by outcome."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


class CaseTimeout(Exception):
    """A case took too long."""


@contextlib.contextmanager
def time_limit(seconds: int):
    """Raise CaseTimeout in the block when it takes longer."""

    def handler(_signum: int, _frame: object) -> None:
        raise CaseTimeout(f"no end after {seconds} s")

    signal.signal(signal.SIGALRM, handler)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def suite_names() -> list[str]:
    """Every suite there is."""
    return sorted(path.stem[len("TestSuite_"):] for path in HERE.glob("tests/TestSuite_*.py"))


def suite_class(name: str) -> type[TestSuite]:
    """The class of a suite: the one its file defines."""
    module = importlib.import_module(f"TestSuite_{name}")
    classes = [
        value for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, TestSuite)
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise LabError(f"TestSuite_{name}.py defines {len(classes)} suites, not one")
    return classes[0]


def case_names(cls: type[TestSuite]) -> list[str]:
    """Cases in the order in which they are written, docstrings checked."""
    names = [name for name in vars(cls) if name.startswith("test_")]
    for name in names:
        text = getattr(cls, name).__doc__ or ""
        if "Steps:" not in text or "Verify:" not in text:
            raise LabError(f"{cls.__name__}.{name}: docstring without Steps: and Verify:")
    return names


def show_logs(lab: Lab) -> None:
    """The end of what the processes of the lab printed that matter to a failed case."""
    living = [process for process in lab.processes if process.is_running]
    ended = [process for process in lab.processes if not process.is_running]
    for process in ended[-LOGS_OF_ENDED:] + living:
        lines = process.output().splitlines()[-40:]
        if lines:
            state = "running" if process.is_running else f"ended {process.popen.returncode}"
            print(f"--- {process.name} (pid {process.pid}, {state})")
            print("\n".join(lines))


def report(outcome: str, suite: str, case: str, start: float, detail: str = "") -> None:
    """One line a case."""
    print(f"{outcome:7} {suite}.{case} {time.monotonic() - start:.1f} s"
          f"{': ' if detail else ''}{detail}", flush=True)


def run_case(suite: TestSuite, name: str, case: str, count: Count) -> None:
    """Run one case and count its outcome."""
    start = time.monotonic()
    try:
        with time_limit(suite.case_limit()):
            suite.set_up_test_case()
            try:
                getattr(suite, case)()
            finally:
                suite.tear_down_test_case()
    except SkipCase as reason:
        count.skipped += 1
        report("SKIP", name, case, start, str(reason))
    except Exception as error:  # noqa: BLE001: any failure of a case is a result
        count.failed += 1
        report("FAIL", name, case, start, f"{type(error).__name__}: {error}")
        traceback.print_exc(file=sys.stdout)
        show_logs(suite.lab)
    else:
        count.passed += 1
        report("PASS", name, case, start)


def variant_text(variant: dict) -> str:
    """What a variant is called: its values, in brackets."""
    def text(value: object) -> str:
        return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return f"[{','.join(map(text, variant.values()))}]" if variant else ""


def run_variant(cls: type[TestSuite], variant: dict, build: Path, cases: list[str],
                count: Count) -> None:
    """Run the cases of a suite in a lab of its own."""
    start = time.monotonic()
    name = cls.__module__[len("TestSuite_"):] + variant_text(variant)
    try:
        with Lab() as lab:
            suite = cls(lab, build)
            suite.variant = variant
            try:
                with time_limit(suite.case_limit()):
                    suite.set_up_suite()
                for case in cases:
                    run_case(suite, name, case, count)
            finally:
                suite.tear_down_suite()
    except SkipCase as reason:
        count.skipped += len(cases)
        report("SKIP", name, "set_up_suite", start, str(reason))
    except Exception as error:  # noqa: BLE001
        count.failed += 1
        report("FAIL", name, "suite", start, f"{type(error).__name__}: {error}")
        traceback.print_exc(file=sys.stdout)


def run_suite(name: str, build: Path, pattern: str, variants: str, count: Count) -> None:
    """Run one suite in each of its variants, or in those asked for."""
    start = time.monotonic()
    try:
        cls = suite_class(name)
        cases = [case for case in case_names(cls) if pattern in case]
    except Exception as error:  # noqa: BLE001
        count.failed += 1
        report("FAIL", name, "suite", start, f"{type(error).__name__}: {error}")
        traceback.print_exc(file=sys.stdout)
        return
    for variant in cls.variants:
        if cases and variants in variant_text(variant):
            run_variant(cls, variant, build, cases, count)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="run end-to-end suites")
    parser.add_argument("suites", nargs="*", help="default: all")
    parser.add_argument("--build-dir", type=Path, default=HERE.parent / "build")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--variant", default="", help="only variants like this: memif,2")
    parser.add_argument("--results", type=Path, help="write 'passed failed skipped' to a file")
    parser.add_argument("--full", action="store_true",
                        help="all repetitions, for hours; or TP_FULL=1")
    parser.add_argument("--count", type=int, help="so many repetitions in suites that kill or stop")
    parser.add_argument("--seed", type=int, help="another chance than usual in those")
    parser.add_argument("--list", action="store_true", help="name the suites")
    args = parser.parse_args()
    if args.list:
        print("\n".join(suite_names()))
        return 0
    if args.full:
        suite.FULL = True
    suite.COUNT, suite.SEED = args.count, args.seed
    signals_end_program()
    count = Count()
    for name in args.suites or suite_names():
        run_suite(name, args.build_dir.resolve(), args.case, args.variant, count)
    if args.results:
        args.results.write_text(f"{count.passed} {count.failed} {count.skipped}\n")
    print(f"{count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
