#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Capabilities, their configuration by OIDs, keywords and ethtool, and the indications."""

import errno
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, ndis, oid, pace, proc, traffic, xfrm  # noqa: E402

TURNS, MANY = 51, 600


def _esp_works(cfg, miniport, status="SUCCESS"):
    """An SA can be added, or is refused with a status."""
    sa = esp.direct().out
    answer = miniport.expect(status, oid.ADD_SA_EX, oid.add_sa_ex(sa, False),
                             **miniport.envelope(sa, False))
    handle = oid.AddSaEx.get(answer.buffer, "OffloadHandle")
    ktap.equal(bool(handle), status == "SUCCESS", "a handle came")
    if handle:
        miniport.delete(handle)
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states")


def capabilities(cfg):
    """The hardware's capabilities: what the NIC and XFRM can do, and nothing else."""
    ktap.rules("R1", "R18", "R19", "R22", "R23", "R24", "R25", "R26")
    miniport = ndis.fresh(cfg)
    found = miniport.query(oid.HARDWARE_CAPABILITIES)
    ktap.diag(found)
    ktap.equal(found["Type"], oid.TYPE_OFFLOAD, "type")
    ktap.check(found["Revision"] >= 2, f"revision {found['Revision']} has no IPsecV2")
    wanted = {"IPv6Supported": 1, "IPv4Options": 0, "IPv6NonIPsecExtensionHeaders": 0, "Ah": 0,
              "Esp": 1, "AhEspCombined": 0, "Transport": 1, "Tunnel": 1,
              "TransportTunnelCombined": 0, "ExtendedSequenceNumbers": 1, "padding": 0,
              "UdpEsp": oid.UDP_TRANSPORT | oid.UDP_TUNNEL,
              "AuthenticationAlgorithms": oid.SHA1 | oid.SHA256 | oid.GMAC128 | oid.GMAC192 |
              oid.GMAC256,
              "EncryptionAlgorithms": oid.NULL | oid.GCM128 | oid.GCM192 | oid.GCM256 | oid.CBC128 |
              oid.CBC192 | oid.CBC256}
    ktap.equal({name: found[name] for name in wanted}, wanted, "NDIS_IPSEC_OFFLOAD_V2")
    ktap.check(found["Encapsulation"] & oid.IEEE_802_3, "no 802.3 in Encapsulation")
    ktap.check(found["SaOffloadCapacity"], "no capacity")
    ktap.equal(miniport.info()["capacity"], found["SaOffloadCapacity"], "capacity")
    features = cfg.features()
    ktap.equal(found["LsoSupported"], int(features["tx-esp-segmentation"]), "LsoSupported")
    ktap.equal(found["Flags"] & oid.COEXISTENCE,
               oid.COEXISTENCE if features["esp-tx-csum-hw-offload"] else 0,
               "flags that allow checksum offload together with IPsec")
    current = miniport.query(oid.CURRENT_CONFIG)
    for name in ("Esp", "Tunnel", "EncryptionAlgorithms", "AuthenticationAlgorithms"):
        ktap.equal(current[name], found[name], f"{name}, current against hardware")


def bound_with_the_configuration(cfg):
    """BIND tells what is enabled, as NDIS_BIND_PARAMETERS does, in the form of the NDIS version."""
    ktap.rules("R138")
    miniport = ndis.fresh(cfg)
    for version, value, esp_on in (((6, 30), oid.DISABLED, 0), ((6, 83), oid.ESP_ENABLED, 1)):
        miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2": value}))
        miniport.restart(version)
        found = ndis.Ndis(cfg.dut, cfg.netif, 0).configuration
        told = oid.Offload.unpack(found)
        ktap.equal((told["Type"], len(found), told["Esp"]),
                   (oid.TYPE_OFFLOAD, told["Size"], esp_on), "type, size and Esp")
        ktap.equal(told, miniport.query(oid.CURRENT_CONFIG), "configuration against the query")


