# SPDX-License-Identifier: GPL-2.0
"""Finds files that import each other.

Rust: an arrow goes from a file to the file whose names a `use` in it takes. A `pub use` only hands
names on, and a `mod` only says where a file is: neither is an arrow. Tests are left out.
Python: an arrow goes from a module to each one that it imports, also inside of functions.
"""

import ast
import pathlib
import re

from .common import Problem

# The crates: the folder of the root file, and that file.
CRATES = {"rust/wire/src": "lib.rs", "rust/esp/src": "lib.rs", "rust/ndis/src": "lib.rs",
          "rust/ndis-cli/src": "lib.rs", "rust/device/src": "lib.rs", "rust/kernel": "lib.rs",
          "rust/espnic": "main.rs"}
# Where no file imports itself by way of others; only files below count.
CLEAN = ("rust/wire/src", "rust/esp/src", "rust/ndis/src", "rust/ndis-cli/src",
         "rust/device/src", "rust/kernel", "rust/espnic")
# The folders from which Python programs import their modules.
PYTHON = ("tools", "selftests/lib")
COMMENT = re.compile(r"//[^\n]*")
USE = re.compile(r"^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.M)
TESTS = re.compile(r"^#\[cfg\(test\)\]\s*mod\s+\w+\s*\{.*", re.M | re.S)


def paths(tree, before=()):
    """The paths in a use tree: a::{b, c::d} is (a, b) and (a, c, d)."""
    depth, part, parts = 0, "", []
    for char in tree.strip():
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and not depth:
            parts.append(part)
            part = ""
        else:
            part += char
    found = []
    for one in [*parts, part]:
        head, brace, rest = one.strip().partition("{")
        names = tuple(name.split(" as ")[0].strip() for name in head.split("::") if name.strip())
        if brace:
            found += paths(rest.rstrip()[:-1], before + names)
        elif names:
            found.append(before + names)
    return found


def imports(text):
    """The paths that a file's use lines outside of its tests take names from."""
    text = TESTS.sub("", COMMENT.sub("", text))
    return [path for public, tree in USE.findall(text) if not public for path in paths(tree)]


class Crate:
    """The modules of a crate by their path, and the other way round."""

    def __init__(self, top, root):
        self.modules = {}
        for path in sorted(top.rglob("*.rs")):
            parts = path.relative_to(top).with_suffix("").parts
            if "tests" in parts or parts[-1].endswith("_tests") or parts[0] == "bin":
                continue
            self.modules[() if path == top / root else parts] = path

    def file_of(self, module, path):
        """The file that a path in a module leads to; None if it leads out of the crate."""
        first, *rest = path
        if first == "crate":
            here = tuple(rest)
        elif first in ("self", "super"):
            up = sum(name == "super" for name in path)
            start = module[:len(module) - up]
            here = start + tuple(name for name in path if name not in ("self", "super"))
        elif module + (first,) in self.modules:
            here = module + tuple(path)
        else:
            return None
        while here and here not in self.modules:
            here = here[:-1]
        return self.modules.get(here)

    def arrows(self):
        """The files that each file imports."""
        found = {}
        for module, path in self.modules.items():
            text = path.read_text(encoding="utf-8")
            to = {self.file_of(module, one) for one in imports(text)}
            found[path] = to - {None, path}
        return found


def _imported(modules, package, node):
    """The files that an import statement in a package takes modules or names from."""
    if isinstance(node, ast.Import):
        return {modules.get(tuple(one.name.split("."))) for one in node.names}
    base = package[:len(package) + 1 - node.level] if node.level else ()
    base += tuple(node.module.split(".")) if node.module else ()
    return {modules.get((*base, one.name), modules.get(base)) for one in node.names}


def python_arrows(top):
    """The Python files that each one below a folder imports."""
    modules = {}
    for path in sorted(top.rglob("*.py")):
        parts = path.relative_to(top).with_suffix("").parts
        modules[parts[:-1] if parts[-1] == "__init__" else parts] = path
    found = {}
    for module, path in modules.items():
        package = module if path.name == "__init__.py" else module[:-1]
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        to = [_imported(modules, package, node) for node in nodes
              if isinstance(node, (ast.Import, ast.ImportFrom))]
        found[path] = set().union(*to) - {None, path}
    return found


def circles(arrows):
    """Groups of files of which each leads to every other one."""
    reach = {start: _reached(arrows, start) for start in arrows}
    groups = {frozenset(other for other in reach[start] if start in reach.get(other, ()))
              for start in arrows if start in reach[start]}
    return sorted(sorted(group) for group in groups)


def _reached(arrows, start):
    seen, left = set(), [start]
    while left:
        for one in arrows.get(left.pop(), ()):
            if one not in seen:
                seen.add(one)
                left.append(one)
    return seen


def _told(checkout, folder, arrows):
    """The circles among the files of a folder, as lines."""
    lines = []
    for group in circles(arrows):
        names = [str(path.relative_to(checkout)) for path in group]
        lines += [f"{folder}: {len(names)} files import each other:", *names]
    return lines


def found(checkout, folders=CLEAN):
    """The circles among the files of each of these folders of crates, as lines."""
    lines, read = [], {}
    for folder in folders:
        crate = next(name for name in CRATES if f"{folder}/".startswith(f"{name}/"))
        if crate not in read:
            read[crate] = Crate(checkout / crate, CRATES[crate]).arrows()
        arrows = read[crate]
        inside = checkout / folder
        here = {path: {one for one in to if one.is_relative_to(inside)}
                for path, to in arrows.items() if path.is_relative_to(inside)}
        lines += _told(checkout, folder, here)
    return lines


def found_python(checkout):
    """The circles among the Python modules, as lines."""
    return [line for folder in PYTHON
            for line in _told(checkout, folder, python_arrows(checkout / folder))]


def check():
    """No circles in the folders that have none."""
    checkout = pathlib.Path.cwd()
    lines = found(checkout) + found_python(checkout)
    if lines:
        raise Problem("\n".join(lines))
