//! Flux Standard Duration, as RFC 23 defines it: `500ms`, `10s`, `1.5m`, `2h`, `1d`.

/// The units and their length in seconds. No unit is seconds.
const UNITS: [(&str, f64); 6] =
    [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0), ("", 1.0)];

/// The largest power of ten that an `f64` holds exactly. A number of at most 15
/// digits, multiplied or divided by one of these, is rounded once, as strtod(3)
/// rounds it (Clinger 1990, "How to read floating point numbers accurately").
const MAX_EXACT_POWER: i32 = 22;

/// A duration, in seconds. `None` if `text` is none.
///
/// flux-core reads the number with strtod(3) (fsd_parse_duration, libutil/fsd.c),
/// which follows the broker's locale: under de_DE.UTF-8 it takes `2,5s` and refuses
/// `2.5s`; and it takes `0x10s`, `inf` and spaces in front anywhere. Here a number is
/// decimal digits with at most one point, and perhaps an exponent, in every locale.
/// (std's own reader of numbers makes the plugin 18 KiB larger, as measured.)
pub fn seconds(text: &str) -> Option<f64> {
    let (number, unit) = leading_decimal(text)?;
    let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let seconds = number * length;
    seconds.is_finite().then_some(seconds)
}

/// The decimal number that `text` begins with, and what follows it.
fn leading_decimal(text: &str) -> Option<(f64, &str)> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (whole, rest) = leading_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), leading_digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (exponent, rest) = leading_exponent(rest).unwrap_or((0, rest));
    let mut digits = 0.0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        digits = digits * 10.0 + f64::from(digit - b'0');
    }
    let power = exponent.saturating_sub(i32::try_from(fraction.len()).ok()?);
    let number = match power.unsigned_abs() as i32 {
        0..=MAX_EXACT_POWER if power < 0 => digits / 10f64.powi(-power),
        _ => digits * 10f64.powi(power),
    };
    // What is too small for an f64 is not 0, which some keys take for "never".
    (number != 0.0 || digits == 0.0).then_some((number, rest))
}

/// The digits that `text` begins with, perhaps none, and what follows them.
fn leading_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// `e3`, `E-3`: the exponent, and what follows it. `None` where there is none.
fn leading_exponent(text: &str) -> Option<(i32, &str)> {
    let text = text.strip_prefix(['e', 'E'])?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (digits, rest) = leading_digits(unsigned);
    let size: i32 = digits.parse().ok()?;
    Some((if text.starts_with('-') { -size } else { size }, rest))
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
            // What strtod(3) takes in some locale, or in each.
            ("2,5s", None),
            ("1.000,5s", None),
            ("1'000s", None),
            ("0x10s", None),
            ("0x1p4", None),
            ("١s", None),
            ("1ß", None),
            ("1\0", None),
        ];
        for (text, wanted) in table {
            assert_eq!(seconds(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_number_is_what_the_standard_library_reads() {
        for digits in ["1", "25", "30000", "123456789012345", "999999999999999"] {
            for places in 0..digits.len() {
                let (whole, fraction) = digits.split_at(digits.len() - places);
                let text = format!("{whole}.{fraction}");
                assert_eq!(seconds(&text), text.parse().ok(), "{text}");
            }
        }
    }
}
