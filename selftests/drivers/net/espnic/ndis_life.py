#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""SAs that live by OIDs: added, seen by ip xfrm, used by traffic, deleted.

The peer is Linux's software ESP with states of `ip xfrm`. Everything that the wire carried is
compared with the out-of-band records.
"""

import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, ndis, netlink, oid, proc, traffic, xfrm  # noqa: E402

GOOD = (1, 0, 0, 0)  # CryptoDone, NextCryptoDone, CryptoStatus, SaDeleteReq
HEADER_INFO_SET = 1 << 16
ICMP, IPV4, TCP, IPV6, ICMPV6 = 1, 4, 6, 41, 58  # what an ESP trailer names
MSS_MASK, LSO_V2 = 0xFFFFF, 1


def _received(bodies, packets, handle):
    """Every ESP packet that came in has its record, which says that its check was right."""
    records = [body for body in bodies if isinstance(body, ndis.Receive) and body.spi]
    ktap.equal(sorted(body.number for body in records), sorted(one.seq for one in packets),
               "sequence numbers of the receive records")
    for body in records:
        ktap.equal((body.handle, body.crypto, body.v1), (handle, GOOD, body.slot1),
                   "handle, slot 1 and version 1 of a receive record")
        ktap.equal(body.slot1 >> 32, 0, "upper half of slot 1")
        ktap.equal(body.spi, packets[0].spi, "SPI of a receive record")
        if not body.slot12 & HEADER_INFO_SET:
            ktap.equal(body.slot12, 0, "slot 12 without HeaderInfoSet")


def _inside(flow):
    """What the trailers of a flow's packets name, with echo requests and, not in UDP, with TCP."""
    inner6 = ":" in flow.dut_inner
    if flow.mode == "tunnel":
        return {IPV6 if inner6 else IPV4}
    return {ICMPV6 if inner6 else ICMP} | (set() if flow.encap else {TCP})


def _trailers(records, flow):
    """NextHeader and PadLength of the send records are those of what was sent."""
    ktap.equal({body.slot12 & 0xFF for body in records}, _inside(flow), "NextHeader sent")
    block = flow.algorithm.block
    pads = {body.slot12 >> 8 & 0xFF for body in records if not body.slot2}
    ktap.equal(pads, set(range(block)), "PadLength sent, for payloads of all lengths")


def _sent(bodies, packets, handle):
    """Every ESP packet that went out is in a send record, many of them in one for LSO."""
    records = [body for body in bodies if isinstance(body, ndis.Send)]
    one = packets[0]
    words = (28 if one.encapsulated else 20) if ":" not in one.src else 40
    numbers = {packet.seq for packet in packets}
    for body in records:
        ktap.equal((body.slot1, body.slot11, body.status), (handle, 0, 0),
                   "slots 1 and 11 and status of a send record")
        ktap.equal(body.slot12 >> 24, words // 4, "EspHeaderOffset of a send record")
        ktap.equal(body.slot12 >> 16 & 0xFF, 0, "AhHeaderOffset of a send record")
        ktap.equal(body.spi, one.spi, "SPI of a send record")
        ktap.check(body.number in numbers, f"number {body.number} was not on the wire")
        if body.slot2:
            ktap.equal((body.slot2 >> 30 & 1, body.slot2 >> 31 & 1),
                       (LSO_V2, int(body.family == 6)), "LSO type and IP version")
            ktap.check(body.slot2 & MSS_MASK, "LSO without an MSS")
    plain = [body for body in records if not body.slot2]
    ktap.equal(len({body.number for body in records}), len(records), "send records with numbers")
    ktap.check(plain and len(records) <= len(packets), f"{len(records)} send records for "
               f"{len(packets)} packets")
    if len(plain) == len(records):
        ktap.equal(len(records), len(packets), "send records without LSO")
    return records


def _listed(cfg, miniport, flow, handles):
    """The list has both SAs as they were asked for."""
    entries = miniport.list()
    ktap.equal(set(handles) & set(entries), set(handles), "handles listed")
    for handle, sa, direction in zip(handles, (flow.out, flow.in_), (2, 1), strict=True):
        one = entries[handle]
        ktap.equal((one.spi, one.direction, one.owner, one.reqid, one.icv_length),
                   (sa.spi, direction, ndis.THIS, sa.reqid, sa.algorithm.icv_bits // 8),
                   "SPI, direction, owner, reqid and ICV length in the list")
        ktap.equal((one.authentication, one.encryption), oid.identifiers(sa),
                   "algorithms in the list")
        ktap.equal(one.mode, ndis.MODES[sa.mode], "mode in the list")
        ktap.equal(one.ports if sa.encap else 0, (sa.encap, sa.encap) if sa.encap else 0,
                   "UDP ports in the list")
        ktap.check(one.packets, "no packets counted in the list")
    ktap.equal(miniport.info()["offloaded"], len(entries), "SAs offloaded")


def _pings(cfg, flow):
    """Single packets only: software does GSO packets in UDP."""
    watch = cfg.watch()
    count = traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, esp.SIZES)
    count += traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, esp.SIZES)
    watch.stop().prove_offload(count)
    return watch


