// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Status values, NDIS_STATUS (`ndis.h`).
//!
//! NDIS_STATUS_* and the NTSTATUS values STATUS_NDIS_* are different numbers for INVALID_LENGTH,
//! INVALID_DATA, BUFFER_TOO_SHORT, INVALID_OID, REQUEST_ABORTED and NOT_SUPPORTED. Some values are
//! positive as a signed number and yet no success, so ask [`Status::is_success`].

named! {
    /// NDIS_STATUS, 32 bits; signed in C.
    pub struct Status(u32);
    /// The request was carried out.
    SUCCESS = 0x0000_0000, "NDIS_STATUS_SUCCESS";
    /// The request will be completed later. Never a final status.
    PENDING = 0x0000_0103, "NDIS_STATUS_PENDING";
    /// The request is not known.
    NOT_RECOGNIZED = 0x0001_0001, "NDIS_STATUS_NOT_RECOGNIZED";
    /// The adapter is being reset or was removed.
    NOT_ACCEPTED = 0x0001_0003, "NDIS_STATUS_NOT_ACCEPTED";
    /// Carried out, and an indication follows. Not allowed for the SA requests.
    INDICATION_REQUIRED = 0x4023_0001, "NDIS_STATUS_INDICATION_REQUIRED";
    /// Indication: the enabled offloads changed.
    TASK_OFFLOAD_CURRENT_CONFIG = 0x4002_0006, "NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG";
    /// Indication: the hardware's capabilities changed.
    TASK_OFFLOAD_HARDWARE_CAPABILITIES = 0x4002_0007,
        "NDIS_STATUS_TASK_OFFLOAD_HARDWARE_CAPABILITIES";
    /// Indication: the encapsulation changed. The name is spelt as in the header.
    OFFLOAD_ENCAPSULATION_CHANGE = 0x4002_0008, "NDIS_STATUS_OFFLOAD_ENCASPULATION_CHANGE";
    /// More data than the buffer holds.
    BUFFER_OVERFLOW = 0x8000_0005, "NDIS_STATUS_BUFFER_OVERFLOW";
    /// Failed for a reason without a status of its own.
    FAILURE = 0xc000_0001, "NDIS_STATUS_FAILURE";
    /// A parameter is wrong; for an update: no such SA, or no ESN.
    INVALID_PARAMETER = 0xc000_000d, "NDIS_STATUS_INVALID_PARAMETER";
    /// The device does not know the request.
    INVALID_DEVICE_REQUEST = 0xc000_0010, "NDIS_STATUS_INVALID_DEVICE_REQUEST";
    /// No memory, or no room in the NIC's table.
    RESOURCES = 0xc000_009a, "NDIS_STATUS_RESOURCES";
    /// Known, but not supported.
    NOT_SUPPORTED = 0xc000_00bb, "NDIS_STATUS_NOT_SUPPORTED";
    /// Not possible in this state.
    INVALID_STATE = 0xc000_0184, "NDIS_STATUS_INVALID_STATE";
    /// The request was cut short by a cancel or a reset.
    REQUEST_ABORTED = 0xc001_000c, "NDIS_STATUS_REQUEST_ABORTED";
    /// A reset is under way.
    RESET_IN_PROGRESS = 0xc001_000d, "NDIS_STATUS_RESET_IN_PROGRESS";
    /// The packet is malformed.
    INVALID_PACKET = 0xc001_000f, "NDIS_STATUS_INVALID_PACKET";
    /// The adapter is not ready.
    ADAPTER_NOT_READY = 0xc001_0011, "NDIS_STATUS_ADAPTER_NOT_READY";
    /// The information buffer has the wrong length; BytesNeeded says the right one.
    INVALID_LENGTH = 0xc001_0014, "NDIS_STATUS_INVALID_LENGTH";
    /// The information buffer has a value out of bounds.
    INVALID_DATA = 0xc001_0015, "NDIS_STATUS_INVALID_DATA";
    /// The information buffer is too short for the answer.
    BUFFER_TOO_SHORT = 0xc001_0016, "NDIS_STATUS_BUFFER_TOO_SHORT";
    /// The OID is not known.
    INVALID_OID = 0xc001_0017, "NDIS_STATUS_INVALID_OID";
    /// The adapter was removed.
    ADAPTER_REMOVED = 0xc001_0018, "NDIS_STATUS_ADAPTER_REMOVED";
    /// The send was aborted.
    SEND_ABORTED = 0xc023_000c, "NDIS_STATUS_SEND_ABORTED";
    /// The adapter is paused.
    PAUSED = 0xc023_002a, "NDIS_STATUS_PAUSED";
    /// The revision in the header is not supported.
    UNSUPPORTED_REVISION = 0xc023_002c, "NDIS_STATUS_UNSUPPORTED_REVISION";
    /// The adapter is in a low-power state.
    LOW_POWER_STATE = 0xc023_002f, "NDIS_STATUS_LOW_POWER_STATE";
}

impl Status {
    /// Whether a request ended well. PENDING is no end.
    pub fn is_success(self) -> bool {
        matches!(self, Self::SUCCESS | Self::INDICATION_REQUIRED)
    }
}
