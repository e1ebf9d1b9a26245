# SPDX-License-Identifier: GPL-2.0
"""Compiles the examples in the documentation of the abstractions.

rustdoc builds and runs an example as a program, with the standard library, which a kernel module
cannot be. So all examples become functions of one crate, which is compiled as the driver is, and
has a module `MyModule`.
"""

import pathlib
import re
import textwrap

from .common import Problem

FENCE = re.compile(r"^\s*//[/!] ?(```)(.*)$")
DOC = re.compile(r"^\s*//[/!] ?(.*)$")
PUBLIC = re.compile(r"pub (?:unsafe )?(?:struct|enum|trait|type|union) (\w+)")
NAMED = re.compile(r"^# Examples$|has the example|show its use", re.M)
CRATE = """//! Examples.
#![allow(dead_code, missing_docs, unused, clippy::all)]

use kernel::prelude::*;

module! {
    type: MyModule,
    name: "examples",
    authors: ["espnic"],
    description: "Examples",
    license: "GPL",
}

struct MyModule;

impl kernel::Module for MyModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
"""


def examples(text):
    """The examples in a file's documentation: the number of the first line, and the code."""
    found, block, start = [], None, 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if fence and block is None:
            block, start = [], number + 1
            wanted = fence.group(2).strip() in ("", "rust")
        elif fence:
            if wanted:
                found.append((start, "\n".join(block)))
            block = None
        elif block is not None:
            doc = DOC.match(line)
            block.append(_shown(doc.group(1)) if doc else "")
    return found


def without(text):
    """The public types of a file, by name, whose documentation neither has nor names an example."""
    found, shown = [], ""
    for line in text.splitlines():
        doc, public = DOC.match(line), PUBLIC.match(line)
        if doc:
            shown += f"{doc.group(1)}\n"
        elif public and not NAMED.search(shown):
            found.append(public.group(1))
        if not doc and not line.startswith(("#[", "//")):
            shown = ""
    return found


def _shown(line):
    """A line of an example without the mark that hides it from readers."""
    if line.strip() == "#":
        return ""
    return re.sub(r"^(\s*)# ", r"\1", line)


def crate(folder):
    """The source of a crate with the examples below a folder, and how many there are."""
    parts = [CRATE]
    for path in sorted(folder.rglob("*.rs")):
        for line, code in examples(path.read_text(encoding="utf-8")):
            parts.append(f"/// {path}:{line}\nfn example_{len(parts)}() {{\n    let _ = || {{\n"
                         f"{textwrap.indent(code, ' ' * 8)}\n    }};\n}}\n")
    return "\n".join(parts), len(parts) - 1


def write(folder, target):
    """Write that crate. Each public type must have an example in it, or name one."""
    source, count = crate(folder)
    if not count:
        raise Problem(f"no examples below {folder}")
    missing = [f"{path}: {name} has no example" for path in sorted(folder.rglob("*.rs"))
               for name in without(path.read_text(encoding="utf-8"))]
    if missing:
        raise Problem("\n".join(missing))
    pathlib.Path(target).write_text(source, encoding="utf-8")