def _live(cfg, flow, **kwargs):
    """The whole life of a flow's two SAs; returns the records of what was sent."""
    ktap.diag(flow.name)
    miniport = ndis.ready(cfg, ndis.ALL)
    if flow.encap:
        for ns in (cfg.dut, cfg.peer):
            esp.encap_socket(ns, flow.encap, flow.mode == "transport")
    handles = ndis.protect(cfg, miniport, flow, **kwargs)
    esp.shown_as_offloaded(cfg, flow)
    watch = _pings(cfg, flow) if flow.encap else esp.exercise(cfg, flow)
    bodies = miniport.settled((ndis.Receive, ndis.Send))
    ktap.equal(miniport.info()["lost"], 0, "records lost")
    _received(bodies, watch.esp(cfg.peer_mac), handles[1])
    records = _sent(bodies, watch.esp(cfg.netif_mac), handles[0])
    _trailers(records, flow)
    _listed(cfg, miniport, flow, handles)
    miniport.delete(handles[1], handles[0])
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states after the deletion")
    ktap.equal(miniport.list(), {}, "SAs after the deletion")
    return records


def transport_v4(cfg):
    """IPv4 transport, AES-GCM-128, by ADD_SA_EX."""
    ktap.rules("R24", "R29", "R48", "R55", "R58", "R59", "R65", "R67", "R69", "R71", "R72", "R73",
               "R81", "R95", "R97", "R98", "R99", "R108", "R111", "R113", "R116", "R117", "R120")
    records = _live(cfg, esp.direct())
    ktap.check(any(body.slot2 for body in records), "no large send")


def transport_v4_list(cfg):
    """The same by ADD_SA."""
    ktap.rules("R44", "R45", "R46", "R48", "R55", "R58", "R59", "R71")
    _live(cfg, esp.direct(), single=False)


def transport_v6(cfg):
    """IPv6 transport, AES-GCM-256, by ADD_SA."""
    ktap.rules("R55", "R60")
    _live(cfg, esp.direct(6, bits=256), single=False)


def tunnel_v4(cfg):
    """IPv4 in IPv4, AES-GCM-192."""
    ktap.rules("R62", "R95", "R98", "R99")
    _live(cfg, esp.inner4(bits=192))


def tunnel_v6(cfg):
    """IPv6 in IPv6."""
    ktap.rules("R62")
    _live(cfg, esp.inner6())


def cbc_sha1(cfg):
    """AES-CBC-128 with HMAC-SHA1: two keys in one buffer."""
    ktap.rules("R57", "R59")
    _live(cfg, esp.direct(algorithm=algo.cbc(128, "sha1")))


def cbc_sha256(cfg):
    """AES-CBC-256 with HMAC-SHA256, whose ICV has 16 bytes."""
    ktap.rules("R57", "R59")
    _live(cfg, esp.direct(6, algorithm=algo.cbc(256, "sha256")), single=False)


def short_icv(cfg):
    """AES-GCM with an ICV of 8 bytes, which AdditionalInfo says."""
    ktap.rules("R58")
    _live(cfg, esp.direct(algorithm=algo.gcm(128, 64)))


def gmac_128(cfg):
    """Null encryption with AES-GMAC-128: the payload stays legible, the NIC authenticates it."""
    ktap.rules("R57", "R59")
    _live(cfg, esp.direct(algorithm=algo.gmac(128)))


def gmac_192(cfg):
    """AES-GMAC-192 over IPv6, by ADD_SA."""
    ktap.rules("R57")
    _live(cfg, esp.direct(6, algorithm=algo.gmac(192)), single=False)


def gmac_256(cfg):
    """AES-GMAC-256 in a tunnel, with null encryption that an empty slot says."""
    ktap.rules("R57")
    _live(cfg, esp.inner4(algorithm=algo.gmac(256)), changes={"0.Enc.Identifier": 0})


def udp_transport(cfg):
    """UDP-encapsulated transport on port 4500."""
    ktap.rules("R63", "R129", "R132", "R137")
    _live(cfg, esp.direct(encap=4500))


def udp_tunnel(cfg):
    """UDP-encapsulated tunnel."""
    ktap.rules("R63", "R129", "R133", "R137")
    _live(cfg, esp.inner4(encap=4500))


