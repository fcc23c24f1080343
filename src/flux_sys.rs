//! bindgen's output for wrapper.h: flux-core's C interface, the few functions of jansson
//! that read a callback's arguments, and getaddrinfo_a(3). Used by `flux` and `os` only.

#![allow(missing_docs, non_camel_case_types, non_upper_case_globals, dead_code, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
