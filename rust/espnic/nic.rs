// SPDX-License-Identifier: GPL-2.0

//! The driver's data of a NIC, its configuration and reset.

mod channels;
mod coalesce;
mod lent;
mod link;
pub(crate) mod packet;
mod program;
mod receive;

use crate::{
    channel::Channel,
    coalesce::Coalescing,
    config::{
        header_length,
        receives_large, //
    },
    control::Control,
    events::Events,
    ipsec::{
        reinstall::NotTaken,
        Ipsec, //
    },
    link::Settings,
    ndis::Ndis,
    recovery::Recovery,
    rss::Rss,
    rx_mode::Receive,
    xdp::Xdp, //
};
use espnic_wire::{
    feature,
    hdr::HdrLen, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use kernel_net::{
    cpu,
    net::{
        netdevice::{
            features as netif,
            Device,
            Unregistered, //
        },
        xfrm::State, //
    },
    rtnl,
    virtio::{
        net::{
            Queues,
            Restart, //
        },
        DeviceRef, //
    }, //
};

/// How often, and how many milliseconds apart, it is asked whether the NIC has sent its packets.
const SENT_TRIES: u32 = 20;
const SENT_RETRY_MS: i64 = 1;

/// How often, and with how many milliseconds in between, the driver looks whether all is sent.
const DRAIN_TRIES: u32 = 50;
const DRAIN_MS: i64 = 2;

/// The driver's data of one netdev.
#[pin_data]
pub(crate) struct Nic {
    /// Length of the virtio header in front of every frame, fixed by the features.
    pub(crate) header: HdrLen,
    /// All channels that the NIC has; the stack uses the first ones.
    pub(crate) channels: KVec<Pin<KBox<Channel>>>,
    /// How many channels the stack uses. Changes under RTNL.
    pub(crate) active: Atomic<u32>,
    /// Another device takes the interface's frames, or may be about to. Changes under RTNL.
    pub(crate) diverted: Atomic<bool>,
    /// The upper devices of the interface may have changed.
    pub(crate) uppers_changed: Atomic<bool>,
    /// Whether traffic runs: between [`Self::start`] and [`Self::halt`]. Changes under RTNL.
    started: Atomic<bool>,
    #[pin]
    pub(crate) ipsec: Ipsec,
    #[pin]
    pub(crate) control: Control,
    #[pin]
    pub(crate) events: Events,
    #[pin]
    pub(crate) receive: Receive,
    #[pin]
    pub(crate) coalesce: Coalescing,
    #[pin]
    pub(crate) rss: Rss,
    pub(crate) ndis: Ndis,
    pub(crate) xdp: Xdp,
    pub(crate) recovery: Recovery,
    #[pin]
    pub(crate) link: Mutex<Settings>,
    pub(crate) vdev: DeviceRef,
}

impl Nic {
    /// Splits the queues of a device into channels and the control queue.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        net: &Unregistered<Self>,
        queues: Queues,
    ) -> Result<impl PinInit<Self, Error>> {
        let dev = net.parent();
        let header = header_length(dev);
        let vdev = dev.clone();
        let mut channels = KVec::new();
        let pairs = queues.receive.into_iter().zip(queues.transmit);
        for (index, (rx, tx)) in (0..).zip(pairs) {
            channels.push(Channel::new(index, rx, tx)?, GFP_KERNEL)?;
        }
        let coalesce = Coalescing::new(channels.len())?;
        let active = cpu::online().min(u32::try_from(channels.len()).map_err(|_| EINVAL)?);
        let control = Control::new(queues.control, dev.clone());
        let (rss, ndis) = (Rss::new(dev), Ndis::new()?);
        Ok(try_pin_init!(Self {
            header,
            channels,
            active: Atomic::new(active),
            diverted: Atomic::new(false),
            uppers_changed: Atomic::new(false),
            started: Atomic::new(false),
            ipsec <- Ipsec::new(State::names_device_of::<Self>),
            control <- control,
            events <- Events::new(queues.events),
            receive <- Receive::new(),
            coalesce <- coalesce,
            rss <- rss,
            ndis,
            xdp: Xdp::new(),
            recovery: Recovery::new(),
            link <- new_mutex!(Settings::new()),
            vdev,
        }))
    }

    /// Negotiates IPsec with the NIC; false if it has no crypto offload that the driver can use.
    pub(crate) fn set_up_ipsec(&self) -> bool {
        if !self.vdev.has_feature(feature::X_IPSEC) {
            return false;
        }
        let done = self
            .ipsec
            .set_up(&self.control)
            .and_then(|()| self.events.fill());
        match done {
            Ok(()) => true,
            Err(error) => {
                let dev = (*self.vdev).as_ref();
                dev_err!(dev, "no IPsec offload, set-up failed: {:?}\n", error);
                false
            }
        }
    }

    /// The channel with this number.
    pub(crate) fn channel(&self, index: u16) -> Option<&Channel> {
        self.channels
            .get(usize::from(index))
            .map(|channel| &**channel)
    }

    /// Waits until the NIC has sent the packets that it has got so far, but not for long: it may be stuck.
    /// Sleeps.
    pub(crate) fn wait_for_sent(&self, dev: &Device<Self>) {
        for (index, channel) in self.channels.iter().enumerate() {
            let goal = channel.tx.lock().last_given();
            for _ in 0..SENT_TRIES {
                if !dev.is_running() || channel.tx.lock().has_sent(goal) {
                    break;
                }
                // There is no event for a few packets, and only a poll may take them from the queue.
                dev.napi(index).inspect(|napi| napi.schedule());
                fsleep(Delta::from_millis(SENT_RETRY_MS));
            }
        }
    }

    /// Tells the NIC and the stack how many channels to use. Traffic is stopped, RTNL held.
    ///
    /// # Errors
    ///
    /// Those of the control command or of the stack; then the old number stays.
    pub(crate) fn set_active(&self, dev: &Device<Self>, count: u32, rtnl: &rtnl::Held) -> Result {
        self.offer_active(count, dev.has_user_table(rtnl))?;
        self.use_active(dev, count, rtnl)
    }

    /// Tells the NIC how many channels to use; `keep`: and leaves the table of receive queues as it is.
    ///
    /// # Errors
    ///
    /// Those of the control command.
    pub(crate) fn offer_active(&self, count: u32, keep: bool) -> Result {
        let before = self.active.load(Relaxed);
        self.rss.set_queues(&self.control, before, count, keep)
    }

    /// Tells the NIC whether received packets may stand for several segments. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the control command.
    pub(crate) fn offer_large(&self, on: bool) -> Result {
        let wanted = match on {
            true => &[
                feature::GUEST_CSUM,
                feature::GUEST_TSO4,
                feature::GUEST_TSO6,
            ][..],
            false => &[feature::GUEST_CSUM],
        };
        let offloads = wanted
            .iter()
            .filter(|&&bit| self.vdev.has_feature(bit))
            .fold(0, |set, &bit| set | feature::mask(bit));
        self.control.set_guest_offloads(offloads as u64)
    }

    /// Tells the stack how many channels to use, after [`Self::offer_active`].
    ///
    /// # Errors
    ///
    /// Those of the stack.
    pub(crate) fn use_active(&self, dev: &Device<Self>, count: u32, rtnl: &rtnl::Held) -> Result {
        dev.set_queues(count, rtnl)?;
        self.active.store(count, Relaxed);
        if count == cpu::online() {
            self.pin_channels(dev, count);
        }
        Ok(())
    }

    /// Gives each CPU a channel of its own.
    fn pin_channels(&self, dev: &Device<Self>, count: u32) {
        for ((nth, index), channel) in (0..count).zip(0u16..).zip(&self.channels) {
            channel.set_cpu(nth);
            dev.set_xps(index, nth);
        }
    }

    /// Starts traffic: buffers, NAPI, transmit queues. RTNL held, interface up, with pools for all channels that
    /// the stack uses.
    pub(crate) fn start(&self, dev: &Device<Self>) {
        let active = self.active.load(Relaxed);
        for channel in self.channels.iter().take(active as usize) {
            channel.rx.lock().start();
        }
        for (napi, channel) in dev.napis().iter().zip(&self.channels) {
            // That of new queues is another one.
            napi.set_irq(channel.irq());
        }
        dev.enable_polling();
        for (index, napi) in (0u16..).zip(dev.napis()) {
            // Events that came while the context was off are lost, so poll once.
            napi.schedule_process();
            if u32::from(index) < active {
                // Also for packets that have waited in the stack's queue since a halt.
                dev.wake_queue(index);
            }
        }
        self.started.store(true, Relaxed);
        self.follow_link(dev);
    }

    /// Stops traffic, unless it is stopped already: the interface may go down during a reset. RTNL
    /// held.
    pub(crate) fn halt(&self, dev: &Device<Self>) {
        if self.pause(dev) {
            dev.set_carrier(false);
        }
    }

    /// Stops traffic but keeps the carrier on. True if traffic ran. RTNL held.
    fn pause(&self, dev: &Device<Self>) -> bool {
        if !self.started.xchg(false, Relaxed) {
            return false;
        }
        // In this order: a poll may start the stack's queues again.
        dev.disable_polling();
        dev.disable_tx();
        true
    }

    /// Leaves decryption to software while another device takes the interface's frames, and gives it back
    /// to the NIC afterwards. Sleeps, takes RTNL.
    pub(crate) fn follow_uppers(&self, dev: &Device<Self>) {
        if !self.uppers_changed.xchg(false, Relaxed) {
            return;
        }
        let guard = rtnl::lock();
        let diverted = dev.is_diverted(&guard);
        self.diverted.store(diverted, Relaxed);
        self.ipsec.set_diverted(diverted);
        drop(guard);
        let moved = self.ipsec.follow(&self.control);
        let log = (*self.vdev).as_ref();
        match (moved, diverted) {
            (0, _) => {}
            (_, true) => dev_info!(
                log,
                "{moved} inbound SAs are left to software while frames are taken away\n"
            ),
            (_, false) => dev_info!(log, "{moved} inbound SAs are with the NIC again\n"),
        }
    }

    /// Stops everything that uses the queues before a reset, and drops them.
    pub(crate) fn reset_prepare(&self, dev: &Device<Self>) {
        if self.ipsec.has_packet_sas() && self.still_answers() {
            let guard = rtnl::lock();
            self.halt(dev);
            drop(guard);
            self.ipsec.remember_numbers(&self.control, self.drain(dev));
        }
        // Waiters for an answer may hold locks that are taken below.
        self.control.give_up();
        let guard = rtnl::lock();
        self.halt(dev);
        drop(guard);
        self.drop_queues(dev);
    }

    /// Drops all queues, with which the NIC is reset. Traffic is stopped.
    fn drop_queues(&self, dev: &Device<Self>) {
        self.control.give_up();
        self.ndis.set_resetting(true);
        self.ipsec.reset_prepare();
        self.channels
            .iter()
            .for_each(|channel| channel.take_queues(dev));
        self.control.take_queue();
        self.events.take_queue();
    }

    /// Waits a moment until the NIC has sent what it was given, while traffic is stopped; true if it has.
    /// Sleeps.
    fn drain(&self, dev: &Device<Self>) -> bool {
        for _ in 0..DRAIN_TRIES {
            let mut channels = self.channels.iter();
            if channels.all(|channel| channel.tx.lock().is_drained(dev)) {
                return true;
            }
            fsleep(Delta::from_millis(DRAIN_MS));
        }
        false
    }

    /// Whether the NIC still works before a reset.
    fn still_answers(&self) -> bool {
        !self.vdev.needs_reset() && !self.recovery.is_requested() && !self.control.is_silent()
    }

    /// Sets the NIC up again after a reset: new queues, everything that it has lost, then traffic.
    pub(crate) fn reset_done(&self, dev: &Device<Self>, restart: &mut Restart<'_, Self>) -> Result {
        let queues = match self.vdev.has_feature(feature::X_IPSEC) {
            true => restart.find_vqs_with_events()?,
            false => restart.find_vqs(self.vdev.has_feature(feature::CTRL_VQ))?,
        };
        let new = queues.receive.into_iter().zip(queues.transmit);
        for (channel, (rx, tx)) in self.channels.iter().zip(new) {
            channel.set_queues(rx, tx);
        }
        self.control.set_queue(queues.control);
        self.events.set_queue(queues.events);
        restart.ready();
        self.events.fill()?;
        let not_taken = self.ipsec.reset_done(&self.control)?;
        self.tell(&not_taken);
        self.ndis.set_resetting(false);
        self.recovery.reset_done();
        if receives_large(&self.vdev) && dev.features() & netif::GRO_HW == 0 {
            self.offer_large(false)?;
        }
        self.restore_rx_mode(dev)?;
        self.restore_coalescing()?;
        let rtnl = rtnl::lock();
        self.offer_mac_address(dev)?;
        let active = self.active.load(Relaxed);
        self.set_active(dev, active, &rtnl)?;
        if dev.is_running() {
            // It may have gone up during the reset.
            self.open_channels(dev, active, &rtnl)?;
            self.start(dev);
        }
        Ok(())
    }

    fn tell(&self, NotTaken { left, expired }: &NotTaken) {
        let log = (*self.vdev).as_ref();
        if *left > 0 {
            dev_warn!(
                log,
                "{left} SAs are left to software, the NIC did not take them back\n"
            );
        }
        if *expired > 0 {
            dev_warn!(
                log,
                "{expired} SAs of packet offload have expired, they could not go on after the reset\n"
            );
        }
    }

    /// Runs `action` while traffic is stopped. RTNL held.
    pub(crate) fn paused<R>(&self, dev: &Device<Self>, action: impl FnOnce() -> R) -> R {
        let running = dev.is_running();
        if running {
            self.pause(dev);
        }
        let result = action();
        if running {
            self.start(dev);
        }
        result
    }
}
