// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Records of the device: splitting them, and showing them.

use espnic_ndis::envelope::{
    self, Completed, Indication, Received, Sent, RECORD_COMPLETED, RECORD_INDICATION,
    RECORD_RECEIVED, RECORD_REMOVED, RECORD_SENT, WANT_INDICATIONS, WANT_RECEIVE, WANT_SEND,
};
use espnic_ndis::oob::{LargeSend, Receive, ReceiveHeader, SendHeader};
use espnic_ndis::{Oid, Status};
use serde_json::{json, Value};
use zerocopy::FromBytes;

use crate::error::Error;
use crate::{key, offload};

/// Head of a record.
pub type Head = envelope::Record;

/// A record.
#[derive(Debug)]
pub enum Record {
    /// Status indication.
    Indication(Head, Status, Vec<u8>),
    /// OOB data of a received packet, and its first bytes if they were asked for.
    Received(Head, Received, Vec<u8>),
    /// OOB data of a sent packet, and its first bytes if they were asked for.
    Sent(Head, Sent, Vec<u8>),
    /// A pended request is complete: with its handles.
    Completed(Head, Completed, Vec<u64>),
    /// The adapter was removed.
    Removed(Head),
    /// A kind that a later module has.
    Unknown(Head),
}

/// The records in what one `read()` returned.
pub fn split(data: &[u8]) -> impl Iterator<Item = Result<Record, Error>> + '_ {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let result = take(rest);
        rest = match &result {
            Some((_, behind)) => behind,
            None => &[],
        };
        let broken = || Error::Failed("the module returned a record that is not whole".into());
        Some(result.map(|(record, _)| record).ok_or_else(broken))
    })
}

/// The first record and the bytes after it.
fn take(data: &[u8]) -> Option<(Record, &[u8])> {
    let (head, _) = Head::read_from_prefix(data).ok()?;
    let length = usize::from(head.length);
    let body = data.get(size_of::<Head>()..length)?;
    let record = match head.kind {
        RECORD_INDICATION => {
            let (indication, buffer) = Indication::read_from_prefix(body).ok()?;
            let buffer = buffer.get(..indication.buffer_length as usize)?;
            Record::Indication(head, Status(indication.status), buffer.to_vec())
        }
        RECORD_RECEIVED => {
            let (received, rest) = Received::read_from_prefix(body).ok()?;
            Record::Received(head, received, rest.get(..received.bytes.into())?.to_vec())
        }
        RECORD_SENT => {
            let (sent, rest) = Sent::read_from_prefix(body).ok()?;
            Record::Sent(head, sent, rest.get(..sent.bytes.into())?.to_vec())
        }
        RECORD_COMPLETED => {
            let (completed, rest) = Completed::read_from_prefix(body).ok()?;
            let handles = rest.chunks_exact(size_of::<u64>());
            let handles: Vec<u64> = handles
                .filter_map(|bytes| bytes.try_into().ok().map(u64::from_ne_bytes))
                .collect();
            (handles.len() == completed.handles as usize)
                .then_some(Record::Completed(head, completed, handles))?
        }
        RECORD_REMOVED => Record::Removed(head),
        _ => Record::Unknown(head),
    };
    Some((record, data.get(length..)?))
}

/// SaDeleteReq of slot 1.
pub fn sa_delete_req(slot1: u64) -> bool {
    Receive::from_word(slot1).sa_delete_req
}

fn number(bytes: [u8; 4]) -> String {
    format!("{:#010x}", u32::from_be_bytes(bytes))
}

fn word(value: u64) -> String {
    format!("{value:#018x}")
}

fn handle(value: u64) -> Value {
    if value == 0 {
        Value::Null
    } else {
        json!(format!("{value:#x}"))
    }
}

impl Record {
    /// Its head.
    pub fn head(&self) -> &Head {
        match self {
            Self::Indication(head, ..)
            | Self::Received(head, ..)
            | Self::Sent(head, ..)
            | Self::Completed(head, ..)
            | Self::Removed(head)
            | Self::Unknown(head) => head,
        }
    }

    /// Whether it is of the named kinds (`WANT_*`). True for completed requests, for the removal, and for
    /// kinds of a later module.
    pub fn is_one_of(&self, kinds: u32) -> bool {
        match self {
            Self::Indication(..) => kinds & WANT_INDICATIONS != 0,
            Self::Received(..) => kinds & WANT_RECEIVE != 0,
            Self::Sent(..) => kinds & WANT_SEND != 0,
            Self::Completed(..) | Self::Removed(_) | Self::Unknown(_) => true,
        }
    }

