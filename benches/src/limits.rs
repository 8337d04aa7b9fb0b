//! This machine's own limits: what any ring in shared memory on these two cores can reach.
//!
//! - `stream32_ns`: one thread writes 32 lines of 64 bytes (all eight words) into a 1,024-line buffer, then stores a
//!   counter (release) on a line of its own; the other waits for the counter, reads all eight words of the 32 lines and
//!   stores its own counter on a third line once a block; no prefetch, `pause` between polls; ns a line.
//! - `pingpong_two_line_ns`: two atomics on two lines 128 bytes apart; each side stores its own and spins on the other's
//!   with `pause`; ns a round trip.
//! - `pingpong_one_line_ns`: the same with both atomics in one line.
//!
//! What a missed aim is bounded by, with the bytes and lines of the ring's own work but nothing of a ring:
//!
//! - `stream32 fetched ahead` (one way): the stream, but the writer asks for lines 24 ahead exclusively, the reader for the block
//!   after the next.
//! - `56 bytes and a tag, no ring` (one way and batches): a line of seven words, made and checked as every message's are, and then
//!   its lap; the reader waits for the lap of each line, asks for lines 64 ahead once the last of them is written, copies a line
//!   before it checks it, and says every 128 lines how far it is.
//! - `56 + 16 bytes, no ring` (round trip): a line of eight words there, the counter last, in the next of 1,024 lines each time; a
//!   line of three words back, always the same one.
//!
//! A wake's lies in [`eventfd`](crate::eventfd).

use std::hint::black_box;
use std::time::Instant;

use ringbar::sync::{AtomicU64, Ordering};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::candidate::{Candidate, Identity, Measure, Sides};
use crate::cores::{Cores, on_two_cores};
use crate::drive::{Plan, SEED};
use crate::error::BenchError;
use crate::payload::{Checker, Generator};
use crate::process::{Beside, Role, arguments};
use crate::shared::{Line, SharedLines, prefetch_read, prefetch_write};
use crate::spin::{Stalled, spin_until};

/// Lines in one block of the stream.
const BLOCK: u64 = 32;

/// Lines in the stream's buffer.
const BUFFER: u64 = 1_024;

// Each counter has its line, 128 bytes from the next, so that the adjacent-line prefetcher couples nothing.
const LEFT: usize = 0;
const RIGHT: usize = 2;
const FIRST: usize = 4;
const LINES: usize = FIRST + BUFFER as usize;

/// The variant of [`Limit::StreamAhead`].
pub const FETCHED_AHEAD: &str = "stream32 fetched ahead";
/// The variant of [`Limit::Tagged`].
pub const TAGGED: &str = "56 bytes and a tag, no ring";
/// The variant of [`Limit::Exchange`].
pub const EXCHANGE: &str = "56 + 16 bytes, no ring";

/// Lines ahead of the writer that are asked for.
const WRITE_AHEAD: u64 = 24;
/// Lines ahead of the reader that are asked for where each has a tag.
const READ_AHEAD: u64 = 64;
/// Lines after which that reader says how far it is.
const RELEASE: u64 = 128;

/// Which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// Streaming in blocks of 32 lines.
    Stream32,
    /// A round trip of two atomics in one line.
    PingpongOneLine,
    /// A round trip of two atomics on two lines.
    PingpongTwoLine,
    /// Streaming in blocks of 32 lines, with prefetches on both sides.
    StreamAhead,
    /// Lines that each say for themselves that they are written.
    Tagged,
    /// A round trip of a request and a reply of the ring's sizes.
    Exchange,
}

impl Limit {
    /// All limits.
    pub const ALL: [Self; 6] = [
        Self::Stream32,
        Self::PingpongOneLine,
        Self::PingpongTwoLine,
        Self::StreamAhead,
        Self::Tagged,
        Self::Exchange,
    ];

    /// The measure of this limit.
    pub fn measure(self) -> Measure {
        match self {
            Self::Stream32 => Measure::Stream32,
            Self::PingpongOneLine => Measure::PingpongOneLine,
            Self::PingpongTwoLine => Measure::PingpongTwoLine,
            Self::StreamAhead | Self::Tagged => Measure::OneWay,
            Self::Exchange => Measure::RoundTrip,
        }
    }

    fn payload(self) -> usize {
        if matches!(self, Self::Exchange | Self::Tagged) { 56 } else { 64 }
    }

