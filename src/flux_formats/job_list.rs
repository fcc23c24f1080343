//! The response to `job-manager.list`, read one job at a time.
//!
//! The list of 100,000 jobs is 16 MB of JSON. Parsing it as one value takes 0.4 s, during
//! which the job manager waits.

use serde::Deserialize;
use serde_json::Deserializer;

/// An iterator over the ids in `{"jobs": [{"id": …}, …]}`. After an error, or at a job
/// without an id, it ends.
#[derive(Debug)]
pub struct JobList<T> {
    text: T,
    /// The offset of the next job, or of the comma before it.
    offset: usize,
    has_failed: bool,
}

#[derive(Deserialize)]
struct ListedJob {
    id: u64,
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
    type Item = Result<u64, String>;

    fn next(&mut self) -> Option<Result<u64, String>> {
        let text = self.text.as_ref();
        let rest = text[self.offset..].trim_ascii_start();
        let rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        if self.has_failed || rest.starts_with(b"]") {
            return None;
        }
        let mut jobs = Deserializer::from_slice(rest).into_iter::<ListedJob>();
        let job = jobs.next();
        self.offset = text.len() - rest.len() + jobs.byte_offset();
        let id = match job {
            Some(Ok(ListedJob { id })) => Ok(id),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the list of jobs is not complete".to_owned()),
        };
        self.has_failed = id.is_err();
        Some(id)
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
                Ok(id) => ids.push(id),
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