def esn(cfg):
    """Extended sequence numbers from the high half that ADD_SA_EX gives."""
    ktap.rules("R64")
    high, flow = 5, esp.direct()
    miniport = ndis.ready(cfg, ndis.ALL)
    cfg.dut.ip(*flow.dut_policies())
    esp.peer_esn(cfg, flow, 512, high << 32, high << 32)
    handles = [miniport.add(sa, inbound, esn=high)
               for sa, inbound in ((flow.out, False), (flow.in_, True))]
    esp.shown_as_offloaded(cfg, flow)
    esp.exercise(cfg, flow)
    for handle, sa, received in zip(handles, (flow.out, flow.in_), (False, True), strict=True):
        numbers = xfrm.numbers(cfg.dut, sa)
        wanted = numbers.seq if received else numbers.oseq
        ktap.equal(wanted >> 32, high, "high half of the state's number")
        ktap.equal(miniport.list()[handle].sequence, wanted, "number in the list")


def derived_mode(cfg):
    """Without a mode in the envelope the structure decides: without UDP it is transport."""
    ktap.rules("R55")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    answer = miniport.expect("SUCCESS", oid.ADD_SA_EX, oid.add_sa_ex(flow.out, False), reqid=1)
    handle = oid.AddSaEx.get(answer.buffer, "OffloadHandle")
    ktap.equal(miniport.list()[handle].mode, ndis.TRANSPORT, "mode")
    ktap.contains(xfrm.state_text(cfg.dut, flow.out), "mode transport", "ip xfrm state")


def mixed_with_ip_xfrm(cfg):
    """The outbound SA by OID, the inbound one by ip xfrm, whose handle deletes it, too."""
    ktap.rules("R73", "R76")
    flow = esp.direct()
    miniport = ndis.ready(cfg, ndis.ALL)
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*flow.dut_policies(), flow.in_.add(xfrm.offload(cfg.netif, "in")))
    outbound = miniport.add(flow.out, False)
    esp.exercise(cfg, flow)
    others = [one for one in miniport.list().values() if one.handle != outbound]
    ktap.equal([(one.spi, one.owner, one.direction) for one in others],
               [(flow.in_.spi, ndis.XFRM, 1)], "SAs of ip xfrm in the list")
    records = miniport.settled(ndis.Receive)
    ktap.equal({body.handle for body in records if body.spi}, {others[0].handle},
               "handle in the receive records")
    cfg.dut.ip(flow.out.delete())
    ktap.equal(set(miniport.list()), {others[0].handle}, "handles after ip xfrm deleted one")
    miniport.delete(others[0].handle)
    ktap.check(xfrm.state_text(cfg.dut, flow.in_) is None, "the SA of ip xfrm is still there")
    miniport.delete(outbound)


def closing_the_file(cfg):
    """Closing deletes what was added through this file, and nothing else."""
    flows = [esp.direct() for _ in range(3)]
    first, second = ndis.ready(cfg, ndis.ALL), ndis.ready(cfg, ndis.ALL)
    cfg.dut.ip(flows[0].in_.add(xfrm.offload(cfg.netif, "in")))
    one, two = first.add(flows[1].out, False), second.add(flows[2].out, False)
    owners = {handle: entry.owner for handle, entry in first.list().items()}
    ktap.equal((owners[one], owners[two]), (ndis.THIS, ndis.OTHER), "owners")
    ktap.equal(sorted(owners.values()), [ndis.XFRM, ndis.THIS, ndis.OTHER], "all owners")
    first.close()
    proc.wait_until(lambda: one not in second.list(), "the SA goes with its file")
    ktap.equal(xfrm.state_text(cfg.dut, flows[1].out), None, "state of the closed file")
    for sa in (flows[0].in_, flows[2].out):
        ktap.check(xfrm.state_text(cfg.dut, sa), "a state of somebody else is gone")


def handles_are_new(cfg):
    """No handle comes twice, and none is 0; a deleted one means nothing any more."""
    ktap.rules("R74", "R76")
    miniport, seen = ndis.ready(cfg, ndis.ALL), []
    for _ in range(64):
        sa = esp.direct().out
        seen.append(miniport.add(sa, False))
        miniport.delete(seen[-1])
        ktap.equal(xfrm.state_text(cfg.dut, sa), None, "state after its deletion")
    ktap.equal(len(set(seen)), len(seen), "different handles")
    ktap.check(0 not in seen, "a handle is 0")
    sa = esp.direct().out
    live = miniport.add(sa, False)
    miniport.delete(*seen)
    ktap.check(live in miniport.list() and xfrm.state_text(cfg.dut, sa),
               "a dead handle deleted a living SA")
    for handle in seen[:3]:
        miniport.expect("INVALID_PARAMETER", oid.UPDATE_SA, oid.update_sa(handle, sa, 1))


