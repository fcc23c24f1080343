//! JSON among a callback's arguments, looked at where it lies.
//!
//! An unpack format cannot cursor an array, and as text Flux would write all of it
//! anew. So these are jansson's own functions. Flux's API is made of jansson's
//! types: libflux-core needs libjansson, so it is among what the broker started
//! with, where a plugin's symbols are found, as Flux's own are.

use std::ffi::{c_char, CStr};
use std::marker::PhantomData;
use std::num::NonZeroI64;
use std::ptr::NonNull;

/// jansson's `json_t`.
#[repr(C)]
pub(super) struct json_t {
    _opaque: [u8; 0],
}

// jansson.h, unchanged in all of its version 2. `json_int_t` is a `long long`
// wherever there is one. Each takes NULL and any type of value, and then says
// NULL or 0.
extern "C" {
    fn json_object_get(object: *const json_t, key: *const c_char) -> *mut json_t;
    fn json_array_get(array: *const json_t, index: usize) -> *mut json_t;
    fn json_string_value(string: *const json_t) -> *const c_char;
    fn json_integer_value(integer: *const json_t) -> i64;
    fn json_number_value(number: *const json_t) -> f64;
}

/// A value in a callback's arguments.
#[derive(Clone, Copy)]
pub struct Json<'a> {
    value: NonNull<json_t>,
    lifetime: PhantomData<&'a ()>,
}

impl<'a> Json<'a> {
    /// # Safety
    /// - `value` is NULL, or lives and does not change for as long as the result.
    pub(super) unsafe fn new(value: *mut json_t) -> Option<Self> {
        NonNull::new(value).map(|value| Json { value, lifetime: PhantomData })
    }

    /// The object's member; `None` where there is none, or no object.
    pub fn member(self, key: &CStr) -> Option<Self> {
        // SAFETY: the value lives (`new`), and its members live as long.
        unsafe { Self::new(json_object_get(self.value.as_ptr(), key.as_ptr())) }
    }

    /// The array's item; `None` behind its end, or where there is no array.
    pub fn item(self, index: usize) -> Option<Self> {
        // SAFETY: the value lives (`new`), and its items live as long.
        unsafe { Self::new(json_array_get(self.value.as_ptr(), index)) }
    }

    /// The string; `None` where there is none.
    pub fn text(&self) -> Option<&'a str> {
        // SAFETY: the value lives (`new`), and so does its text, a C string.
        unsafe {
            let text = json_string_value(self.value.as_ptr());
            // What is not UTF-8 is not JSON, and never got here.
            (!text.is_null()).then(|| CStr::from_ptr(text).to_str().ok()).flatten()
        }
    }

    /// The integer, if it is at least 1.
    pub fn positive(self) -> Option<u64> {
        let number = self.integer()?;
        u64::try_from(number.get()).ok()
    }

    /// The integer; `None` where there is none, and for 0, which jansson does not
    /// distinguish.
    pub fn integer(self) -> Option<NonZeroI64> {
        // SAFETY: the value lives (`new`).
        NonZeroI64::new(unsafe { json_integer_value(self.value.as_ptr()) })
    }

    /// The number, whole or not; 0 where there is none, which jansson does not
    /// distinguish.
    pub fn number(self) -> f64 {
        // SAFETY: the value lives (`new`).
        unsafe { json_number_value(self.value.as_ptr()) }
    }
}
