// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Values on the command line. What the module would only answer with EINVAL is refused here, in
//! words.

use std::time::Duration;

use espnic_ndis::{envelope, Version};

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
    found.ok_or_else(|| {
        let known: Vec<String> = known.into_iter().map(show_version).collect();
        format!("there are {}", known.join(", "))
    })
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
        assert_eq!(version("6.82"), Ok(Version::V6_82));
        for wrong in ["6.45", "6.0", "6", "6.x", "", "6.1.1"] {
            let text = version(wrong).unwrap_err();
            let (old, new) = (
                "6.1, 6.20, 6.30, 6.40, 6.50, 6.51",
                "6.60, 6.70, 6.80, 6.81, 6.82, 6.83",
            );
            assert_eq!(text, format!("there are {old}, {new}"));
        }
    }

    #[test]
    fn a_time_is_a_number_of_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["-1", "nan", "soon", "1e30"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
