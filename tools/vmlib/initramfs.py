# SPDX-License-Identifier: GPL-2.0
"""The initramfs: a boot part that is cached, and a part of every run."""

import io
import pathlib
import shutil
import stat
import subprocess

import cachelib

INIT = cachelib.TOOLS / "guest/init"
# In the order in which they are loaded; modprobe adds what they depend on.
BOOT_MODULES = ("virtio_blk", "erofs", "overlay", "9pnet_virtio", "9p")


class Cpio:
    """Writer of the "newc" archive format of Documentation/driver-api/early-userspace."""

    def __init__(self):
        self._out = io.BytesIO()
        self._number = 0
        self._folders = set()

    def _entry(self, name, mode, data=b""):
        self._number += 1
        raw = name.encode() + b"\0"
        fields = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        self._out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + raw)
        self._pad()
        self._out.write(data)
        self._pad()

    def _pad(self):
        self._out.write(bytes(-self._out.tell() % 4))

    def folder(self, name):
        """Add a folder and those above it."""
        for path in [*reversed(pathlib.PurePath(name).parents), pathlib.PurePath(name)]:
            text = str(path)
            if text != "." and text not in self._folders:
                self._folders.add(text)
                self._entry(text, stat.S_IFDIR | 0o755)

    def data(self, name, data, mode=0o644):
        """Add a file with these contents."""
        self.folder(str(pathlib.PurePath(name).parent))
        self._entry(name, stat.S_IFREG | mode, data if isinstance(data, bytes) else data.encode())

    def tree(self, name, source):
        """Add a file, or a folder with everything in it; links are followed."""
        if source.is_dir():
            self.folder(name)
            for child in sorted(source.iterdir()):
                if child.name != "__pycache__":
                    self.tree(f"{name}/{child.name}", child)
        else:
            mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
            self.data(name, source.read_bytes(), mode)

    def finish(self):
        """The archive's bytes."""
        self._entry("TRAILER!!!", 0)
        return self._out.getvalue()


def _load_order(stage, release):
    order = []
    for module in BOOT_MODULES:
        command = ["modprobe", "-d", str(stage), "-S", release, "--show-depends", module]
        lines = subprocess.run(command, check=True, text=True, capture_output=True).stdout
        for line in lines.splitlines():
            if line.startswith("insmod "):
                path = pathlib.Path(line.split()[1])
                if path not in order:
                    order.append(path)
    return order


def make_boot(target, stage, release):
    """Write the cached part: busybox, our init and the modules that find the image."""
    archive = Cpio()
    archive.data("init", INIT.read_bytes(), 0o755)
    archive.data("bin/busybox", (stage / "usr/bin/busybox").read_bytes(), 0o755)
    for folder in ("proc", "sys", "dev", "image", "layer", "root"):
        archive.folder(folder)
    for number, path in enumerate(_load_order(stage, release)):
        archive.data(f"modules/{number:02}-{path.name}", path.read_bytes())
    target.write_bytes(archive.finish())


def make_run(target, boot, contents):
    """Write the initramfs of one run: the boot part, then contents(archive)."""
    archive = Cpio()
    archive.folder("espnic")
    contents(archive)
    with target.open("wb") as out:
        with boot.open("rb") as source:
            shutil.copyfileobj(source, out)
        out.write(archive.finish())
