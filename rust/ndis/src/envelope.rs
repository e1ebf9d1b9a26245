// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The envelope: how OID requests and records cross `/dev/espnic-ndis`.
//!
//! The contents are NDIS structures (x64 layouts); this module has what is around them: the ioctls
//! and the records that `read()` returns. All fields are in native byte order except those whose
//! documentation says network order. Fields named `reserved` are zero; the driver refuses anything
//! else with `EINVAL`, so that they can get a meaning later.
//!
//! errno only speaks of the envelope: `EFAULT` (a pointer), `EINVAL` (a field), `EBUSY` (bound
//! already), `ENODEV` (no such interface, not bound, or the interface is gone), `EOPNOTSUPP` (not an
//! espnic NIC), `EPERM` (no `CAP_NET_ADMIN` in the interface's network namespace). Whatever NDIS has
//! a status for is in [`Request::status`], and the ioctl returns 0.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The device's file.
pub const DEVICE: &str = "/dev/espnic-ndis";
/// Version of this interface ([`Info::version`]).
pub const VERSION: u32 = 1;
/// Largest information buffer of a set; a longer one gets `NDIS_STATUS_INVALID_LENGTH`. Of a query's
/// longer one only so much is used.
pub const MAX_BUFFER: u32 = 65536;
/// Requests of an open file that are pending, or completed but not read; one more gets
/// `NDIS_STATUS_RESOURCES`.
pub const MAX_PENDING: usize = 64;
/// Records that an open file keeps until they are read, besides those of completed requests.
pub const RING_RECORDS: usize = 1024;

const MAGIC: u32 = 0xE5;
const DIR_WRITE: u32 = 1;
const DIR_READ: u32 = 2;

/// `_IOC()` of the generic ABI (x86-64, arm64).
const fn ioc<T>(dir: u32, nr: u32) -> u32 {
    (dir << 30) | ((size_of::<T>() as u32) << 16) | (MAGIC << 8) | nr
}

/// `ESPNIC_NDIS_BIND`, [`Bind`]: choose the interface of this open file, once. If the answer cannot
/// be written (`EFAULT`) the file is bound all the same.
pub const IOCTL_BIND: u32 = ioc::<Bind>(DIR_READ | DIR_WRITE, 0);
/// `ESPNIC_NDIS_REQUEST`, [`Request`]: an OID request.
pub const IOCTL_REQUEST: u32 = ioc::<Request>(DIR_READ | DIR_WRITE, 1);
/// `ESPNIC_NDIS_LIST`, [`List`]: the SAs that are offloaded to the interface.
pub const IOCTL_LIST: u32 = ioc::<List>(DIR_READ | DIR_WRITE, 2);
/// `ESPNIC_NDIS_INFO`, [`Info`]: what is bound, and counters.
pub const IOCTL_INFO: u32 = ioc::<Info>(DIR_READ, 3);
/// `ESPNIC_NDIS_SET_KEYWORD`, [`Keyword`]: write or delete a registry keyword of the adapter.
pub const IOCTL_SET_KEYWORD: u32 = ioc::<Keyword>(DIR_WRITE, 4);
/// `ESPNIC_NDIS_GET_KEYWORD`, [`Keyword`]: read a registry keyword of the adapter.
pub const IOCTL_GET_KEYWORD: u32 = ioc::<Keyword>(DIR_READ | DIR_WRITE, 5);
/// `ESPNIC_NDIS_RESTART`, [`Restart`]: initialise the miniport again, from the keywords.
pub const IOCTL_RESTART: u32 = ioc::<Restart>(DIR_WRITE, 6);
/// `ESPNIC_NDIS_PEND`, [`Request`]: an OID request that may be completed later. Then its status is
/// `NDIS_STATUS_PENDING`, the information buffer is left as it is, and a [`Completed`] follows, also if
/// the answer could not be written (`EFAULT`). Any other status is final.
pub const IOCTL_PEND: u32 = ioc::<Request>(DIR_READ | DIR_WRITE, 7);
/// `ESPNIC_NDIS_SUBMIT`, [`Submit`]: have a packet with out-of-band data sent, with a number that is not
/// that of the frame: see [`Submit::status`].
pub const IOCTL_SUBMIT: u32 = ioc::<Submit>(DIR_READ | DIR_WRITE, 9);
/// `ESPNIC_NDIS_CANCEL`, [`Cancel`]: end this file's pending requests with a RequestId.
pub const IOCTL_CANCEL: u32 = ioc::<Cancel>(DIR_WRITE, 8);

