// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The names in the answer to `stats`: tests and people rely on them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_device::control::Control;
use serde_json::Value;
use support::{config, Rig};

/// Every name in the object of a NIC, with those of the objects around it.
const NAMES: &str = include_str!("../testdata/stats-names.txt");

fn names(prefix: &str, value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) if prefix != "misbehaviour" => {
            for (name, value) in fields {
                let name = match prefix {
                    "" => name.clone(),
                    _ => format!("{prefix}.{name}"),
                };
                names(&name, value, out);
            }
        }
        _ => out.push(prefix.to_owned()),
    }
}

#[test]
fn names_stay_what_they_are() {
    let mut rig = Rig::default();
    let driver = rig.nic(config(1));
    let nic = driver.nic().clone();
    let name = nic.name.clone();
    let answer = Control::new(vec![nic], None).answer("stats");
    assert_eq!(answer["ok"], Value::Bool(true));
    assert_eq!(answer.get("capture"), None);
    let stats = &answer["nics"][&name];
    let mut found = Vec::new();
    names("", stats, &mut found);
    found.sort();
    let names = NAMES.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(found, names.collect::<Vec<_>>());
    assert_eq!(stats["ipsec"]["ipsec_sa_in"], 0);
    assert_eq!(stats["queues"]["max"], 1);
}
