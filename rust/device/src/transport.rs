// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The interface between the bus and the device: the operations of a PCI function for a transport.
//!
//! Nothing here can fail: the peer gets no useful answer from an error in the middle of a register
//! access, so a function logs, counts and goes to `DEVICE_NEEDS_RESET` instead.

use std::fs::File;

use thiserror::Error;

/// Failure of a transport as such.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The socket cannot be used.
    #[error("{0}")]
    Socket(String),
}

/// One memory or configuration region of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// BAR 0 to 5.
    Bar(u32),
    /// PCI configuration space.
    Config,
}

/// A piece of guest memory that the function may access.
pub struct DmaMap {
    /// Guest address.
    pub address: u64,
    /// Length in bytes.
    pub size: u64,
    /// Whether the function may write.
    pub writable: bool,
    /// The memory and the offset in it; `None` for memory that cannot be shared.
    pub file: Option<(File, u64)>,
}

/// A PCI function.
pub trait Function: Send {
    /// Size of `region` in bytes, 0 if absent.
    fn region_len(&self, region: Region) -> u64;
    /// Number of MSI-X vectors.
    fn vectors(&self) -> u16;
    /// Register read.
    fn read(&mut self, region: Region, offset: u64, data: &mut [u8]);
    /// Register write.
    fn write(&mut self, region: Region, offset: u64, data: &[u8]);
    /// New guest memory.
    fn dma_map(&mut self, map: DmaMap);
    /// Guest memory is unmapped; when this returns, the function does not access it any more.
    fn dma_unmap(&mut self, address: u64, size: u64);
    /// All guest memory is unmapped.
    fn dma_unmap_all(&mut self);
    /// Sets or removes the receiver of one MSI-X vector.
    fn set_vector(&mut self, vector: u32, receiver: Option<File>);
    /// Removes all receivers.
    fn clear_vectors(&mut self);
    /// PCI function reset.
    fn reset(&mut self);
    /// The peer is gone: resets the function, and removes memory and interrupts.
    fn disconnected(&mut self);
}

/// A bus that brings a function to a virtual machine.
pub trait Transport {
    /// Serves `function` to one peer after the other. Returns only when the transport itself fails.
    fn serve(&self, function: &mut dyn Function) -> Result<(), TransportError>;
}
