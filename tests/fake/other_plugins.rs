//! Other plugins that fail, and our plugin when it fails.

use crate::host::FakeHost;
use crate::scenarios::other_plugins::lose_callbacks;

scenarios!(other_plugins:
    a_panic_is_logged_once_and_the_plugin_behind_ours_goes_on,
    another_plugin_that_fails_leaves_no_gauge_wrong,
);

#[test]
fn five_percent_of_lost_callbacks_are_corrected() {
    let query = lose_callbacks::<FakeHost>(2000, 200);
    assert!(query["verify"]["repairs"].as_u64() > Some(50), "{query}");
}
