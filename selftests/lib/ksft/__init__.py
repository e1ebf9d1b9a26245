# SPDX-License-Identifier: GPL-2.0
"""Helpers for the Python selftests: KTAP, namespaces, traffic, XFRM, captures."""
