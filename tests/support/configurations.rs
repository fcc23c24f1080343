//! Invalid configurations with their exact error texts, and valid ones.

use serde_json::{json, Value};

const ENDPOINT: &str = "(expected HOST:PORT, [IPv6]:PORT or unix:PATH)";
const NAME: &str = "host name is not valid (expected letters, digits, -, _ and .)";
const PLACES: &str = "(expected {cluster}, {hostname}, {rank}, {jobid} or {level})";

/// Each mistake: the key, its value, and the error text of a load or a reload.
pub fn bad() -> Vec<(&'static str, Value, String)> {
    let long_path = format!("unix:/{}", "p".repeat(107));
    let long_name = "n".repeat(257);
    let quoted = |text: &str| format!("\"{}…\"", &text[..40]);
    let port = |text: &str, port: &str| {
        format!("endpoint \"{text}\": port \"{port}\" is not valid (expected 1 to 65535)")
    };
    let endpoint = |text: &str, what: &str| format!("endpoint \"{text}\": {what} {ENDPOINT}");
    let text_or_texts =
        |value: &str| format!("endpoint {value} (expected a string, or an array of strings)");
    let period = |value: &str| {
        format!("period: {value} (expected 0, or 10ms to 1d, such as 500ms, 10s or 1m)")
    };
    let resync = |value: &str| {
        format!("resync: {value} (expected 0, or 10ms to 1d, such as 500ms, 10s or 1m)")
    };
    let verify =
        |value: &str| format!("verify: {value} (expected 0, or 1s to 1d, such as 10s, 1m or 1h)");
    let datagram = |value: &str| format!("datagram: {value} (expected 512 to 65507 bytes)");
    let lookup =
        |value: &str| format!("lookup: {value} (expected 1s to 1d, such as 10s, 1m or 1h)");
    let send = |value: &str| format!("send: {value} (expected \"increments\" or \"values\")");
    let states = |value: &str| format!("states: {value} (expected \"L\", \"l\", \"S\" or \"s\")");
    let dialect = |value: &str| {
        format!("dialect: {value} (expected \"plain\", \"pcp\", \"dogstatsd\", \"graphite\" or \"influxdb\")")
    };
    let metrics = |value: &str| {
        format!(
            "metrics: {value} (expected \"states\", \"queues\", \"timings\", \"results\", \
             \"resources\", \"users\", \"banks\" or \"pending\", or several)"
        )
    };
    let own_tag =
        |key: &str| format!("tags: key \"{key}\" is one of the plugin's own (expected another)");
    vec![
        ("endpoint", json!("statsd"), endpoint("statsd", "missing \":PORT\"")),
        ("endpoint", json!("[::1]"), endpoint("[::1]", "missing \":PORT\"")),
        ("endpoint", json!(""), endpoint("", "missing \":PORT\"")),
        ("endpoint", json!("udp://statsd"), endpoint("udp://statsd", "missing \":PORT\"")),
        ("endpoint", json!(["a:1", "b"]), endpoint("b", "missing \":PORT\"")),
        ("endpoint", json!("c:1,d"), endpoint("d", "missing \":PORT\"")),
        ("endpoint", json!(":8125"), endpoint(":8125", "empty host")),
        ("endpoint", json!("statsd:"), endpoint("statsd:", "missing \":PORT\"")),
        ("endpoint", json!("s:http"), port("s:http", "http")),
        ("endpoint", json!("s:-1"), port("s:-1", "-1")),
        ("endpoint", json!("s:0"), port("s:0", "0")),
        ("endpoint", json!("s:65536"), port("s:65536", "65536")),
        ("endpoint", json!("::1:1"), endpoint("::1:1", "IPv6 address without brackets")),
        ("endpoint", json!("[::1:1"), endpoint("[::1:1", "missing \"]\"")),
        ("endpoint", json!("[x]:1"), endpoint("[x]:1", "\"x\" is not an IPv6 address")),
        ("endpoint", json!("[fe80::1]:1"), "endpoint \"[fe80::1]:1\": link-local address without interface (expected [fe80::1%eth0]:PORT)".into()),
        ("endpoint", json!("a b:1"), format!("endpoint \"a b:1\": {NAME}")),
        ("endpoint", json!("udp:s:1"), format!("endpoint \"udp:s:1\": {NAME}")),
        ("endpoint", json!("10.0.0.256:1"), endpoint("10.0.0.256:1", "not an IPv4 address")),
        ("endpoint", json!("tcp://s:1"), endpoint("tcp://s:1", "unknown scheme \"tcp\"")),
        ("endpoint", json!("unix:"), endpoint("unix:", "empty path")),
        (
            "endpoint",
            json!("unix:s"),
            "endpoint \"unix:s\": path \"s\" is not absolute (expected unix:/PATH)".into(),
        ),
        (
            "endpoint",
            json!(long_path),
            format!(
                "endpoint {}: path of 108 bytes too long (expected at most 107)",
                quoted(&long_path)
            ),
        ),
        ("endpoint", json!("e:1,e:1"), "duplicate endpoint \"e:1\" (expected each once)".into()),
        ("endpoint", json!(8125), text_or_texts("8125")),
        ("endpoint", json!([8126]), text_or_texts("[8126]")),
        ("endpoint", json!([]), text_or_texts("[]")),
        ("endpoint", json!({"host": 1}), text_or_texts("{\"host\":1}")),
        ("period", json!("soon"), period("\"soon\"")),
        ("period", json!("-1"), period("\"-1\"")),
        ("period", json!(-2), period("-2")),
        ("period", json!("5ms"), period("\"5ms\"")),
        ("period", json!(0.001), period("0.001")),
        ("period", json!("25h"), period("\"25h\"")),
        ("period", json!(true), period("true")),
        ("resync", json!("1 minute"), resync("\"1 minute\"")),
        ("resync", json!("inf"), resync("\"inf\"")),
        ("resync", json!("2,5s"), resync("\"2,5s\"")),
        ("resync", json!("0x10s"), resync("\"0x10s\"")),
        ("resync", json!("nan"), resync("\"nan\"")),
        ("resync", json!([10]), resync("[10]")),
        ("resync", json!(86401), resync("86401")),
        ("lookup", json!(0), lookup("0")),
        ("lookup", json!("500ms"), lookup("\"500ms\"")),
        ("lookup", json!("2d"), lookup("\"2d\"")),
        ("datagram", json!(511), datagram("511")),
        ("datagram", json!("65508"), datagram("\"65508\"")),
        ("datagram", json!(1432.5), datagram("1432.5")),
        ("verify", json!("500ms"), verify("\"500ms\"")),
        ("verify", json!(-1), verify("-1")),
        ("send", json!("value"), send("\"value\"")),
        ("send", json!("Increments"), send("\"Increments\"")),
        ("send", json!(1), send("1")),
        ("prefix", json!(""), "prefix: \"\" (expected at least one character)".into()),
        ("prefix", json!("a:b"), "prefix: \"a:b\" (expected no ':' in a name)".into()),
        ("prefix", json!("a|b"), "prefix: \"a|b\" (expected no '|' in a name)".into()),
        ("prefix", json!("a b"), "prefix: \"a b\" (expected no ' ' in a name)".into()),
        ("prefix", json!("a\nb"), "prefix: \"a\\nb\" (expected no '\\n' in a name)".into()),
        ("prefix", json!("a."), "prefix: \"a.\" (expected dots between names only)".into()),
        ("prefix", json!("a..b"), "prefix: \"a..b\" (expected dots between names only)".into()),
        ("prefix", json!("{host}"), format!("prefix: \"{{host}}\" has the unknown placeholder {{host}} {PLACES}")),
        ("prefix", json!("{rank"), format!("prefix: \"{{rank\" has an unmatched brace {PLACES}")),
        (
            "prefix",
            json!(long_name),
            format!("prefix: {} of 257 bytes (expected at most 256)", quoted(&long_name)),
        ),
        ("prefix", json!(7), "prefix: 7 (expected a string)".into()),
        ("cluster", json!("{rank}"), "cluster: \"{rank}\" (expected no placeholder here)".into()),
        ("cluster", json!(false), "cluster: false (expected a string)".into()),
        ("states", json!("LONG"), states("\"LONG\"")),
        ("states", json!(3), states("3")),
        ("dialect", json!("datadog"), dialect("\"datadog\"")),
        ("dialect", json!(["plain"]), dialect("[\"plain\"]")),
        ("tags", json!("site:x"), "tags: \"site:x\" (expected an object, such as tags.site=NAME)".into()),
        (
            "tags",
            json!({"a b": "x"}),
            "tags: key \"a b\" (expected letters, digits, _, - or .)".into(),
        ),
        ("tags", json!({"state": "x"}), own_tag("state")),
        ("tags", json!({"queue": "x"}), own_tag("queue")),
        (
            "tags",
            json!({"version": 1.1}),
            "tags: version: 1.1 is a number (expected an integer or a string: \"1.10\" in TOML, '\"1.10\"' on a command line)".into(),
        ),
        ("tags", json!({"site": ""}), "tags: site: \"\" (expected at least one character)".into()),
        ("tags", json!({"site": [1]}), "tags: site: [1] (expected a string)".into()),
        (
            "tags",
            json!({"site": "x"}),
            "tags: {\"site\":\"x\"}: dialect \"plain\" has no tags (expected dialect dogstatsd, graphite or influxdb)"
                .into(),
        ),
        ("metrics", json!("jobs"), metrics("\"jobs\"")),
        ("metrics", json!([]), metrics("[]")),
        ("metrics", json!([1]), metrics("[1]")),
        ("telemetry", json!("yes"), "telemetry: \"yes\" (expected true or false)".into()),
        ("telemetry", json!(1), "telemetry: 1 (expected true or false)".into()),
        (
            "perod",
            json!(1),
            "unknown key \"perod\"; did you mean \"period\"?"
                .into(),
        ),
    ]
}

