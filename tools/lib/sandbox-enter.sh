# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# First process of a sandbox: it has its own mount and pid namespace, lays a
# throw-away overlay on the cached root, moves into it and runs "$@".
# In: ESPNIC_ROOT, ESPNIC_CACHE, ESPNIC_CHECKOUT; working directory kept.

set -eu
where=$(pwd -P)
case $where/ in
"$ESPNIC_CHECKOUT"/* | "$ESPNIC_CACHE"/* | /tmp/*) ;;
*) where=$ESPNIC_CHECKOUT ;;
esac

# A tmpfs for the overlay's upper layer, hidden on a directory of the cache.
layer=$ESPNIC_CACHE/layer
mkdir -p "$layer"
mount -t tmpfs -o mode=755 espnic "$layer"
mkdir "$layer/upper" "$layer/work" "$layer/root"
new=$layer/root
mount -t overlay -o "lowerdir=$ESPNIC_ROOT,upperdir=$layer/upper,workdir=$layer/work" espnic "$new"

# bind PATH: make PATH of the host visible at the same place
bind() {
	mkdir -p "$new$1"
	mount --rbind "$1" "$new$1"
}

mount -t proc proc "$new/proc"
bind /dev
bind /sys
bind /tmp
bind "$ESPNIC_CHECKOUT"
mkdir -p "$new$ESPNIC_CACHE"
mount --bind "$ESPNIC_CACHE" "$new$ESPNIC_CACHE"
if [ -f "$ESPNIC_CHECKOUT/.git" ]; then # a linked work tree: its repository is elsewhere
	gitdir=$(sed -n 's/^gitdir: \(.*\)\/worktrees\/.*/\1/p' "$ESPNIC_CHECKOUT/.git")
	[ -z "$gitdir" ] || bind "$gitdir"
fi

# Names, trust and registry settings are the host's.
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
	[ ! -r "$file" ] || cp -L "$file" "$new$file"
done
mkdir -p "$ESPNIC_CACHE/cargo" "$new/root/.config"
host_cargo=${CARGO_HOME:-$HOME/.cargo}/config.toml
if [ -r "$host_cargo" ] && grep -q '^\[\(source\|registries\|http\|net\)' "$host_cargo"; then
	mkdir -p "$new/root/.cargo"
	cp -L "$host_cargo" "$new/root/.cargo/config.toml"
fi
[ ! -r "$HOME/.config/pip/pip.conf" ] || cp -Lr "$HOME/.config/pip" "$new/root/.config/"

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C.UTF-8 TMPDIR=/tmp ESPNIC_SANDBOX=1
export CARGO_HOME="$ESPNIC_CACHE/cargo" CARGO_TARGET_DIR="$ESPNIC_CHECKOUT/build/cargo"
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
unset LANG LANGUAGE RUSTUP_HOME RUSTUP_TOOLCHAIN PYTHONHOME PYTHONPATH VIRTUAL_ENV

cd "$new"
pivot_root . .
umount -l .
cd "$where"

# Not exec: as process 1 the command would not notice Ctrl-C.
"$@"
exit $?
