#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Loading and unloading the driver: it takes the devices that are meant for it and no others,
# and it can go at any time, under traffic and with SAs. ESPNIC_KO names the module file; without
# it the installed module is used.

cd "$(dirname "$0")" || exit 1
# shellcheck source=/dev/null
. ../../../lib/ktap.sh

no_options 'Loads, unloads and binds the driver; all cases, in their order. NETIF and PEERIF name the
interface under test and the other end of its wire, ESPNIC_KO the module file.' "$@"

DRIVER=espnic
BUS=/sys/bus/virtio
KEY=0x000102030405060708090a0b0c0d0e0f10111213

[ -n "$NETIF" ] || skip_all "NETIF is not set: name the interface to test"
[ -n "$PEERIF" ] || skip_all "PEERIF is not set: name the other end of the wire"
[ "$(id -u)" = 0 ] || skip_all "needs root"
need_programs ip ping insmod rmmod modinfo
if [ -z "$ESPNIC_KO" ] && ! modinfo $DRIVER >/dev/null 2>&1; then
	skip_all "ESPNIC_KO is not set and no module $DRIVER is installed"
fi

# Name on the virtio bus of the device behind an interface.
bus_device() {
	basename "$(readlink -f "/sys/class/net/$1/device")"
}

driver_of() {
	basename "$(readlink "$BUS/devices/$1/driver")"
}

loaded() {
	[ -d /sys/module/$DRIVER ]
}

# Load the module as it was before, or with these parameters.
load() {
	[ $# -gt 0 ] || [ -z "$NDIS" ] || set -- "ndis=$NDIS"
	if [ -n "$ESPNIC_KO" ]; then insmod "$ESPNIC_KO" "$@"; else modprobe $DRIVER "$@"; fi ||
		return 1
	[ -z "$NETIF2" ] || adopt "$DEVICE2" "$NETIF2" || return 1
	adopt "$DEVICE" "$NETIF"
}

# Give the interface of a device its name once it is there.
adopt() {
	retry 5 test -d "$BUS/devices/$1/net" || return 1
	_name=$(ls "$BUS/devices/$1/net")
	[ "$_name" = "$2" ] || ip link set "$_name" name "$2"
}

# Two namespaces with an address each; traffic needs both.
connect() {
	ip link set "$NETIF" netns "$DUT" || return 1
	ip -n "$DUT" addr replace 192.0.2.1/24 dev "$NETIF" && ip -n "$DUT" link set "$NETIF" up
}

ping_works() {
	ip netns exec "$DUT" ping -q -c 2 -i 0.05 -W $((2 * ${KSFT_TIME_SCALE:-1})) \
		192.0.2.2 >/dev/null
}

setup() {
	DEVICE=$(bus_device "$NETIF")
	[ -z "$NETIF2" ] || DEVICE2=$(bus_device "$NETIF2")
	PEER_DEVICE=$(bus_device "$PEERIF")
	PEER_DRIVER=$(driver_of "$PEER_DEVICE")
	MAC=$(cat "/sys/class/net/$NETIF/address")
	if modinfo -F parm "${ESPNIC_KO:-$DRIVER}" | grep -q '^ndis:'; then
		NDIS=0
		[ ! -e /dev/espnic-ndis ] || NDIS=1
	fi
	[ "$(driver_of "$DEVICE")" = $DRIVER ] || skip_all "$NETIF is not driven by $DRIVER"
	[ "$PEER_DRIVER" != $DRIVER ] || skip_all "$PEERIF is driven by $DRIVER, too"
	DUT=espnic-dut-$$ PEER=espnic-peer-$$
	ip netns add "$DUT"
	ip netns add "$PEER"
	ip link set "$PEERIF" netns "$PEER"
	ip -n "$PEER" addr add 192.0.2.2/24 dev "$PEERIF"
	ip -n "$PEER" link set "$PEERIF" up
	connect
}

cleanup() {
	for _ns in "$DUT" "$PEER"; do
		ip netns pids "$_ns" 2>/dev/null | xargs -r kill
		for _if in "$NETIF" "$PEERIF"; do
			ip -n "$_ns" link set "$_if" netns 1 2>/dev/null
		done
		ip netns del "$_ns" 2>/dev/null
	done
	loaded || load
	true
}

# The id table names our PCI subsystem vendor, no wildcard.
aliases() {
	_found=$(modinfo -F alias "${ESPNIC_KO:-$DRIVER}" | sort -u)
	[ "$_found" = 'virtio:d00000001v00004553*' ] || fail "aliases of the module: $_found"
}

license_and_description() {
	for _field in license description author; do
		[ -n "$(modinfo -F $_field "${ESPNIC_KO:-$DRIVER}")" ] || fail "no $_field"
	done
	_license=$(modinfo -F license "${ESPNIC_KO:-$DRIVER}")
	case $_license in GPL*) ;; *) fail "license: $_license" ;; esac
}

