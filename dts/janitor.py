# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""The janitor: undoes what a lab set up, whatever becomes of the lab.

It is a process of its own. The lab writes one JSON line to its standard input
before (or in the same instant as) each thing it sets up; when that pipe closes,
because the lab has finished or because it died, the janitor undoes all of it in
reverse order. There is no other clean-up code, so every run tests it.

    {"id": 3, "undo": "netns", "name": "tp-812-n1"}     something to undo
    {"done": 3}                                         it was undone already
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
STOP_SECONDS = 5.0


def process_start(pid: int) -> int:
    """Start time of a process in clock ticks; with its pid it names the process.

    0 when there is none, or when it is a zombie.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def group_members(pgid: int) -> list[int]:
    """Live processes of a process group."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[2]) == pgid:
            members.append(int(entry.name))
    return members


@contextlib.contextmanager
def machine_lock():
    """Labs side by side take turns at what they share; freed by the kernel."""
    lock = os.open("/run", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def hugepages_reserved() -> int:
    """Pages reserved, without those that go as soon as a process that ends lets go of them."""
    return (int((HUGEPAGES / "nr_hugepages").read_text()) -
            int((HUGEPAGES / "surplus_hugepages").read_text()))


def hugepages_change(delta: int) -> int:
    """Change the number of reserved 2 MiB pages by delta; the change achieved.

    Changes, not absolute values, so that labs running side by side each give
    back what they took and the last one leaves the machine as it was.
    """
    with machine_lock():
        before = hugepages_reserved()
        (HUGEPAGES / "nr_hugepages").write_text(str(max(0, before + delta)))
        return hugepages_reserved() - before


def undo_process(entry: dict) -> None:
    """Stop a process and what it started in its group: politely, then not."""
    pid = entry["pid"]
    if "start" in entry and process_start(pid) not in (0, entry["start"]):
        return
    for signum in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        while members := group_members(pid):
            try:
                os.killpg(pid, signum)
                # A stopped process sees no SIGTERM until it continues.
                os.killpg(pid, signal.SIGCONT)
            except ProcessLookupError:
                return
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return
    raise OSError(f"processes {members} do not end")


def undo_netns(entry: dict) -> None:
    """Delete a network namespace, and whoever still runs in it."""
    name = entry["name"]
    if not Path("/run/netns", name).exists():
        return
    pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    for pid in pids.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass
    subprocess.run(["ip", "netns", "delete", name], check=True)


def is_mounted(path: object) -> bool:
    """Whether something is mounted here; os.path.ismount() misses bind mounts."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return str(path) in (line.split()[4] for line in mounts)


def undo_netns_root(_entry: dict) -> None:
    """Take away the mount that `ip netns add` made, once the last lab is gone."""
    root = Path("/run/netns")
    with machine_lock():
        if not root.is_dir() or any(root.iterdir()):
            return
        while is_mounted(root):
            subprocess.run(["umount", "-n", str(root)], check=True)
        root.rmdir()


def undo_mount(entry: dict) -> None:
    """Unmount; lazily where a dying process still holds the mount."""
    if not is_mounted(entry["path"]):
        return
    if subprocess.run(["umount", "-n", entry["path"]], stderr=subprocess.DEVNULL).returncode != 0:
        subprocess.run(["umount", "-n", "--lazy", entry["path"]], check=True)


def undo_tree(entry: dict) -> None:
    """Remove a folder, but never through a mount point."""
    path = Path(entry["path"])
    if path.is_symlink() or not path.exists():
        return
    for folder, _, _ in os.walk(path):
        if is_mounted(folder):
            raise OSError(f"{folder} is still mounted")
    shutil.rmtree(path)
    if path.parent == Path("/run/dpdk"):
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def undo_hugepages(entry: dict) -> None:
    """Give reserved huge pages back."""
    hugepages_change(-entry["count"])


UNDO = {
    "process": undo_process,
    "netns": undo_netns,
    "netns_root": undo_netns_root,
    "mount": undo_mount,
    "tree": undo_tree,
    "hugepages": undo_hugepages,
}


def undo_all(entries: dict) -> int:
    """Undo everything in reverse order; the number of things that failed."""
    failures = 0
    for entry in sorted(entries.values(), key=lambda e: e["id"], reverse=True):
        try:
            UNDO[entry["undo"]](entry)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"janitor: cannot undo {entry}: {error}", file=sys.stderr, flush=True)
            failures += 1
    return failures


def main() -> int:
    """Collect entries until the lab is gone, then undo them."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(signum, signal.SIG_IGN)
    entries: dict = {}
    for line in sys.stdin:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the lab died in the middle of a line
        if "done" in entry:
            entries.pop(entry["done"], None)
        else:
            entries[entry["id"]] = entry
    return 1 if undo_all(entries) else 0


if __name__ == "__main__":
    sys.exit(main())
