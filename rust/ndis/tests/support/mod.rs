// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Support of the tests.

#![allow(dead_code)]

pub mod sas;

/// Says which rules of Documentation/ndis-rules.csv the test checks. To be called at its end.
pub fn rules(numbers: &[u8]) {
    let names: Vec<String> = numbers.iter().map(|number| format!("R{number}")).collect();
    println!("# rules: {}", names.join(" "));
}
