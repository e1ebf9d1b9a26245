# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside the sandbox: prepares the source of the stock kernel so that Rust
# modules can be built.  Debian's header package carries no Rust metadata; made
# again from the same source, configuration and compilers it fits the stock
# kernel exactly.  The text of this file is part of the tree's cache key.
#
# $1 tree to make   $2 kernel release   $3 kernel series
# stdout: everything; stderr: progress

set -eu
tree=$1 release=$2 series=$3
headers=/usr/src/linux-headers-$release
mkdir -p "$tree"
cd "$tree"

# Only what configuring and module building read: no drivers' or file systems'
# code, no other architectures, no documentation.
echo "unpacking linux-source-$series" >&2
xz -dc -T0 "/usr/src/linux-source-$series.tar.xz" | tar -xf - --strip-components=1 \
	--wildcards --wildcards-match-slash \
	--exclude='*/Documentation/*/*' --exclude='*/LICENSES/*' \
	--exclude='*/drivers/*.[cS]' --exclude='*/sound/*.[ch]' --exclude='*/fs/*.c' \
	--exclude='*/net/*.c' --exclude='*/drivers/gpu/drm/*.h' --exclude='*/drivers/net/*.h' \
	--exclude='*/arch/[!x]*/*.[chS]' --exclude='*/arch/xtensa/*.[chS]' --exclude='*.dts' --exclude='*.dtsi' \
	--exclude='*/tools/testing/*' --exclude='*/tools/perf/*' --exclude='*/samples/*.c'

cp "$headers/.config" "$headers/Module.symvers" .
scripts/config --set-str MODULE_SIG_KEY certs/signing_key.pem --set-str SYSTEM_TRUSTED_KEYS ''

compiler=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ "]*\).*/\1/p' .config)
version=$(make -s kernelversion)
build() {
	make -j"$(nproc)" CC="$compiler" LOCALVERSION="${release#"$version"}" "$@" </dev/null 2>&1
}
echo "configuring" >&2
build olddefconfig
echo "compiling the build tools and the kernel's Rust crates" >&2
build modules_prepare

made=$(make -s kernelrelease LOCALVERSION="${release#"$version"}")
if [ "$made" != "$release" ]; then
	echo "the tree calls itself $made, the stock kernel $release" >&2
	exit 1
fi

# Every Rust symbol must carry the name that the stock kernel exports.
want=$(mktemp) have=$(mktemp)
awk '$2 ~ /^_R/ && $3 == "vmlinux" { print $2 }' Module.symvers | sort -u >"$want"
nm -g --defined-only rust/*.o | awk '$3 ~ /^_R/ { print $3 }' | sort -u >"$have"
missing=$(comm -23 "$want" "$have" | wc -l)
echo "$missing of $(wc -l <"$want") Rust symbols differ from the stock kernel's" >&2
[ "$missing" = 0 ] || exit 1
