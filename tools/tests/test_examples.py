# SPDX-License-Identifier: GPL-2.0
"""The examples in the documentation, as they are taken out of it."""

import pathlib
import tempfile
import unittest

from checklib import Problem, examples

TEXT = """//! A module.
//!
//! ```text
//! no code
//! ```

/// A type.
///
/// # Examples
///
/// ```
/// let one = 1;
///
/// # Ok::<(), Error>(())
/// ```
pub struct One;

    /// ```ignore
    /// not compiled
    /// ```
    /// ```rust
    /// # #[allow(unused)]
    /// #
    /// fn two() {}
    /// ```
    fn two() {}
"""


class Examples(unittest.TestCase):
    """One file, and a folder with it."""

    def test_what_counts(self):
        """Blocks of Rust, with the hidden lines, each with its place."""
        self.assertEqual(examples.examples(TEXT), [
            (12, "let one = 1;\n\nOk::<(), Error>(())"),
            (22, "#[allow(unused)]\n\nfn two() {}")])

    def test_crate(self):
        """Each example is a function that names its place."""
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            with self.assertRaises(Problem):
                examples.write(folder, folder / "examples.rs")
            (folder / "one.rs").write_text(TEXT, encoding="utf-8")
            source, count = examples.crate(folder)
            self.assertEqual(count, 2)
            self.assertIn(f"/// {folder}/one.rs:12\nfn example_1() {{", source)
            self.assertIn("\n        let one = 1;\n", source)

    def test_types_without(self):
        """A type may have an example, or say where there is one; others are named."""
        example = "/// One.\n///\n/// # Examples\n"
        reference = "/// [`One`] has the example.\n#[derive(Clone)]\n"
        for before, missing in ((example, []), (reference, []), ("", ["Two"]),
                                ("/// Two.\n", ["Two"]),
                                (f"{example}pub struct One;\n\n", ["Two"])):
            for kind in ("pub struct", "pub unsafe trait"):
                self.assertEqual(examples.without(f"{before}{kind} Two;\n"), missing)
            self.assertEqual(examples.without(f"{before}pub(crate) struct Two;\n"), [])
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "one.rs").write_text(f"{TEXT}\npub enum Two {{}}\n", encoding="utf-8")
            with self.assertRaisesRegex(Problem, "Two has no example"):
                examples.write(folder, folder / "examples.rs")
