//! Random valid sequences of events of jobs, plugins and brokers: after each event, the gauges
//! equal a naive recount.

use std::collections::BTreeMap;

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{step, CLEANUP, DEPEND, INACTIVE, NEW, PRIORITY, RUN, SCHED};
use crate::support::receiver::Receiver;
use crate::support::{counts, Counts, STATES};
use proptest::prelude::*;
use serde_json::{json, Value};

/// One event. A number chooses among the jobs for which it is possible.
#[derive(Clone, Debug)]
enum Event {
    Submit,
    /// A job goes to one of the states that can follow.
    Step(usize, usize),
    /// A job goes through all its states, to the end.
    Finish(usize),
    Purge(usize),
    Load(Settings),
    Remove,
    Reload(Settings),
    /// The broker is restarted, with the plugin in its configuration.
    Restart(Settings, bool),
    /// The broker is killed and started again: no final values are sent.
    Kill(Settings),
    /// `flux config reload`.
    Configure(Settings),
    /// So many tenths of a second pass.
    Pass(u8),
    /// The requests for the number of inactive jobs.
    Requests(Requests),
}

#[derive(Clone, Copy, Debug)]
enum Requests {
    Answered,
    Held,
    Failing,
    /// The responses to held requests get the counts of this moment.
    Taken,
    Delivered,
}

#[derive(Clone, Debug, PartialEq)]
struct Settings {
    period: f64,
    resync: f64,
    values: bool,
    /// The servers that are endpoints.
    servers: [bool; 2],
}

impl Settings {
    fn table(&self, world: &World) -> Value {
        let send = if self.values { "values" } else { "increments" };
        let receivers = world.receivers.iter().zip(self.servers).filter(|(_, sent)| *sent);
        let endpoints: Vec<_> = receivers.map(|(receiver, _)| receiver.endpoint()).collect();
        let table = json!({
            "period": self.period, "resync": self.resync, "send": send, "endpoint": endpoints,
        });
        json!({"state-counts": table})
    }

    /// Returns `true` if no other instance uses the gauges, so that absolute values are sent.
    fn owner(&self) -> bool {
        self.resync > 0.0 || self.values
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    // Changes are pending at a resync that is within a period.
    let period = prop_oneof![Just(0.0), Just(1.0)];
    let resync = prop_oneof![Just(0.0), Just(2.5)];
    let servers =
        prop_oneof![3 => Just([true, false]), 1 => Just([false, true]), 1 => Just([true; 2])];
    (period, resync, any::<bool>(), servers)
        .prop_map(|(period, resync, values, servers)| Settings { period, resync, values, servers })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Submit),
        30 => (any::<usize>(), any::<usize>()).prop_map(|(job, way)| Event::Step(job, way)),
        5 => any::<usize>().prop_map(Event::Finish),
        4 => any::<usize>().prop_map(Event::Purge),
        2 => settings().prop_map(Event::Load),
        1 => Just(Event::Remove),
        2 => settings().prop_map(Event::Reload),
        1 => (settings(), any::<bool>()).prop_map(|(settings, twice)| Event::Restart(settings, twice)),
        1 => settings().prop_map(Event::Kill),
        3 => settings().prop_map(Event::Configure),
        6 => prop_oneof![1u8..40, 100u8..120].prop_map(Event::Pass),
        4 => prop_oneof![
            3 => Just(Requests::Answered),
            2 => Just(Requests::Held),
            1 => Just(Requests::Failing),
            3 => Just(Requests::Taken),
            3 => Just(Requests::Delivered),
        ]
        .prop_map(Event::Requests),
    ]
}

/// The states that can follow: the next one, CLEANUP for a job that is canceled, and PRIORITY
/// after SCHED.
fn ways(state: i64) -> &'static [i64] {
    match state {
        NEW => &[DEPEND, CLEANUP],
        DEPEND => &[PRIORITY, CLEANUP],
        PRIORITY => &[SCHED, CLEANUP],
        SCHED => &[RUN, PRIORITY, CLEANUP],
        RUN => &[CLEANUP],
        CLEANUP => &[INACTIVE],
        _ => &[],
    }
}

/// A host, its jobs, and the state of the plugin.
struct World {
    host: FakeJobManager,
    receivers: [Receiver; 2],
    /// The state of each job.
    jobs: BTreeMap<i64, i64>,
    submitted: i64,
    loaded: Option<Settings>,
    /// `true` if there was an iteration of the reactor loop since the load.
    started: bool,
    /// `true` if INACTIVE must have been sent: there was time for a response.
    settled: bool,
    answering: bool,
    /// `true` if there are changes that the end of the period has to send.
    in_period: bool,
}