    /// What it says.
    pub fn json(&self) -> Value {
        let head = self.head();
        let (kind, mut value) = match self {
            Self::Indication(_, status, buffer) => ("indication", indication(*status, buffer)),
            Self::Received(_, received, bytes) => {
                ("received", with_bytes(receive(received), bytes))
            }
            Self::Sent(_, sent, bytes) => ("sent", with_bytes(send(sent), bytes)),
            Self::Completed(_, done, handles) => ("completed", complete(done, handles)),
            Self::Removed(_) => ("removed", json!({})),
            Self::Unknown(head) => ("unknown", json!({"kind": head.kind})),
        };
        if let Some(members) = value.as_object_mut() {
            members.insert("record".into(), json!(kind));
            members.insert("sequence".into(), json!(head.sequence));
            members.insert("lost".into(), json!(head.lost));
            let seconds = head.timestamp as f64 / 1e9;
            members.insert("time".into(), json!(seconds));
        }
        value
    }
}

/// Adds the first bytes of a frame as hex digits, if there are any.
fn with_bytes(mut value: Value, bytes: &[u8]) -> Value {
    if let (Some(members), false) = (value.as_object_mut(), bytes.is_empty()) {
        members.insert("bytes".into(), json!(key::digits(bytes)));
    }
    value
}

fn indication(status: Status, buffer: &[u8]) -> Value {
    json!({
        "status": status.to_string(),
        "code": format!("{:#010x}", status.0),
        "offload": offload::json(buffer),
    })
}

fn complete(done: &Completed, handles: &[u64]) -> Value {
    let status = Status(done.status);
    json!({
        "ok": status.is_success(),
        "request_id": done.request_id,
        "oid": Oid(done.oid).to_string(),
        "status": status.to_string(),
        "code": format!("{:#010x}", status.0),
        "done": done.bytes_done,
        "needed": done.bytes_needed,
        "handle": handle(handles.first().copied().unwrap_or(0)),
        "handles": handles.iter().map(|&one| handle(one)).collect::<Value>(),
    })
}

fn receive(received: &Received) -> Value {
    let slot1 = Receive::from_word(received.slot1);
    let header = ReceiveHeader::from_word(received.slot12).info();
    json!({
        "handle": handle(received.handle),
        "spi": number(received.spi),
        "esp_sequence": u32::from_be_bytes(received.sequence),
        "length": received.length,
        "family": received.family,
        "crypto_done": slot1.crypto_done,
        "next_crypto_done": slot1.next_crypto_done,
        "crypto_status": slot1.status.0,
        "crypto_status_name": slot1.status.to_string(),
        "sa_delete_req": slot1.sa_delete_req,
        "next_header": header.map(|(next_header, _)| next_header),
        "pad_length": header.map(|(_, pad_length)| pad_length),
        "slot1": word(received.slot1),
        "slot12": word(received.slot12),
        "slot1_v1": word(received.slot1_v1),
    })
}

