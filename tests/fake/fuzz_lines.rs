//! Metrics with any name are sent as the intended lines, in each dialect. For more cases see
//! tests/fake/fuzz.rs.

use proptest::prelude::*;

use crate::support::invariants;
use crate::support::random::{cases, text};

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_name_is_sent_as_the_intended_lines_in_each_dialect(
        prefix in prop_oneof![Just(String::new()), text()],
        name in text(),
        own in prop::collection::vec((text(), text()), 0..3),
        common in prop::collection::vec((text(), text()), 0..3),
        number in any::<i64>(),
    ) {
        invariants::lines(&prefix, &name, &own, &common, number);
    }
}
