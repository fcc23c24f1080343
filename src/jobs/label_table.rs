//! Labels that users and administrators choose: queues, users, banks, dependency schemes
//! and exception types.
//!
//! Each table has a limit: users can create any number of labels, and a server keeps each
//! metric forever.

use crate::stats::is_invisible;

/// The label for names that are too long or exceed the limit of their table.
pub const OTHER: &str = "other";

/// The number of a label in its table, from 1; 0 means no label.
pub type LabelId = u16;

/// The character that is sent for `c`. Servers use most ASCII punctuation as syntax: a `.` or
/// `/` separates folders, `:` and `|` end a name. Control characters, whitespace and
/// characters that change the direction of text make a name unreadable.
fn clean(c: char) -> char {
    let is_replaced = match c {
        '-' => false,
        _ if c.is_ascii() => !c.is_ascii_alphanumeric(),
        _ => is_invisible(c) || c.is_whitespace(),
    };
    match is_replaced {
        true => '_',
        false => c,
    }
}

/// A table of labels, numbered in the order in which they were added.
#[derive(Debug)]
pub struct LabelTable {
    /// The maximum number of labels, without [`OTHER`].
    pub max: usize,
    /// The maximum length of a label in bytes.
    max_len: usize,
    /// The first has id 1.
    labels: Vec<String>,
}

impl LabelTable {
    /// A table of at most `max` labels of at most `max_len` bytes. Further or longer labels
    /// are counted as [`OTHER`].
    pub fn new(max: usize, max_len: usize) -> LabelTable {
        LabelTable { max, max_len, labels: Vec::new() }
    }

    /// The id of a label, which is added if it is not in the table; 0 for an empty label.
    ///
    /// Labels are compared as they are sent, with `_` in place of each ASCII character other
    /// than letters, digits and `-`, and of each whitespace or invisible character.
    pub fn id(&mut self, label: &str) -> LabelId {
        if label.is_empty() {
            return 0;
        }
        if label.len() > self.max_len {
            return self.other();
        }
        // Compared without an allocation: this is on the path of each new job.
        let is_same = |known: &String| known.chars().eq(label.chars().map(clean));
        match self.labels.iter().position(is_same) {
            Some(index) => index as LabelId + 1,
            None if self.used() < self.max => self.push(label.chars().map(clean).collect()),
            None => self.other(),
        }
    }

    /// The label with this id, as it is sent.
    pub fn name(&self, id: LabelId) -> Option<&str> {
        self.labels.get(usize::from(id).checked_sub(1)?).map(String::as_str)
    }

    /// The number of labels, without [`OTHER`].
    pub fn used(&self) -> usize {
        self.labels.iter().filter(|label| *label != OTHER).count()
    }

    /// The largest id; 0 if the table is empty.
    pub fn last(&self) -> LabelId {
        self.labels.len() as LabelId
    }

    fn other(&mut self) -> LabelId {
        match self.labels.iter().position(|label| label == OTHER) {
            Some(index) => index as LabelId + 1,
            None => self.push(OTHER.to_owned()),
        }
    }

    fn push(&mut self, label: String) -> LabelId {
        self.labels.push(label);
        self.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_cleaned_and_compared() {
        let mut labels = LabelTable::new(99, 32);
        // A label, its id, and the text that is sent.
        let table = [
            ("", 0, None),
            ("gpu-a100", 1, Some("gpu-a100")),
            ("gpu_a100", 2, Some("gpu_a100")),
            ("gpu.a100", 2, Some("gpu_a100")),
            ("gpu/a100", 2, Some("gpu_a100")),
            ("gpua100", 3, Some("gpua100")),
            ("GPU-a100", 4, Some("GPU-a100")),
            ("x:1|g\ny", 5, Some("x_1_g_y")),
            ("x.1.g.y", 5, Some("x_1_g_y")),
            ("~", 6, Some("_")),
            ("é-1", 7, Some("é-1")),
            ("other", 8, Some("other")),
            (&"long".repeat(9), 8, Some("other")),
        ];
        for (label, id, sent) in table {
            assert_eq!(labels.id(label), id, "{label:?}");
            assert_eq!(labels.name(id), sent, "{label:?}");
        }
        assert_eq!(labels.last(), 8);
    }

    #[test]
    fn control_separator_and_bidirectional_characters_are_replaced() {
        let replaced = "\0\u{1b}\u{7f}\u{80}\u{85}\u{9f}\u{a0}\u{61c}\u{200e}\u{200f}\u{2028}\
                        \u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{3000}\u{feff}";
        for c in replaced.chars() {
            let mut labels = LabelTable::new(9, 32);
            let id = labels.id(&format!("a{c}b"));
            assert_eq!(labels.name(id), Some("a_b"), "{c:?}");
            assert_eq!(labels.id("a.b"), id, "{c:?}");
        }
        for kept in ["é", "ƒ", "日本", "🙂", "\u{200d}"] {
            let mut labels = LabelTable::new(9, 32);
            labels.id(kept);
            assert_eq!(labels.name(1), Some(kept));
        }
    }

    #[test]
    fn a_table_has_a_limit() {
        let mut labels = LabelTable::new(3, 32);
        let ids: Vec<_> = (0..1000).map(|id| labels.id(&format!("bank-{id}"))).collect();
        assert_eq!(ids[..4], [1, 2, 3, 4]);
        assert!(ids[3..].iter().all(|&id| id == 4));
        assert_eq!((labels.last(), labels.name(4)), (4, Some(OTHER)));
        assert_eq!(labels.id("bank-1"), 2, "a label keeps its id");
    }
}
