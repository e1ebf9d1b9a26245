// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One NIC: the state that its PCI function, its workers and the control socket share.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, RwLockReadGuard};
use std::time::Instant;

use espnic_wire::feature;

use crate::admin::{Admin, Table};
use crate::fault::request::Request;
use crate::filter::{Filter, Terms};
use crate::ipsec::Ipsec;
use crate::irq::Msix;
use crate::limit::Limit;
use crate::mac;
use crate::misbehave::{Deed, Misbehaviour};
use crate::net::late::Late;
use crate::net::live::Live;
use crate::net::{Device, NetConfig, NetState};
use crate::ports::{Attachment, RxBacklog, Wakeups};
use crate::priority_lock::PriorityLock;
use crate::stats::{VirtioStats, WorkerStats};
use crate::virtio::error::RingError;
use crate::virtio::{status, Virtio};

/// ISR status: a queue has used buffers.
const ISR_QUEUE: u8 = 1;
/// ISR status: the configuration or the status changed.
const ISR_CONFIG: u8 = 2;

/// The NIC.
pub struct Nic {
    /// Name for logs and the control socket.
    pub name: String,
    /// Its configuration.
    pub config: NetConfig,
    /// The part of it that can change.
    pub live: Live,
    /// Counters of the guest side.
    pub stats: VirtioStats,
    /// The wire side.
    pub port: Attachment,
    /// Frames from the wire.
    pub backlog: Arc<RxBacklog>,
    /// Administration commands.
    pub admin: Admin,
    /// The flow filter.
    pub filter: Filter,
    /// Inline IPsec.
    pub ipsec: Ipsec,
    /// Rules that are broken on purpose.
    pub misbehaviour: Arc<Misbehaviour>,
    /// Interrupts.
    pub msix: Msix,
    /// MSI-X is on; else events of queues go to the ISR status.
    pub msix_enabled: AtomicBool,
    isr: AtomicU8,
    wakeups: Arc<Wakeups>,
    device: PriorityLock<Device>,
    /// The rate limit for warnings about rules that the guest breaks.
    warnings: Limit,
}

impl Nic {
    /// A NIC in its reset state.
    pub fn new(
        name: &str,
        config: NetConfig,
        ipsec: Ipsec,
        port: Attachment,
        backlog: Arc<RxBacklog>,
        wakeups: Arc<Wakeups>,
    ) -> Self {
        let kind = config.device_type();
        let net = NetState::new(config.pairs, backlog.active_pairs().clone());
        let terms = Terms {
            ipsec: config.offers_ipsec(),
            x_ipsec: config.offers_ipsec(),
            pairs: config.pairs,
        };
        Self {
            name: name.to_owned(),
            live: Live::new(&config),
            config,
            stats: VirtioStats::default(),
            port,
            backlog,
            misbehaviour: ipsec.misbehaviour.clone(),
            admin: Admin::default(),
            filter: Filter::new(terms, ipsec.misbehaviour.clone()),
            ipsec,
            msix: Msix::new(kind.vectors),
            msix_enabled: AtomicBool::new(false),
            isr: AtomicU8::new(0),
            wakeups,
            device: PriorityLock::new(Device {
                virtio: Virtio::new(kind),
                net,
            }),
            warnings: Limit::default(),
        }
    }

    /// Calls `action` from the control side, while the data plane does not have the device.
    pub fn with_device<R>(&self, action: impl FnOnce(&mut Device) -> R) -> R {
        action(&mut self.device.control())
    }

