# SPDX-License-Identifier: GPL-2.0
"""How Sphinx builds these pages; ``tools/check documentation`` runs it."""

project = "espnic"
html_theme = "alabaster"
html_copy_source = False
# Literal blocks are shell and layouts, and Sphinx would colour them as Python.
highlight_language = "none"
