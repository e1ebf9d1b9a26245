// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `submit`.

use espnic_ndis::envelope;
use espnic_ndis::Status;
use serde_json::json;
use zeroize::Zeroizing;

use super::Done;
use crate::args::Submit;
use crate::device::Device;
use crate::error::Error;
use crate::{key, show};

/// Where the IP version is in a frame.
const IP: usize = 14;

/// A frame and its slots.
pub struct Packet {
    frame: Zeroizing<Vec<u8>>,
    slots: envelope::Submit,
}

impl Packet {
    /// From the words.
    pub fn new(words: &Submit) -> Result<Self, Error> {
        let frame = key::buffer(&words.frame).map_err(Error::Usage)?;
        if frame.len() < IP || frame.len() > envelope::MAX_FRAME as usize {
            let most = envelope::MAX_FRAME;
            return Err(Error::Usage(format!("a frame has {IP} to {most} bytes")));
        }
        let ipv6 = frame.get(IP).is_some_and(|byte| byte >> 4 == 6);
        let slots = words.slots(ipv6).map_err(Error::Usage)?;
        Ok(Self { frame, slots })
    }
}

/// `submit`
pub fn submit(device: &Device, packet: &Packet, json: bool) -> Result<Done, Error> {
    let status = device.submit(&packet.frame, packet.slots)?;
    let mut value = json!({
        "ok": status.is_success(),
        "status": status.to_string(),
        "code": format!("{:#010x}", status.0),
    });
    if let (Some(members), Status::SEND_ABORTED) = (value.as_object_mut(), status) {
        let hint = "packet and OOB data fit, but XFRM would not send it under this SA: it needs a \
                    policy, a route through the NIC, and a length that the path allows";
        members.insert("hint".into(), json!(hint));
    }
    show::print(json, &value)?;
    Ok(Done::ok(status.is_success()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Command, Line};

    fn packet(line: &str) -> Result<Packet, Error> {
        let line = Line::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Submit(words) = line.command else {
            panic!("another command")
        };
        Packet::new(&words)
    }

    fn frame(version: u8) -> String {
        format!("{}{version}0", "00".repeat(IP))
    }

    #[test]
    fn slots_are_made_of_their_members() {
        let line = format!(
            "submit {} --handle 0x1000001 --tunnel 2 --next-header 6 --pad-length 2 \
             --esp-offset 20 --ah-offset 8 --mss 1000 --tcp-offset 54",
            frame(4)
        );
        let made = packet(&line).unwrap();
        assert_eq!(made.frame.len(), IP + 1);
        assert_eq!((made.slots.slot1, made.slots.slot11), (0x100_0001, 2));
        assert_eq!(made.slots.slot12, 0x0502_0206);
        assert_eq!(made.slots.slot2 & 0xfffff, 1000);
        let line = format!("submit {} --mss 1000 --tcp-offset 54", frame(6));
        assert_ne!(packet(&line).unwrap().slots.slot2, made.slots.slot2);
        assert_eq!(
            packet(&format!("submit {}", frame(4))).unwrap().slots.slot2,
            0
        );
    }

    #[test]
    fn what_has_no_place_is_a_wrong_command_line() {
        let frame = frame(4);
        for words in [
            "--esp-offset 21",
            "--ah-offset 1024",
            "--mss 0x100000 --tcp-offset 54",
        ] {
            let line = format!("submit {frame} {}", words.replace("0x100000", "1048576"));
            assert!(matches!(packet(&line), Err(Error::Usage(_))), "{words}");
        }
        for wrong in ["00", "0z", &"00".repeat(65550)] {
            let line = format!("submit {wrong}");
            assert!(matches!(packet(&line), Err(Error::Usage(_))));
        }
        let line = format!("submit {frame} --mss 1000");
        assert!(Line::try_parse_from(line.split_whitespace()).is_err());
    }
}
