// SPDX-License-Identifier: GPL-2.0

//! `/dev/espnic-ndis`: open files, ioctls, reading.

use super::{
    later::Workers,
    list,
    port::Port,
    request,
    submit, //
};
use crate::nic::Nic;
use espnic_ndis::envelope::{
    Bind,
    Cancel,
    Info,
    Keyword,
    Request,
    Restart,
    INFO_ENCAPSULATION,
    INFO_REMOVED,
    IOCTL_BIND,
    IOCTL_CANCEL,
    IOCTL_GET_KEYWORD,
    IOCTL_INFO,
    IOCTL_LIST,
    IOCTL_PEND,
    IOCTL_REQUEST,
    IOCTL_RESTART,
    IOCTL_SET_KEYWORD,
    IOCTL_SUBMIT,
    VERSION,
    WANT_ALL,
    WANT_BYTES, //
};
use espnic_ndis::Status;
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::IovIterDest,
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    new_poll_condvar,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::{
            PollCondVar,
            PollTable, //
        },
        Arc,
        SetOnce, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use kernel_net::{
    compat,
    misc,
    net::{
        namespace::Namespace,
        operation_not_supported, //
    },
    rtnl, //
};
use zerocopy::{
    FromBytes,
    FromZeros,
    IntoBytes, //
};

const NAME: &CStr = c"espnic-ndis";
/// Read and write for root.
const MODE: u16 = 0o600;

/// The number of the last open file.
static FILES: Atomic<u32> = Atomic::new(0);

/// Whether the module parameter asks for the device.
pub(super) fn is_enabled() -> bool {
    compat::parameter(&crate::module_parameters::ndis) != 0
}

/// The device.
#[pin_data]
pub(crate) struct Registrations {
    #[pin]
    _device: misc::Registration<OpenFile>,
}

impl Registrations {
    /// Makes the device if the module parameter asks for it.
    pub(crate) fn new() -> Result<Option<Pin<KBox<Self>>>> {
        if !is_enabled() {
            return Ok(None);
        }
        let new = try_pin_init!(Self {
            _device <- misc::Registration::new(NAME, MODE),
        });
        KBox::pin_init(new, GFP_KERNEL).map(Some)
    }
}

/// An open file.
pub(super) struct OpenFile {
    /// Its number, never 0.
    number: u32,
    port: SetOnce<Arc<Port>>,
    /// Made for the first request that is pended.
    workers: SetOnce<Workers>,
    /// Woken for each record. A reader may wait before there is a port.
    readable: Arc<PollCondVar>,
    requests: Atomic<u64>,
    failed: Atomic<u64>,
}

#[vtable]
impl MiscDevice for OpenFile {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let number = FILES.fetch_add(1, Relaxed).wrapping_add(1);
        let file = Self {
            // After 2^32 files two may share a number, and each deletes the other's SAs.
            number: number.max(1),
            port: SetOnce::new(),
            workers: SetOnce::new(),
            readable: Arc::pin_init(new_poll_condvar!(), GFP_KERNEL)?,
            requests: Atomic::new(0),
            failed: Atomic::new(0),
        };
        Ok(KBox::new(file, GFP_KERNEL)?)
    }

    fn release(device: KBox<Self>, _file: &File) {
        let Self { port, workers, .. } = KBox::into_inner(device);
        if let Some(port) = port.as_ref() {
            port.adapter.detach(port);
            port.with_table(|_, table| table.close());
            // Waits for work under way, which may still add an SA.
            drop(workers);
            port.delete_own();
        }
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let port = kiocb.file().port.as_ref().ok_or(ENODEV)?;
        let wait = !misc::is_nonblocking(&kiocb);
        let mut done = 0usize;
        while !iov.is_empty() {
            let record = match port.pop(iov.len(), wait && done == 0) {
                Ok(record) => record,
                // There are no more records, or the next one does not fit.
                Err(_) if done != 0 => break,
                Err(ENODEV) => break,
                Err(error) => return Err(error),
            };
            for part in [record.get(), record.rest()] {
                if iov.copy_to_iter(part) != part.len() {
                    // The reader has the records before this one, which is lost.
                    return if done == 0 { Err(EFAULT) } else { Ok(done) };
                }
            }
            let length = record.get().len().saturating_add(record.rest().len());
            done = done.saturating_add(length);
        }
        Ok(done)
    }

    fn ioctl(device: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let user = User(UserPtr::from_addr(arg));
        match cmd {
            IOCTL_BIND => user.exchange(|bind| device.bind(bind)),
            IOCTL_REQUEST => device.request(&user),
            IOCTL_LIST => user.exchange(|list| list::fill(device.port()?, list)),
            IOCTL_INFO => user.write(&device.info()?),
            IOCTL_SET_KEYWORD => device.set_keyword(&user.read()?),
            IOCTL_GET_KEYWORD => user.exchange(|keyword| device.keyword(keyword)),
            IOCTL_RESTART => device.restart(&user.read()?),
            IOCTL_PEND => device.pend(&user),
            IOCTL_SUBMIT => user.exchange(|one| submit::submit(device.port()?, one)),
            IOCTL_CANCEL => device.cancel(&user.read()?),
            _ => Err(ENOTTY),
        }?;
        Ok(0)
    }
}

