# SPDX-License-Identifier: GPL-2.0
"""Structures of the NDIS "IPsec offload version 2" interface as bytes, x64.

Written from the published tables of offsets with struct alone, and shared with nothing that is
tested. All numbers are little-endian; SPIs and IPv4 addresses are the bytes of the wire.
"""

import socket
import struct

ADD_SA, DELETE_SA, UPDATE_SA, ADD_SA_EX = 0xFC030202, 0xFC030203, 0xFC030204, 0xFC030205
CURRENT_CONFIG, PARAMETERS, HARDWARE_CAPABILITIES = 0xFC01020B, 0xFC01020C, 0xFC01020D
ENCAPSULATION = 0x0101010A
V1_ADD_SA = 0xFC010202

STATUS = {
    "SUCCESS": 0, "PENDING": 0x103, "NOT_ACCEPTED": 0x00010003, "FAILURE": 0xC0000001,
    "INVALID_PARAMETER": 0xC000000D, "INVALID_DEVICE_REQUEST": 0xC0000010,
    "RESOURCES": 0xC000009A, "NOT_SUPPORTED": 0xC00000BB, "INVALID_STATE": 0xC0000184,
    "REQUEST_ABORTED": 0xC001000C, "ADAPTER_NOT_READY": 0xC0010011, "INVALID_LENGTH": 0xC0010014,
    "INVALID_DATA": 0xC0010015, "BUFFER_TOO_SHORT": 0xC0010016, "INVALID_OID": 0xC0010017,
    "ADAPTER_REMOVED": 0xC0010018, "SEND_ABORTED": 0xC023000C,
    "RESET_IN_PROGRESS": 0xC001000D, "UNSUPPORTED_REVISION": 0xC023002C}
STATUS_NAMES = {value: name for name, value in STATUS.items()}
CURRENT_CONFIG_INDICATION, HARDWARE_INDICATION = 0x40020006, 0x40020007

TYPE_DEFAULT, TYPE_OFFLOAD, TYPE_ENCAPSULATION = 0x80, 0xA7, 0xA8
INBOUND, IPV6, ESN_SA = 0x01, 0x10, 0x01
AH, ESP = 1, 2
MD5, SHA1, SHA256, GMAC128, GMAC192, GMAC256 = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NULL, DES, DES3, GCM128, GCM192, GCM256 = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
CBC128, CBC192, CBC256 = 0x40, 0x80, 0x100
UDP_NONE, UDP_TRANSPORT, UDP_TUNNEL, TRANSPORT_OVER_UDP_TUNNEL, UDP_TRANSPORT_OVER_TUNNEL = \
    0, 1, 2, 4, 8
NO_CHANGE, DISABLED, AH_ENABLED, ESP_ENABLED, BOTH_ENABLED = range(5)
SKIP_REGISTRY = 1
SET_NO_CHANGE, SET_ON, SET_OFF = 0, 1, 2
IEEE_802_3, LLC_SNAP_ROUTED = 0x02, 0x10
COEXISTENCE = 0x6  # with TCP and with UDP checksum offload
CRYPTO_OK, CRYPTO_TRANSPORT_ESP, CRYPTO_TUNNEL_ESP, CRYPTO_SYNTAX = 0, 3, 5, 6


class Layout:
    """A structure: its size and, by name, the offset and struct format of every field."""

    def __init__(self, size, fields):
        self.size, self.fields = size, fields

    def offset(self, name):
        """Where a field begins."""
        return self.fields[name][0]

    def pack(self, values):
        """The structure with these values by name, everything else 0."""
        buffer = bytearray(self.size)
        for name, value in values.items():
            self.put(buffer, 0, name, value)
        return buffer

    def put(self, buffer, at, name, value):
        """Write one field of the structure that begins at an offset of buffer."""
        offset, form = self.fields[name]
        struct.pack_into("<" + form, buffer, at + offset, value)

    def get(self, buffer, name, at=0):
        """Read one field."""
        offset, form = self.fields[name]
        return struct.unpack_from("<" + form, buffer, at + offset)[0]

    def unpack(self, buffer, at=0):
        """All fields by name."""
        return {name: self.get(buffer, name, at) for name in self.fields}


def _within(prefix, base, fields):
    """Fields of a structure inside another one."""
    return {f"{prefix}{name}": (base + offset, form) for name, (offset, form) in fields.items()}


HEADER = {"Type": (0, "B"), "Revision": (1, "B"), "Size": (2, "H")}
_ALGORITHM = {"Identifier": (0, "I"), "KeyLength": (4, "I"), "KeyOffsetBytes": (8, "I"),
              "AdditionalInfo": (12, "I")}
_ASSOCIATION = {"Flags": (0, "I"), "Operation": (4, "i"), "Spi": (8, "4s"),
                **_within("Auth.", 0x0C, _ALGORITHM), **_within("Enc.", 0x1C, _ALGORITHM),
                "SequenceNumberHighOrder": (0x2C, "I")}


def _associations(base):
    return {**_within("0.", base, _ASSOCIATION), **_within("1.", base + 0x30, _ASSOCIATION)}


