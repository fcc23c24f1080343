//! The steps and their probabilities, from one seed.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{json, Value};

use crate::support::all_collectors;
use crate::support::jobs::TOPICS;

pub const QUEUES: [&str; 3] = ["batch", "debug", "long"];
/// The number of brokers of the instance.
pub const BROKERS: usize = 3;

/// One step. A job is given by the number of jobs that were submitted after it.
#[derive(Clone, Debug)]
pub enum Step {
    Submit(Submission),
    Cancel(usize),
    /// All jobs in these states, with the names of flux cancel.
    CancelAll(&'static str),
    Raise(usize, u8),
    Urgency(usize, u8),
    /// To another queue.
    Move(usize, &'static str),
    /// Purges inactive jobs; keeps so many.
    Purge(u8),
    /// flux queue start, stop, enable or disable.
    Queue(&'static str, &'static str),
    /// `flux config reload`.
    Configure(Options),
    /// The plugin is removed and loaded again.
    LoadAgain,
    /// Reloads the job manager, with the scheduler and the other modules that use it.
    ReloadModules,
    ReloadScheduler,
    /// Loads another plugin with this conf, after ours or before it.
    Misbehave(String, Place),
    Behave,
    CloseServer,
    OpenServer,
    /// The calm server moves to another address, and the configuration follows.
    MoveServer,
    UnixServer(UnixServerStep),
    /// For so many milliseconds.
    StopBroker(u64),
    Drain(usize),
    Undrain(usize),
    Kill,
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Before,
    Behind,
}

/// What happens to the server at a Unix path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixServerStep {
    /// It does not read.
    Stop,
    Continue,
    /// It ends, and another one has the path.
    Restart,
    /// Another one takes over the path, while it continues.
    TakeOver,
}

#[derive(Clone, Debug)]
pub struct Submission {
    pub kind: Kind,
    pub queue: &'static str,
    pub bank: Option<&'static str>,
    pub cores: u8,
    pub jobs: u8,
}

#[derive(Clone, Debug)]
pub enum Kind {
    /// Ends at once.
    Short,
    Endless,
    Held,
    /// With this urgency.
    Urgent(u8),
    Failing,
    /// Reaches its time limit.
    Late,
    InAnHour,
    /// With a dependency of this scheme on another job.
    After(&'static str, usize),
    Exclusive,
}

/// The configuration of the plugin without its endpoints. Each one has resyncs and reconcile
/// passes, which correct the effects of losses.
#[derive(Clone, Debug)]
pub struct Options {
    pub collectors: Vec<&'static str>,
    period: &'static str,
    resync: u8,
    verify: u8,
    values: bool,
}

impl Options {
    /// The first one of a run.
    pub fn first() -> Options {
        Options { collectors: all_collectors(), period: "0", resync: 1, verify: 1, values: false }
    }

