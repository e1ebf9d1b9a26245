# SPDX-License-Identifier: GPL-2.0
"""Kernels: what the archive offers, which one is taken, how it is prepared, modules for it."""
