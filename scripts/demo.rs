//! Shows the gauges that a statsd receiver gets from the plugin, live in a terminal. Jobs
//! run in a broker if flux is on PATH; otherwise the fake job manager replays a recorded
//! run. Run it with scripts/demo.

#[path = "../tests/support/mod.rs"]
mod support;

use std::any::Any;
use std::collections::VecDeque;
use std::io::{stdout, IsTerminal, Stdout};
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{panic, thread};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Gauge, Sparkline};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_usize;
use support::broker::Setup;
use support::fake_job_manager::FakeJobManager;
use support::flux::flux;
use support::receiver::{Receiver, Seen};
use support::{artifact, counts_of_job_stats, trace, Counts, STATES};

/// Interval between updates of the screen.
const FRAME: Duration = Duration::from_millis(100);
/// Longest time of a run.
const TIMEOUT: Duration = Duration::from_secs(110);
/// Duration of the replay, which is slower than the recorded run (8.4 s).
const REPLAY: Duration = Duration::from_secs(20);
/// Jobs that run in the broker.
const JOBS: u64 = 400;

fn main() -> ExitCode {
    let mut version = flux();
    version.arg("version").stdout(Stdio::null()).stderr(Stdio::null());
    let real = version.status().is_ok_and(|status| status.success());
    match real {
        true => {
            println!("A Flux broker runs {JOBS} jobs, with the plugin loaded by flux jobtap load.")
        }
        false => println!(
            "No Flux is on PATH: a fake job manager replays a recorded run of 875 jobs, of which \
             375 are purged."
        ),
    }
    println!(
        "These are the gauges that a statsd server receives. In a terminal, the column \"lowest\" \
         is the lowest\nvalue of each gauge since the start. It must never be negative.\n"
    );

    // The exit code of a run that ends early, otherwise 0.
    let stop = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        register_usize(signal, stop.clone(), 128 + signal as usize).expect("a signal handler");
    }
    // Ctrl-C may also end commands of the run, which then panics.
    let (hook, stopping) = (panic::take_hook(), stop.clone());
    panic::set_hook(Box::new(move |info| {
        if stopping.load(Ordering::Relaxed) == 0 {
            hook(info);
        }
    }));

    let mut receiver = Receiver::start();
    let endpoint = receiver.endpoint();
    let progress = Arc::new(AtomicU64::new(0));
    let run = {
        let (progress, stop) = (progress.clone(), stop.clone());
        thread::spawn(move || match real {
            true => in_a_broker(endpoint, &progress, &stop),
            false => in_the_fake_job_manager(&endpoint, &progress, &stop),
        })
    };
    let mut screen = Screen::new();
    let end = Instant::now() + TIMEOUT;
    while !run.is_finished() && stop.load(Ordering::Relaxed) == 0 {
        screen.show(&receiver.seen(), progress.load(Ordering::Relaxed));
        if screen.interrupted() {
            stop.store(130, Ordering::Relaxed);
        } else if Instant::now() > end {
            stop.store(1, Ordering::Relaxed);
        }
    }
    let code = stop.load(Ordering::Relaxed);
    if code != 0 {
        screen.end();
        let reason = if code == 1 { "The run timed out" } else { "Interrupted" };
        println!("{reason}. Waiting until the job manager has ended.");
        let end = Instant::now() + Duration::from_secs(30);
        while !run.is_finished() && Instant::now() < end {
            thread::sleep(FRAME);
        }
        return ExitCode::from(code as u8);
    }
    // Keep the host running: the plugin sends zeros when the host ends.
    let Ok(Some((truth, source, _host))) = run.join() else {
        screen.end();
        println!("The run failed (see above).");
        return ExitCode::FAILURE;
    };
    // Wait for the last datagrams.
    let seen = receiver.wait(Duration::from_secs(5), |seen| seen.gauges == truth);
    screen.show(&seen, 100);
    screen.end();
    let code = compare(&seen, &truth, source);
    match real {
        true => println!(
            "\nNext: run scripts/install, and then, in your instance:\n\
             flux jobtap load state-counts.so endpoint=localhost:8125"
        ),
        false => println!(
            "\nNext: put the flux command on PATH and run scripts/demo again, or run scripts/test."
        ),
    }
    code
}

