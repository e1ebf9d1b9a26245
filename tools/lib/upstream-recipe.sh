# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside the sandbox: builds the helpers (C and BPF) of the kernel's own tests of
# network drivers, and installs them with the tests, by the kernel's makefiles.  The text
# of this file is part of the tests' cache key.
#
# $1 folder to make: tests   $2 source package's tar archive
# stdout: everything; stderr: progress

set -eu
home=$1 archive=$2
top=$(basename "$archive" .tar.xz)
source=$home/source

# By place: what `make headers`, libbpf, YNL and the tests read. YNL's generator knows the
# top of the source by MAINTAINERS, and would look for it for ever.
wanted='MAINTAINERS Makefile arch/x86 include scripts usr Documentation/netlink
	tools/arch tools/build tools/include tools/lib tools/net tools/scripts tools/testing/selftests'

echo "unpacking a part of $top" >&2
mkdir -p "$source"
set --
for part in $wanted; do
	set -- "$@" "$top/$part"
done
xz -dc -T0 "$archive" | tar -xf - -C "$source" --strip-components=1 "$@"

build() {
	make -C "$source" -j"$(nproc)" "$@" </dev/null 2>&1
}

echo "installing the kernel's headers" >&2
build ARCH=x86 headers

# Without make's FORCE_TARGETS a folder that does not build would be missing, and nothing said.
echo "building the tests' helpers" >&2
build -C tools/testing/selftests FORCE_TARGETS=1 SKIP_TARGETS= \
	TARGETS='net/lib drivers/net drivers/net/hw' KSFT_INSTALL_PATH="$home/tests" install
rm -r "$source"
