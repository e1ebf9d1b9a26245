/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The interface of /dev/espnic-ndis. Made from rust/ndis/src/envelope.rs by its
 * test "header": change that one.
 *
 * All fields are in native byte order except those whose comment says network
 * order. Reserved fields are zero.
 */
#ifndef ESPNIC_NDIS_H
#define ESPNIC_NDIS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ESPNIC_NDIS_MAGIC 0xE5

/* The device's file. */
#define ESPNIC_NDIS_DEVICE "/dev/espnic-ndis"

/* Version of this interface (espnic_ndis_info.version). */
#define ESPNIC_NDIS_VERSION 1

/*
 * Largest information buffer of a set; a longer one gets NDIS_STATUS_INVALID_LENGTH. Of
 * a query's longer one only so much is used.
 */
#define ESPNIC_NDIS_MAX_BUFFER 65536

/*
 * Requests of an open file that are pending, or completed but not read; one more gets
 * NDIS_STATUS_RESOURCES.
 */
#define ESPNIC_NDIS_MAX_PENDING 64

/*
 * Records that an open file keeps until they are read, besides those of completed
 * requests.
 */
#define ESPNIC_NDIS_RING_RECORDS 1024

/* espnic_ndis_bind.flags: record status indications. */
#define ESPNIC_NDIS_WANT_INDICATIONS (1 << 0)

/* espnic_ndis_bind.flags: record the OOB data of received packets. */
#define ESPNIC_NDIS_WANT_RECEIVE (1 << 1)

/* espnic_ndis_bind.flags: record the OOB data of sent packets. */
#define ESPNIC_NDIS_WANT_SEND (1 << 2)

/*
 * espnic_ndis_bind.flags: records of packets carry the first bytes of the frame, in
 * clear as driver and stack see them. Needs CAP_NET_RAW besides.
 */
#define ESPNIC_NDIS_WANT_BYTES (1 << 3)

/* All kinds of records in espnic_ndis_bind.flags. */
#define ESPNIC_NDIS_WANT_ALL (ESPNIC_NDIS_WANT_INDICATIONS | ESPNIC_NDIS_WANT_RECEIVE | ESPNIC_NDIS_WANT_SEND)

/* Most bytes of a frame in a record. */
#define ESPNIC_NDIS_MAX_BYTES 128

/* Largest status buffer of an struct espnic_ndis_indication (NDIS_OFFLOAD, revision 6). */
#define ESPNIC_NDIS_INDICATION_BUFFER 0xd8

/*
 * struct espnic_ndis_bind, with what NDIS_BIND_PARAMETERS tells a protocol driver of
 * offloads.
 */
struct espnic_ndis_bind {
	/* Interface index in the caller's network namespace. */
	__u32 ifindex;
	/*
	 * The records that read() returns, and how much of them (WANT_*); the removal of the
	 * adapter always is one.
	 */
	__u32 flags;
	/* Out: bytes of configuration. */
	__u32 length;
	/* Zero. */
	__u32 reserved;
	/* Out: DefaultOffloadConfiguration, an NDIS_OFFLOAD with what is enabled. */
	__u8 configuration[ESPNIC_NDIS_INDICATION_BUFFER];
};

/* espnic_ndis_request.path: the normal, serialised path. */
#define ESPNIC_NDIS_PATH_NORMAL 0

/* espnic_ndis_request.path: the direct path. */
#define ESPNIC_NDIS_PATH_DIRECT 1

/* espnic_ndis_request.request_type: NdisRequestQueryInformation. */
#define ESPNIC_NDIS_QUERY 0

/* espnic_ndis_request.request_type: NdisRequestSetInformation. */
#define ESPNIC_NDIS_SET 1

/* espnic_ndis_request.mode: the miniport derives the mode from the structure. */
#define ESPNIC_NDIS_MODE_DERIVE 0

/* espnic_ndis_request.mode and espnic_ndis_entry.mode: transport mode. */
#define ESPNIC_NDIS_MODE_TRANSPORT 1

/* espnic_ndis_request.mode and espnic_ndis_entry.mode: tunnel mode. */
#define ESPNIC_NDIS_MODE_TUNNEL 2

/*
 * struct espnic_ndis_request: an OID request. The fields from mode on say what the NDIS
 * transport keeps to itself and XFRM wants to know; they hold for every SA of the
 * request.
 */