    fn variant(self) -> &'static str {
        match self {
            Self::StreamAhead => FETCHED_AHEAD,
            Self::Tagged => TAGGED,
            Self::Exchange => EXCHANGE,
            _ => "this machine",
        }
    }

    /// The limit's ns an operation between two threads of this process.
    ///
    /// # Errors
    /// No memfd, no core, a stall.
    pub fn between_threads(self, plan: Plan, cores: Cores) -> Result<f64, BenchError> {
        let lines = SharedLines::create(LINES)?;
        let (left, right) =
            on_two_cores(cores, || self.left(plan, &lines), || self.right(plan, &lines))?;
        Ok(left.or(right).unwrap_or(f64::NAN))
    }

    /// The limit's ns an operation between this process and a second one.
    ///
    /// # Errors
    /// No memfd, no core, a stall, no second process.
    pub fn between_processes(self, plan: Plan, cores: Cores) -> Result<f64, BenchError> {
        let lines = SharedLines::create(LINES)?;
        let order = RightSide { limit: self, plan, path: lines.path() };
        let second = Beside { role: ROLE.name, arguments: order, stdin: None };
        let (left, right): (_, Option<f64>) = second.run(cores, || self.left(plan, &lines))?;
        Ok(left.or(right).unwrap_or(f64::NAN))
    }

    /// The side on the left core; the answer is `None` if the other side holds the clock.
    fn left(self, plan: Plan, lines: &[Line]) -> Result<Option<f64>, BenchError> {
        match self {
            Self::Stream32 => stream_write(plan, lines).map(|()| None),
            Self::StreamAhead => stream_write_ahead(plan, lines).map(|()| None),
            Self::Tagged => tagged_write(plan, lines).map(|()| None),
            Self::Exchange => exchange_ask(plan, lines).map(Some),
            _ => self.atomics(lines).serve(plan).map(Some),
        }
        .map_err(BenchError::from)
    }

    fn right(self, plan: Plan, lines: &[Line]) -> Result<Option<f64>, BenchError> {
        match self {
            Self::Tagged => return tagged_read(plan, lines).map(Some),
            Self::Stream32 => stream_read(plan, lines, read_blocks).map(Some),
            Self::StreamAhead => stream_read(plan, lines, read_blocks_ahead).map(Some),
            Self::Exchange => exchange_answer(plan, lines).map(|()| None),
            _ => self.atomics(lines).return_all(plan).map(|()| None),
        }
        .map_err(BenchError::from)
    }

    fn atomics(self, lines: &[Line]) -> PingPong<'_> {
        let far = if self == Self::PingpongOneLine {
            &lines[LEFT].words[4]
        } else {
            &lines[RIGHT].words[0]
        };
        PingPong { left: &lines[LEFT].words[0], right: far }
    }
}

#[derive(Serialize, Deserialize)]
struct RightSide {
    limit: Limit,
    plan: Plan,
    path: String,
}

/// The second process's part in the limits.
pub const ROLE: Role = Role { name: "limit", run: serve_limit };

fn serve_limit(value: Value) -> Result<Value, BenchError> {
    let RightSide { limit, plan, path } = arguments(ROLE.name, value)?;
    let figure = limit.right(plan, &SharedLines::open(&path, LINES)?)?;
    Ok(Value::from(figure))
}

struct PingPong<'a> {
    left: &'a AtomicU64,
    right: &'a AtomicU64,
}

impl PingPong<'_> {
    /// Serves and times: ns a round trip.
    fn serve(&self, plan: Plan) -> Result<f64, Stalled> {
        for round in 1..=plan.warm_up {
            self.round_trip(round)?;
        }
        let start = Instant::now();
        for round in plan.warm_up + 1..=plan.total() {
            self.round_trip(round)?;
        }
        Ok(start.elapsed().as_nanos() as f64 / plan.timed as f64)
    }

    #[inline(always)]
    fn round_trip(&self, round: u64) -> Result<(), Stalled> {
        self.left.store(round, Ordering::Release);
        wait_for(self.right, round)
    }

    fn return_all(&self, plan: Plan) -> Result<(), Stalled> {
        for round in 1..=plan.total() {
            wait_for(self.left, round)?;
            self.right.store(round, Ordering::Release);
        }
        Ok(())
    }
}

/// Spins until the counter has reached `count`.
#[inline(always)]
fn wait_for(counter: &AtomicU64, count: u64) -> Result<(), Stalled> {
    spin_until(|| (counter.load(Ordering::Acquire) >= count).then_some(()))
}

fn block_at(lines: &[Line], position: u64) -> &[Line] {
    let first = FIRST + (position % BUFFER) as usize;
    &lines[first..first + BLOCK as usize]
}

fn stream_write(plan: Plan, lines: &[Line]) -> Result<(), Stalled> {
    let (written, read) = (&lines[LEFT].words[0], &lines[RIGHT].words[0]);
    for position in (0..plan.total()).step_by(BLOCK as usize) {
        wait_for(read, (position + BLOCK).saturating_sub(BUFFER))?;
        for line in block_at(lines, position) {
            line.words.iter().for_each(|word| word.store(position, Ordering::Relaxed));
        }
        written.store(position + BLOCK, Ordering::Release);
    }
    Ok(())
}