unload() {
	rmmod $DRIVER || fail "rmmod failed"
	loaded && fail "the module is still there"
	ip -n "$DUT" link show "$NETIF" >/dev/null 2>&1 && fail "the interface is still there"
	[ -L "$BUS/devices/$DEVICE/driver" ] && fail "the device still has a driver"
	true
}

load_again() {
	load || fail "the module or its interface did not come"
	[ "$(cat "/sys/class/net/$NETIF/address")" = "$MAC" ] || fail "other MAC address"
	[ "$(driver_of "$PEER_DEVICE")" = "$PEER_DRIVER" ] || fail "the other NIC changed hands"
	connect
	ping_works || fail "no traffic after loading"
}

# The device for OID requests exists only if the module parameter asks for it.
ndis_device() {
	[ -n "$NDIS" ] || skip "the module has no parameter ndis"
	for _on in 0 1; do
		rmmod $DRIVER || fail "rmmod failed"
		[ ! -e /dev/espnic-ndis ] || fail "/dev/espnic-ndis outlived the module"
		load ndis=$_on || fail "the module does not load with ndis=$_on"
		connect
		ping_works || fail "no traffic with ndis=$_on"
		if [ $_on = 1 ]; then
			[ -c /dev/espnic-ndis ] || fail "no /dev/espnic-ndis with ndis=1"
			_mode=$(stat -c '%a %U' /dev/espnic-ndis)
			[ "$_mode" = '600 root' ] || fail "/dev/espnic-ndis: $_mode"
			exec 9</dev/espnic-ndis
			rmmod $DRIVER 2>/dev/null && fail "rmmod while the device is open"
			exec 9<&-
		else
			[ ! -e /dev/espnic-ndis ] || fail "/dev/espnic-ndis without ndis=1"
		fi
	done
	rmmod $DRIVER || fail "rmmod failed"
	load || fail "the module did not load again"
	connect
}

# A NIC that does not offer F_IPSEC is refused even when it is bound by name.
other_nic_is_not_taken() {
	echo "$PEER_DEVICE" >"$BUS/drivers/$PEER_DRIVER/unbind"
	if echo "$PEER_DEVICE" 2>/dev/null >"$BUS/drivers/$DRIVER/bind"; then
		_taken=yes
		echo "$PEER_DEVICE" >"$BUS/drivers/$DRIVER/unbind"
	fi
	echo "$PEER_DEVICE" >"$BUS/drivers/$PEER_DRIVER/bind"
	adopt "$PEER_DEVICE" "$PEERIF" || fail "$PEERIF did not come back"
	ip link set "$PEERIF" netns "$PEER"
	ip -n "$PEER" addr replace 192.0.2.2/24 dev "$PEERIF"
	ip -n "$PEER" link set "$PEERIF" up
	[ -z "$_taken" ] || fail "$DRIVER took a NIC without F_IPSEC"
	ping_works || fail "no traffic after the other NIC came back"
}

rebind() {
	for _round in 1 2 3; do
		echo "$DEVICE" >"$BUS/drivers/$DRIVER/unbind" || fail "unbind"
		echo "$DEVICE" >"$BUS/drivers/$DRIVER/bind" || fail "bind"
		adopt "$DEVICE" "$NETIF" || fail "the interface did not come back"
		connect
		ping_works || fail "no traffic after round $_round"
	done
}

rmmod_under_traffic() {
	for _round in 1 2 3; do
		ip netns exec "$PEER" ping -q -f -s 1000 192.0.2.1 >/dev/null 2>&1 &
		_first=$!
		ip netns exec "$DUT" ping -q -f -s 1000 192.0.2.2 >/dev/null 2>&1 &
		_second=$!
		sleep 0.5
		rmmod $DRIVER
		_status=$?
		kill $_first $_second 2>/dev/null
		wait $_first $_second 2>/dev/null
		[ $_status -eq 0 ] || fail "rmmod under traffic, round $_round"
		load || fail "the module did not load again, round $_round"
		connect
		ping_works || fail "no traffic after round $_round"
	done
}

rmmod_with_sas() {
	ip -n "$DUT" xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x77 reqid 1 \
		mode transport aead 'rfc4106(gcm(aes))' $KEY 128 offload dev "$NETIF" dir out ||
		fail "the SA was not accepted"
	rmmod $DRIVER || fail "rmmod with an SA"
	[ -z "$(ip -n "$DUT" xfrm state)" ] || fail "the SA outlived the interface"
	load || fail "the module did not load again"
	connect
	ping_works || fail "no traffic after loading"
}

setup
ktap_run aliases license_and_description unload load_again ndis_device other_nic_is_not_taken \
	rebind rmmod_under_traffic rmmod_with_sas