impl World {
    fn new() -> World {
        World {
            host: FakeJobManager::start(None),
            receivers: [Receiver::start(), Receiver::start()],
            jobs: BTreeMap::new(),
            submitted: 0,
            loaded: None,
            started: false,
            settled: false,
            answering: true,
            in_period: false,
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Submit => {
                self.submitted += 1;
                self.jobs.insert(self.submitted, NEW);
                for topic in ["job.create", "job.validate", "job.new"] {
                    self.host.call(topic, &json!({"id": self.submitted, "state": NEW}));
                }
                self.in_period = true;
            }
            Event::Step(job, way) => {
                if let Some((id, state)) = self.choose(*job, |state| state != INACTIVE) {
                    let ways = ways(state);
                    self.step(id, ways[way % ways.len()]);
                }
            }
            Event::Finish(job) => {
                if let Some((id, mut state)) = self.choose(*job, |state| state != INACTIVE) {
                    while state != INACTIVE {
                        state = ways(state)[0];
                        self.step(id, state);
                    }
                }
            }
            Event::Purge(job) => {
                if let Some((id, _)) = self.choose(*job, |state| state == INACTIVE) {
                    self.jobs.remove(&id);
                    self.host.call("job.inactive-remove", &json!({"id": id, "state": INACTIVE}));
                    self.in_period = true;
                }
            }
            Event::Load(settings) => {
                if self.loaded.is_none() {
                    self.load(settings, "live");
                } else {
                    let refused = self.host.load(plugin(), json!({}));
                    assert_eq!(refused, Err("already loaded".into()));
                }
            }
            Event::Remove => self.remove(),
            Event::Reload(settings) => {
                self.remove();
                self.load(settings, "live");
            }
            Event::Restart(settings, twice) => {
                self.remove();
                self.load(settings, if *twice { "restart-doubled" } else { "restart" });
                for (id, _) in self.jobs.clone().into_iter().filter(|&(_, state)| state == SCHED) {
                    self.step(id, PRIORITY);
                    self.step(id, SCHED);
                }
            }
            Event::Kill(settings) => self.kill(settings),
            Event::Configure(settings) => self.configure(settings),
            Event::Pass(tenths) => {
                self.host.advance(f64::from(*tenths) / 10.0);
                self.started = self.loaded.is_some();
                // The plugin sends a request at the start and every 0.1 s; 10 s after an
                // error.
                self.settled |= self.started && self.answering && *tenths > 100;
                self.in_period &= *tenths < 10;
            }
            Event::Requests(Requests::Answered) => self.requests("answer"),
            Event::Requests(Requests::Held) => self.requests("hold"),
            Event::Requests(Requests::Failing) => self.requests("fail"),
            Event::Requests(Requests::Taken) => self.host.rpc_take(),
            Event::Requests(Requests::Delivered) => self.host.rpc_deliver(),
        }
    }

    fn requests(&mut self, mode: &str) {
        self.host.rpc_mode(mode);
        self.answering = mode == "answer";
        if self.answering {
            self.host.rpc_take();
            self.host.rpc_deliver();
        }
    }

    /// A job in one of the wanted states.
    fn choose(&self, number: usize, wanted: impl Fn(i64) -> bool) -> Option<(i64, i64)> {
        let jobs: Vec<_> = self.jobs.iter().filter(|(_, &state)| wanted(state)).collect();
        let (&id, &state) = *jobs.get(number.checked_rem(jobs.len())?)?;
        Some((id, state))
    }

    fn step(&mut self, id: i64, state: i64) {
        let previous = self.jobs.insert(id, state).expect("the job is there");
        step(&mut self.host, id, previous, state);
        self.in_period = true;
    }

    fn load(&mut self, settings: &Settings, announce: &str) {
        for receiver in &mut self.receivers {
            receiver.forget();
        }
        self.load_where_servers_remember(settings, announce);
    }

    fn load_where_servers_remember(&mut self, settings: &Settings, announce: &str) {
        let table = settings.table(self);
        self.host.config(&table);
        self.host.load_as(plugin(), json!({}), announce).unwrap();
        self.host.counts();
        for receiver in &mut self.receivers {
            assert_eq!(receiver.seen().datagrams, 0, "nothing is sent at the load itself");
        }
        self.loaded = Some(settings.clone());
        self.started = false;
        self.settled = false;
        self.in_period = true;
    }