/// [`Bind::flags`]: record status indications.
pub const WANT_INDICATIONS: u32 = 1 << 0;
/// [`Bind::flags`]: record the OOB data of received packets.
pub const WANT_RECEIVE: u32 = 1 << 1;
/// [`Bind::flags`]: record the OOB data of sent packets.
pub const WANT_SEND: u32 = 1 << 2;
/// [`Bind::flags`]: records of packets carry the first bytes of the frame, in clear as driver and stack
/// see them. Needs `CAP_NET_RAW` besides.
pub const WANT_BYTES: u32 = 1 << 3;
/// All kinds of records in [`Bind::flags`].
pub const WANT_ALL: u32 = WANT_INDICATIONS | WANT_RECEIVE | WANT_SEND;

/// Most bytes of a frame in a record.
pub const MAX_BYTES: usize = 128;

/// Largest status buffer of an [`Indication`] (`NDIS_OFFLOAD`, revision 6).
pub const INDICATION_BUFFER: usize = 0xd8;

/// `struct espnic_ndis_bind`, with what NDIS_BIND_PARAMETERS tells a protocol driver of offloads.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Bind {
    /// Interface index in the caller's network namespace.
    pub ifindex: u32,
    /// The records that `read()` returns, and how much of them (`WANT_*`); the removal of the adapter always is one.
    pub flags: u32,
    /// Out: bytes of `configuration`.
    pub length: u32,
    /// Zero.
    pub reserved: u32,
    /// Out: DefaultOffloadConfiguration, an `NDIS_OFFLOAD` with what is enabled.
    pub configuration: [u8; INDICATION_BUFFER],
}

/// [`Request::path`]: the normal, serialised path.
pub const PATH_NORMAL: u32 = 0;
/// [`Request::path`]: the direct path.
pub const PATH_DIRECT: u32 = 1;

/// [`Request::request_type`]: `NdisRequestQueryInformation`.
pub const QUERY: u32 = 0;
/// [`Request::request_type`]: `NdisRequestSetInformation`.
pub const SET: u32 = 1;

/// [`Request::mode`]: the miniport derives the mode from the structure.
pub const MODE_DERIVE: u8 = 0;
/// [`Request::mode`] and [`Entry::mode`]: transport mode.
pub const MODE_TRANSPORT: u8 = 1;
/// [`Request::mode`] and [`Entry::mode`]: tunnel mode.
pub const MODE_TUNNEL: u8 = 2;

/// `struct espnic_ndis_request`: an OID request. The fields from `mode` on say what the NDIS
/// transport keeps to itself and XFRM wants to know; they hold for every SA of the request.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Request {
    /// Size of this structure.
    pub size: u32,
    /// `PATH_*`.
    pub path: u32,
    /// [`QUERY`] or [`SET`]; other values get a status.
    pub request_type: u32,
    /// The OID.
    pub oid: u32,
    /// Address of the information buffer, 8-aligned offsets inside it. Set requests may write into it.
    pub buffer: u64,
    /// Bytes of the information buffer.
    pub buffer_length: u32,
    /// Out: `NDIS_STATUS`.
    pub status: u32,
    /// Out: BytesRead or BytesWritten.
    pub bytes_done: u32,
    /// Out: BytesNeeded.
    pub bytes_needed: u32,
    /// RequestId.
    pub request_id: u64,
    /// `MODE_*`.
    pub mode: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Replay window of inbound SAs in packets, at most 4096; 0 switches the check off, but with
    /// extended sequence numbers counts as 1.
    pub replay_window: u32,
    /// XFRM reqid, which policies name.
    pub reqid: u32,
    /// UDP source port of UDP-ESP, network order; zero means 4500.
    pub source_port: [u8; 2],
    /// UDP destination port of UDP-ESP, network order; zero means 4500.
    pub destination_port: [u8; 2],
    /// Zero.
    pub reserved2: [u32; 2],
}

