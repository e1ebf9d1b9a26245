# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside the sandbox: prepares the source of a stock kernel so that Rust
# modules can be built.  Debian's header package carries no Rust metadata; made
# again from the same source, configuration and compilers it fits the stock
# kernel exactly.  The text of this file is part of the tree's cache key.
#
# $1 tree to make   $2 kernel release   $3 source package's tar archive
# $4 folder of the header package
# stdout: everything; stderr: progress

set -eu
tree=$1 release=$2 archive=$3 headers=$4
top=$(basename "$archive" .tar.xz)

# Only what configuring and module building read: no drivers' or file systems'
# code, no other architectures, no documentation.  By place, not by name: a
# file of the same name elsewhere may be needed.
left_out='Documentation/*/* LICENSES/* samples/*.c tools/testing/* tools/perf/*
	drivers/*.[cS] sound/*.[ch] fs/*.c net/*.c drivers/gpu/drm/*.h drivers/net/*.h
	arch/[!x]*/*.[chS] arch/xtensa/*.[chS] arch/*.dts arch/*.dtsi'

# unpack [PATTERN...]: the source without what matches
unpack() {
	rm -rf "$tree"
	mkdir -p "$tree"
	for pattern; do
		shift
		set -- "$@" --exclude="$top/$pattern"
	done
	xz -dc -T0 "$archive" | tar -xf - -C "$tree" --strip-components=1 \
		--anchored --wildcards --wildcards-match-slash "$@"
}

build() {
	make -C "$tree" -j"$(nproc)" CC="$compiler" KERNELRELEASE="$release" "$@" </dev/null 2>&1
}

prepare() {
	cp "$headers/.config" "$headers/Module.symvers" "$tree/" || return
	(cd "$tree" && scripts/config --set-str MODULE_SIG_KEY certs/signing_key.pem \
		--set-str SYSTEM_TRUSTED_KEYS '') || return
	compiler=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ "]*\).*/\1/p' "$tree/.config")
	echo "configuring" >&2
	build olddefconfig || return
	echo "compiling the build tools and the kernel's Rust crates" >&2
	build modules_prepare
}

echo "unpacking $top" >&2
set -f
# shellcheck disable=SC2086 # a list of patterns
unpack $left_out
set +f
if ! prepare; then
	echo "that failed; trying once more with the whole source" >&2
	unpack
	prepare
fi

made=$(cat "$tree/include/config/kernel.release")
if [ "$made" != "$release" ]; then
	echo "the tree calls itself $made, the stock kernel $release" >&2
	exit 1
fi

# Every Rust symbol must carry the name that the stock kernel exports.
want=$(mktemp) have=$(mktemp)
awk '$2 ~ /^_R/ && $3 == "vmlinux" { print $2 }' "$tree/Module.symvers" | sort -u >"$want"
nm -g --defined-only "$tree"/rust/*.o | awk '$3 ~ /^_R/ { print $3 }' | sort -u >"$have"
missing=$(comm -23 "$want" "$have" | wc -l)
echo "$missing of $(wc -l <"$want") Rust symbols differ from the stock kernel's" >&2
rm "$want" "$have"
[ "$missing" = 0 ] || exit 1
