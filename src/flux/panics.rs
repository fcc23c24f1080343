//! Catches panics before they reach C.

use std::any::Any;
use std::ffi::c_int;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use crate::flux_sys as sys;

/// Message and source line of the last panic, passed from the hook to [`catch_panic`]. This
/// is the library's only static variable.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Replaces the default panic hook, which would write to the broker's standard error at each
/// panic. The entry point calls it; tests and programs that link this crate keep their hook.
#[cfg_attr(any(test, not(feature = "plugin")), allow(dead_code))]
pub(super) fn set_hook() {
    panic::set_hook(Box::new(|panic| {
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = panic.to_string();
        }
    }));
}

/// Runs `body`; a panic becomes an error with the panic's message.
///
/// `flux module remove --cancel job-manager` cancels this thread (pthread_cancel(3)), which
/// unwinds the stack from within the next system call. `catch_unwind` aborts the process if
/// it meets this unwinding. So cancellation is postponed until `body` has returned.
pub(super) fn catch_panic<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    let cancel_state = set_cancel_state(sys::PTHREAD_CANCEL_DISABLE as c_int);
    // The plugin's state is used again after a panic. Each of its parts stays valid, and
    // `StateCounts::recover` makes them agree again.
    let outcome = panic::catch_unwind(AssertUnwindSafe(body));
    set_cancel_state(cancel_state);
    outcome.map_err(panic_message)
}

/// Returns the old state.
fn set_cancel_state(state: c_int) -> c_int {
    let mut old = state;
    // SAFETY: it writes the old state to `old`. Miri does not have it.
    #[cfg(not(miri))]
    unsafe {
        sys::pthread_setcancelstate(state, &mut old);
    }
    old
}

#[cold]
fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let last = LAST_PANIC.lock().map(|mut last| mem::take(&mut *last));
    let message = match last {
        Ok(last) if !last.is_empty() => last.replace('\n', " "),
        _ => payload_text(&*payload).to_owned(),
    };
    // The payload's destructor may panic, too.
    mem::forget(payload);
    message
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(catch_panic(|| 7), Ok(7));
        let static_text = catch_panic(|| panic!("plain")).unwrap_err();
        assert!(static_text.contains("plain"), "{static_text}");
        let formatted = catch_panic(|| panic!("{} jobs", 3)).unwrap_err();
        assert!(formatted.contains("3 jobs"), "{formatted}");
        let other = catch_panic(|| panic::panic_any(7)).unwrap_err();
        assert!(other.contains("without a message"), "{other}");
    }
}
