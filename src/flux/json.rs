//! JSON in a callback's arguments, read in place.
//!
//! An unpack format cannot iterate over an array, and serialising the whole value as text
//! would take too long. This module therefore calls jansson. libflux-core depends on
//! libjansson, so the broker provides its symbols.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::flux_formats::Json;
use crate::flux_sys as sys;

/// The maximum length of a string that is read, in bytes: a user's jobspec may have strings of
/// megabytes, and reading one takes 0.6 ms per megabyte.
const MAX_STRING: usize = 1 << 16;

/// A value in a callback's arguments.
#[derive(Clone, Copy)]
pub struct ArgsJson<'a> {
    value: NonNull<sys::json_t>,
    lifetime: PhantomData<&'a ()>,
}

// Each function of jansson used here takes NULL and values of any type; it then returns NULL
// or 0.
impl<'a> ArgsJson<'a> {
    /// `None` for NULL.
    ///
    /// # Safety
    /// - `value` is NULL, or lives and does not change for as long as the result.
    pub(super) unsafe fn new(value: *mut sys::json_t) -> Option<Self> {
        NonNull::new(value).map(|value| ArgsJson { value, lifetime: PhantomData })
    }

    /// The integer; 0 if the value is not an integer.
    pub(super) fn integer(self) -> i64 {
        // SAFETY: the value lives (`new`).
        unsafe { sys::json_integer_value(self.value.as_ptr()) }
    }

    /// The integer or real number; 0 if the value is not a number.
    pub(super) fn number(self) -> f64 {
        // SAFETY: the value lives (`new`).
        unsafe { sys::json_number_value(self.value.as_ptr()) }
    }

    /// The string, for as long as the arguments live.
    pub(super) fn string(self) -> Option<&'a str> {
        // SAFETY: the value lives (`new`).
        if unsafe { sys::json_string_length(self.value.as_ptr()) } > MAX_STRING {
            return None;
        }
        // SAFETY: the value lives (`new`), and so does its text, a C string.
        unsafe {
            let text = sys::json_string_value(self.value.as_ptr());
            // jansson accepts UTF-8 only.
            (!text.is_null()).then(|| CStr::from_ptr(text).to_str().ok()).flatten()
        }
    }
}

impl Json for ArgsJson<'_> {
    fn member(self, key: &CStr) -> Option<Self> {
        // SAFETY: the value lives (`new`), and its members live as long.
        unsafe { Self::new(sys::json_object_get(self.value.as_ptr(), key.as_ptr())) }
    }

    fn item(self, index: usize) -> Option<Self> {
        // SAFETY: the value lives (`new`), and its items live as long.
        unsafe { Self::new(sys::json_array_get(self.value.as_ptr(), index)) }
    }

    fn text(&self) -> Option<&str> {
        self.string()
    }

    fn positive(self) -> Option<u64> {
        u64::try_from(self.integer()).ok().filter(|&number| number > 0)
    }
}
