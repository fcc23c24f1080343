//! Flux's own formats, as its RFCs define them. Pure: text in, values out.

mod duration;
pub mod resources;
pub mod status;

pub use duration::seconds;
