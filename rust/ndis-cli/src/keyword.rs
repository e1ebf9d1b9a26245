// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The registry keywords: names and values.

use std::str::FromStr;

use espnic_ndis::envelope::{
    KEYWORD_CHECKSUMS, KEYWORD_DISABLE_TASK_OFFLOAD, KEYWORD_ENABLED_OFFLOAD,
    KEYWORD_IPSEC_V1_IPV4, KEYWORD_IPSEC_V2, KEYWORD_IPSEC_V2_IPV4, KEYWORD_LSO,
};
use espnic_ndis::keyword as names;

use crate::value;

/// A keyword.
#[derive(Debug, PartialEq, Eq)]
pub struct Keyword {
    /// Its name in the registry.
    pub name: &'static str,
    /// Its number in the envelope.
    pub number: u32,
    /// Its largest value.
    pub most: u32,
}

const fn keyword(name: &'static str, number: u32, most: u32) -> Keyword {
    Keyword { name, number, most }
}

/// What the values mean, for --help.
pub const HELP: &str = "\
Values of the *IPsecOffload keywords: 0 neither protocol, 1 AH, 2 ESP, 3 both, which is what a
missing one means. A NIC with IPv6 obeys *IPsecOffloadV2, one with IPv4 only *IPsecOffloadV2IPv4.
The *...ChecksumOffload... keywords: 0 neither direction, 1 send, 2 receive, 3 both; *Lso... ones: 0 off,
1 on. DisableTaskOffload: 1 switches all IPsec offload off. EnabledOffload: 0 does.";

/// All keywords.
pub static ALL: [Keyword; 13] = [
    keyword(names::IPSEC_V2, KEYWORD_IPSEC_V2, 3),
    keyword(names::IPSEC_V2_IPV4, KEYWORD_IPSEC_V2_IPV4, 3),
    keyword(names::IPSEC_V1_IPV4, KEYWORD_IPSEC_V1_IPV4, 3),
    keyword(names::CHECKSUMS[0], KEYWORD_CHECKSUMS, 3),
    keyword(names::CHECKSUMS[1], KEYWORD_CHECKSUMS + 1, 3),
    keyword(names::CHECKSUMS[2], KEYWORD_CHECKSUMS + 2, 3),
    keyword(names::CHECKSUMS[3], KEYWORD_CHECKSUMS + 3, 3),
    keyword(names::CHECKSUMS[4], KEYWORD_CHECKSUMS + 4, 3),
    keyword(names::LSO[0], KEYWORD_LSO, 1),
    keyword(names::LSO[1], KEYWORD_LSO + 1, 1),
    keyword(names::LSO[2], KEYWORD_LSO + 2, 1),
    keyword(names::DISABLE_TASK_OFFLOAD, KEYWORD_DISABLE_TASK_OFFLOAD, 1),
    keyword(names::ENABLED_OFFLOAD, KEYWORD_ENABLED_OFFLOAD, 1),
];

/// A keyword by its name; upper or lower case and the asterisk do not matter.
pub fn find(name: &str) -> Result<&'static Keyword, String> {
    let bare = |name: &str| name.trim_start_matches('*').to_ascii_lowercase();
    let found = ALL.iter().find(|known| bare(known.name) == bare(name));
    found.ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|known| known.name).collect();
        format!("there are {}", known.join(", "))
    })
}

/// The new value of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// It is taken out of the registry.
    Delete,
    /// It gets this value.
    Number(u32),
}

impl FromStr for Value {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "delete" {
            return Ok(Self::Delete);
        }
        value::number(text)
            .map(Self::Number)
            .map_err(|_| "neither a number nor \"delete\"".into())
    }
}

impl Value {
    /// The number, none to delete; an error if the keyword cannot have it.
    pub fn of(self, keyword: &Keyword) -> Result<Option<u32>, String> {
        match self {
            Self::Delete => Ok(None),
            Self::Number(number) if number <= keyword.most => Ok(Some(number)),
            Self::Number(_) => Err(format!(
                "values of {} are 0 to {}",
                keyword.name, keyword.most
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_found_by_name() {
        assert_eq!(find("*ipsecoffloadv2").unwrap().number, KEYWORD_IPSEC_V2);
        let ipv4 = find("IPsecOffloadV2IPv4").unwrap();
        assert_eq!(ipv4.number, KEYWORD_IPSEC_V2_IPV4);
        let error = find("nothing").unwrap_err();
        assert!(error.contains("*IPsecOffloadV1IPv4"), "{error}");
    }

    #[test]
    fn values_are_those_with_a_meaning() {
        let v2 = find("*IPsecOffloadV2").unwrap();
        assert_eq!("delete".parse(), Ok(Value::Delete));
        assert_eq!("0x3".parse(), Ok(Value::Number(3)));
        assert!("three".parse::<Value>().is_err());
        assert_eq!(Value::Number(3).of(v2), Ok(Some(3)));
        assert!(names::setting(v2.most).is_some());
        assert!(names::setting(v2.most + 1).is_none());
        let error = Value::Number(7).of(v2).unwrap_err();
        assert_eq!(error, "values of *IPsecOffloadV2 are 0 to 3");
        let switch = find("EnabledOffload").unwrap();
        assert!(Value::Number(2).of(switch).is_err());
        assert_eq!(Value::Delete.of(switch), Ok(None));
    }
}
