//! What a receiver got of counters and timings.

use std::collections::BTreeMap;

/// What each counter came to.
pub fn counters(values: &BTreeMap<String, Vec<String>>) -> BTreeMap<&str, i64> {
    let counted = values.iter().filter_map(|(name, values)| {
        let numbers = values.iter().map(|value| value.strip_suffix("|c")?.parse::<i64>().ok());
        Some((name.as_str(), numbers.sum::<Option<i64>>()?))
    });
    counted.collect()
}

/// The timings under a name, in milliseconds, least first.
pub fn timings(values: &BTreeMap<String, Vec<String>>, name: &str) -> Vec<f64> {
    let none = Vec::new();
    let values = values.get(name).unwrap_or(&none).iter();
    let mut numbers: Vec<f64> =
        values.map(|value| value.strip_suffix("|ms").unwrap().parse().unwrap()).collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// That timings are the wanted ones, to a millisecond.
#[track_caller]
pub fn assert_same(got: &[f64], mut wanted: Vec<f64>) {
    wanted.sort_by(f64::total_cmp);
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(&wanted) {
        assert!((got - wanted).abs() < 1.0, "{got} ms, by the eventlog {wanted} ms");
    }
}