/// Prints the last value of each gauge and the expected value. The exit code is 1 if they
/// differ or a gauge was negative.
fn compare(seen: &Seen, truth: &Counts, source: &str) -> ExitCode {
    println!("\n{:<10} {:>8} {:>8}   (from {source})", "state", "gauge", "expected");
    for state in STATES {
        let gauge = seen.gauges.get(state).map_or("none".to_owned(), i64::to_string);
        let mark = if seen.gauges.get(state) == truth.get(state) { "" } else { "  <- differs" };
        println!("{state:<10} {gauge:>8} {:>8}{mark}", truth[state]);
    }
    let negative = seen.negative();
    if seen.gauges == *truth && negative.is_empty() {
        println!("\nEqual, and no gauge was negative. {} datagrams.", seen.datagrams);
        return ExitCode::SUCCESS;
    }
    println!("\nNOT EQUAL. Gauges that were negative: {negative:?}");
    ExitCode::FAILURE
}

/// Expected values, their source, and the host that ran the plugin.
type Outcome = (Counts, &'static str, Box<dyn Any + Send>);

/// Runs jobs of several kinds in a broker. Returns `None` if `stop` is set.
fn in_a_broker(endpoint: String, progress: &AtomicU64, stop: &AtomicUsize) -> Option<Outcome> {
    let broker = Setup::new(endpoint).start();
    broker.load(artifact::plugin(), &[]).expect("the plugin loads");
    let first = broker.submit(&["--cc=1-40", "--setattr=exec.test.run_duration=1s"]);
    broker.submit(&["--cc=1-30", &format!("--dependency=afterany:{}", first[39]), "-n2"]);
    for (jobs, cores, seconds) in [(200, 4, "500ms"), (100, 8, "1s"), (30, 16, "200ms")] {
        broker.submit(&[
            &format!("--cc=1-{jobs}"),
            &format!("-n{cores}"),
            &format!("--setattr=exec.test.run_duration={seconds}"),
        ]);
    }
    while stop.load(Ordering::Relaxed) == 0 {
        let stats = broker.stats_json();
        let counts = counts_of_job_stats(&stats);
        progress.store(counts["INACTIVE"] as u64 * 100 / JOBS, Ordering::Relaxed);
        if counts["INACTIVE"] as u64 == JOBS {
            return Some((counts, "flux job stats", Box::new(broker)));
        }
        thread::sleep(Duration::from_millis(300));
    }
    None
}

/// Replays the recorded run. Returns `None` if `stop` is set.
fn in_the_fake_job_manager(
    endpoint: &str,
    progress: &AtomicU64,
    stop: &AtomicUsize,
) -> Option<Outcome> {
    let mut host = FakeJobManager::start(Some(endpoint));
    host.load(artifact::plugin(), json!({})).expect("the plugin loads");
    host.advance(0.1);
    let callbacks = trace::callbacks();
    let (first, last) = (callbacks[0].time, callbacks[callbacks.len() - 1].time);
    let pace = REPLAY.as_secs_f64() / (last - first);
    let start = Instant::now();
    for (number, recorded) in callbacks.iter().enumerate() {
        let due = Duration::from_secs_f64((recorded.time - first) * pace);
        thread::sleep(due.saturating_sub(start.elapsed()));
        if stop.load(Ordering::Relaxed) != 0 {
            return None;
        }
        host.call(&recorded.topic, &recorded.args);
        progress.store((number * 100 / callbacks.len()) as u64, Ordering::Relaxed);
    }
    host.counts();
    let source = "flux job stats when the run was recorded";
    Some((trace::truth("after-purge"), source, Box::new(host)))
}

/// A table that is updated in place, or without a terminal, a line every two seconds.
struct Screen {
    terminal: Option<Terminal<CrosstermBackend<Stdout>>>,
    /// Last values of each state, oldest first.
    history: Vec<VecDeque<u64>>,
    frames: u64,
}

impl Screen {
    /// Longest history in values, which is the width of the widest history line.
    const WIDTH: usize = 200;

    fn new() -> Screen {
        // Lines are printed if the terminal cannot report the position of its cursor. (ratatui's
        // own functions also leave the alternate screen, which moves the cursor.)
        let viewport = Viewport::Inline(STATES.len() as u16 + 3);
        let terminal = (stdout().is_terminal() && enable_raw_mode().is_ok()).then(|| {
            let backend = CrosstermBackend::new(stdout());
            Terminal::with_options(backend, TerminalOptions { viewport })
                .inspect_err(|_| disable_raw_mode().unwrap_or_default())
        });
        let terminal = terminal.and_then(Result::ok);
        Screen { terminal, history: vec![VecDeque::new(); STATES.len()], frames: 0 }
    }

    fn show(&mut self, seen: &Seen, percent: u64) {
        let percent = percent.min(100);
        for (state, history) in STATES.iter().zip(&mut self.history) {
            history.push_back(seen.gauges.get(*state).map_or(0, |&count| count.max(0) as u64));
            if history.len() > Self::WIDTH {
                history.pop_front();
            }
        }
        match &mut self.terminal {
            Some(terminal) => {
                let history = &self.history;
                let _ = terminal.draw(|frame| draw(frame, seen, history, percent));
            }
            None if self.frames % 20 == 0 || percent == 100 => {
                let gauges = STATES.map(|state| {
                    format!("{state} {}", seen.gauges.get(state).copied().unwrap_or(0))
                });
                println!("{percent:>3} %  {}", gauges.join("  "));
            }
            None => (),
        }
        self.frames += 1;
    }

    /// Waits for the next frame. Returns true if Ctrl-C or q was pressed.
    fn interrupted(&self) -> bool {
        if self.terminal.is_none() {
            thread::sleep(FRAME);
            return false;
        }
        let Ok(Event::Key(key)) = event::poll(FRAME).and_then(|pressed| match pressed {
            true => event::read(),
            false => Ok(Event::FocusGained),
        }) else {
            return false;
        };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        key.code == KeyCode::Char('q') || (control && key.code == KeyCode::Char('c'))
    }

    /// Leaves the table on the screen, with the cursor below it.
    fn end(&mut self) {
        if let Some(mut terminal) = self.terminal.take() {
            let last_row = terminal.get_frame().area().bottom().saturating_sub(1);
            let _ = terminal.set_cursor_position((0, last_row));
            let _ = terminal.show_cursor();
            let _ = disable_raw_mode();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end();
    }
}

fn draw(frame: &mut Frame, seen: &Seen, history: &[VecDeque<u64>], percent: u64) {
    let rows = Layout::vertical([Constraint::Length(1)].repeat(STATES.len() + 3));
    let rows = rows.split(frame.area());
    frame.render_widget(Line::from("state         jobs  lowest  history").bold(), rows[0]);
    for (number, state) in STATES.iter().enumerate() {
        let [text, line] = Layout::horizontal([Constraint::Length(28), Constraint::Fill(1)])
            .areas(rows[number + 1]);
        let gauge = seen.gauges.get(*state).copied().unwrap_or(0);
        let lowest = seen.lowest.get(*state).copied().unwrap_or(0);
        frame.render_widget(Line::from(format!("{state:<10} {gauge:>7} {lowest:>7}")), text);
        let shown = history[number].len().saturating_sub(line.width as usize);
        let values: Vec<u64> = history[number].iter().skip(shown).copied().collect();
        frame.render_widget(
            Sparkline::default().data(&values).style(Style::default().fg(Color::Cyan)),
            line,
        );
    }
    let progress = Gauge::default()
        .percent(percent as u16)
        .gauge_style(Style::default().fg(Color::Green))
        .label(format!("{percent} %   {} datagrams", seen.datagrams));
    frame.render_widget(progress, rows[STATES.len() + 1]);
}
