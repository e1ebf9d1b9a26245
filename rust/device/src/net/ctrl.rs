// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control queue (VIRTIO 1.4 section 5.1.6.5) and the administration queue (2.13). Both carry
//! administration commands to the same place: the former in the experimental class `X_ADMIN`.

use espnic_wire::{admin, ctrl, feature};
use zeroize::Zeroizing;

use super::{Device, BATCH};
use crate::memory::GuestMap;
use crate::nic::Nic;
use crate::virtio::chain::Chain;
use crate::virtio::queue::RingError;

const CTRL_HDR: usize = size_of::<ctrl::CtrlHdr>();
const ACK: usize = 1;
/// Start of the readable and of the writable part of an administration command.
const MIN_READABLE: usize = size_of::<admin::CmdHdr>();
const MIN_WRITABLE: usize = size_of::<admin::ReplyHdr>();

/// Answers a batch of control commands. `false` if there was none.
pub fn run(nic: &Nic, device: &mut Device) -> Result<bool, RingError> {
    let x_admin = device.virtio.has(feature::X_IPSEC);
    run_queue(nic, device, nic.config.ctrl_queue(), |mem, chain| {
        command(nic, mem, chain, x_admin)
    })
}

/// Answers a batch of administration commands. `false` if there was none.
pub fn run_admin(nic: &Nic, device: &mut Device) -> Result<bool, RingError> {
    run_queue(nic, device, nic.config.admin_queue(), |mem, chain| {
        admin_command(nic, mem, chain)
    })
}

fn run_queue(
    nic: &Nic,
    device: &mut Device,
    index: u16,
    answer: impl Fn(&GuestMap, &Chain) -> Result<u32, RingError>,
) -> Result<bool, RingError> {
    let mem = device.virtio.memory();
    let Device { virtio, net } = device;
    let Some((queue, vector)) = virtio.queue(index) else {
        return Ok(false);
    };
    let mut chain = net.chains.pop().unwrap_or_default();
    queue.disable_kicks(&mem)?;
    let mut count = 0;
    while count < BATCH && queue.pop(&mem, &mut chain)? {
        count += 1;
        nic.stats.ctrl_commands.inc();
        let written = answer(&mem, &chain)?;
        queue.push_used(&mem, chain.head(), written)?;
    }
    let notify = queue.publish(&mem)?;
    let more = count == 0 && queue.enable_kicks(&mem)?;
    net.chains.push(chain);
    if notify {
        nic.interrupt_queue(vector);
    }
    Ok(count > 0 || more)
}

/// Carries out one control command; returns the bytes written.
fn command(nic: &Nic, mem: &GuestMap, chain: &Chain, x_admin: bool) -> Result<u32, RingError> {
    let (readable, writable) = lengths(chain);
    if writable < ACK {
        // No room for an answer: an error of the driver that hurts nobody but itself.
        nic.stats.ctrl_refused.inc();
        return Ok(0);
    }
    let mut hdr = [0; CTRL_HDR];
    let known = readable >= CTRL_HDR && {
        chain.read(mem, 0, &mut hdr)?;
        hdr == [ctrl::CLASS_X_ADMIN, ctrl::X_ADMIN_EXEC] && x_admin
    };
    let limits = MIN_READABLE..=ctrl::X_ADMIN_MAX;
    let fits = limits.contains(&readable.saturating_sub(CTRL_HDR))
        && (MIN_WRITABLE..=ctrl::X_ADMIN_MAX).contains(&(writable - ACK));
    if !known || !fits {
        log::debug!("{}: control command {hdr:?} refused", nic.name);
        nic.stats.ctrl_refused.inc();
        chain.write(mem, 0, &[ctrl::ERR])?;
        return Ok(ACK as u32);
    }
    let written = execute(
        nic,
        mem,
        chain,
        CTRL_HDR,
        readable - CTRL_HDR,
        ACK,
        writable - ACK,
    )?;
    chain.write(mem, 0, &[ctrl::OK])?;
    Ok((ACK + written) as u32)
}

/// Carries out one command of the administration queue; returns the bytes written.
fn admin_command(nic: &Nic, mem: &GuestMap, chain: &Chain) -> Result<u32, RingError> {
    let (readable, writable) = lengths(chain);
    // Length alone never fails a command: surplus is ignored, missing input reads as zero.
    let (readable, writable) = (
        readable.min(ctrl::X_ADMIN_MAX),
        writable.min(ctrl::X_ADMIN_MAX),
    );
    if readable == 0 || writable == 0 {
        nic.stats.ctrl_refused.inc();
        return Ok(0);
    }
    execute(nic, mem, chain, 0, readable, 0, writable).map(|written| written as u32)
}

/// Copies the command, which may contain keys, executes it and writes the result.
fn execute(
    nic: &Nic,
    mem: &GuestMap,
    chain: &Chain,
    from: usize,
    readable: usize,
    to: usize,
    writable: usize,
) -> Result<usize, RingError> {
    let mut request = Zeroizing::new(vec![0; readable]);
    let mut reply = vec![0; writable];
    chain.read(mem, from as u64, &mut request)?;
    let written = nic.ipsec.admin(&request, &mut reply).min(writable);
    chain.write(mem, to as u64, reply.get(..written).unwrap_or_default())?;
    Ok(written)
}

fn lengths(chain: &Chain) -> (usize, usize) {
    let limit = |len: u64| usize::try_from(len).unwrap_or(usize::MAX);
    (limit(chain.readable_len()), limit(chain.writable_len()))
}
