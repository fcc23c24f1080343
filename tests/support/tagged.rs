//! A datagram with tags, for the readers of each dialect.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use serde_json::json;

use super::artifact::plugin;
use super::fake_job_manager::FakeJobManager;
use super::jobs::RUN;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// What the plugin sends when a job starts to run: a name, its tags, a value.
pub fn datagram(dialect: &str) -> String {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut host = FakeJobManager::start(Some(&server.local_addr().unwrap().to_string()));
    // Characters that mean something in one dialect or another.
    let tags = json!({"cluster": "{cluster}", "site": "a=b,c;d#e"});
    let mut conf = json!({"dialect": dialect, "resync": 0, "prefix": "jobs,on;x=y"});
    if dialect != "plain" {
        conf["tags"] = tags;
    }
    host.load(plugin(), conf).unwrap();
    host.advance(0.1);
    host.call("job.new", &json!({"id": 1, "state": RUN}));
    let mut buffer = [0; 2048];
    let length = server.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// Its tags, as a reader has to have them.
pub fn wanted() -> Tags {
    let tags = [("state", "RUN"), ("cluster", "node"), ("site", "a_b_c_d_e")];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}
