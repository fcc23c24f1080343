//! Labels that users and administrators choose: queues, users, banks, dependency schemes
//! and exception types.
//!
//! Each table has a limit: users can create any number of labels, and a server keeps each
//! metric forever.

use crate::stats::is_invisible;

/// The label for labels that are too long or have no place in their table.
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
///
/// The limit is fair: if the table is full, a new label takes the place of the label that
/// has had no active job for the longest time.
#[derive(Debug)]
pub struct LabelTable {
    /// The maximum number of labels, without [`OTHER`] and the reserved ones.
    pub max: usize,
    /// The maximum length of a label in bytes.
    max_len: usize,
    /// Labels that always have a place.
    reserved: Vec<String>,
    /// The first has id 1.
    labels: Vec<Label>,
    /// Advances when jobs are counted.
    clock: u64,
    /// Incremented when a label is added, or takes the place of another one.
    version: u32,
    /// `true` if a label was counted as [`OTHER`] because the table was full.
    is_exceeded: bool,
}

#[derive(Debug)]
struct Label {
    /// As it is sent.
    name: String,
    /// The number of active jobs.
    jobs: u32,
    /// The time of the last use, by [`LabelTable::clock`].
    used: u64,
    /// The version of the table in which it got its place.
    version: u32,
}

impl LabelTable {
    /// A table of at most `max` labels of at most `max_len` bytes, and of the reserved ones.
    /// Further or longer labels are counted as [`OTHER`].
    pub fn new(max: usize, max_len: usize, reserved: &[&str]) -> LabelTable {
        let mut table = LabelTable {
            max,
            max_len,
            reserved: Vec::new(),
            labels: Vec::new(),
            clock: 0,
            version: 0,
            is_exceeded: false,
        };
        table.reserve(reserved.iter().copied());
        table
    }