    pub fn table(&self, endpoints: &[String]) -> Value {
        let send = if self.values { "values" } else { "increments" };
        json!({"state-counts": {
            "endpoint": endpoints, "metrics": self.collectors, "period": self.period,
            "resync": self.resync, "verify": self.verify, "send": send, "lookup": 5,
        }})
    }
}

fn options() -> impl Strategy<Value = Options> {
    let collectors = prop_oneof![
        1 => Just(all_collectors()),
        1 => prop::sample::subsequence(all_collectors(), 1..=all_collectors().len()),
    ];
    let period = prop::sample::select(vec!["0", "0", "50ms", "500ms", "1s"]);
    (collectors, period, 1u8..=2, 1u8..=2, any::<bool>()).prop_map(
        |(collectors, period, resync, verify, values)| Options {
            collectors,
            period,
            resync,
            verify,
            values,
        },
    )
}

fn queue() -> impl Strategy<Value = &'static str> {
    prop::sample::select(QUEUES.to_vec())
}

fn submission() -> impl Strategy<Value = Submission> {
    let bank = prop::option::of(prop::sample::select(vec!["phys", "chem", "bio-1"]));
    let kind_and_jobs = prop_oneof![
        8 => (Just(Kind::Short), 1u8..40),
        2 => (Just(Kind::Short), 40u8..250),
        4 => (Just(Kind::Endless), 1u8..5),
        3 => (Just(Kind::Held), 1u8..5),
        2 => ((0u8..32).prop_map(Kind::Urgent), 1u8..5),
        1 => (Just(Kind::Failing), 1u8..3),
        2 => (Just(Kind::Late), 1u8..4),
        2 => (Just(Kind::InAnHour), 1u8..4),
        3 => (after(), 1u8..4),
        1 => (Just(Kind::Exclusive), 1u8..3),
    ];
    (kind_and_jobs, queue(), bank, 1u8..40).prop_map(|((kind, jobs), queue, bank, cores)| {
        Submission { kind, queue, bank, cores, jobs }
    })
}

fn after() -> impl Strategy<Value = Kind> {
    let schemes = vec!["after", "afterany", "afterok", "afternotok"];
    (prop::sample::select(schemes), job()).prop_map(|(scheme, job)| Kind::After(scheme, job))
}

fn job() -> impl Strategy<Value = usize> {
    0usize..20
}

fn misbehavior() -> impl Strategy<Value = String> {
    let mut kinds: Vec<_> = TOPICS.iter().map(|topic| format!("fail={topic}")).collect();
    kinds.extend(["fail=job.create", "fail=job.validate", "fail=job.event.*"].map(str::to_owned));
    kinds.push("wait=job.state.priority".to_owned());
    if cfg!(flux_update) {
        kinds.push("update=job.create".to_owned());
    }
    let lose = prop::sample::select(vec![5, 20, 50]).prop_map(|percent| format!("lose={percent}"));
    prop_oneof![2 => prop::sample::select(kinds), 1 => lose]
}

fn step() -> impl Strategy<Value = Step> {
    let place = prop::sample::select(vec![Place::Before, Place::Before, Place::Behind]);
    let states = vec!["RUN", "SCHED", "PENDING", "DEPEND,RUN"];
    let queue_command = vec!["start", "start", "stop", "enable", "enable", "disable"];
    let rank = 0..BROKERS;
    use UnixServerStep::{Continue, Restart, Stop, TakeOver};
    let disturbance = prop::sample::select(vec![Stop, Continue, Restart, TakeOver]);
    let jobs = prop_oneof![
        30 => submission().prop_map(Step::Submit),
        6 => job().prop_map(Step::Cancel),
        5 => prop::sample::select(states).prop_map(Step::CancelAll),
        4 => (job(), 0u8..8).prop_map(|(job, severity)| Step::Raise(job, severity)),
        4 => (job(), 0u8..32).prop_map(|(job, urgency)| Step::Urgency(job, urgency)),
        3 => (job(), queue()).prop_map(|(job, queue)| Step::Move(job, queue)),
        6 => (0u8..100).prop_map(Step::Purge),
    ];
    let others = prop_oneof![
        8 => (prop::sample::select(queue_command), queue()).prop_map(|(it, on)| Step::Queue(it, on)),
        6 => options().prop_map(Step::Configure),
        2 => Just(Step::LoadAgain),
        4 => Just(Step::ReloadModules),
        1 => Just(Step::ReloadScheduler),
        7 => (misbehavior(), place).prop_map(|(conf, place)| Step::Misbehave(conf, place)),
        2 => Just(Step::Behave),
        2 => Just(Step::CloseServer),
        2 => Just(Step::OpenServer),
        2 => Just(Step::MoveServer),
        4 => disturbance.prop_map(Step::UnixServer),
        3 => (20u64..700).prop_map(Step::StopBroker),
        2 => rank.clone().prop_map(Step::Drain),
        3 => rank.prop_map(Step::Undrain),
        3 => Just(Step::Kill),
        2 => Just(Step::Restart),
    ];
    prop_oneof![5 => jobs, 4 => others]
}

/// The rounds of a seed: the steps between two quiet times.
pub struct Rounds {
    runner: TestRunner,
    round: BoxedStrategy<Vec<Step>>,
}

impl Rounds {
    pub fn new(seed: u64) -> Rounds {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let runner = TestRunner::new_with_rng(Config::default(), random);
        Rounds { runner, round: prop::collection::vec(step(), 3..10).boxed() }
    }
}

impl Iterator for Rounds {
    type Item = Vec<Step>;

    fn next(&mut self) -> Option<Vec<Step>> {
        Some(self.round.new_tree(&mut self.runner).expect("nothing is filtered").current())
    }
}
