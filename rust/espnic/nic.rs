// SPDX-License-Identifier: GPL-2.0

//! The NIC as the network stack sees it.

use crate::{
    control::Control,
    ipsec::Ipsec,
    rx::Rx,
    stats,
    tx::Tx, //
};
use espnic_wire::{
    config::{
        NetConfig,
        STATUS_LINK_UP, //
    },
    feature,
    hdr::HdrLen, //
};
use kernel::prelude::*;
use kernel_net::{
    net::{
        device::{
            self,
            feature as netif,
            Device,
            Stats64,
            Unregistered, //
        },
        ethtool,
        napi::Poll,
        netlink::ExtAck,
        skbuff::SkBuff,
        xfrm, //
    },
    new_lock,
    sync::SpinLockBh,
    virtio::{
        self,
        queue::Queues,
        DeviceRef, //
    }, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

/// The smallest and the usual MTU of Ethernet, and the largest that IPv4 allows.
const MTU_MIN: u32 = 68;
const MTU_DEFAULT: u32 = 1500;
const MTU_MAX: u32 = 65535;

/// The driver's data of one netdev.
#[pin_data]
pub(crate) struct Nic {
    /// Length of the virtio header in front of every frame, fixed by the features.
    pub(crate) header: HdrLen,
    #[pin]
    pub(crate) rx: SpinLockBh<Rx>,
    #[pin]
    pub(crate) tx: SpinLockBh<Tx>,
    #[pin]
    pub(crate) ipsec: Ipsec,
    /// Absent if the device has no control queue.
    #[pin]
    pub(crate) control: Control,
    has_status: bool,
    vdev: DeviceRef,
}

impl Nic {
    /// Takes the queues of `dev` apart.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a queue is missing.
    pub(crate) fn new(
        dev: &virtio::Device,
        mut queues: Queues,
    ) -> Result<impl PinInit<Self, Error>> {
        let rx = Rx::new(queues.receive.pop().ok_or(EINVAL)?);
        let tx = Tx::new(queues.transmit.pop().ok_or(EINVAL)?);
        let control = queues.control.take();
        let has_status = dev.has_feature(feature::STATUS);
        let header = header_length(dev);
        let vdev = DeviceRef::from(dev);
        Ok(try_pin_init!(Self {
            header,
            rx <- new_lock!(rx),
            tx <- new_lock!(tx),
            ipsec <- Ipsec::new(),
            control <- Control::new(control),
            has_status,
            vdev,
        }))
    }

    /// Agrees with the NIC on IPsec; false if it has no crypto offload for us.
    pub(crate) fn set_up_ipsec(&self, dev: &virtio::Device) -> bool {
        if !dev.has_feature(feature::X_IPSEC) {
            return false;
        }
        match self.ipsec.set_up(&self.control) {
            Ok(()) => true,
            Err(error) => {
                dev_err!(
                    dev.as_ref(),
                    "no IPsec offload, set-up failed: {:?}\n",
                    error
                );
                false
            }
        }
    }

    fn link_up(&self) -> bool {
        !self.has_status || read_config(&self.vdev).status.get() & STATUS_LINK_UP != 0
    }
}

fn header_length(dev: &virtio::Device) -> HdrLen {
    let known = [feature::OUT_NET_HEADER, feature::IPSEC, feature::X_IPSEC];
    HdrLen::of(
        known
            .into_iter()
            .filter(|&bit| dev.has_feature(bit))
            .fold(0, |set, bit| set | feature::mask(bit)),
    )
}

/// Reads the fields that belong to negotiated features; the others are zero.
fn read_config(dev: &virtio::Device) -> NetConfig {
    let mut config = NetConfig::new_zeroed();
    let fields = [
        (feature::MAC, 0, 6),
        (feature::STATUS, 6, 2),
        (feature::MTU, 10, 2),
    ];
    let bytes = config.as_mut_bytes();
    for (bit, offset, len) in fields {
        let field = bytes.iter_mut().skip(usize::from(offset)).take(len);
        if dev.has_feature(bit) {
            let mut value = [0; 6];
            let (value, _) = value.split_at_mut_checked(len).unwrap_or_default();
            dev.read_config(offset, value);
            field.zip(value.iter()).for_each(|(to, from)| *to = *from);
        }
    }
    config
}

/// Sets the netdev up as the features of the NIC say; `offload`: with ESP crypto offload.
pub(crate) fn configure(dev: &virtio::Device, net: &mut Unregistered<Nic>, offload: bool) {
    let config = read_config(dev);
    net.set_mac_address(dev.has_feature(feature::MAC).then_some(config.mac));
    let max = match u32::from(config.mtu.get()) {
        0 => MTU_MAX,
        mtu => mtu,
    };
    net.set_mtu(MTU_MIN, max, MTU_DEFAULT.min(max));
    let switchable = netif::SG | netif::HW_CSUM | netif::RXCSUM;
    let esp = if offload { netif::HW_ESP } else { 0 };
    net.set_features(
        switchable | netif::HIGHDMA | esp,
        switchable | esp,
        // What is missing here is missing for every packet inside ESP (contract R1.1).
        netif::SG | netif::HW_CSUM | netif::HIGHDMA | esp,
    );
    // Without room for padding, pad length, next header and ICV every packet is copied.
    net.set_needed_tailroom(if offload { 3 + 2 + 16 } else { 0 });
}

impl device::Operations for Nic {
    fn open(dev: &Device<Self>) -> Result {
        let nic = dev.data();
        let napi = dev.napi(0).ok_or(EINVAL)?;
        nic.rx.lock().fill()?;
        napi.enable();
        // Events that came while the context was off are lost: look once.
        napi.schedule_process();
        dev.set_carrier(nic.link_up());
        dev.start_queue(0);
        Ok(())
    }

    fn stop(dev: &Device<Self>) {
        dev.set_carrier(false);
        dev.disable_tx();
        if let Some(napi) = dev.napi(0) {
            napi.disable();
        }
    }

    fn start_xmit(dev: &Device<Self>, _queue: u16, skb: SkBuff) {
        crate::tx::transmit(dev, skb);
    }

    fn poll(dev: &Device<Self>, poll: &Poll<'_, Self>) -> u32 {
        let nic = dev.data();
        nic.tx.lock().clean(dev, poll.budget());
        let done = nic.rx.lock().receive(nic, poll);
        if done < poll.budget() && poll.complete(done) {
            let rx = nic.rx.lock().enable_events();
            let tx = nic.tx.lock().enable_events();
            if rx || tx {
                poll.napi().schedule();
            }
        }
        done
    }

    fn queue_event(dev: &Device<Self>, queue: u16) {
        // Receive queue 0, transmit queue 1, control queue 2.
        if queue == 2 {
            dev.data().control.drain();
        } else if let Some(napi) = dev.napi(0) {
            napi.schedule();
        }
    }

    fn config_changed(dev: &Device<Self>) {
        let nic = dev.data();
        if nic.vdev.needs_reset() {
            let vdev: &virtio::Device = &nic.vdev;
            dev_err!(
                vdev.as_ref(),
                "the NIC needs a reset; unbind and bind the driver\n"
            );
            dev.set_carrier(false);
        } else if dev.is_running() {
            dev.set_carrier(nic.link_up());
        }
    }

    fn stats64(dev: &Device<Self>, stats: &mut Stats64) {
        stats::interface(dev.data(), stats);
    }
}

impl ethtool::Operations for Nic {
    const DRIVER: &'static CStr = c"espnic";

    const STATISTICS: &'static [&'static CStr] = stats::NAMES;

    fn statistics(dev: &Device<Self>, out: &mut ethtool::Statistics<'_>) {
        stats::all(dev.data(), out);
    }
}

impl xfrm::Operations for Nic {
    type Sa = crate::ipsec::Sa;

    fn states(&self) -> &xfrm::StateTable<Self::Sa> {
        &self.ipsec.states
    }

    fn state_add(
        dev: &Device<Self>,
        x: &xfrm::State,
        handle: xfrm::Handle,
        extack: &mut ExtAck,
    ) -> Result {
        let nic = dev.data();
        nic.ipsec.add(&nic.control, x, handle, extack)
    }

    fn state_delete(dev: &Device<Self>, handle: xfrm::Handle) {
        let nic = dev.data();
        nic.ipsec.delete(&nic.control, handle);
    }

    fn state_free(dev: &Device<Self>, handle: xfrm::Handle) {
        let nic = dev.data();
        nic.ipsec.free(&nic.control, handle);
    }
}
