// SPDX-License-Identifier: GPL-2.0

//! The callbacks of netdev, ethtool and XFRM. Each only passes the call on.

mod ethtool;

use crate::{
    datapath,
    ipsec::{
        self,
        packet::{
            self,
            policy, //
        },
        Sa, //
    },
    nic::{
        packet::REFRESH_MS,
        Nic, //
    },
    recovery,
    stats, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};
use kernel_net::{
    net::{
        napi::{
            Poll,
            Polled, //
        },
        netdevice::{
            self,
            features as netif,
            Device,
            RxQueueStats,
            Stats64,
            TxQueueStats, //
        },
        netlink::ExtAck,
        notifier,
        skbuff::SkBuff,
        xdp,
        xfrm, //
    },
    rtnl,
    virtio::{
        self,
        net::Restart,
        DeviceRef, //
    }, //
};

/// Delay before a recovery that found another one running looks again, in milliseconds.
const RECOVERY_BUSY_MS: u32 = 10;

impl netdevice::Operations for Nic {
    type Parent = DeviceRef;

    fn open(dev: &Device<Self>, rtnl: &rtnl::Held) -> Result {
        let nic = dev.data();
        nic.open_channels(dev, nic.active.load(Relaxed), rtnl)
            .inspect_err(|_| nic.close_channels(dev, 0))?;
        nic.start(dev);
        Ok(())
    }

    fn stop(dev: &Device<Self>) {
        let nic = dev.data();
        nic.halt(dev);
        nic.close_channels(dev, 0);
        // Like the stack, which flushes no states while offload is off (X30).
        if dev.features() & netif::HW_ESP != 0 {
            nic.ipsec.expire_all();
        }
    }

    fn start_xmit(dev: &Device<Self>, queue: u16, skb: SkBuff) {
        if let Some(channel) = dev.data().channel(queue) {
            datapath::transmit(dev, channel, skb);
        }
    }

    fn poll(dev: &Device<Self>, poll: &Poll<'_>) -> Polled {
        match dev.data().channel(poll.index()) {
            Some(channel) => datapath::poll(dev, channel, poll),
            None => Polled::Done(0),
        }
    }

    fn rearm(dev: &Device<Self>, index: u16) -> bool {
        let channel = dev.data().channel(index);
        channel.is_some_and(|channel| channel.enable_events())
    }

    fn work(dev: &Device<Self>) {
        let nic = dev.data();
        if nic.recovery.is_due() || nic.vdev.needs_reset() {
            recover(dev, nic);
            return;
        }
        nic.follow_rx_mode(dev);
        nic.follow_moderation();
        nic.follow_uppers(dev);
        // NDIS or `ethtool` may have switched IPsec off or on.
        nic.ipsec.follow(&nic.control);
        nic.ipsec.tell_sequence(&nic.control);
        if nic.ipsec.database.has_changed() {
            nic.refresh_spd(dev);
        }
        nic.ipsec.follow_changes(&nic.control);
        nic.ipsec.bury(&nic.control, || nic.wait_for_sent(dev));
        nic.follow_events(dev);
        nic.tend_packet_sas(dev);
        nic.follow_link(dev);
    }

    fn tx_timeout(dev: &Device<Self>, queue: u16) {
        let nic = dev.data();
        let Some(channel) = nic.channel(queue) else {
            return;
        };
        if !channel.tx.lock().timed_out() {
            // A poll makes up for a lost interrupt.
            dev.napi(usize::from(queue)).inspect(|napi| napi.schedule());
            return;
        }
        nic.recovery.request();
        dev.schedule_work();
    }

    fn fix_features(dev: &Device<Self>, features: u64) -> u64 {
        let features = dev.data().xdp.fix_features(features);
        // The stack would leave the inner checksum to us even if it encrypts in software (X2).
        if features & netif::HW_ESP == 0 {
            features & !(netif::HW_ESP_TX_CSUM | netif::GSO_ESP)
        } else {
            features
        }
    }

    fn set_features(dev: &Device<Self>, features: u64) -> Result {
        let (nic, changed) = (dev.data(), dev.features() ^ features);
        let large = features & netif::GRO_HW != 0;
        if changed & netif::GRO_HW != 0 {
            nic.offer_large(large)?;
        }
        if changed & netif::RXHASH == 0 {
            return Ok(());
        }
        let on = features & netif::RXHASH != 0;
        let result = nic
            .rss
            .set_report(&nic.control, nic.active.load(Relaxed), on);
        if result.is_err() && changed & netif::GRO_HW != 0 {
            // All or nothing.
            nic.offer_large(!large)?;
        }
        result
    }

