# SPDX-License-Identifier: GPL-2.0
"""Parts of tools/vm: guest image, initramfs, NIC process and QEMU."""
