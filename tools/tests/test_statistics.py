# SPDX-License-Identifier: GPL-2.0
"""Statistics that no test mentions are found."""

import unittest

from checklib import statistics

DRIVER = """
counters! {
    /// A doc, with a word.
    struct Counters {
        /// One.
        packets: c"tx_packets",
        bytes: c"tx_bytes",
    }
    with {
        inner: Inner,
    }
}
"""
NIC = """
counters! {
    pub struct Stats {
        /// One.
        kicks,
        commands: "admin_commands",
    }
}

#[cfg(test)]
mod tests {
    // kicks
}
"""


class Statistics(unittest.TestCase):
    """Names and the tests that mention them."""

    def test_names(self):
        """A row has a name, or its field is the name."""
        self.assertEqual(statistics.names(DRIVER), ["tx_packets", "tx_bytes"])
        self.assertEqual(statistics.names(NIC), ["kicks", "admin_commands"])

    def test_unmentioned(self):
        """Only whole words in tests count."""
        sources = [("rust/espnic/tx.rs", DRIVER), ("rust/device/src/stats.rs", NIC),
                   ("selftests/a.py", "counter['tx_packets'] no_tx_bytes"),
                   ("Documentation/a.rst", "tx_bytes admin_commands")]
        self.assertEqual(list(statistics.unmentioned(sources)),
                         ["rust/espnic/tx.rs: no test mentions tx_bytes",
                          "rust/device/src/stats.rs: no test mentions admin_commands"])
        sources += [("rust/espnic/stats/tests.rs", "tx_bytes"),
                    ("rust/device/tests/a.rs", "admin_commands")]
        self.assertEqual(list(statistics.unmentioned(sources)), [])


if __name__ == "__main__":
    unittest.main()