/// `struct espnic_ndis_list`: a part of the list of SAs. The list is read with repeated calls: the
/// first has `cursor` 0, each further one the `cursor` of the answer, until that is 0.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct List {
    /// In: where to go on; out: where the next call goes on, 0 at the end.
    pub cursor: u64,
    /// Address of an array of [`Entry`].
    pub entries: u64,
    /// Entries that fit into the array.
    pub capacity: u32,
    /// Out: entries written.
    pub count: u32,
    /// Size of [`Entry`].
    pub entry_size: u32,
    /// Zero.
    pub reserved: u32,
}

/// [`Entry::owner`]: made by netlink (`ip xfrm`, an IKE daemon).
pub const OWNER_XFRM: u8 = 0;
/// [`Entry::owner`]: made through this open file.
pub const OWNER_THIS: u8 = 1;
/// [`Entry::owner`]: made through another open file of the device.
pub const OWNER_OTHER: u8 = 2;

/// [`Entry::direction`]: inbound.
pub const DIRECTION_IN: u8 = 1;
/// [`Entry::direction`]: outbound.
pub const DIRECTION_OUT: u8 = 2;

/// [`Entry::flags`]: extended sequence numbers.
pub const ENTRY_ESN: u32 = 1 << 0;
/// [`Entry::flags`]: the NIC asked for the deletion of this SA.
pub const ENTRY_DELETE_REQUESTED: u32 = 1 << 1;

/// `struct espnic_ndis_entry`: one offloaded SA.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Entry {
    /// OffloadHandle.
    pub handle: u64,
    /// Packets that XFRM counted.
    pub packets: u64,
    /// Bytes that XFRM counted.
    pub bytes: u64,
    /// Source address, network order; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
    /// SPI, network order.
    pub spi: [u8; 4],
    /// XFRM reqid.
    pub reqid: u32,
    /// NDIS identifier of the authentication algorithm, 0 for none or one that NDIS does not know.
    pub authentication: u32,
    /// NDIS identifier of the encryption algorithm, 0 for one that NDIS does not know.
    pub encryption: u32,
    /// Bytes of the ICV.
    pub icv_length: u32,
    /// Upper half of the sequence number last used or seen (ESN).
    pub sequence_high: u32,
    /// Lower half of the sequence number last used or seen.
    pub sequence_low: u32,
    /// Replay window in packets.
    pub replay_window: u32,
    /// NDIS UDP-ESP encapsulation, 0 for none.
    pub udp_esp: u32,
    /// `ENTRY_*`.
    pub flags: u32,
    /// 4 or 6.
    pub family: u8,
    /// `DIRECTION_*`.
    pub direction: u8,
    /// `MODE_*`.
    pub mode: u8,
    /// `OWNER_*`.
    pub owner: u8,
    /// UDP source port, network order.
    pub source_port: [u8; 2],
    /// UDP destination port, network order.
    pub destination_port: [u8; 2],
}

/// [`Info::flags`]: the adapter was removed.
pub const INFO_REMOVED: u32 = 1 << 0;
/// [`Info::flags`]: `OID_OFFLOAD_ENCAPSULATION` has switched offloads on.
pub const INFO_ENCAPSULATION: u32 = 1 << 1;

/// `struct espnic_ndis_info`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Info {
    /// [`VERSION`].
    pub version: u32,
    /// Interface index, 0 while nothing is bound.
    pub ifindex: u32,
    /// `INFO_*`.
    pub flags: u32,
    /// NDIS version of the miniport, major << 16 | minor (6.30 is `0x6001e`).
    pub ndis_version: u32,
    /// Requests through this file.
    pub requests: u64,
    /// Requests that ended with an error status.
    pub failed: u64,
    /// Records put into this file's ring.
    pub records: u64,
    /// Records that found the ring full.
    pub lost: u64,
    /// SAs offloaded to the interface.
    pub offloaded: u32,
    /// SaOffloadCapacity.
    pub capacity: u32,
}

