// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling (`RSS`) and hashes of received packets (`HASH_REPORT`).
//!
//! Until the user gives a key, hash fields, or a table that is not equal for all queues, the NIC spreads packets by
//! itself: those of an SA go to one queue then, and SAs to different ones. Hashes are reported while `rxhash` is on.

#[cfg(espnic_kunit)]
mod tests;

use crate::{
    config::read_config,
    control::Control, //
};
use espnic_wire::{
    ctrl,
    feature,
    hdr::{
        self,
        NetHdr48, //
    },
    rss::{
        self,
        HashConfig,
        RssHead,
        RssTail,
        HASH_TYPES,
        KEY_MAX,
        TABLE_MAX, //
    }, //
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
    }, //
};
use kernel_net::{
    net::{
        ethtool::{
            HashFields,
            HashFlow,
            RssRequest,
            RssSizes, //
        },
        netlink::ExtAck,
        operation_not_supported,
        skbuff::RxSkb, //
    },
    random,
    virtio, //
};
use zerocopy::IntoBytes;

/// Receive side scaling of a NIC.
#[pin_data]
pub(crate) struct Rss {
    abilities: Abilities,
    /// Hashes of the NIC go to the stack: [`Chosen::report`].
    report: Atomic<bool>,
    /// Held while the NIC is told.
    #[pin]
    chosen: Mutex<Chosen>,
}

/// What the NIC can do.
#[derive(Clone, Copy)]
struct Abilities {
    /// It has several queue pairs.
    pairs: bool,
    /// It spreads packets by a table.
    table: bool,
    /// It reports hashes.
    report: bool,
    /// It makes these hashes, as far as the driver knows them.
    types: u32,
}

impl Abilities {
    /// Those of `dev`. A NIC whose key or table is smaller than the standard allows (VIRTIO 1.4 section 5.1.4) has
    /// none.
    fn of(dev: &virtio::Device) -> Self {
        let config = read_config(dev, &[feature::RSS, feature::HASH_REPORT]);
        let has_key = usize::from(config.rss_max_key_size) >= KEY_MAX;
        let has_table = usize::from(config.rss_max_indirection_table_length.get()) >= TABLE_MAX;
        Self {
            pairs: dev.has_feature(feature::MQ),
            table: dev.has_feature(feature::RSS) && has_key && has_table,
            report: dev.has_feature(feature::HASH_REPORT) && has_key,
            types: config.supported_hash_types.get() & HASH_TYPES,
        }
    }
}

/// What the user has chosen.
#[derive(Clone)]
struct Chosen {
    key: [u8; KEY_MAX],
    /// The enabled hash types.
    types: u32,
    /// The hash chooses the queue; else the NIC spreads packets by itself.
    by_hash: bool,
    /// Queues by the hash; `None` for the table that is equal for all queues in use.
    table: Option<[u16; TABLE_MAX]>,
    /// The NIC reports hashes.
    report: bool,
}

impl Chosen {
    /// The queue of an entry while so many are in use.
    fn queue(&self, entry: usize, queues: u32) -> u32 {
        let own = self.table.as_ref().and_then(|table| table.get(entry));
        own.map_or(usual(entry, queues), |&queue| queue.into())
    }

    /// Makes the table one that does not follow the number of queues, which is `queues` so far.
    fn keep_table(&mut self, queues: u32) {
        if self.table.is_none() {
            let mut table = [0; TABLE_MAX];
            for (entry, queue) in table.iter_mut().enumerate() {
                // CAST: The NIC has fewer queues.
                *queue = usual(entry, queues) as u16;
            }
            self.table = Some(table);
            self.by_hash = true;
        }
    }

    /// Takes what `request` has, while so many queues are in use.
    fn take(&mut self, request: RssRequest<'_>, queues: u32) -> Result {
        if let Some(table) = request.table {
            let mut entries = table.iter().enumerate();
            let is_usual = entries.all(|(entry, &queue)| queue == usual(entry, queues));
            self.table = match is_usual {
                true => None,
                false => Some(narrow(table)?),
            };
            self.by_hash = !is_usual;
        }
        if let Some(key) = request.key {
            self.key = key.try_into().map_err(|_| EINVAL)?;
            self.by_hash = true;
        }
        Ok(())
    }
}

/// The queue of an entry in a table that is equal for `queues` queues, as the stack makes it.
fn usual(entry: usize, queues: u32) -> u32 {
    // CAST: There are few entries.
    (entry as u32).checked_rem(queues).unwrap_or(0)
}

fn narrow(table: &[u32]) -> Result<[u16; TABLE_MAX]> {
    let mut entries = [0; TABLE_MAX];
    for (to, &from) in entries.iter_mut().zip(table) {
        *to = u16::try_from(from).map_err(|_| EINVAL)?;
    }
    Ok(entries)
}

