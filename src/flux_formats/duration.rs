//! Flux Standard Duration (RFC 23): `500ms`, `10s`, `1.5m`, `2h`, `1d`.

/// Units and their length in seconds. A number without a unit is in seconds. `ms` precedes
/// `s`, because both end in `s`.
const UNITS: [(&str, f64); 6] =
    [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0), ("", 1.0)];

/// Converts a duration to seconds. `None` if `text` is not a duration, is negative, or is
/// too large or too small for an `f64`.
///
/// flux-core reads the number with strtod(3) (fsd_parse_duration, libutil/fsd.c), which
/// follows the broker's locale (in de_DE.UTF-8 it accepts `2,5s` and rejects `2.5s`) and
/// accepts `0x10s`, `inf` and leading spaces. Here a number is decimal digits with at most
/// one point, an optional `+` and an optional exponent, in every locale.
pub fn parse_seconds(text: &str) -> Option<f64> {
    let (number, unit) =
        UNITS.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    let is_decimal = number.bytes().all(|c| c.is_ascii_digit() || b"+-.eE".contains(&c));
    if !is_decimal || number.starts_with('-') {
        return None;
    }
    let seconds = number.parse::<f64>().ok()? * unit;
    // A positive number that rounds to 0 is rejected, because 0 means "never" for some keys.
    let digits = number.split(['e', 'E']).next()?;
    let is_zero = !digits.contains(|c| ('1'..='9').contains(&c));
    (seconds.is_finite() && (seconds != 0.0 || is_zero)).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_decimal_digits_and_a_unit() {
        let table = [
            ("0", Some(0.0)),
            ("10", Some(10.0)),
            ("500ms", Some(0.5)),
            ("1.5s", Some(1.5)),
            ("2.5s", Some(2.5)),
            ("0.1s", Some(0.1)),
            ("0.35", Some(0.35)),
            ("1234567.89", Some(1234567.89)),
            ("1m", Some(60.0)),
            ("2h", Some(7200.0)),
            ("1d", Some(86400.0)),
            (".5s", Some(0.5)),
            ("5.s", Some(5.0)),
            ("+1s", Some(1.0)),
            ("05", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("1E-3", Some(0.001)),
            ("1e3ms", Some(1.0)),
            ("", None),
            ("s", None),
            ("1 s", None),
            ("10sec", None),
            ("soon", None),
            (" 1s", None),
            (".", None),
            (".s", None),
            ("1e", None),
            ("1e+", None),
            ("1e99999999999", None),
            ("1e999", None),
            ("1e-999s", None),
            ("0e-999s", Some(0.0)),
            ("--1", None),
            ("-1s", None),
            ("+-1s", None),
            ("nan", None),
            ("inf", None),
            ("infinity", None),
            ("+inf", None),
            ("nand", None),
            ("infms", None),
            ("-0", None),
            // strtod(3) accepts these, in some or in all locales.
            ("2,5s", None),
            ("1.000,5s", None),
            ("1'000s", None),
            ("0x10s", None),
            ("0x1p4", None),
            ("١s", None),
            ("1ß", None),
            ("1\0", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_seconds(text), expected, "{text:?}");
        }
    }
}
