// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A wire inside the process: what one NIC sends, all others on it receive.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Inbox, Port};

/// The wire.
#[derive(Default)]
pub struct Wire {
    ends: RwLock<Vec<Arc<Inbox>>>,
}

impl Wire {
    /// Connects a NIC and returns its port.
    pub fn connect(self: &Arc<Self>, inbox: Arc<Inbox>) -> WirePort {
        let mut ends = self.ends.write().unwrap_or_else(PoisonError::into_inner);
        ends.push(inbox);
        WirePort {
            wire: self.clone(),
            own: ends.len() - 1,
        }
    }
}

/// One NIC's end of a [`Wire`].
pub struct WirePort {
    wire: Arc<Wire>,
    own: usize,
}

impl Port for WirePort {
    fn send(&self, frame: Vec<u8>) -> bool {
        let ends = self
            .wire
            .ends
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut others = ends.iter().enumerate().filter(|(end, _)| *end != self.own);
        let Some((_, first)) = others.next() else {
            return false;
        };
        for (_, inbox) in others {
            inbox.push(frame.clone());
        }
        first.push(frame);
        true
    }

    fn link_up(&self) -> bool {
        self.wire
            .ends
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
            > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Wake;
    use crate::stats::PortStats;

    #[test]
    fn everybody_else_receives() {
        let wire = Arc::new(Wire::default());
        let stats: Vec<_> = (0..3).map(|_| Arc::new(PortStats::default())).collect();
        let ports: Vec<_> = stats
            .iter()
            .map(|stats| {
                let wake = Arc::new(Wake::new().unwrap());
                wire.connect(Arc::new(Inbox::new(wake, stats.clone())))
            })
            .collect();
        assert!(ports[1].link_up());
        assert!(ports[1].send(vec![7; 60]));
        let received: Vec<_> = stats.iter().map(|stats| stats.rx_frames.get()).collect();
        assert_eq!(received, [1, 0, 1]);
    }

    #[test]
    fn alone_on_the_wire_there_is_no_link() {
        let wire = Arc::new(Wire::default());
        let wake = Arc::new(Wake::new().unwrap());
        let port = wire.connect(Arc::new(Inbox::new(wake, Arc::default())));
        assert!(!port.link_up());
        assert!(!port.send(vec![0; 60]));
    }
}
