#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checksums and large sends, which OIDs, keywords and ethtool switch beside IPsec."""

import errno
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import ktap, ndis, oid  # noqa: E402

SEGMENTATION = ("tx-tcp-segmentation", "tx-tcp6-segmentation")
TX_CHECKSUM, RX_CHECKSUM = "tx-checksum-ip-generic", "rx-checksumming"
# The checksums that the netdev can switch, all at once.
TOGETHER = ("TCPIPv4Checksum", "UDPIPv4Checksum", "TCPIPv6Checksum", "UDPIPv6Checksum")
SIZES = ("LsoV2.IPv4.Size", "LsoV2.IPv6.Size")
SUMS = ("Tx4.Bits", "Rx4.Bits", "Tx6.Bits", "Rx6.Bits")


def _tasks(cfg, miniport, **expected):
    """Features, and what the report says of them: checksums sent and received, large sends."""
    features, told = cfg.features(), miniport.query(oid.CURRENT_CONFIG)
    names = {"tx": TX_CHECKSUM, "rx": RX_CHECKSUM, "tso4": SEGMENTATION[0], "tso6": SEGMENTATION[1]}
    found = {"tx": bool(told["Tx4.Bits"] and told["Tx6.Bits"]),
             "rx": bool(told["Rx4.Bits"] and told["Rx6.Bits"]),
             "tso4": bool(told["LsoV2.IPv4.Size"]), "tso6": bool(told["LsoV2.IPv6.Size"])}
    wanted = dict.fromkeys(names, True) | expected
    ktap.equal(found, wanted, "offloads reported")
    ktap.equal({short: features[name] for short, name in names.items()}, wanted, "features")
    ktap.equal(told["LsoSupported"], int(wanted["tso4"] or wanted["tso6"]), "LsoSupported")
    hardware = miniport.query(oid.HARDWARE_CAPABILITIES)
    ktap.check(all(hardware[name] for name in (*SUMS, *SIZES, "LsoSupported")),
               f"the hardware's capabilities are fewer: {hardware}")


def checksums_and_large_sends(cfg):
    """OID_TCP_OFFLOAD_PARAMETERS switches the netdev's checksums and segmentation; each set has one
    indication, with what is enabled now."""
    ktap.rules("R8", "R9", "R24", "R142", "R145")
    miniport = ndis.fresh(cfg)
    off = {"tx": False, "tso4": False, "tso6": False}
    for changes, expected in (
            ({"LsoV2IPv4": 1}, {"tso4": False}), ({"LsoV2IPv4": 0}, {"tso4": False}),
            ({"LsoV2IPv6": 1}, {"tso4": False, "tso6": False}),
            ({"LsoV2IPv4": 2, "LsoV2IPv6": 2}, {}),
            (dict.fromkeys(TOGETHER, 1), off | {"rx": False}),
            (dict.fromkeys(TOGETHER, 2), {"rx": False}), (dict.fromkeys(TOGETHER, 3), off),
            (dict.fromkeys(TOGETHER, 4), {}), ({"IPv4Checksum": 1}, {"tso4": False}),
            ({"IPv4Checksum": 4, "LsoV1": 1}, {}),
            ({"LsoV2IPv4": 1, "IPsecV2": oid.ESP_ENABLED}, {"tso4": False}),
            ({"LsoV2IPv4": 2}, {})):
        miniport.set_normal(oid.PARAMETERS, oid.parameters(changes=changes))
        ndis.one_indication(miniport, True)
        _tasks(cfg, miniport, **expected)


def checksums_apart(cfg):
    """The netdev has one switch for all checksums of a direction: a set that wants them apart is
    refused, and changes nothing."""
    ktap.rules("R142")
    miniport = ndis.fresh(cfg)
    for names in (TOGETHER[:1], TOGETHER[1:], TOGETHER[:2]):
        for value in (1, 2, 3):
            changes = dict.fromkeys(names, value) | {"LsoV2IPv4": 1}
            miniport.expect("INVALID_DATA", oid.PARAMETERS, oid.parameters(changes=changes),
                            f"with {changes}", path=ndis.NORMAL)
    ktap.equal(ndis.indications(miniport), [], "indications")
    ktap.equal({miniport.keyword(name) for name in ndis.KEYWORDS}, {None}, "keywords")
    _tasks(cfg, miniport)


