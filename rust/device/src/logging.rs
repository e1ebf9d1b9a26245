// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The log of the process, with a rate limit for what its peers cause.

use std::cell::RefCell;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::limit::Limit;

/// The crate that speaks to the peers, each in a thread of its own.
const TRANSPORT: &str = "vfio_user";

thread_local! {
    /// The rate limit for the transport of this thread.
    static LIMIT: RefCell<Limit> = const { RefCell::new(Limit::new()) };
}

/// A log in which the transport of one peer has one warning or error per second.
struct Limited<L>(L);

impl<L: Log> Log for Limited<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let of_peer = record.target().starts_with(TRANSPORT) && record.level() <= Level::Warn;
        // A thread that ends has no limit any more, and nothing to say.
        let passes = || LIMIT.try_with(|limit| limit.borrow().level() == Level::Warn);
        if self.enabled(record.metadata()) && (!of_peer || passes().unwrap_or(false)) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Starts to log to standard error.
///
/// The vfio-user crate reports every connection in detail at level info; here that is debugging.
/// virtio-queue's own error log is silenced. Those are errors of the guest, which this crate logs
/// itself, with the name of the NIC and a rate limit.
pub fn start(level: LevelFilter) {
    let (transport, queues) = match level {
        LevelFilter::Debug | LevelFilter::Trace => (level, level),
        _ => (level.min(LevelFilter::Warn), LevelFilter::Off),
    };
    let logger = env_logger::Builder::new()
        .filter_level(level)
        .filter_module(TRANSPORT, transport)
        .filter_module("virtio_queue", queues)
        .build();
    let most = logger.filter();
    // Only a second call can fail, and the first log goes on then.
    if log::set_boxed_logger(Box::new(Limited(logger))).is_ok() {
        log::set_max_level(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Log for &Count {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() <= Level::Info
        }

        fn log(&self, _: &Record<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn flush(&self) {}
    }

    #[test]
    fn a_peer_has_a_share_of_the_log() {
        let count = Count::default();
        let log = Limited(&count);
        let say = |target: &str, level| {
            log.log(&Record::builder().target(target).level(level).build());
        };
        let flood = || (0..100).for_each(|_| say("vfio_user", Level::Error));
        std::thread::scope(|threads| {
            threads.spawn(flood);
            threads.spawn(flood);
        });
        let shown = count.0.load(Ordering::Relaxed);
        assert!((2..=6).contains(&shown), "{shown}");
        (0..10).for_each(|_| say("espnic_device::nic", Level::Warn));
        say("espnic_device::nic", Level::Debug);
        (0..10).for_each(|_| say("vfio_user", Level::Info));
        assert_eq!(count.0.load(Ordering::Relaxed), shown + 20);
    }
}
