//! The demo ends when Ctrl-C is pressed, and its table stays on the screen.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::pty::{openpty, Winsize};
use nix::sys::signal::{kill, killpg, Signal};
use nix::unistd::Pid;

use crate::support::artifact::demo;
use crate::support::STATES;

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

/// In a terminal, the demo draws a table. What it prints at its end is below the table.
#[test]
fn the_table_stays_on_the_screen_at_the_end() {
    let (rows, columns) = (24, 100);
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let mut demo = Command::new(demo())
        .env("PATH", "/usr/bin:/bin")
        .stdin(pty.slave.try_clone().unwrap())
        .stdout(pty.slave)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut master = File::from(pty.master);
    let mut terminal = vt100::Parser::new(rows, columns, 0);
    let (ended, end) = mpsc::channel::<()>();
    let pid = Pid::from_raw(demo.id() as i32);
    thread::spawn(move || {
        if end.recv_timeout(Duration::from_secs(100)) == Err(RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let (mut is_interrupted, mut is_asked) = (false, false);
    let (mut output, mut buffer) = (Vec::new(), [0; 4096]);
    // At the end read(2) fails with EIO.
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        terminal.process(&buffer[..length]);
        output.extend_from_slice(&buffer[..length]);
        // The demo asks for the position of the cursor, once.
        if !is_asked && output.windows(4).any(|sent| sent == b"\x1b[6n") {
            is_asked = true;
            let (row, column) = terminal.screen().cursor_position();
            write!(master, "\x1b[{};{}R", row + 1, column + 1).unwrap();
        }
        if !is_interrupted && terminal.screen().contents().contains(" datagrams") {
            is_interrupted = true;
            master.write_all(b"\x03").unwrap();
        }
    }
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    drop(ended);
    let screen = terminal.screen().contents();
    let lines: Vec<_> = screen.lines().map(str::trim_end).collect();
    let header = lines.iter().position(|line| *line == "state         jobs  lowest  history");
    let header = header.unwrap_or_else(|| panic!("no table:\n{screen}"));
    assert!(lines[header - 2].contains("never be negative"), "{screen}");
    for (state, line) in STATES.iter().zip(&lines[header + 1..]) {
        assert!(line.starts_with(state), "{state}:\n{screen}");
    }
    let below: Vec<_> = lines.iter().skip(header + 8).collect();
    assert!(below.len() == 2 && below[0].contains(" datagrams"), "{screen}");
    assert!(below[1].starts_with("Interrupted"), "{screen}");
}
