// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of administration commands: layouts written out by hand, and both directions against each
//! other.

use super::*;
use crate::sa;
use proptest::prelude::*;

fn write(command: Command<'_>) -> Vec<u8> {
    let mut buf = vec![0xff; 4096];
    let len = command.write(&mut buf).unwrap();
    buf.truncate(len);
    buf
}

#[test]
fn bitmaps_of_opcodes() {
    assert_eq!((OPS_ALL, OPS_INITIAL), (0x3f83, 0x3));
    assert_eq!((op_bit(63), op_bit(64)), (1 << 63, 0));
}

#[test]
fn list_commands() {
    assert_eq!(write(Command::ListQuery), [0; 24]);
    let mut expected = [0u8; 32];
    expected[0] = 1;
    expected[24..].copy_from_slice(&OPS_ALL.to_le_bytes());
    assert_eq!(write(Command::ListUse(&OPS_ALL.to_le_bytes())), expected);
}

#[test]
fn object_commands_have_a_flags_word_except_destroy() {
    let create = write(Command::ObjCreate {
        obj_type: 0x0203,
        id: 7,
        object: &[9; 196],
    });
    assert_eq!(create.len(), 240);
    assert_eq!(create[..2], [0xa, 0]);
    assert_eq!(
        create[24..40],
        [3, 2, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(create[40..236], [9; 196]);
    assert_eq!(create[236..], [0; 4]);
    assert_eq!(
        write(Command::ObjQuery {
            obj_type: 0x0203,
            id: 7
        })
        .len(),
        40
    );
    assert_eq!(
        write(Command::ObjDestroy {
            obj_type: 0x0203,
            id: 7
        })
        .len(),
        32
    );
    assert_eq!(
        write(Command::ObjModify {
            obj_type: 1,
            id: 2,
            object: &[]
        })[0],
        0xb
    );
    assert_eq!(write(Command::ObjQuery { obj_type: 1, id: 2 })[0], 0xc);
    assert_eq!(write(Command::ObjDestroy { obj_type: 1, id: 2 })[0], 0xd);
}

#[test]
fn a_small_buffer_is_refused() {
    let command = Command::ObjCreate {
        obj_type: sa::OBJ_INB_SA,
        id: 1,
        object: &[1; 5],
    };
    let len = write(command).len();
    assert_eq!(len, 48);
    for short in 0..len {
        assert_eq!(command.write(&mut vec![0; short]), Err(Error::NoSpace));
    }
}

#[test]
fn unknown_status_and_qualifier_are_mapped() {
    let reply = Reply::parse(&[99, 0, 8, 0, 0, 0, 0, 0, 1, 2]).unwrap();
    assert_eq!(
        reply,
        Reply {
            status: EINVAL,
            qualifier: Q_INVALID_COMMAND,
            result: &[1, 2]
        }
    );
    let reply = Reply::parse(&[0; 8]).unwrap();
    assert_eq!(
        reply,
        Reply {
            status: OK,
            qualifier: Q_OK,
            result: &[]
        }
    );
    assert_eq!(Reply::parse(&[0; 7]), Err(Error::Truncated));
}

#[test]
fn short_requests_read_as_zero() {
    let request = Request::parse(&[0xa]);
    assert_eq!(request.hdr.opcode.get(), 0xa);
    assert_eq!(request.obj(), (ObjHdr::default(), 0, &[][..]));
    let mut bytes = vec![0; 24];
    bytes.extend([4, 2, 0, 0, 5]);
    let (hdr, flags, object) = Request::parse(&bytes).obj();
    assert_eq!(
        (hdr.obj_type.get(), hdr.id.get(), flags, object.len()),
        (0x0204, 5, 0, 0)
    );
}

proptest! {
    #[test]
    fn request_reads_what_command_wrote(
        obj_type: u16, id: u32, object in prop::collection::vec(any::<u8>(), 0..600)
    ) {
        let bytes = write(Command::ObjCreate { obj_type, id, object: &object });
        prop_assert_eq!(bytes.len() % 8, 0);
        let request = Request::parse(&bytes);
        prop_assert_eq!(request.hdr.opcode.get(), OP_OBJ_CREATE);
        let (hdr, flags, data) = request.obj();
        prop_assert_eq!((hdr.obj_type.get(), hdr.id.get(), flags), (obj_type, id, 0));
        prop_assert_eq!(&data[..object.len()], &object[..]);
        prop_assert!(data[object.len()..].iter().all(|&byte| byte == 0));

        let bytes = write(Command::DriverCapSet { id: obj_type, data: &object });
        let request = Request::parse(&bytes);
        let (hdr, data) = request.cap();
        prop_assert_eq!(hdr.id.get(), obj_type);
        prop_assert_eq!(&data[..object.len()], &object[..]);
    }

    #[test]
    fn any_bytes_parse(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let request = Request::parse(&bytes);
        let _ = (request.cap(), request.obj(), Reply::parse(&bytes));
    }
}
