// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The open connections, and the choice of the one to close.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most connections at a time. Each has a descriptor and a thread, even when it is idle.
const MAX_CONNECTIONS: usize = 64;
/// The time without a request after which a connection may be closed to make room for another.
const IDLE: Duration = Duration::from_secs(30);

/// The connections.
#[derive(Default)]
pub(super) struct Connections(Mutex<Vec<Arc<Connection>>>);

struct Connection {
    stream: UnixStream,
    /// When it was opened, or had its last request.
    active: Mutex<Instant>,
}

/// The place of one connection, which is free again when this is dropped.
pub(super) struct Place {
    all: Arc<Connections>,
    own: Arc<Connection>,
}

impl Connections {
    /// Gives a connection a place, if necessary that of the one that has been idle for longest. Gives the
    /// connection back if all places are in use.
    pub(super) fn admit(
        self: &Arc<Self>,
        stream: UnixStream,
        now: Instant,
    ) -> Result<Place, UnixStream> {
        let mut list = self.lock();
        if list.len() >= MAX_CONNECTIONS && !evict(&mut list, now) {
            return Err(stream);
        }
        let own = Arc::new(Connection {
            stream,
            active: Mutex::new(now),
        });
        list.push(own.clone());
        drop(list);
        Ok(Place {
            all: self.clone(),
            own,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the connection that has been idle for longest, if that is long enough.
fn evict(list: &mut Vec<Arc<Connection>>, now: Instant) -> bool {
    let idle = |connection: &Connection| now.saturating_duration_since(connection.active());
    let longest = list.iter().enumerate().max_by_key(|(_, one)| idle(one));
    let Some((index, _)) = longest.filter(|(_, one)| idle(one) >= IDLE) else {
        return false;
    };
    // Wakes its thread, which may wait for a request or for room to answer.
    if let Err(error) = list.swap_remove(index).stream.shutdown(Shutdown::Both) {
        log::debug!("an idle control connection is gone already: {error}");
    }
    log::debug!("an idle control connection was closed in favour of a new one");
    true
}

impl Connection {
    fn active(&self) -> Instant {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The connection.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.own.stream
    }

    /// Notes that there was a request.
    pub(super) fn active(&self, now: Instant) {
        *self
            .own
            .active
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().retain(|one| !Arc::ptr_eq(one, &self.own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_one_that_is_idle_for_longest_makes_room() {
        let (all, start) = (Arc::new(Connections::default()), Instant::now());
        let admit = |now| {
            let (client, server) = UnixStream::pair().unwrap();
            client.set_nonblocking(true).unwrap();
            (client, all.admit(server, now).ok())
        };
        let mut open: Vec<_> = (0..MAX_CONNECTIONS as u64)
            .map(|number| admit(start + Duration::from_millis(number)))
            .collect();
        // Nobody has been idle for long.
        assert!(admit(start + IDLE - Duration::from_millis(1)).1.is_none());
        // The first one was used in between, so the second goes.
        open[0].1.as_ref().unwrap().active(start + IDLE);
        let newest = admit(start + IDLE + Duration::from_millis(1));
        assert!(newest.1.is_some());
        let closed =
            |(client, _): &mut (UnixStream, Option<Place>)| matches!(client.read(&mut [0]), Ok(0));
        let ended: Vec<_> = open.iter_mut().map(closed).collect();
        assert_eq!(ended.iter().filter(|&&closed| closed).count(), 1);
        assert!(ended[1]);
        // Whoever has lost its place leaves no other.
        drop(open.remove(1));
        assert_eq!(all.lock().len(), MAX_CONNECTIONS);
        drop((newest, open));
        assert_eq!(all.lock().len(), 0);
    }
}
