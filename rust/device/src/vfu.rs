// SPDX-License-Identifier: GPL-2.0 OR MIT

//! vfio-user: the transport to QEMU's `vfio-user-pci`.
//!
//! The `vfio_user` crate does the protocol. Its limits are met here: it answers a backend's error
//! with error number 0, also where no answer is wanted, so the backend never fails; it knows
//! unmap-all by another bit than VFIO; it serves one client per run, so [`VfioUser`] loops; and it
//! panics on a malformed version message, which ends that client and not the process.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use vfio_bindings::bindings::vfio;
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

use crate::limit::Limit;
use crate::socket;
use crate::transport::{DmaMap, Function, Region, Transport, TransportError};

const REGIONS: u32 = vfio::VFIO_PCI_NUM_REGIONS;
const IRQS: u32 = vfio::VFIO_PCI_NUM_IRQS;
/// `VFIO_DMA_UNMAP_FLAG_ALL`, which the crate calls `GET_DIRTY_PAGE_INFO`.
const UNMAP_ALL: u32 = 1 << 1;

/// A listening vfio-user socket.
pub struct VfioUser {
    path: PathBuf,
    listener: UnixListener,
    /// The rate limit for warnings about the peer.
    warnings: Limit,
}

impl VfioUser {
    /// Listens at `path`. Replaces a socket file that no process serves any more; any other existing file
    /// is an error.
    pub fn bind(path: &Path) -> Result<Self, TransportError> {
        let listener = socket::bind(path).map_err(TransportError::Socket)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            warnings: Limit::new(),
        })
    }

    fn connection_ended(&self, error: &dyn std::fmt::Display) {
        log::log!(
            self.warnings.level(),
            "{}: connection ended: {error}",
            self.path.display()
        );
    }

    fn server(&self, function: &dyn Function) -> io::Result<Server> {
        let fd = OwnedFd::from(self.listener.try_clone()?);
        let regions = (0..REGIONS)
            .map(|index| region_info(function, index))
            .collect();
        let irqs = (0..IRQS).map(|index| irq_info(function, index)).collect();
        Ok(Server::from_owned_fd(fd, true, irqs, regions))
    }
}

impl Transport for VfioUser {
    fn serve(&self, function: &mut dyn Function) -> Result<(), TransportError> {
        let error = |e: &dyn std::fmt::Display| {
            TransportError::Socket(format!("socket {}: {e}", self.path.display()))
        };
        loop {
            let server = match self.server(function) {
                Ok(server) => server,
                Err(e) => {
                    socket::survive(e).map_err(|e| error(&e))?;
                    continue;
                }
            };
            let mut backend = Backend {
                function: &mut *function,
            };
            match catch_unwind(AssertUnwindSafe(|| server.run(&mut backend))) {
                Ok(Ok(())) => log::info!("{}: peer disconnected", self.path.display()),
                Ok(Err(vfio_user::Error::SocketAccept(e))) => {
                    socket::survive(e).map_err(|e| error(&e))?;
                }
                Ok(Err(e)) => self.connection_ended(&e),
                Err(_) => self.connection_ended(&"bad message"),
            }
            function.disconnected();
        }
    }
}

fn region(index: u32) -> Option<Region> {
    match index {
        vfio::VFIO_PCI_BAR0_REGION_INDEX..=vfio::VFIO_PCI_BAR5_REGION_INDEX => {
            Some(Region::Bar(index))
        }
        vfio::VFIO_PCI_CONFIG_REGION_INDEX => Some(Region::Config),
        _ => None,
    }
}

fn region_info(function: &dyn Function, index: u32) -> ServerRegion {
    let size = region(index).map_or(0, |region| function.region_len(region));
    let access = vfio::VFIO_REGION_INFO_FLAG_READ | vfio::VFIO_REGION_INFO_FLAG_WRITE;
    let region_info = vfio::vfio_region_info {
        argsz: size_of::<vfio::vfio_region_info>() as u32,
        flags: if size > 0 { access } else { 0 },
        index,
        cap_offset: 0,
        size,
        offset: 0,
    };
    ServerRegion {
        region_info,
        sparse_areas: Vec::new(),
        mmap_fd: None,
    }
}

fn irq_info(function: &dyn Function, index: u32) -> IrqInfo {
    if index != vfio::VFIO_PCI_MSIX_IRQ_INDEX {
        return IrqInfo {
            index,
            flags: 0,
            count: 0,
        };
    }
    let flags = vfio::VFIO_IRQ_INFO_EVENTFD | vfio::VFIO_IRQ_INFO_NORESIZE;
    IrqInfo {
        index,
        flags,
        count: function.vectors().into(),
    }
}

struct Backend<'a> {
    function: &'a mut dyn Function,
}

impl ServerBackend for Backend<'_> {
    fn region_read(&mut self, index: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        // A peer may ask for up to 4 GiB, which the crate has allocated as zeroes. Bytes beyond the end of
        // the region are not touched, so they take no memory.
        let len = region(index).map_or(0, |region| self.function.region_len(region));
        let left = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = left.min(data.len());
        if let (Some(region), Some(data)) = (region(index), data.get_mut(..most)) {
            self.function.read(region, offset, data);
        }
        Ok(())
    }

    fn region_write(&mut self, index: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Some(region) = region(index) {
            self.function.write(region, offset, data);
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        let writable = flags.contains(DmaMapFlags::WRITE);
        let file = fd.map(|file| (file, offset));
        self.function.dma_map(DmaMap {
            address,
            size,
            writable,
            file,
        });
        Ok(())
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        if flags.bits() & UNMAP_ALL != 0 {
            self.function.dma_unmap_all();
        } else {
            self.function.dma_unmap(address, size);
        }
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.function.reset();
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        if index != vfio::VFIO_PCI_MSIX_IRQ_INDEX || flags & vfio::VFIO_IRQ_SET_ACTION_TRIGGER == 0
        {
            return Ok(());
        }
        if flags & vfio::VFIO_IRQ_SET_DATA_EVENTFD != 0 {
            // Vectors without a descriptor in the message lose theirs.
            let receivers = fds
                .into_iter()
                .map(Some)
                .chain(std::iter::repeat_with(|| None));
            for (vector, receiver) in (start..start.saturating_add(count.min(4096))).zip(receivers)
            {
                self.function.set_vector(vector, receiver);
            }
        } else if flags & vfio::VFIO_IRQ_SET_DATA_NONE != 0 && count == 0 {
            self.function.clear_vectors();
        }
        Ok(())
    }
}