fn stream_write_ahead(plan: Plan, lines: &[Line]) -> Result<(), Stalled> {
    let (written, read) = (&lines[LEFT].words[0], &lines[RIGHT].words[0]);
    let mut free = BUFFER;
    for position in (0..plan.total()).step_by(BLOCK as usize) {
        if position + BLOCK > free {
            wait_for(read, (position + BLOCK).saturating_sub(BUFFER))?;
            free = read.load(Ordering::Acquire) + BUFFER;
        }
        for (number, line) in (position..).zip(block_at(lines, position)) {
            if number + WRITE_AHEAD < free {
                prefetch_write(line_at(lines, number + WRITE_AHEAD));
            }
            line.words.iter().for_each(|word| word.store(position, Ordering::Relaxed));
        }
        written.store(position + BLOCK, Ordering::Release);
    }
    Ok(())
}

/// Reads and times: ns a line.
fn stream_read(
    plan: Plan,
    lines: &[Line],
    read: impl Fn(std::ops::Range<u64>, &[Line]) -> Result<(), Stalled>,
) -> Result<f64, Stalled> {
    read(0..plan.warm_up, lines)?;
    let start = Instant::now();
    read(plan.warm_up..plan.total(), lines)?;
    Ok(start.elapsed().as_nanos() as f64 / plan.timed as f64)
}

fn read_blocks(positions: std::ops::Range<u64>, lines: &[Line]) -> Result<(), Stalled> {
    let (written, read) = (&lines[LEFT].words[0], &lines[RIGHT].words[0]);
    let mut seen = 0;
    for position in positions.step_by(BLOCK as usize) {
        wait_for(written, position + BLOCK)?;
        for line in block_at(lines, position) {
            seen = line.words.iter().fold(seen, |seen, word| seen ^ word.load(Ordering::Relaxed));
        }
        read.store(position + BLOCK, Ordering::Release);
    }
    black_box(seen);
    Ok(())
}

fn read_blocks_ahead(positions: std::ops::Range<u64>, lines: &[Line]) -> Result<(), Stalled> {
    let (written, read) = (&lines[LEFT].words[0], &lines[RIGHT].words[0]);
    let (mut seen, mut known) = (0, 0);
    for position in positions.step_by(BLOCK as usize) {
        let next = position + BLOCK;
        if known < next + BLOCK {
            wait_for(written, next)?;
            known = written.load(Ordering::Acquire);
        }
        if known >= next + BLOCK {
            block_at(lines, next).iter().for_each(prefetch_read);
        }
        for line in block_at(lines, position) {
            seen = line.words.iter().fold(seen, |seen, word| seen ^ word.load(Ordering::Relaxed));
        }
        read.store(next, Ordering::Release);
    }
    black_box(seen);
    Ok(())
}

fn tagged_write(plan: Plan, lines: &[Line]) -> Result<(), Stalled> {
    let read = &lines[RIGHT].words[0];
    let (mut messages, mut free) = (Generator::new(SEED), BUFFER);
    for position in 0..plan.total() {
        if position >= free {
            wait_for(read, position + 1 - BUFFER)?;
            free = read.load(Ordering::Acquire) + BUFFER;
        }
        let message: [u64; 7] = messages.next_words();
        let line = &line_at(lines, position).words;
        line[1..].iter().zip(message).for_each(|(to, word)| to.store(word, Ordering::Relaxed));
        line[0].store(lap(position), Ordering::Release);
    }
    Ok(())
}

/// Reads, checks and times: ns a line.
fn tagged_read(plan: Plan, lines: &[Line]) -> Result<f64, BenchError> {
    let mut reader = TaggedReader { lines, checker: Checker::new(SEED), written: 0 };
    reader.read(0..plan.warm_up)?;
    let start = Instant::now();
    reader.read(plan.warm_up..plan.total())?;
    let elapsed = start.elapsed();
    reader.checker.finish()?;
    Ok(elapsed.as_nanos() as f64 / plan.timed as f64)
}

struct TaggedReader<'l> {
    lines: &'l [Line],
    checker: Checker,
    /// Lines before this one are known to be written.
    written: u64,
}

