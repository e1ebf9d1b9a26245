// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Values on the command line. Values that the module would refuse with EINVAL are refused here, with a
//! message.

use std::time::Duration;

use espnic_ndis::{envelope, Oid, Version};

/// Largest replay window that the module takes, in packets.
const WINDOW_MAX: u32 = 4096;
/// Longest buffer of `raw`: far more than the module takes, so that its answer to that can be seen.
const LENGTH_MAX: u32 = 16 * envelope::MAX_BUFFER;

/// A number, decimal or hexadecimal with 0x.
pub fn number(text: &str) -> Result<u32, String> {
    u32::try_from(long_number(text)?).map_err(|_| "does not fit into 32 bits".into())
}

/// The same with 64 bits.
pub fn long_number(text: &str) -> Result<u64, String> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|_| "neither a decimal number nor a hexadecimal one with 0x".into())
}

/// A number that is not above a limit.
fn limited(text: &str, most: u32, what: &str) -> Result<u32, String> {
    number(text).and_then(|number| match number <= most {
        true => Ok(number),
        false => Err(format!("{most} {what} at most")),
    })
}

/// A replay window.
pub fn window(text: &str) -> Result<u32, String> {
    limited(text, WINDOW_MAX, "packets")
}

/// Length of a buffer.
pub fn length(text: &str) -> Result<u32, String> {
    limited(text, LENGTH_MAX, "bytes")
}

/// A UDP port.
pub fn port(text: &str) -> Result<u16, String> {
    u16::try_from(long_number(text)?).map_err(|_| "ports end at 65535".into())
}

/// A time in seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "not a number of seconds".into())
}

/// The prefixes of the names of OIDs, which people may leave out. The longest comes first.
const PREFIXES: [&str; 4] = [
    "OID_TCP_TASK_IPSEC_OFFLOAD_V2_",
    "OID_TCP_OFFLOAD_",
    "OID_OFFLOAD_",
    "OID_",
];

/// The name of an OID without what all of them begin with.
fn short_oid(name: &str) -> &str {
    let mut cut = PREFIXES.iter().filter_map(|one| name.strip_prefix(one));
    cut.next().unwrap_or(name)
}

/// An OID, by its number or its name; upper or lower case does not matter.
pub fn oid(text: &str) -> Result<Oid, String> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return number(text).map(Oid);
    }
    let name = text.to_ascii_uppercase().replace('-', "_");
    let names = |oid: &&Oid| {
        oid.name()
            .is_some_and(|full| full == name || short_oid(full) == name)
    };
    let known = Oid::ALL.iter().find(names);
    known
        .copied()
        .ok_or_else(|| format!("no number, and of the names there are {}", oids()))
}

/// The names of all OIDs, as short as they may be.
fn oids() -> String {
    let names = Oid::ALL.iter().filter_map(|oid| oid.name()).map(short_oid);
    names.collect::<Vec<_>>().join(", ")
}

/// What --help says about an OID.
pub fn oid_help() -> String {
    format!(
        "OID, by number or name; the names without OID_...: {}",
        oids()
    )
}

/// What --help says about an NDIS version.
pub fn version_help(what: &str) -> String {
    format!("{what}: {}", versions())
}

fn versions() -> String {
    let known: Vec<String> = Version::WITH_IPSEC_V2
        .into_iter()
        .map(show_version)
        .collect();
    known.join(", ")
}

/// An NDIS version as people write it, like 6.30.
pub fn show_version(version: Version) -> String {
    let (major, minor) = (version.0 >> 16, version.0 & 0xffff);
    if minor < 10 {
        format!("{major}.{minor}")
    } else {
        format!("{major}.{minor:02}")
    }
}

/// An NDIS version that a miniport can come up with.
pub fn version(text: &str) -> Result<Version, String> {
    let known = Version::WITH_IPSEC_V2;
    let found = known.into_iter().find(|one| show_version(*one) == text);
    found.ok_or_else(|| format!("there are {}", versions()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_limits() {
        assert_eq!(number("0x10"), Ok(16));
        for wrong in ["0x100000000", "-1", "ten", ""] {
            assert!(number(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(window("0x1000"), Ok(4096));
        assert!(window("4097").unwrap_err().contains("4096 packets"));
        assert_eq!(length("0x10001"), Ok(65537));
        assert!(length("0xffffffff").is_err());
        assert_eq!(port("0x1194"), Ok(4500));
        assert!(port("0x10000").is_err());
    }

    #[test]
    fn versions_are_written_as_ndis_does_and_those_of_a_miniport() {
        assert_eq!(show_version(Version::V6_0), "6.0");
        assert_eq!(version("6.1"), Ok(Version::V6_1));
        assert_eq!(version("6.30"), Ok(Version::V6_30));
        for wrong in ["6.45", "6.0", "6", "6.x", "", "6.1.1"] {
            let text = version(wrong).unwrap_err();
            assert!(
                text.starts_with("there are 6.1, 6.20, 6.30, 6.40, 6.50, 6.51, "),
                "{text}"
            );
        }
        for known in Version::WITH_IPSEC_V2 {
            assert_eq!(version(&show_version(known)), Ok(known));
        }
    }

    #[test]
    fn oids_have_numbers_and_names() {
        let all = [
            "0xfc030205",
            "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX",
            "ADD_SA_EX",
            "add-sa-ex",
        ];
        for text in all {
            assert_eq!(oid(text), Ok(Oid::ADD_SA_EX), "{text}");
        }
        assert_eq!(oid("current_config"), Ok(Oid::CURRENT_CONFIG));
        assert_eq!(oid("encapsulation"), Ok(Oid::ENCAPSULATION));
        assert_eq!(oid("4660"), Ok(Oid(0x1234)));
        let error = oid("nothing").unwrap_err();
        assert!(error.contains("DELETE_SA"), "{error}");
        for one in Oid::ALL {
            assert_eq!(oid(short_oid(&one.to_string())), Ok(*one), "{one}");
        }
        assert!(oid_help().contains("PARAMETERS"));
    }

    #[test]
    fn a_time_is_a_number_of_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["-1", "nan", "soon", "1e30"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
