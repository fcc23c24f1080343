//! Counters and timings that a receiver got.

use std::collections::BTreeMap;

/// The sum of each counter.
pub fn counters(values: &BTreeMap<String, Vec<String>>) -> BTreeMap<&str, i64> {
    let counted = values.iter().filter_map(|(name, values)| {
        let numbers = values.iter().map(|value| value.strip_suffix("|c")?.parse::<i64>().ok());
        Some((name.as_str(), numbers.sum::<Option<i64>>()?))
    });
    counted.collect()
}

/// The timings of a name, in milliseconds, in ascending order.
pub fn timings(values: &BTreeMap<String, Vec<String>>, name: &str) -> Vec<f64> {
    let none = Vec::new();
    let values = values.get(name).unwrap_or(&none).iter();
    let mut numbers: Vec<f64> =
        values.map(|value| value.strip_suffix("|ms").unwrap().parse().unwrap()).collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// Asserts that timings are equal to a millisecond.
#[track_caller]
pub fn assert_same(got: &[f64], mut wanted: Vec<f64>) {
    wanted.sort_by(f64::total_cmp);
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(&wanted) {
        assert!((got - wanted).abs() < 1.0, "{got} ms, by the eventlog {wanted} ms");
    }
}

/// The counters of results, of which one is not 0. (Counters start with 0.)
pub fn results(counted: (&str, i64)) -> BTreeMap<&'static str, i64> {
    let mut results = BTreeMap::from([
        ("flux.job.result.canceled", 0),
        ("flux.job.result.completed", 0),
        ("flux.job.result.failed", 0),
        ("flux.job.result.submitted", 0),
        ("flux.job.result.timeout", 0),
    ]);
    *results.get_mut(counted.0).expect("one of them") += counted.1;
    results
}
