// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One SA: the engine against what it cannot do without.

use crate::bare::bare;
use crate::compare::{compare, Plan, Row};
use crate::engines::{Pair, Way};
use crate::openssl;
use crate::packets::{key, Content, Form, Kind};
use espnic_device::crypto::{Backend, Suite};
use espnic_device::testing::ICV;
use espnic_wire::algorithm::Mac;

/// Lengths of texts, and the least ratio of the engine to the bare library with TCP inside.
const LENGTHS: [(usize, f64); 3] = [(64, 0.65), (1400, 0.95), (9000, 0.98)];

/// Engine against the bare calls of its own library, with TCP and without a checksum, and of the others.
pub fn against_libraries(plan: &Plan) -> Result<Vec<Row>, String> {
    let mut tcp = Pair::new(plan, Kind::gcm(Content::Tcp), 1)?;
    let mut udp = Pair::new(plan, Kind::gcm(Content::Udp), 1)?;
    let mut rows = Vec::new();
    for (pair, what, is_judged) in [(&mut tcp, "TCP", true), (&mut udp, "no checksum", false)] {
        let target = |target| is_judged.then_some(target);
        rows.extend(against(plan, plan.backend, pair, what, target)?);
    }
    let others = Backend::ALL.iter().filter(|&&other| other != plan.backend);
    for &library in others {
        rows.extend(against(plan, library, &mut udp, "no checksum", |_| None)?);
    }
    Ok(rows)
}

fn against(
    plan: &Plan,
    library: Backend,
    pair: &mut Pair,
    what: &str,
    target: impl Fn(f64) -> Option<f64>,
) -> Result<Vec<Row>, String> {
    let aead = library
        .aes_gcm(&key(0), ICV)
        .map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for (len, least) in LENGTHS {
        for way in Way::BOTH {
            rows.extend(compare(
                plan,
                format!("{} {len} B, {what} / bare {library}", way.name()),
                target(least),
                &mut || pair.run(way, len, &mut || 0),
                &mut || bare(len, way, &mut || [&aead; 2]),
            ));
        }
    }
    Ok(rows)
}

/// Packet offload of a tunnel against crypto offload of the same packets.
pub fn packet_offload(plan: &Plan) -> Result<Vec<Row>, String> {
    let kind = |form| Kind {
        form,
        ..Kind::gcm(Content::Tcp)
    };
    let mut packet = Pair::new(plan, kind(Form::PacketTunnel), 1)?;
    let mut crypto = Pair::new(plan, kind(Form::Tunnel), 1)?;
    let mut rows = Vec::new();
    for (len, _) in LENGTHS {
        for way in Way::BOTH {
            rows.extend(compare(
                plan,
                format!("{} {len} B, tunnel, packet / crypto offload", way.name()),
                None,
                &mut || packet.run(way, len, &mut || 0),
                &mut || crypto.run(way, len, &mut || 0),
            ));
        }
    }
    Ok(rows)
}

/// AES-CBC with HMAC against OpenSSL, packet by packet; nothing, if there is no OpenSSL.
pub fn cbc_hmac(plan: &Plan) -> Result<Vec<Row>, String> {
    let Some(library) = openssl::Library::load() else {
        eprintln!("espnic-bench-engine: no libcrypto.so.3, so nothing to compare AES-CBC with");
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    let macs = [
        (Mac::HmacSha1, "SHA-1"),
        (Mac::HmacSha256, "SHA-256"),
        (Mac::HmacSha512, "SHA-512"),
    ];
    // OpenSSL has the packets of crypto offload. Those of packet offload look the same.
    let forms = [
        ("", Form::Transport, Form::Transport, Some(1.0)),
        (", packet", Form::PacketTunnel, Form::Tunnel, None),
    ];
    for ((what, form, other, target), (mac, name)) in forms
        .into_iter()
        .flat_map(|form| macs.map(|mac| (form, mac)))
    {
        let [kind, other] = [form, other].map(|form| Kind {
            suite: Suite::AesCbc(mac),
            form,
            content: Content::Udp,
        });
        let mut pair = Pair::new(plan, kind, 1)?;
        let mut keys = library.keys(mac).ok_or("OpenSSL does not take the keys")?;
        // Whole blocks.
        for len in [64, 1392] {
            for way in Way::BOTH {
                rows.extend(compare(
                    plan,
                    format!("{} {len} B, CBC+HMAC-{name}{what} / OpenSSL", way.name()),
                    target,
                    &mut || pair.run(way, len, &mut || 0),
                    &mut || openssl::batch(&mut keys, other, way, len),
                ));
            }
        }
    }
    Ok(rows)
}
