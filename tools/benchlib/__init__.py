# SPDX-License-Identifier: GPL-2.0
"""Parts of tools/bench."""
