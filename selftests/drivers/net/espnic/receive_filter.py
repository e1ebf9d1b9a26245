#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the NIC receives: Ethernet addresses, multicast groups, VLANs; also across resets."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, netif, proc, reception  # noqa: E402
from ksft.reception import (  # noqa: E402
    FOREIGN,
    GROUP,
    OTHER_GROUP,
    OTHER_VLAN,
    UPPER_MAC,
    VLAN,
    Probe,
)

CTRL_RX, CTRL_VLAN = 18, 19
VLAN_FILTER = "rx-vlan-filter"
RESET_TIME = 10.0


def features(cfg):
    """Driver and NIC have agreed; the filter of VLANs cannot be switched off."""
    ktap.check(cfg.features().get(VLAN_FILTER), f"{VLAN_FILTER} is not on")
    ktap.check(VLAN_FILTER not in netif.ethtool_changeable(cfg.dut, cfg.netif),
               f"{VLAN_FILTER} can be switched")


def _choose(cfg):
    """A VLAN, a group and the address of a macvlan."""
    reception.add_vlan(cfg, "vlan7", VLAN)
    ktap.defer(cfg.dut.run, "ip", "maddress", "del", GROUP, "dev", cfg.netif)
    reception.groups(cfg, [GROUP])
    reception.add_macvlan(cfg, "mac0")
    cfg.dut.ip("link set mac0 addrgenmode none", "link set mac0 up")


def _as_chosen(cfg, probe):
    probe.becomes(True, UPPER_MAC)
    probe.becomes(True, GROUP)
    ktap.check(probe.passes(cfg.netif_mac, VLAN), "a frame of the VLAN was dropped")
    ktap.check(not probe.passes(cfg.netif_mac, OTHER_VLAN), "another VLAN was received")
    ktap.equal(probe.passing(FOREIGN, OTHER_GROUP), [], "received")


def reset(cfg):
    """A NIC that was reset is told all of it again."""
    cfg.need_request("reset")
    _choose(cfg)
    probe = Probe(cfg)
    _as_chosen(cfg, probe)
    cfg.reset(RESET_TIME)
    _as_chosen(cfg, probe)


def reset_while_promiscuous(cfg):
    """So it is of the mode."""
    cfg.need_request("reset")
    reception.switch(cfg, "promisc")
    probe = Probe(cfg)
    probe.becomes(True, FOREIGN)
    cfg.reset(RESET_TIME)
    probe.becomes(True, FOREIGN)


def another_address(cfg):
    """An interface with another address than the NIC's own receives what is for that one."""
    old = cfg.netif_mac
    ktap.defer(cfg.configure)
    ktap.defer(setattr, cfg, "netif_mac", old)
    ktap.defer(cfg.dut.ip, f"link set {cfg.netif} down", f"link set {cfg.netif} address {old}")
    cfg.dut.ip(f"link set {cfg.netif} down", f"link set {cfg.netif} address {UPPER_MAC}")
    cfg.configure()
    cfg.netif_mac = UPPER_MAC
    probe = Probe(cfg)
    proc.wait_until(lambda: _reaches(probe), "the new address is received")
    ktap.check(not probe.passes(FOREIGN), "a foreign address was received")


def _reaches(probe):
    try:
        return probe.passes(UPPER_MAC)
    except ktap.Failure:
        return False


CASES = [features, *reception.CASES, reset, reset_while_promiscuous, another_address]


def _setup():
    cfg = env.Setup()
    if not (netif.has_feature(cfg.device, CTRL_RX) and netif.has_feature(cfg.device, CTRL_VLAN)):
        raise ktap.Skip("driver and NIC have not agreed on filters of what is received")
    return cfg


if __name__ == "__main__":
    ktap.main(CASES, _setup)