struct espnic_ndis_request {
	/* Size of this structure. */
	__u32 size;
	/* PATH_*. */
	__u32 path;
	/* ESPNIC_NDIS_QUERY or ESPNIC_NDIS_SET; other values get a status. */
	__u32 request_type;
	/* The OID. */
	__u32 oid;
	/*
	 * Address of the information buffer, 8-aligned offsets inside it. Set requests may
	 * write into it.
	 */
	__u64 buffer;
	/* Bytes of the information buffer. */
	__u32 buffer_length;
	/* Out: NDIS_STATUS. */
	__u32 status;
	/* Out: BytesRead or BytesWritten. */
	__u32 bytes_done;
	/* Out: BytesNeeded. */
	__u32 bytes_needed;
	/* RequestId. */
	__u64 request_id;
	/* MODE_*. */
	__u8 mode;
	/* Zero. */
	__u8 reserved[3];
	/*
	 * Replay window of inbound SAs in packets, at most 4096; 0 switches the check off, but
	 * with extended sequence numbers counts as 1.
	 */
	__u32 replay_window;
	/* XFRM reqid, which policies name. */
	__u32 reqid;
	/* UDP source port of UDP-ESP, network order; zero means 4500. */
	__u8 source_port[2];
	/* UDP destination port of UDP-ESP, network order; zero means 4500. */
	__u8 destination_port[2];
	/* Zero. */
	__u32 reserved2[2];
};

/*
 * struct espnic_ndis_list: a part of the list of SAs. The list is read with repeated
 * calls: the first has cursor 0, each further one the cursor of the answer, until that
 * is 0.
 */
struct espnic_ndis_list {
	/* In: where to go on; out: where the next call goes on, 0 at the end. */
	__u64 cursor;
	/* Address of an array of struct espnic_ndis_entry. */
	__u64 entries;
	/* Entries that fit into the array. */
	__u32 capacity;
	/* Out: entries written. */
	__u32 count;
	/* Size of struct espnic_ndis_entry. */
	__u32 entry_size;
	/* Zero. */
	__u32 reserved;
};

/* espnic_ndis_entry.owner: made by netlink (ip xfrm, an IKE daemon). */
#define ESPNIC_NDIS_OWNER_XFRM 0

/* espnic_ndis_entry.owner: made through this open file. */
#define ESPNIC_NDIS_OWNER_THIS 1

/* espnic_ndis_entry.owner: made through another open file of the device. */
#define ESPNIC_NDIS_OWNER_OTHER 2

/* espnic_ndis_entry.direction: inbound. */
#define ESPNIC_NDIS_DIRECTION_IN 1

/* espnic_ndis_entry.direction: outbound. */
#define ESPNIC_NDIS_DIRECTION_OUT 2

/* espnic_ndis_entry.flags: extended sequence numbers. */
#define ESPNIC_NDIS_ENTRY_ESN (1 << 0)

/* espnic_ndis_entry.flags: the NIC asked for the deletion of this SA. */
#define ESPNIC_NDIS_ENTRY_DELETE_REQUESTED (1 << 1)

/* struct espnic_ndis_entry: one offloaded SA. */
struct espnic_ndis_entry {
	/* OffloadHandle. */
	__u64 handle;
	/* Packets that XFRM counted. */
	__u64 packets;
	/* Bytes that XFRM counted. */
	__u64 bytes;
	/* Source address, network order; IPv4 in the first four bytes. */
	__u8 source[16];
	/* Destination address, likewise. */
	__u8 destination[16];
	/* SPI, network order. */
	__u8 spi[4];
	/* XFRM reqid. */
	__u32 reqid;
	/*
	 * NDIS identifier of the authentication algorithm, 0 for none or one that NDIS does
	 * not know.
	 */
	__u32 authentication;
	/* NDIS identifier of the encryption algorithm, 0 for one that NDIS does not know. */
	__u32 encryption;
	/* Bytes of the ICV. */
	__u32 icv_length;
	/* Upper half of the sequence number last used or seen (ESN). */
	__u32 sequence_high;
	/* Lower half of the sequence number last used or seen. */
	__u32 sequence_low;
	/* Replay window in packets. */
	__u32 replay_window;
	/* NDIS UDP-ESP encapsulation, 0 for none. */
	__u32 udp_esp;
	/* ENTRY_*. */
	__u32 flags;
	/* 4 or 6. */
	__u8 family;
	/* DIRECTION_*. */
	__u8 direction;
	/* MODE_*. */
	__u8 mode;
	/* OWNER_*. */
	__u8 owner;
	/* UDP source port, network order. */
	__u8 source_port[2];
	/* UDP destination port, network order. */
	__u8 destination_port[2];
};