def _endpoints(base):
    return {"Src4": (base, "4s"), "Dest4": (base + 4, "4s"), "Src6": (base, "16s"),
            "Dest6": (base + 16, "16s")}


AddSa = Layout(0xA8, {
    **HEADER, "Next": (0x08, "Q"), "NumExtHdrs": (0x10, "I"), "Flags": (0x14, "I"),
    **_endpoints(0x18), "OffloadHandle": (0x38, "Q"), "UdpEspEncapsulation": (0x40, "I"),
    **_associations(0x44), "KeyLength": (0xA4, "I")})
ADD_SA_SIZE, ADD_SA_SIZEOF = 0xA9, 0xB0

AddSaEx = Layout(0xB0, {
    **HEADER, "NumExtHdrs": (0x04, "I"), "Flags": (0x08, "I"), **_endpoints(0x0C),
    "OffloadHandle": (0x30, "Q"), "UdpEspEncapsulation": (0x38, "I"), **_associations(0x3C),
    "KeyLength": (0x9C, "I"), "KeyOffset": (0xA0, "I"), "SourceSwitchPortId": (0xA4, "I"),
    "VlanId": (0xA8, "H")})
ADD_SA_EX_SIZE = 0xAA

UpdateSa = Layout(0x20, {
    **HEADER, "OffloadHandle": (0x08, "Q"), "Operation": (0x10, "i"), "Spi": (0x14, "4s"),
    "SequenceNumberHighOrder": (0x18, "I")})
UPDATE_SA_SIZE = 0x1C

DeleteSa = Layout(0x18, {**HEADER, "Next": (0x08, "Q"), "OffloadHandle": (0x10, "Q")})

# NDIS_OFFLOAD from revision 2 on: the header, bits of checksums, MaxOffLoadSize of large send,
# Flags and NDIS_IPSEC_OFFLOAD_V2, which is at 0x70.
Offload = Layout(0x90, {
    **HEADER, "Tx4.Bits": (0x08, "I"), "Rx4.Bits": (0x10, "I"), "Tx6.Bits": (0x18, "I"),
    "Rx6.Bits": (0x20, "I"), "LsoV1.Size": (0x28, "I"), "LsoV2.IPv4.Size": (0x54, "I"),
    "LsoV2.IPv6.Size": (0x60, "I"), "Flags": (0x6C, "I"),
    "Encapsulation": (0x70, "I"), "IPv6Supported": (0x74, "B"),
    "IPv4Options": (0x75, "B"), "IPv6NonIPsecExtensionHeaders": (0x76, "B"), "Ah": (0x77, "B"),
    "Esp": (0x78, "B"), "AhEspCombined": (0x79, "B"), "Transport": (0x7A, "B"),
    "Tunnel": (0x7B, "B"), "TransportTunnelCombined": (0x7C, "B"), "LsoSupported": (0x7D, "B"),
    "ExtendedSequenceNumbers": (0x7E, "B"), "padding": (0x7F, "B"), "UdpEsp": (0x80, "I"),
    "AuthenticationAlgorithms": (0x84, "I"), "EncryptionAlgorithms": (0x88, "I"),
    "SaOffloadCapacity": (0x8C, "I")})
OFFLOAD_SIZES = {2: 0x90, 3: 0x9C, 4: 0xB1, 5: 0xBC, 6: 0xD8}

Parameters = Layout(0x24, {
    **HEADER, "IPv4Checksum": (0x04, "B"), "TCPIPv4Checksum": (0x05, "B"),
    "UDPIPv4Checksum": (0x06, "B"), "TCPIPv6Checksum": (0x07, "B"),
    "UDPIPv6Checksum": (0x08, "B"), "LsoV1": (0x09, "B"), "IPsecV1": (0x0A, "B"),
    "LsoV2IPv4": (0x0B, "B"), "LsoV2IPv6": (0x0C, "B"), "Flags": (0x10, "I"),
    "IPsecV2": (0x14, "B"), "IPsecV2IPv4": (0x15, "B")})
PARAMETERS_SIZES = {1: 0x14, 2: 0x16, 3: 0x1A, 4: 0x20, 5: 0x22}

Encapsulation = Layout(0x1C, {
    **HEADER, "IPv4.Enabled": (0x04, "I"), "IPv4.EncapsulationType": (0x08, "I"),
    "IPv4.HeaderSize": (0x0C, "I"), "IPv6.Enabled": (0x10, "I"),
    "IPv6.EncapsulationType": (0x14, "I"), "IPv6.HeaderSize": (0x18, "I")})


def status_name(status):
    """A status without its NDIS_STATUS_, or the number of one that nobody should answer."""
    return STATUS_NAMES.get(status, f"{status:#010x}")


