// SPDX-License-Identifier: GPL-2.0

//! A channel: one receive and one transmit queue with the NAPI context that serves both.

use crate::{
    coalesce::Adaptive,
    rx::{
        self,
        Rx, //
    },
    tx::{
        self,
        Tx, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};
use kernel_net::{
    net::{
        netdevice::Device,
        xdp::umem::Offer, //
    },
    new_lock,
    rtnl,
    sync::SpinLockBh,
    virtio::net::{
        Operations,
        RxQueue,
        TxQueue, //
    }, //
};

/// The channel's queues; the stack knows both by the channel's number.
#[pin_data]
pub(crate) struct Channel {
    #[pin]
    pub(crate) rx: SpinLockBh<Rx>,
    #[pin]
    pub(crate) tx: SpinLockBh<Tx>,
    #[pin]
    pub(crate) adaptive: Adaptive,
    /// Whether the queues' interrupts were given a CPU.
    pinned: Atomic<bool>,
    /// Written by the channel's NAPI context, or while that is off.
    pub(crate) received: Arc<rx::Counters>,
    /// Written by who has `tx`.
    pub(crate) sent: Arc<tx::Counters>,
}

impl Channel {
    /// Of pair `index` of a device. Sleeps.
    pub(crate) fn new(index: u16, rx: RxQueue, tx: TxQueue) -> Result<Pin<KBox<Self>>> {
        let received = Arc::new(rx::Counters::default(), GFP_KERNEL)?;
        let sent = Arc::new(tx::Counters::default(), GFP_KERNEL)?;
        let rx = Rx::new(rx, received.clone());
        KBox::pin_init(
            pin_init!(Self {
                rx <- new_lock!(rx),
                tx <- new_lock!(Tx::new(index, tx, sent.clone())),
                adaptive <- Adaptive::new(),
                pinned: Atomic::new(false),
                received,
                sent,
            }),
            GFP_KERNEL,
        )
    }

    /// Gives the channel, which is number `index`, a pool for received packets, unless it has one or the NIC is being
    /// reset. NAPI is off, RTNL held. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the pool.
    pub(crate) fn open<T: Operations>(
        &self,
        dev: &Device<T>,
        index: u16,
        rtnl: &rtnl::Held,
    ) -> Result {
        self.with_rx_queue(|queue| queue.make_pool(dev, index, rtnl))
            .unwrap_or(Ok(()))
    }

    /// Empties the receive queue, with what waits in it, and ends the pool. A NIC that cannot reset single queues keeps
    /// its buffers, and the channel the pool. True if the queue was reset. NAPI is off, RTNL held. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the queue if it is broken now.
    pub(crate) fn close<T: Operations>(&self, dev: &Device<T>, index: u16) -> Result<bool> {
        let Some(mut queue) = self.rx.lock().detach() else {
            // Their memory came back with the queues.
            dev.remove_pool(index);
            return Ok(false);
        };
        let reset = match queue.pending() {
            0 => Ok(false),
            _ => queue.reset().map(|()| true),
        };
        let is_empty = queue.pending() == 0;
        self.rx.lock().queue = Some(queue);
        if !is_empty {
            return Ok(false);
        }
        dev.remove_pool(index);
        reset
    }

    /// Asks for events of both queues again; true if there is work already.
    pub(crate) fn enable_events(&self) -> bool {
        let rx = self.rx.lock().enable_events();
        let tx = self.tx.lock().enable_events();
        rx || tx
    }

    /// The interrupt of the receive queue, if it has one of its own. Traffic is stopped. Sleeps.
    pub(crate) fn irq(&self) -> Option<u32> {
        self.with_rx_queue(|queue| queue.irq()).flatten()
    }

    /// Calls `look`, which may sleep, with the receive queue, so out of the lock; `None` while the NIC is reset. Traffic
    /// is stopped.
    fn with_rx_queue<R>(&self, look: impl FnOnce(&RxQueue) -> R) -> Option<R> {
        let queue = self.rx.lock().queue.take();
        let result = queue.as_ref().map(look);
        self.rx.lock().queue = queue;
        result
    }

    /// Makes the online CPU number `nth` handle the queues' events, unless it was told before: afterwards the
    /// user may have chosen others. Traffic is stopped. Sleeps.
    pub(crate) fn set_cpu(&self, nth: u32) {
        if self.pinned.xchg(true, Relaxed) {
            return;
        }
        self.with_rx_queue(|queue| queue.set_cpu(nth));
        let tx = self.tx.lock().queue.take();
        if let Some(queue) = &tx {
            queue.set_cpu(nth);
        }
        self.tx.lock().queue = tx;
    }

    /// Changes the sizes of the rings, in descriptors. NAPI and transmission are off. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the queues; `ENODEV` during a reset.
    pub(crate) fn resize<T: Operations>(&self, dev: &Device<T>, rx: u32, tx: u32) -> Result {
        // Out of the lock, because resizing sleeps; nobody else uses the queues now.
        let mut queue = self.rx.lock().detach().ok_or(ENODEV)?;
        let resized_rx = queue.resize(rx);
        self.rx.lock().queue = Some(queue);
        let mut queue = self.tx.lock().detach(dev).ok_or(ENODEV)?;
        let held = queue.pending();
        let resized_tx = queue.resize(tx);
        let mut guard = self.tx.lock();
        let left = queue.pending();
        guard.lose(dev, held.saturating_sub(left), left);
        guard.queue = Some(queue);
        drop(guard);
        resized_rx.and(resized_tx)
    }

    /// Has the queues use the memory of sockets that is offered, for frames behind a header of so many bytes. NAPI and
    /// transmission are off. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the queue, which may be broken now; `EAGAIN` during a reset.
    pub(crate) fn lend<T: Operations>(
        &self,
        dev: &Device<T>,
        offer: Offer<'_>,
        header: usize,
    ) -> Result {
        let mut queue = self.rx.lock().detach().ok_or(EAGAIN)?;
        let accepted = queue.accept(dev, offer, header);
        let accepted = accepted.and_then(|halves| queue.reset().map(|()| halves));
        self.rx.lock().queue = Some(queue);
        let (rx, tx) = accepted?;
        self.rx.lock().lent = Some(rx);
        self.tx.lock().lent = Some(tx);
        Ok(())
    }

    /// Undoes [`Self::lend`]; false if the NIC still has some of the memory. NAPI and transmission are off. Sleeps.
    pub(crate) fn take_back<T: Operations>(&self, dev: &Device<T>) -> bool {
        self.rx.lock().lent = None;
        let left = self.tx.lock().lent.take().map_or(0, |lent| lent.pending());
        let is_back = self.empty_rx();
        match left {
            0 => is_back,
            _ => self.empty_tx(dev) && is_back,
        }
    }

    /// Whether the queues have memory of sockets.
    pub(crate) fn is_lent(&self) -> bool {
        self.rx.lock().lent.is_some()
    }

    /// Whether the receive queue is there, and not broken.
    pub(crate) fn is_usable(&self) -> bool {
        let rx = self.rx.lock();
        rx.queue.as_ref().is_some_and(|queue| !queue.is_broken())
    }

    /// Empties the receive queue; false if that was not possible.
    fn empty_rx(&self) -> bool {
        let Some(mut queue) = self.rx.lock().detach() else {
            return true;
        };
        if queue.pending() > 0 {
            // What is left says whether it was possible.
            let _ = queue.reset();
        }
        let is_empty = queue.pending() == 0;
        self.rx.lock().queue = Some(queue);
        is_empty
    }

    /// Empties the transmit queue, whose packets are lost; false if that was not possible.
    fn empty_tx<T: Operations>(&self, dev: &Device<T>) -> bool {
        let Some(mut queue) = self.tx.lock().detach(dev) else {
            return true;
        };
        let held = queue.pending();
        if held > 0 {
            // As above.
            let _ = queue.reset();
        }
        let left = queue.pending();
        let mut guard = self.tx.lock();
        guard.lose(dev, held.saturating_sub(left), left);
        guard.queue = Some(queue);
        left == 0
    }

    /// Empties and drops the queues, for a reset. Sleeps.
    pub(crate) fn take_queues<T: Operations>(&self, dev: &Device<T>) {
        let rx = self.rx.lock().detach();
        let mut guard = self.tx.lock();
        let tx = guard.detach(dev);
        guard.lose(dev, tx.as_ref().map_or(0, |queue| queue.pending()), 0);
        drop(guard);
        // Outside the locks: dropping the last queue sleeps.
        drop((rx, tx));
    }

    /// Takes new queues after a reset.
    pub(crate) fn set_queues(&self, rx: RxQueue, tx: TxQueue) {
        self.rx.lock().queue = Some(rx);
        self.tx.lock().queue = Some(tx);
        self.pinned.store(false, Relaxed);
    }
}
