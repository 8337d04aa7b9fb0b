//! One thing to be measured: a transport in one variant, under one measure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cores::{Cores, on_two_cores};
use crate::drive::{self, Plan};
use crate::error::BenchError;
use crate::shared::SharedLines;
use crate::side::{Answer, Call, Park, Receive, ReceiveBatch, Transmit, TransmitBatch, Wake};
use crate::stats::Counts;

/// What is measured. The unit of every figure is nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Ns a message, one way, one publication a message.
    OneWay,
    /// Ns a message, one way, 32 messages a publication.
    Batch32,
    /// Ns from request to reply.
    RoundTrip,
    /// Ns from the wake to the return of the parked peer.
    Wake,
    /// Ns a line: see [`limits`](crate::limits).
    Stream32,
    /// Ns a round trip: see [`limits`](crate::limits).
    PingpongOneLine,
    /// Ns a round trip: see [`limits`](crate::limits).
    PingpongTwoLine,
}

impl Measure {
    /// Its heading in tables and plots.
    pub fn title(self) -> &'static str {
        match self {
            Self::OneWay => "one way, ns a message",
            Self::Batch32 => "batch of 32, ns a message",
            Self::RoundTrip => "round trip, ns",
            Self::Wake => "wake of a parked peer, ns",
            Self::Stream32 => "stream32, ns a line",
            Self::PingpongOneLine => "ping-pong on one line, ns a round trip",
            Self::PingpongTwoLine => "ping-pong on two lines, ns a round trip",
        }
    }

    /// Operations of a first, sizing sample: small enough for the slowest candidate.
    fn first_operations(self) -> u64 {
        match self {
            Self::Wake => 8,
            Self::RoundTrip => 512,
            _ => 8_192,
        }
    }
}

/// Where the two sides run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sides {
    /// In two threads of one process.
    Threads,
    /// In two processes.
    Processes,
    /// There is one side only.
    One,
}

impl fmt::Display for Sides {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::One => "one thread",
        })
    }
}

/// What a figure belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// What is measured.
    pub measure: Measure,
    /// The transport, by its package's name.
    pub peer: String,
    /// Which of its ways.
    pub variant: String,
    /// Where its two sides run.
    pub sides: Sides,
    /// Payload bytes written, read and checked in each message.
    pub payload_bytes: usize,
    /// What a reader must know to judge the figure; empty if nothing.
    pub note: String,
}

impl Identity {
    /// A transport between threads, with 64 bytes of payload.
    pub fn new(peer: &str, variant: &str, measure: Measure) -> Self {
        let (peer, variant) = (peer.into(), variant.into());
        let note = String::new();
        Self { measure, peer, variant, sides: Sides::Threads, payload_bytes: 64, note }
    }

    /// Which of its figures counts.
    pub fn counts(&self) -> Counts {
        let ours = matches!(self.peer.as_str(), "ringbar" | "limit");
        if ours { Counts::Median } else { Counts::FasterState }
    }

    /// The same with another payload.
    pub fn payload(self, payload_bytes: usize) -> Self {
        Self { payload_bytes, ..self }
    }

    /// The same elsewhere.
    pub fn sides(self, sides: Sides) -> Self {
        Self { sides, ..self }
    }

    /// The same with a note.
    pub fn note(self, note: &str) -> Self {
        Self { note: note.into(), ..self }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.peer, self.variant)
    }
}

type Run = Box<dyn FnMut(Plan, Cores) -> Result<f64, BenchError>>;

/// A transport in one variant under one measure, ready to run.
pub struct Candidate {
    /// What its figures belong to.
    pub identity: Identity,
    run: Run,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Candidate").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Candidate {
    /// A candidate whose `run` does the plan's operations on the cores and returns ns an operation. Each call sets up
    /// afresh; only the inside of the loops in [`drive`] is timed.
    pub fn new(
        identity: Identity,
        run: impl FnMut(Plan, Cores) -> Result<f64, BenchError> + 'static,
    ) -> Self {
        Self { identity, run: Box::new(run) }
    }

    /// One sample, in ns an operation.
    ///
    /// # Errors
    /// [`BenchError::Unavailable`] if it cannot run here; else what went wrong.
    pub fn sample(&mut self, plan: Plan, cores: Cores) -> Result<f64, BenchError> {
        (self.run)(plan, cores)
    }

    /// How many operations take about `sample_ns`, by a sample of doubling size until it is long enough to judge.
    ///
    /// # Errors
    /// As [`Candidate::sample`].
    pub fn plan_for(&mut self, sample_ns: f64, cores: Cores) -> Result<Plan, BenchError> {
        let mut operations = self.identity.measure.first_operations();
        loop {
            let each = self.sample(Plan::of(operations), cores)? + self.gap_ns();
            if each * operations as f64 >= sample_ns / 16.0 {
                return Ok(Plan::of((sample_ns / each) as u64));
            }
            operations *= 8;
        }
    }

    /// Nanoseconds an operation takes beside its figure.
    fn gap_ns(&self) -> f64 {
        if self.identity.measure == Measure::Wake { drive::PARK_GAP.as_nanos() as f64 } else { 0.0 }
    }

    /// One way between two threads.
    pub fn one_way<const W: usize, T: Transmit<W> + Send, R: Receive<W> + Send>(
        identity: Identity,
        open: impl Fn() -> Result<(T, R), BenchError> + 'static,
    ) -> Self {
        Self::new(identity, move |plan, cores| {
            let (mut to, mut from) = open()?;
            let left = move || drive::transmit(plan, &mut to);
            Ok(on_two_cores(cores, left, move || drive::receive(plan, &mut from))?.1)
        })
    }

    /// Batches of 32 between two threads.
    pub fn batch32<const W: usize, T: TransmitBatch<W> + Send, R: ReceiveBatch<W> + Send>(
        identity: Identity,
        open: impl Fn() -> Result<(T, R), BenchError> + 'static,
    ) -> Self {
        Self::new(identity, move |plan, cores| {
            let (mut to, mut from) = open()?;
            let left = move || drive::transmit_batches(plan, &mut to);
            Ok(on_two_cores(cores, left, move || drive::receive_batches(plan, &mut from))?.1)
        })
    }

    /// Round trips between two threads.
    pub fn round_trip<
        const Q: usize,
        const A: usize,
        L: Call<Q, A> + Send,
        R: Answer<Q, A> + Send,
    >(
        identity: Identity,
        open: impl Fn() -> Result<(L, R), BenchError> + 'static,
    ) -> Self {
        Self::new(identity, move |plan, cores| {
            let (mut to, mut from) = open()?;
            let left = move || drive::call(plan, &mut to);
            Ok(on_two_cores(cores, left, move || drive::answer(plan, &mut from))?.0)
        })
    }

    /// Wakes of a parked thread.
    pub fn wake<L: Wake + Send, R: Park + Send>(
        identity: Identity,
        open: impl Fn() -> Result<(L, R), BenchError> + 'static,
    ) -> Self {
        Self::new(identity, move |plan, cores| {
            let (mut waker, mut sleeper) = open()?;
            let lines = SharedLines::create(1)?;
            let parks = &lines[0].words[0];
            let left = move || drive::wake(plan, parks, &mut waker);
            let right = move || drive::park(plan, parks, &mut sleeper);
            let (rung_at, woken_at) = on_two_cores(cores, left, right)?;
            Ok(drive::wake_latency(plan, &rung_at, &woken_at))
        })
    }
}
