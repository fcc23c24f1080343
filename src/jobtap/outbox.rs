//! What a callback asks Flux to do once it has returned.
//!
//! A function that posts an event runs callbacks of all plugins before it returns, for
//! as long as one event leads to another (flux-jobtap-plugins(7), "Event processing
//! model"). They may be callbacks of the plugin that posts, while its own callback still
//! runs. Nothing else calls a plugin in the middle of a callback.
//!
//! So a post waits here until the running callback has returned. It is made before the
//! job manager goes on. Then the job of the callback is still the current one, and the
//! callbacks that follow find the plugin free.
//!
//! The order is that of plugins in C: a post, and all that it leads to, comes before the
//! next post of the same callback.

use std::cell::RefCell;
use std::mem;

use super::error::Error;
use super::sys;

/// A post, and what it is called in the log.
type Post = (&'static str, Box<dyn FnOnce(*mut sys::flux_plugin_t) -> Result<(), Error>>);

/// Posts of the running callback, in their order.
#[derive(Default)]
pub(super) struct Outbox {
    posts: RefCell<Vec<Post>>,
}

impl Outbox {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.posts.borrow().is_empty()
    }

    pub(super) fn add(
        &self,
        what: &'static str,
        post: Box<dyn FnOnce(*mut sys::flux_plugin_t) -> Result<(), Error>>,
    ) {
        self.posts.borrow_mut().push((what, post));
    }

    /// Takes all, so that what a post leads to has an outbox of its own.
    pub(super) fn take(&self) -> Vec<Post> {
        mem::take(&mut *self.posts.borrow_mut())
    }
}