/// The hash types of such packets: of their addresses, and of their ports, too.
fn types_of(flow: HashFlow) -> (u32, Option<u32>) {
    match flow {
        HashFlow::Ipv4 => (rss::HASH_IPV4, None),
        HashFlow::Tcp4 => (rss::HASH_IPV4, Some(rss::HASH_TCPV4)),
        HashFlow::Udp4 => (rss::HASH_IPV4, Some(rss::HASH_UDPV4)),
        HashFlow::Ipv6 => (rss::HASH_IPV6, None),
        HashFlow::Tcp6 => (rss::HASH_IPV6, Some(rss::HASH_TCPV6)),
        HashFlow::Udp6 => (rss::HASH_IPV6, Some(rss::HASH_UDPV6)),
    }
}

/// What these types make the hash of such packets of.
fn fields(types: u32, flow: HashFlow) -> HashFields {
    let (addresses, ports) = types_of(flow);
    match ports {
        Some(ports) if types & ports != 0 => HashFields::Ports,
        _ if types & addresses != 0 => HashFields::Addresses,
        _ => HashFields::Nothing,
    }
}

/// `types` after the hash of such packets was changed; `None` if only that of others could change it.
fn with_fields(types: u32, flow: HashFlow, wanted: HashFields) -> Option<u32> {
    let (addresses, ports) = types_of(flow);
    let changed = match (wanted, ports) {
        (HashFields::Ports, Some(ports)) => types | ports,
        // All packets of that IP version have the hash of addresses, or none, unless there is one of ports.
        (_, Some(ports)) => types & !ports,
        (HashFields::Nothing, None) => types & !addresses,
        (_, None) => types | addresses,
    };
    (fields(changed, flow) == wanted).then_some(changed)
}

impl Rss {
    pub(crate) fn new(dev: &virtio::Device) -> impl PinInit<Self> {
        let abilities = Abilities::of(dev);
        let mut key = [0; KEY_MAX];
        random::rss_key(&mut key);
        pin_init!(Self {
            abilities,
            report: Atomic::new(false),
            chosen <- new_mutex!(Chosen {
                key,
                types: abilities.types,
                by_hash: false,
                table: None,
                report: false,
            }),
        })
    }

    /// Whether the NIC can report hashes.
    pub(crate) fn can_report(&self) -> bool {
        self.abilities.report
    }

    /// The sizes of table and key; zero if the NIC has neither.
    pub(crate) fn sizes(&self) -> RssSizes {
        let size = |there: bool, size: usize| if there { size as u32 } else { 0 };
        let Abilities { table, report, .. } = self.abilities;
        RssSizes {
            table: size(table, TABLE_MAX),
            key: size(table || report, KEY_MAX),
        }
    }

    /// Writes table and key, as far as there is room, while so many queues are in use.
    pub(crate) fn show(&self, queues: u32, table: &mut [u32], key: &mut [u8]) {
        let chosen = self.chosen.lock();
        key.iter_mut()
            .zip(chosen.key)
            .for_each(|(to, from)| *to = from);
        for (entry, to) in table.iter_mut().enumerate() {
            *to = chosen.queue(entry, queues);
        }
    }

    /// What the hash of such a packet is made of.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the NIC makes none.
    pub(crate) fn hash_fields(&self, flow: HashFlow) -> Result<HashFields> {
        match self.sizes().key {
            0 => Err(operation_not_supported()),
            _ => Ok(fields(self.chosen.lock().types, flow)),
        }
    }

    /// Whether the stack is to be told hashes: see [`tell`].
    pub(crate) fn reports(&self) -> bool {
        self.report.load(Relaxed)
    }

    /// Takes a table, a key, or both, while so many queues are in use. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the control command; then all stays as it is.
    pub(crate) fn set(&self, control: &Control, queues: u32, request: RssRequest<'_>) -> Result {
        self.change(control, queues, |chosen| chosen.take(request, queues))
    }

    /// Changes what the hash of such packets is made of, while so many queues are in use. Sleeps.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a hash that the NIC does not make; `EINVAL` for one that such packets cannot have, or only
    /// if others have it, too; those of the control command. Then all stays as it is.
    pub(crate) fn set_hash_fields(
        &self,
        control: &Control,
        queues: u32,
        (flow, wanted): (HashFlow, HashFields),
        extack: &mut ExtAck,
    ) -> Result {
        let Abilities { types, .. } = self.abilities;
        self.change(control, queues, |chosen| {
            let Some(new) = with_fields(chosen.types, flow, wanted) else {
                extack.set(
                    c"TCP and UDP have a hash of ports or that of IP, which is one of addresses",
                );
                return Err(EINVAL);
            };
            if new & !types != 0 {
                extack.set(c"the NIC does not make this hash");
                return Err(operation_not_supported());
            }
            chosen.types = new;
            chosen.by_hash = true;
            Ok(())
        })
    }