    fn remove(&mut self) {
        let Some(settings) = self.loaded.take() else { return };
        self.host.remove(NAME).unwrap();
        for number in 0..2 {
            self.check_final_values(number, &settings);
        }
    }

    fn configure(&mut self, settings: &Settings) {
        let table = settings.table(self);
        self.host.reload(&table).unwrap();
        let Some(old) = self.loaded.clone() else { return };
        self.loaded = Some(settings.clone());
        for number in 0..2 {
            // Increments cannot correct values that a server keeps.
            if !settings.servers[number] || !self.started && !settings.owner() {
                self.check_final_values(number, &old);
            }
        }
        if *settings == old {
            return; // Nothing happened.
        }
        // Pending changes are sent when period or endpoints change, and all values when the
        // gauges are no longer shared.
        self.in_period &= settings.period == old.period && settings.servers == old.servers;
        self.in_period |= settings.owner() && !old.owner();
    }

    fn kill(&mut self, settings: &Settings) {
        let host = std::mem::replace(&mut self.host, FakeJobManager::start(None));
        host.kill();
        for (&id, &state) in &self.jobs {
            self.host.call("job.new", &json!({"id": id, "state": state}));
        }
        let mode = if self.answering { "answer" } else { "hold" };
        self.host.rpc_mode(mode);
        for receiver in &mut self.receivers {
            // Increments cannot correct values that a server keeps. INACTIVE is corrected
            // after a response only.
            let mut remembered = receiver.seen().gauges;
            remembered.retain(|state, _| settings.owner() && state != "INACTIVE");
            receiver.begin(remembered);
        }
        self.load_where_servers_remember(settings, "restart");
        for (number, sent) in settings.servers.into_iter().enumerate() {
            if !sent {
                self.receivers[number].forget();
            }
        }
    }

    /// If the server was an endpoint, it has the final values; then it forgets them.
    fn check_final_values(&mut self, number: usize, settings: &Settings) {
        let truth = self.recount();
        let mut seen = self.receivers[number].seen();
        assert_eq!(seen.negative(), Counts::new());
        if !self.started {
            assert_eq!(seen.datagrams, 0, "no values were sent, and so no final ones");
            seen.gauges.clear();
        }
        for (state, count) in seen.gauges {
            let expected = match state.as_str() {
                // The number of inactive jobs keeps its value.
                "INACTIVE" if settings.owner() => truth["INACTIVE"],
                _ => 0,
            };
            assert_eq!(count, expected, "{state} after the final values");
        }
        self.receivers[number].forget();
    }

    /// The counts of this test, which equal those of the host.
    fn recount(&mut self) -> Counts {
        let mut recount = counts(&[]);
        for &state in self.jobs.values() {
            let name = STATES[state.trailing_zeros() as usize];
            *recount.get_mut(name).unwrap() += 1;
        }
        assert_eq!(self.host.counts(), recount);
        recount
    }

    fn check(&mut self) {
        for number in 0..2 {
            self.check_server(number);
        }
    }

    fn check_server(&mut self, number: usize) {
        let truth = self.recount();
        let seen = self.receivers[number].seen();
        assert_eq!(seen.negative(), Counts::new());
        let sent = |settings: &&Settings| self.started && settings.servers[number];
        let Some(settings) = self.loaded.as_ref().filter(sent) else {
            return assert_eq!(seen.datagrams, 0, "not sent to, or not started yet");
        };
        if settings.period > 0.0 && self.in_period {
            return; // What happened last has not been sent yet.
        }
        for (state, expected) in truth {
            let actual = match seen.gauges.get(&state) {
                Some(&actual) => actual,
                None if state == "INACTIVE" && !self.settled => continue,
                // A gauge that is 0 is not sent.
                None if !settings.owner() => 0,
                None => panic!("{state} was never sent, {settings:?}"),
            };
            assert_eq!(actual, expected, "{state}, {settings:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn after_every_event_the_gauges_equal_a_naive_recount(
        events in prop::collection::vec(event(), 1..150)
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            world.check();
        }
        // At the end, all requests have a response.
        world.happen(&Event::Requests(Requests::Answered));
        world.happen(&Event::Pass(110));
        world.check();
        world.host.end();
    }
}
