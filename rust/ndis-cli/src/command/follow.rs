// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `follow`: records as they come, and the transport's answer to SaDeleteReq.

use std::collections::HashSet;
use std::time::Instant;

use espnic_ndis::envelope::{Entry, DIRECTION_IN, DIRECTION_OUT};
use espnic_ndis::Oid;
use serde_json::json;

use super::{answer, handle, Done, TICK};
use crate::args::Follow;
use crate::device::{Device, Next, Request};
use crate::error::Error;
use crate::record::{self, Record};
use crate::{sa, show, system};

/// `follow`
pub fn follow(device: &mut Device, words: &Follow, json: bool) -> Result<Done, Error> {
    let end = words.time.and_then(|time| Instant::now().checked_add(time));
    let mut left = words.count.unwrap_or(u64::MAX);
    let mut answered = HashSet::new();
    let mut ok = true;
    while left > 0 && !system::stopped() {
        let time = end.map_or(TICK, |end| end.saturating_duration_since(Instant::now()));
        if time.is_zero() {
            break;
        }
        let record = match device.next_record()? {
            Next::Record(record) => record,
            Next::None => {
                device.wait(time.min(TICK))?;
                continue;
            }
            Next::End => break,
        };
        left -= u64::from(show_named(device, &record, words.shown(), json)?);
        if let (true, Some(inbound)) = (words.answer, asks_for_deletion(&record)) {
            if answered.insert(inbound) {
                ok &= delete(device, inbound, json)?;
            }
        }
        if matches!(record, Record::Removed(_)) {
            break;
        }
    }
    tell_lost(device, json)?;
    Ok(Done::ok(ok))
}

/// Shows a record of the kinds that are named; whether it is one.
fn show_named(device: &mut Device, record: &Record, kinds: u32, json: bool) -> Result<bool, Error> {
    device.lost.see(record.head().lost);
    if !record.is_one_of(kinds) {
        return Ok(false);
    }
    let mut value = record.json();
    // With those before the records that were passed over.
    value["lost"] = json!(device.lost.tell_seen());
    show::print(json, &value)?;
    Ok(true)
}

/// Reports records that were lost after the last one, since no record has their number.
fn tell_lost(device: &mut Device, json: bool) -> Result<(), Error> {
    let all = device.info()?.lost;
    match device.lost.tell(all) {
        0 => Ok(()),
        lost => show::print(json, &json!({"record": "lost", "lost": lost})),
    }
}

/// The SA whose deletion a record asks for.
fn asks_for_deletion(record: &Record) -> Option<u64> {
    match record {
        Record::Received(_, received, _) => (record::sa_delete_req(received.slot1)
            && received.handle != 0)
            .then_some(received.handle),
        _ => None,
    }
}

/// Two DELETE_SA requests: the inbound SA on which the packet came, then the corresponding outbound
/// one. Whether both succeeded.
fn delete(device: &Device, inbound: u64, json: bool) -> Result<bool, Error> {
    let entries = match device.list() {
        Ok(entries) => entries,
        // The NIC may have left, which deletes its SAs; the record that says so comes next.
        Err(Error::Failed(text) | Error::Usage(text)) => {
            let value = json!({"record": "answer", "ok": false, "error": text});
            show::print(json, &value)?;
            return Ok(false);
        }
    };
    let mut ok = true;
    for (direction, one) in [
        ("in", Some(inbound)),
        ("out", corresponding(&entries, inbound)),
    ] {
        let Some(one) = one else { continue };
        let outcome = device.request(
            &Request::direct(Oid::DELETE_SA),
            None,
            &mut sa::delete(&[one])?,
        )?;
        ok &= outcome.status.is_success();
        let mut value = answer(Oid::DELETE_SA, &outcome);
        if let Some(members) = value.as_object_mut() {
            members.insert("record".into(), json!("answer"));
            members.insert("dir".into(), json!(direction));
            members.insert("handle".into(), handle(espnic_ndis::Handle::new(one)));
        }
        show::print(json, &value)?;
    }
    Ok(ok)
}

/// The outbound SA between the same ends; of several the one with the same reqid, and of those the
/// first.
fn corresponding(entries: &[Entry], inbound: u64) -> Option<u64> {
    let other = entries
        .iter()
        .find(|entry| entry.handle == inbound && entry.direction == DIRECTION_IN)?;
    let fits = |entry: &&Entry| {
        entry.direction == DIRECTION_OUT
            && (entry.family, entry.mode, entry.udp_esp)
                == (other.family, other.mode, other.udp_esp)
            && entry.source == other.destination
            && entry.destination == other.source
    };
    let mut candidates: Vec<&Entry> = entries.iter().filter(fits).collect();
    candidates.sort_by_key(|entry| (entry.reqid != other.reqid, entry.handle));
    candidates.first().map(|entry| entry.handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn entry(handle: u64, direction: u8, reqid: u32) -> Entry {
        let mut entry = Entry::new_zeroed();
        entry.handle = handle;
        entry.direction = direction;
        entry.reqid = reqid;
        let (a, b) = ([1; 16], [2; 16]);
        (entry.source, entry.destination) = if direction == DIRECTION_IN {
            (a, b)
        } else {
            (b, a)
        };
        entry
    }

    #[test]
    fn the_outbound_sa_of_an_inbound_one_is_between_the_same_ends() {
        let mut stranger = entry(3, DIRECTION_OUT, 7);
        stranger.destination = [9; 16];
        let entries = [
            stranger,
            entry(4, DIRECTION_OUT, 8),
            entry(5, DIRECTION_OUT, 7),
            entry(6, DIRECTION_OUT, 7),
            entry(9, DIRECTION_IN, 7),
        ];
        assert_eq!(corresponding(&entries, 9), Some(5));
        assert_eq!(corresponding(&entries[1..2], 9), None);
        assert_eq!(corresponding(&[entries[1], entries[4]], 9), Some(4));
        assert_eq!(corresponding(&entries, 5), None);
    }
}
