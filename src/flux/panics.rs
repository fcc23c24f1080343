//! Panics stop here.

use std::any::Any;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

/// What the hook noted, from the moment of a panic to its catch a few frames
/// above. It is the one static of the library: a panic hook has no other way to
/// pass on where the panic was.
static NOTED: Mutex<String> = Mutex::new(String::new());

/// Makes panics of this library note their message and source line instead of
/// printing them: the default hook writes to the broker's standard error, each
/// time, and would fill its log.
///
/// Call it in the entry point of a plugin only: a test or a program that links
/// this crate wants its own hook.
pub fn quiet_hook() {
    panic::set_hook(Box::new(|panic| {
        if let Ok(mut noted) = NOTED.lock() {
            *noted = panic.to_string();
        }
    }));
}

/// Runs `body`; a panic in it becomes an error with the panic's message.
pub(super) fn catch_panic<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    // The state behind `body` is used again after a panic. It is counters and
    // buffers, each valid by itself; the worst is a count that is off, which a
    // reload mends.
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(panic_message)
}

/// The message of a panic. Apart, so that it is in the .so once.
#[cold]
fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let noted = NOTED.lock().map(|mut noted| mem::take(&mut *noted));
    let message = match noted {
        Ok(noted) if !noted.is_empty() => noted.replace('\n', " "),
        _ => payload_text(&*payload).to_owned(),
    };
    // Dropping a payload may panic again, here at the edge to C.
    mem::forget(payload);
    message
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked, without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(catch_panic(|| 7), Ok(7));
        let static_text = catch_panic(|| panic!("plain")).unwrap_err();
        assert!(static_text.contains("plain"), "{static_text}");
        let formatted = catch_panic(|| panic!("{} jobs", 3)).unwrap_err();
        assert!(formatted.contains("3 jobs"), "{formatted}");
        let other = catch_panic(|| panic::panic_any(7)).unwrap_err();
        assert!(other.contains("without a message"), "{other}");
    }
}
