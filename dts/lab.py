# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""The lab: huge pages, network namespaces and processes that go away again.

A Lab is a context manager. Whatever it sets up is written down with the janitor
(janitor.py) first, and undone when the lab closes or its process dies, however
it dies. Needs root. From the shell:

    python3 dts/lab.py run --hugepages 256 -- COMMAND...
    python3 dts/lab.py up --nodes 3 --hugepages 256      until Ctrl-C
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

import janitor  # noqa: E402


class LabError(Exception):
    """The machine cannot give what the lab needs."""


def run(*argv: object, check: bool = True, stdin: str = "", timeout: float = 60) -> str:
    """Run a command to its end; its output, or LabError with what it said."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, timeout=timeout
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(words)}: no end after {timeout} s") from error
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_until(condition, seconds: float, what: str) -> None:
    """Poll a condition; LabError naming what was awaited when it stays false."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"no {what} within {seconds} s")
        time.sleep(0.02)


class Process:
    """A program the lab started: the leader of a process group of its own."""

    def __init__(self, name: str, popen: subprocess.Popen, log: Path):
        self.name = name
        self.popen = popen
        self.log = log

    @property
    def pid(self) -> int:
        """Process id, also the id of the group."""
        return self.popen.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.popen.poll() is None

    def output(self) -> str:
        """What it has printed so far, both streams."""
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = 60) -> int:
        """Wait for its end; its status as subprocess gives it."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name} did not end within {seconds} s") from error

    def send_signal(self, signum: int) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signum)

    def stop(self, signum: int = signal.SIGTERM, seconds: float = 10) -> int:
        """End it in order; SIGKILL, and LabError, when it does not obey."""
        self.send_signal(signum)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise LabError(f"{self.name} ignored signal {signum} for {seconds} s") from error

    def kill(self) -> int:
        """End it at once."""
        self.send_signal(signal.SIGKILL)
        return self.popen.wait(10)

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Wait until it has printed a text."""

        def seen() -> bool:
            found = text in self.output()
            if not found and not self.is_running:
                raise LabError(f"{self.name} ended early:\n{self.output()}")
            return found

        wait_until(seen, seconds, f"{text!r} from {self.name}")