    /// Gives hashes of the NIC to the stack, or stops that, while so many queues are in use. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the control command; then all stays as it is.
    pub(crate) fn set_report(&self, control: &Control, queues: u32, on: bool) -> Result {
        self.change(control, queues, |chosen| {
            chosen.report = on;
            Ok(())
        })?;
        self.report.store(on, Relaxed);
        Ok(())
    }

    /// Tells the NIC to use `queues` queue pairs instead of `before`, and how to spread packets over them and to hash
    /// them. A table that the user has chosen stays as it is (`keep`); ethtool refuses to take queues away that it has.
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the control command.
    pub(crate) fn set_queues(
        &self,
        control: &Control,
        before: u32,
        queues: u32,
        keep: bool,
    ) -> Result {
        let mut chosen = self.chosen.lock();
        let mut new = chosen.clone();
        if keep && queues != before && self.abilities.table {
            new.keep_table(before);
        }
        self.send(control, &new, queues)?;
        *chosen = new;
        Ok(())
    }

    fn change(
        &self,
        control: &Control,
        queues: u32,
        change: impl FnOnce(&mut Chosen) -> Result,
    ) -> Result {
        let mut chosen = self.chosen.lock();
        let mut new = chosen.clone();
        change(&mut new)?;
        new.by_hash &= self.abilities.table;
        if let Err(error) = self.send(control, &new, queues) {
            // The NIC may have taken a part of it. If it does not take this either, it waits for the next change.
            let _ = self.send(control, &chosen, queues);
            return Err(error);
        }
        *chosen = new;
        Ok(())
    }

    fn send(&self, control: &Control, chosen: &Chosen, queues: u32) -> Result {
        if chosen.by_hash {
            return control.order(&rss_config(chosen, queues)?);
        }
        if self.abilities.pairs {
            control.set_queue_pairs(u16::try_from(queues).map_err(|_| EINVAL)?)?;
        }
        match self.abilities.report {
            true => control.order(&hash_config(chosen)?),
            false => Ok(()),
        }
    }
}

/// Tells the stack the hash of a packet that has come with `header`.
///
/// That of ESP that was decrypted in place is not of the flow that the stack will find in it.
#[inline]
pub(crate) fn tell(header: &NetHdr48, skb: &mut RxSkb) {
    let ports = match header.out.hash_report.get() {
        rss::REPORT_IPV4 | rss::REPORT_IPV6 => false,
        rss::REPORT_TCPV4 | rss::REPORT_UDPV4 | rss::REPORT_TCPV6 | rss::REPORT_UDPV6 => true,
        _ => return,
    };
    let in_place = header.has(hdr::F_SECURITY) && header.sec.sec_op == hdr::SEC_OP_CRYPTO_ONLY;
    if !in_place {
        skb.set_hash(header.out.hash_value.get(), ports);
    }
}

fn rss_config(chosen: &Chosen, queues: u32) -> Result<KVec<u8>> {
    let head = RssHead {
        hash_types: chosen.types.into(),
        table_mask: (TABLE_MAX as u16 - 1).into(),
        unclassified: 0.into(),
    };
    let tail = RssTail {
        max_tx_vq: u16::try_from(queues).map_err(|_| EINVAL)?.into(),
        key_len: KEY_MAX as u8,
    };
    let mut request = command(ctrl::MQ_RSS_CONFIG)?;
    request.extend_from_slice(head.as_bytes(), GFP_KERNEL)?;
    for entry in 0..TABLE_MAX {
        let queue = u16::try_from(chosen.queue(entry, queues)).map_err(|_| EINVAL)?;
        request.extend_from_slice(&queue.to_le_bytes(), GFP_KERNEL)?;
    }
    request.extend_from_slice(tail.as_bytes(), GFP_KERNEL)?;
    request.extend_from_slice(&chosen.key, GFP_KERNEL)?;
    Ok(request)
}

fn hash_config(chosen: &Chosen) -> Result<KVec<u8>> {
    let types = if chosen.report { chosen.types } else { 0 };
    let config = HashConfig {
        hash_types: types.into(),
        key_len: KEY_MAX as u8,
        ..HashConfig::default()
    };
    let mut request = command(ctrl::MQ_HASH_CONFIG)?;
    request.extend_from_slice(config.as_bytes(), GFP_KERNEL)?;
    request.extend_from_slice(&chosen.key, GFP_KERNEL)?;
    Ok(request)
}

fn command(command: u8) -> Result<KVec<u8>> {
    let mut request = KVec::new();
    request.extend_from_slice(&[ctrl::CLASS_MQ, command], GFP_KERNEL)?;
    Ok(request)
}
