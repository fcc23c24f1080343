//! Plugins on this layer, as they are in `examples/`. examples/Cargo.toml says how to
//! build one.

macro_rules! examples {
    ($($name:ident $file:literal $what:literal)*) => {
        $(
            #[doc = concat!($what, ".\n\n```rust\n", include_str!($file), "```")]
            pub mod $name {}
        )*
    };
}

examples! {
    hold_by_hour "../../examples/hold_by_hour.rs"
        "A dependency, a timer that owns data, and a job's own data"
    limit_cores "../../examples/limit_cores.rs"
        "A plugin's configuration, and jobs that are rejected with a text"
    fair_priority "../../examples/fair_priority.rs"
        "Priorities, and what posts events from within callbacks"
    count_results "../../examples/count_results.rs"
        "One state's callback, and the crate's statsd API"
}
