# SPDX-License-Identifier: GPL-2.0
"""Checks of the Rust code on both sides."""

import contextlib
import pathlib
import re
import shlex

from cachelib import CHECKOUT
from fuzzlib import build as targets
from kernellib import module as build

from . import examples
from .common import Problem, kernel, run, tracked

# A copy of the module's sources: linting in place would throw away the objects
# of the ordinary build, and a build in another folder wants a clean source tree.
COPY = CHECKOUT / "build/check/module"
# Crates of the module, as Kbuild names their objects.
CRATES = ("rust/wire/src/lib", "rust/esp/src/lib", "rust/ndis/src/lib", "rust/kernel/lib",
          "rust/espnic/main")


def rustfmt():
    """All Rust files in the kernel's format."""
    files = [path for path in tracked() if path.suffix == ".rs"]
    run("rustfmt", "--check", "-l", "--edition", "2021",
        "--config-path", kernel().tree / ".rustfmt.toml", *files)


def module():
    """The module with the kernel's lints and extra warnings, all of them errors."""
    build.copy(["Kbuild", "rust"], COPY)
    text = run(*build.make_command(kernel(), COPY, "modules", ["CLIPPY=1", "W=1e"]),
               MAKEFLAGS="", MAKELEVEL="")
    warnings = [line for line in text.splitlines() if re.search(r"\bwarning: ", line, re.I)]
    if warnings:
        raise Problem("\n".join(warnings))


def _doc_command(saved):
    """rustdoc's words for the compiler call that Kbuild saved; without those of code generation."""
    words = shlex.split(saved)
    start = next(n for n, word in enumerate(words) if "=" not in word)
    variables = dict(word.split("=", 1) for word in words[:start])
    kept = []
    rest = iter(words[start + 1:])
    for word in rest:
        if word == "--out-dir":
            next(rest)
        elif not word.startswith("--emit="):
            kept.append(word)
    return variables, kept


def _saved(crate):
    """The compiler call that Kbuild saved for a crate, for use in its build folder."""
    path = pathlib.Path(crate)
    saved = (path.parent / f".{path.name}.o.cmd").read_text(encoding="utf-8")
    return _doc_command(saved.splitlines()[0].partition(":=")[2].partition(";")[0])


@contextlib.contextmanager
def _built():
    """The folder where the module was built is the current one."""
    if not (COPY / "espnic.ko").exists():
        raise Problem("needs the output of the check 'module'")
    with contextlib.chdir(COPY):
        yield


def module_examples():
    """The examples in the documentation of the abstractions compile."""
    with _built():
        variables, words = _saved("rust/espnic/main")
        examples.write(pathlib.Path("rust/kernel"), "examples.rs")
        run("rustc", *words[:-1], "--crate-name=examples", "--emit=metadata=examples.rmeta",
            "examples.rs", RUSTC_BOOTSTRAP="1", **variables)


def module_doc():
    """Documentation of the module's crates has no broken links."""
    with _built():
        for crate in CRATES:
            variables, words = _saved(crate)
            run("rustdoc", *words, "--document-private-items", "-Dwarnings",
                "--output", COPY / "doc", RUSTC_BOOTSTRAP="1",
                ESPNIC_BINDINGS=str(COPY / "rust/bindings"), **variables)


def clippy():
    """The workspace on the host side."""
    run("cargo", "clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--",
        "-D", "warnings")


def fuzz():
    """The fuzz targets, which are a workspace of their own."""
    command, variables = targets.cargo("clippy", "--lib", "--bins", "--quiet", "--",
                                       "-D", "warnings")
    run(*command, **variables)


def doc():
    """Documentation of the workspace has no broken links."""
    run("cargo", "doc", "--locked", "--workspace", "--no-deps", "--document-private-items",
        "--quiet", RUSTDOCFLAGS="-D warnings")


