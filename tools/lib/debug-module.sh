# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside the sandbox, in the checkout: builds the module, and the one that
# provokes complaints, for the debug kernel whose tree is $1.  In a copy of the sources, because a build in another
# folder wants a source tree without objects, and the stock kernel's are in ours.

set -eu
unset MAKEFLAGS MFLAGS MAKELEVEL
copy=build/debug/module
mkdir -p "$copy"
rsync -a --exclude='*.o' --exclude='*.cmd' --exclude='*.d' --exclude='*.rmeta' \
	--exclude='*_generated.rs' --exclude='/rust/device' Kbuild rust "$copy/"
rsync -a tools/guest/provoke build/debug/
for folder in "$copy" build/debug/provoke; do
	make --no-print-directory -C "$1" LLVM=1 M="$PWD/$folder" -j"$(nproc)" modules
done
