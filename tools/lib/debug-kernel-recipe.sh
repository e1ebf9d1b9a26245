# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside the sandbox: builds the debug kernel from the stock kernel's
# source.  With clang, because gcc's KASAN and Rust exclude each other.  The
# text of this file is part of the kernel's cache key.
#
# $1 folder to make: tree (KDIR), vmlinuz, modules, release
# $2 source package's tar archive   $3 configuration
# stdout: everything; stderr: progress

set -eu
home=$1 archive=$2 config=$3
tree=$home/tree
mkdir -p "$tree"
cd "$tree"

echo "unpacking $(basename "$archive")" >&2
xz -dc -T0 "$archive" | tar -xf - --strip-components=1

build() {
	make LLVM=1 -j"$(nproc)" "$@" </dev/null 2>&1
}

echo "configuring" >&2
build KCONFIG_ALLCONFIG="$config" allnoconfig
missing=$(grep '^CONFIG_' "$config" | grep -vxFf .config || true)
if [ -n "$missing" ]; then
	# shellcheck disable=SC2086 # a list of options
	echo "not possible in this kernel with this compiler:" $missing >&2
	exit 1
fi

echo "compiling" >&2
count=0
{ build bzImage modules || touch failed; } | while IFS= read -r line; do
	printf '%s\n' "$line"
	count=$((count + 1))
	[ $((count % 200)) != 0 ] || echo "$count steps done (of about 2000)" >&2
done
[ ! -e failed ] || exit 1

echo "installing its modules" >&2
make -s kernelrelease >"$home/release"
build INSTALL_MOD_PATH="$home/install" INSTALL_MOD_STRIP=1 DEPMOD=true modules_install
mv "$home/install/lib/modules/$(cat "$home/release")" "$home/modules"
rm -r "$home/install" "$home/modules/build"
cp arch/x86/boot/bzImage "$home/vmlinuz"

# What modules are built with stays: headers, scripts, objtool, Rust metadata.
echo "tidying up" >&2
rm -f vmlinux vmlinux.* .tmp_vmlinux*
find sound drivers/gpu tools/testing tools/perf -type f -name '*.[ch]' -delete
find . \( -path ./scripts -o -path ./tools \) -prune -o \
	\( -name '*.o' -o -name '*.a' -o -name '*.ko' -o -name '*.cmd' -o -name '*.mod.c' \) -type f -exec rm -f {} +