fn send(sent: &Sent) -> Value {
    let header = SendHeader::from_word(sent.slot12);
    let lso = LargeSend::from_word(sent.slot2).map(|lso| match lso {
        LargeSend::V1 {
            mss,
            tcp_header_offset,
        } => json!({"version": 1, "mss": mss, "tcp_header_offset": tcp_header_offset}),
        LargeSend::V2 {
            mss,
            tcp_header_offset,
            ..
        } => json!({"version": 2, "mss": mss, "tcp_header_offset": tcp_header_offset}),
    });
    json!({
        "handle": handle(sent.slot1),
        "tunnel_handle": handle(sent.slot11),
        "spi": number(sent.spi),
        "esp_sequence": u32::from_be_bytes(sent.sequence),
        "length": sent.length,
        "family": sent.family,
        "next_header": header.next_header,
        "pad_length": header.pad_length,
        "ah_offset": header.ah_offset,
        "esp_offset": header.esp_offset,
        "lso": lso,
        "status": Status(sent.status).to_string(),
        "slot1": word(sent.slot1),
        "slot2": word(sent.slot2),
        "slot11": word(sent.slot11),
        "slot12": word(sent.slot12),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    fn record(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut head = Head::new_zeroed();
        head.length = (size_of::<Head>() + body.len()) as u16;
        head.kind = kind;
        head.sequence = 7;
        head.lost = 2;
        head.timestamp = 1_500_000_000;
        [head.as_bytes(), body].concat()
    }

    fn one(data: &[u8]) -> Value {
        split(data).next().unwrap().unwrap().json()
    }

    #[test]
    fn a_received_packet_in_words() {
        let mut received = Received::new_zeroed();
        received.slot1 = 0x0003_0003;
        received.slot12 = 0x0001_0206;
        received.handle = 0x100_0001;
        received.spi = 0x1000u32.to_be_bytes();
        let value = one(&record(RECORD_RECEIVED, received.as_bytes()));
        assert_eq!(value["record"], "received");
        assert_eq!(value["lost"], 2);
        assert_eq!(value["time"], 1.5);
        assert_eq!(value["crypto_done"], true);
        assert_eq!(value["sa_delete_req"], true);
        assert_eq!(
            value["crypto_status_name"],
            "CRYPTO_TRANSPORT_ESP_AUTH_FAILED"
        );
        assert_eq!(value["next_header"], 6);
        assert_eq!(value["pad_length"], 2);
        assert_eq!(value["handle"], "0x1000001");
    }

    #[test]
    fn a_sent_packet_in_words() {
        let mut sent = Sent::new_zeroed();
        sent.slot1 = 5;
        sent.slot12 = 0x0b05_0206;
        let value = one(&record(RECORD_SENT, sent.as_bytes()));
        assert_eq!(value["esp_offset"], 44);
        assert_eq!(value["ah_offset"], 20);
        assert_eq!(value["lso"], Value::Null);
        assert_eq!(value["tunnel_handle"], Value::Null);
        assert_eq!(value["status"], "NDIS_STATUS_SUCCESS");
    }

    #[test]
    fn the_first_bytes_of_a_packet() {
        let (mut received, mut sent) = (Received::new_zeroed(), Sent::new_zeroed());
        (received.bytes, sent.bytes) = (3, 8);
        let bytes = [0xab, 0xcd, 0x01, 0, 0, 0, 0, 0];
        let data = [received.as_bytes(), &bytes].concat();
        assert_eq!(one(&record(RECORD_RECEIVED, &data))["bytes"], "abcd01");
        let data = [sent.as_bytes(), &bytes].concat();
        assert_eq!(
            one(&record(RECORD_SENT, &data))["bytes"],
            "abcd010000000000"
        );
        // None, and fewer than the record says.
        received.bytes = 0;
        let value = one(&record(RECORD_RECEIVED, received.as_bytes()));
        assert_eq!(value.get("bytes"), None);
        let short = record(RECORD_SENT, sent.as_bytes());
        assert!(split(&short).next().unwrap().is_err());
    }

    #[test]
    fn a_completed_request_in_words() {
        let mut done = Completed::new_zeroed();
        (done.request_id, done.oid, done.handles) = (7, Oid::ADD_SA.0, 2);
        let body = [done.as_bytes(), &5u64.to_ne_bytes(), &[0; 8]].concat();
        let value = one(&record(RECORD_COMPLETED, &body));
        assert_eq!(
            (&value["ok"], &value["request_id"]),
            (&json!(true), &json!(7))
        );
        assert_eq!(value["handles"], json!(["0x5", null]));
        assert!(split(&record(RECORD_COMPLETED, &body[..40]))
            .next()
            .unwrap()
            .is_err());
    }

    #[test]
    fn records_follow_each_other_and_unknown_ones_are_named() {
        let data = [record(RECORD_REMOVED, &[]), record(99, &[0; 16])].concat();
        let kinds: Vec<Value> = split(&data).map(|one| one.unwrap().json()).collect();
        assert_eq!(kinds[0]["record"], "removed");
        assert_eq!(kinds[1]["kind"], 99);
        assert_eq!(kinds.len(), 2);
    }

    #[test]
    fn records_are_of_a_kind_that_can_be_named() {
        let sent = record(RECORD_SENT, Sent::new_zeroed().as_bytes());
        let sent = split(&sent).next().unwrap().unwrap();
        assert!(sent.is_one_of(WANT_SEND) && !sent.is_one_of(WANT_RECEIVE | WANT_INDICATIONS));
        let removed = record(RECORD_REMOVED, &[]);
        assert!(split(&removed).next().unwrap().unwrap().is_one_of(0));
    }

    #[test]
    fn a_record_that_is_not_whole_is_an_error() {
        let data = record(RECORD_RECEIVED, &[0; 48]);
        for end in [4, 40, data.len() - 1] {
            let mut found = split(&data[..end]);
            assert!(found.next().unwrap().is_err());
            assert!(found.next().is_none());
        }
        let mut indication = record(RECORD_INDICATION, &[0; 8]);
        *indication.get_mut(28).unwrap() = 1; // buffer_length
        assert!(split(&indication).next().unwrap().is_err());
    }
}