    fn set_mac_address(dev: &Device<Self>, address: [u8; 6]) -> Result {
        dev.data().change_mac_address(dev, address)
    }

    fn set_rx_mode(dev: &Device<Self>) {
        dev.data().receive.request();
        dev.schedule_work();
    }

    fn vlan_rx_add_vid(dev: &Device<Self>, id: u16) -> Result {
        let nic = dev.data();
        nic.receive.change_vlan(&nic.control, id, true)
    }

    fn vlan_rx_kill_vid(dev: &Device<Self>, id: u16) -> Result {
        let nic = dev.data();
        nic.receive.change_vlan(&nic.control, id, false)
    }

    const XDP: bool = true;

    fn set_program(
        dev: &Device<Self>,
        program: Option<xdp::Program>,
        extack: &mut ExtAck,
        rtnl: &rtnl::Held,
    ) -> Result {
        dev.data().set_program(dev, program, extack, rtnl)
    }

    fn xdp_xmit(dev: &Device<Self>, frames: &mut xdp::Given<'_>) {
        datapath::xdp::transmit(dev, frames);
    }

    fn add_umem(dev: &Device<Self>, offer: xdp::umem::Offer<'_>, rtnl: &rtnl::Held) -> Result {
        dev.data().lend(dev, offer, rtnl)
    }

    fn remove_umem(dev: &Device<Self>, queue: u16, rtnl: &rtnl::Held) {
        dev.data().take_back(dev, queue, rtnl);
    }

    fn wake_umem(dev: &Device<Self>, queue: u16) {
        // The context looks for both, what to send and room to receive to.
        dev.napi(queue.into())
            .inspect(|napi| napi.schedule_process());
    }

    fn stats64(dev: &Device<Self>, stats: &mut Stats64) {
        stats::interface(dev.data(), stats);
    }

    fn rx_queue_stats(dev: &Device<Self>, queue: u16) -> RxQueueStats {
        let channel = dev.data().channel(queue);
        channel.map_or_else(Default::default, |channel| {
            stats::receive_queue(&channel.received)
        })
    }

    fn tx_queue_stats(dev: &Device<Self>, queue: u16) -> TxQueueStats {
        let channel = dev.data().channel(queue);
        channel.map_or_else(Default::default, |channel| {
            stats::transmit_queue(&channel.sent)
        })
    }
}

impl virtio::net::Operations for Nic {
    fn vq_callback(dev: &Device<Self>, queue: u16) {
        // Receive queue 2n and transmit queue 2n + 1 belong to channel n; then come the control queue
        // and the event queue.
        match dev.napi(usize::from(queue / 2)) {
            Some(napi) => napi.schedule(),
            None if queue % 2 == 0 => dev.data().control.drain(),
            None => {
                dev.data().events.interrupt();
                dev.schedule_work();
            }
        }
    }

    fn reset_prepare(dev: &Device<Self>) {
        dev.data().reset_prepare(dev);
    }

    fn reset_done(dev: &Device<Self>, restart: &mut Restart<'_, Self>) -> Result {
        dev.data().reset_done(dev, restart)
    }
}

/// Resets the NIC; if that fails, tries again later, without limit.
fn recover(dev: &Device<Nic>, nic: &Nic) {
    let log = (*nic.vdev).as_ref();
    if nic.recovery.begin() {
        let reason = match nic.recovery.is_requested() {
            true => c"transmission is stuck",
            false => c"the NIC asks for a reset",
        };
        dev_warn!(log, "{reason}\n");
    }
    match dev.recover() {
        Ok(true) => {
            nic.ipsec.count_reset();
            if nic.recovery.end() {
                dev_info!(log, "the NIC is in use again\n");
            }
            // The NIC may have asked again during the reset, unnoticed.
            dev.schedule_work();
        }
        // Looks again, because the other reset may have begun before this request.
        Ok(false) => dev.schedule_work_in(RECOVERY_BUSY_MS),
        Err(error) => {
            let failures = nic.recovery.fail();
            if failures == 1 {
                dev_err!(log, "the reset failed: {:?}; trying again\n", error);
            }
            dev.schedule_work_in(recovery::pause_after(failures));
        }
    }
}

kernel_net::has_states!(Nic, Sa, ipsec.states);

impl xfrm::Operations for Nic {
    const NO_SLOT: &'static CStr = ipsec::TABLE_FULL;