class Lab:
    """Everything a run sets up on the machine."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise LabError("the lab needs root")
        self.prefix = f"tp-{os.getpid()}-{os.urandom(2).hex()}"
        self.dir = Path("/run", self.prefix)
        self.processes: list[Process] = []
        self._next_id = 0
        self._janitor = subprocess.Popen(
            [sys.executable, janitor.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._pipe = self._janitor.stdin.fileno()
        self.undo("tree", path=str(self.dir))
        self.dir.mkdir()

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Undo everything; LabError when something would not go."""
        if self._janitor.stdin.closed:
            return
        self._janitor.stdin.close()
        # The janitor waits for the processes, but only we can reap them.
        while self._janitor.poll() is None:
            for process in self.processes:
                process.popen.poll()
            time.sleep(0.02)
        if self._janitor.returncode != 0:
            raise LabError("the janitor could not undo everything, see above")

    # -- what is to be undone

    def _tell(self, entry: dict) -> None:
        # One write below PIPE_BUF: whole, or not at all.
        os.write(self._pipe, (json.dumps(entry) + "\n").encode())

    def undo(self, kind: str, **what: object) -> int:
        """Tell the janitor what to undo, before it is done; its ticket."""
        self._next_id += 1
        self._tell({"id": self._next_id, "undo": kind, **what})
        return self._next_id

    def undone(self, ticket: int) -> None:
        """Tell the janitor that this is undone already."""
        self._tell({"done": ticket})

    # -- huge pages

    def hugepages(self, count: int) -> Path:
        """Reserve 2 MiB pages and mount them; the mount point."""
        mount = self.dir / "huge"
        if count > 0:
            self._hugepages_reserve(count)
        if not mount.exists():
            mount.mkdir()
            self.undo("mount", path=str(mount))
            run("mount", "-n", "-t", "hugetlbfs", "-o", "pagesize=2M,mode=0700", "none", mount)
        return mount

    def _hugepages_reserve(self, count: int) -> None:
        if not janitor.HUGEPAGES.exists():
            raise LabError("this kernel has no 2 MiB huge pages")
        # Taken and written down in one step: a signal handler's exception
        # between the two would leak them.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            got = janitor.hugepages_change(count)
            if got < count:
                # Fragmented or full of page cache: tidy up, then try once more.
                Path("/proc/sys/vm/drop_caches").write_text("1")
                with contextlib.suppress(OSError):
                    Path("/proc/sys/vm/compact_memory").write_text("1")
                got += janitor.hugepages_change(count - got)
            self.undo("hugepages", count=got)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if got < count:
            raise LabError(f"the machine gave {got} of {count} huge pages (2 MiB each)")

    def scratch(self) -> Path:
        """A folder for large files; the lab's own, on /run, is for small ones."""
        path = Path("/var/tmp", self.prefix)
        if not path.exists():
            self.undo("tree", path=str(path))
            path.mkdir(mode=0o700)
        return path

    def dpdk_prefix(self, name: str) -> str:
        """A file prefix for EAL whose run-time folder is removed at the end."""
        prefix = f"{self.prefix}-{name}"
        self.undo("tree", path=f"/run/dpdk/{prefix}")
        return prefix

    # -- processes

    def netns(self, name: str) -> str:
        """Make a network namespace; its full name."""
        full = f"{self.prefix}-{name}"
        self.undo("netns_root")
        self.undo("netns", name=full)
        with janitor.machine_lock():
            run("ip", "netns", "add", full)
        # Keep IPv6 from sending on links that are not the kernel's to use.
        run("ip", "netns", "exec", full, "sh", "-c",
            "for i in all default; do"
            " f=/proc/sys/net/ipv6/conf/$i/disable_ipv6; [ ! -e $f ] || echo 1 >$f; done;"
            " ip link set lo up")
        return full

    def start(self, name: str, *argv: object, netns: str = "", env: dict | None = None,
              cwd: Path | None = None) -> Process:
        """Start a program in a group of its own, its output in a log file."""
        words = [str(word) for word in argv]
        if netns:
            words = ["ip", "netns", "exec", netns] + words
        log = self.dir / f"{name}.log"
        self._next_id += 1
        ticket = self._next_id

        def in_child() -> None:
            pid = os.getpid()
            self._tell({"id": ticket, "undo": "process", "pid": pid,
                        "start": janitor.process_start(pid)})

        with open(log, "ab") as output:
            popen = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, preexec_fn=in_child, cwd=cwd,
                env={**os.environ, **(env or {})},
            )
        process = Process(name, popen, log)
        self.processes.append(process)
        return process


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(SystemExit):
    """A signal asked the program to end."""


def signals_end_program() -> None:
    """Turn the signals that end a program into an exception, so labs close.

    Only the first counts: a second Ctrl-C must not cut the clean-up short.
    """

    def handler(signum: int, _frame: object) -> None:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(128 + signum)

    for signum in SIGNALS:
        signal.signal(signum, handler)


def command_run(args: argparse.Namespace) -> int:
    """Run one command with huge pages reserved."""
    with Lab() as lab:
        if args.hugepages:
            lab.hugepages(args.hugepages)
        child = subprocess.Popen(args.command, env={**os.environ, "TP_HUGE_DIR": str(
            lab.dir / "huge")} if args.hugepages else None)
        try:
            return child.wait()
        except BaseException:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(15)
            child.kill()
            raise


def command_up(args: argparse.Namespace) -> int:
    """Set a network of empty nodes up, for work by hand."""
    from network import Network

    with Lab() as lab:
        huge = lab.hugepages(args.hugepages)
        network = Network(lab, args.nodes)
        print(f"lab {lab.prefix}: huge pages at {huge}")
        for node in network.nodes:
            print(f"  node {node.number}: ip netns exec {node.netns} ..., "
                  f"device {node.devices[0]}, mtu {network.mtu}, "
                  f"--file-prefix {lab.dpdk_prefix(node.name)}")
        print("Ctrl-C takes it down", flush=True)
        while True:
            signal.pause()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="huge pages and networks that go away again")
    commands = parser.add_subparsers(dest="name", required=True)
    sub = commands.add_parser("run", help="run a command with huge pages reserved")
    sub.add_argument("--hugepages", type=int, default=0, help="2 MiB pages")
    sub.add_argument("command", nargs="+")
    sub.set_defaults(function=command_run)
    sub = commands.add_parser("up", help="set empty nodes up until Ctrl-C")
    sub.add_argument("--nodes", type=int, default=3)
    sub.add_argument("--hugepages", type=int, default=256, help="2 MiB pages")
    sub.set_defaults(function=command_up)
    args = parser.parse_args()
    signals_end_program()
    try:
        return args.function(args)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
