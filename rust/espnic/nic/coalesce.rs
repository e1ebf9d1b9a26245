// SPDX-License-Identifier: GPL-2.0

//! Tells the NIC how long to hold interrupts back.

use super::Nic;
use crate::coalesce::{
    check,
    limits,
    Set, //
};
use espnic_wire::feature;
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};
use kernel_net::net::{
    ethtool::{
        Coalesce,
        Moderation, //
    },
    netlink::ExtAck,
    operation_not_supported, //
};

/// Index of the receive or transmit queue of a pair, which the NIC knows it by.
fn queue(pair: u16, transmit: bool) -> u16 {
    pair.wrapping_mul(2).wrapping_add(transmit.into())
}

impl Nic {
    /// What is set for all queues.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`: the NIC holds nothing back.
    pub(crate) fn coalesce(&self) -> Result<Coalesce> {
        self.holds_back(feature::NOTF_COAL)?;
        Ok(self.coalesce.set.lock().all)
    }

    /// Sets it for all queues. Sleeps.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`, also if the NIC cannot do it for each queue and it is to be adaptive; those of [`check`]; `EINVAL`
    /// for numbers that would not count; those of the control command. What the NIC has taken by then stays.
    pub(crate) fn set_coalesce(&self, wanted: Coalesce, extack: &mut ExtAck) -> Result {
        self.holds_back(feature::NOTF_COAL)?;
        check(&wanted, extack)?;
        let mut set = self.coalesce.set.lock();
        if wanted.adaptive_rx {
            self.check_adaptive(wanted.rx, set.all.rx, extack)?;
        }
        self.control.set_coalescing(true, limits(wanted.tx))?;
        set.all.tx = wanted.tx;
        set.each.iter_mut().for_each(|pair| pair.set.tx = wanted.tx);
        match wanted.adaptive_rx {
            true => self.start_all(&mut set),
            false => self.set_rx(&mut set, wanted.rx),
        }
    }

