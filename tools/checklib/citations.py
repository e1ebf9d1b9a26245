# SPDX-License-Identifier: GPL-2.0
"""Finds citations that lead nowhere.

It looks at the comments of *.rs, at the comments and docstrings of *.py, and at all but the
``literals`` of *.rst and of the tables of Documentation:

* Rules X1 (xfrm-contract.rst) and V1 (virtio-checklist.csv), everywhere. A rule has at most three
  digits, so X25519 is none; X509 is none, either, nor is what follows a colon, as in Family::V4.
* Rules R1 (ndis-rules.csv) and choices C1 (ndis-rules.rst) in what is about NDIS, also where a
  test prints them. C89 and C99 are languages.
* R with two numbers and a dot between them, which is a rule of no table.
* :doc:, :ref:, the entries of toctrees, and the files of tables.
"""

import ast
import io
import pathlib
import re
import tokenize

from .common import Problem, tracked

DOCS = pathlib.PurePath("Documentation")
# The letter of a kind of rule, the file with its rules, and the lines that they are in.
TABLES = {"X": (DOCS / "xfrm-contract.rst", re.compile(r"^:(X\d+):", re.M)),
          "V": (DOCS / "virtio-checklist.csv", re.compile(r"^(V\d+),", re.M)),
          "R": (DOCS / "ndis-rules.csv", re.compile(r"^(R\d+),", re.M)),
          "C": (DOCS / "ndis-rules.rst", re.compile(r"^:(C\d+):", re.M))}
CITED = re.compile(r"(?<![\w:])(?!X509\b|C89\b|C99\b)([XVRC][0-9]{1,3})(?!\w|\.[0-9])")
NO_TABLE = re.compile(r"(?<![\w:])R[0-9]+\.[0-9]+")
NDIS = re.compile(r"^(rust/espnic/ndis|rust/ndis|selftests/.*/ndis_|Documentation/(espnic-)?ndis)")
# How tests print rules: on the host, in the guest.
PRINTED = re.compile(r"# rules:[R0-9 ]*|\bktap\.rules\([^)]*\)")

LITERAL = re.compile(r"``.+?``", re.S)
ROLE = re.compile(r":(doc|ref):`(?:[^`<]*<([^`>]+)>|([^`<]+))`")
LABEL = re.compile(r"^\s*\.\. _([^:`]+):\s*$", re.M)
TOCTREE = re.compile(r"^\.\. toctree::\n((?:[ \t]+.*\n|\n)*)", re.M)
TABLE_FILE = re.compile(r"^\s+:file:\s+(\S+)", re.M)


def _comments(text):
    """Line and text of the comments of Rust."""
    for number, line in enumerate(text.splitlines(), 1):
        _code, slashes, comment = line.partition("//")
        if slashes:
            yield number, comment


def _notes(text):
    """Line and text of the comments and docstrings of Python."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring is not None:
                yield from enumerate(docstring.splitlines(), node.body[0].lineno)


def _blank(text):
    """A page without its literals; lines stay what they are."""
    return LITERAL.sub(lambda found: "\n" * found[0].count("\n"), text)


def _prose(text):
    """Line and text of a page or table."""
    yield from enumerate(_blank(text).splitlines(), 1)


READERS = {".rs": _comments, ".py": _notes, ".rst": _prose, ".csv": _prose}


def _line(text, at):
    return text.count("\n", 0, at) + 1


def _printed(text):
    for found in PRINTED.finditer(text):
        yield _line(text, found.start()), found[0].replace('"', " ")


def _rules(name, text, tables):
    """Rules that are cited in a file and in no table."""
    about_ndis = NDIS.match(name)
    lines = list(READERS[pathlib.PurePath(name).suffix](text))
    if about_ndis:
        lines += _printed(text)
    for number, line in lines:
        for rule in CITED.findall(line):
            if (rule[0] in "XV" or about_ndis) and rule not in tables[rule[0]]:
                yield f"{name}:{number}: {rule} is not in {TABLES[rule[0]][0]}"
        for rule in NO_TABLE.findall(line):
            yield f"{name}:{number}: {rule} is a rule of no table"


def _entries(text):
    """Place and page of the entries of toctrees."""
    for tree in TOCTREE.finditer(text):
        for entry in re.finditer(r"^[ \t]+([^:\s].*)$", tree[1], re.M):
            yield tree.start(1) + entry.start(), entry[1].strip()


def _links(name, text, names, labels):
    """Links of a page that lead to nothing."""
    folder, text = pathlib.PurePath(name).parent, _blank(text)

    def missing(target, suffix=""):
        path = DOCS / target[1:] if target.startswith("/") else folder / target
        return f"{path}{suffix}" not in names

    for role in ROLE.finditer(text):
        kind, target = role[1], (role[2] or role[3]).strip()
        if missing(target, ".rst") if kind == "doc" else target.lower() not in labels:
            yield f"{name}:{_line(text, role.start())}: :{kind}:`{target}` leads nowhere"
    for at, target in _entries(text):
        if missing(target, ".rst"):
            yield f"{name}:{_line(text, at)}: {target} is not a page"
    for file in TABLE_FILE.finditer(text):
        if missing(file[1]):
            yield f"{name}:{_line(text, file.start())}: {file[1]} is not there"


def found(top, paths):
    """The citations in these files of a tree that lead nowhere, as lines."""
    names = {str(path) for path in paths}
    texts = {name: (top / name).read_text(encoding="utf-8") for name in sorted(names)
             if name.endswith((".rs", ".py", ".rst"))
             or name.endswith(".csv") and name.startswith(f"{DOCS}/")}
    tables, lines = {}, []
    for letter, (path, row) in TABLES.items():
        rows = row.findall(texts.get(str(path), ""))
        tables[letter] = set(rows)
        lines += [f"{path}: {rule} is there twice" for rule in tables[letter]
                  if rows.count(rule) > 1]
    labels = {label.lower() for name, text in texts.items() if name.endswith(".rst")
              for label in LABEL.findall(text)}
    for name, text in texts.items():
        lines += _rules(name, text, tables)
        if name.endswith((".rst", ".csv")):
            lines += _links(name, text, names, labels)
    return lines


def check():
    """Whatever is cited is there."""
    lines = found(pathlib.Path.cwd(), tracked())
    if lines:
        raise Problem("\n".join(lines))