def announced(cfg):
    """Key managers are notified of these SAs as of those of ip xfrm."""
    miniport, monitor = ndis.ready(cfg, ndis.ALL), netlink.Monitor(cfg.dut)
    for esn_high in (None, 0):
        by_oid, by_ip = esp.direct(), esp.direct()
        handles = []
        for sa, other, way in ((by_oid.out, by_ip.out, "out"), (by_oid.in_, by_ip.in_, "in")):
            handles.append(miniport.add(sa, way == "in", esn=esn_high))
            if esn_high is None:
                cfg.dut.ip(other.add(xfrm.offload(cfg.netif, way)))
            else:
                netlink.add_sa(cfg.dut, other, netlink.Esn(512 if way == "in" else 0), way,
                               cfg.netif)
            told = monitor.messages()
            ktap.equal([(kind, spi) for kind, spi, _ in told],
                       [(netlink.XFRM_MSG_NEWSA, sa.spi), (netlink.XFRM_MSG_NEWSA, other.spi)],
                       "messages of two additions")
            mine, theirs = (attributes for _, _, attributes in told)
            ktap.equal(set(mine), set(theirs), f"attributes, {way}")
            for number in (netlink.OFFLOAD_DEV, netlink.SA_DIR, netlink.REPLAY_ESN_VAL):
                ktap.equal(mine.get(number), theirs.get(number), f"attribute {number}, {way}")
            ktap.equal(mine[netlink.ALG_AEAD].replace(sa.key, other.key),
                       theirs[netlink.ALG_AEAD], f"algorithm, {way}")
        miniport.delete(*reversed(handles))
        ktap.equal([(kind, spi) for kind, spi, _ in monitor.messages()],
                   [(netlink.XFRM_MSG_DELSA, by_oid.in_.spi),
                    (netlink.XFRM_MSG_DELSA, by_oid.out.spi)], "messages of the deletions")


def kept_over_a_reset(cfg):
    """A reset of the NIC leaves SAs, handles and configuration as they were: nobody has to add or
    set anything again."""
    ktap.rules("R41", "R144")
    cfg.need_request("reset")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    handles = ndis.protect(cfg, miniport, flow)
    before = miniport.query(oid.CURRENT_CONFIG)
    for _ in range(2):
        cfg.reset(10)
        ktap.equal(set(miniport.list()), set(handles), "handles after the reset")
        ktap.equal(miniport.query(oid.CURRENT_CONFIG), before, "configuration after the reset")
        miniport.read()
        watch = _pings(cfg, flow)
        _received(miniport.settled(ndis.Receive), watch.esp(cfg.peer_mac), handles[1])
    miniport.delete(handles[1], handles[0])


def audited(cfg):
    """Additions, refused ones and deletions are audited as those of ip xfrm."""
    miniport, log = ndis.ready(cfg, ndis.ALL), netlink.AuditLog()
    sa, other = esp.direct().out, esp.direct().out
    log.events()
    miniport.delete(miniport.add(sa, False))
    cfg.dut.ip(other.add(xfrm.offload(cfg.netif, "out")), other.delete())
    came = []
    proc.wait_until(lambda: came.extend(log.events()) or len(came) >= 4, "four audit records")
    time.sleep(env.SETTLE)
    came += log.events()
    told = [re.sub(r".*?(op=\S+).*?( src=.*)", r"\1\2", text) for text in came]
    ktap.diag("\n".join(told))
    ktap.equal(len(told), 4, "audit records")
    for mine, theirs in zip(told[:2], told[2:], strict=True):
        ktap.contains(mine, f"spi={sa.spi}", "audit record")
        ktap.equal(mine.replace(f"{sa.spi:#x}", "SPI").replace(f"{sa.spi}", "SPI"),
                   theirs.replace(f"{other.spi:#x}", "SPI").replace(f"{other.spi}", "SPI"),
                   "audit record against that of ip xfrm")


def under_traffic(cfg):
    """SAs come and go while others carry traffic."""
    ktap.rules("R31")
    miniport, flow = ndis.ready(cfg, 0), esp.direct()
    ndis.protect(cfg, miniport, flow)
    with traffic.Stream(cfg.dut, flow.dut, cfg.peer, flow.peer) as stream:
        stream.advance(10)
        for _ in range(50):
            other = esp.direct()
            handles = [miniport.add(other.out, False), miniport.add(other.in_, True)]
            miniport.delete(*reversed(handles))
        stream.advance(10)
    ktap.equal(miniport.read(), [], "records that nobody asked for")


CASES = [transport_v4, transport_v4_list, transport_v6, tunnel_v4, tunnel_v6, cbc_sha1, cbc_sha256,
         short_icv, gmac_128, gmac_192, gmac_256, udp_transport, udp_tunnel, esn, derived_mode,
         mixed_with_ip_xfrm, closing_the_file, handles_are_new, announced, kept_over_a_reset,
         audited,
         under_traffic]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
