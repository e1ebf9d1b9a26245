// SPDX-License-Identifier: GPL-2.0

//! Packets that come with out-of-band data to be sent: checked as the model says, and not sent.
//!
//! The transport numbers its packets (R108), and the transport is XFRM here: under an SA of its own a
//! frame with a number from elsewhere could repeat one, and with it an initialisation vector. So what
//! fits ends with NDIS_STATUS_SEND_ABORTED (C46). Nothing leaves, least of all in clear.

use super::{
    information::Information,
    port::Port,
    ring::{
        Body,
        Start, //
    },
    translate, //
};
use crate::nic::Nic;
use espnic_esp::ip::{
    be16,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETH_HLEN, //
};
use espnic_ndis::{
    algorithm::{
        Authentication,
        Encryption, //
    },
    envelope::{
        Sent,
        Submit,
        MAX_FRAME, //
    },
    model::{
        send::check_within,
        table::{
            EspShape,
            IvSource, //
        },
        Lookup,
        Mode,
        Offloaded,
        SendSlots,
        State as Adapter,
        Verdict, //
    },
    oob::SendHeader,
    sa::{
        Address,
        Spi,
        UdpEsp, //
    },
    Handle,
    Status, //
};
use kernel::prelude::*;
use kernel_net::net::{
    device::Device,
    ip::Family,
    xfrm::{
        Direction,
        State, //
    }, //
};
use zerocopy::FromZeros;

/// Checks a packet, and records it with its status.
///
/// # Errors
///
/// `EPERM`, `EINVAL`, `EFAULT`, `ENOMEM`.
pub(super) fn submit(port: &Port, submit: &mut Submit) -> Result {
    port.check_caller()?;
    let length = submit.length as usize;
    if submit.reserved != 0 || length < ETH_HLEN || submit.length > MAX_FRAME {
        return Err(EINVAL);
    }
    if !port.may_submit() {
        submit.status = Status::RESOURCES.0;
        return Ok(());
    }
    // It is in clear, and is erased at the end.
    let frame = Information::copy(submit.frame, length)?;
    submit.status = status(port, submit, frame.bytes()).0;
    port.push(&Body::Sent(record(submit, frame.bytes()), Start::NONE));
    Ok(())
}

/// The status of the NET_BUFFER_LIST.
fn status(port: &Port, submit: &Submit, frame: &[u8]) -> Status {
    let Ok(dev) = port.device_unchecked() else {
        return Status::ADAPTER_REMOVED;
    };
    let miniport = port.adapter.miniport.lock();
    let (snapshot, limits) = (miniport.snapshot(), miniport.limits());
    let processing = miniport.has_encapsulation() && snapshot.config.is_offered();
    drop(miniport);
    match snapshot.state {
        Adapter::Running => {}
        Adapter::Paused => return Status::PAUSED,
        Adapter::Resetting => return Status::RESET_IN_PROGRESS,
        Adapter::LowPower => return Status::LOW_POWER_STATE,
        Adapter::Removed => return Status::ADAPTER_REMOVED,
    }
    let Some(packet) = packet(frame) else {
        return Status::FAILURE;
    };
    let sas = Sas { port, dev: &dev };
    let slots = SendSlots {
        ipsec: submit.slot1,
        large_send: submit.slot2,
        tunnel: submit.slot11,
        header: submit.slot12,
    };
    let config = &snapshot.config;
    match check_within(processing, config, Some(&limits), &slots, packet, &sas) {
        Verdict::Crypto(_) => Status::SEND_ABORTED,
        // Without a handle nothing was to be done, which is no reason to let somebody send frames.
        Verdict::Plain => Status::FAILURE,
        Verdict::Fail(status) => status,
    }
}

/// The IP packet of a frame that says that it has one.
fn packet(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(ETH_HLEN..)?;
    let kind = be16(frame, ETH_HLEN - 2)?;
    let fits = match packet.first()? >> 4 {
        4 => kind == ETHERTYPE_IPV4,
        6 => kind == ETHERTYPE_IPV6,
        _ => false,
    };
    fits.then_some(packet)
}

fn record(submit: &Submit, frame: &[u8]) -> Sent {
    let mut record = Sent::new_zeroed();
    record.slot1 = submit.slot1;
    record.slot2 = submit.slot2;
    record.slot11 = submit.slot11;
    record.slot12 = submit.slot12;
    record.length = submit.length;
    record.status = submit.status;
    let packet = frame.get(ETH_HLEN..).unwrap_or_default();
    let version = packet.first().map_or(0, |byte| byte >> 4);
    record.family = if matches!(version, 4 | 6) { version } else { 0 };
    let esp = usize::from(SendHeader::from_word(submit.slot12).esp_offset);
    let numbers = packet.get(esp..).and_then(|esp| esp.first_chunk());
    if let (true, Some([s0, s1, s2, s3, n0, n1, n2, n3])) = (esp != 0, numbers) {
        record.spi = [*s0, *s1, *s2, *s3];
        record.sequence = [*n0, *n1, *n2, *n3];
    }
    record
}

/// The NIC's SAs as the model sees them.
struct Sas<'a> {
    port: &'a Port,
    dev: &'a Device<Nic>,
}

impl Lookup for Sas<'_> {
    fn by_handle(&self, handle: Handle) -> Option<Offloaded> {
        let found = self.port.adapter.handles.find(handle)?;
        let x = self.dev.data().ipsec.states.get(found)?;
        offloaded(&x, found.direction)
    }

    // A send names its SA.
    fn find(&self, _hits: impl Fn(&Offloaded) -> bool) -> Option<(Handle, Offloaded)> {
        None
    }
}

/// `None` of an SA that NDIS has no words for.
fn offloaded(x: &State, direction: Direction) -> Option<Offloaded> {
    let (authentication, encryption) = translate::identifiers(x);
    let (authentication, encryption) = (Authentication(authentication), Encryption(encryption));
    if encryption == Encryption(0) {
        return None;
    }
    let of_gmac = match encryption {
        Encryption::NONE => authentication.iv_length(),
        _ => 0,
    };
    let iv_source = match encryption {
        _ if encryption.is_combined() || of_gmac > 0 => IvSource::Sequence,
        Encryption::NONE => IvSource::None,
        _ => IvSource::Random,
    };
    Some(Offloaded {
        inbound: direction == Direction::In,
        deleting: false,
        source: address(x.source(), x.family()?),
        destination: address(x.destination(), x.family()?),
        udp: match (x.encapsulation().is_some(), x.is_tunnel()) {
            (false, _) => UdpEsp::NONE,
            (true, false) => UdpEsp::TRANSPORT,
            (true, true) => UdpEsp::TUNNEL,
        },
        mode: match x.is_tunnel() {
            true => Mode::Tunnel,
            false => Mode::Transport,
        },
        esp: Some(EspShape {
            spi: Spi::from_be_bytes(x.spi().to_be_bytes()),
            iv: encryption.iv_length().max(of_gmac),
            icv: usize::try_from(x.icv_bits()? / 8).ok()?,
            alignment: encryption.alignment(),
            iv_source,
        }),
        ah: None,
        esn: x.is_esn(),
        encryption,
        authentication,
    })
}

fn address(bytes: [u8; 16], family: Family) -> Address {
    match (family, bytes) {
        (Family::V4, [a, b, c, d, ..]) => Address::V4([a, b, c, d]),
        (Family::V6, bytes) => Address::V6(bytes),
    }
}
