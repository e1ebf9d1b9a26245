# SPDX-License-Identifier: GPL-2.0
"""The fuzz targets and how they are built.

The compiler is Debian's, so the instrumentation is asked for by hand: LLVM's pass that counts
edges and reports comparisons, which libFuzzer reads. There are no sanitizers; the code is safe
Rust, and what it must not do is panic, hang, or break what a target asserts. libFuzzer itself is
C++, which the sandbox has a compiler for.
"""

import os
import re
import subprocess
import tomllib

from cachelib import CHECKOUT, ToolError

CRATE = CHECKOUT / "rust/fuzz"
OUTPUT = CHECKOUT / "build/fuzz"
RUSTFLAGS = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg", "fuzzing",
]


def targets():
    """The names of all targets."""
    with (CRATE / "Cargo.toml").open("rb") as manifest:
        return [target["name"] for target in tomllib.load(manifest)["bin"]]


def _machine():
    """What rustc calls this machine. With a target named, build scripts are not instrumented."""
    said = subprocess.run(["rustc", "-vV"], check=True, text=True, capture_output=True).stdout
    return re.search(r"^host: (.*)$", said, re.M)[1]


def cargo(subcommand, *words):
    """Command line and variables for a subcommand of cargo that compiles the targets.

    All of them get the same flags and folder, so that the C libraries are built only once.
    """
    command = ["cargo", subcommand, "--locked", "--release", "--target", _machine(),
               "--manifest-path", str(CRATE / "Cargo.toml"), *words]
    return command, {"CXX": os.environ.get("CXX", "clang++"),
                     "CARGO_TARGET_DIR": str(OUTPUT / "cargo"),
                     "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(RUSTFLAGS)}


def build(names):
    """Build some targets; their programs by name. Cargo tells about its progress on stderr."""
    command, variables = cargo("build", *(word for name in names for word in ("--bin", name)))
    result = subprocess.run(command, check=False, stdin=subprocess.DEVNULL,
                            env={**os.environ, **variables})
    if result.returncode:
        raise ToolError("the targets do not build, see above", 1)
    return {name: OUTPUT / "cargo" / _machine() / "release" / name for name in names}
