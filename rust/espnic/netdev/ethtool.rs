// SPDX-License-Identifier: GPL-2.0

//! The callbacks of ethtool.

use crate::{
    nic::Nic,
    stats, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};
use kernel_net::{
    net::{
        ethtool::{
            self,
            Coalesce,
            HashFields,
            HashFlow,
            Link,
            RssRequest,
            RssSizes,
            Setting, //
        },
        netdevice::Device,
        netlink::ExtAck, //
    },
    rtnl,
    virtio::{
        net::TxQueue,
        virtqueue::{
            Payload,
            Virtqueue, //
        }, //
    }, //
};

impl ethtool::Operations for Nic {
    const DRIVER: &'static CStr = c"espnic";

    const STATISTICS: &'static [&'static CStr] = stats::NAMES;

    fn statistics(dev: &Device<Self>, out: &mut ethtool::Statistics<'_>) {
        stats::all(dev.data(), out);
    }

    fn channels(dev: &Device<Self>) -> Setting {
        let nic = dev.data();
        Setting {
            current: nic.active.load(Relaxed),
            max: u32::try_from(nic.channels.len()).unwrap_or(u32::MAX),
        }
    }

    fn set_channels(dev: &Device<Self>, count: u32, rtnl: &rtnl::Held) -> Result {
        let nic = dev.data();
        nic.paused(dev, || nic.change_channels(dev, count, rtnl))
    }

    fn rings(dev: &Device<Self>) -> (Setting, Setting) {
        let Some(channel) = dev.data().channel(0) else {
            return Default::default();
        };
        let rx = channel.rx.lock().queue.as_deref().map(limits);
        let tx = channel.tx.lock().queue.as_deref().map(limits);
        (rx.unwrap_or_default(), tx.unwrap_or_default())
    }

    fn set_rings(dev: &Device<Self>, rx: u32, tx: u32, extack: &mut ExtAck) -> Result {
        if !rx.is_power_of_two() || !tx.is_power_of_two() {
            extack.set(c"espnic: ring sizes must be powers of two");
            return Err(EINVAL);
        }
        if tx < TxQueue::PACKET_MAX {
            extack.set(c"espnic: that transmit ring is too short for a packet");
            return Err(EINVAL);
        }
        let nic = dev.data();
        nic.paused(dev, || {
            let mut channels = nic.channels.iter();
            let resized = channels.try_for_each(|channel| channel.resize(dev, rx, tx));
            // The queues were reset.
            resized.and(nic.restore_coalescing())
        })
    }

    fn coalesce(dev: &Device<Self>) -> Result<Coalesce> {
        dev.data().coalesce()
    }

    fn set_coalesce(dev: &Device<Self>, wanted: Coalesce, extack: &mut ExtAck) -> Result {
        dev.data().set_coalesce(wanted, extack)
    }

    fn queue_coalesce(dev: &Device<Self>, queue: u32) -> Result<Coalesce> {
        dev.data().queue_coalesce(queue)
    }

    fn set_queue_coalesce(dev: &Device<Self>, queue: u32, wanted: Coalesce) -> Result {
        dev.data().set_queue_coalesce(queue, wanted)
    }

    fn link(dev: &Device<Self>) -> Link {
        dev.data().link.lock().shown()
    }

    fn set_link(dev: &Device<Self>, link: Link) {
        dev.data().link.lock().set(link);
    }

    fn rss_sizes(dev: &Device<Self>) -> RssSizes {
        dev.data().rss.sizes()
    }

    fn rss(dev: &Device<Self>, table: &mut [u32], key: &mut [u8]) {
        let nic = dev.data();
        nic.rss.show(nic.active.load(Relaxed), table, key);
    }

    fn set_rss(dev: &Device<Self>, request: RssRequest<'_>) -> Result {
        let nic = dev.data();
        nic.rss.set(&nic.control, nic.active.load(Relaxed), request)
    }

    fn hash_fields(dev: &Device<Self>, flow: HashFlow) -> Result<HashFields> {
        dev.data().rss.hash_fields(flow)
    }

    fn set_hash_fields(
        dev: &Device<Self>,
        flow: HashFlow,
        fields: HashFields,
        extack: &mut ExtAck,
    ) -> Result {
        let (nic, change) = (dev.data(), (flow, fields));
        let queues = nic.active.load(Relaxed);
        nic.rss
            .set_hash_fields(&nic.control, queues, change, extack)
    }
}

/// The size of a queue's ring, now and at most.
fn limits<P: Payload>(queue: &Virtqueue<P>) -> Setting {
    Setting {
        current: queue.vring_size(),
        max: queue.num_max(),
    }
}
