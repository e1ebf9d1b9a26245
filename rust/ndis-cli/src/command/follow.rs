// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `follow`: records as they come, and the transport's answer to SaDeleteReq.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use espnic_ndis::envelope::{Entry, DIRECTION_IN, DIRECTION_OUT};
use espnic_ndis::Oid;
use serde_json::json;

use super::{answer, handle, Done};
use crate::args::Follow;
use crate::device::{Device, Error, Request};
use crate::record::{self, Record};
use crate::{sa, show, system};

/// How long to wait when there is no record.
const TICK: Duration = Duration::from_millis(10);
const BUFFER: usize = 64 << 10;

/// `follow`
pub fn follow(device: &mut Device, words: &Follow, json: bool) -> Result<Done, Error> {
    let end = words.time.map(deadline).transpose()?;
    let mut left = words.count.unwrap_or(u64::MAX);
    let mut answered = HashSet::new();
    let mut buffer = vec![0; BUFFER];
    let mut ok = true;
    while left > 0 && !system::stopped() && end.is_none_or(|end| Instant::now() < end) {
        let count = match device.read(&mut buffer)? {
            None => {
                std::thread::sleep(TICK);
                continue;
            }
            Some(0) => break,
            Some(count) => count,
        };
        for record in record::split(buffer.get(..count).unwrap_or_default()) {
            let record = record?;
            if left > 0 {
                show::print(json, &record.json())?;
                left -= 1;
            }
            if let (true, Some(inbound)) = (words.answer, asks_for_deletion(&record)) {
                if answered.insert(inbound) {
                    ok &= delete(device, inbound, json)?;
                }
            }
            if matches!(record, Record::Removed(_)) {
                left = 0;
            }
        }
    }
    Ok(Done::ok(ok))
}

fn deadline(seconds: f64) -> Result<Instant, Error> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|time| Instant::now().checked_add(time))
        .ok_or_else(|| Error::Usage("--time is a number of seconds".into()))
}

/// The SA whose deletion a record asks for.
fn asks_for_deletion(record: &Record) -> Option<u64> {
    match record {
        Record::Received(_, received) => (record::sa_delete_req(received.slot1)
            && received.handle != 0)
            .then_some(received.handle),
        _ => None,
    }
}

/// Two DELETE_SA requests: the inbound SA on which the packet came, then the corresponding outbound
/// one.
fn delete(device: &Device, inbound: u64, json: bool) -> Result<bool, Error> {
    let entries = device.list()?;
    let mut ok = true;
    for (direction, one) in [
        ("in", Some(inbound)),
        ("out", corresponding(&entries, inbound)),
    ] {
        let Some(one) = one else { continue };
        let outcome = device.request(
            &Request::direct(Oid::DELETE_SA),
            None,
            &mut sa::delete(&[one]),
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

    #[test]
    fn a_time_limit_is_a_number_of_seconds() {
        assert!(deadline(0.5).is_ok());
        assert!(deadline(-1.0).is_err());
        assert!(deadline(f64::NAN).is_err());
    }
}
