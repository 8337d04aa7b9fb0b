//! What calls of a program cost over a session, for programs that reach their worker out of a virtual machine: round trips
//! and doorbells, batches, copies, and beside them the old way to call.
//!
//! The old way is one register access that traps into the monitor, which passes the call over a unix socket to a mediator
//! process and the answer back, one call outstanding.
//!
//! [`Bench`] does the measuring, and nothing else: between its preparation and its end it makes no system call and takes no
//! memory from the system, so that it also runs on a virtual processor without any kernel.

use ringbar::client::PinnedBlock;
use ringbar_session::{Session, SessionCaller, SessionError};
use ringbar_vocabulary::{ContextId, DevicePtr, Init, MemAlloc, MemsetD8, Ping, StreamId};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::{Duration, Instant};

/// Commands behind one doorbell.
const BATCH: u64 = 64;
/// Calls between two readings of the clock: under emulation a reading takes as long as a part of a call.
pub(crate) const BLOCK: u64 = 16;
/// Bytes of one copy.
const COPY_BYTES: usize = 256 << 10;
/// Copies of each kind.
const COPIES: usize = 50;
/// Long enough for a worker to fall asleep.
const PAUSE: Duration = Duration::from_millis(3);
/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls of the old way at most: each takes long.
const OLD_CALLS_MAX: u64 = 500;

/// One call of the old way; given its number.
pub type OldCall<'c> = dyn FnMut(u64) -> Result<(), Box<dyn Error>> + 'c;

/// What was measured: medians, in nanoseconds; of calls, medians of the means of 16 in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Calls of the first kind.
    pub calls: u64,
    /// A call and its answer over the ring, the worker polling.
    pub round_trip_ns: f64,
    /// Doorbells rung during those calls although the worker was awake, counted where each is rung.
    pub awake_bells: u64,
    /// Doorbells rung during those calls.
    pub bells: u64,
    /// How often the worker fell asleep during those calls: whenever guest or worker stood still for longer than it polls.
    pub sleeps: u64,
    /// A command posted to a worker that polls, without waiting for it: what a call takes of this processor before the wait.
    pub post_ns: f64,
    /// A call and its answer over the old way.
    pub old_way_ns: Option<f64>,
    /// Times that the worker was left to fall asleep before one command, and again before 64.
    pub bursts: u64,
    /// One command behind a doorbell, until it is executed.
    pub single_ns: f64,
    /// Doorbells of those.
    pub single_bells: u64,
    /// A command of 64 behind one doorbell, until all are executed.
    pub batched_ns: f64,
    /// Doorbells of those.
    pub batched_bells: u64,
    /// Bytes of a copy.
    pub copy_bytes: u64,
    /// A copy into the shared memory.
    pub copy_device_ns: f64,
    /// The same into the program's own memory.
    pub copy_memory_ns: f64,
}

impl Figures {
    /// How many times faster than the old way a call is.
    pub fn times_faster(&self) -> Option<f64> {
        Some(self.old_way_ns? / self.round_trip_ns)
    }

    /// Doorbells for a worker that was awake, counted in two ways, of which the greater counts: where each is rung, by a
    /// second look at the worker's word; and all that are more than the times it fell asleep. A worker that says that it
    /// sleeps while it does not fails the second one.
    pub fn bells_for_awake(&self) -> u64 {
        self.awake_bells.max(self.bells.saturating_sub(self.sleeps))
    }

    /// How many times less a command costs behind a doorbell for 64 than behind one of its own.
    pub fn batch_gain(&self) -> f64 {
        self.single_ns / self.batched_ns
    }

    /// Rate of a copy into the shared memory, as a part of the rate into own memory.
    pub fn copy_rate(&self) -> f64 {
        self.copy_memory_ns / self.copy_device_ns
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (calls, awake, sleeps) = (self.calls, self.bells_for_awake(), self.sleeps);
        let bells = self.bells.saturating_sub(awake);
        let round = self.round_trip_ns;
        writeln!(
            f,
            "figure: round trip, host polling: {round:.0} ns; {awake} doorbells while awake and {bells} others in {calls} calls, {sleeps} times asleep"
        )?;
        if let (Some(old), Some(times)) = (self.old_way_ns, self.times_faster()) {
            writeln!(f, "figure: the old way: {old} ns a call")?;
            writeln!(f, "figure: the ring is {times:.0} times faster")?;
        }
        let (one, each, gain) = (self.single_ns, self.batched_ns, self.batch_gain());
        let (bells, batch_bells, bursts) = (self.single_bells, self.batched_bells, self.bursts);
        writeln!(
            f,
            "figure: worker asleep: {one} ns for 1 command and doorbell, {each:.0} ns a command for {BATCH} behind one ({gain:.1} times less); {bells} and {batch_bells} doorbells in {bursts} bursts each"
        )?;
        let (bytes, device, memory) = (self.copy_bytes, self.copy_device_ns, self.copy_memory_ns);
        let rate = self.copy_rate();
        writeln!(
            f,
            "figure: copy of {bytes} bytes: {device} ns into the device, {memory} ns into own memory: {rate:.2} of its rate"
        )
    }
}