/// [`Keyword::name`]: `*IPsecOffloadV2`.
pub const KEYWORD_IPSEC_V2: u32 = 1;
/// [`Keyword::name`]: `*IPsecOffloadV2IPv4`.
pub const KEYWORD_IPSEC_V2_IPV4: u32 = 2;
/// [`Keyword::name`]: `*IPsecOffloadV1IPv4`.
pub const KEYWORD_IPSEC_V1_IPV4: u32 = 3;
/// [`Keyword::name`]: the system-wide `DisableTaskOffload`; here it is the adapter's.
pub const KEYWORD_DISABLE_TASK_OFFLOAD: u32 = 4;
/// [`Keyword::name`]: the system-wide `EnabledOffload` of IPsec, likewise.
pub const KEYWORD_ENABLED_OFFLOAD: u32 = 5;
/// [`Keyword::name`]: `*IPChecksumOffloadIPv4`; the other checksums are the next four, in the order
/// of [`crate::keyword::CHECKSUMS`].
pub const KEYWORD_CHECKSUMS: u32 = 6;
/// [`Keyword::name`]: `*LsoV1IPv4`; `*LsoV2IPv4` and `*LsoV2IPv6` are the next two.
pub const KEYWORD_LSO: u32 = 11;

/// `struct espnic_ndis_keyword`. Keywords belong to the adapter and live as long as it is bound to the
/// driver.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Keyword {
    /// `KEYWORD_*`.
    pub name: u32,
    /// 1: the keyword has `value`; 0: it is not in the registry.
    pub present: u32,
    /// Its value.
    pub value: u32,
    /// Zero.
    pub reserved: u32,
}

/// `struct espnic_ndis_restart`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Restart {
    /// NDIS version to come up with, as in [`Info::ndis_version`]; 0 leaves it as it is.
    pub ndis_version: u32,
    /// Zero.
    pub reserved: u32,
}

/// `struct espnic_ndis_cancel`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Cancel {
    /// RequestId. Those whose work has not begun are completed with `NDIS_STATUS_REQUEST_ABORTED`.
    pub request_id: u64,
}

/// Longest frame of a [`Submit`], in bytes.
pub const MAX_FRAME: u32 = 65549;
/// Frames that an open file may submit in a second; one more gets `NDIS_STATUS_RESOURCES`.
pub const MAX_SUBMITS: u32 = 1000;

/// `struct espnic_ndis_submit`: an Ethernet frame with the slots of its NET_BUFFER_LIST.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Submit {
    /// Address of the frame, which is framed for ESP and not encrypted.
    pub frame: u64,
    /// Bytes of the frame, 14 to [`MAX_FRAME`].
    pub length: u32,
    /// Out: `NDIS_STATUS` of the NET_BUFFER_LIST. Numbers are XFRM's, which frames anew what is inside;
    /// `NDIS_STATUS_SEND_ABORTED` if it would not send that under the SA of slot 1.
    pub status: u32,
    /// Slot 1, transmit form: OffloadHandle.
    pub slot1: u64,
    /// Slot 2: large send offload.
    pub slot2: u64,
    /// Slot 11: TunnelHandle.
    pub slot11: u64,
    /// Slot 12, transmit form.
    pub slot12: u64,
    /// Zero.
    pub reserved: u64,
}

/// [`Record::kind`]: [`Indication`], then its buffer.
pub const RECORD_INDICATION: u16 = 1;
/// [`Record::kind`]: [`Received`].
pub const RECORD_RECEIVED: u16 = 2;
/// [`Record::kind`]: [`Sent`].
pub const RECORD_SENT: u16 = 3;
/// [`Record::kind`]: the adapter was removed; no body, and the last record.
pub const RECORD_REMOVED: u16 = 4;

/// [`Record::kind`]: [`Completed`], then its handles. It is never lost.
pub const RECORD_COMPLETED: u16 = 5;

/// `struct espnic_ndis_record`: head of what `read()` returns. Each call returns as many whole
/// records as fit; a buffer that is too small for the next one gets `EINVAL`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// Bytes of head and body, a multiple of 8.
    pub length: u16,
    /// `RECORD_*`; skip those that you do not know.
    pub kind: u16,
    /// Counts up by one per record of this file, lost ones included.
    pub sequence: u32,
    /// Records lost right before this one.
    pub lost: u32,
    /// Zero.
    pub reserved: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub timestamp: u64,
}

