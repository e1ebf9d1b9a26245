// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The rights that the process gives up. At the start: the capabilities that it does not need, and the right to
//! remove files outside the directories of its sockets. When everything is open: all system calls that serving
//! NICs does not need, and new privileges by starting programs.
//!
//! Files, sockets and interfaces are open by then, so a compromised NIC can reach only its descriptors. A
//! forbidden call fails as if the kernel did not know it (`ENOSYS`), which the C library and others can handle.

use std::collections::BTreeMap;
use std::path::Path;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus,
};
use seccompiler::{
    apply_filter_all_threads, BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen,
    SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use thiserror::Error;

use crate::ports::tap;

/// The reason for which the process cannot give up rights.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The filter cannot be made, for this processor for example.
    #[error("{0}")]
    Filter(#[from] BackendError),
    /// The kernel does not take capabilities away.
    #[error("{0}")]
    Capabilities(#[from] CapsError),
    /// The kernel does not keep files, although it says that it can.
    #[error("{0}")]
    Files(#[from] RulesetError),
    /// The kernel does not take the filter.
    #[error("{0}")]
    Kernel(#[from] seccompiler::Error),
}

/// Calls that are allowed with any arguments. None opens, creates or starts anything except memory;
/// `accept4` takes connections of open sockets.
const ALLOWED: &[libc::c_long] = &[
    // Descriptors.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_lseek,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    // The socket files go at the end.
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    // Threads and signals of this process.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Time and random numbers.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
];

/// Drops the capabilities of this thread, and of threads that it will start, except those that serving
/// NICs needs: to reach the directories of sockets and captures, to keep keys out of the swap, and with
/// `taps` to attach to interfaces.
pub fn drop_capabilities(taps: bool) -> Result<(), SandboxError> {
    let mut needed = CapsHashSet::from([Capability::CAP_DAC_OVERRIDE, Capability::CAP_IPC_LOCK]);
    if taps {
        needed.insert(Capability::CAP_NET_ADMIN);
    }
    let held = caps::read(None, CapSet::Permitted)?;
    let kept = held.intersection(&needed).copied().collect();
    caps::clear(None, CapSet::Inheritable)?;
    // The effective ones first: they must be among the permitted ones.
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}

/// Lets this thread, and those that it will start, remove files only in `directories`; the socket files go at
/// the end, when nothing else can be given up for them. `false` if the kernel cannot do that.
pub fn keep_files<'a>(
    directories: impl IntoIterator<Item = &'a Path>,
) -> Result<bool, SandboxError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::RemoveFile | AccessFs::RemoveDir)?
        .create()?;
    for directory in directories {
        // One that is not there has no files.
        if let Ok(directory) = PathFd::new(directory) {
            ruleset = ruleset.add_rule(PathBeneath::new(directory, AccessFs::RemoveFile))?;
        }
    }
    Ok(ruleset.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// Restricts all threads of the process, and those that they will start, irrevocably. With `taps` they may
/// attach to TAP interfaces through open descriptors.
pub fn enter(taps: bool) -> Result<(), SandboxError> {
    apply_filter_all_threads(&filter(taps)?)?;
    Ok(())
}

fn filter(taps: bool) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<_, _> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    // `clone3` hides its flags from the filter, and the C library uses this one instead.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(
        libc::SYS_clone,
        only_if(0, SeccompCmpOp::MaskedEq(thread), thread)?,
    );
    let name = libc::PR_SET_NAME as u64;
    rules.insert(libc::SYS_prctl, only_if(0, SeccompCmpOp::Eq, name)?);
    // Signals may go to this process only.
    let process = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, only_if(0, SeccompCmpOp::Eq, process)?);
    if taps {
        let equal = |&call: &libc::Ioctl| only_if(1, SeccompCmpOp::Eq, call);
        let calls = tap::CALLS
            .iter()
            .map(equal)
            .collect::<Result<Vec<_>, _>>()?;
        rules.insert(libc::SYS_ioctl, calls.concat());
    }
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// A call is allowed if its argument number `index` compares with `value` like this. All of them are 32 bits.
fn only_if(index: u8, how: SeccompCmpOp, value: u64) -> Result<Vec<SeccompRule>, BackendError> {
    let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, how, value)?;
    Ok(vec![SeccompRule::new(vec![condition])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use vmm_sys_util::tempdir::TempDir;

    #[test]
    fn files_elsewhere_are_kept() {
        let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let files = [0, 1].map(|index: usize| dirs[index].as_path().join("file"));
        let inner = files.clone();
        files
            .iter()
            .for_each(|file| std::fs::write(file, "x").unwrap());
        let thread = std::thread::spawn(move || {
            let parents = inner.iter().take(1).filter_map(|file| file.parent());
            let kept = keep_files(parents).unwrap();
            let [removed, refused] = inner.map(std::fs::remove_file);
            removed.unwrap();
            (kept, refused.is_err())
        });
        let (kept, refused) = thread.join().unwrap();
        assert_eq!(kept, refused);
        assert_eq!(files.map(|file| file.exists()), [false, kept]);
    }

    #[test]
    fn capabilities_go() {
        let held = |set| caps::read(None, set).unwrap();
        let before = held(CapSet::Permitted);
        for (taps, needed) in [
            (
                true,
                &["CAP_DAC_OVERRIDE", "CAP_IPC_LOCK", "CAP_NET_ADMIN"][..],
            ),
            (false, &["CAP_DAC_OVERRIDE", "CAP_IPC_LOCK"][..]),
        ] {
            let wanted: CapsHashSet = needed
                .iter()
                .map(|name| name.parse().unwrap())
                .filter(|capability| before.contains(capability))
                .collect();
            let thread = std::thread::spawn(move || {
                drop_capabilities(taps).unwrap();
                let inner = std::thread::spawn(move || held(CapSet::Effective));
                (inner.join().unwrap(), held(CapSet::Permitted))
            });
            assert_eq!(thread.join().unwrap(), (wanted.clone(), wanted));
        }
        assert_eq!(held(CapSet::Permitted), before);
    }

    /// Puts only the calling thread into it, as the other tests go on.
    fn enter_alone() {
        seccompiler::apply_filter(&filter(false).unwrap()).unwrap();
    }

    fn refused<T>(result: std::io::Result<T>) -> bool {
        result.is_err_and(|error| error.raw_os_error() == Some(libc::ENOSYS))
    }

    #[test]
    fn nothing_new_can_be_opened_or_started() {
        let thread = std::thread::spawn(|| {
            let (mut a, mut b) = UnixStream::pair().unwrap();
            assert!(File::open("/dev/null").is_ok());
            enter_alone();
            assert!(refused(File::open("/dev/null")));
            assert!(refused(File::create("/tmp/espnic-sandbox-test")));
            assert!(refused(TcpListener::bind("127.0.0.1:0")));
            assert!(refused(TcpStream::connect("127.0.0.1:9")));
            assert!(refused(UnixStream::connect("/nowhere")));
            assert!(refused(UnixStream::pair()));
            assert!(Command::new("true").status().is_err());
            // What is open works, and so do threads.
            a.write_all(b"x").unwrap();
            b.read_exact(&mut [0]).unwrap();
            std::thread::Builder::new()
                .name("inside".into())
                .spawn(|| assert!(refused(File::open("/dev/null"))))
                .unwrap()
                .join()
                .unwrap();
            let missing = std::fs::remove_file("/nowhere/nothing").unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
        });
        thread.join().unwrap();
        assert!(File::open("/dev/null").is_ok());
    }
}
