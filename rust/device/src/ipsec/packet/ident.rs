// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Identifications of outer IPv4 headers that may be fragmented.
//!
//! Fragments are put together by source, destination, protocol and identification (RFC 791). So all SAs
//! between two addresses count together, and a number comes again after 65536 packets only. Counting starts
//! anywhere, so that the number does not tell how many packets were sent (RFC 6864, section 7).

use crate::admin::Refused;
use crate::crypto::random;
use espnic_esp::encap::{Field, Outer, Template};
use std::collections::hash_map::{Entry, HashMap};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// What fragments are put together by, beside the identification.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Flow {
    src: [u8; 4],
    dst: [u8; 4],
    in_udp: bool,
}

/// The counters of all flows that there are SAs for.
static COUNTERS: LazyLock<Mutex<HashMap<Flow, Arc<AtomicU16>>>> = LazyLock::new(Mutex::default);

fn counters() -> MutexGuard<'static, HashMap<Flow, Arc<AtomicU16>>> {
    COUNTERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The identifications of an SA.
pub(super) struct Identifications {
    flow: Flow,
    counter: Arc<AtomicU16>,
}

impl Identifications {
    /// Those of an SA with this template; `None` if its packets never need one.
    pub(super) fn of(template: &Template) -> Result<Option<Self>, Refused> {
        let Some(Outer::V4 { src, dst, df }) = template.tunnel.map(|tunnel| tunnel.outer) else {
            return Ok(None);
        };
        if df == Field::Set(true) {
            return Ok(None);
        }
        let in_udp = template.udp.is_some();
        let flow = Flow { src, dst, in_udp };
        let counter = match counters().entry(flow) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => entry.insert(start()?).clone(),
        };
        Ok(Some(Self { flow, counter }))
    }

    /// Takes `count` of them; returns the first.
    pub(super) fn take(&self, count: u32) -> u16 {
        // Truncated: it starts again after 65536 packets.
        self.counter.fetch_add(count as u16, Ordering::Relaxed)
    }
}

/// A counter that is anywhere.
fn start() -> Result<Arc<AtomicU16>, Refused> {
    let mut bytes = [0; 2];
    random::fill(&mut bytes).map_err(|_| Refused::RESOURCE)?;
    Ok(Arc::new(u16::from_ne_bytes(bytes).into()))
}

impl Drop for Identifications {
    /// With the last SA of a flow its counter goes.
    fn drop(&mut self) {
        let mut counters = counters();
        // The table's and this one.
        if Arc::strong_count(&self.counter) == 2 {
            counters.remove(&self.flow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use espnic_esp::encap::Tunnel;
    use espnic_esp::engine::Layout;
    use espnic_esp::ip::Ports;

    fn template(last: u8, df: Field<bool>, udp: bool) -> Template {
        let tunnel = Tunnel {
            outer: Outer::V4 {
                src: [203, 0, 113, 1],
                dst: [203, 0, 113, last],
                df,
            },
            hop_limit: 64,
            dscp: Field::Copy,
            ecn: true,
            dec_ttl: false,
        };
        let ports = Ports {
            src: 4500,
            dst: 4500,
        };
        Template {
            tunnel: Some(tunnel),
            udp: udp.then_some(ports),
            spi: 0,
            layout: Layout::aead(16),
        }
    }

    fn of(last: u8, df: Field<bool>, udp: bool) -> Option<Identifications> {
        Identifications::of(&template(last, df, udp)).unwrap()
    }

    fn flow(last: u8) -> Flow {
        Flow {
            src: [203, 0, 113, 1],
            dst: [203, 0, 113, last],
            in_udp: false,
        }
    }

    #[test]
    fn sas_between_two_addresses_count_together() {
        let [a, b] = [Field::Set(false), Field::Copy].map(|df| of(1, df, false).unwrap());
        let first = a.take(3);
        assert_eq!(b.take(2), first.wrapping_add(3));
        assert_eq!(a.take(0x1_0000), first.wrapping_add(5));
        assert_eq!(b.take(1), first.wrapping_add(5));
        // Even if one of them goes.
        drop(a);
        let c = of(1, Field::Copy, false).unwrap();
        assert_eq!(c.take(1), first.wrapping_add(6));
    }

    #[test]
    fn counting_starts_anywhere() {
        let firsts: Vec<_> = (10..26)
            .flat_map(|last| [false, true].map(|udp| of(last, Field::Copy, udp).unwrap()))
            .map(|ids| ids.take(1))
            .collect();
        assert!(firsts.iter().filter(|&&first| first < 0x100).count() < 8);
        assert!(firsts.iter().any(|&first| first != firsts[0]));
    }

    #[test]
    fn counters_go_with_their_sas() {
        let is_there = || counters().contains_key(&flow(2));
        let [a, b] = [(); 2].map(|()| of(2, Field::Copy, false).unwrap());
        drop(a);
        assert!(is_there());
        drop(b);
        assert!(!is_there());
    }

    #[test]
    fn what_is_never_fragmented_has_none() {
        assert!(of(3, Field::Set(true), false).is_none());
        let transport = Template {
            tunnel: None,
            ..template(3, Field::Copy, false)
        };
        assert!(Identifications::of(&transport).unwrap().is_none());
    }
}
