//! Catches panics before they reach C.

use std::any::Any;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

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
pub(super) fn catch_panic<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    // The plugin's state is used again after a panic. Each of its parts stays valid, and
    // `StateCounts::recover` makes them agree again.
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(panic_message)
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