/// `struct espnic_ndis_indication`: head of a status indication; `buffer_length` bytes of
/// StatusBuffer follow, padded with zeros to a multiple of 8.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Indication {
    /// StatusCode.
    pub status: u32,
    /// StatusBufferSize, at most [`INDICATION_BUFFER`].
    pub buffer_length: u32,
}

/// Most handles behind a [`Completed`]: elements of ADD_SA in an information buffer of [`MAX_BUFFER`].
pub const MAX_HANDLES: usize = 390;

/// `struct espnic_ndis_completed`: a request that was pended is complete. Of an addition that has
/// succeeded the OffloadHandles follow, 8 bytes each, in the order of its elements, 0 for one that was
/// not offloaded.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Completed {
    /// RequestId.
    pub request_id: u64,
    /// The OID.
    pub oid: u32,
    /// `NDIS_STATUS`.
    pub status: u32,
    /// BytesRead or BytesWritten.
    pub bytes_done: u32,
    /// BytesNeeded.
    pub bytes_needed: u32,
    /// Handles that follow, at most [`MAX_HANDLES`].
    pub handles: u32,
    /// Zero.
    pub reserved: u32,
}

/// `struct espnic_ndis_received`: OOB data of a received packet.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Received {
    /// Slot 1, version 2 receive form.
    pub slot1: u64,
    /// Slot 12, receive form.
    pub slot12: u64,
    /// Slot 1 as version 1 would have it.
    pub slot1_v1: u64,
    /// OffloadHandle of the SA, 0 if none was found.
    pub handle: u64,
    /// SPI of the packet's first ESP or AH header, network order; zero if the packet has none.
    pub spi: [u8; 4],
    /// Sequence number in that header, network order.
    pub sequence: [u8; 4],
    /// Bytes of the frame.
    pub length: u32,
    /// 4, 6, or 0 for anything else.
    pub family: u8,
    /// Bytes of the frame that follow, padded with zeros to a multiple of 8; at most [`MAX_BYTES`].
    pub bytes: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// `struct espnic_ndis_sent`: OOB data of a sent packet.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Sent {
    /// Slot 1, transmit form: OffloadHandle.
    pub slot1: u64,
    /// Slot 11: TunnelHandle.
    pub slot11: u64,
    /// Slot 12, transmit form.
    pub slot12: u64,
    /// Slot 2: large send offload.
    pub slot2: u64,
    /// SPI of the packet's ESP header, network order.
    pub spi: [u8; 4],
    /// Sequence number in the packet's ESP header, network order.
    pub sequence: [u8; 4],
    /// Bytes of the frame.
    pub length: u32,
    /// 4 or 6.
    pub family: u8,
    /// Bytes of the frame that follow, padded with zeros to a multiple of 8; at most [`MAX_BYTES`].
    pub bytes: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Status of the NET_BUFFER_LIST.
    pub status: u32,
    /// Zero.
    pub reserved2: u32,
}

const _: () = {
    assert!(size_of::<Bind>() == 232);
    assert!(size_of::<Request>() == 72);
    assert!(size_of::<List>() == 32);
    assert!(size_of::<Entry>() == 104);
    assert!(size_of::<Info>() == 56);
    assert!(size_of::<Keyword>() == 16);
    assert!(size_of::<Restart>() == 8);
    assert!(size_of::<Cancel>() == 8);
    assert!(size_of::<Submit>() == 56);
    assert!(size_of::<Record>() == 24);
    assert!(size_of::<Indication>() == 8);
    assert!(size_of::<Completed>() == 32);
    assert!(MAX_HANDLES == MAX_BUFFER as usize / size_of::<crate::sa::AddSaFixed>());
    assert!(size_of::<Received>() == 48);
    assert!(size_of::<Sent>() == 56);
    assert!(INDICATION_BUFFER % 8 == 0);
};

/// Bytes of the longest record.
pub const MAX_RECORD: usize = 24 + 32 + 8 * MAX_HANDLES;

#[cfg(test)]
mod tests;
