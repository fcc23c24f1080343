//! What build.rs found on this machine.

const FOUND: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/found.rs"));

/// Where it is, or what the answer was.
pub fn find(variable: &str) -> Option<&'static str> {
    FOUND.iter().find(|(name, _)| *name == variable).map(|(_, value)| *value)
}

/// The same of what a test that runs at all must have.
pub fn found(variable: &str) -> &'static str {
    find(variable).unwrap_or_else(|| panic!("build.rs found no {variable}, and yet the test runs"))
}

/// The top of the repository.
pub const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
