//! A run: every candidate once a rotation, in an order shuffled anew, with a canary for the placement of the cores.
//!
//! The host of a virtual machine moves its cores between near, sibling-like and far placements, and every figure with
//! them. So a short one-line ping-pong (the canary) stands before and after every sample; a sample counts only if both
//! lie within [`PLACEMENT_RATIO`] of the run's usual value. Dropped samples are counted, and a turn that lost some takes
//! up to as many again. The usual value is that of the placement seen most often: the median of the largest group of
//! canaries within [`PLACEMENT_RATIO`] of one another. (A quartile would follow a placement that lasted a quarter of the
//! run, and the median would follow the load of a busy machine, which spreads canaries widely.)

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::candidate::{Candidate, Identity};
use crate::cores::Cores;
use crate::drive::Plan;
use crate::error::BenchError;
use crate::limits::Limit;
use crate::stats::{Summary, densest, median};

/// How far from the run's usual value a canary may lie, either way, before the placement counts as changed.
pub const PLACEMENT_RATIO: f64 = 1.5;

/// Round trips of one canary: about 0.3 ms on near cores, shorter than what a busy machine leaves a thread at a time.
const CANARY: Plan = Plan { warm_up: 256, timed: 4_096 };

/// How to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Times that every candidate is measured.
    pub rotations: usize,
    /// Samples of a candidate in each rotation.
    pub samples: usize,
    /// About how long a sample takes, in milliseconds.
    pub sample_ms: f64,
    /// Seed of the shuffled orders.
    pub seed: u64,
    /// The cores of both sides.
    pub cores: Cores,
}

impl Settings {
    /// Five rotations of three samples of 0.1 s.
    pub fn full(cores: Cores) -> Self {
        Self { rotations: 5, samples: 3, sample_ms: 100.0, seed: 1, cores }
    }

    /// One rotation of one sample of 5 ms: shows that everything runs, its figures mean nothing.
    pub fn quick(cores: Cores) -> Self {
        Self { rotations: 1, samples: 1, sample_ms: 5.0, ..Self::full(cores) }
    }
}

/// What came of one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// It has figures.
    Measured(Summary),
    /// Every sample was dropped because the placement kept changing.
    AllDropped,
    /// It cannot run on this machine.
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It went wrong.
    Failed {
        /// How.
        reason: String,
    },
}

/// One row of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    #[serde(flatten)]
    pub identity: Identity,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Samples taken.
    pub samples: usize,
    /// Samples dropped because the placement changed around them.
    pub dropped: usize,
}

impl Row {
    /// The figure that counts, in ns.
    pub fn counted(&self) -> Option<f64> {
        match &self.outcome {
            Outcome::Measured(summary) => Some(summary.counted),
            _ => None,
        }
    }
}

/// The canary over a run, in ns a round trip on one line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// Its value in the placement seen most often.
    pub usual_ns: f64,
    /// The median.
    pub median_ns: f64,
    /// The smallest.
    pub min_ns: f64,
    /// The largest.
    pub max_ns: f64,
    /// The placement that the usual value speaks for.
    pub placement: Placement,
    /// Samples of all candidates.
    pub samples: usize,
    /// Dropped ones among them.
    pub dropped: usize,
}

/// How far apart the two cores are, judged by the usual canary. The bounds were seen on server machines of 2 cores:
/// about 51 ns near, 25 or less where both are threads of one core, 200 or more across sockets or clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Below 30 ns: like two threads of one core.
    SiblingLike,
    /// 30 to 120 ns: two cores that share a cache.
    Near,
    /// Above 120 ns.
    Far,
}

impl Placement {
    /// Judges a one-line round trip in ns.
    pub fn of(round_trip_ns: f64) -> Self {
        match round_trip_ns {
            ns if ns < 30.0 => Self::SiblingLike,
            ns if ns <= 120.0 => Self::Near,
            _ => Self::Far,
        }
    }
}

/// All figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// How it was run.
    pub settings: Settings,
    /// Seconds it took.
    pub elapsed_s: f64,
    /// What the canary said.
    pub canary: Canary,
    /// One row a candidate, by measure, then in the order given.
    pub rows: Vec<Row>,
}

struct Sample {
    rotation: usize,
    figure: f64,
    canaries: [f64; 2],
}

impl Sample {
    fn is_in_place(&self, usual: f64) -> bool {
        self.canaries
            .iter()
            .all(|canary| (usual / PLACEMENT_RATIO..=usual * PLACEMENT_RATIO).contains(canary))
    }
}