/// A configuration with this key, and with the keys that it requires.
pub fn conf(key: &str, value: &Value) -> Value {
    match key {
        "tags" => json!({"tags": value, "dialect": "graphite"}),
        _ => json!({key: value}),
    }
}

/// Valid values of each key, and the value that `flux jobtap query` shows.
pub fn good() -> Vec<(&'static str, Value, Value)> {
    vec![
        ("endpoint", json!("127.0.0.1:1"), json!(["127.0.0.1:1"])),
        ("endpoint", json!("udp://[::1]:1"), json!(["[::1]:1"])),
        ("endpoint", json!("unix:///nowhere/s"), json!(["unix:/nowhere/s"])),
        ("endpoint", json!(["127.0.0.1:1", "[::1]:1"]), json!(["127.0.0.1:1", "[::1]:1"])),
        ("endpoint", json!("127.0.0.1:1, 127.0.0.1:2"), json!(["127.0.0.1:1", "127.0.0.1:2"])),
        ("period", json!("500ms"), json!(0.5)),
        ("period", json!("+.5s"), json!(0.5)),
        ("resync", json!("2.5s"), json!(2.5)),
        ("period", json!(1), json!(1.0)),
        ("resync", json!("1m"), json!(60.0)),
        ("resync", json!(0), json!(0.0)),
        ("verify", json!("2s"), json!(2.0)),
        ("verify", json!(0), json!(0.0)),
        ("send", json!("values"), json!("values")),
        ("lookup", json!("2h"), json!(7200.0)),
        ("datagram", json!(512), json!(512)),
        ("datagram", json!("8932"), json!(8932)),
        (
            "prefix",
            json!("{cluster}.{hostname}.{rank}.{jobid}.{level}.jobs"),
            json!("{cluster}.{hostname}.{rank}.{jobid}.{level}.jobs"),
        ),
        ("cluster", json!("tuolumne"), json!("tuolumne")),
        ("states", json!("s"), json!("s")),
        ("dialect", json!("dogstatsd"), json!("dogstatsd")),
        ("dialect", json!("graphite"), json!("graphite")),
        ("dialect", json!("influxdb"), json!("influxdb")),
        ("dialect", json!("pcp"), json!("pcp")),
        ("tags", json!({"site": "x", "number": 7}), json!({"site": "x", "number": "7"})),
        ("metrics", json!("results,timings"), json!(["results", "timings"])),
        ("telemetry", json!(true), json!(true)),
    ]
}
