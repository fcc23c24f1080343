//! The demo ends when Ctrl-C is pressed.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;

use crate::support::artifact::demo;

/// A terminal sends SIGINT to all processes of the group.
#[test]
fn ctrl_c_ends_the_demo_and_its_processes() {
    let mut demo = Command::new(demo())
        // Without Flux.
        .env("PATH", "/usr/bin:/bin")
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let group = Pid::from_raw(demo.id() as i32);
    let mut output = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(" %  NEW ") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the demo ended");
    }
    killpg(group, Signal::SIGINT).unwrap();
    line.clear();
    output.read_to_string(&mut line).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130), "{line}");
    assert!(line.contains("Interrupted"), "{line}");
    let end = Instant::now() + Duration::from_secs(20);
    while killpg(group, None) != Err(Errno::ESRCH) {
        assert!(Instant::now() < end, "a process of the demo is left");
        thread::sleep(Duration::from_millis(50));
    }
}
