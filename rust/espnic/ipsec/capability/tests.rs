// SPDX-License-Identifier: GPL-2.0

//! Tests of what a NIC's list of capabilities allows.

use super::{
    super::{
        algorithm,
        check::Supported, //
    },
    list_len,
    Capabilities, //
};
use espnic_wire::{
    cap::{
        self,
        SaMode,
        XSaEntry, //
    },
    U16,
    U32, //
};
use kernel::prelude::*;
use kernel_net::net::xfrm::create::fixture::{
    TestState,
    IPV4, //
};
use zerocopy::IntoBytes;

/// AES-GCM in transport mode with keys of 16 and 32 bytes, an ICV of 16, and ESN.
const GCM: XSaEntry = XSaEntry {
    mode: 2,
    kind: 3,
    flags: U16::new(1),
    algo: U16::new(1),
    mac: U16::new(0),
    // Bits 3 and 7: four and eight words.
    key_lens: U32::new(0x88),
    icv_lens: U32::new(0x8000),
};

/// A NIC with these entries.
pub(in crate::ipsec) fn nic(entries: &[XSaEntry]) -> Result<Capabilities> {
    let mut list = KVec::new();
    list.extend_from_slice(entries, GFP_KERNEL)?;
    Ok(Capabilities {
        limit_in: 8,
        limit_out: 8,
        entries: list,
        modes: KVec::new(),
    })
}

/// A NIC with these entries and packet offload in both modes, with these options and windows of up to 64
/// packets.
pub(in crate::ipsec) fn packet_nic(entries: &[XSaEntry], options: u32) -> Result<Capabilities> {
    let mut modes = KVec::new();
    for mode in [cap::MODE_ESP_TUNNEL, cap::MODE_ESP_TRANSPORT] {
        let entry = SaMode {
            mode,
            max_replay_win_sz: U32::new(64),
            options: U32::new(options),
            ..SaMode::default()
        };
        modes.push(entry, GFP_KERNEL)?;
    }
    Ok(Capabilities {
        modes,
        ..nic(entries)?
    })
}

/// What AES-128-GCM in a mode with some options asks for.
fn wanted(mode: u8, options: u32) -> Result<XSaEntry> {
    let x = TestState::new(&IPV4)?;
    let supported = Supported {
        mode,
        family: 4,
        options,
        algorithm: algorithm::of(&x).map_err(|_| EINVAL)?,
        encapsulation: None,
    };
    supported.entry().ok_or(EINVAL)
}

/// Whether a NIC with one entry does AES-128-GCM in a mode with some options.
fn allows(entry: XSaEntry, mode: u8, options: u32) -> Result<bool> {
    Ok(nic(&[entry])?.offers(&wanted(mode, options)?))
}

#[kunit_tests(espnic_ipsec_capability)]
mod cases {
    use super::*;

    #[test]
    fn what_the_entry_says() -> Result {
        assert!(allows(GCM, 2, 0)? && allows(GCM, 2, 1)?);
        Ok(())
    }

    #[test]
    fn other_mode() -> Result {
        assert!(!allows(GCM, 1, 0)?);
        let tunnel = XSaEntry { mode: 1, ..GCM };
        assert!(!allows(tunnel, 2, 0)? && allows(tunnel, 1, 0)?);
        Ok(())
    }

    #[test]
    fn options_that_it_lacks() -> Result {
        // 1 is ESN, 2 UDP encapsulation.
        assert!(!allows(GCM, 2, 2)? && !allows(GCM, 2, 3)?);
        let none = XSaEntry {
            flags: U16::new(0),
            ..GCM
        };
        assert!(!allows(none, 2, 1)? && allows(none, 2, 0)?);
        let both = XSaEntry {
            flags: U16::new(3),
            ..GCM
        };
        assert!(allows(both, 2, 3)?);
        Ok(())
    }

    #[test]
    fn other_algorithm() -> Result {
        for entry in [
            XSaEntry { kind: 1, ..GCM },
            XSaEntry {
                algo: U16::new(3),
                ..GCM
            },
            XSaEntry {
                mac: U16::new(4),
                ..GCM
            },
        ] {
            assert!(!allows(entry, 2, 0)?);
        }
        Ok(())
    }

    #[test]
    fn other_lengths() -> Result {
        let only_long_keys = XSaEntry {
            key_lens: U32::new(0x80),
            ..GCM
        };
        let only_short_icvs = XSaEntry {
            icv_lens: U32::new(0x0880),
            ..GCM
        };
        assert!(!allows(only_long_keys, 2, 0)? && !allows(only_short_icvs, 2, 0)?);
        Ok(())
    }

    #[test]
    fn entries_do_not_add_up() -> Result {
        let wanted = wanted(2, 1)?;
        let without_esn = XSaEntry {
            flags: U16::new(0),
            ..GCM
        };
        let other_key = XSaEntry {
            key_lens: U32::new(0x80),
            ..GCM
        };
        assert!(!nic(&[])?.offers(&wanted));
        assert!(!nic(&[without_esn, other_key])?.offers(&wanted));
        assert!(nic(&[without_esn, other_key, GCM])?.offers(&wanted));
        Ok(())
    }

    #[test]
    fn offers_of_whole_entries() -> Result {
        let nic = nic(&[GCM])?;
        let smaller = XSaEntry {
            flags: U16::new(0),
            key_lens: U32::new(0x08),
            ..GCM
        };
        let larger = XSaEntry {
            key_lens: U32::new(0xa8),
            ..GCM
        };
        assert!(nic.offers(&GCM) && nic.offers(&smaller) && !nic.offers(&larger));
        Ok(())
    }

    #[test]
    fn lists_of_entries() -> Result {
        // The number of entries and seven bytes of zero, then entries of 16 bytes.
        assert_eq!((list_len(0), list_len(32)), (8, 40));
        let mut bytes = KVec::new();
        bytes.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0], GFP_KERNEL)?;
        bytes.extend_from_slice(GCM.as_bytes(), GFP_KERNEL)?;
        assert!(cap::entries::<XSaEntry>(&bytes).is_err());
        bytes.extend_from_slice(GCM.as_bytes(), GFP_KERNEL)?;
        let entries = cap::entries::<XSaEntry>(&bytes).map_err(|_| EIO)?;
        assert!(entries.len() == 2 && entries[1] == GCM);
        assert!(cap::entries::<XSaEntry>(&bytes[..7]).is_err());
        Ok(())
    }
}
