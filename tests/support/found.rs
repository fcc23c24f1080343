//! Programs and features that build.rs found.

const FOUND: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/found.rs"));

/// The value of a variable, for example the path of a program.
pub fn find(variable: &str) -> Option<&'static str> {
    FOUND.iter().find(|(name, _)| *name == variable).map(|(_, value)| *value)
}

/// The value of a variable on which the test depends.
pub fn found(variable: &str) -> &'static str {
    find(variable).unwrap_or_else(|| panic!("build.rs found no {variable}, and yet the test runs"))
}

/// The top of the repository.
pub const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
