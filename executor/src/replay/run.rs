//! One replay over one transport: set up, verify one round, time some rounds, check the device's memory.

use super::error::ReplayError;
use super::link::{Link, Road, Traffic};
use super::measure::{Times, TimesSummary, clock_ns};
use super::order::Turns;
use super::pace::Pace;
use super::player::{Manner, Player, tear_down_plan};
use super::probe::{Question, combined};
use super::scene::Scene;
use crate::recording::{Payloads, Plan, Step};
use ringbar_vocabulary::{MemoryDigest, MemoryDigestReply, StreamId};
use std::time::{Duration, Instant};

/// How many rounds of what.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Rounds whose whole time is taken.
    pub timed: u64,
    /// Rounds after them in which every step is timed. With 0 the steps are timed in the rounds above: for transports
    /// beside whose calls a look at the clock is nothing.
    pub stepwise: u64,
}

impl Rounds {
    /// Rounds in all, the verified one included.
    pub fn total(self) -> u64 {
        1 + self.timed + self.stepwise
    }
}

/// What a replay of a plan needs, whatever the transport.
pub struct Material<'p> {
    /// The steps.
    pub plan: &'p Plan,
    /// Their bytes.
    pub payloads: &'p Payloads,
    /// The recorded pace, if it is to be kept.
    pub pace: Option<&'p Pace>,
}

/// What came out of a replay.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub rounds: Rounds,
    /// Time of the timed rounds.
    pub elapsed: Duration,
    pub times: TimesSummary,
    /// What crossed in the timed rounds.
    pub traffic: Traffic,
    /// Processor time of the worker in the timed rounds, if there is a worker and it can say.
    pub worker_time: Option<Duration>,
    /// Digest of the verified round: commands, what came back, device memory. `None` if the worker cannot digest.
    pub digest: Option<u64>,
    /// Device memory after all rounds.
    pub memory: MemoryDigestReply,
}

/// Replays over `road`. `progress` is told of each round that is over.
pub fn replay<R: Road>(
    road: &R,
    material: &Material<'_>,
    rounds: Rounds,
    progress: &mut dyn FnMut(),
) -> Result<Outcome, ReplayError> {
    let mut first = road.link()?;
    let scene = Scene::set_up(material.plan, material.payloads, &mut first)?;
    let mut stage = Stage::new(road, &scene, first, material)?;
    let digest = stage.verify()?;
    progress();
    let mut sums = Sums::default();
    for _ in 0..rounds.timed {
        let before = stage.counts(road)?;
        sums.elapsed += stage.round(rounds.stepwise == 0)?;
        let after = stage.counts(road)?;
        sums.traffic += after.0 - before.0;
        sums.worker_ns = after.1.zip(before.1).map(|(a, b)| sums.worker_ns.unwrap_or(0) + (a - b));
        progress();
    }
    for _ in 0..rounds.stepwise {
        stage.round(true)?;
        progress();
    }
    let memory = stage.memory()?;
    stage.tear_down()?;
    Ok(Outcome {
        rounds,
        elapsed: sums.elapsed,
        times: stage.times(),
        traffic: sums.traffic,
        worker_time: sums.worker_ns.map(Duration::from_nanos),
        digest,
        memory,
    })
}

/// Device memory after each of those numbers of rounds (ascending), replayed without any timing.
pub fn memory_after<R: Road>(
    road: &R,
    material: &Material<'_>,
    rounds: &[u64],
    progress: &mut dyn FnMut(),
) -> Result<Vec<MemoryDigestReply>, ReplayError> {
    let unpaced = Material { pace: None, ..*material };
    let mut first = road.link()?;
    let scene = Scene::set_up(unpaced.plan, unpaced.payloads, &mut first)?;
    let mut stage = Stage::new(road, &scene, first, &unpaced)?;
    let (mut done, mut memories) = (0, Vec::new());
    for &wanted in rounds {
        while done < wanted {
            stage.round(false)?;
            done += 1;
            progress();
        }
        memories.push(stage.memory()?);
    }
    Ok(memories)
}

#[derive(Default)]
struct Sums {
    elapsed: Duration,
    traffic: Traffic,
    worker_ns: Option<u64>,
}

/// All threads of a replay, between rounds.
struct Stage<'s, L> {
    players: Vec<Player<'s, L>>,
    turns: Turns,
    pace: Option<&'s Pace>,
    steps: usize,
    /// The last round left things behind.
    dirty: bool,
    has_worker: bool,
}

impl<'s, L: Link> Stage<'s, L> {
    fn new<R: Road<Link = L>>(
        road: &R,
        scene: &'s Scene<'s>,
        first: L,
        material: &Material<'s>,
    ) -> Result<Self, ReplayError> {
        let mut players = vec![Player::new(scene, first, 0)?];
        for thread in 1..scene.plan.thread_count() {
            players.push(Player::new(scene, road.link()?, thread as u16)?);
        }
        Ok(Self {
            players,
            turns: Turns::new(scene.plan.steps()),
            pace: material.pace,
            steps: scene.plan.steps().len(),
            dirty: false,
            has_worker: road.has_worker(),
        })
    }

