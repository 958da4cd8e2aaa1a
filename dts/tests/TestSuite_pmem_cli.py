# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""telepage pmem: every subcommand, and what it says to what is wrong."""

import fcntl
import hashlib
import json
import shutil
import struct
import subprocess
from pathlib import Path

from lab import run
from suite import TestSuite

SUPERS = (0, 65536)
STATES = (4096, 6144, 8192, 10240)
MAN_PAGE = Path(__file__).resolve().parents[2] / "docs" / "man" / "telepage-pmem.1"
# What may be said of a file that is there, and must leave it alone if it is not a pool.
COMMANDS = ("info", "check", "repair", "dump", "checkpoint", "destroy", ("grow", "--size", "64M"))


def crc32c(data: bytes) -> int:
    """The checksum of the format, bit by bit."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def words_of(command: str | tuple) -> tuple:
    """A command with its options."""
    return (command,) if isinstance(command, str) else command


class TestPmemCli(TestSuite):
    """Pools by command."""

    def set_up_suite(self) -> None:
        """A folder."""
        self.telepage = self.program("telepage")
        self.folder = self.lab.scratch()

    def set_up_test_case(self) -> None:
        """A pool for each case, closed."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.pool = self.folder / "pool"
        self.command("create", self.pool, "--size", "16M", "--name", "a \"name\"")

    def tmpfs(self, mib: int) -> Path:
        """A small file system of its own."""
        place = self.lab.dir / f"tmpfs{mib}"
        place.mkdir()
        self.lab.undo("mount", path=str(place))
        run("mount", "-n", "-t", "tmpfs", "-o", f"size={mib}M", "none", place)
        return place

    def start(self, *words: object) -> subprocess.CompletedProcess:
        """Run the command to its end."""
        return subprocess.run([str(self.telepage), *map(str, words)], capture_output=True,
                              text=True, timeout=60, check=False)

    def command(self, *words: object, status: int = 0) -> str:
        """What pmem prints."""
        done = self.start("pmem", *words)
        self.verify(done.returncode == status, f"{words}: {done.returncode} {done.stderr}")
        return done.stdout

    def json(self, *words: object) -> list:
        """The same with --json: a value a line."""
        done = self.start("--json", "pmem", *words)
        self.verify(done.returncode == 0, f"{words}: {done.returncode} {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def refused(self, text: str, *words: object, status: int = 1) -> None:
        """It must fail with an error that says what is wrong, not die."""
        done = self.start("pmem", *words)
        said = done.stderr
        self.verify(done.returncode == status, f"{words}: {done.returncode} {said}{done.stdout}")
        self.verify(said.startswith("telepage: ") and text in said, f"{words}: {said}")

    def left(self) -> list[str]:
        """Files of the folder."""
        return sorted(path.name for path in self.folder.iterdir())

    def patch(self, path: Path, offset: int, data: bytes, seal: bool = False) -> None:
        """Change a superblock, with a CRC that is right again if asked for."""
        with open(path, "r+b") as file:
            for at in SUPERS:
                file.seek(at)
                block = bytearray(file.read(4096))
                block[offset:offset + len(data)] = data
                if seal:
                    block[12:16] = bytes(4)
                    block[12:16] = struct.pack("<I", crc32c(bytes(block)))
                file.seek(at)
                file.write(block)

    def test_pmem_every_command_does_its_work(self) -> None:
        """The way of a pool.

        Steps:
            create, info, ls, check, dump, grow, repair, checkpoint, restore, bench, destroy;
            with and without --json.
        Verify:
            Each ends with 0 and says what is so.
        """
        info = self.json("info", self.pool)[0]
        self.verify((info["bytes"], info["clean"], info["name"]) == (16 << 20, True, "a \"name\""),
                    f"{info}")
        self.verify(info["uuid"] in self.command("info", self.pool), "no UUID")
        listed = self.json("ls", self.folder)
        self.verify([row["state"] for row in listed] == ["clean"], f"{listed}")
        self.verify("clean" in self.command("ls", self.folder), "not listed")
        self.verify("sound" in self.command("check", self.pool), "not sound")
        self.verify("chunk" in self.command("dump", self.pool, "--blocks"), "no chunks")
        self.command("grow", self.pool, "--size", "24M")
        self.verify(self.json("info", self.pool)[0]["bytes"] == 24 << 20, "did not grow")
        self.verify("sound" in self.command("repair", self.pool), "not sound")
        printed = self.command("checkpoint", self.pool)
        self.verify(Path(printed.strip()) == Path(f"{self.pool}.ckpt-000001"), printed)
        self.verify(self.json("checkpoint", self.pool) == [{"number": 2}], "not number 2")
        good = [row["good"] for row in self.json("checkpoint", self.pool, "--list")]
        self.verify(good == [True, True], f"{good}")
        rows = self.json("bench", self.folder / "bench", "--size", "48M", "--threads", 2)
        self.verify(len(rows) == 6 and all(row["per_s"] > 0 for row in rows), f"{rows}")
        self.verify("fences" in self.command("bench", self.folder / "bench"), "no figures")
        self.command("destroy", self.pool)
        self.verify("good" in self.command("restore", self.pool), "not restored")
        self.verify(self.json("info", self.pool)[0]["uuid"] == info["uuid"], "another pool")
        self.command("destroy", self.pool)
        self.verify(self.left() == ["pool.ckpt-000001", "pool.ckpt-000002"], f"{self.left()}")

    def test_pmem_wrong_command_lines_are_refused(self) -> None:
        """What cannot be meant.

        Steps:
            Unknown commands and options, missing and superfluous paths, numbers that are none.
        Verify:
            Status 2, a line that says why, nothing made.
        """
        new = self.folder / "new"
        for text, *words in (
                ("pmem create|", ), ("pmem create|", "polish", new), ("--fast", "info", "--fast"),
                ("--size", "create", new, "--size"),
                ("needs a path", "info"), ("needs a path", "create", "--size", "8M"),
                ("needs a path", "restore"), ("one path", "info", new, new),
                ("needs --size", "create", new), ("needs --size", "grow", self.pool),
                ("not a size", "create", new, "--size", "many"),
                ("not a size", "create", new, "--size", "0"),
                ("--lanes", "create", new, "--size", "8M", "--lanes", "0"),
                ("--lanes", "create", new, "--size", "8M", "--lanes", "257"),
                ("--lane-bytes", "create", new, "--size", "8M", "--lane-bytes", "x"),
                ("--number", "restore", new, "--number", "0"),
                ("--number", "restore", new, "--number", "1000000"),
                ("--threads", "bench", new, "--threads", "0"),
                ("--threads", "bench", new, "--threads", "17"),
                ("--size", "bench", new, "--size", "1M")):
            self.refused(text, *words, status=2)
        self.refused("4 MiB", "create", new, "--size", "1M")
        self.refused("lanes", "create", new, "--size", "8M", "--lane-bytes", "1000")
        self.refused("name", "create", new, "--size", "8M", "--name", "n" * 64)
        self.refused("room beside the log", "create", new, "--size", "8M", "--lane-bytes", "1M")
        self.refused("File exists", "create", self.pool, "--size", "8M")
        self.refused("No such file", "create", self.folder / "no" / "pool", "--size", "8M")
        self.refused("1 MiB more", "grow", self.pool, "--size", "8M")
        self.refused("no checkpoint file", "restore", new)
        self.verify(self.left() == ["pool"], f"{self.left()}")

    def damaged_files(self) -> dict[Path, str]:
        """Files that are no good, with what must be said of them."""
        whole = self.pool.read_bytes()
        files = {}

        def make(name: str, data: bytes, text: str) -> Path:
            path = self.folder / name
            path.write_bytes(data)
            files[path] = text
            return path

        make("empty", b"", "0 bytes")
        make("text", b"not a pool\n" * 1000, "shorter than")
        make("zeros", bytes(2 << 20), "no pool begins here")
        make("cut", whole[:9 << 20], "truncated")
        make("head", whole[:512 << 10], "shorter than")
        self.patch(make("version", whole, "another version"), 8, struct.pack("<I", 7), seal=True)
        self.patch(make("feature", whole, "features"), 48, struct.pack("<Q", 4), seal=True)
        self.patch(make("uuid", whole, "state"), 16, bytes(range(16)), seal=True)
        self.patch(make("crc", whole, "checksum is wrong"), 136, b"\xff")
        self.patch(make("numbers", whole, "no sense"), 136, b"\xff\xff\xff\xff", seal=True)
        return files

    def test_pmem_bad_files_are_refused_and_left_alone(self) -> None:
        """What is no pool, or no good one.

        Steps:
            Every command on: no file, a folder, an empty file, text, zeros, a pool cut off, one
            of another version, with features not known, with another UUID in its superblocks,
            with a wrong CRC, with numbers that make no sense.
        Verify:
            Each is refused and says what it is; none is changed; destroy removes what was a
            pool once and nothing else.
        """
        for command in COMMANDS:
            words = words_of(command)
            self.refused("No such file", words[0], self.folder / "no", *words[1:])
            self.refused("", words[0], self.folder, *words[1:])
        pools = ("cut", "version", "feature", "uuid", "crc", "numbers")
        for path, text in self.damaged_files().items():
            digest = hashlib.sha256(path.read_bytes()).digest()
            for command in COMMANDS:
                words = words_of(command)
                if words[0] == "destroy":
                    continue
                self.refused(text, words[0], path, *words[1:])
                self.verify(hashlib.sha256(path.read_bytes()).digest() == digest,
                            f"{words[0]} changed {path.name}")
            if path.name in pools:
                self.command("destroy", path)
                self.verify(not path.exists(), f"{path} is there")
            else:
                self.refused("", "destroy", path)
                self.verify(path.exists(), f"{path} is gone")
        states = {Path(row["path"]).name: row["state"] for row in self.json("ls", self.folder)}
        self.verify(states == {"pool": "clean"}, f"{states}")
        self.verify("sound" in self.command("check", self.pool), "not sound")

    def test_pmem_damage_is_found_and_repaired(self) -> None:
        """check and repair.

        Steps:
            A wrong byte in one copy of the superblock and of the state; in all copies.
        Verify:
            check says where, with status 1; repair puts it right; what has no copy left is
            refused.
        """
        with open(self.pool, "r+b") as file:
            for at in (20, STATES[0] + 8):
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes((byte ^ 1,)))
        found = self.command("check", self.pool, status=1)
        self.verify("superblock copy 0" in found and "damaged" in found, found)
        self.command("repair", self.pool)
        self.verify("sound" in self.command("check", self.pool), "not sound")
        with open(self.pool, "r+b") as file:
            for at in STATES:
                file.seek(at)
                file.write(b"\xff" * 16)
        for command in ("check", "repair", "info"):
            self.refused("all copies", command, self.pool)

    def test_pmem_in_use_is_said(self) -> None:
        """A pool that another process has open for writing.

        Steps:
            Hold the lock that an open pool has; all commands.
        Verify:
            Each says that it is in use; ls says open; nothing is changed.
        """
        with open(self.pool, "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            for command in COMMANDS:
                words = words_of(command)
                self.refused("in use", words[0], self.pool, *words[1:])
            self.refused("in use", "restore", self.pool, "--replace")
            self.verify([row["state"] for row in self.json("ls", self.folder)] == ["open"], "ls")
        self.verify("sound" in self.command("check", self.pool), "not sound")

    def test_pmem_read_only_medium(self) -> None:
        """A file system that cannot be written.

        Steps:
            A pool and its checkpoint there, mounted read-only; all commands.
        Verify:
            Those that only look do their work; the others say that it is read-only.
        """
        place = self.tmpfs(64)
        shutil.copy(self.pool, place / "pool")
        self.command("checkpoint", place / "pool")
        run("mount", "-n", "-o", "remount,ro", place)
        pool = place / "pool"
        self.verify(self.json("info", pool)[0]["clean"], "info")
        self.verify("cannot be written" in self.command("info", pool), "granularity")
        self.command("check", pool)
        self.command("dump", pool)
        self.verify(len(self.json("ls", place)) == 1, "ls")
        self.command("checkpoint", pool, "--to", self.folder / "elsewhere")
        self.command("restore", self.folder / "again", "--from", pool)
        for words in (("repair", pool), ("grow", pool, "--size", "32M"), ("destroy", pool),
                      ("checkpoint", pool), ("restore", pool, "--replace"),
                      ("create", place / "new", "--size", "8M"), ("bench", place / "new")):
            self.refused("Read-only", *words)

    def test_pmem_full_disk_loses_nothing(self) -> None:
        """A file system with too little room.

        Steps:
            On 48 MiB: create, grow, checkpoint, restore and bench that would need more.
        Verify:
            Each says so, leaves no file behind and what was there as it was.
        """
        place = self.tmpfs(48)
        pool = place / "pool"
        self.refused("no room", "create", pool, "--size", "64M")
        self.verify(not list(place.iterdir()), f"{list(place.iterdir())}")
        self.command("create", pool, "--size", "32M")
        self.command("checkpoint", pool, "--to", self.folder / "pool")
        filler = place / "filler"
        self.refused("no room", "grow", pool, "--size", "64M")
        self.refused("no room", "bench", place / "bench")
        self.refused("no room", "restore", pool, "--from", self.folder / "pool", "--replace")
        self.refused("no room", "restore", place / "other", "--from", self.folder / "pool")
        with open(filler, "wb") as file:
            try:
                while file.write(bytes(1 << 16)):
                    file.flush()
            except OSError:
                pass
        self.refused("No space", "checkpoint", pool)
        filler.unlink(missing_ok=True)
        self.verify([path.name for path in place.iterdir()] == ["pool"],
                    f"{list(place.iterdir())}")
        self.verify("sound" in self.command("check", pool), "not sound")
        self.verify(self.json("info", pool)[0]["bytes"] == 32 << 20, "it is not as it was")

    def test_pmem_damaged_checkpoints_are_passed_over(self) -> None:
        """restore takes the newest good one.

        Steps:
            Three checkpoints; the third cut off, a byte of the second wrong.
        Verify:
            restore takes the first, says why not the others; by number they are refused; a
            pool that is there is replaced on demand only.
        """
        for _ in range(3):
            self.command("checkpoint", self.pool)
        third, second = (Path(f"{self.pool}.ckpt-00000{i}") for i in (3, 2))
        third.write_bytes(third.read_bytes()[:-100])
        data = bytearray(second.read_bytes())
        data[5000] ^= 1
        second.write_bytes(data)
        self.refused("there is a file already", "restore", self.pool)
        said = self.command("restore", self.pool, "--replace").splitlines()
        self.verify(len(said) == 3 and said[0].startswith("refused") and "truncated" in said[0]
                    and said[1].startswith("refused") and "checksum" in said[1]
                    and said[2].startswith("good"), f"{said}")
        self.refused("checksum", "restore", self.pool, "--replace", "--number", 2)
        self.refused("No such file", "restore", self.pool, "--replace", "--number", 9)
        self.verify("sound" in self.command("check", self.pool), "not sound")
        good = [row["good"] for row in self.json("checkpoint", self.pool, "--list")]
        self.verify(good == [False, False, True], f"{good}")

    def test_pmem_man_page_is_clean(self) -> None:
        """telepage-pmem(1).

        Steps:
            mandoc's lint, or groff's warnings; the commands that it names.
        Verify:
            Nothing is complained about; each command of --help is there.
        """
        text = MAN_PAGE.read_text()
        usage = self.start("pmem", "--help").stdout
        for command in usage.split(" PATH")[0].rsplit(" ", 1)[1].split("|"):
            self.verify(f" {command} " in text.replace('"', " "), f"{command} is not explained")
        if shutil.which("mandoc"):
            words = ["mandoc", "-T", "lint", "-W", "warning", str(MAN_PAGE)]
        elif shutil.which("man"):
            words = ["man", "--warnings", "-l", "-Z", str(MAN_PAGE)]
        else:
            self.skip("neither mandoc nor man is installed")
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        complaints = done.stderr if words[0] == "man" else done.stdout + done.stderr
        self.verify(done.returncode == 0 and not complaints, complaints)
