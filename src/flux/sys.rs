//! bindgen's destination for wrapper.h: flux-core's C interface, raw.

#![allow(missing_docs, non_camel_case_types, non_upper_case_globals, dead_code, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