impl misc::Pollable for OpenFile {
    const MODULE: &'static ThisModule = kernel_net::this_module!(crate::Module);

    fn poll(device: &Self, file: &File, table: PollTable<'_>) -> u32 {
        table.register_wait(file, &device.readable);
        match device.port.as_ref() {
            Some(port) if port.has_record() => misc::READABLE,
            _ => 0,
        }
    }
}

/// The caller's structure.
struct User(UserPtr);

impl User {
    fn read<T: FromBytes + IntoBytes>(&self) -> Result<T> {
        let mut value = T::new_zeroed();
        UserSlice::new(self.0, size_of::<T>())
            .reader()
            .read_slice(value.as_mut_bytes())?;
        Ok(value)
    }

    fn write<T: IntoBytes + zerocopy::Immutable>(&self, value: &T) -> Result {
        UserSlice::new(self.0, size_of::<T>())
            .writer()
            .write_slice(value.as_bytes())
    }

    /// Reads the caller's structure, lets `act` change it, and writes it back.
    fn exchange<T: FromBytes + IntoBytes + zerocopy::Immutable>(
        &self,
        act: impl FnOnce(&mut T) -> Result,
    ) -> Result {
        let mut value = self.read()?;
        act(&mut value)?;
        self.write(&value)
    }
}

impl OpenFile {
    fn port(&self) -> Result<&Port> {
        self.port.as_ref().map(|port| &**port).ok_or(ENODEV)
    }

    fn bind(&self, bind: &mut Bind) -> Result {
        if bind.flags & !(WANT_ALL | WANT_BYTES) != 0 || bind.reserved != 0 {
            return Err(EINVAL);
        }
        let namespace = Namespace::current()?;
        if !namespace.may_administrate() {
            return Err(EPERM);
        }
        if bind.flags & WANT_BYTES != 0 && !namespace.may_see_packets() {
            return Err(EPERM);
        }
        if self.port.as_ref().is_some() {
            return Err(EBUSY);
        }
        // Under RTNL, so that the interface cannot leave before the port is attached.
        let _rtnl = rtnl::lock();
        let dev = namespace.device::<Nic>(bind.ifindex)?;
        let adapter = dev.data().ndis.0.clone();
        let adapter = adapter.ok_or_else(operation_not_supported)?;
        let readable = self.readable.clone();
        let port = Port::new(
            adapter,
            namespace,
            bind.ifindex,
            self.number,
            bind.flags,
            readable,
        )?;
        port.adapter.attach(port.clone())?;
        let miniport = port.adapter.miniport.lock();
        bind.length = miniport.configuration(&mut bind.configuration);
        drop(miniport);
        if self.port.populate(port.clone()) {
            return Ok(());
        }
        // Another thread has bound the file meanwhile.
        port.adapter.detach(&port);
        Err(EBUSY)
    }

