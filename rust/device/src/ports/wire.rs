// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A wire inside the process: all NICs on it receive the frames of each other.

use std::sync::Arc;

use super::endpoints::Endpoints;
use super::{Port, RxBacklog, Totals};
use crate::frames::Frames;

/// The wire.
#[derive(Default)]
pub struct Wire {
    endpoints: Endpoints,
}

impl Wire {
    /// Connects a NIC and returns its port.
    pub fn connect(self: &Arc<Self>, backlog: Arc<RxBacklog>) -> WirePort {
        WirePort {
            wire: self.clone(),
            own: self.endpoints.connect(backlog),
        }
    }
}

/// One NIC's end of a [`Wire`].
pub struct WirePort {
    wire: Arc<Wire>,
    own: usize,
}

impl Port for WirePort {
    fn send(&self, frames: &mut Frames) -> Totals {
        let endpoints = self.wire.endpoints.read();
        let mut others = endpoints
            .iter()
            .enumerate()
            .filter(|(end, _)| *end != self.own);
        let Some((_, first)) = others.next() else {
            let all = Totals::of(frames);
            frames.truncate(0);
            return all;
        };
        for (_, backlog) in others {
            frames.iter().for_each(|frame| backlog.copy(frame));
        }
        first.push(frames);
        Totals::default()
    }

    fn link_up(&self) -> bool {
        self.wire.endpoints.linked()
    }

    fn takes_unfinished(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::PortStats;

    #[test]
    fn everybody_else_receives() {
        let wire = Arc::new(Wire::default());
        let stats: Vec<_> = (0..3).map(|_| Arc::new(PortStats::default())).collect();
        let ports: Vec<_> = stats
            .iter()
            .map(|stats| wire.connect(Arc::new(RxBacklog::new(Arc::default(), stats.clone()))))
            .collect();
        assert!(ports[1].link_up());
        let mut frames = Frames::default();
        frames.push(vec![7; 60]);
        assert_eq!(ports[1].send(&mut frames), Totals::default());
        assert!(frames.is_empty());
        let received: Vec<_> = stats.iter().map(|stats| stats.rx_frames.get()).collect();
        assert_eq!(received, [1, 0, 1]);
    }

    #[test]
    fn alone_on_the_wire_there_is_no_link() {
        let wire = Arc::new(Wire::default());
        let port = wire.connect(Arc::new(RxBacklog::new(Arc::default(), Arc::default())));
        assert!(!port.link_up());
        let mut frames = Frames::default();
        frames.push(vec![0; 60]);
        assert_eq!((port.send(&mut frames).frames, frames.len()), (1, 0));
    }
}
