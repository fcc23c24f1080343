//! The output of brokers and fake job managers: in files, and printed for failed tests only.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::artifact::target;

/// Lines that are printed for a failed test.
const LAST_LINES: usize = 200;

/// A file in target/tmp/logs. If the test fails, its last lines are printed and the file
/// is kept; otherwise it is removed.
pub struct Log(PathBuf);

impl Log {
    /// Creates an empty file, named after the test and the program that writes to it.
    pub fn create(program: &str) -> Log {
        let folder = target().join("tmp/logs");
        fs::create_dir_all(&folder).expect("the target folder is writable");
        let current = thread::current();
        let test = current.name().unwrap_or("thread").replace("::", ".");
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = Log(folder.join(format!("{test}.{program}.{}.{count}", std::process::id())));
        File::create(&log.0).expect("the target folder is writable");
        log
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Appends, because a broker appends to the same file.
    pub fn stdio(&self) -> Stdio {
        File::options().append(true).open(&self.0).expect("the file exists").into()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.0).expect("the file exists")).into_owned()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let text = self.text();
        if !thread::panicking() || text.is_empty() {
            let _ = fs::remove_file(&self.0);
            return;
        }
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        eprintln!("The last lines of {}:\n{}", self.0.display(), last.join("\n"));
    }
}
