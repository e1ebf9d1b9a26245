# SPDX-License-Identifier: GPL-2.0
"""An interface under test: its counters, features and driver."""

import os
import re

from . import proc
from .ktap import defer

BUS = "/sys/bus/virtio"
ACKNOWLEDGE = 1  # all that a device without a driver has in its status


def exists(name):
    """True if the interface is in the initial namespace (sysfs shows that one)."""
    return os.path.exists(f"/sys/class/net/{name}")


def mac(name):
    """MAC address of an interface of the initial namespace."""
    return proc.read_file(f"/sys/class/net/{name}/address")


def bus_device(name):
    """Name on the virtio bus of the device behind an interface, such as virtio0."""
    path = os.path.realpath(f"/sys/class/net/{name}/device")
    return os.path.basename(path)


def driver_of(device):
    """Driver that is bound to a virtio device, or None."""
    link = f"{BUS}/devices/{device}/driver"
    return os.path.basename(os.readlink(link)) if os.path.islink(link) else None


def has_feature(device, bit):
    """Whether the driver of DEVICE and the device have agreed on the feature with this number."""
    return proc.read_file(f"{BUS}/devices/{device}/features")[bit] == "1"


def interrupts(device, kind):
    """Interrupts so far of each queue of this kind, input or output, by their numbers."""
    counts = {}
    for line in proc.read_file("/proc/interrupts").splitlines():
        found = re.search(rf"^\s*(\d+):((?:\s+\d+)+)\s.*\b{device}-{kind}\S*$", line)
        if found:
            counts[found.group(1)] = sum(int(word) for word in found.group(2).split())
    return counts


def status(device):
    """The device's status register (VIRTIO section 2.1)."""
    return int(proc.read_file(f"{BUS}/devices/{device}/status"), 16)


def unbind(device):
    """Take the driver away from a virtio device."""
    proc.write_file(f"{BUS}/drivers/{driver_of(device)}/unbind", device)


def reset_file(device):
    """The file of the PCI function below a virtio device that resets it, or None."""
    path = os.path.join(os.path.dirname(os.path.realpath(f"{BUS}/devices/{device}")), "reset")
    return path if os.path.exists(path) else None


def bind(device, driver, name):
    """Bind a driver to a virtio device and give its interface the name."""
    proc.write_file(f"{BUS}/drivers/{driver}/bind", device)
    adopt(device, name)


def same_driver(device):
    """Names of the interfaces of the initial namespace that have the same driver, by virtio
    device."""
    folder = f"{BUS}/drivers/{driver_of(device)}"
    found = {}
    for one in os.listdir(folder):
        names = f"{folder}/{one}/net"
        if os.path.isdir(names) and os.listdir(names):
            found[one] = os.listdir(names)[0]
    return found


def parameter(path, name):
    """True if a module file has a parameter of this name."""
    lines = proc.cmd("modinfo", "-F", "parm", path).splitlines()
    return any(line.startswith(f"{name}:") for line in lines)


def adopt(device, name):
    """Give the interface of a virtio device this name as soon as it is there."""
    folder = f"{BUS}/devices/{device}/net"
    found = proc.wait_until(lambda: os.path.isdir(folder) and os.listdir(folder),
                            f"an interface of {device}")
    if found[0] != name:
        proc.cmd("ip", "link", "set", found[0], "down")
        proc.cmd("ip", "link", "set", found[0], "name", name)


def ethtool_stats(ns, name):
    """Counters of `ethtool -S` as numbers by name."""
    stats = {}
    for line in ns.cmd("ethtool", "-S", name).splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip().isdigit():
            stats[key.strip()] = int(value)
    return stats


def ethtool_features(ns, name):
    """Features of `ethtool -k`, True for on, by name."""
    features = {}
    for line in ns.cmd("ethtool", "-k", name).splitlines():
        key, colon, value = line.partition(":")
        if colon and value.split():
            features[key.strip()] = value.split()[0] == "on"
    return features


def ethtool_changeable(ns, name):
    """Names of the features of `ethtool -k` that are not marked as fixed."""
    lines = ns.cmd("ethtool", "-k", name).splitlines()
    return {line.partition(":")[0].strip() for line in lines if not line.endswith("[fixed]")}


def ethtool_info(ns, name):
    """Fields of `ethtool -i` by name."""
    lines = ns.cmd("ethtool", "-i", name).splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def queue_values(ns, name, file):
    """Numbers that a file has in each transmit queue's folder in sysfs, in the order of queues. The
    namespace needs a sysfs of its own for it."""
    script = ('mount -t sysfs sysfs /sys && cd "/sys/class/net/$0/queues" && '
              'grep -H . tx-*/"$1"')
    text = ns.cmd("unshare", "--mount", "sh", "-c", script, name, file)
    found = {}
    for line in text.splitlines():
        path, _, value = line.partition(":")
        found[int(path.partition("/")[0].removeprefix("tx-"))] = int(value)
    return [found[number] for number in sorted(found)]


def set_queue_values(ns, name, file, value):
    """Write a number to a file of each transmit queue; see queue_values()."""
    script = ('mount -t sysfs sysfs /sys && cd "/sys/class/net/$0/queues" && '
              'for file in tx-*/"$1"; do echo "$2" > "$file" || exit; done')
    ns.cmd("unshare", "--mount", "sh", "-c", script, name, file, str(value))


def hold_back(cfg, usecs, frames):
    """The NIC collects so many received frames, for so many microseconds, before it tells of
    them."""
    def set_moderation(usecs, frames):
        cfg.dut.cmd("ethtool", "-C", cfg.netif, "rx-usecs", str(usecs), "rx-frames", str(frames))
    set_moderation(usecs, frames)
    defer(set_moderation, 0, 0)
