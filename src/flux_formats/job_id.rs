//! Job ids as text (RFC 19).

/// The digits of Flux's base 58.
const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The job id in the form that Flux's commands print, F58.
pub fn f58(mut id: u64) -> String {
    let mut digits = Vec::new();
    while id > 0 || digits.is_empty() {
        digits.push(char::from(DIGITS[(id % 58) as usize]));
        id /= 58;
    }
    ['ƒ'].into_iter().chain(digits.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::f58;

    #[test]
    fn ids_are_as_flux_prints_them() {
        let table = [
            (0, "ƒ1"),
            (1, "ƒ2"),
            (57, "ƒz"),
            (58, "ƒ21"),
            (6731191091817518, "ƒuZZybuNNy"),
            (6885425430528, "ƒ47sNU6sq"),
            (u64::MAX, "ƒjpXCZedGfVQ"),
        ];
        for (id, text) in table {
            assert_eq!(f58(id), text);
        }
    }
}