/* espnic_ndis_info.flags: the adapter was removed. */
#define ESPNIC_NDIS_INFO_REMOVED (1 << 0)

/* espnic_ndis_info.flags: OID_OFFLOAD_ENCAPSULATION has switched offloads on. */
#define ESPNIC_NDIS_INFO_ENCAPSULATION (1 << 1)

/* struct espnic_ndis_info. */
struct espnic_ndis_info {
	/* ESPNIC_NDIS_VERSION. */
	__u32 version;
	/* Interface index, 0 while nothing is bound. */
	__u32 ifindex;
	/* INFO_*. */
	__u32 flags;
	/* NDIS version of the miniport, major << 16 | minor (6.30 is 0x6001e). */
	__u32 ndis_version;
	/* Requests through this file. */
	__u64 requests;
	/* Requests that ended with an error status. */
	__u64 failed;
	/* Records put into this file's ring. */
	__u64 records;
	/* Records that found the ring full. */
	__u64 lost;
	/* SAs offloaded to the interface. */
	__u32 offloaded;
	/* SaOffloadCapacity. */
	__u32 capacity;
};

/* espnic_ndis_keyword.name: *IPsecOffloadV2. */
#define ESPNIC_NDIS_KEYWORD_IPSEC_V2 1

/* espnic_ndis_keyword.name: *IPsecOffloadV2IPv4. */
#define ESPNIC_NDIS_KEYWORD_IPSEC_V2_IPV4 2

/* espnic_ndis_keyword.name: *IPsecOffloadV1IPv4. */
#define ESPNIC_NDIS_KEYWORD_IPSEC_V1_IPV4 3

/*
 * espnic_ndis_keyword.name: the system-wide DisableTaskOffload; here it is the
 * adapter's.
 */
#define ESPNIC_NDIS_KEYWORD_DISABLE_TASK_OFFLOAD 4

/* espnic_ndis_keyword.name: the system-wide EnabledOffload of IPsec, likewise. */
#define ESPNIC_NDIS_KEYWORD_ENABLED_OFFLOAD 5

/*
 * espnic_ndis_keyword.name: *IPChecksumOffloadIPv4; the other checksums are the next
 * four, in the order of espnic_ndis_crate.keyword::CHECKSUMS.
 */
#define ESPNIC_NDIS_KEYWORD_CHECKSUMS 6

/* espnic_ndis_keyword.name: *LsoV1IPv4; *LsoV2IPv4 and *LsoV2IPv6 are the next two. */
#define ESPNIC_NDIS_KEYWORD_LSO 11

/*
 * struct espnic_ndis_keyword. Keywords belong to the adapter and live as long as it is
 * bound to the driver.
 */
struct espnic_ndis_keyword {
	/* KEYWORD_*. */
	__u32 name;
	/* 1: the keyword has value; 0: it is not in the registry. */
	__u32 present;
	/* Its value. */
	__u32 value;
	/* Zero. */
	__u32 reserved;
};

/* struct espnic_ndis_restart. */
struct espnic_ndis_restart {
	/*
	 * NDIS version to come up with, as in espnic_ndis_info.ndis_version; 0 leaves it as it
	 * is.
	 */
	__u32 ndis_version;
	/* Zero. */
	__u32 reserved;
};

/* struct espnic_ndis_cancel. */
struct espnic_ndis_cancel {
	/*
	 * RequestId. Those whose work has not begun are completed with
	 * NDIS_STATUS_REQUEST_ABORTED.
	 */
	__u64 request_id;
};

/* Longest frame of a struct espnic_ndis_submit, in bytes. */
#define ESPNIC_NDIS_MAX_FRAME 65549

/* Frames that an open file may submit in a second; one more gets NDIS_STATUS_RESOURCES. */
#define ESPNIC_NDIS_MAX_SUBMITS 1000

