// SPDX-License-Identifier: GPL-2.0

//! Requests on the normal path, and restarts: configuration and netdev's features change together.

use super::port::Port;
use crate::{
    ndis::{
        adapter::Adapter,
        hardware,
        miniport::FEATURES, //
    },
    nic::Nic, //
};
use espnic_ndis::{
    envelope::{
        Request,
        QUERY,
        SET, //
    },
    model::{
        Completion,
        Effects,
        Tasks, //
    },
    Oid,
    Status,
    Version, //
};
use kernel::prelude::*;
use kernel_net::{
    net::netdevice::{
        features as netif,
        Device, //
    },
    rtnl, //
};

/// Carries out a request on the normal path.
pub(super) fn perform(
    port: &Port,
    dev: &Device<Nic>,
    request: &Request,
    information: &mut [u8],
) -> Completion {
    let oid = Oid(request.oid);
    match request.request_type {
        QUERY => port.adapter.miniport.lock().model.query(oid, information),
        SET => set(port, dev, oid, information),
        _ => Completion::with(Status::NOT_SUPPORTED),
    }
}

fn set(port: &Port, dev: &Device<Nic>, oid: Oid, information: &[u8]) -> Completion {
    // Taken first, so that configuration and features change together, and not after the
    // interface has gone to another namespace.
    let rtnl = rtnl::lock();
    if port.is_removed() {
        return Completion::with(Status::NOT_ACCEPTED);
    }
    let nic = dev.data();
    let mut miniport = port.adapter.miniport.lock();
    let before = miniport.model.tasks();
    let effects = miniport.set(&nic.ipsec, oid, information);
    drop(miniport);
    carry_out(&port.adapter, dev, &effects, &before, &rtnl);
    // Other users of RTNL must not wait for the NIC, which may be slow.
    drop(rtnl);
    nic.ipsec.follow(&nic.control);
    effects.completion
}

/// Changes the netdev's features to those of the configuration, then indicates that. Switches
/// checksums and large sends where their settings differ from `before`.
fn carry_out(
    adapter: &Adapter,
    dev: &Device<Nic>,
    effects: &Effects,
    before: &Tasks,
    rtnl: &rtnl::Guard,
) {
    let mut miniport = adapter.miniport.lock();
    let esp = miniport.snapshot().config.esp;
    let after = hardware::features(&miniport.model.tasks());
    let (mut on, mut off) = (0, 0);
    for ((bit, was), (_, is)) in hardware::features(before).into_iter().zip(after) {
        match (was, is) {
            (false, true) => on |= bit,
            (true, false) => off |= bit,
            _ => {}
        }
    }
    // Except features that `ethtool -K` had switched off before.
    on &= miniport.features;
    if effects.changed && (dev.features() & netif::HW_ESP != 0) != esp {
        *(if esp { &mut on } else { &mut off }) |= FEATURES;
    }
    if on | off != 0 {
        // The notifier calls `follow_features`, which must ignore half of the change.
        miniport.settling = true;
        drop(miniport);
        dev.want_features(off, false, rtnl);
        dev.want_features(on, true, rtnl);
        adapter.miniport.lock().settling = false;
        if adapter.follow_features(&dev.data().ipsec, dev.features()) {
            dev.schedule_work();
        }
    } else {
        drop(miniport);
    }
    let indications = adapter.miniport.lock().indications(effects);
    adapter.indicate(&indications);
}

/// Halts the miniport and initialises it from its keywords; `version` 0 keeps the NDIS version. The
/// caller deletes the SAs, and then calls `Ipsec::follow`.
///
/// # Errors
///
/// `EINVAL` for a version that is not known; `ENODEV` if the interface has left.
pub(super) fn restart(port: &Port, dev: &Device<Nic>, version: u32) -> Result {
    let new = Version(version);
    if version != 0 && !Version::WITH_IPSEC_V2.contains(&new) {
        return Err(EINVAL);
    }
    // As in `set`.
    let rtnl = rtnl::lock();
    if port.is_removed() {
        return Err(ENODEV);
    }
    let mut miniport = port.adapter.miniport.lock();
    let now = miniport.model.version();
    let before = miniport.model.tasks();
    miniport.start(&dev.data().ipsec, if version == 0 { now } else { new });
    drop(miniport);
    let effects = Effects {
        completion: Completion::with(Status::SUCCESS),
        changed: true,
        hardware_capabilities: true,
        current_config: true,
        keywords: None,
    };
    carry_out(&port.adapter, dev, &effects, &before, &rtnl);
    Ok(())
}
