//! The client that reads its endpoint from the environment.

use std::env;
use std::net::UdpSocket;
use std::process::Command;

use state_counts::stats::{Stats, ENDPOINT_VARIABLE};

/// Set in a process that runs this test only, so that the test may change the environment.
const ALONE: &str = "STATE_COUNTS_TEST_ALONE";

#[test]
fn the_endpoint_is_read_from_the_environment_at_the_first_metric() {
    if env::var_os(ALONE).is_none() {
        let outcome = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "client::the_endpoint_is_read_from_the_environment_at_the_first_metric",
            ])
            .env(ALONE, "yes")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
        assert!(outcome.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    env::remove_var(ENDPOINT_VARIABLE);
    let mut unset = Stats::from_environment();
    unset.inc("x").unwrap();
    assert!(!unset.enabled());

    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut stats = Stats::from_environment();
    env::set_var(ENDPOINT_VARIABLE, server.local_addr().unwrap().to_string());
    assert!(!unset.enabled(), "it was read already");
    stats.inc("x").unwrap();
    let mut buffer = [0; 16];
    let length = server.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"x:+1|g");

    // Each of several endpoints gets every datagram. The name has an empty part, so that it is
    // not found without a name server.
    let address = server.local_addr().unwrap();
    env::set_var(ENDPOINT_VARIABLE, format!("no..host:1, {address}"));
    let mut stats = Stats::from_environment();
    stats.inc("y").unwrap();
    let length = server.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"y:+1|g");
    assert_eq!((stats.counters().datagrams, stats.counters().failures()), (1, 1));

    for (value, text) in [
        ("localhost", Some("missing \":PORT\"")),
        ("localhost:0", Some("port \"0\" is not valid")),
        ("a:1,b", Some("\"b\": missing \":PORT\"")),
        ("", None),
    ] {
        env::set_var(ENDPOINT_VARIABLE, value);
        let mut stats = Stats::from_environment();
        stats.inc("x").unwrap();
        assert!(!stats.enabled(), "{value}");
        let error = stats.error().map(ToString::to_string);
        assert_eq!(error.is_some(), text.is_some(), "{value}: {error:?}");
        assert!(error.unwrap_or_default().contains(text.unwrap_or_default()), "{value}");
    }
}
