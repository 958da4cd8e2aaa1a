# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""A pool of persistent memory as a disk: nbdkit serves a block volume of it."""

import filecmp
import json
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import suite
from lab import Process, run, wait_until
from suite import TestSuite, chance, times

try:
    import nbd
except ImportError:
    nbd = None

BLOCK = 4096
SIZE = 48 << 20
TOOLS = ("nbdkit", "nbdcopy", "nbdinfo", "mkfs.ext4", "e2fsck", "debugfs")


class TestPmemBlock(TestSuite):
    """The plugin with real clients, with a file system, and with kills."""

    case_seconds = 3600 if suite.FULL else 600
    # Pages: what the folder's file system is. Lines: as if it were DAX.
    variants = ({"granularity": "page"}, {"granularity": "line"})

    def set_up_suite(self) -> None:
        """A pool."""
        self.plugin = self.program("app/nbdkit/nbdkit-telepage-plugin.so")
        self.command = self.program("telepage")
        for tool in TOOLS:
            if shutil.which(tool) is None:
                self.skip(f"{tool} is not installed")
        if nbd is None:
            self.skip("python3-libnbd is not installed")
        self.folder = self.lab.scratch()
        self.pool = self.folder / "pool"
        self.starts = 0

    def set_up_test_case(self) -> None:
        """An empty pool for each case."""
        self.pool.unlink(missing_ok=True)
        run(self.command, "pmem", "create", self.pool, "--size", "128M")

    def environment(self) -> dict:
        """What the pool's user must believe of the file."""
        return ({"PMEM2_FORCE_GRANULARITY": "CACHE_LINE"}
                if self.variant["granularity"] == "line" else {})

    def serve(self, *words: str) -> tuple[Process, str]:
        """nbdkit with our plugin; its process and its URI."""
        self.starts += 1
        socket = self.folder / f"nbd{self.starts}"
        process = self.lab.start(f"nbdkit{self.starts}", "nbdkit", "-f", "-U", socket, *words,
                                 self.plugin, f"pool={self.pool}", f"size={SIZE}",
                                 env=self.environment())

        uri = f"nbd+unix:///?socket={socket}"

        def ready() -> bool:
            self.verify(process.is_running, f"nbdkit ended: {process.output()}")
            client = nbd.NBD()
            try:
                client.connect_uri(uri)
                client.shutdown()
            except nbd.Error:
                return False
            return True

        wait_until(ready, 30, "nbdkit that answers")
        return process, uri

    def verify_sound(self) -> None:
        """The pool itself."""
        run(self.command, "pmem", "check", self.pool)

    def test_block_says_what_it_can(self) -> None:
        """What a client is told.

        Steps:
            nbdinfo of a new volume, and of one served read-only.
        Verify:
            Size, flush, FUA, trim, zero, multi-conn, block sizes; nothing of it is
            allocated. Read-only it cannot be written.
        """
        process, uri = self.serve()
        said = json.loads(run("nbdinfo", "--json", uri))["exports"][0]
        self.verify(said["export-size"] == SIZE, f"{said}")
        for what in ("can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn"):
            self.verify(said[what], f"{what}: {said}")
        self.verify((said["block_size_minimum"], said["block_size_preferred"]) == (512, BLOCK),
                    f"{said}")
        extents = json.loads(run("nbdinfo", "--map", "--json", uri))
        self.verify([e["type"] for e in extents] == [3], f"{extents}")
        self.verify(process.stop() == 0, process.output())
        process, uri = self.serve("-r")
        said = json.loads(run("nbdinfo", "--json", uri))["exports"][0]
        self.verify(said["is_read_only"], f"{said}")
        self.verify(process.stop() == 0, process.output())
        self.verify_sound()

    def test_block_wrong_pools_are_refused(self) -> None:
        """nbdkit does not start on what is not a pool.

        Steps:
            No pool, a file that is none, a pool without that volume, one that is open.
        Verify:
            nbdkit ends with an error that says which it is.
        """
        other = self.folder / "other"
        other.write_bytes(bytes(2 << 20))
        cases = (((), "which pool"), ((f"pool={other}",), "no pool begins here"),
                 ((f"pool={self.pool}",), "no root disk"),
                 ((f"pool={self.pool}", "size=1T"), "no piece of"),
                 ((f"pool={self.pool}", "size=1000"), "multiple of 512"),
                 ((f"pool={self.pool}", "colour=red"), "unknown parameter"))
        for words, text in cases:
            self.verify_refused(text, *words)
        process, _ = self.serve()
        self.verify_refused("in use", f"pool={self.pool}")
        self.verify(process.stop() == 0, process.output())
        self.verify_sound()

    def verify_refused(self, text: str, *words: str) -> None:
        """nbdkit must not start, and say why."""
        socket = self.folder / "refused"
        socket.unlink(missing_ok=True)
        done = subprocess.run(["nbdkit", "-f", "-U", socket, self.plugin, *words],
                              capture_output=True, text=True, timeout=60, check=False)
        self.verify(done.returncode != 0 and text in done.stderr,
                    f"{words}: {done.returncode} {done.stderr}")

    def test_block_holds_a_file_system(self) -> None:
        """A real file system comes back as it went in.

        Steps:
            ext4 with our own sources in it, copied into the volume over four connections;
            nbdkit ends and starts again; copied out.
        Verify:
            The image is the same; e2fsck finds nothing; debugfs reads all files back
            as they are. Holes stay holes.
        """
        source = Path(__file__).resolve().parent
        image, back = self.folder / "image", self.folder / "back"
        image.unlink(missing_ok=True)
        run("mkfs.ext4", "-q", "-F", "-d", source, image, f"{SIZE >> 10}k")
        process, uri = self.serve()
        run("nbdcopy", "--connections=4", "--flush", image, uri)
        self.verify(process.stop() == 0, process.output())
        self.verify_sound()
        process, uri = self.serve()
        run("nbdcopy", uri, back)
        self.verify(filecmp.cmp(image, back, shallow=False), "the image is not what it was")
        holes = [e for e in json.loads(run("nbdinfo", "--map", "--json", uri)) if e["type"] == 3]
        self.verify(sum(e["length"] for e in holes) > SIZE // 2, f"{holes}")
        self.verify(process.stop() == 0, process.output())
        run("e2fsck", "-fn", back)
        files = self.folder / "files"
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir()
        run("debugfs", "-R", f"rdump / {files}", back)
        for path in source.glob("*.py"):
            self.verify(filecmp.cmp(path, files / path.name, shallow=False), f"{path.name} differs")

    def test_block_damage_is_found_not_read(self) -> None:
        """What the medium changed.

        Steps:
            Blocks of one text are written; a byte of one is changed in the pool's file.
        Verify:
            pmem check names a lost block; reading it is an error to the client, reading the
            others is not; written again, it is sound.
        """
        process, uri = self.serve()
        client = nbd.NBD()
        client.connect_uri(uri)
        client.pwrite(b"telepage" * (4 * BLOCK // 8), 0, nbd.CMD_FLAG_FUA)
        client.shutdown()
        self.verify(process.stop() == 0, process.output())
        with open(self.pool, "r+b") as file:
            at = file.read().index(b"telepage" * 512)
            file.seek(at + 100)
            file.write(b"X")
        done = subprocess.run([self.command, "pmem", "check", self.pool], capture_output=True,
                              text=True, timeout=60, check=False)
        self.verify(done.returncode == 1 and "lost" in done.stdout
                    and f"{at:#012x}" in done.stdout, done.stdout)
        process, uri = self.serve()
        client = nbd.NBD()
        client.connect_uri(uri)
        failed = []
        for block in range(4):
            try:
                client.pread(BLOCK, block * BLOCK)
            except nbd.Error:
                failed.append(block)
        self.verify(len(failed) == 1, f"blocks {failed} cannot be read")
        client.pwrite(bytes(BLOCK), failed[0] * BLOCK, nbd.CMD_FLAG_FUA)
        self.verify(client.pread(BLOCK, failed[0] * BLOCK) == bytes(BLOCK), "not zeros")
        client.shutdown()
        self.verify(process.stop() == 0, process.output())
        self.verify_sound()

    def test_block_fio_verifies(self) -> None:
        """Random writes, many at once, each read back.

        Steps:
            fio over its NBD engine: random writes of 512 bytes to 64 KiB, 16 at a time, a
            flush now and then; then nbdkit starts again and fio reads all of it.
        Verify:
            Every checksum that fio put into its blocks is right, both times.
        """
        if shutil.which("fio") is None:
            self.skip("fio is not installed")
        words = ("--name=disk", f"--size={SIZE}", "--iodepth=16",
                 "--bsrange=512-64k", "--bs_unaligned=0", "--verify=crc32c", "--randseed=7",
                 "--fsync=16", "--io_size=32m", "--rw=randwrite", "--verify_fatal=1",
                 "--verify_state_save=0")
        for what in ("--do_verify=1", "--verify_only"):
            process, uri = self.serve()
            run("fio", "--ioengine=nbd", f"--uri={uri}", *words, what, timeout=300)
            self.verify(process.stop() == 0, process.output())
        self.verify_sound()

    def write_until_killed(self, uri: str, process: Process, random, oracle: "Oracle") -> None:
        """Write on one connection, flush on another one, until the server is gone."""
        writer, flusher = nbd.NBD(), nbd.NBD()
        writer.connect_uri(uri)
        flusher.connect_uri(uri)
        # Now and then in the first moments.
        timer = threading.Timer(random.uniform(0.0, 0.05 if random.randrange(4) == 0 else 0.5),
                                process.send_signal, (signal.SIGKILL,))
        timer.start()
        try:
            while True:
                first, count = random.randrange(oracle.blocks), random.randint(1, 8)
                count = min(count, oracle.blocks - first)
                fua = random.randrange(8) == 0
                data = oracle.write(first, count)
                writer.pwrite(data, first * BLOCK, nbd.CMD_FLAG_FUA if fua else 0)
                oracle.done += 1
                if fua:
                    oracle.lasting(range(first, first + count))
                elif random.randrange(3) == 0:
                    flusher.flush()
                    oracle.done += 1
                    oracle.lasting(range(oracle.blocks))
        except nbd.Error:
            pass
        finally:
            timer.join()
            process.wait(30)

    def test_block_killed_keeps_what_was_flushed(self) -> None:
        """kill -9 of nbdkit while it writes.

        Steps:
            Over and over: a client writes blocks of which each has its number and a
            version all over, on one connection, and flushes on another; nbdkit is killed at
            a random moment; it starts again, and all blocks are read.
        Verify:
            Each block is one version as a whole, no older than what was flushed or
            written with FUA, no newer than what was sent. More calls were answered than
            there were kills.
        """
        random = chance(20)
        oracle = Oracle(256)
        kills = times(12, 500)
        for _ in range(kills):
            process, uri = self.serve()
            self.write_until_killed(uri, process, random, oracle)
            process, uri = self.serve()
            reader = nbd.NBD()
            reader.connect_uri(uri)
            fault = oracle.compare(bytes(reader.pread(oracle.blocks * BLOCK, 0)))
            reader.shutdown()
            self.verify(not fault, fault)
            self.verify(process.stop() == 0, process.output())
        self.verify(oracle.done > kills, f"{oracle.done} writes and flushes were answered")
        self.verify_sound()


class Oracle:
    """What each block may be: a version from the last flushed to the last sent."""

    def __init__(self, blocks: int):
        self.blocks = blocks
        self.next = 1
        self.done = 0           # calls that were answered
        self.least = [0] * blocks
        self.latest = [0] * blocks
        self.sent = [{0} for _ in range(blocks)]

    def write(self, first: int, count: int) -> bytes:
        """New versions of some blocks: what to send."""
        data = b""
        for block in range(first, first + count):
            data += self.contents(block, self.next)
            self.latest[block] = self.next
            self.sent[block].add(self.next)
            self.next += 1
        return data

    @staticmethod
    def contents(block: int, version: int) -> bytes:
        """A block."""
        if version == 0:
            return bytes(BLOCK)
        return (block.to_bytes(4, "little") + version.to_bytes(4, "little")) * (BLOCK // 8)

    def lasting(self, blocks: range) -> None:
        """What these are now must not be lost."""
        for block in blocks:
            self.least[block] = self.latest[block]
            self.sent[block] = {self.latest[block]}

    def compare(self, data: bytes) -> str:
        """What is wrong, if anything; from now on this is what there is."""
        for block in range(self.blocks):
            found = data[block * BLOCK:(block + 1) * BLOCK]
            version = int.from_bytes(found[4:8], "little")
            if found != self.contents(block, version):
                return f"block {block} is torn"
            if version not in self.sent[block]:
                return (f"block {block} has version {version}, not one of "
                        f"{sorted(self.sent[block])}")
            self.latest[block] = version
            # Read by a client is not lasting, but after a kill -9 it is what the kernel has.
            self.lasting(range(block, block + 1))
        return ""