impl TaggedReader<'_> {
    fn read(&mut self, positions: std::ops::Range<u64>) -> Result<(), Stalled> {
        for position in positions {
            let line = &line_at(self.lines, position).words;
            wait_for(&line[0], lap(position))?;
            if position.is_multiple_of(READ_AHEAD) {
                let last = position + 2 * READ_AHEAD - 1;
                let tag = line_at(self.lines, last).words[0].load(Ordering::Relaxed);
                self.written = if tag == lap(last) { last + 1 } else { self.written };
            }
            if position + READ_AHEAD < self.written {
                prefetch_read(line_at(self.lines, position + READ_AHEAD));
            }
            // Into memory of its own first, as a reader must who does not trust the writer.
            let words: [u64; 7] = std::array::from_fn(|n| line[n + 1].load(Ordering::Relaxed));
            self.checker.take(black_box(&words));
            if (position + 1).is_multiple_of(RELEASE) {
                self.lines[RIGHT].words[0].store(position + 1, Ordering::Release);
            }
        }
        Ok(())
    }
}

/// The tag of a line in this limit: how often the buffer was filled.
fn lap(position: u64) -> u64 {
    position / BUFFER + 1
}

fn line_at(lines: &[Line], position: u64) -> &Line {
    &lines[FIRST + (position % BUFFER) as usize]
}

/// Asks and times: ns a round trip.
fn exchange_ask(plan: Plan, lines: &[Line]) -> Result<f64, Stalled> {
    ask_all(1..plan.warm_up + 1, lines)?;
    let start = Instant::now();
    ask_all(plan.warm_up + 1..plan.total() + 1, lines)?;
    Ok(start.elapsed().as_nanos() as f64 / plan.timed as f64)
}

#[inline(always)]
fn ask_all(rounds: std::ops::Range<u64>, lines: &[Line]) -> Result<(), Stalled> {
    let reply = &lines[RIGHT].words;
    let mut seen = 0;
    for round in rounds {
        let request = &line_at(lines, round).words;
        request[1..].iter().for_each(|word| word.store(round, Ordering::Relaxed));
        request[0].store(round, Ordering::Release);
        wait_for(&reply[0], round)?;
        seen ^= reply[1].load(Ordering::Relaxed) ^ reply[2].load(Ordering::Relaxed);
    }
    black_box(seen);
    Ok(())
}

fn exchange_answer(plan: Plan, lines: &[Line]) -> Result<(), Stalled> {
    let reply = &lines[RIGHT].words;
    let mut seen = 0;
    for round in 1..=plan.total() {
        let request = &line_at(lines, round).words;
        wait_for(&request[0], round)?;
        seen = request.iter().fold(seen, |seen, word| seen ^ word.load(Ordering::Relaxed));
        reply[1].store(round, Ordering::Relaxed);
        reply[2].store(round, Ordering::Relaxed);
        reply[0].store(round, Ordering::Release);
    }
    black_box(seen);
    Ok(())
}

/// The limits as candidates of a run, between threads and between processes.
pub fn candidates() -> Vec<Candidate> {
    Limit::ALL
        .into_iter()
        .flat_map(|limit| [candidate(limit, Sides::Threads), candidate(limit, Sides::Processes)])
        .collect()
}

fn candidate(limit: Limit, sides: Sides) -> Candidate {
    let identity = Identity::new("limit", limit.variant(), limit.measure())
        .payload(limit.payload())
        .sides(sides);
    Candidate::new(identity, move |plan, cores| match sides {
        Sides::Processes => limit.between_processes(plan, cores),
        _ => limit.between_threads(plan, cores),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_gives_a_figure_between_threads() {
        let cores = Cores::first_two().unwrap();
        for limit in Limit::ALL {
            let figure = limit.between_threads(Plan::of(10_000), cores).unwrap();
            assert!(figure.is_finite() && figure > 0.0, "{limit:?}: {figure}");
        }
    }

    #[test]
    fn the_two_atomics_lie_where_the_definition_says() {
        let lines = SharedLines::create(LINES).unwrap();
        let apart = |limit: Limit| {
            let PingPong { left, right } = limit.atomics(&lines);
            (
                std::ptr::from_ref(right).addr() - std::ptr::from_ref(left).addr(),
                std::ptr::from_ref(left).addr() % 64,
            )
        };
        assert_eq!(apart(Limit::PingpongTwoLine), (128, 0));
        assert_eq!(apart(Limit::PingpongOneLine), (32, 0));
    }

    #[test]
    fn the_writer_of_the_stream_never_overruns_an_unread_block() {
        let lines = SharedLines::create(LINES).unwrap();
        let plan = Plan { warm_up: 0, timed: BUFFER };
        stream_write(plan, &lines).unwrap();
        assert_eq!(lines[FIRST].words[0].load(Ordering::Relaxed), 0);
        assert_eq!(lines[LINES - 1].words[7].load(Ordering::Relaxed), BUFFER - BLOCK);
        assert_eq!(lines[LEFT].words[0].load(Ordering::Relaxed), BUFFER);
    }
}