struct Entry {
    candidate: Candidate,
    plan: Option<Plan>,
    samples: Vec<Sample>,
    error: Option<BenchError>,
}

/// Runs all candidates; `progress` is told about every candidate before it runs, with the share of the run done.
///
/// # Errors
/// Only the canary's own: what goes wrong with a candidate is its outcome.
pub fn run(
    candidates: Vec<Candidate>,
    settings: &Settings,
    mut progress: impl FnMut(f64, &Identity),
) -> Result<Results, BenchError> {
    let start = Instant::now();
    let mut entries: Vec<Entry> = candidates.into_iter().map(Entry::new).collect();
    let mut canaries = Canaries { cores: settings.cores, values: Vec::new() };
    let turns = entries.len() * settings.rotations;
    for rotation in 0..settings.rotations {
        let order = shuffled(entries.len(), settings.seed.wrapping_add(rotation as u64));
        for (turn, index) in order.into_iter().enumerate() {
            let done = (rotation * entries.len() + turn) as f64 / turns as f64;
            progress(done, &entries[index].candidate.identity);
            entries[index].take_turn(rotation, settings, &mut canaries)?;
        }
    }
    Ok(results(entries, settings, &canaries, start.elapsed()))
}

impl Entry {
    fn new(candidate: Candidate) -> Self {
        Self { candidate, plan: None, samples: Vec::new(), error: None }
    }

    fn take_turn(
        &mut self,
        rotation: usize,
        settings: &Settings,
        canaries: &mut Canaries,
    ) -> Result<(), BenchError> {
        if self.error.is_some() {
            return Ok(());
        }
        let plan = match self.plan(settings) {
            Ok(plan) => plan,
            Err(error) => return self.fail(error),
        };
        let mut before = canaries.measure()?;
        let (mut good, mut taken) = (0, 0);
        while good < settings.samples && taken < 2 * settings.samples {
            let figure = match self.candidate.sample(plan, settings.cores) {
                Ok(figure) => figure,
                Err(error) => return self.fail(error),
            };
            let after = canaries.measure()?;
            let sample = Sample { rotation, figure, canaries: [before, after] };
            good += usize::from(sample.is_in_place(canaries.usual()));
            taken += 1;
            self.samples.push(sample);
            before = after;
        }
        Ok(())
    }

    fn plan(&mut self, settings: &Settings) -> Result<Plan, BenchError> {
        if let Some(plan) = self.plan {
            return Ok(plan);
        }
        let plan = self.candidate.plan_for(settings.sample_ms * 1e6, settings.cores)?;
        Ok(*self.plan.insert(plan))
    }

    fn fail(&mut self, error: BenchError) -> Result<(), BenchError> {
        self.error = Some(error);
        Ok(())
    }

    fn row(self, rotations: usize, usual: f64) -> Row {
        let mut kept = vec![Vec::new(); rotations];
        for sample in self.samples.iter().filter(|sample| sample.is_in_place(usual)) {
            kept[sample.rotation].push(sample.figure);
        }
        let dropped = self.samples.len() - kept.iter().map(Vec::len).sum::<usize>();
        let outcome = match self.error {
            Some(BenchError::Unavailable { reason, .. }) => Outcome::Unavailable { reason },
            Some(error) => Outcome::Failed { reason: error.to_string() },
            None => Summary::of(&kept, self.candidate.identity.counts())
                .map_or(Outcome::AllDropped, Outcome::Measured),
        };
        Row { identity: self.candidate.identity, outcome, samples: self.samples.len(), dropped }
    }
}

struct Canaries {
    cores: Cores,
    values: Vec<f64>,
}

impl Canaries {
    fn measure(&mut self) -> Result<f64, BenchError> {
        let value = Limit::PingpongOneLine.between_threads(CANARY, self.cores)?;
        self.values.push(value);
        Ok(value)
    }

    fn usual(&self) -> f64 {
        median(densest(self.values.clone(), PLACEMENT_RATIO))
    }
}

