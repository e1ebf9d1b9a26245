// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Answers for people and for programs.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::error::Error;

/// Prints a value: as one line of JSON, or as text.
pub fn print(json: bool, value: &Value) -> Result<(), Error> {
    if json {
        write(&format!("{value}\n"))
    } else {
        write(&text(value))
    }
}

/// Prints text as it is.
pub fn write(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::Failed(format!("cannot print: {error}")))
}

/// Prints a message to standard error, and ignores errors of that.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "espnic-ndis: {text}");
}

/// A value as text: a line per member, members of members indented, lists of objects as tables.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if members.contains_key("record") => line(members, &mut out),
        Value::Object(members) => block(members, 0, &mut out),
        Value::Array(rows) => table(rows, 0, &mut out),
        other => out = plain(other) + "\n",
    }
    out
}

/// The members that people look for first, in this order; the rest follows by name.
const FIRST: [&str; 20] = [
    "record",
    "time",
    "status",
    "oid",
    "dir",
    "handle",
    "spi",
    "esp_sequence",
    "family",
    "length",
    "crypto_done",
    "next_crypto_done",
    "crypto_status_name",
    "sa_delete_req",
    "next_header",
    "pad_length",
    "esp_offset",
    "ah_offset",
    "hardware",
    "current",
];

/// The members of an object in the order for people.
fn ordered(members: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let place = |name: &str| FIRST.iter().position(|first| *first == name);
    let mut list: Vec<_> = members.iter().collect();
    list.sort_by_key(|(name, _)| place(name).unwrap_or(FIRST.len()));
    list
}

/// A value in a line.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Array(values) if values.is_empty() => "none".into(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Writes a record as one line, so that many can be read and searched. Absent members are left out.
fn line(members: &Map<String, Value>, out: &mut String) {
    let words: Vec<String> = ordered(members)
        .into_iter()
        .filter(|(name, value)| *name != "offload" && !value.is_null())
        .map(|(name, value)| match value {
            Value::Object(inner) => inner
                .iter()
                .map(|(inner, value)| format!("{name}.{inner}={}", plain(value)))
                .collect::<Vec<_>>()
                .join(" "),
            _ => format!("{name}={}", plain(value)),
        })
        .collect();
    out.push_str(&words.join(" "));
    out.push('\n');
}

fn block(members: &Map<String, Value>, depth: usize, out: &mut String) {
    let width = members.keys().map(String::len).max().unwrap_or(0);
    let indent = "  ".repeat(depth);
    for (name, value) in ordered(members) {
        match value {
            Value::Object(inner) => {
                let _ = writeln!(out, "{indent}{name}:");
                block(inner, depth + 1, out);
            }
            Value::Array(rows) if rows.iter().any(Value::is_object) => {
                let _ = writeln!(out, "{indent}{name}:");
                table(rows, depth + 1, out);
            }
            _ => {
                let _ = writeln!(out, "{indent}{name:width$}  {}", plain(value));
            }
        }
    }
}

fn table(rows: &[Value], depth: usize, out: &mut String) {
    let Some(members) = rows.iter().find_map(Value::as_object) else {
        return;
    };
    let names: Vec<&str> = members.keys().map(String::as_str).collect();
    for line in columns(&names, rows).lines() {
        let _ = writeln!(out, "{}{line}", "  ".repeat(depth));
    }
}

/// A table with these columns.
pub fn columns(names: &[&str], rows: &[Value]) -> String {
    let mut lines = vec![names
        .iter()
        .map(|&name| name.into())
        .collect::<Vec<String>>()];
    for row in rows {
        let cell = |name: &&str| row.get(name).map_or("-".into(), plain);
        lines.push(names.iter().map(cell).collect());
    }
    let mut out = String::new();
    let mut widths = vec![0; names.len()];
    for cells in &lines {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.chars().count().max(*width);
        }
    }
    for cells in &lines {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_lines_and_lists_of_objects_are_tables() {
        let value = json!({"status": "NDIS_STATUS_SUCCESS", "ok": true, "inner": {"a": 1, "long": null},
            "sas": [{"spi": "0x1", "dir": "in"}, {"spi": "0x1000", "dir": "out"}]});
        assert_eq!(
            text(&value),
            "status  NDIS_STATUS_SUCCESS\ninner:\n  a     1\n  long  -\nok      yes\nsas:\n  dir  spi\n  \
             in   0x1\n  out  0x1000\n"
        );
    }

    #[test]
    fn a_record_is_one_line() {
        let value = json!({"record": "sent", "a": 4, "spi": "0x1", "lso": {"mss": 9}, "b": null});
        assert_eq!(text(&value), "record=sent spi=0x1 a=4 lso.mss=9\n");
    }

    #[test]
    fn empty_lists_say_so() {
        assert_eq!(text(&json!({"algorithms": []})), "algorithms  none\n");
        assert_eq!(text(&json!([])), "");
    }
}
