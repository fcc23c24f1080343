//! What a callback asks Flux to do once it has returned.
//!
//! A function that posts an event runs callbacks before it returns, of all plugins
//! and for as long as one event leads to another (flux-jobtap-plugins(7), "Event
//! processing model"). Those that are the plugin's own would find it in the middle of
//! the callback that posts. The job manager calls plugins one after another, never
//! one within another but in such a function, so that only the plugin's own posts
//! bring it there. So they are kept until the running callback has returned, and made
//! before its caller, the job manager, goes on: the job that the callback is about is
//! still the current one, and all that the posts lead to finds the plugin free.
//!
//! The order is that of C's plugins: a post is made, and all that it leads to,
//! before the next one of the same callback.

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
