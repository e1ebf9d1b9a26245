#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Off means off, per IP version and in both directions: while ESP is off by NDIS, or receive
processing was not set going, the NIC leaves packets of living SAs to software, and takes them on
again afterwards. No packet is lost, in the NIC or in software.
"""

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import esp, ktap, ndis, oid, pace, proc, traffic, xfrm  # noqa: E402

ESP_FEATURE = "esp-hw-offload"
CHILD = "child0"
LEFT = "ipsec_sa_left_to_software"
GOOD = (1, 0, oid.CRYPTO_OK, 0)
NOTHING = (0, 0, 0, 0)  # handle, slots 1 and 12, slot 1 of version 1
ANSWER_TIME = 20.0
ALL, PARTS = {4, 6}, ({4}, {6}, set(), {4, 6})
ROUNDS, STORM_TURNS, STORM_SAS = 4, 24, 12


def _restore(cfg):
    """Leave the adapter as a fresh one."""
    if cfg.dut.run("ip", "link", "show", "dev", cfg.netif).returncode:
        return
    file = ndis.Ndis(cfg.dut, cfg.netif, 0)
    file.set_keyword(ndis.DISABLE_TASK_OFFLOAD, None)
    file.set_keyword(ndis.IPSEC_V2, None)
    file.restart((6, 30))
    file.close()
    cfg.dut.cmd("ethtool", "-K", cfg.netif, ESP_FEATURE, "on")


def _fresh(cfg):
    """A bound file; OID_OFFLOAD_ENCAPSULATION never came."""
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    ktap.defer(_restore, cfg)
    miniport = ndis.Ndis(cfg.dut, cfg.netif)
    miniport.restart()
    return miniport


def _ready(cfg):
    miniport = _fresh(cfg)
    miniport.enable()
    return miniport


def _encapsulation(miniport, **versions):
    """Set OID_OFFLOAD_ENCAPSULATION for some IP versions, `v4` and `v6`; the others stay."""
    changes = {}
    for version, enabled in versions.items():
        family = f"IP{version}."
        changes[family + "Enabled"] = enabled
        if enabled == oid.SET_ON:
            changes |= {family + "EncapsulationType": oid.IEEE_802_3, family + "HeaderSize": 14}
    miniport.set_normal(oid.ENCAPSULATION,
                        oid.encapsulation(enabled=oid.SET_NO_CHANGE, changes=changes))


def _switch(miniport, on):
    """These IP versions are on by OID_OFFLOAD_ENCAPSULATION, the others off."""
    _encapsulation(miniport, **{f"v{version}": oid.SET_ON if version in on else oid.SET_OFF
                                for version in ALL})


def _esp(miniport, value):
    miniport.set_normal(oid.PARAMETERS, oid.parameters(changes={"IPsecV2": value}))


class Sas:
    """A flow of each IP version, offloaded by OIDs or by `ip xfrm`."""

    def __init__(self, cfg, miniport, by_oids=True):
        self.cfg, self.miniport = cfg, miniport
        self.flows = {version: esp.direct(version, reqid=version) for version in sorted(ALL)}
        self.inbound = {}
        for version, flow in self.flows.items():
            if by_oids:
                self.inbound[version] = ndis.protect(cfg, miniport, flow)[1]
            else:
                esp.protect(cfg, flow)

    def held(self, on, when):
        """The NIC holds the inbound SAs of these versions, and the outbound ones of all."""
        if not self.cfg.control:
            return
        proc.wait_until(lambda: self.cfg.nic_counters()["ipsec_sa_in"] == len(on),
                        f"{when}: inbound SAs in the NIC", ANSWER_TIME)
        ktap.equal(self.cfg.nic_counters()["ipsec_sa_out"], len(ALL), f"{when}: outbound SAs")

    def expect(self, receiving, sending, when):
        """For these versions the NIC works, for the others software: pings and a connection of both
        ends pass, counters and records say so."""
        self.held(receiving, when)
        for version, flow in self.flows.items():
            self._traffic(version, flow, version in receiving, version in sending,
                          f"IPv{version}, {when}")

    def _traffic(self, version, flow, receiving, sending, when):
        cfg = self.cfg
        self.miniport.read()
        watch = cfg.watch()
        traffic.ping(cfg.dut, flow.dut, flow.peer, [56, 1300])
        traffic.ping(cfg.peer, flow.peer, flow.dut, [0, 500])
        traffic.tcp(cfg.peer, flow.peer, cfg.dut, flow.dut, 4096)
        watch.stop().prove_no_errors()
        received, sent = watch.esp(cfg.peer_mac), watch.esp(cfg.netif_mac)
        for who, stats in [("driver", watch.driver)] + [("NIC", watch.nic)] * bool(cfg.control):
            ktap.equal(stats.get("ipsec_rx_packets", 0), len(received) * receiving,
                       f"{when}: packets decrypted by the {who}, {len(received)} came")
            ktap.equal(stats.get("ipsec_tx_packets", 0), len(sent) * sending,
                       f"{when}: packets encrypted by the {who}, {len(sent)} left")
        self._records(version, flow, len(received), receiving, len(sent) * sending, when)

    def _records(self, version, flow, received, receiving, sent, when):
        bodies = [record.body for record in self.miniport.read()]
        kept = [body for body in bodies
                if isinstance(body, ndis.Receive) and body.spi == flow.in_.spi]
        ktap.equal(len(kept), received, f"{when}: records of received packets")
        if not receiving:
            words = {(body.handle, body.slot1, body.slot12, body.v1) for body in kept}
            ktap.equal(words, {NOTHING}, f"{when}: their words")
        else:
            ktap.equal({body.crypto for body in kept}, {GOOD}, f"{when}: their slot 1")
            wanted = self.inbound.get(version)
            ktap.check(wanted is None or {body.handle for body in kept} == {wanted},
                       f"{when}: their handles")
        done = [body for body in bodies
                if isinstance(body, ndis.Send) and body.spi == flow.out.spi]
        # a large send has one record
        ktap.check(len(done) <= sent and bool(done) == bool(sent),
                   f"{when}: {len(done)} records of {sent} packets sent by the NIC")


def before_encapsulation(cfg):
    """Receive processing waits for OID_OFFLOAD_ENCAPSULATION, each IP version by itself; parameters
    do not start it. The default configuration holds for sending."""
    ktap.rules("R15", "R66", "R112")
    miniport = _fresh(cfg)
    sas = Sas(cfg, miniport)
    sas.expect(set(), ALL, "before anything")
    _esp(miniport, oid.BOTH_ENABLED)
    sas.expect(set(), ALL, "after parameters alone")
    _encapsulation(miniport, v4=oid.SET_ON)
    sas.expect({4}, ALL, "IPv4 set going")
    _encapsulation(miniport, v6=oid.SET_ON)
    sas.expect(ALL, ALL, "both set going")


def parameters(cfg):
    """OID_TCP_OFFLOAD_PARAMETERS switches ESP off and on for send and receive, under living SAs."""
    ktap.rules("R8", "R28", "R92", "R112")
    miniport = _ready(cfg)
    sas = Sas(cfg, miniport)
    sas.expect(ALL, ALL, "at first")
    for value in (oid.DISABLED, oid.NO_CHANGE, oid.AH_ENABLED):
        _esp(miniport, value)
        sas.expect(set(), set(), f"IPsecV2 = {value}")
    _esp(miniport, oid.ESP_ENABLED)
    sas.expect(ALL, ALL, "on again")


def one_version(cfg):
    """NDIS_OFFLOAD_SET_OFF takes one IP version away, or both, in both directions."""
    ktap.rules("R8", "R17", "R112")
    miniport = _ready(cfg)
    sas = Sas(cfg, miniport)
    for on in PARTS:
        _switch(miniport, on)
        sas.expect(on, on, f"on: {sorted(on)}")


def two_reasons(cfg):
    """An IP version that is off stays so while ESP is switched off and on for both."""
    ktap.rules("R17")
    miniport = _ready(cfg)
    sas = Sas(cfg, miniport)
    _switch(miniport, {6})
    _esp(miniport, oid.DISABLED)
    sas.expect(set(), set(), "all off")
    _esp(miniport, oid.BOTH_ENABLED)
    sas.expect({6}, {6}, "IPv4 still off")
    _switch(miniport, ALL)
    sas.held(ALL, "all on")


def states_of_xfrm(cfg):
    """SAs of `ip xfrm` do not wait for a transport, and stay what they are when `ethtool` switches
    off sending; what NDIS switches off is off for them, too."""
    ktap.rules("R8", "R17")
    miniport = _fresh(cfg)
    sas = Sas(cfg, miniport, by_oids=False)
    sas.expect(ALL, ALL, "before anything")
    cfg.feature(ESP_FEATURE, "off")
    sas.expect(ALL, set(), "off by ethtool")
    _esp(miniport, oid.DISABLED)
    sas.expect(set(), set(), "off by NDIS")
    cfg.feature(ESP_FEATURE, "on")
    sas.expect(ALL, ALL, "on by ethtool")
    _switch(miniport, {4})
    sas.expect({4}, {4}, "IPv6 off by NDIS")


def ethtool(cfg):
    """What `ethtool` switches off is off in the configuration, and so for SAs of the device."""
    ktap.rules("R112")
    miniport = _ready(cfg)
    sas = Sas(cfg, miniport)
    cfg.feature(ESP_FEATURE, "off")
    sas.expect(set(), set(), "off by ethtool")
    cfg.feature(ESP_FEATURE, "on")
    sas.expect(ALL, ALL, "on by ethtool")


def added_meanwhile(cfg):
    """SAs of `ip xfrm` that come while ESP is off wait in software; one that goes is forgotten."""
    ktap.rules("R8")
    miniport = _ready(cfg)
    _esp(miniport, oid.DISABLED)
    before = cfg.driver_counters()[LEFT]
    sas, other = Sas(cfg, miniport, by_oids=False), esp.direct(reqid=9)
    cfg.dut.ip(other.in_.add(xfrm.offload(cfg.netif, "in")))
    ktap.equal(cfg.driver_counters()[LEFT] - before, 3, LEFT)
    sas.expect(set(), set(), "added while off")
    cfg.dut.ip(other.in_.delete())
    _esp(miniport, oid.BOTH_ENABLED)
    sas.expect(ALL, ALL, "on")


def restarted(cfg):
    """RESTART with DisableTaskOffload: off for the SAs that stay, until a restart without it."""
    ktap.rules("R8")
    miniport = _fresh(cfg)
    sas = Sas(cfg, miniport, by_oids=False)
    for value, on in ((1, set()), (None, ALL)):
        miniport.set_keyword(ndis.DISABLE_TASK_OFFLOAD, value)
        miniport.restart()
        sas.expect(on, on, f"restarted, keyword {value}")


def reset(cfg):
    """A reset of the NIC brings back what is on, and only that."""
    ktap.rules("R17")
    cfg.need_request("reset")
    miniport = _ready(cfg)
    sas = Sas(cfg, miniport)
    _switch(miniport, {6})
    cfg.reset(ANSWER_TIME)
    sas.expect({6}, {6}, "IPv4 off, after the reset")
    _switch(miniport, ALL)
    sas.expect(ALL, ALL, "on after the reset")


def diverted(cfg):
    """Frames that are taken away and NDIS are reasons by themselves: one ends, the other holds."""
    miniport = _ready(cfg)
    sas = Sas(cfg, miniport)
    made = cfg.dut.run("ip", "link", "add", "link", cfg.netif, "name", CHILD, "type", "macvlan",
                       "mode", "bridge")
    if made.returncode:
        raise ktap.Skip(f"cannot make a macvlan, see the file config: {made.stderr.strip()}")
    ktap.defer(cfg.dut.run, "ip", "link", "del", CHILD)
    sas.held(set(), "with a macvlan")
    _switch(miniport, {4})
    sas.held(set(), "with a macvlan, IPv6 off")
    cfg.dut.ip(f"link del {CHILD}")
    sas.expect({4}, {4}, "IPv6 off")
    _switch(miniport, ALL)
    sas.held(ALL, "on")


def unbound(cfg):
    """The driver leaves while ESP is off; the next adapter is a fresh one."""
    miniport = _ready(cfg)
    sas = Sas(cfg, miniport)
    _switch(miniport, {4})
    sas.held({4}, "IPv6 off")
    with cfg.driver_away():
        pass
    xfrm.flush(cfg.dut, cfg.peer)
    ktap.check(cfg.features()[ESP_FEATURE], f"{ESP_FEATURE} is off")
    flow = esp.direct(6)
    esp.protect(cfg, flow)
    esp.exercise(cfg, flow, [56], 4096)


def nic_keeps_it(cfg):
    """The NIC does not let go of an SA: its packets are right all the same, and the record says
    that the NIC has decrypted them."""
    control, miniport = cfg.need_request("refuse-destroy"), _ready(cfg)
    sas = Sas(cfg, miniport)
    before = cfg.driver_counters()["ipsec_control_errors"]
    control.fault(cfg.nic, "misbehave", "sa", "refuse-destroy", 1)
    _switch(miniport, {6})
    ktap.equal(cfg.driver_counters()["ipsec_control_errors"] - before, 1, "control errors")
    sas.expect(ALL, {6}, "IPv4 off, but not in the NIC")
    _switch(miniport, ALL)
    sas.expect(ALL, ALL, "on")


def under_traffic(cfg):
    """Switching under traffic of both versions and directions loses no packet, and repeats neither
    a number nor an IV."""
    ktap.rules("R8", "R17", "R28")
    miniport = _ready(cfg)
    sas = Sas(cfg, miniport)
    watch, streams = cfg.watch(), []
    for flow in sas.flows.values():
        for ends in ((cfg.peer, flow.peer, cfg.dut, flow.dut),
                     (cfg.dut, flow.dut, cfg.peer, flow.peer)):
            streams.append(traffic.Stream(*ends))
            ktap.defer(streams[-1].close)
    for stream in streams:
        stream.start()
    for number in range(ROUNDS):
        for on in PARTS:
            _switch(miniport, on)
            streams[number % len(streams)].go_on(10)
        for value in (oid.DISABLED, oid.BOTH_ENABLED):
            _esp(miniport, value)
            streams[number % len(streams)].go_on(10)
    for stream in streams:
        stream.stop()
    watch.stop().prove_no_errors()
    for stream in streams:
        ktap.equal(stream.received(), stream.sent, "datagrams received")
        ktap.equal(stream.sent, stream.tried, "datagrams sent")
    for mac in (cfg.netif_mac, cfg.peer_mac):
        for spi in {packet.spi for packet in watch.esp(mac)}:
            esp.unique([packet for packet in watch.esp(mac) if packet.spi == spi])
    for name in ("ipsec_rx_packets", "ipsec_tx_packets"):
        count, all_ = watch.driver.get(name, 0), sum(stream.sent for stream in streams) // 2
        ktap.diag(f"{name}: {count} of {all_}")
        ktap.check(0 < count < all_, f"{name}: not both of NIC and software were at work")
    sas.held(ALL, "at the end")


def storm(cfg):
    """SAs come and go while the versions are switched: in the end the NIC has those that are on."""
    cfg.need_control()
    miniport, errors = _ready(cfg), []

    def switch():
        try:
            for turn in range(STORM_TURNS):
                _switch(miniport, PARTS[turn % len(PARTS)])
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=switch, daemon=True)
    thread.start()
    flows = [esp.direct(version, reqid=9) for _ in range(STORM_SAS) for version in sorted(ALL)]
    for flow in flows:
        cfg.dut.ip(flow.in_.add(xfrm.offload(cfg.netif, "in")))
    thread.join(pace.scaled(60))
    ktap.check(not thread.is_alive() and not errors, f"switching ended with {errors}")
    for on in PARTS:
        _switch(miniport, on)
        proc.wait_until(lambda on=on: cfg.nic_counters()["ipsec_sa_in"] == len(on) * STORM_SAS,
                        f"inbound SAs in the NIC with {sorted(on)} on", ANSWER_TIME)


CASES = [before_encapsulation, parameters, one_version, two_reasons, states_of_xfrm, ethtool,
         added_meanwhile, restarted, reset, diverted, unbound, nic_keeps_it, under_traffic, storm]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
