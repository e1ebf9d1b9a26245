# SPDX-License-Identifier: GPL-2.0
"""Tests of the tools themselves; tools/run-tests runs them as the group "tools"."""
