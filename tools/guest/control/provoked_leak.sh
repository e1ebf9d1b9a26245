#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Forgets memory right before it ends.  The case passes, the program must be made a failure.

cd "$(dirname "$0")" || exit 1
# shellcheck source=/dev/null
. ../lib/ktap.sh

leaking() {
	echo leak >/sys/kernel/debug/espnic-provoke
}

[ -e /sys/kernel/debug/espnic-provoke ] || insmod /espnic/provoke.ko || skip_all "no provoke.ko"
ktap_run leaking