def _ciphers(algorithm, key):
    """Fields of the first association that an algorithm of `ip xfrm` needs, and its keys in the
    order of its words: cipher (with salt), then MAC."""
    if algorithm.kernel_name.startswith("rfc4543"):
        bits = (len(key) - 4) * 8
        return {"0.Enc.Identifier": NULL, "0.Auth.KeyLength": len(key),
                "0.Auth.Identifier": {128: GMAC128, 192: GMAC192, 256: GMAC256}[bits]}
    if not algorithm.mac:
        bits = (len(key) - 4) * 8
        return {"0.Enc.Identifier": {128: GCM128, 192: GCM192, 256: GCM256}[bits],
                "0.Enc.KeyLength": len(key), "0.Enc.AdditionalInfo": algorithm.icv_bits // 8}
    cipher = len(key) - algorithm.mac_key_len
    return {"0.Enc.Identifier": {16: CBC128, 24: CBC192, 32: CBC256}[cipher],
            "0.Enc.KeyLength": cipher, "0.Auth.KeyOffsetBytes": cipher,
            "0.Auth.Identifier": {"hmac(sha1)": SHA1, "hmac(sha256)": SHA256}[algorithm.mac],
            "0.Auth.KeyLength": algorithm.mac_key_len}


def identifiers(sa):
    """The authentication and encryption algorithm of an SA, 0 for none."""
    fields = _ciphers(sa.algorithm, sa.key)
    return fields.get("0.Auth.Identifier", 0), fields["0.Enc.Identifier"]


def _common(sa, inbound, esn):
    """What ADD_SA and ADD_SA_EX have in common for one ESP SA."""
    family = socket.AF_INET6 if ":" in sa.src else socket.AF_INET
    end = "6" if family == socket.AF_INET6 else "4"
    values = {"Type": TYPE_DEFAULT, "Revision": 1, "NumExtHdrs": 1,
              "Flags": (INBOUND if inbound else 0) | (IPV6 if end == "6" else 0),
              "Src" + end: socket.inet_pton(family, sa.src),
              "Dest" + end: socket.inet_pton(family, sa.dst),
              "UdpEspEncapsulation": UDP_NONE, "0.Operation": ESP,
              "0.Spi": struct.pack("!I", sa.spi), "KeyLength": len(sa.key)}
    if sa.encap:
        values["UdpEspEncapsulation"] = UDP_TUNNEL if sa.mode == "tunnel" else UDP_TRANSPORT
    if esn is not None:
        values.update({"0.Flags": ESN_SA, "0.SequenceNumberHighOrder": esn})
    return values | _ciphers(sa.algorithm, sa.key)


def add_sa(sa, inbound, changes=None, esn=None):
    """ADD_SA of one SA; esn is the high half of its sequence numbers, changes are fields that are
    to hold something else."""
    values = _common(sa, inbound, esn) | {"Size": ADD_SA_SIZE} | (changes or {})
    buffer = AddSa.pack(values) + sa.key
    return buffer + bytes(max(0, ADD_SA_SIZEOF - len(buffer)))


def add_sa_ex(sa, inbound, changes=None, esn=None, gap=0):
    """ADD_SA_EX of one SA, with so many unused bytes in front of its key."""
    values = _common(sa, inbound, esn) | {"Size": ADD_SA_EX_SIZE,
                                          "KeyOffset": AddSaEx.size + gap} | (changes or {})
    return AddSaEx.pack(values) + bytes(gap) + sa.key


def update_sa(handle, sa, high, changes=None):
    """UPDATE_SA: the high half of an SA's sequence numbers."""
    return UpdateSa.pack({"Type": TYPE_DEFAULT, "Revision": 1, "Size": UPDATE_SA_SIZE,
                          "OffloadHandle": handle, "Operation": ESP,
                          "Spi": struct.pack("!I", sa.spi),
                          "SequenceNumberHighOrder": high} | (changes or {}))


def delete_sa(handle, changes=None):
    """DELETE_SA of one SA."""
    return DeleteSa.pack({"Type": TYPE_DEFAULT, "Revision": 1, "Size": DeleteSa.size,
                          "OffloadHandle": handle} | (changes or {}))


def parameters(revision=2, changes=None):
    """NDIS_OFFLOAD_PARAMETERS of a revision."""
    values = {"Type": TYPE_DEFAULT, "Revision": revision, "Size": PARAMETERS_SIZES[revision]}
    return Parameters.pack(values | (changes or {}))[:PARAMETERS_SIZES[revision]]


def encapsulation(kind=IEEE_802_3, enabled=SET_ON, size=14, changes=None):
    """NDIS_OFFLOAD_ENCAPSULATION, the same for both families; kind and header are for ON only."""
    values = {"Type": TYPE_ENCAPSULATION, "Revision": 1, "Size": Encapsulation.size}
    for family in ("IPv4.", "IPv6."):
        values[family + "Enabled"] = enabled
        if enabled == SET_ON:
            values |= {family + "EncapsulationType": kind, family + "HeaderSize": size}
    return Encapsulation.pack(values | (changes or {}))


def chain(layout, elements):
    """Elements one after the other, 8-aligned and linked by Next; (buffer, their offsets)."""
    buffer, offsets = bytearray(), []
    for element in elements:
        buffer += bytes(-len(buffer) % 8)
        if offsets:
            layout.put(buffer, offsets[-1], "Next", len(buffer))
        offsets.append(len(buffer))
        buffer += element
    return buffer, offsets
