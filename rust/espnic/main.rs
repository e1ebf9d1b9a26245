// SPDX-License-Identifier: GPL-2.0

//! espnic: a virtio network driver with IPsec ESP offload.
//!
//! It takes the devices of one PCI subsystem vendor that offer `VIRTIO_NET_F_IPSEC`. The files are
//! named after what they do: `nic` ties everything to the netdev, `rx` and `tx` move packets,
//! `control` talks to the NIC, `coalesce` says how long it holds interrupts back, `events` listens to it,
//! `ipsec` holds the SA life cycle and the ESP parts of the data path, `xdp` has what concerns programs for
//! received frames, `ndis` is the interface of NDIS's IPsec offload to it.

#![deny(unsafe_code)]

mod channel;
mod coalesce;
mod config;
mod control;
mod counters;
mod datapath;
mod events;
mod ipsec;
mod link;
#[cfg(espnic_ndis)]
mod ndis;
#[cfg(not(espnic_ndis))]
#[path = "ndis/absent.rs"]
mod ndis;
mod netdev;
mod nic;
mod recovery;
mod rss;
mod rx;
mod rx_mode;
mod stats;
mod tx;
mod xdp;

use espnic_wire::{
    feature,
    pci, //
};
use kernel::{
    driver,
    prelude::*,
    sync::atomic::Relaxed,
    InPlaceModule,
    ModuleMetadata, //
};
use kernel_net::{
    net::{
        netdevice::Unregistered,
        notifier, //
    },
    rtnl,
    virtio::{
        self,
        Device,
        DeviceId,
        Validation, //
    }, //
};
use nic::Nic;

/// The driver.
struct Driver;

kernel_net::virtio_device_table!(
    DEVICE_TABLE,
    [DeviceId::net(pci::SUBSYSTEM_VENDOR_ID as u32)]
);

impl virtio::net::Driver for Driver {
    type Net = Nic;

    const ID_TABLE: virtio::IdTable = &DEVICE_TABLE;

    const FEATURES: &'static [u32] = &[
        feature::CSUM,
        feature::GUEST_CSUM,
        feature::CTRL_GUEST_OFFLOADS,
        feature::MTU,
        feature::MAC,
        feature::GUEST_TSO4,
        feature::GUEST_TSO6,
        feature::HOST_TSO4,
        feature::HOST_TSO6,
        feature::MRG_RXBUF,
        feature::STATUS,
        feature::CTRL_VQ,
        feature::CTRL_RX,
        feature::CTRL_VLAN,
        feature::MQ,
        feature::CTRL_MAC_ADDR,
        feature::NOTF_COAL,
        feature::VQ_NOTF_COAL,
        feature::SPEED_DUPLEX,
        feature::HASH_REPORT,
        feature::RSS,
        feature::OUT_NET_HEADER,
        feature::IPSEC,
        feature::X_IPSEC,
    ];

    fn validate(dev: &Validation<'_>) -> Result {
        // Another driver, such as virtio_net, may take it.
        if !dev.has_feature(feature::IPSEC) || !dev.has_feature(feature::VERSION_1) {
            return Err(ENODEV);
        }
        let missing = |required: &[u32]| required.iter().any(|&bit| !dev.has_feature(bit));
        if missing(feature::IPSEC_REQUIRES) || missing(&[feature::MRG_RXBUF]) {
            pr_err!("the NIC offers IPsec without checksum offload or mergeable buffers\n");
            return Err(ENODEV);
        }
        // Administration commands travel in the control queue. The virtio core would use the admin
        // queue for groups that the NIC does not have, and log the errors.
        dev.clear_feature(feature::ADMIN_VQ);
        if missing(&[feature::CTRL_VQ]) {
            for bit in [
                feature::CTRL_GUEST_OFFLOADS,
                feature::CTRL_RX,
                feature::CTRL_VLAN,
                feature::CTRL_MAC_ADDR,
                feature::NOTF_COAL,
                feature::VQ_NOTF_COAL,
                feature::HASH_REPORT,
                feature::RSS,
            ] {
                dev.clear_feature(bit);
            }
        }
        if missing(&[feature::MQ]) {
            dev.clear_feature(feature::RSS);
        }
        if dev.has_feature(feature::X_IPSEC) && missing(feature::X_IPSEC_REQUIRES) {
            dev.clear_feature(feature::X_IPSEC);
        }
        Ok(())
    }

    fn queue_pairs(dev: &Device) -> u16 {
        config::queue_pairs(dev)
    }

    fn probe(net: &mut Unregistered<Nic>) -> Result {
        let dev = net.parent().clone();
        let queues = match dev.has_feature(feature::X_IPSEC) {
            true => net.find_vqs_with_events()?,
            false => net.find_vqs(dev.has_feature(feature::CTRL_VQ))?,
        };
        let nic = Nic::new(net, queues)?;
        net.init(nic)?;
        net.ready();
        let device = net.device()?;
        let nic = device.data();
        let active = nic.active.load(Relaxed);
        nic.offer_active(active, false)?;
        nic.use_active(device, active, &rtnl::lock())?;
        let (offload, hashes) = (nic.set_up_ipsec(), nic.rss.can_report());
        config::configure(&dev, net, offload, hashes);
        let device = net.device()?;
        let nic = device.data();
        nic.offer_mac_address(device)?;
        nic.follow_link(device);
        nic.ndis.set_up(&nic.ipsec, device.features())
    }
}

#[pin_data]
struct Module {
    #[pin]
    _driver: driver::Registration<virtio::net::Adapter<Driver>>,
    // Dropped after the driver, so that it is there as long as any device.
    #[pin]
    _notifier: notifier::Registration<Nic>,
    _ndis: Option<Pin<KBox<ndis::Registrations>>>,
}

impl InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _notifier <- notifier::Registration::new(),
            _driver <- driver::Registration::new(<Self as ModuleMetadata>::NAME, module),
            // The last one: see `kernel_net::misc`.
            _ndis: ndis::Registrations::new()?,
        })
    }
}

module! {
    type: Module,
    name: "espnic",
    authors: ["The espnic authors"],
    description: "virtio network driver with IPsec ESP offload",
    license: "GPL",
    params: {
        ndis: u8 {
            default: 0,
            description: "1: make /dev/espnic-ndis, NDIS IPsec offload requests to the NIC",
        },
    },
}