    /// Refuses `wanted` beside adaptive receiving, unless it is what is set.
    fn check_adaptive(&self, wanted: Moderation, set: Moderation, extack: &mut ExtAck) -> Result {
        self.holds_back(feature::VQ_NOTF_COAL)
            .inspect_err(|_| extack.set(c"espnic: the NIC cannot do that for each queue"))?;
        if wanted != set {
            extack.set(c"espnic: with adaptive-rx the driver chooses rx-usecs and rx-frames");
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Lets DIM choose for all pairs for which it does not do so yet.
    fn start_all(&self, set: &mut Set) -> Result {
        for pair in 0..self.channels.len() {
            let is_adaptive = set.each.get(pair).is_some_and(|pair| pair.set.adaptive_rx);
            if !is_adaptive {
                self.start_adaptive(set, pair)?;
            }
        }
        set.all.adaptive_rx = true;
        Ok(())
    }

    /// Sets how receiving is moderated in all pairs.
    fn set_rx(&self, set: &mut Set, wanted: Moderation) -> Result {
        set.all.adaptive_rx = false;
        for (channel, pair) in self.channels.iter().zip(set.each.iter_mut()) {
            channel.adaptive.stop();
            pair.keep_chosen();
        }
        self.control.set_coalescing(false, limits(wanted))?;
        set.all.rx = wanted;
        set.each.iter_mut().for_each(|pair| pair.set.rx = wanted);
        Ok(())
    }

    /// What is in force for the queue pair with this number.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`: the NIC has no such thing for each queue. `EINVAL`: the pair is not in use.
    pub(crate) fn queue_coalesce(&self, pair: u32) -> Result<Coalesce> {
        let pair = self.coalesced(pair)?;
        let set = self.coalesce.set.lock();
        set.each.get(pair).map(|pair| pair.now()).ok_or(EINVAL)
    }

    /// Sets it for a queue pair. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of [`Self::queue_coalesce`], of [`check`] and of the control command. What the NIC has taken by then stays.
    pub(crate) fn set_queue_coalesce(&self, pair: u32, wanted: Coalesce) -> Result {
        let pair = self.coalesced(pair)?;
        check(&wanted, &mut ExtAck::absent())?;
        let index = u16::try_from(pair).map_err(|_| EINVAL)?;
        let channel = self.channel(index).ok_or(EINVAL)?;
        let mut set = self.coalesce.set.lock();
        self.control
            .set_queue_coalescing(queue(index, true), limits(wanted.tx))?;
        let entry = set.each.get_mut(pair).ok_or(EINVAL)?;
        entry.set.tx = wanted.tx;
        if wanted.adaptive_rx {
            // What a request has for receiving is what was in force when it was made.
            return match entry.set.adaptive_rx {
                true => Ok(()),
                false => self.start_adaptive(&mut set, pair),
            };
        }
        channel.adaptive.stop();
        entry.keep_chosen();
        self.control
            .set_queue_coalescing(queue(index, false), limits(wanted.rx))?;
        entry.set.rx = wanted.rx;
        Ok(())
    }

    /// Lets DIM choose for a pair, which has its default at first.
    fn start_adaptive(&self, set: &mut Set, pair: usize) -> Result {
        let index = u16::try_from(pair).map_err(|_| EINVAL)?;
        let channel = self.channel(index).ok_or(EINVAL)?;
        let entry = set.each.get_mut(pair).ok_or(EINVAL)?;
        let first = channel.adaptive.start()?;
        let told = self
            .control
            .set_queue_coalescing(queue(index, false), limits(first));
        if let Err(error) = told {
            channel.adaptive.stop();
            return Err(error);
        }
        entry.chosen = first;
        entry.set.adaptive_rx = true;
        Ok(())
    }

    /// Tells the NIC what DIM has chosen. Sleeps.
    pub(crate) fn follow_moderation(&self) {
        for (index, channel) in (0u16..).zip(&self.channels) {
            if channel.adaptive.wanted().is_none() {
                continue;
            }
            let mut set = self.coalesce.set.lock();
            // It may have been ended meanwhile.
            let Some(wanted) = channel.adaptive.wanted() else {
                continue;
            };
            let told = self
                .control
                .set_queue_coalescing(queue(index, false), limits(wanted));
            self.note_told(&mut set, index, wanted, told);
            channel.adaptive.go_on();
        }
    }

    fn note_told(&self, set: &mut Set, index: u16, wanted: Moderation, told: Result) {
        let failing = &self.coalesce.failing;
        match told {
            // After the reset that is under way it is told again.
            Ok(()) | Err(ENODEV | ENXIO) => {
                failing.store(false, Relaxed);
                if let Some(pair) = set.each.get_mut(usize::from(index)) {
                    pair.chosen = wanted;
                }
            }
            Err(error) if !failing.xchg(true, Relaxed) => {
                let log = (*self.vdev).as_ref();
                dev_warn!(
                    log,
                    "the NIC has not taken how long to hold interrupts back: {:?}\n",
                    error
                );
            }
            Err(_) => {}
        }
    }

    /// Tells the NIC everything again, which has forgotten it in a reset, or that of single queues. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the control command.
    pub(crate) fn restore_coalescing(&self) -> Result {
        let set = self.coalesce.set.lock();
        if set.all != Coalesce::default() {
            self.control.set_coalescing(true, limits(set.all.tx))?;
            self.control.set_coalescing(false, limits(set.all.rx))?;
        }
        for (index, pair) in (0u16..).zip(&set.each) {
            let now = pair.now();
            for (transmit, own, all) in [(false, now.rx, set.all.rx), (true, now.tx, set.all.tx)] {
                if own != all {
                    self.control
                        .set_queue_coalescing(queue(index, transmit), limits(own))?;
                }
            }
        }
        Ok(())
    }

    fn holds_back(&self, feature: u32) -> Result {
        match self.vdev.has_feature(feature) {
            true => Ok(()),
            false => Err(operation_not_supported()),
        }
    }

    /// The place of a pair that is in use, of a NIC that holds back interrupts of each queue as it is told.
    fn coalesced(&self, pair: u32) -> Result<usize> {
        self.holds_back(feature::VQ_NOTF_COAL)?;
        match pair < self.active.load(Relaxed) {
            true => usize::try_from(pair).map_err(|_| EINVAL),
            false => Err(EINVAL),
        }
    }
}