def every_algorithm(cfg):
    """Each algorithm in the mask can really be offloaded."""
    ktap.rules("R60")
    miniport = ndis.fresh(cfg)
    config = miniport.query(oid.CURRENT_CONFIG)
    offered = config["AuthenticationAlgorithms"], config["EncryptionAlgorithms"]
    kinds = [algo.gcm(bits, icv) for bits in (128, 192, 256) for icv in (64, 96, 128)]
    kinds += [algo.cbc(bits, mac) for bits in (128, 192, 256) for mac in ("sha1", "sha256")]
    kinds += [algo.gmac(bits) for bits in (128, 192, 256)]
    used = 0, 0
    for algorithm in kinds:
        for sa in (one := xfrm.Flow(env.DUT4, env.PEER4, algorithm=algorithm)).out, one.in_:
            handle = miniport.add(sa, sa is one.in_)
            entry = miniport.list()[handle]
            ktap.equal(entry.icv_length, algorithm.icv_bits // 8, f"ICV of {algorithm.name}")
            used = used[0] | entry.authentication, used[1] | entry.encryption
            miniport.delete(handle)
    ktap.equal(used, offered, "algorithms tried against those offered")


def buffer_sizes(cfg):
    """A query buffer that is too small, and one that is larger than need be."""
    ktap.rules("R20")
    miniport = ndis.fresh(cfg)
    for number in (oid.CURRENT_CONFIG, oid.HARDWARE_CAPABILITIES):
        full = miniport.expect("SUCCESS", number, bytes(4096), path=ndis.NORMAL, kind=ndis.QUERY)
        header = oid.Offload.unpack(full.buffer)
        ktap.equal(full.done, header["Size"], "bytes written against the header's size")
        ktap.equal(header["Size"], oid.OFFLOAD_SIZES[header["Revision"]], "size of the revision")
        ktap.equal(bytes(full.buffer[full.done:]), bytes(4096 - full.done), "bytes behind it")
        for size in (0, 1, 4, full.done - 1):
            answer = miniport.request(number, b"\x5A" * size, path=ndis.NORMAL, kind=ndis.QUERY)
            ktap.equal((answer.name, answer.needed), ("BUFFER_TOO_SHORT", full.done),
                       f"status and bytes needed with {size} bytes")
            ktap.equal(bytes(answer.buffer), b"\x5A" * size, "a buffer that is too short")


def versions(cfg):
    """NDIS 6.1 to 6.83: revisions of NDIS_OFFLOAD, and both ways to add an SA."""
    ktap.rules("R22", "R71")
    miniport = ndis.fresh(cfg)
    for version, revision in (((6, 1), 2), ((6, 20), 2), ((6, 30), 3), ((6, 40), 3), ((6, 50), 4),
                              ((6, 51), 4), ((6, 60), 4), ((6, 70), 5), ((6, 80), 5), ((6, 81), 5),
                              ((6, 82), 5), ((6, 83), 6)):
        miniport.restart(version)
        miniport.enable()
        ktap.equal(miniport.info()["ndis_version"], version[0] << 16 | version[1], "version")
        found = miniport.query(oid.CURRENT_CONFIG)
        ktap.equal(found["Revision"], revision, f"revision with NDIS {version}")
        for single in (False, True) if version >= (6, 30) else (False,):
            miniport.delete(miniport.add(esp.direct().out, False, single=single))
        if version < (6, 30):
            sa = esp.direct().out
            miniport.expect("NOT_SUPPORTED", oid.ADD_SA_EX, oid.add_sa_ex(sa, False),
                            **miniport.envelope(sa, False))


def parameters(cfg):
    """OID_TCP_OFFLOAD_PARAMETERS switches ESP off and on, with an indication each time."""
    ktap.rules("R8", "R9", "R11", "R19")
    miniport = ndis.fresh(cfg)
    for value, on in ((oid.DISABLED, False), (oid.NO_CHANGE, False), (oid.ESP_ENABLED, True),
                      (oid.NO_CHANGE, True), (oid.AH_ENABLED, False), (oid.BOTH_ENABLED, True)):
        miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2": value}))
        ndis.one_indication(miniport, on)
        ktap.equal(cfg.features()[ndis.ESP_FEATURE], on, f"ESP in ethtool with IPsecV2 = {value}")
        _esp_works(cfg, miniport, "SUCCESS" if on else "NOT_SUPPORTED")
        ktap.equal(miniport.query(oid.HARDWARE_CAPABILITIES)["Esp"], 1, "hardware's Esp")


def parameters_for_ipv4(cfg):
    """IPsecV2IPv4 means nothing to an adapter that can do IPv6."""
    ktap.rules("R6")
    miniport = ndis.fresh(cfg)
    for value in (oid.DISABLED, oid.AH_ENABLED):
        miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2IPv4": value}))
        ndis.one_indication(miniport, True)
        _esp_works(cfg, miniport)


def parameters_refused(cfg):
    """Values, flags and lengths that do not exist change nothing, are not stored (C37) and not
    indicated; a query is none of this OID's requests."""
    ktap.rules("R12", "R13", "R37", "R38")
    miniport = ndis.fresh(cfg)
    for changes in ({"IPsecV2": 5}, {"IPsecV2": 0xFF}, {"Flags": 2}, {"Flags": 0x80000000},
                    {"Type": 0x81}, {"Revision": 0}):
        miniport.expect("INVALID_DATA", oid.PARAMETERS, oid.parameters(changes=changes),
                        f"with {changes}", path=ndis.NORMAL)
        ktap.equal(miniport.keyword(ndis.IPSEC_V2), None, f"keyword after {changes}")
    for size in (0, 4, 0x13):
        answer = miniport.request(oid.PARAMETERS, oid.parameters(), path=ndis.NORMAL, length=size)
        ktap.equal(answer.name, "INVALID_LENGTH", f"status with {size} bytes")
    miniport.expect("NOT_SUPPORTED", oid.PARAMETERS, oid.parameters(), path=ndis.NORMAL,
                    kind=ndis.QUERY)
    ktap.equal(ndis.indications(miniport), [], "indications")
    _esp_works(cfg, miniport)


def keywords(cfg):
    """The keyword decides what the adapter comes up with: 0 none, 1 AH, 2 ESP, 3 both."""
    ktap.rules("R2", "R3", "R4", "R5", "R6")
    miniport = ndis.fresh(cfg)
    for value, on in ((0, False), (1, False), (2, True), (3, True), (None, True)):
        miniport.set_keyword(ndis.IPSEC_V2, value)
        ktap.equal(miniport.keyword(ndis.IPSEC_V2), value, "keyword")
        miniport.restart()
        miniport.enable()
        ktap.equal(miniport.query(oid.CURRENT_CONFIG)["Esp"], int(on), f"Esp with {value}")
        ktap.equal(miniport.query(oid.CURRENT_CONFIG)["Ah"], 0, f"Ah with {value}")
        ktap.equal(miniport.query(oid.HARDWARE_CAPABILITIES)["Esp"], 1, "hardware's Esp")
        _esp_works(cfg, miniport, "SUCCESS" if on else "NOT_SUPPORTED")
    miniport.set_keyword(ndis.IPSEC_V2_IPV4, 0)
    miniport.restart()
    miniport.enable()
    _esp_works(cfg, miniport)


def keywords_are_stored(cfg):
    """A set is stored, one less than in the structure, unless it says not to; a restart brings the
    adapter up with it."""
    ktap.rules("R14")
    miniport = ndis.fresh(cfg)
    for flags, value, stored in ((0, oid.DISABLED, 0), (0, oid.BOTH_ENABLED, 3),
                                 (0, oid.NO_CHANGE, 3), (oid.SKIP_REGISTRY, oid.DISABLED, 3),
                                 (0, oid.ESP_ENABLED, 2)):
        miniport.set_normal(oid.PARAMETERS,
                            oid.parameters(changes={"IPsecV2": value, "Flags": flags}))
        ktap.equal(miniport.keyword(ndis.IPSEC_V2), stored, "keyword")
    miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2": oid.DISABLED}))
    miniport.restart()
    miniport.enable()
    ktap.equal(miniport.query(oid.CURRENT_CONFIG)["Esp"], 0, "Esp after the restart")


def keywords_outlive_the_file(cfg):
    """Keywords belong to the adapter."""
    ktap.rules("R14")
    first = ndis.fresh(cfg)
    first.set_keyword(ndis.IPSEC_V2, 2)
    first.close()
    second = ndis.Ndis(cfg.dut, cfg.netif)
    ktap.equal(second.keyword(ndis.IPSEC_V2), 2, "keyword for the next file")


def system_wide_switches(cfg):
    """DisableTaskOffload = 1 and EnabledOffload = 0 turn IPsec offload off."""
    miniport = ndis.fresh(cfg)
    for name, off in ((ndis.DISABLE_TASK_OFFLOAD, 1), (ndis.ENABLED_OFFLOAD, 0)):
        for value, on in ((off, False), (1 - off, True), (off, False), (None, True)):
            miniport.set_keyword(name, value)
            ktap.equal(miniport.keyword(name), value, "keyword")
            miniport.restart()
            if on:
                # A transport does not set it where offload is off.
                miniport.enable()
            _esp_works(cfg, miniport, "SUCCESS" if on else "NOT_SUPPORTED")


def unknown_keywords(cfg):
    """Other numbers are no keywords."""
    miniport = ndis.fresh(cfg)
    for name in (0, 14, 0xFFFFFFFF):
        for call in (lambda name=name: miniport.keyword(name),
                     lambda name=name: miniport.set_keyword(name, 1)):
            try:
                call()
            except OSError as error:
                ktap.equal(error.errno, errno.EINVAL, f"errno of keyword {name}")
            else:
                raise ktap.Failure(f"keyword {name} exists")


def encapsulation(cfg):
    """OID_OFFLOAD_ENCAPSULATION takes what the NIC's frames look like, or switches IPsec off."""
    ktap.rules("R10", "R16", "R17", "R140")
    miniport = ndis.fresh(cfg)
    miniport.set_normal(oid.ENCAPSULATION, oid.encapsulation())
    ndis.one_indication(miniport, True)
    for kind in (oid.LLC_SNAP_ROUTED, 0x80000000, 0):
        miniport.expect("INVALID_PARAMETER", oid.ENCAPSULATION, oid.encapsulation(kind),
                        f"encapsulation {kind:#x}", path=ndis.NORMAL)
    for family in ("IPv4.", "IPv6."):
        for enabled, changes in ((oid.SET_ON, {"HeaderSize": 0}), (oid.SET_ON, {"HeaderSize": 999}),
                                 (oid.SET_ON, {"EncapsulationType": 0x1F}),
                                 (oid.SET_OFF, {"EncapsulationType": oid.IEEE_802_3}),
                                 (oid.SET_OFF, {"HeaderSize": 14}), (0, {"HeaderSize": 14})):
            named = {family + name: value for name, value in changes.items()}
            miniport.expect("INVALID_PARAMETER", oid.ENCAPSULATION,
                            oid.encapsulation(enabled=enabled, changes=named),
                            f"{enabled} with {changes}", path=ndis.NORMAL)
    ktap.equal(ndis.indications(miniport), [], "indications after a refused set")
    _esp_works(cfg, miniport)
    for enabled, on in ((oid.SET_OFF, False), (oid.SET_ON, True)):
        miniport.set_normal(oid.ENCAPSULATION, oid.encapsulation(enabled=enabled))
        ndis.one_indication(miniport, on)
        _esp_works(cfg, miniport, "SUCCESS" if on else "NOT_SUPPORTED")
        flag = miniport.info()["flags"] & ndis.ENCAPSULATION_SET
        ktap.equal(bool(flag), on, "flag of the encapsulation")


def ethtool(cfg):
    """`ethtool -K` from outside is indicated to every bound file, and refuses SAs."""
    ktap.rules("R52")
    miniport, second = ndis.fresh(cfg), ndis.Ndis(cfg.dut, cfg.netif, ndis.INDICATIONS)
    silent = ndis.Ndis(cfg.dut, cfg.netif, 0)
    for state, on in (("off", False), ("on", True)):
        cfg.dut.cmd("ethtool", "-K", cfg.netif, ndis.ESP_FEATURE, state)
        ndis.one_indication(miniport, on)
        ndis.one_indication(second, on)
        _esp_works(cfg, miniport, "SUCCESS" if on else "NOT_SUPPORTED")
    cfg.dut.cmd("ethtool", "-K", cfg.netif, "rx-gro-list", "on")
    ktap.defer(cfg.dut.cmd, "ethtool", "-K", cfg.netif, "rx-gro-list", "off")
    ktap.equal(ndis.indications(miniport), [], "indications of another feature")
    ktap.equal(silent.read(), [], "records that nobody asked for")


def hardware(cfg):
    """Without large sends inside ESP the hardware can do less, and says so."""
    ktap.rules("R19", "R21", "R24")
    miniport = ndis.fresh(cfg)
    for state, lso in (("off", 0), ("on", 1)):
        cfg.feature("tx-esp-segmentation", state)
        found = ndis.indications(miniport)
        ktap.equal([body.status for body in found],
                   [oid.HARDWARE_INDICATION, oid.CURRENT_CONFIG_INDICATION], "indications")
        for body, number in zip(found, (oid.HARDWARE_CAPABILITIES, oid.CURRENT_CONFIG),
                                strict=True):
            ktap.equal(body.offload["LsoSupported"], lso, f"LsoSupported, OID {number:#x}")
            ktap.equal(body.offload["Esp"], 1, f"Esp, OID {number:#x}")
            ktap.equal(body.offload, miniport.query(number), "indication against the query")


def both_ways_at_once(cfg):
    """Sets by two files and ethtool at the same time: in the end NDIS and the netdev agree."""
    ktap.rules("R28")
    files = [ndis.fresh(cfg, 0), ndis.fresh(cfg, 0)]

    def switch(miniport):
        for turn in range(TURNS):
            value = (oid.DISABLED, oid.BOTH_ENABLED)[turn % 2]
            miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2": value}))

    for turn in range(4):
        threads = [threading.Thread(target=switch, args=(one,), daemon=True) for one in files]
        for thread in threads:
            thread.start()
        for state in ("off", "on", "off") if turn % 2 else ("on", "off", "on"):
            cfg.dut.cmd("ethtool", "-K", cfg.netif, ndis.ESP_FEATURE, state)
        for thread in threads:
            thread.join(pace.scaled(60))
            ktap.check(not thread.is_alive(), "a set does not end")
        ktap.equal(files[0].query(oid.CURRENT_CONFIG)["Esp"], int(cfg.features()[ndis.ESP_FEATURE]),
                   f"Esp against {ndis.ESP_FEATURE}")


def restarted_in_a_reset(cfg):
    """RESTART while the NIC is being reset: requests go on to be refused until all SAs are back."""
    ktap.rules("R40")
    control, miniport = cfg.need_request("reset"), ndis.fresh(cfg, 0)
    flows = [esp.direct() for _ in range(MANY)]
    cfg.dut.ip(*[flow.in_.add(xfrm.offload(cfg.netif, "in")) for flow in flows])

    def change_nothing():
        return miniport.request(oid.PARAMETERS, oid.parameters(), path=ndis.NORMAL).name

    control.request("reset", cfg.nic)
    proc.wait_until(lambda: change_nothing() == "NOT_ACCEPTED", "the NIC is being reset", step=0)
    miniport.restart()
    restarts = 1
    while change_nothing() == "NOT_ACCEPTED":
        miniport.restart()
        restarts += 1
    ktap.diag(f"{restarts} restarts")
    ktap.equal(cfg.nic_counters()["ipsec_sa_in"], MANY, "SAs in the NIC at the first answer")


def off_with_sas(cfg):
    """ESP is switched off while SAs are in use: traffic goes on, protected by software, and is the
    NIC's again afterwards."""
    ktap.rules("R28", "R92")
    miniport, flow = ndis.fresh(cfg, 0), esp.direct()
    ndis.protect(cfg, miniport, flow)
    esp.exercise(cfg, flow)
    miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2": oid.DISABLED}))
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut, flow.peer, esp.SIZES)
    watch.stop().prove_no_errors()
    ktap.equal(len(watch.esp(cfg.netif_mac)), len(esp.SIZES), "ESP packets sent")
    ktap.equal(watch.driver.get("ipsec_tx_packets", 0), 0, "of these by the NIC")
    miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2": oid.BOTH_ENABLED}))
    esp.exercise(cfg, flow)


CASES = [capabilities, bound_with_the_configuration, every_algorithm, buffer_sizes, versions,
         parameters, parameters_for_ipv4, parameters_refused, keywords, keywords_are_stored,
         keywords_outlive_the_file, system_wide_switches, unknown_keywords, encapsulation, ethtool,
         hardware, both_ways_at_once, restarted_in_a_reset, off_with_sas]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
