// SPDX-License-Identifier: GPL-2.0

//! What SAs and policies say of a received frame.

use super::super::{
    policy::Action,
    sa::Sa,
    sas::Sas,
    spd::{
        Found,
        Spd, //
    }, //
};
use espnic_esp::{
    ip::{
        be32,
        Address,
        Ip,
        Layers,
        IPPROTO_AH,
        IPPROTO_COMP,
        IPPROTO_ESP,
        IPPROTO_UDP,
        NAT_T_PORT,
        UDP_HLEN, //
    },
    selector::{
        Flow,
        Seen, //
    },
    upper::{
        Fragment,
        Upper, //
    }, //
};

/// What a decrypted packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One that the stack takes as it is.
    Clear,
    /// ESP of an SA that is not for packet offload, which the stack is to decrypt.
    Esp,
}

/// What a frame that `sa` has protected is, if the SA is for it, and it is protected as the policies demand.
pub(super) fn allowed(spd: &Spd, sa: &Sa, frame: &[u8]) -> Option<Form> {
    let (ip, flow) = read(frame)?;
    if !sa.takes(&flow) {
        return None;
    }
    let form = form(&spd.sas, frame, &ip, &flow)?;
    let Found::Policy(policy) = spd.inbound.find(&flow) else {
        return None;
    };
    match &policy.action {
        Action::Protect(template) => template.takes_in(sa).then_some(form),
        Action::Hole | Action::Block => None,
    }
}

/// What a decrypted packet is; `None` if it is protected once more, or may be, in a way that the stack cannot be
/// told of. Marked as decrypted, such a packet would be taken for clear (X92).
fn form(sas: &Sas, frame: &[u8], ip: &Ip, flow: &Flow) -> Option<Form> {
    match flow.protocol? {
        IPPROTO_UDP => {}
        // As in clear, the stack must not decrypt for SAs whose windows stand still.
        IPPROTO_ESP if flow.fragment == Fragment::No => {
            return (!is_unprocessed(sas, frame, ip, &flow.dst)).then_some(Form::Esp);
        }
        IPPROTO_ESP | IPPROTO_AH | IPPROTO_COMP => return None,
        _ => return Some(Form::Clear),
    }
    let Seen::Ports(ports) = flow.ports else {
        return Some(Form::Clear);
    };
    // A marker of zeros says that it is IKE (RFC 3948, section 2.2), and a keepalive is shorter.
    let marker = Upper::find(frame, ip)
        .and_then(|upper| be32(frame, upper.at.checked_add(UDP_HLEN)?))
        .unwrap_or(0);
    let is_esp = [ports.src, ports.dst].contains(&NAT_T_PORT) && marker != 0;
    (!is_esp).then_some(Form::Clear)
}

/// Why a packet that the NIC has not decrypted must be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Unprocessed,
    Clear,
    Blocked,
}

/// Whether a packet that the NIC has not decrypted may go to the stack.
pub(super) fn admit(spd: &Spd, frame: &[u8]) -> Result<(), Refusal> {
    let Some((ip, flow)) = read(frame) else {
        let is_doubtful = Layers::may_hide_ip(frame) && spd.is_for_received();
        return match is_doubtful {
            true => Err(Refusal::Clear),
            // No IP packet.
            false => Ok(()),
        };
    };
    if is_unprocessed(&spd.sas, frame, &ip, &flow.dst) {
        // The stack would decrypt it with a replay window that has stood still.
        return Err(Refusal::Unprocessed);
    }
    match spd.inbound.find(&flow) {
        Found::None => Ok(()),
        Found::Unclear => Err(Refusal::Clear),
        Found::Policy(policy) => match &policy.action {
            Action::Hole => Ok(()),
            Action::Block => Err(Refusal::Blocked),
            // The stack decrypts it, and then asks the policies for what is inside.
            Action::Protect(_) if flow.protocol == Some(IPPROTO_ESP) => Ok(()),
            Action::Protect(_) => Err(Refusal::Clear),
        },
    }
}

/// The IP packet in a frame, also behind VLAN tags.
fn read(frame: &[u8]) -> Option<(Ip, Flow)> {
    let ip = Layers::find(frame).ip()?;
    Some((ip, Flow::of(frame.get(ip.network..)?)?))
}

/// Whether a packet to `dst` is ESP of an SA of packet offload, or a first fragment that may be. Of UDP no
/// port counts: the stack decrypts what comes to any socket for ESP in UDP.
fn is_unprocessed(sas: &Sas, frame: &[u8], ip: &Ip, dst: &Address) -> bool {
    let Some(upper) = Upper::find(frame, ip) else {
        return false;
    };
    let (at, in_udp) = match upper.protocol {
        IPPROTO_ESP => (upper.at, false),
        IPPROTO_UDP => (upper.at.saturating_add(UDP_HLEN), true),
        _ => return false,
    };
    let spi = be32(frame, at);
    let is_shown = match upper.fragment {
        Fragment::No => spi.is_some(),
        // It may end before the SPI.
        Fragment::First => true,
        Fragment::Later => false,
    };
    is_shown && sas.any_inbound_to(dst, spi, |sa| sa.in_udp == in_udp)
}
