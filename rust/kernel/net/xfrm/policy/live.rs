// SPDX-License-Identifier: GPL-2.0

//! Policies that the stack has, and whose templates it may change (X79).

use super::Template;
use crate::{
    bindings,
    new_lock,
    sync::SpinLockBh, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
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

/// A policy that the stack has, from [`PolicyOperations::policy_add`] until `policy_delete`.
///
/// [`PolicyOperations::policy_add`]: super::PolicyOperations::policy_add
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     LivePolicy,
///     Template, //
/// };
///
/// /// Whether a migration has changed the only template of a policy.
/// fn has_moved(policy: &LivePolicy, before: &Template) -> bool {
///     policy
///         .first_template()
///         .is_some_and(|template| template != *before)
/// }
/// ```
#[pin_data]
pub struct LivePolicy {
    /// The driver's name for it, 0 before it has one.
    pub(super) handle: Atomic<u64>,
    #[pin]
    policy: SpinLockBh<Option<There>>,
}

/// # Invariants
///
/// The policy is there, and complete.
struct There(NonNull<bindings::xfrm_policy>);

// SAFETY: The policy may be read on any CPU.
unsafe impl Send for There {}

impl LivePolicy {
    /// # Safety
    ///
    /// `policy` is complete, and is there until [`Self::end`].
    pub(super) unsafe fn new(policy: NonNull<bindings::xfrm_policy>) -> Result<Arc<Self>> {
        let init = pin_init!(Self {
            handle: Atomic::new(0),
            // INVARIANT: By the contract.
            policy <- new_lock!(Some(There(policy))),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// From now on the policy may go. Any context but a hard interrupt.
    pub(super) fn end(&self) {
        *self.policy.lock() = None;
    }

    pub(super) fn handle(&self) -> u64 {
        self.handle.load(Relaxed)
    }

    /// The innermost template as it is now; `None` if the policy has none, or the stack has deleted it. Takes
    /// the policy's lock.
    pub fn first_template(&self) -> Option<Template> {
        let policy = self.policy.lock();
        let there = policy.as_ref()?;
        let mut raw = MaybeUninit::<bindings::xfrm_tmpl>::uninit();
        // SAFETY: By the invariant the policy is there, and it stays because `end()` waits for our lock.
        let found =
            unsafe { bindings::xfrm_policy_first_template(there.0.as_ptr(), raw.as_mut_ptr()) };
        // SAFETY: C has copied a whole one, in any case.
        let raw = unsafe { raw.assume_init() };
        found.then(|| Template::of(&raw))
    }
}
