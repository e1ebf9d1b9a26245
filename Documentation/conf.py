# SPDX-License-Identifier: GPL-2.0
"""How Sphinx builds these pages; ``tools/check documentation`` runs it."""

project = "espnic"
html_theme = "alabaster"
html_copy_source = False
# Literal blocks are shell and layouts, and Sphinx would colour them as Python.
highlight_language = "none"
# What ``make manuals`` builds: page, name, what it is, authors, section.
man_pages = [
    ("espnic-device", "espnic-device", "a virtio NIC with IPsec offload, for QEMU", "", 1),
    ("espnic-ndis", "espnic-ndis", "NDIS IPsec offload requests to an espnic NIC", "", 1),
]
