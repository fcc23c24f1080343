//! A watcher of the job manager's reactor, raw.

use std::cell::Cell;
use std::ptr::NonNull;

use super::error::Error;
use super::sys;

/// A watcher, until it is destroyed; then each method does nothing.
pub(super) struct Watcher(Cell<Option<NonNull<sys::flux_watcher_t>>>);

impl Watcher {
    /// One that is created later.
    pub(super) fn none() -> Self {
        Watcher(Cell::new(None))
    }

    /// Takes over what `function`, of this name, made: NULL if it failed.
    ///
    /// # Errors
    /// If it is NULL; errno says why.
    ///
    /// # Safety
    /// - `watcher` is NULL, or a watcher that nobody else destroys.
    pub(super) unsafe fn take_over(
        &self,
        function: &str,
        watcher: *mut sys::flux_watcher_t,
    ) -> Result<(), Error> {
        let watcher = NonNull::new(watcher).ok_or_else(|| Error::last_os_error(function))?;
        self.0.set(Some(watcher));
        Ok(())
    }

    pub(super) fn is_alive(&self) -> bool {
        self.0.get().is_some()
    }

    pub(super) fn start(&self) {
        if let Some(watcher) = self.0.get() {
            // SAFETY: the watcher is ours, and lives until `destroy`.
            unsafe { sys::flux_watcher_start(watcher.as_ptr()) };
        }
    }

    pub(super) fn stop(&self) {
        if let Some(watcher) = self.0.get() {
            // SAFETY: as above.
            unsafe { sys::flux_watcher_stop(watcher.as_ptr()) };
        }
    }

    /// libev lets a watcher be stopped and freed in its own callback.
    pub(super) fn destroy(&self) {
        if let Some(watcher) = self.0.take() {
            // SAFETY: the watcher is ours, and is taken out: it is destroyed once.
            unsafe { sys::flux_watcher_destroy(watcher.as_ptr()) };
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.destroy();
    }
}
