# SPDX-License-Identifier: GPL-2.0
"""The check for citations that lead nowhere."""

import contextlib
import csv
import pathlib
import tempfile
import unittest
from unittest import mock

from checklib import Problem, citations

TREE = {
    "Documentation/index.rst": """
.. _start here:

See :doc:`more <xfrm-contract>`, :doc:`/ndis-rules`, :ref:`Start Here`; not ``X99``, ``:doc:`no` ``.

.. toctree::
   :hidden:

   xfrm-contract
   ndis-rules

Bits of X25519 and X509.
""",
    "Documentation/xfrm-contract.rst": ":X1: Something.\n:X2: As X1 and V4 say.\n",
    "Documentation/virtio-checklist.csv": "Rule,Where\nV1,here\nV4,\"as X2, :doc:`index`\"\n",
    "Documentation/ndis-rules.csv": "Rule,Statement\nR1,One\nR12,Two\n",
    "Documentation/ndis-rules.rst": ":C1: As R12.\n\n.. csv-table::\n   :file: ndis-rules.csv\n",
    "rust/espnic/tx.rs": "// By X1, V1-V4.\nlet v = V66; // [`Family::V6`], X25519, R9 of others\n",
    "rust/espnic/ndis/oob.rs": "/// C99 (R1, C1).\nconst R77: u8 = X88;\n",
    "rust/ndis/tests/model.rs": 'println!("# rules: R1 R12");\n',
    "selftests/drivers/net/ndis_add.py": '"""R1."""\nktap.rules("R1",\n  "R12")\nX99 = "V99"\n',
    "tools/tool.py": 'def one():\n    """Obeys V4.\n\n    And X2."""\n    return "X77"  # X1\n',
}

# A file, what is put in the place of what there, and the line that is found.
FAULTS = (
    ("rust/espnic/tx.rs", "By X1", "By X3", "rust/espnic/tx.rs:1: X3 is not in"),
    ("rust/espnic/tx.rs", "-V4", "-V5", "rust/espnic/tx.rs:1: V5 is not in"),
    ("rust/espnic/tx.rs", "R9", "R2.8", "rust/espnic/tx.rs:2: R2.8 is a rule of no table"),
    ("tools/tool.py", "Obeys V4", "Obeys V7", "tools/tool.py:2: V7 is not in"),
    ("tools/tool.py", "And X2", "And X4", "tools/tool.py:4: X4 is not in"),
    ("tools/tool.py", "# X1", "# X10", "tools/tool.py:5: X10 is not in"),
    ("rust/espnic/ndis/oob.rs", "(R1", "(R13", "rust/espnic/ndis/oob.rs:1: R13 is not in"),
    ("rust/espnic/ndis/oob.rs", "C1)", "C2)", "rust/espnic/ndis/oob.rs:1: C2 is not in"),
    ("rust/ndis/tests/model.rs", "R12", "R14", "rust/ndis/tests/model.rs:1: R14 is not in"),
    ("selftests/drivers/net/ndis_add.py", '"R12"', '"R15"',
     "selftests/drivers/net/ndis_add.py:2: R15 is not in"),
    ("Documentation/ndis-rules.rst", "As R12", "As R120",
     "Documentation/ndis-rules.rst:1: R120 is not in"),
    ("Documentation/xfrm-contract.rst", ":X2:", ":X1:",
     "Documentation/xfrm-contract.rst: X1 is there twice"),
    ("Documentation/virtio-checklist.csv", "as X2", "as X5",
     "Documentation/virtio-checklist.csv:3: X5 is not in"),
    ("Documentation/virtio-checklist.csv", "`index`", "`indices`",
     "Documentation/virtio-checklist.csv:3: :doc:`indices` leads nowhere"),
    ("Documentation/index.rst", "<xfrm-contract>", "<contract>",
     "Documentation/index.rst:4: :doc:`contract` leads nowhere"),
    ("Documentation/index.rst", "`Start Here`", "`the end`",
     "Documentation/index.rst:4: :ref:`the end` leads nowhere"),
    ("Documentation/index.rst", "   ndis-rules", "   rules",
     "Documentation/index.rst:10: rules is not a page"),
    ("Documentation/ndis-rules.rst", "ndis-rules.csv", "rules.csv",
     "Documentation/ndis-rules.rst:4: rules.csv is not there"),
)


class Citations(unittest.TestCase):
    """A small tree, as it is and with one fault at a time."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = pathlib.Path(folder.name)
        for name, text in TREE.items():
            self.write(name, text)

    def write(self, name, text):
        """Write a file of the tree."""
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def found(self):
        """The lines about the tree."""
        return citations.found(self.top, [pathlib.Path(name) for name in TREE])

    def test_a_tree_that_is_right(self):
        """Code, literals and names that look like rules are no citations."""
        self.assertEqual(self.found(), [])

    def test_each_fault_is_found(self):
        """With its file and line, and nothing else with it."""
        for name, old, new, wanted in FAULTS:
            with self.subTest(fault=wanted):
                self.assertIn(old, TREE[name])
                self.write(name, TREE[name].replace(old, new))
                lines = self.found()
                self.write(name, TREE[name])
                self.assertTrue(any(line.startswith(wanted) for line in lines), lines)

    def test_a_table_that_is_missing(self):
        """Then nothing of it is there."""
        self.write("Documentation/ndis-rules.csv", "Rule,Statement\n")
        self.assertIn("R12", "".join(self.found()))

    def test_the_check_fails(self):
        """The check of tools/check shows what was found."""
        self.write("rust/espnic/tx.rs", "// X3\n")
        paths = [pathlib.Path(name) for name in TREE]
        with contextlib.chdir(self.top), mock.patch.object(citations, "tracked", lambda: paths), \
                self.assertRaises(Problem) as caught:
            citations.check()
        self.assertIn("rust/espnic/tx.rs:1: X3", str(caught.exception))

    def test_own_tables(self):
        """The tables of this checkout are where they are looked for, and have no gaps but V's."""
        checkout = pathlib.Path(__file__).resolve().parent.parent.parent
        for letter, (path, row) in citations.TABLES.items():
            rules = row.findall((checkout / path).read_text(encoding="utf-8"))
            self.assertGreater(len(rules), 40, path)
            if letter != "V":
                wanted = [f"{letter}{number}" for number in range(1, len(rules) + 1)]
                self.assertEqual(rules, wanted, path)

    def test_own_checklist(self):
        """Every row has a cell for each column, and none is empty."""
        checkout = pathlib.Path(__file__).resolve().parent.parent.parent
        path = checkout / citations.TABLES["V"][0]
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        for row in rows:
            self.assertEqual((len(row), all(row)), (len(head), True), row)
