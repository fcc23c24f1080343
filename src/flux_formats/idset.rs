//! Idset (RFC 22): `0-3,7` or `[0-3,7]`.

/// The maximum id. No system has as many ranks, cores or GPUs, and a table with one entry per
/// id stays small.
const MAX_ID: u32 = (1 << 20) - 1;

/// Calls `body` with the first and the last id of each range, in ascending order; no id
/// is in two ranges. `None` if `idset` is malformed: `body` may have been called by then.
pub fn each_range(idset: &str, body: &mut dyn FnMut(u32, u32)) -> Option<()> {
    let inner = idset.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(idset);
    if inner.is_empty() {
        return Some(());
    }
    let mut next = 0;
    for part in inner.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first < next || last < first || last > MAX_ID {
            return None;
        }
        body(first, last);
        next = last + 1;
    }
    Some(())
}

/// The number of ids. `None` if `idset` is malformed.
pub fn count(idset: &str) -> Option<u32> {
    let mut sum = 0;
    each_range(idset, &mut |first, last| sum += last - first + 1)?;
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted() {
        let table = [
            ("", Some(0)),
            ("[]", Some(0)),
            ("0", Some(1)),
            ("0-3,7", Some(5)),
            ("[0-1]", Some(2)),
            ("1048575", Some(1)),
            ("1048576", None),
            ("0-4294967295", None),
            ("3-1", None),
            ("1,1", None),
            ("-1", None),
            ("0-", None),
            ("a", None),
            ("0,", None),
        ];
        for (idset, ids) in table {
            assert_eq!(count(idset), ids, "{idset}");
        }
    }
}
