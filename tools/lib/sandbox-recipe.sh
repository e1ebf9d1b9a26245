# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Run by mmdebstrap as a customize hook, in the outer system, with the new root
# in $1: adds the backports suite and what is taken from it, and packages that
# cannot be installed.  The text of this file is part of the sandbox's cache key.
#
# In:  ESPNIC_SUITE, ESPNIC_BACKPORTS (packages; none: no backports),
#      ESPNIC_UNPACKED (packages whose files are laid over the others)
# Out: $1/etc/espnic/sandbox with SUITE

set -eu
root=$1
say() { echo "sandbox: $*" >&2; }
in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@" </dev/null >&2; }

if [ -n "$ESPNIC_BACKPORTS" ]; then
	# The mirror that mmdebstrap chose serves the backports too.
	list=$root/etc/apt/sources.list
	line=$(sed -n "s/^\(deb .*\) $ESPNIC_SUITE main.*/\1 $ESPNIC_SUITE-backports main/p" "$list" | head -n 1)
	[ -n "$line" ] || { say "no '$ESPNIC_SUITE main' line in the new sources.list"; exit 1; }
	echo "$line" >"$root/etc/apt/sources.list.d/backports.list"
	say "package lists of $ESPNIC_SUITE-backports"
	in_root apt-get update -qq -o Acquire::Languages=none
	say "QEMU"
	# shellcheck disable=SC2086 # a list of packages
	in_root apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 \
		-t "$ESPNIC_SUITE-backports" $ESPNIC_BACKPORTS
fi

# Two IKE daemons do not want to be installed together, but they share no file.
# shellcheck disable=SC2016 # expanded in the new root
for package in $ESPNIC_UNPACKED; do
	say "$package"
	in_root sh -euc '
		cd "$(mktemp -d)"
		apt-get download -qq -o APT::Sandbox::User=root "$1"
		apt-get satisfy -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$(dpkg-deb -f ./*.deb Depends)"
		dpkg-deb -x ./*.deb /
		rm -r "$PWD"' sh "$package"
done

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
mkdir -p "$root/etc/espnic"
echo "SUITE=$ESPNIC_SUITE" >"$root/etc/espnic/sandbox"
