// SPDX-License-Identifier: GPL-2.0

//! Packets that come with out-of-band data to be sent: checked as the model says, and then sent by XFRM.
//!
//! The transport numbers its packets (R108), and the transport is XFRM here: under an SA of its own a
//! frame with a number from elsewhere could repeat one, and with it an initialisation vector. So what
//! is inside of the frame goes to XFRM, which frames it anew, if a policy leads it to the very SA that
//! the handle names. Else it ends with NDIS_STATUS_SEND_ABORTED (C46). Nothing leaves in clear.

use super::port::Port;
use crate::{
    ndis::{
        information::Information,
        ring::{
            Body,
            Start, //
        },
        translate, //
    },
    nic::Nic, //
};
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
        unframe::unframe,
        Job,
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
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};
use kernel_net::net::{
    ip::Family,
    netdevice::Device,
    xfrm::{
        send,
        Direction,
        State, //
    }, //
};
use zerocopy::FromZeros;

/// What the audit log calls it.
const OPERATION: &CStr = c"NDIS-submit";

/// Checks a packet and has it sent. One that is not sent is recorded with its status; the others are
/// recorded when the driver gets them, with the number that XFRM gave them. That is never if software
/// takes over between this and the transmission, as when offload is switched off: then it encrypts.
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
    let mut frame = Information::copy(submit.frame, length)?;
    let mut record = record(submit, frame.bytes());
    let mut sa = None;
    let status = match try_send(port, submit, frame.bytes_mut(), &mut sa) {
        Ok(()) => Status::SUCCESS,
        Err(status) => status,
    };
    send::audit(OPERATION, sa.as_deref(), status == Status::SUCCESS);
    submit.status = status.0;
    if status != Status::SUCCESS {
        record.status = status.0;
        port.push(&Body::Sent(record, Start::NONE));
    }
    Ok(())
}

/// Has a packet sent, or says why not. `sa` becomes the one that its handle names.
fn try_send(
    port: &Port,
    submit: &Submit,
    frame: &mut [u8],
    sa: &mut Option<ARef<State>>,
) -> Result<(), Status> {
    let dev = port
        .device_unchecked()
        .map_err(|_| Status::ADAPTER_REMOVED)?;
    let sas = Sas { port, dev: &dev };
    *sa = Handle::new(submit.slot1).and_then(|handle| sas.state(handle));
    let job = check(port, submit, frame, &sas)?;
    let (x, shape) = sa
        .as_deref()
        .and_then(|x| Some((x, offloaded(x)?)))
        .ok_or(Status::FAILURE)?;
    // A large send has no trailer yet, and is cut by what the caller says: XFRM makes its own.
    let esp = match job {
        Job {
            esp: Some(esp),
            segments: None,
            ..
        } => esp,
        _ => return Err(Status::SEND_ABORTED),
    };
    let packet = frame.get_mut(ETH_HLEN..).unwrap_or_default();
    let inside = unframe(packet, &shape, SendHeader::from_word(submit.slot12), esp)
        .and_then(|inside| packet.get(inside))
        .ok_or(Status::SEND_ABORTED)?;
    port.namespace
        .send_under(&dev, x, inside)
        .map_err(|error| match error {
            ENOMEM => Status::RESOURCES,
            _ => Status::SEND_ABORTED,
        })
}

/// What the NIC is to do with a packet that fits, or the status of one that does not.
fn check(port: &Port, submit: &Submit, frame: &[u8], sas: &Sas<'_>) -> Result<Job, Status> {
    let miniport = port.adapter.miniport.lock();
    let (snapshot, limits) = (miniport.snapshot(), miniport.limits());
    let processing = miniport.has_encapsulation() && snapshot.config.is_offered();
    drop(miniport);
    match snapshot.state {
        Adapter::Running => {}
        Adapter::Paused => return Err(Status::PAUSED),
        Adapter::Resetting => return Err(Status::RESET_IN_PROGRESS),
        Adapter::LowPower => return Err(Status::LOW_POWER_STATE),
        Adapter::Removed => return Err(Status::ADAPTER_REMOVED),
    }
    let packet = packet(frame).ok_or(Status::FAILURE)?;
    let slots = SendSlots {
        ipsec: submit.slot1,
        large_send: submit.slot2,
        tunnel: submit.slot11,
        header: submit.slot12,
    };
    let config = &snapshot.config;
    match check_within(processing, config, Some(&limits), &slots, packet, sas) {
        Verdict::Crypto(job) => Ok(job),
        // Without a handle the frame asks for no service, and this device does not send plain frames.
        Verdict::Plain => Err(Status::FAILURE),
        Verdict::Fail(status) => Err(status),
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

impl Sas<'_> {
    fn state(&self, handle: Handle) -> Option<ARef<State>> {
        let found = self.port.adapter.handles.find(handle)?;
        self.dev.data().ipsec.states.get(found)
    }
}

impl Lookup for Sas<'_> {
    fn by_handle(&self, handle: Handle) -> Option<Offloaded> {
        offloaded(&*self.state(handle)?)
    }

    // A send names its SA.
    fn find(&self, _hits: impl Fn(&Offloaded) -> bool) -> Option<(Handle, Offloaded)> {
        None
    }
}

/// `None` of an SA that NDIS has no words for.
fn offloaded(x: &State) -> Option<Offloaded> {
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
        inbound: x.direction()? == Direction::In,
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