/// Calls and their answers over the ring, see [`Figures`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundTrips {
    /// A call and its answer: a median of means of 16.
    pub round_trip_ns: f64,
    /// Doorbells rung although the worker was awake.
    pub awake_bells: u64,
    /// Doorbells rung.
    pub bells: u64,
    /// How often the worker fell asleep.
    pub sleeps: u64,
}

/// All that the measuring needs, made beforehand.
pub struct Bench {
    session: Session,
    caller: SessionCaller,
    /// Device memory to work on.
    at: DevicePtr,
    block: PinnedBlock,
    source: Vec<u8>,
    target: Vec<u8>,
    times: Vec<Duration>,
    other_times: Vec<Duration>,
    calls: u64,
}

impl Bench {
    /// Makes device memory, buffers and room for so many times.
    ///
    /// # Errors
    /// If the session is over, or has no such memory.
    pub fn prepare(session: &Session, calls: u64) -> Result<Self, SessionError> {
        let mut caller = session.caller()?;
        caller.call(&Init { flags: 0 })?;
        let at = caller.call(&MemAlloc { context: ContextId::FIRST, bytes: 4096 })?.at;
        let room = || Vec::with_capacity((calls as usize).max(COPIES));
        Ok(Self {
            session: session.clone(),
            caller,
            at,
            block: session.pin(COPY_BYTES as u64)?,
            source: vec![7; COPY_BYTES],
            target: vec![0; COPY_BYTES],
            times: room(),
            other_times: room(),
            calls,
        })
    }

    /// Measures. `pause` passes time, so that the worker falls asleep.
    ///
    /// # Errors
    /// If the session ends, or the old way fails.
    pub fn run(
        &mut self,
        pause: &dyn Fn(Duration),
        old: Option<&mut OldCall<'_>>,
    ) -> Result<Figures, Box<dyn Error>> {
        let RoundTrips { round_trip_ns, awake_bells, bells, sleeps } = self.round_trips()?;
        let post_ns = self.posts()?;
        let old_way_ns = old.map(|old| self.old_way(old)).transpose()?;
        let bursts = (self.calls / BATCH).max(16);
        let (single_ns, single_bells) = self.bursts(bursts, 1, pause)?;
        let (all_ns, batched_bells) = self.bursts(bursts, BATCH, pause)?;
        let (copy_device_ns, copy_memory_ns) = self.copies()?;
        Ok(Figures {
            calls: self.calls,
            round_trip_ns,
            awake_bells,
            bells,
            sleeps,
            post_ns,
            old_way_ns,
            bursts,
            single_ns,
            single_bells,
            batched_ns: all_ns / BATCH as f64,
            batched_bells,
            copy_bytes: COPY_BYTES as u64,
            copy_device_ns,
            copy_memory_ns,
        })
    }

    fn bells(&self) -> u64 {
        self.session.client().counters().client_bells
    }

    /// How often the worker fell asleep before the call that is made for this: it tells so with the next batch.
    fn sleeps(&mut self) -> Result<u64, SessionError> {
        self.caller.call(&Ping { token: 0 })?;
        Ok(self.session.client().counters().worker_parks)
    }

    /// Calls and their answers over the ring, the worker polling.
    ///
    /// # Errors
    /// If the session ends.
    pub fn round_trips(&mut self) -> Result<RoundTrips, SessionError> {
        for token in 0..self.calls / 10 {
            self.caller.call(&Ping { token })?;
        }
        let awake = |bench: &Self| bench.session.client().bells_while_awake();
        let (sleeps, bells, awake_bells) = (self.sleeps()?, self.bells(), awake(self));
        self.times.clear();
        for block in 0..self.calls.div_ceil(BLOCK) {
            let start = Instant::now();
            for token in 0..BLOCK {
                self.caller.call(&Ping { token: block * BLOCK + token })?;
            }
            self.times.push(start.elapsed());
        }
        let (bells, awake_bells) = (self.bells() - bells, awake(self) - awake_bells);
        let sleeps = self.sleeps()? - sleeps;
        let round_trip_ns = median(&mut self.times) / BLOCK as f64;
        Ok(RoundTrips { round_trip_ns, awake_bells, bells, sleeps })
    }

