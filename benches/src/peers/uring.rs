//! io_uring: 32 NOPs in one submission, reaped at once. One thread talks to the kernel; nothing but each operation's
//! 8-byte `user_data` is carried, so the figure is a lower bound for any transport built on io_uring.

#![allow(unsafe_code)]

use std::io;
use std::time::Instant;

use io_uring::{IoUring, opcode};

use crate::candidate::{Candidate, Identity, Measure, Sides};
use crate::cores::{Cores, on_two_cores};
use crate::drive::{Plan, SEED};
use crate::error::BenchError;
use crate::payload::{Checker, Generator};
use crate::side::BATCH;

pub(super) fn candidates() -> Vec<Candidate> {
    let identity = Identity::new("io_uring", "NOP, batch of 32", Measure::Batch32)
        .payload(8)
        .sides(Sides::One)
        .note("carries only user_data");
    vec![Candidate::new(identity, nops)]
}

fn nops(plan: Plan, cores: Cores) -> Result<f64, BenchError> {
    let ring =
        IoUring::new(BATCH as u32).map_err(|error| BenchError::unavailable("io_uring", error))?;
    Ok(on_two_cores(cores, move || Nops::new(ring).run(plan), || Ok(()))?.0)
}

struct Nops {
    ring: IoUring,
    generator: Generator,
    checker: Checker,
}

impl Nops {
    fn new(ring: IoUring) -> Self {
        Self { ring, generator: Generator::new(SEED), checker: Checker::new(SEED) }
    }

    /// Ns a NOP.
    fn run(mut self, plan: Plan) -> Result<f64, BenchError> {
        self.run_batches(plan.warm_up)?;
        let start = Instant::now();
        self.run_batches(plan.timed)?;
        let elapsed = start.elapsed();
        self.checker.finish()?;
        Ok(elapsed.as_nanos() as f64 / plan.timed as f64)
    }

    fn run_batches(&mut self, operations: u64) -> Result<(), BenchError> {
        (0..operations / BATCH as u64)
            .try_for_each(|_| self.run_batch())
            .map_err(BenchError::io("submitting NOPs to io_uring"))
    }

    fn run_batch(&mut self) -> io::Result<()> {
        let nops: [_; BATCH] = std::array::from_fn(|_| {
            let [word] = self.generator.next_words();
            opcode::Nop::new().build().user_data(word)
        });
        // SAFETY: a NOP refers to no memory, so nothing has to outlive it.
        let pushed = unsafe { self.ring.submission().push_multiple(&nops) };
        pushed.map_err(io::Error::other)?;
        self.ring.submit_and_wait(BATCH)?;
        for completion in self.ring.completion() {
            self.checker.take(&[completion.user_data()]);
        }
        Ok(())
    }
}
