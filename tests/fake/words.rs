//! Words that the code does not use: each was a metaphor for what the field has a
//! name for. Readers come from many tongues.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::found::TOP;

/// In code and comments, whatever they are part of.
const WORDS: &[&str] = &[
    "accounting",
    "announce",
    "announced",
    "announces",
    "beat",
    "books",
    "caught",
    "farewell",
    "greet",
    "greeted",
    "greeting",
    "greets",
    "happened",
    "insist",
    "meets",
    "met",
    "stranger",
    "survey",
    "taken leave",
    "tell",
    "tells",
    "told",
    "trouble",
];

/// As names of our own only: in a sentence they are ordinary words.
const NAMES: &[&str] = &[
    "attempt",
    "enter",
    "follow",
    "give",
    "install",
    "introduce",
    "introduced",
    "meaning",
    "must",
    "place",
    "Place",
    "Problem",
    "repeated",
    "rest",
    "said",
    "seen",
    "shown",
    "Slot",
    "slot",
    "Stranger",
    "word",
    "Words",
];

fn sources() -> Vec<(PathBuf, String)> {
    let (mut files, mut folders) = (Vec::new(), vec![Path::new(TOP).join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push((path.clone(), fs::read_to_string(path).unwrap())),
            }
        }
    }
    files
}

/// The words of a line, in small letters, with one space around each.
fn words(line: &str) -> String {
    let letters = |c: char| if c.is_ascii_alphabetic() { c.to_ascii_lowercase() } else { ' ' };
    let line: String = line.chars().map(letters).collect();
    format!(" {} ", line.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn the_code_says_what_the_field_says() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            let words = words(line);
            let banned = WORDS.iter().filter(|word| words.contains(&format!(" {word} ")));
            let kinds = ["fn", "struct", "enum", "trait", "type", "mod", "const", "static"];
            let names = NAMES.iter().filter(|name| {
                let ends =
                    |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
                kinds.iter().any(|kind| {
                    let after = line.trim_start().trim_start_matches("pub ");
                    let after = after.strip_prefix("pub(super) ").unwrap_or(after);
                    after.strip_prefix(&format!("{kind} {name}")).is_some_and(ends)
                })
            });
            let place = format!("{}:{}", path.display(), index + 1);
            found.extend(banned.chain(names).map(|word| format!("{place}: {word}")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