    fn request(&self, user: &User) -> Result {
        let mut request: Request = user.read()?;
        request::check(&request)?;
        self.perform(&mut request, user)
    }

    fn perform(&self, request: &mut Request, user: &User) -> Result {
        let port = self.port()?;
        let status = request::perform(port, request, |answer| user.write(answer))?;
        self.count(status);
        Ok(())
    }

    fn count(&self, status: Status) {
        self.requests.fetch_add(1, Relaxed);
        if !status.is_success() && status != Status::PENDING {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    fn workers(&self) -> Result<&Workers> {
        if self.workers.as_ref().is_none() {
            let port = self.port.as_ref().ok_or(ENODEV)?;
            // If another thread was faster, these are dropped.
            self.workers.populate(Workers::new(port)?);
        }
        self.workers.as_ref().ok_or(ENODEV)
    }

    fn pend(&self, user: &User) -> Result {
        let port = self.port()?;
        let mut request: Request = user.read()?;
        request::check(&request)?;
        // Before anything is pended, because it needs a worker.
        let workers = self.workers()?;
        let Some(status) = port.pend(&request)? else {
            return self.perform(&mut request, user);
        };
        self.count(status);
        if status == Status::PENDING {
            workers.wake();
        }
        request.status = status.0;
        request.bytes_done = 0;
        request.bytes_needed = 0;
        user.write(&request)
    }

    fn cancel(&self, cancel: &Cancel) -> Result {
        let port = self.port()?;
        port.check_caller()?;
        port.abort(Some(cancel.request_id));
        // Requests that waited for the ended ones may begin.
        if let Some(workers) = self.workers.as_ref() {
            workers.wake();
        }
        Ok(())
    }

    fn info(&self) -> Result<Info> {
        let mut info = Info::new_zeroed();
        info.version = VERSION;
        info.requests = self.requests.load(Relaxed);
        info.failed = self.failed.load(Relaxed);
        let Some(port) = self.port.as_ref() else {
            return Ok(info);
        };
        info.ifindex = port.index;
        (info.records, info.lost) = port.counters();
        info.failed = info.failed.wrapping_add(port.failed());
        let adapter = &port.adapter;
        info.offloaded = adapter.handles.alive();
        let miniport = adapter.miniport.lock();
        info.ndis_version = miniport.version().0;
        info.capacity = miniport.capacity();
        if miniport.has_encapsulation() {
            info.flags |= INFO_ENCAPSULATION;
        }
        drop(miniport);
        if port.is_removed() {
            info.flags |= INFO_REMOVED;
        }
        Ok(info)
    }

    fn set_keyword(&self, keyword: &Keyword) -> Result {
        let port = self.port()?;
        let _dev = port.device()?;
        if keyword.reserved != 0 || keyword.present > 1 {
            return Err(EINVAL);
        }
        let value = (keyword.present == 1).then_some(keyword.value);
        port.adapter
            .miniport
            .lock()
            .set_keyword(keyword.name, value)
    }

    fn keyword(&self, keyword: &mut Keyword) -> Result {
        let port = self.port()?;
        let _dev = port.device()?;
        if keyword.reserved != 0 {
            return Err(EINVAL);
        }
        let value = port.adapter.miniport.lock().keyword(keyword.name)?;
        keyword.present = u32::from(value.is_some());
        keyword.value = value.unwrap_or(0);
        Ok(())
    }

    fn restart(&self, restart: &Restart) -> Result {
        let port = self.port()?;
        let dev = port.device()?;
        if restart.reserved != 0 {
            return Err(EINVAL);
        }
        port.adapter.restart(port, &dev, restart.ndis_version)?;
        port.adapter.abort();
        // A miniport that halts leaves no SAs behind.
        port.delete_sas(&dev, |owner| owner != 0);
        let nic = dev.data();
        nic.ipsec.follow(&nic.control);
        Ok(())
    }
}
