# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""What a virtual machine boots: Debian's stock kernel, never installed.

There is no disk image: the root is the host's own (see `initramfs`), so that
the guest runs what was built on the host. The kernel's package is downloaded with
apt and stays in the folder; a part of it is unpacked, once.
"""

import hashlib
import lzma
import re
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import LabError, run

HERE = Path(__file__).resolve().parent
METAPACKAGE = "linux-image-amd64"
BUSYBOX = Path("/bin/busybox")
QEMU = "qemu-system-x86_64"
APT_SECONDS = 100

# Loaded by the initramfs.
ROOT_MODULES = ("virtio_pci", "9p", "9pnet_virtio", "overlay")
# For modprobe inside, with what they need.
MODULES = (
    "vfio-pci", "vfio_iommu_type1", "uio_pci_generic",
    "nfit", "nd_pmem", "dax_pmem", "device_dax", "ext4", "xfs", "crc32c_generic",
)


class VmMissing(LabError):
    """Why this machine can have no virtual machine."""


@dataclass
class Image:
    """What to boot."""

    kernel: Path
    initrd: Path
    modules: Path


def kernel_unpack(bzimage: bytes) -> bytes:
    """The ELF file within a compressed kernel: QEMU boots it by its PVH entry, which
    saves unpacking it in each boot."""
    setup_sectors = bzimage[0x1F1]
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    try:
        elf = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(bzimage[start:start + length])
    except lzma.LZMAError as error:
        raise VmMissing(f"the kernel is not compressed with xz: {error}") from error
    if elf[:4] != b"\x7fELF":
        raise VmMissing("what the kernel's file holds is not ELF")
    return elf


class ModuleTree:
    """Modules of an unpacked kernel, and what they depend on."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.needs: dict[str, list[str]] = {}
        self.paths: dict[str, str] = {}
        for line in (folder / "modules.dep").read_text().splitlines():
            path, _, rest = line.partition(":")
            self.needs[path] = rest.split()
            self.paths[self.name(path)] = path
        built_in = (folder / "modules.builtin").read_text().split()
        self.built_in = {self.name(path) for path in built_in}

    @staticmethod
    def name(path: str) -> str:
        """A module's name: dashes and underscores are the same."""
        return Path(path).name.partition(".")[0].replace("-", "_")

    def with_needs(self, names: tuple[str, ...]) -> list[str]:
        """Paths of modules and of what they need, in the order to load them in."""
        order: list[str] = []
        for name in names:
            path = self.paths.get(self.name(name))
            if path is None and self.name(name) not in self.built_in:
                raise VmMissing(f"the kernel has no module {name}")
            # What is named last must be loaded first.
            for needed in [*reversed(self.needs[path]), path] if path else []:
                if needed not in order:
                    order.append(needed)
        return order


def tools_check() -> None:
    """VmMissing unless all programs are there."""
    for program in (QEMU, "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise VmMissing(f"{program} is not installed")
    if not BUSYBOX.exists() or b"/ld-linux" in BUSYBOX.read_bytes()[:4096]:
        raise VmMissing("busybox-static is not installed")


def apt(*words: str, folder: Path | None = None) -> None:
    """Run apt-get; VmMissing with its last line when it fails."""
    try:
        subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", *words], cwd=folder,
                       check=True, timeout=APT_SECONDS, stdin=subprocess.DEVNULL,
                       capture_output=True, text=True)
    except subprocess.TimeoutExpired as error:
        raise VmMissing(f"apt-get {words[0]}: no end after {APT_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        raise VmMissing(f"apt-get {words[0]}: {lines[-1]}") from error


def kernel_fetch(folder: Path) -> None:
    """Download the current kernel's package, as far as apt's lists know it."""
    found = re.search(r"Depends: (linux-image-\S+)",
                      run("apt-cache", "depends", METAPACKAGE, check=False))
    if found is None:
        raise VmMissing(f"apt knows no {METAPACKAGE}")
    apt("download", found[1], folder=folder)


def kernel_download(folder: Path) -> Path:
    """The kernel's package: one that is there, or a new one."""
    old = sorted(folder.glob("linux-image-*.deb"))
    if old:
        return old[-1]
    with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as there:
        try:
            kernel_fetch(Path(there))
        except VmMissing:
            # The lists may be missing, or older than the mirror.
            apt("update")
            kernel_fetch(Path(there))
        package = next(Path(there).glob("*.deb"))
        return package.rename(folder / package.name)


def initrd_make(target: Path, tree: ModuleTree) -> None:
    """busybox, the modules of the root, and a script."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="initrd-") as there:
        root = Path(there)
        for name in ("bin", "modules", "proc", "sys", "dev", "lower", "changes", "new"):
            (root / name).mkdir()
        shutil.copy(BUSYBOX, root / "bin" / "busybox")
        shutil.copy(HERE / "initramfs", root / "init")
        for number, path in enumerate(tree.with_needs(ROOT_MODULES)):
            shutil.copy(tree.folder / path, root / "modules" / f"{number:02}-{Path(path).name}")
        with open(target, "wb") as output:
            names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
            subprocess.run([BUSYBOX, "cpio", "-o", "-H", "newc"], cwd=root, stdout=output,
                           input=names.encode(), stderr=subprocess.DEVNULL, check=True,
                           timeout=60)


def depmod(root: Path, version: str) -> None:
    """Write modules.dep of root/lib/modules/version."""
    run(BUSYBOX, "depmod", "-b", root, version)


def modules_keep(tree: ModuleTree, root: Path) -> None:
    """root/lib/modules with those that are wanted: all of them are 400 MB."""
    kept = root / "lib" / "modules" / tree.folder.name
    for path in tree.with_needs(MODULES):
        (kept / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree.folder / path, kept / path)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(tree.folder / name, kept / name)
    depmod(root, tree.folder.name)


def image_make(target: Path, package: Path) -> None:
    """Unpack a kernel's package and make everything in a folder."""
    with tempfile.TemporaryDirectory(dir=target, prefix="unpacked-") as there:
        run("dpkg-deb", "-x", package, there, timeout=100)
        folder = next(Path(there, "lib", "modules").iterdir())
        depmod(Path(there), folder.name)
        tree = ModuleTree(folder)
        initrd_make(target / "initrd", tree)
        modules_keep(tree, target)
        bzimage = Path(there, "boot", f"vmlinuz-{folder.name}").read_bytes()
        (target / "vmlinux").write_bytes(kernel_unpack(bzimage))


def prepare(folder: Path) -> Image:
    """Make the image, unless it is there; VmMissing where that cannot be."""
    tools_check()
    folder.mkdir(exist_ok=True)
    package = kernel_download(folder)
    # What it is made of names it: a new kernel or another list makes a new one.
    stamp = hashlib.sha256(package.name.encode())
    for source in (Path(__file__), HERE / "initramfs", BUSYBOX):
        stamp.update(source.read_bytes())
    target = folder / f"image-{stamp.hexdigest()[:16]}"
    if not target.exists():
        for old in folder.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
        making = folder / f"making-{target.name}"
        making.mkdir()
        image_make(making, package)
        making.rename(target)
    return Image(target / "vmlinux", target / "initrd", target / "lib" / "modules")