    /// The verified round: never timed, never paced.
    fn verify(&mut self) -> Result<Option<u64>, ReplayError> {
        let link = &mut self.players[0].link;
        let probed = Question::answer(&link.call(&Question::Begin.query())?).is_some();
        self.players.iter_mut().for_each(Player::begin_digest);
        let pace = self.pace.take();
        self.round(false)?;
        self.pace = pace;
        let returned: Vec<u64> = self.players.iter_mut().map(Player::end_digest).collect();
        if !probed {
            return Ok(None);
        }
        let commands = self.players[0].link.call(&Question::End.query())?;
        let memory = self.memory()?;
        Ok(Question::answer(&commands).map(|commands| combined(commands, &returned, &memory)))
    }

    /// Plays all steps once and waits until the device is done; says how long that took.
    fn round(&mut self, timed: bool) -> Result<Duration, ReplayError> {
        self.tear_down()?;
        self.dirty = true;
        let elapsed = match self.players.len() {
            1 => self.play_alone(timed)?,
            _ => self.play_together(timed)?,
        };
        Ok(elapsed)
    }

    fn play_alone(&mut self, timed: bool) -> Result<Duration, ReplayError> {
        let manner = Manner { start: Instant::now(), pace: self.pace, timed };
        let player = &mut self.players[0];
        player.play(0..self.steps, manner)?;
        player.link.synchronise(StreamId::DEFAULT)?;
        Ok(manner.start.elapsed())
    }

    /// The clock starts when all threads are there and the first has its turn.
    fn play_together(&mut self, timed: bool) -> Result<Duration, ReplayError> {
        let (turns, pace) = (&self.turns, self.pace);
        turns.close();
        let all_there = std::sync::Barrier::new(self.players.len() + 1);
        let there = &all_there;
        let mut start = Instant::now();
        let results: Vec<Result<(), ReplayError>> = std::thread::scope(|scope| {
            let threads = (0..).zip(&mut self.players).map(|(thread, player)| {
                scope.spawn(move || {
                    there.wait();
                    let manner = Manner { start: Instant::now(), pace, timed };
                    turns.play(thread, |steps| player.play(steps, manner))
                })
            });
            let threads: Vec<_> = threads.collect();
            there.wait();
            start = Instant::now();
            turns.begin();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|result| result.unwrap_or(Err(ReplayError::OtherThread))).collect()
        });
        first_cause(results)?;
        self.players[0].link.synchronise(StreamId::DEFAULT)?;
        Ok(start.elapsed())
    }

    /// What crossed so far, and the worker's processor time.
    fn counts<R: Road>(&mut self, road: &R) -> Result<(Traffic, Option<u64>), ReplayError> {
        let mut time = None;
        if self.has_worker {
            let reply = self.players[0].link.call(&Question::ProcessorTime.query())?;
            time = Question::answer(&reply).map(|[ns, _]| ns);
        }
        Ok((road.traffic(), time))
    }

    fn memory(&mut self) -> Result<MemoryDigestReply, ReplayError> {
        self.players[0].link.call(&MemoryDigest {})
    }

    fn tear_down(&mut self) -> Result<(), ReplayError> {
        if std::mem::take(&mut self.dirty) {
            tear_down_plan(&mut self.players)?;
        }
        Ok(())
    }

    fn times(&self) -> TimesSummary {
        let mut all = Times::new();
        self.players.iter().for_each(|player| all.add(&player.times));
        all.summary(clock_ns())
    }
}

/// The error that made the others fail, if one did.
fn first_cause(results: Vec<Result<(), ReplayError>>) -> Result<(), ReplayError> {
    let mut other = Ok(());
    for result in results {
        match result {
            Ok(()) => {}
            Err(ReplayError::OtherThread) => other = Err(ReplayError::OtherThread),
            Err(cause) => return Err(cause),
        }
    }
    other
}

/// Bytes that the steps of a plan move in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PlanBytes {
    /// In commands, parameters and arguments alone.
    pub inline: u64,
    /// Host to device.
    pub h2d: u64,
    /// Device to host.
    pub d2h: u64,
}

impl PlanBytes {
    /// The sums over all steps.
    pub fn of(plan: &Plan) -> Self {
        plan.steps().iter().map(|planned| planned.step).fold(Self::default(), Self::plus)
    }

    fn plus(self, step: Step) -> Self {
        Self {
            inline: self.inline + step.inline_bytes() as u64,
            h2d: self.h2d + step.h2d_bytes() as u64,
            d2h: self.d2h + step.d2h_bytes() as u64,
        }
    }

    /// All of them.
    pub fn total(self) -> u64 {
        self.inline + self.h2d + self.d2h
    }
}
