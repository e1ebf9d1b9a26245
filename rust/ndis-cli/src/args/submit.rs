// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Words of `submit`.

use espnic_ndis::envelope;
use espnic_ndis::oob::{LargeSend, SendHeader};
use zerocopy::FromZeros;

use crate::value::long_number;

/// `submit`
#[derive(Debug, clap::Args)]
pub struct Submit {
    /// Ethernet frame, framed for ESP and not encrypted: hex digits, @FILE with the bytes, or "-" for
    /// hex digits from stdin
    pub frame: String,
    /// OffloadHandle (slot 1)
    #[arg(long, value_name = "HANDLE", value_parser = long_number)]
    pub handle: Option<u64>,
    /// TunnelHandle (slot 11)
    #[arg(long, value_name = "HANDLE", value_parser = long_number)]
    pub tunnel: Option<u64>,
    /// NextHeader of the ESP trailer (slot 12)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub next_header: u8,
    /// PadLength of the ESP trailer (slot 12)
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub pad_length: u8,
    /// EspHeaderOffset from the IP header, a multiple of 4; 0 for no ESP (slot 12)
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub esp_offset: u16,
    /// AhHeaderOffset from the IP header, a multiple of 4; 0 for no AH (slot 12)
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub ah_offset: u16,
    /// MSS of a large send (slot 2)
    #[arg(long, value_name = "BYTES", requires = "tcp_offset")]
    pub mss: Option<u32>,
    /// TcpHeaderOffset of a large send, from the start of the frame (slot 2)
    #[arg(long, value_name = "BYTES", requires = "mss")]
    pub tcp_offset: Option<u32>,
}

impl Submit {
    /// The slots; nothing of the frame.
    ///
    /// # Errors
    ///
    /// A message about a member that does not fit its word.
    pub fn slots(&self, ipv6: bool) -> Result<envelope::Submit, String> {
        let header = SendHeader {
            next_header: self.next_header,
            pad_length: self.pad_length,
            ah_offset: self.ah_offset,
            esp_offset: self.esp_offset,
        };
        let mut submit = envelope::Submit::new_zeroed();
        submit.slot1 = self.handle.unwrap_or(0);
        submit.slot11 = self.tunnel.unwrap_or(0);
        submit.slot12 = header
            .word()
            .ok_or("an offset is a multiple of 4, and at most 1020")?;
        if let (Some(mss), Some(tcp_header_offset)) = (self.mss, self.tcp_offset) {
            let large = LargeSend::V2 {
                mss,
                tcp_header_offset,
                ipv6,
            };
            submit.slot2 = large
                .word()
                .ok_or("an MSS is at most 1048575, and TcpHeaderOffset at most 1023")?;
        }
        Ok(submit)
    }
}
