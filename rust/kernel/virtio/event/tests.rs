// SPDX-License-Identifier: GPL-2.0

//! Tests of buffers that no device has.

use super::EventBuffer;
use kernel::prelude::*;

#[kunit_tests(espnic_virtio_event)]
mod cases {
    use super::*;

    #[test]
    fn nothing_is_written_at_first() -> Result {
        assert!(EventBuffer::new(32)?.record().is_empty());
        assert_eq!(EventBuffer::new(0).err(), Some(EINVAL));
        Ok(())
    }

    #[test]
    fn record_ends_where_the_device_stopped() -> Result {
        let mut buffer = EventBuffer::new(4)?;
        buffer.bytes.copy_from_slice(b"1234");
        buffer.written = 3;
        assert_eq!(buffer.record(), b"123");
        Ok(())
    }

    #[test]
    fn record_ends_with_the_buffer() -> Result {
        let mut buffer = EventBuffer::new(4)?;
        buffer.bytes.copy_from_slice(b"1234");
        for written in [4, 5, u32::MAX] {
            buffer.written = written;
            assert_eq!(buffer.record(), b"1234");
        }
        Ok(())
    }
}