def segmentation_while_off(cfg):
    """Segmentation is switched off while ESP is: no indication has it any more."""
    ktap.rules("R11", "R21")
    miniport = ndis.fresh(cfg)
    for name in SEGMENTATION:
        ktap.check(cfg.features()[name], f"{name} is off")
    for name in SIZES:
        ktap.check(miniport.query(oid.CURRENT_CONFIG)[name], f"no {name} at the start")
    miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2": oid.DISABLED}))
    for name in SEGMENTATION:
        cfg.feature(name, "off")
    ktap.contains([body.status for body in ndis.indications(miniport)],
                  oid.HARDWARE_INDICATION, "indications of other hardware")
    for value, esp_on in ((oid.NO_CHANGE, 0), (oid.BOTH_ENABLED, 1)):
        miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2": value}))
        told = ndis.indications(miniport)[-1].offload
        ktap.equal([told[name] for name in SIZES], [0] * 2, "sizes of large send")
        ktap.equal((told["Esp"], told["LsoSupported"]), (esp_on, 0), "Esp and LsoSupported")


def segmentation_by_ethtool(cfg):
    """What NDIS has switched off and ethtool switches on is indicated; what ethtool has switched
    off, no set switches on."""
    ktap.rules("R11", "R142")
    miniport = ndis.fresh(cfg)
    miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"LsoV2IPv4": 1}))
    ndis.one_indication(miniport, True)
    cfg.dut.cmd("ethtool", "-K", cfg.netif, SEGMENTATION[0], "on")
    ktap.check(ndis.one_indication(miniport, True)["LsoV2.IPv4.Size"], "no large sends indicated")
    _tasks(cfg, miniport)
    cfg.feature(SEGMENTATION[1], "off")
    ndis.indications(miniport)
    for changes in ({"LsoV2IPv6": 2}, dict.fromkeys(TOGETHER, 1), dict.fromkeys(TOGETHER, 4)):
        miniport.set_normal(oid.PARAMETERS, oid.parameters(changes=changes))
        told = ndis.one_indication(miniport, True)
        ktap.equal(told["LsoV2.IPv6.Size"], 0, f"large sends over IPv6 after {changes}")
        ktap.check(not cfg.features()[SEGMENTATION[1]], f"{SEGMENTATION[1]} after {changes}")


def granular_keywords(cfg):
    """Keywords of checksums and large sends: stored by a set, obeyed by a restart."""
    ktap.rules("R3", "R14", "R142")
    miniport = ndis.fresh(cfg)
    off = {"tx": False, "tso4": False, "tso6": False}
    for name, value, expected in ((ndis.LSO_V2_IPV4, 0, {"tso4": False}),
                                  (ndis.LSO_V2_IPV6, 0, {"tso6": False}),
                                  (ndis.LSO_V1, 0, {}), (ndis.CHECKSUMS[0], 2, {"tso4": False}),
                                  # One of them alone: what cannot be is off.
                                  (ndis.CHECKSUMS[1], 2, off),
                                  (ndis.CHECKSUMS[4], 1, {"rx": False}),
                                  (ndis.CHECKSUMS[3], 0, off | {"rx": False})):
        miniport.set_keyword(name, value)
        ktap.equal(miniport.keyword(name), value, f"keyword {name}")
        _tasks(cfg, miniport)
        miniport.restart()
        _tasks(cfg, miniport, **expected)
        miniport.set_keyword(name, None)
        miniport.restart()
        miniport.enable()
        _tasks(cfg, miniport)
    for name, most in ((ndis.CHECKSUMS[2], 3), (ndis.LSO_V2_IPV6, 1)):
        try:
            miniport.set_keyword(name, most + 1)
        except OSError as error:
            ktap.equal(error.errno, errno.EINVAL, f"errno of a value of keyword {name}")
        else:
            raise ktap.Failure(f"keyword {name} has the value {most + 1}")
    changes = dict.fromkeys(TOGETHER, 2) | {"LsoV2IPv6": 1}
    miniport.set_normal(oid.PARAMETERS, oid.parameters(changes=changes))
    ktap.equal([miniport.keyword(name) for name in (*ndis.CHECKSUMS, ndis.LSO_V2_IPV6)],
               [None, 1, 1, 1, 1, 0], "keywords stored")
    miniport.restart()
    _tasks(cfg, miniport, rx=False, tso6=False)


CASES = [checksums_and_large_sends, checksums_apart, segmentation_while_off,
         segmentation_by_ethtool, granular_keywords]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
