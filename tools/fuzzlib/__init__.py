# SPDX-License-Identifier: GPL-2.0
"""Builds the fuzz targets of rust/fuzz and runs them."""
