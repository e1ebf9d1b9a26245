// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where NET_BUFFER_LIST (`ndis/nbl.h`) keeps its status and out-of-band data.

/// Offset of Status, a signed 32-bit NDIS_STATUS.
pub const STATUS: usize = 0x8c;
/// Offset of NetBufferListInfo.
pub const INFO: usize = 0x90;
/// Bytes of a slot of NetBufferListInfo.
pub const SLOT_SIZE: usize = 8;

named! {
    /// NDIS_NET_BUFFER_LIST_INFO: index of a slot. Version 1 and version 2 share slot 1.
    pub struct Slot(usize);
    /// TcpIpChecksumNetBufferListInfo.
    CHECKSUM = 0, "TcpIpChecksumNetBufferListInfo";
    /// IPsecOffloadV2NetBufferListInfo, also IPsecOffloadV1NetBufferListInfo.
    IPSEC = 1, "IPsecOffloadV2NetBufferListInfo";
    /// TcpLargeSendNetBufferListInfo.
    LARGE_SEND = 2, "TcpLargeSendNetBufferListInfo";
    /// IPsecOffloadV2TunnelNetBufferListInfo.
    IPSEC_TUNNEL = 11, "IPsecOffloadV2TunnelNetBufferListInfo";
    /// IPsecOffloadV2HeaderNetBufferListInfo.
    IPSEC_HEADER = 12, "IPsecOffloadV2HeaderNetBufferListInfo";
}

impl Slot {
    /// Offset of the slot in NET_BUFFER_LIST.
    pub const fn offset(self) -> usize {
        INFO.saturating_add(self.0.saturating_mul(SLOT_SIZE))
    }
}

const _: () = {
    assert!(Slot::IPSEC.offset() == 0x98);
    assert!(Slot::LARGE_SEND.offset() == 0xa0);
    assert!(Slot::IPSEC_TUNNEL.offset() == 0xe8);
    assert!(Slot::IPSEC_HEADER.offset() == 0xf0);
};