/* struct espnic_ndis_submit: an Ethernet frame with the slots of its NET_BUFFER_LIST. */
struct espnic_ndis_submit {
	/* Address of the frame, which is framed for ESP and not encrypted. */
	__u64 frame;
	/* Bytes of the frame, 14 to ESPNIC_NDIS_MAX_FRAME. */
	__u32 length;
	/*
	 * Out: NDIS_STATUS of the NET_BUFFER_LIST. Numbers are XFRM's, which frames anew what
	 * is inside; NDIS_STATUS_SEND_ABORTED if it would not send that under the SA of slot
	 * 1.
	 */
	__u32 status;
	/* Slot 1, transmit form: OffloadHandle. */
	__u64 slot1;
	/* Slot 2: large send offload. */
	__u64 slot2;
	/* Slot 11: TunnelHandle. */
	__u64 slot11;
	/* Slot 12, transmit form. */
	__u64 slot12;
	/* Zero. */
	__u64 reserved;
};

/* espnic_ndis_record.kind: struct espnic_ndis_indication, then its buffer. */
#define ESPNIC_NDIS_RECORD_INDICATION 1

/* espnic_ndis_record.kind: struct espnic_ndis_received. */
#define ESPNIC_NDIS_RECORD_RECEIVED 2

/* espnic_ndis_record.kind: struct espnic_ndis_sent. */
#define ESPNIC_NDIS_RECORD_SENT 3

/* espnic_ndis_record.kind: the adapter was removed; no body, and the last record. */
#define ESPNIC_NDIS_RECORD_REMOVED 4

/*
 * espnic_ndis_record.kind: struct espnic_ndis_completed, then its handles. It is never
 * lost.
 */
#define ESPNIC_NDIS_RECORD_COMPLETED 5

/*
 * struct espnic_ndis_record: head of what read() returns. Each call returns as many
 * whole records as fit; a buffer that is too small for the next one gets EINVAL.
 */
struct espnic_ndis_record {
	/* Bytes of head and body, a multiple of 8. */
	__u16 length;
	/* RECORD_*; skip those that you do not know. */
	__u16 kind;
	/* Counts up by one per record of this file, lost ones included. */
	__u32 sequence;
	/* Records lost right before this one. */
	__u32 lost;
	/* Zero. */
	__u32 reserved;
	/* CLOCK_MONOTONIC in nanoseconds. */
	__u64 timestamp;
};

/*
 * struct espnic_ndis_indication: head of a status indication; buffer_length bytes of
 * StatusBuffer follow, padded with zeros to a multiple of 8.
 */
struct espnic_ndis_indication {
	/* StatusCode. */
	__u32 status;
	/* StatusBufferSize, at most ESPNIC_NDIS_INDICATION_BUFFER. */
	__u32 buffer_length;
};

/*
 * Most handles behind a struct espnic_ndis_completed: elements of ADD_SA in an
 * information buffer of ESPNIC_NDIS_MAX_BUFFER.
 */
#define ESPNIC_NDIS_MAX_HANDLES 390

/*
 * struct espnic_ndis_completed: a request that was pended is complete. Of an addition
 * that has succeeded the OffloadHandles follow, 8 bytes each, in the order of its
 * elements, 0 for one that was not offloaded.
 */
struct espnic_ndis_completed {
	/* RequestId. */
	__u64 request_id;
	/* The OID. */
	__u32 oid;
	/* NDIS_STATUS. */
	__u32 status;
	/* BytesRead or BytesWritten. */
	__u32 bytes_done;
	/* BytesNeeded. */
	__u32 bytes_needed;
	/* Handles that follow, at most ESPNIC_NDIS_MAX_HANDLES. */
	__u32 handles;
	/* Zero. */
	__u32 reserved;
};

/* struct espnic_ndis_received: OOB data of a received packet. */
struct espnic_ndis_received {
	/* Slot 1, version 2 receive form. */
	__u64 slot1;
	/* Slot 12, receive form. */
	__u64 slot12;
	/* Slot 1 as version 1 would have it. */
	__u64 slot1_v1;
	/* OffloadHandle of the SA, 0 if none was found. */
	__u64 handle;
	/*
	 * SPI of the packet's first ESP or AH header, network order; zero if the packet has
	 * none.
	 */
	__u8 spi[4];
	/* Sequence number in that header, network order. */
	__u8 sequence[4];
	/* Bytes of the frame. */
	__u32 length;
	/* 4, 6, or 0 for anything else. */
	__u8 family;
	/*
	 * Bytes of the frame that follow, padded with zeros to a multiple of 8; at most
	 * ESPNIC_NDIS_MAX_BYTES.
	 */
	__u8 bytes;
	/* Zero. */
	__u8 reserved[2];
};

