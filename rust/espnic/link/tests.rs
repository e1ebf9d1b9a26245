// SPDX-License-Identifier: GPL-2.0

//! Tests of what is shown of the link.

use super::Settings;
use kernel::prelude::*;
use kernel_net::net::ethtool::Link;

#[kunit_tests(espnic_link)]
mod cases {
    use super::*;

    /// SPEED_UNKNOWN and DUPLEX_UNKNOWN of ethtool.
    const UNKNOWN: (u32, u8) = (0xffff_ffff, 0xff);

    fn shown(settings: &Settings) -> (u32, u8) {
        let link = settings.shown();
        (link.speed(), link.duplex())
    }

    #[test]
    fn the_last_word_counts() {
        let mut settings = Settings::new();
        assert_eq!(shown(&settings), UNKNOWN);
        settings.report(Link::of(25_000, 1));
        assert_eq!(shown(&settings), (25_000, 1));
        settings.set(Link::of(10, 0));
        assert_eq!(shown(&settings), (10, 0));
        // No news.
        settings.report(Link::of(25_000, 1));
        assert_eq!(shown(&settings), (10, 0));
        settings.report(Link::of(100_000, 1));
        assert_eq!(shown(&settings), (100_000, 1));
    }

    #[test]
    fn impossible_reports_are_unknown() {
        let mut settings = Settings::new();
        settings.report(Link::of(0x7fff_ffff, 0));
        assert_eq!(shown(&settings), (0x7fff_ffff, 0));
        settings.report(Link::of(0x8000_0000, 2));
        assert_eq!(shown(&settings), UNKNOWN);
        settings.report(Link::of(u32::MAX, 0xff));
        assert_eq!(shown(&settings), UNKNOWN);
        settings.report(Link::of(0, 0));
        assert_eq!(shown(&settings), (0, 0));
    }
}