    const POLICIES: Option<xfrm::PolicyTable<Self>> = Some(xfrm::PolicyTable::new());

    fn state_add<'a>(
        dev: &'a Device<Self>,
        x: &xfrm::State,
        slot: xfrm::Reservation<'a, Sa>,
        extack: &mut ExtAck,
    ) -> Result<xfrm::Committed<'a>> {
        let nic = dev.data();
        let handle = slot.handle();
        let committed = nic
            .ipsec
            .add(&nic.control, x, slot, extack, || nic.wait_for_sent(dev))?;
        nic.ndis.sa_added(handle);
        if let Some(sa) = nic.ipsec.packet_sa(handle) {
            Self::find_next_hop(dev, x, &sa);
            nic.refresh_spd(dev);
            dev.schedule_work_in(packet::stats::INTERVAL_MS);
        }
        Ok(committed)
    }

    fn offload_ok(
        dev: &Device<Self>,
        skb: &mut xfrm::OutputSkb<'_>,
        x: &xfrm::State,
        handle: xfrm::Handle,
    ) -> bool {
        let nic = dev.data();
        if x.is_packet_offload() {
            return !nic.ipsec.is_absent(handle) && nic.ipsec.database.sign(skb);
        }
        // If the stack takes the wrong count of sequence numbers, a number, and so an IV, comes twice.
        // Software segments first and numbers each packet by itself. The count is wrong
        // - with ESP in UDP: one trailer for the whole GSO packet may add a segment (X55);
        // - if the count is not known yet: packets from a TAP, a VM or a NIC have it filled in later (X56);
        // - with the last high half of ESN (X57).
        let miscounted = x.encapsulation().is_some() || skb.is_untrusted_gso();
        !(skb.is_gso() && miscounted
            || x.has_last_high_half()
            || nic.ipsec.is_for_software(x, handle))
    }

    fn state_advance_esn(dev: &Device<Self>, x: &xfrm::State, handle: xfrm::Handle) {
        if dev.data().ipsec.sequence_moved(x, handle) {
            dev.schedule_work();
        }
    }

    fn state_delete(dev: &Device<Self>, handle: xfrm::Handle) {
        let nic = dev.data();
        nic.ndis.sa_deleted(handle);
        nic.ipsec.delete(&nic.control, handle);
        if nic.ipsec.database.has_changed() || nic.ipsec.has_doomed() {
            dev.schedule_work();
        }
    }

    fn state_free(dev: &Device<Self>, handle: xfrm::Handle) {
        let nic = dev.data();
        nic.ipsec
            .free(&nic.control, handle, || nic.wait_for_sent(dev));
        nic.ndis.sa_freed(handle);
        if nic.ipsec.database.has_changed() {
            dev.schedule_work();
        }
    }

    fn state_update_stats(dev: &Device<Self>, x: &xfrm::State, handle: xfrm::Handle) {
        dev.data().ipsec.update_stats(x, handle);
    }
}

impl xfrm::PolicyOperations for Nic {
    fn policy_add(
        dev: &Device<Self>,
        policy: &xfrm::Policy,
        live: &Arc<xfrm::LivePolicy>,
        extack: &mut ExtAck,
    ) -> Result<xfrm::PolicyHandle> {
        let nic = dev.data();
        let added = policy::Added {
            policy,
            live,
            interface: dev.index(),
        };
        nic.ipsec.add_policy(added, extack, |spd| nic.publish(spd))
    }

    fn policy_delete(dev: &Device<Self>, handle: xfrm::PolicyHandle) {
        dev.data().ipsec.database.delete_policy(handle);
        // In force at once. The snapshot is only rid of it then.
        dev.schedule_work_in(REFRESH_MS);
    }

    /// Nothing is left: the next snapshot is without the policy.
    fn policy_free(_dev: &Device<Self>, _handle: xfrm::PolicyHandle) {}
}

impl notifier::Handler for Nic {
    fn features_changed(dev: &Device<Self>) {
        let nic = dev.data();
        if nic.ndis.follow_features(&nic.ipsec, dev.features()) {
            dev.schedule_work();
        }
    }

    fn leaving(dev: &Device<Self>) {
        dev.data().ndis.leave();
    }

    fn uppers_change(dev: &Device<Self>, may_divert: bool) {
        let nic = dev.data();
        if may_divert {
            nic.diverted.store(true, Relaxed);
        }
        nic.uppers_changed.store(true, Relaxed);
        dev.schedule_work();
    }
}