/* struct espnic_ndis_sent: OOB data of a sent packet. */
struct espnic_ndis_sent {
	/* Slot 1, transmit form: OffloadHandle. */
	__u64 slot1;
	/* Slot 11: TunnelHandle. */
	__u64 slot11;
	/* Slot 12, transmit form. */
	__u64 slot12;
	/* Slot 2: large send offload. */
	__u64 slot2;
	/* SPI of the packet's ESP header, network order. */
	__u8 spi[4];
	/* Sequence number in the packet's ESP header, network order. */
	__u8 sequence[4];
	/* Bytes of the frame. */
	__u32 length;
	/* 4 or 6. */
	__u8 family;
	/*
	 * Bytes of the frame that follow, padded with zeros to a multiple of 8; at most
	 * ESPNIC_NDIS_MAX_BYTES.
	 */
	__u8 bytes;
	/* Zero. */
	__u8 reserved[2];
	/* Status of the NET_BUFFER_LIST. */
	__u32 status;
	/* Zero. */
	__u32 reserved2;
};

/* Bytes of the longest record. */
#define ESPNIC_NDIS_MAX_RECORD (24 + 32 + 8 * ESPNIC_NDIS_MAX_HANDLES)

/*
 * ESPNIC_NDIS_BIND, struct espnic_ndis_bind: choose the interface of this open file,
 * once. If the answer cannot be written (EFAULT) the file is bound all the same.
 */
#define ESPNIC_NDIS_BIND _IOWR(ESPNIC_NDIS_MAGIC, 0, struct espnic_ndis_bind)
/* ESPNIC_NDIS_REQUEST, struct espnic_ndis_request: an OID request. */
#define ESPNIC_NDIS_REQUEST _IOWR(ESPNIC_NDIS_MAGIC, 1, struct espnic_ndis_request)
/*
 * ESPNIC_NDIS_LIST, struct espnic_ndis_list: the SAs that are offloaded to the
 * interface.
 */
#define ESPNIC_NDIS_LIST _IOWR(ESPNIC_NDIS_MAGIC, 2, struct espnic_ndis_list)
/* ESPNIC_NDIS_INFO, struct espnic_ndis_info: what is bound, and counters. */
#define ESPNIC_NDIS_INFO _IOR(ESPNIC_NDIS_MAGIC, 3, struct espnic_ndis_info)
/*
 * ESPNIC_NDIS_SET_KEYWORD, struct espnic_ndis_keyword: write or delete a registry
 * keyword of the adapter.
 */
#define ESPNIC_NDIS_SET_KEYWORD _IOW(ESPNIC_NDIS_MAGIC, 4, struct espnic_ndis_keyword)
/*
 * ESPNIC_NDIS_GET_KEYWORD, struct espnic_ndis_keyword: read a registry keyword of the
 * adapter.
 */
#define ESPNIC_NDIS_GET_KEYWORD _IOWR(ESPNIC_NDIS_MAGIC, 5, struct espnic_ndis_keyword)
/*
 * ESPNIC_NDIS_RESTART, struct espnic_ndis_restart: initialise the miniport again, from
 * the keywords.
 */
#define ESPNIC_NDIS_RESTART _IOW(ESPNIC_NDIS_MAGIC, 6, struct espnic_ndis_restart)
/*
 * ESPNIC_NDIS_PEND, struct espnic_ndis_request: an OID request that may be completed
 * later. Then its status is NDIS_STATUS_PENDING, the information buffer is left as it
 * is, and a struct espnic_ndis_completed follows, also if the answer could not be
 * written (EFAULT). Any other status is final.
 */
#define ESPNIC_NDIS_PEND _IOWR(ESPNIC_NDIS_MAGIC, 7, struct espnic_ndis_request)
/*
 * ESPNIC_NDIS_SUBMIT, struct espnic_ndis_submit: have a packet with out-of-band data
 * sent, with a number that is not that of the frame: see espnic_ndis_submit.status.
 */
#define ESPNIC_NDIS_SUBMIT _IOWR(ESPNIC_NDIS_MAGIC, 9, struct espnic_ndis_submit)
/*
 * ESPNIC_NDIS_CANCEL, struct espnic_ndis_cancel: end this file's pending requests with
 * a RequestId.
 */
#define ESPNIC_NDIS_CANCEL _IOW(ESPNIC_NDIS_MAGIC, 8, struct espnic_ndis_cancel)

#endif /* ESPNIC_NDIS_H */