fn results(
    entries: Vec<Entry>,
    settings: &Settings,
    canaries: &Canaries,
    elapsed: Duration,
) -> Results {
    let (usual, canaries) = (canaries.usual(), &canaries.values);
    let mut rows: Vec<Row> =
        entries.into_iter().map(|entry| entry.row(settings.rotations, usual)).collect();
    rows.sort_by_key(|row| (row.identity.measure, row.identity.sides));
    let canary = Canary {
        usual_ns: usual,
        median_ns: median(canaries.clone()),
        min_ns: canaries.iter().copied().fold(f64::INFINITY, f64::min),
        max_ns: canaries.iter().copied().fold(0.0, f64::max),
        placement: Placement::of(usual),
        samples: rows.iter().map(|row| row.samples).sum(),
        dropped: rows.iter().map(|row| row.dropped).sum(),
    };
    Results { settings: settings.clone(), elapsed_s: elapsed.as_secs_f64(), canary, rows }
}

/// `0..count` in an order that the seed decides (Fisher-Yates over splitmix64).
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut state = seed;
    for last in (1..count).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = state;
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(last, ((random ^ (random >> 31)) % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Measure;

    fn candidate(
        name: &str,
        mut figures: impl FnMut() -> Result<f64, BenchError> + 'static,
    ) -> Candidate {
        Candidate::new(Identity::new(name, "", Measure::OneWay), move |_, _| figures())
    }

    fn settings() -> Settings {
        Settings { rotations: 3, samples: 2, ..Settings::quick(Cores::first_two().unwrap()) }
    }

    #[test]
    fn every_rotation_holds_every_candidate_once_in_a_new_order() {
        let mut seen = Vec::new();
        let candidates = ["a", "b", "c", "d", "e", "f"].map(|name| candidate(name, || Ok(1e6)));
        run(candidates.into(), &settings(), |_, identity| seen.push(identity.peer.clone()))
            .unwrap();
        let rotations: Vec<&[String]> = seen.chunks(6).collect();
        assert_eq!(rotations.len(), 3);
        for rotation in &rotations {
            let mut sorted = rotation.to_vec();
            sorted.sort();
            assert_eq!(sorted.concat(), "abcdef");
        }
        assert_ne!(rotations[0], rotations[1]);
    }

    #[test]
    fn a_candidate_that_cannot_run_stays_in_the_result_with_its_reason() {
        let absent = candidate("absent", || Err(BenchError::unavailable("absent", "not here")));
        let results = run(vec![absent], &settings(), |_, _| ()).unwrap();
        let expected = Outcome::Unavailable { reason: "not here".into() };
        assert_eq!(results.rows[0].outcome, expected);
    }

    #[test]
    fn a_candidate_that_corrupts_has_no_figure_even_after_good_samples() {
        let mut calls = 0;
        let corrupting = candidate("corrupting", move || {
            calls += 1;
            if calls < 4 {
                Ok(1e6)
            } else {
                Err(BenchError::Corrupt { messages: 1, difference: 1 })
            }
        });
        let results = run(vec![corrupting], &settings(), |_, _| ()).unwrap();
        assert!(matches!(results.rows[0].outcome, Outcome::Failed { .. }));
        assert_eq!(results.rows[0].counted(), None);
    }

    fn entry(samples: &[(usize, f64, [f64; 2])]) -> Entry {
        let samples = samples
            .iter()
            .map(|&(rotation, figure, canaries)| Sample { rotation, figure, canaries })
            .collect();
        Entry { samples, ..Entry::new(candidate("x", || Ok(1.0))) }
    }

    #[test]
    fn samples_beside_a_moved_canary_are_dropped_and_counted() {
        let row = entry(&[
            (0, 2.0, [50.0, 52.0]),
            (0, 9.0, [50.0, 80.0]),
            (1, 1.0, [30.0, 50.0]),
            (1, 2.2, [70.0, 50.0]),
        ])
        .row(2, 50.0);
        assert_eq!((row.samples, row.dropped), (4, 2));
        let Outcome::Measured(summary) = row.outcome else { panic!("expected figures") };
        assert_eq!(summary.rotations, [2.0, 2.2]);
    }

    #[test]
    fn a_candidate_whose_samples_were_all_dropped_says_so() {
        let row = entry(&[(0, 2.0, [500.0, 50.0])]).row(1, 50.0);
        assert_eq!((row.outcome, row.dropped), (Outcome::AllDropped, 1));
    }

    #[test]
    fn the_placement_follows_the_usual_canary() {
        assert_eq!(Placement::of(15.0), Placement::SiblingLike);
        assert_eq!(Placement::of(51.0), Placement::Near);
        assert_eq!(Placement::of(240.0), Placement::Far);
    }
}
