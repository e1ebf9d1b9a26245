# SPDX-License-Identifier: GPL-2.0
"""The guest's root: a read-only erofs image of the sandbox without its compilers.

The image and the boot part of the initramfs are made together, because both
hold modules of the same kernel.
"""

import os
import pathlib
import shutil
import subprocess

import cachelib

from . import initramfs

# What no guest needs, as rsync patterns.
LEAVE_OUT = """
/boot/* /dev/* /proc/* /sys/* /tmp/* /run/* /usr/src /usr/include /usr/lib/modules
/usr/lib/gcc /usr/libexec/gcc /usr/lib/llvm-* /usr/lib/clang /usr/lib/rustlib /usr/lib/rust-*
/usr/lib/git-core /usr/lib/bfd-plugins /usr/lib/cmake /usr/lib/python3/dist-packages/lldb*
/usr/lib/x86_64-linux-gnu/*.a /usr/lib/x86_64-linux-gnu/*.o /usr/lib/x86_64-linux-gnu/cmake
/usr/lib/x86_64-linux-gnu/libLLVM* /usr/lib/x86_64-linux-gnu/libclang*
/usr/lib/x86_64-linux-gnu/librustc_driver* /usr/lib/x86_64-linux-gnu/libz3*
/usr/lib/x86_64-linux-gnu/lib*san.so* /usr/lib/x86_64-linux-gnu/libcapstone*
/usr/lib/x86_64-linux-gnu/libIPSec_MB* /usr/lib/x86_64-linux-gnu/qemu
/usr/lib/x86_64-linux-gnu/perl* /usr/lib/x86_64-linux-gnu/libperl*
/usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/perl* /usr/share/qemu
/usr/share/seabios /usr/share/cmake* /usr/share/rust* /usr/share/icons /usr/share/bug
/usr/share/lintian /usr/share/mingw-w64 /usr/share/zoneinfo /usr/lib/ipxe /usr/share/ipxe*
/usr/bin/qemu-* /usr/bin/cargo* /usr/bin/rust* /usr/bin/clippy* /usr/bin/clang* /usr/bin/llvm*
/usr/bin/bindgen /usr/bin/shellcheck /usr/bin/cmake /usr/bin/ctest /usr/bin/cpack /usr/bin/git*
/usr/bin/scalar /usr/bin/perl* /usr/bin/x86_64-linux-gnu-* /usr/bin/lld* /usr/bin/ld.lld*
/var/cache/* /var/lib/apt /var/lib/dpkg /var/log/*
""".split()

# Modules that traffic, IPsec, tests and the image itself may want.
MODULES = """
arch crypto lib virt mm net fs/9p fs/erofs fs/netfs fs/overlayfs drivers/virtio
drivers/block/virtio_blk.ko* drivers/char/hw_random drivers/net/*.ko* drivers/net/bonding
drivers/net/ipvlan drivers/net/vxlan drivers/net/wireguard drivers/net/team drivers/net/ovpn
drivers/net/netdevsim
""".split()
LEAVE_OUT_NET = {"bluetooth", "mac80211", "wireless", "nfc", "can", "ieee802154", "mac802154",
                 "sunrpc", "ceph", "tipc", "rxrpc", "batman-adv", "atm", "qrtr", "smc", "dccp"}


def make(kernel):
    """The cached directory with root.erofs, boot.cpio and the guest's modules."""
    key = cachelib.digest(cachelib.sandbox_root().parent.name, kernel.key, pathlib.Path(__file__),
                        pathlib.Path(initramfs.__file__), initramfs.INIT)
    return cachelib.cached(f"guest-{key}", lambda home: _build(home, kernel))


def _run(*command, **options):
    result = subprocess.run([str(word) for word in command], check=False, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if result.returncode:
        raise cachelib.ToolError(f"{command[0]} failed:\n{result.stdout.strip()[-2000:]}")
    return result.stdout


def _build(home, kernel):
    cachelib.say("making the guest image")
    stage = home / "stage"
    source = cachelib.sandbox_root()
    excludes = [f"--exclude={pattern}" for pattern in LEAVE_OUT]
    _run("rsync", "-a", f"--link-dest={source}", *excludes, f"{source}/", f"{stage}/")
    _modules(kernel, stage)
    for folder in ("host", "espnic", "dev", "proc", "sys", "run", "tmp"):
        (stage / folder).mkdir(exist_ok=True)
    etc = stage / "etc"
    (etc / "modprobe.d").mkdir(exist_ok=True)
    shutil.copy(cachelib.TOOLS / "modprobe.d/espnic.conf", etc / "modprobe.d/espnic.conf")
    for name, text in (("hostname", "espnic-guest\n"),
                       ("hosts", "127.0.0.1 localhost espnic-guest\n::1 localhost\n")):
        (etc / name).unlink(missing_ok=True)  # a hard link into the sandbox
        (etc / name).write_text(text, encoding="utf-8")
    _run("mkfs.erofs", "--quiet", "-T0", home / "root.erofs", stage)
    initramfs.make_boot(home / "boot.cpio", stage, kernel.release)
    (stage / "usr/lib/modules" / kernel.release).rename(home / "modules")
    shutil.rmtree(stage)


def _modules(kernel, stage):
    """Copy the wanted modules unpacked: loading them is quicker so."""
    target = stage / "usr/lib/modules" / kernel.release
    found = []
    for pattern in MODULES:
        for start in (kernel.modules / "kernel").glob(pattern):
            found += [start] if start.is_file() else sorted(start.rglob("*.ko*"))
    packed = []
    for path in found:
        inside = path.relative_to(kernel.modules)
        if inside.parts[1] == "net" and inside.parts[2] in LEAVE_OUT_NET:
            continue
        copy = target / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
        if copy.suffix == ".xz":
            packed.append(copy)
    if packed:
        names = "\0".join(str(path) for path in packed)
        _run("xargs", "-0", "-n", "40", "-P", str(os.cpu_count()), "xz", "-d", input=names)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(kernel.modules / name, target / name)
    _run("depmod", "-b", stage, kernel.release)


def add_module(home, release, module, work):
    """Index the guest's modules together with one more.

    Returns the files that differ from the image, by their place in the guest;
    WORK is an empty folder in the cache.
    """
    base = work / "lib/modules" / release
    base.parent.mkdir(parents=True)
    _run("cp", "-al", home / "modules", base)
    for index in base.glob("modules.*"):
        if not index.name.startswith(("modules.builtin", "modules.order")):
            index.unlink()  # a hard link into the cache
    (base / "updates").mkdir()
    extra = base / "updates" / module.name
    _run("strip", "--strip-debug", "-o", extra, module)
    _run("depmod", "-b", work, release)
    changed = [extra, *(path for path in base.glob("modules.*") if path.stat().st_nlink == 1)]
    return {str(path.relative_to(work)): path for path in changed}
