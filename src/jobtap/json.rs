//! JSON among a callback's arguments, looked at where it lies.
//!
//! An unpack format cannot walk an array, and as text Flux would write all of it
//! anew. So these are jansson's own functions. Flux's API is made of jansson's
//! types: libflux-core needs libjansson, so it is among what the broker started
//! with, where a plugin's symbols are found, as Flux's own are.

use std::ffi::{c_char, c_void, CStr};
use std::marker::PhantomData;
use std::num::NonZeroI64;
use std::ptr::{self, NonNull};

use super::error::Error;
use super::text::c_string;

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
    fn json_loads(text: *const c_char, flags: usize, error: *mut c_void) -> *mut json_t;
    fn json_delete(value: *mut json_t);
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

/// A value of our own, read from a text, to hand to Flux.
pub(super) struct OwnedJson {
    /// An array with that one value: jansson's references are counted by macros, but
    /// an array that nobody else refers to can be deleted, and gives up its item.
    array: NonNull<json_t>,
}

impl OwnedJson {
    /// # Errors
    /// If it is not one JSON value; `what` it is to be.
    pub(super) fn parse(what: &str, text: &str) -> Result<Self, Error> {
        let array = c_string(&format!("[{text}]"));
        // SAFETY: the text is a C string; no details of an error are asked for.
        let array = unsafe { json_loads(array.as_ptr(), 0, ptr::null_mut()) };
        let wrong = || Error::new(format!("{what} is not one JSON value: {text}"));
        let json = OwnedJson { array: NonNull::new(array).ok_or_else(wrong)? };
        // SAFETY: the array lives; behind its end is NULL.
        let second = unsafe { json_array_get(array, 1) };
        if json.value().is_null() || !second.is_null() {
            return Err(wrong());
        }
        Ok(json)
    }

    /// The value, for the pack format `O`, which takes a reference of its own.
    pub(super) fn value(&self) -> *mut json_t {
        // SAFETY: the array lives; behind its end is NULL.
        unsafe { json_array_get(self.array.as_ptr(), 0) }
    }
}

impl Drop for OwnedJson {
    fn drop(&mut self) {
        // SAFETY: the array is ours, and nobody refers to it but this.
        unsafe { json_delete(self.array.as_ptr()) };
    }
}