    /// The device for one step of the data plane, which other workers may have, too.
    pub(crate) fn data_plane(&self) -> RwLockReadGuard<'_, Device> {
        self.device.data()
    }

    /// The wakeups of the workers.
    pub(crate) fn wakeups(&self) -> &Wakeups {
        &self.wakeups
    }

    /// Counters of the workers.
    pub fn worker_stats(&self) -> &WorkerStats {
        &self.wakeups.stats
    }

    /// Queue pairs that the driver uses. Does not wait for the data plane.
    pub fn active_pairs(&self) -> u16 {
        self.backlog.active_pairs().load(Ordering::Relaxed)
    }

    /// Wakes the whole data plane, because there may be work.
    pub fn kick(&self) {
        self.wakeups.wake_all();
    }

    /// Wakes the worker of a queue pair.
    pub(crate) fn wake(&self, pair: u16) {
        self.wakeups.wake(pair);
    }

    /// The driver has made buffers of a queue available.
    pub fn notify(&self, queue: u16) {
        self.stats.kicks.inc();
        // Other queues, and those of pairs that are not in use, are the first worker's.
        let pair = queue / 2;
        self.wake(if pair < self.active_pairs() { pair } else { 0 });
    }

    /// Starts the device, because the driver is ready.
    pub fn start(&self, device: &mut Device) {
        let x_ipsec = device.virtio.has(feature::X_IPSEC);
        self.ipsec.set_x_ipsec(x_ipsec);
        self.filter.start(Terms {
            ipsec: device.virtio.has(feature::IPSEC),
            x_ipsec,
            pairs: device.pairs(&self.config),
        });
        self.kick();
    }

    /// Resets the virtio device. Frames that wait for the driver are lost.
    pub fn reset(&self, device: &mut Device) {
        self.overrun(device);
        device.virtio.reset();
        self.discard(device);
        device.net.unanswered.clear();
        self.port.reset();
        device.net.reset();
        self.live.set_mac(self.config.mac);
        self.admin.reset(&self.administered());
        self.isr.store(0, Ordering::SeqCst);
        self.stats.resets.inc();
    }

    /// Executes an administration command; see [`Admin::execute`].
    pub fn administer(&self, readable: &[u8], writable: &mut [u8]) -> usize {
        self.admin.execute(&self.administered(), readable, writable)
    }

    /// What administration commands are for.
    fn administered(&self) -> Table<'_> {
        Table {
            owners: vec![&self.filter, &self.ipsec],
            kinds: vec![&self.filter, &self.ipsec],
        }
    }

    /// Drops all waiting frames, because the driver is not ready or resets the device.
    pub(crate) fn discard(&self, device: &mut Device) {
        let count = device.net.discard(&self.backlog);
        self.stats.rx_drop_not_ready.add(count as u64);
        self.port.faults.discard();
    }

    /// Applies the misbehaviour of a device that does not stop when it is reset: used indices move once more,
    /// and interrupts go on.
    fn overrun(&self, device: &mut Device) {
        if !device.virtio.driven() || !self.misbehaviour.expects(Deed::Interrupts) {
            return;
        }
        let mem = device.virtio.memory();
        for mut queue in device.virtio.running_queues() {
            if let Err(error) = queue.overrun(mem) {
                log::debug!("{}: a used index stays as it is: {error}", self.name);
            }
        }
        device.net.late = Some(Late::new(device.virtio.vectors()));
        self.interrupt_late(device);
        self.kick();
    }

    /// Sends the interrupts of that misbehaviour that are due.
    pub(crate) fn interrupt_late(&self, device: &mut Device) {
        let late = device.net.late.as_mut();
        if late.is_some_and(|late| !late.run(&self.misbehaviour, &self.msix)) {
            device.net.late = None;
        }
    }

    /// Counts a breach of the queues' rules by the driver, and asks for a reset.
    pub fn driver_error(&self, device: &mut Device, error: RingError) {
        self.stats.ring_error(error).inc();
        log::log!(
            self.warnings.level(),
            "{}: driver error, the device needs a reset: {error}",
            self.name
        );
        self.needs_reset(device);
    }

    /// Stops the device until a reset, unless it has stopped already, and tells the driver.
    fn needs_reset(&self, device: &mut Device) {
        if device.virtio.status() & status::DEVICE_NEEDS_RESET == 0 {
            self.stats.needs_reset.inc();
        }
        if device.virtio.needs_reset() {
            self.interrupt_config(&device.virtio);
        }
    }

    /// Fails on purpose: the device stops, and only a reset by the driver brings it back.
    pub fn fail(&self) {
        log::info!("{}: stops on purpose until it is reset", self.name);
        self.with_device(|device| self.needs_reset(device));
    }

    /// Plugs the cable in or pulls it out.
    pub fn plug(&self, up: bool) {
        log::info!("{}: link {}", self.name, if up { "up" } else { "down" });
        self.with_device(|device| {
            if self.port.plug(up) {
                self.link_changed(device);
            }
        });
    }

    /// Changes the speed that the driver is told, in Mbit/s; false if the link is up, because a driver may
    /// rely on it then (5.1.4).
    pub fn set_speed(&self, speed: u32) -> bool {
        self.with_device(|device| {
            let may = !self.port.link_up();
            if may && self.live.set_speed(speed) {
                log::info!("{}: {speed} Mbit/s", self.name);
                self.link_changed(device);
            }
            may
        })
    }

    /// Gives the NIC this MAC address until it is reset; false, and nothing changes, if it cannot have it.
    pub(crate) fn set_mac(&self, mac: [u8; 6]) -> bool {
        let may = mac::is_station(&mac) && self.port.claim(&mac);
        if may && self.live.set_mac(mac) {
            log::info!("{}: MAC address {mac:02x?}", self.name);
        }
        may
    }

    /// Tells the driver that the link has changed.
    pub fn link_changed(&self, device: &mut Device) {
        device.virtio.config_changed();
        self.interrupt_config(&device.virtio);
    }

    /// Sets or ends faults.
    pub fn set_fault(&self, request: &Request) {
        match request {
            Request::Frames(fault) => self.port.faults.set(fault),
            Request::CorruptPadding(count) => self.ipsec.faults.corrupt_padding(*count),
            Request::Unsupported(count) => self.ipsec.faults.leave_unsupported(*count),
            Request::SaLimit(limit) => self.ipsec.faults.limit_sas(*limit),
            Request::RefuseAlgorithm(algorithm) => self.ipsec.faults.refuse(*algorithm),
            Request::SaDeleteRequest(count) => self.ipsec.faults.request_deletion(*count),
            Request::Misbehave(order) => self.misbehaviour.set(order),
            Request::Clear => {
                self.port.faults.clear();
                self.ipsec.faults.clear();
                self.misbehaviour.clear();
            }
        }
        self.kick();
    }

    /// Tells the driver about used buffers.
    pub fn interrupt_queue(&self, vector: u16) {
        if self.msix_enabled.load(Ordering::SeqCst) {
            self.msix.signal(vector);
        } else {
            self.isr.fetch_or(ISR_QUEUE, Ordering::SeqCst);
        }
    }

    /// Tells the driver about a change of configuration or status. The ISR status says so in any case
    /// (4.1.5.3.1); the message of MSI-X is a write to memory, which needs bus mastering.
    pub fn interrupt_config(&self, virtio: &Virtio) {
        self.isr.fetch_or(ISR_CONFIG, Ordering::SeqCst);
        if self.msix_enabled.load(Ordering::SeqCst) && virtio.bus_master() {
            self.msix.signal(virtio.config_vector());
        }
    }

    /// Reads and clears the ISR status (4.1.4.5).
    pub fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::SeqCst)
    }

    /// The next time at which there is work for a worker without a wakeup.
    pub(crate) fn next_due(&self, worker: u16) -> Option<Instant> {
        let (put_off, memory, held) = {
            let device = self.device.data();
            let held = device.interrupt_due(worker);
            (device.next_due(), device.virtio.waits_until(), held)
        };
        let put_off = put_off.filter(|_| worker == 0);
        let faults = self.port.faults.next_due();
        // Held frames may need the missing memory, too.
        let faults = faults.filter(|_| memory.is_none());
        [put_off, memory, faults, held].into_iter().flatten().min()
    }

    /// Recovers from a failure of a worker, with which the work of that moment is lost, for all pairs.
    pub(crate) fn recover(&self) {
        self.stats.worker_restarts.inc();
        log::error!("{}: the worker failed and starts again", self.name);
        self.with_device(|device| {
            self.stats.worker_drops.add(device.net.frames() as u64);
            device.net.renew();
            self.needs_reset(device);
        });
    }
}