    fn old_way(&mut self, call: &mut OldCall<'_>) -> Result<f64, Box<dyn Error>> {
        self.times.clear();
        for number in 0..self.calls.min(OLD_CALLS_MAX) {
            let start = Instant::now();
            call(number)?;
            self.times.push(start.elapsed());
        }
        Ok(median(&mut self.times))
    }

    /// So many commands at once, a pause before each time.
    fn bursts(
        &mut self,
        rounds: u64,
        commands: u64,
        pause: &dyn Fn(Duration),
    ) -> Result<(f64, u64), Box<dyn Error>> {
        let work = self.work();
        let before = self.bells();
        self.times.clear();
        for _ in 0..rounds {
            pause(PAUSE);
            let start = Instant::now();
            let mut last = 0;
            for _ in 0..commands {
                last = self.session.post(&work)?;
            }
            self.until_executed(last)?;
            self.times.push(start.elapsed());
        }
        Ok((median(&mut self.times), self.bells() - before))
    }

    fn work(&self) -> MemsetD8 {
        MemsetD8 { dst: self.at, value: 1, count: 64, stream: StreamId::DEFAULT }
    }

    /// Polls, since a wait may end in a system call.
    fn until_executed(&self, position: u64) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        while self.session.client().counters().executed <= position {
            if start.elapsed() > PATIENCE {
                return Err("the worker executed nothing for 5 s".into());
            }
        }
        Ok(())
    }

    /// Commands posted in a row, the worker polling; what it takes to execute them is not in it.
    fn posts(&mut self) -> Result<f64, Box<dyn Error>> {
        let work = self.work();
        self.times.clear();
        for _ in 0..self.calls.div_ceil(BLOCK) {
            let (start, mut last) = (Instant::now(), 0);
            for _ in 0..BLOCK {
                last = self.session.post(&work)?;
            }
            self.times.push(start.elapsed());
            self.until_executed(last)?;
        }
        Ok(median(&mut self.times) / BLOCK as f64)
    }

    /// Copies into the arena, and into this program's own memory, in turn.
    fn copies(&mut self) -> Result<(f64, f64), SessionError> {
        self.times.clear();
        self.other_times.clear();
        for _ in 0..COPIES {
            let start = Instant::now();
            self.session.write_pinned(&self.block, 0, &self.source)?;
            self.times.push(start.elapsed());
            let start = Instant::now();
            std::hint::black_box(&mut self.target)
                .copy_from_slice(std::hint::black_box(&self.source));
            self.other_times.push(start.elapsed());
        }
        Ok((median(&mut self.times), median(&mut self.other_times)))
    }
}

pub(crate) fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_follow_from_the_times_and_the_text_names_them() {
        let figures = Figures {
            calls: 2000,
            round_trip_ns: 100.0,
            awake_bells: 0,
            bells: 0,
            sleeps: 0,
            post_ns: 50.0,
            old_way_ns: Some(50_000.0),
            bursts: 31,
            single_ns: 6_000.0,
            single_bells: 31,
            batched_ns: 200.0,
            batched_bells: 31,
            copy_bytes: 1 << 18,
            copy_device_ns: 20_000.0,
            copy_memory_ns: 18_000.0,
        };
        assert_eq!(figures.times_faster(), Some(500.0));
        assert_eq!((figures.batch_gain(), figures.copy_rate()), (30.0, 0.9));
        let text = figures.to_string();
        assert!(text.contains("500 times faster") && text.contains("30.0 times less"), "{text}");
        let counted =
            |awake_bells, bells, sleeps| Figures { awake_bells, bells, sleeps, ..figures.clone() };
        assert_eq!(counted(0, 7, 7).bells_for_awake(), 0, "one for each sleep");
        assert_eq!(counted(0, 7, 9).bells_for_awake(), 0, "some woke by themselves");
        assert_eq!(counted(0, 9, 7).bells_for_awake(), 2, "more than it slept");
        assert_eq!(counted(3, 9, 7).bells_for_awake(), 3, "seen where they were rung");
        let without = Figures { old_way_ns: None, ..figures };
        assert_eq!(without.times_faster(), None);
        assert_eq!(without.to_string().lines().count(), 3);
    }
}
