//! The response to `job-manager.list` or `job-list.list`, read one job at a time.
//!
//! The list of 100,000 jobs is 16 MB of JSON. Parsing it as one value takes 0.4 s, during
//! which the job manager waits.

use serde::Deserialize;
use serde_json::Deserializer;

/// An iterator over the jobs in `{"jobs": [{"id": …}, …]}`. After an error, or at a job
/// without an id, it ends.
#[derive(Debug)]
pub struct JobList<T> {
    text: T,
    /// The offset of the next job, or of the comma before it.
    offset: usize,
    has_failed: bool,
}

/// A job in the list.
#[derive(Debug, Deserialize, PartialEq)]
pub struct ListedJob {
    /// The job id.
    pub id: u64,
    /// The descriptions of the dependencies that it waits for. Empty if they were not requested.
    #[serde(default)]
    dependencies: Vec<String>,
}

impl ListedJob {
    /// The names of the dependencies, as in a jobspec: the part before the first `=`, but the
    /// scheme of a dependency on another job, which dependency-after.c describes otherwise.
    pub fn dependencies(&self) -> impl Iterator<Item = &str> {
        let names = self.dependencies.iter().map(|text| text.split('=').next().unwrap_or(text));
        names.map(|name| match name {
            "after-start" => "after",
            "after-finish" => "afterany",
            "after-success" => "afterok",
            "after-failure" => "afternotok",
            "after-except" => "afterexcept",
            name => name,
        })
    }
}

impl<T: AsRef<[u8]>> JobList<T> {
    /// # Errors
    /// If the response does not begin with an object whose first member is the array
    /// `jobs`. (Flux sends no other member.)
    pub fn new(text: T) -> Result<JobList<T>, String> {
        let mut rest = text.as_ref();
        for token in ["{", "\"jobs\"", ":", "["] {
            let token = rest.trim_ascii_start().strip_prefix(token.as_bytes());
            rest = token.ok_or("expected an object with an array \"jobs\"")?;
        }
        let offset = text.as_ref().len() - rest.len();
        Ok(JobList { text, offset, has_failed: false })
    }
}

impl<T: AsRef<[u8]>> Iterator for JobList<T> {
    type Item = Result<ListedJob, String>;

    fn next(&mut self) -> Option<Result<ListedJob, String>> {
        let text = self.text.as_ref();
        let rest = text[self.offset..].trim_ascii_start();
        let rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        if self.has_failed || rest.starts_with(b"]") {
            return None;
        }
        let mut jobs = Deserializer::from_slice(rest).into_iter::<ListedJob>();
        let job = jobs.next();
        self.offset = text.len() - rest.len() + jobs.byte_offset();
        let job = match job {
            Some(job) => job.map_err(|error| error.to_string()),
            None => Err("the list of jobs is not complete".to_owned()),
        };
        self.has_failed = job.is_err();
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids, and the error at the end.
    fn read(text: &str) -> (Vec<u64>, Option<String>) {
        let mut list = match JobList::new(text) {
            Ok(list) => list,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let mut ids = Vec::new();
        while let Some(next) = list.next() {
            match next {
                Ok(job) => ids.push(job.id),
                Err(error) => {
                    assert_eq!(list.next(), None, "an error ends the list");
                    return (ids, Some(error));
                }
            }
        }
        (ids, None)
    }

    #[test]
    fn ids_are_read_one_by_one() {
        let table: [(&str, &[u64]); 5] = [
            (r#"{"jobs":[]}"#, &[]),
            (r#" { "jobs" : [ ] } "#, &[]),
            (r#"{"jobs":[{"id":1}]}"#, &[1]),
            (
                "{\"jobs\": [{\"state\": 8, \"id\": 18446744073709551615},\n {\"id\": 2, \"a\": [\"],{\"]}], \"more\": 1}",
                &[u64::MAX, 2],
            ),
            (r#"{"jobs":[{"id":1,"t":[[1,2],{}]},{"id":3}]}"#, &[1, 3]),
        ];
        for (text, ids) in table {
            assert_eq!(read(text), (ids.to_vec(), None), "{text}");
        }
    }

    #[test]
    fn dependencies_have_the_names_of_a_jobspec() {
        let text = r#"{"jobs":[{"id":1,"dependencies":["max-running-jobs-user-limit",
            "after-finish=ƒ1","after-success=ƒ2","begin-time=17.5","a=b=c","=x"]}]}"#;
        let job = JobList::new(text).unwrap().next().unwrap().unwrap();
        let names: Vec<_> = job.dependencies().collect();
        let expected =
            ["max-running-jobs-user-limit", "afterany", "afterok", "begin-time", "a", ""];
        assert_eq!(names, expected);
    }

    #[test]
    fn malformed_lists_are_errors() {
        let table: [(&str, &[u64], &str); 10] = [
            ("", &[], "expected an object"),
            ("[]", &[], "expected an object"),
            (r#"{"errstr":"no"}"#, &[], "expected an object"),
            (r#"{"jobs":{}}"#, &[], "expected an object"),
            (r#"{"jobs":[{"id":1}"#, &[1], "not complete"),
            (r#"{"jobs":[{"id":1},{"id":"#, &[1], "EOF"),
            (r#"{"jobs":[{"id":1},{"id":-2},{"id":3}]}"#, &[1], "invalid value"),
            (r#"{"jobs":[{"i":1}]}"#, &[], "missing field `id`"),
            (r#"{"jobs":[7]}"#, &[], "invalid type"),
            (r#"{"jobs":[{"id":1},x]}"#, &[1], "expected value"),
        ];
        for (text, ids, expected) in table {
            let (found, error) = read(text);
            assert_eq!(found, ids, "{text}");
            assert!(error.as_ref().is_some_and(|it| it.contains(expected)), "{text}: {error:?}");
        }
    }
}
