//! Whatever a name is, what is sent says what was meant, in every dialect. (More
//! cases: see tests/fake/fuzz.rs.)

use crate::support::invariants;
use crate::support::random::{cases, text};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_name_is_the_lines_that_were_meant_in_every_dialect(
        prefix in prop_oneof![Just(String::new()), text()],
        name in text(),
        own in prop::collection::vec((text(), text()), 0..3),
        common in prop::collection::vec((text(), text()), 0..3),
        number in any::<i64>(),
    ) {
        invariants::lines(&prefix, &name, &own, &common, number);
    }
}
