#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Provokes the debug kernel.  All cases pass as far as they know; the harness must turn those named
# provoked_* into failures, and no other.  Lockdep stops at its first report, and KASAN's report
# stops lockdep, so these two come last.

cd "$(dirname "$0")" || exit 1
# shellcheck source=/dev/null
. ../lib/ktap.sh

provoke() {
	echo "$1" >/sys/kernel/debug/espnic-provoke
}

innocent() { true; }
provoked_warning() { provoke warning; }
innocent_after_warning() { true; }
provoked_atomic_sleep() { provoke atomic_sleep; }
provoked_rcu() { provoke rcu; }
provoked_shift() { provoke shift; }
innocent_after_shift() { true; }

# The device cannot go while there is a reference to it.
provoked_device() {
	ip link add held0 type dummy && provoke device && ip link del held0
}

provoked_lock_order() { provoke lock_order; }
provoked_use_after_free() { provoke use_after_free; }
innocent_at_the_end() { true; }

[ -e /sys/kernel/debug/espnic-provoke ] || insmod /espnic/provoke.ko || skip_all "no provoke.ko"
ktap_run innocent provoked_warning innocent_after_warning provoked_atomic_sleep provoked_rcu \
	provoked_shift innocent_after_shift provoked_device provoked_lock_order \
	provoked_use_after_free innocent_at_the_end
