// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Writing SA requests into the caller's buffer.