    /// Replaces the reserved labels. They get a place when they are used, and keep it.
    pub fn reserve<'a>(&mut self, labels: impl Iterator<Item = &'a str>) {
        self.reserved = labels.map(|label| label.chars().map(clean).collect()).collect();
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
        let is_same = |known: &str| known.chars().eq(label.chars().map(clean));
        let index = match self.labels.iter().position(|known| is_same(&known.name)) {
            Some(index) => index,
            None => {
                let label: String = label.chars().map(clean).collect();
                let is_limited = |label: &String| label != OTHER && !self.reserved.contains(label);
                let limited = self.labels.iter().filter(|label| is_limited(&label.name)).count();
                if !is_limited(&label) || limited < self.max {
                    return self.push(label);
                }
                // A label that was used since the clock advanced may belong to the job that
                // is being read.
                let idle =
                    self.labels.iter().enumerate().filter(|(_, it)| {
                        it.jobs == 0 && it.used < self.clock && is_limited(&it.name)
                    });
                let Some((index, _)) = idle.min_by_key(|(_, label)| label.used) else {
                    self.is_exceeded = true;
                    return self.other();
                };
                self.version += 1;
                let version = self.version;
                self.labels[index] = Label { name: label, jobs: 0, used: 0, version };
                index
            }
        };
        self.labels[index].used = self.clock;
        index as LabelId + 1
    }

    /// Adds `by` to the number of active jobs of a label, which has its place until then.
    pub fn count(&mut self, id: LabelId, by: i32) {
        let Some(index) = usize::from(id).checked_sub(1) else { return };
        let Some(label) = self.labels.get_mut(index) else { return };
        label.jobs = label.jobs.saturating_add_signed(by);
        label.used = self.clock;
        self.clock += 1;
    }

    /// Sets the number of active jobs of each label to 0.
    pub fn clear_counts(&mut self) {
        self.clock += 1;
        self.labels.iter_mut().for_each(|label| label.jobs = 0);
    }

    /// The label with this id, as it is sent.
    pub fn name(&self, id: LabelId) -> Option<&str> {
        self.label(id).map(|label| label.name.as_str())
    }

    /// The number of labels, without [`OTHER`].
    pub fn used(&self) -> usize {
        self.labels.iter().filter(|label| label.name != OTHER).count()
    }

    /// The largest id; 0 if the table is empty.
    pub fn last(&self) -> LabelId {
        self.labels.len() as LabelId
    }

    /// The version of the table. It changes when a label is added, or takes the place of
    /// another one.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The version of the table in which the label with this id got its place.
    pub fn version_of(&self, id: LabelId) -> u32 {
        self.label(id).map_or(0, |label| label.version)
    }

    /// `true` if a label was counted as [`OTHER`] because the table was full.
    pub fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }

    fn label(&self, id: LabelId) -> Option<&Label> {
        self.labels.get(usize::from(id).checked_sub(1)?)
    }

    fn other(&mut self) -> LabelId {
        match self.labels.iter().position(|label| label.name == OTHER) {
            Some(index) => index as LabelId + 1,
            None => self.push(OTHER.to_owned()),
        }
    }

    fn push(&mut self, name: String) -> LabelId {
        self.version += 1;
        self.labels.push(Label { name, jobs: 0, used: self.clock, version: self.version });
        self.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_cleaned_and_compared() {
        let mut labels = LabelTable::new(99, 32, &[]);
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
            let mut labels = LabelTable::new(9, 32, &[]);
            let id = labels.id(&format!("a{c}b"));
            assert_eq!(labels.name(id), Some("a_b"), "{c:?}");
            assert_eq!(labels.id("a.b"), id, "{c:?}");
        }
        for kept in ["é", "ƒ", "日本", "🙂", "\u{200d}"] {
            let mut labels = LabelTable::new(9, 32, &[]);
            labels.id(kept);
            assert_eq!(labels.name(1), Some(kept));
        }
    }

    #[test]
    fn a_table_has_a_limit() {
        let mut labels = LabelTable::new(3, 32, &[]);
        let ids: Vec<_> = (0..1000).map(|id| labels.id(&format!("bank-{id}"))).collect();
        assert_eq!(ids[..4], [1, 2, 3, 4]);
        assert!(ids[3..].iter().all(|&id| id == 4));
        assert_eq!((labels.last(), labels.name(4)), (4, Some(OTHER)));
        assert_eq!(labels.id("bank-1"), 2, "a label keeps its id");
    }

    #[test]
    fn the_label_that_was_idle_for_the_longest_time_gives_its_place() {
        let mut labels = LabelTable::new(3, 32, &["debug", "my.queue"]);
        // Adds a job, or removes it; the id, and the label that is sent.
        let table = [
            ("a", 1, (1, "a")),
            ("b", 1, (2, "b")),
            ("c", 1, (3, "c")),
            ("d", 1, (4, "other")),
            ("debug", 1, (5, "debug")),
            ("c", -1, (3, "c")),
            ("a", -1, (1, "a")),
            ("debug", -1, (5, "debug")),
            ("d", 1, (3, "d")),
            ("c", 1, (1, "c")),
            ("e", 1, (4, "other")),
            ("b", 1, (2, "b")),
            ("b", -1, (2, "b")),
            ("e", 1, (4, "other")),
            ("b", -1, (2, "b")),
            ("my_queue", 1, (6, "my_queue")),
            ("e", 1, (2, "e")),
            ("debug", 1, (5, "debug")),
        ];
        for (label, by, (id, name)) in table {
            assert_eq!(labels.id(label), id, "{label}");
            assert_eq!(labels.name(id), Some(name), "{label}");
            labels.count(id, by);
        }
        assert!(labels.is_exceeded());
        assert_eq!((labels.last(), labels.version()), (6, 9));
        let versions: Vec<_> = (0..8).map(|id| labels.version_of(id)).collect();
        assert_eq!(versions, [0, 7, 9, 6, 4, 5, 8, 0]);
    }

    #[test]
    fn a_label_of_the_job_that_is_being_read_keeps_its_place() {
        let mut labels = LabelTable::new(2, 32, &[]);
        for label in ["a", "b"] {
            let id = labels.id(label);
            labels.count(id, 1);
            labels.count(id, -1);
        }
        let ids = ["c", "d", "e", "c"].map(|label| labels.id(label));
        assert_eq!(ids, [1, 2, 3, 1]);
        assert_eq!(labels.name(3), Some(OTHER));
    }
}
