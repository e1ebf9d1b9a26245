# SPDX-License-Identifier: GPL-2.0
"""The kernel's own test of VXLAN inside offloaded ESP, as it is, against our NIC.

KSRC is a kernel source tree that has it; nothing of it is copied. Its limit of 100 Mbit/s is out of
reach in an emulator and does not count here. The packets must be the NIC's work, and none may be
dropped.
"""

import os
import pathlib
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, proc, xfrm  # noqa: E402

PROGRAM = "tools/testing/selftests/drivers/net/hw/ipsec_vxlan.py"
NAMES = pathlib.Path("/run/netns")
VARIANTS, SECONDS = 4, 240
SLOW = "Minimum 100Mbps over VXLAN+IPsec"
STAND_IN = "class SafeLoader:\n    pass\n\n\nCSafeLoader = SafeLoader\n"


def _program():
    tree = os.environ.get("KSRC")
    if not tree:
        raise ktap.Skip("KSRC is not set: no source of the kernel's tests")
    program = pathlib.Path(tree) / PROGRAM
    if not program.exists():
        raise ktap.Skip(f"{program} does not exist")
    proc.need("iperf3", "ping")
    return program


def _name(ns, name):
    """Give a namespace a name, as `ip netns` wants it."""
    NAMES.mkdir(exist_ok=True)
    file = NAMES / name
    file.touch()
    ktap.defer(file.unlink)
    proc.cmd("mount", "--bind", ns.path, str(file))
    ktap.defer(proc.run, "umount", str(file))
    return name


def _environment(cfg, remote):
    # The library of the tests reads YAML where it makes netlink messages, which this test does not
    # do; it is satisfied if there is a module with that name.
    folder = tempfile.TemporaryDirectory()
    ktap.defer(folder.cleanup)
    (pathlib.Path(folder.name) / "yaml.py").write_text(STAND_IN, encoding="ascii")
    return {**os.environ, "NETIF": cfg.netif, "LOCAL_V4": env.DUT4, "REMOTE_V4": env.PEER4,
            "LOCAL_V6": env.DUT6, "REMOTE_V6": env.PEER6, "REMOTE_TYPE": "netns",
            "REMOTE_ARGS": remote, "PYTHONPATH": folder.name, "PYTHONDONTWRITEBYTECODE": "1"}


def vxlan_in_esp(cfg):
    """All its variants run, nothing is dropped, and the NIC has encrypted and decrypted."""
    program = _program()
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    xfrm.flush(cfg.dut, cfg.peer)
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"addr del {env.DUT_INNER4}/32 dev lo")  # it wants this one
    local, remote = _name(cfg.dut, "espnic-local"), _name(cfg.peer, "espnic-remote")
    before = cfg.driver_counters()
    result = proc.run("env", *[f"{name}={value}" for name, value
                               in _environment(cfg, remote).items()],
                      "ip", "netns", "exec", local, "python3", str(program), timeout=SECONDS)
    text = result.stdout + result.stderr
    ktap.diag(text)
    results = re.findall(r"^(ok|not ok) \d+ (\S+)", text, re.MULTILINE)
    ktap.equal(len(results), VARIANTS, "results of the kernel's test")
    failures = re.findall(r"^# Check failed .*$", text, re.MULTILINE)
    ktap.equal([line for line in failures if SLOW not in line], [], "failed checks")
    ktap.equal(sum(word == "not ok" for word, _ in results), len(failures), "failed variants")
    counters = xfrm.changed(before, cfg.driver_counters())
    for name in ("ipsec_tx_packets", "ipsec_rx_packets"):
        ktap.at_least(counters.get(name, 0), VARIANTS * 100, name)
    drops = {name: count for name, count in counters.items() if "drop" in name}
    ktap.equal(drops, {}, "packets that the driver dropped")


CASES = [vxlan_in_esp]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup().need_offload())
