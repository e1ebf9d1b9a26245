# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Run by mmdebstrap as a customize hook, in the outer system, with the new root
# in $1: adds the backports suite, QEMU and the stock kernel.  The text of this
# file is part of the sandbox's cache key.
#
# In:  ESPNIC_SUITE, ESPNIC_MIN_KERNEL, ESPNIC_ARCH, ESPNIC_BACKPORTS (packages)
# Out: $1/etc/espnic/sandbox with KERNEL_RELEASE, KERNEL_SERIES, KERNEL_IMAGE

set -eu
root=$1
say() { echo "sandbox: $*" >&2; }
in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@" </dev/null >&2; }

# The mirror that mmdebstrap chose serves the backports too.
list=$root/etc/apt/sources.list
line=$(sed -n "s/^\(deb .*\) $ESPNIC_SUITE main.*/\1 $ESPNIC_SUITE-backports main/p" "$list" | head -n 1)
[ -n "$line" ] || { say "no '$ESPNIC_SUITE main' line in the new sources.list"; exit 1; }
echo "$line" >"$root/etc/apt/sources.list.d/backports.list"
say "package lists of $ESPNIC_SUITE-backports"
in_root apt-get update -qq -o Acquire::Languages=none

# Newest stock kernel: ask apt, never name a patch level.  Image, headers and
# source must be there in one version.
in_apt() { chroot "$root" apt-cache "$@" 2>/dev/null; }
versions() { in_apt madison "$1" | cut -d'|' -f2 | tr -d ' ' | sort -u; }
release='' newest=''
for candidate in $(in_apt pkgnames linux-image- |
	sed -n "s/^linux-image-\([0-9][0-9.]*+deb[0-9]*-$ESPNIC_ARCH\)\$/\1/p" | sort -Vr); do
	newest=${newest:-$candidate}
	series=$(echo "${candidate%%+*}" | cut -d. -f1,2)
	lower=$(printf '%s\n%s\n' "$ESPNIC_MIN_KERNEL" "$series" | sort -V | head -n 1)
	[ "$lower" = "$ESPNIC_MIN_KERNEL" ] || break
	version=$(versions "linux-image-$candidate" | sort -V | tail -n 1)
	versions "linux-source-$series" | grep -qxF "$version" || continue
	versions "linux-headers-$candidate" | grep -qxF "$version" || continue
	release=$candidate
	break
done
if [ -z "$release" ]; then
	say "$ESPNIC_SUITE-backports has no kernel >= $ESPNIC_MIN_KERNEL for $ESPNIC_ARCH with" \
		"headers and source (newest: ${newest:-none}); try another ESPNIC_MIRROR"
	exit 1
fi

say "QEMU and Linux $release"
# shellcheck disable=SC2086 # a list of packages
in_root apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 \
	-t "$ESPNIC_SUITE-backports" $ESPNIC_BACKPORTS

# The kernel's packages are unpacked, not installed: their scripts would build
# an initramfs and set up a boot loader, and nobody boots this root by itself.
wanted="linux-headers-$release=$version linux-source-$series=$version"
for part in image binary base modules; do # how it is split changes with the version
	[ -z "$(versions "linux-$part-$release")" ] || wanted="$wanted linux-$part-$release=$version"
done
mkdir -p "$root/var/tmp/kernel"
chmod 777 "$root/var/tmp/kernel"
in_root sh -c "cd /var/tmp/kernel && apt-get download -qq $wanted &&
	for deb in *.deb; do dpkg-deb -x \"\$deb\" / || exit 1; done"
rm -rf "$root/var/tmp/kernel"
in_root depmod "$release"
image=
for file in "/usr/lib/modules/$release/vmlinuz" "/boot/vmlinuz-$release"; do
	[ -n "$image" ] || [ ! -e "$root$file" ] || image=$file
done
if [ -z "$image" ] || [ ! -e "$root/usr/src/linux-source-$series.tar.xz" ]; then
	say "the kernel packages of $release lack the image or the source"
	exit 1
fi

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
mkdir -p "$root/etc/espnic"
printf 'KERNEL_RELEASE=%s\nKERNEL_SERIES=%s\nKERNEL_IMAGE=%s\n' "$release" "$series" "$image" \
	>"$root/etc/espnic/sandbox"
