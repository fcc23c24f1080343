//! LabelTable that users and administrators choose: queues, banks, exception types.
//!
//! Each is cleaned before anything is kept under it, so that two that look the
//! same on the wire are one. And each list has an end: users can make as many
//! names as they like, and a server keeps every one for good.

/// What names beyond the end of a list are counted as.
pub const OTHER: &str = "other";

/// A name's index in its list; 0 is no name.
pub type LabelId = u16;

/// What stands for a dash in the names that are not our own. Most servers take
/// one; PCP throws away each line that has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dash(Option<char>);

impl Dash {
    /// This letter or digit, or `_`, stands for it.
    pub fn replaced_by(c: char) -> Option<Dash> {
        (c.is_ascii_alphanumeric() || c == '_').then_some(Dash(Some(c)))
    }

    /// What stands for it; `None`: it stands for itself.
    pub fn replacement(self) -> Option<char> {
        self.0
    }

    /// A text with its dashes replaced.
    pub fn replace(self, text: &str) -> String {
        text.chars().map(|c| self.replace_char(c)).collect()
    }

    fn replace_char(self, c: char) -> char {
        match (c, self.0) {
            ('-', Some(replacement)) => replacement,
            _ => c,
        }
    }

    /// A character of a name as it is sent: what differs after this differs in every
    /// dialect. Of ASCII, all but letters, digits, `-` and `_` becomes `_`: a dot or a
    /// slash would make a folder of a name, `:` or `|` would end it. All that is not
    /// ASCII stays.
    fn clean(self, c: char) -> char {
        let is_separator = c.is_ascii() && !c.is_ascii_alphanumeric() && c != '-';
        match is_separator || crate::stats::is_invisible(c) {
            true => '_',
            false => self.replace_char(c),
        }
    }
}

/// LabelTable, each once, in the order of their first use.
#[derive(Debug)]
pub struct LabelTable {
    /// How many have an index of their own, besides `other`.
    most: usize,
    /// The longest that has one, in bytes.
    longest: usize,
    dash: Dash,
    /// The name with index 1 added first.
    names: Vec<String>,
}

impl LabelTable {
    /// A list of at most this many names of at most this many bytes; what is more,
    /// or longer, is `other`.
    pub fn new(most: usize, longest: usize, dash: Dash) -> LabelTable {
        LabelTable { most, longest, dash, names: Vec::new() }
    }

    /// The index of a name; that of an empty one is 0, no name.
    pub fn index(&mut self, name: &str) -> LabelId {
        if name.is_empty() {
            return 0;
        }
        if name.len() > self.longest {
            return self.other();
        }
        // Compared as it is, so that a known one allocates nothing.
        let clean = |c| self.dash.clean(c);
        let is_this = |known: &String| known.chars().eq(name.chars().map(clean));
        match self.names.iter().position(is_this) {
            Some(index) => index as LabelId + 1,
            None if self.named() < self.most => self.push(name.chars().map(clean).collect()),
            None => self.other(),
        }
    }

    /// The name at an index.
    pub fn name(&self, index: LabelId) -> Option<&str> {
        self.names.get(usize::from(index).checked_sub(1)?).map(String::as_str)
    }

    /// The greatest index.
    pub fn last(&self) -> LabelId {
        self.names.len() as LabelId
    }

    /// How many names there are, but for `other`.
    fn named(&self) -> usize {
        self.names.iter().filter(|name| *name != OTHER).count()
    }

    fn other(&mut self) -> LabelId {
        match self.names.iter().position(|name| name == OTHER) {
            Some(index) => index as LabelId + 1,
            None => self.push(OTHER.to_owned()),
        }
    }

    fn push(&mut self, name: String) -> LabelId {
        self.names.push(name);
        self.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_clean_to_one_are_one() {
        let mut names = LabelTable::new(9, 32, Dash::default());
        let table = [
            ("", 0, None),
            ("gpu.a100", 1, Some("gpu_a100")),
            ("gpu_a100", 1, Some("gpu_a100")),
            ("gpu/a100", 1, Some("gpu_a100")),
            ("x:1|g\ny", 2, Some("x_1_g_y")),
            ("é-1", 3, Some("é-1")),
            ("other", 4, Some("other")),
            (&"long".repeat(9), 4, Some("other")),
        ];
        for (name, index, cleaned) in table {
            assert_eq!(names.index(name), index, "{name:?}");
            assert_eq!(names.name(index), cleaned, "{name:?}");
        }
        assert_eq!(names.last(), 4);
    }

    #[test]
    fn names_that_differ_by_a_dash_that_is_replaced_are_one() {
        let mut names = LabelTable::new(9, 32, Dash::replaced_by('_').unwrap());
        let table = [
            ("gpu-a100", 1, "gpu_a100"),
            ("gpu.a100", 1, "gpu_a100"),
            ("gpu_a100", 1, "gpu_a100"),
            ("-", 2, "_"),
            ("gpua100", 3, "gpua100"),
        ];
        for (name, index, cleaned) in table {
            assert_eq!(names.index(name), index, "{name:?}");
            assert_eq!(names.name(index), Some(cleaned), "{name:?}");
        }
        for c in ['-', '.', ':', ' ', 'é'] {
            assert_eq!(Dash::replaced_by(c), None, "{c:?}");
        }
    }

    #[test]
    fn a_list_does_not_grow_without_bound() {
        let mut names = LabelTable::new(3, 32, Dash::default());
        let indices: Vec<_> = (0..1000).map(|id| names.index(&format!("bank-{id}"))).collect();
        assert_eq!(indices[..4], [1, 2, 3, 4]);
        assert!(indices[3..].iter().all(|&index| index == 4));
        assert_eq!((names.last(), names.name(4)), (4, Some(OTHER)));
        assert_eq!(names.index("bank-1"), 2, "those that have an index keep it");
    }
}
