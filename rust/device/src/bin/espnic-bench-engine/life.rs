// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What it takes to create and to destroy an SA when there are many, in nanoseconds per SA.

use crate::compare::{Plan, Row};
use crate::engines::new_engine;
use crate::packets::{self, Content, Form, Kind};
use espnic_wire::admin::Command;
use espnic_wire::sa;
use std::time::{Duration, Instant};

/// So many SAs make a mean.
const FEW: usize = 1000;

fn row(name: String, judged: Duration, other: Duration) -> Row {
    let ns = [judged, other].map(|time| time.as_nanos() as f64);
    Row {
        name,
        ns,
        ratio: ns[1] / ns[0],
        target: None,
    }
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / times.len().max(1) as u32
}

/// The kinds of SAs: those of crypto offload and of packet offload.
const KINDS: [(&str, Form); 2] = [("", Form::Transport), ("packet, ", Form::PacketTunnel)];

/// The names of the rows of a command: when there are many SAs against when there are few, and the slowest
/// one, for which packets may have to wait.
fn names(plan: &Plan, what: &str, verb: &str) -> [String; 2] {
    let sas = plan.sas;
    [
        format!("{verb}, {what}{sas} SAs / {FEW} SAs"),
        format!("{verb}, {what}slowest of {sas} / mean"),
    ]
}

/// The rows of a command of which each time is known.
fn rows(
    plan: &Plan,
    what: &str,
    verb: &str,
    many: &[Duration],
    few: &[Duration],
    all: &[Duration],
) -> Vec<Row> {
    let slowest = all.iter().max().copied().unwrap_or_default();
    let times = [(mean(many), mean(few)), (slowest, mean(all))];
    names(plan, what, verb)
        .into_iter()
        .zip(times)
        .filter(|(name, _)| plan.wants(name))
        .map(|(name, (judged, other))| row(name, judged, other))
        .collect()
}

/// Creates inbound SAs of each kind, as many as the plan says, and destroys them, the oldest first.
pub fn come_and_go(plan: &Plan) -> Result<Vec<Row>, String> {
    let mut all = Vec::new();
    for (what, form) in KINDS {
        all.extend(come_and_go_in(plan, what, form)?);
    }
    Ok(all)
}

fn come_and_go_in(plan: &Plan, what: &str, form: Form) -> Result<Vec<Row>, String> {
    let mut names = ["create", "destroy"]
        .iter()
        .flat_map(|verb| names(plan, what, verb));
    if !names.any(|name| plan.wants(&name)) {
        return Ok(Vec::new());
    }
    let kind = Kind {
        form,
        ..Kind::gcm(Content::Udp)
    };
    let engine = new_engine(plan, plan.sas)?;
    let (mut created, mut destroyed) = (Vec::new(), Vec::new());
    for id in 0..plan.sas {
        let object = packets::object(kind, sa::OBJ_INB_SA, id);
        let start = Instant::now();
        let done = engine.create(sa::OBJ_INB_SA, id, &object);
        created.push(start.elapsed());
        done.map_err(|(status, _)| format!("CREATE is refused: status {status}"))?;
    }
    for id in 0..plan.sas {
        let command = Command::ObjDestroy {
            obj_type: sa::OBJ_INB_SA,
            id,
        };
        let start = Instant::now();
        let done = engine.execute(command);
        destroyed.push(start.elapsed());
        done.map_err(|(status, _)| format!("DESTROY is refused: status {status}"))?;
    }
    let (few, many) = (FEW.min(created.len()), created.len().saturating_sub(FEW));
    let mut all = rows(
        plan,
        what,
        "create",
        &created[many..],
        &created[..few],
        &created,
    );
    all.extend(rows(
        plan,
        what,
        "destroy",
        &destroyed[..few],
        &destroyed[many..],
        &destroyed,
    ));
    Ok(all)
}
