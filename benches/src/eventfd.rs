//! The raw eventfd wake: what any doorbell through the kernel costs at least.
//!
//! The sleeper blocks in `read(2)`, the waker calls `write(2)` on the same eventfd; the figure is one way, from just
//! before the write to just after the read's return (see [`wake_latency`]).

use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ringbar::sync::Ordering;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, read, write};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::candidate::{Candidate, Identity, Measure, Sides};
use crate::cores::Cores;
use crate::drive::{self, Plan, wake_latency};
use crate::error::BenchError;
use crate::process::{Beside, Role, arguments};
use crate::shared::SharedLines;
use crate::side::{Park, Wake};
use crate::spin::Stalled;

/// Creates an eventfd at zero.
///
/// # Errors
/// The kernel's answer.
pub fn create(flags: EventfdFlags) -> Result<OwnedFd, BenchError> {
    eventfd(0, flags | EventfdFlags::CLOEXEC).map_err(BenchError::errno("creating an eventfd"))
}

/// Adds one to the eventfd.
///
/// # Errors
/// The kernel's answer.
#[inline]
pub fn ring(bell: impl AsFd) -> Result<(), Errno> {
    write(bell, &1_u64.to_ne_bytes()).map(drop)
}

/// Takes the eventfd's count: how often it was rung since the last take.
///
/// # Errors
/// The kernel's answer; `EAGAIN` if it is non-blocking and was not rung.
#[inline]
pub fn take(bell: impl AsFd) -> Result<u64, Errno> {
    let mut count = [0; 8];
    read(bell, &mut count)?;
    Ok(u64::from_ne_bytes(count))
}

/// Either side of a raw eventfd wake.
#[derive(Debug)]
pub struct Bell<F>(F);

impl<F: AsFd> Wake for Bell<F> {
    fn wake(&mut self) -> Result<(), BenchError> {
        ring(&self.0).map_err(BenchError::errno("writing an eventfd"))
    }
}

impl<F: AsFd> Park for Bell<F> {
    fn park(&mut self) -> Result<(), BenchError> {
        take(&self.0).map(drop).map_err(BenchError::errno("reading an eventfd"))
    }
}

/// The variant that does what every sleeper must that is to learn of the waker's death, and nothing else of a ring.
pub const POLLED: &str = "poll, two fds, one line";

/// Either side of that: the waker writes a line before it rings; the sleeper waits in `poll(2)` for the bell or for the
/// other end of a socket to hang up, takes the bell's count and reads the line.
struct Watched {
    bell: Arc<OwnedFd>,
    /// The other end of the waker's, or the sleeper's, socket.
    socket: OwnedFd,
    lines: Arc<SharedLines>,
    round: u64,
}

impl Watched {
    fn pair() -> Result<(Self, Self), BenchError> {
        let bell = Arc::new(create(EventfdFlags::empty())?);
        let lines = Arc::new(SharedLines::create(1)?);
        let ends = std::os::unix::net::UnixStream::pair();
        let (left, right) = ends.map_err(BenchError::io("creating a socket pair"))?;
        let side = |end: std::os::unix::net::UnixStream| Self {
            bell: bell.clone(),
            socket: end.into(),
            lines: lines.clone(),
            round: 0,
        };
        Ok((side(left), side(right)))
    }
}

impl Wake for Watched {
    fn wake(&mut self) -> Result<(), BenchError> {
        self.round += 1;
        for word in &self.lines[0].words {
            word.store(self.round, Ordering::Release);
        }
        ring(&self.bell).map_err(BenchError::errno("writing an eventfd"))
    }
}

impl Park for Watched {
    fn park(&mut self) -> Result<(), BenchError> {
        let mut fds =
            [PollFd::new(&self.bell, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut fds, None).map_err(BenchError::errno("polling an eventfd"))?;
        take(&self.bell).map_err(BenchError::errno("reading an eventfd"))?;
        self.round += 1;
        let words = &self.lines[0].words;
        if words.iter().any(|word| word.load(Ordering::Acquire) != self.round) {
            return Err(Stalled.into());
        }
        Ok(())
    }
}

/// The raw eventfd wake between threads and between processes, and between threads the bound of a ring's wake.
pub fn candidates() -> Vec<Candidate> {
    let identity = Identity::new("eventfd", "raw wake", Measure::Wake).payload(0);
    let between_threads = Candidate::wake(identity.clone(), || {
        let bell = Arc::new(create(EventfdFlags::empty())?);
        Ok((Bell(bell.clone()), Bell(bell)))
    });
    let polled = Identity::new("limit", POLLED, Measure::Wake);
    vec![
        between_threads,
        Candidate::new(identity.sides(Sides::Processes), wake_a_process),
        Candidate::wake(polled, Watched::pair),
    ]
}

#[derive(Serialize, Deserialize)]
struct Sleeper {
    plan: Plan,
    path: String,
}

fn wake_a_process(plan: Plan, cores: Cores) -> Result<f64, BenchError> {
    let lines = SharedLines::create(1)?;
    let bell = create(EventfdFlags::empty())?;
    let theirs = bell.try_clone().map_err(BenchError::io("duplicating an eventfd"))?;
    let order = Sleeper { plan, path: lines.path() };
    let second = Beside { role: ROLE.name, arguments: order, stdin: Some(theirs) };
    let left = || drive::wake(plan, &lines[0].words[0], &mut Bell(bell));
    let (rung_at, woken_at): (_, Vec<u64>) = second.run(cores, left)?;
    Ok(wake_latency(plan, &rung_at, &woken_at))
}

/// The second process's part: it sleeps in a read of its standard input.
pub const ROLE: Role = Role { name: "eventfd-sleeper", run: sleep_in_role };

fn sleep_in_role(value: Value) -> Result<Value, BenchError> {
    let Sleeper { plan, path } = arguments(ROLE.name, value)?;
    let lines = SharedLines::open(&path, 1)?;
    let woken_at = drive::park(plan, &lines[0].words[0], &mut Bell(stdin()))?;
    Ok(Value::from(woken_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_take_returns_how_often_the_bell_was_rung() {
        let bell = create(EventfdFlags::NONBLOCK).unwrap();
        (0..3).for_each(|_| ring(&bell).unwrap());
        assert_eq!(take(&bell), Ok(3));
        assert_eq!(take(&bell), Err(Errno::AGAIN));
    }

    #[test]
    fn a_parked_thread_is_woken_as_often_as_planned() {
        let [mut between_threads, _, _] = <[Candidate; 3]>::try_from(candidates()).unwrap();
        let plan = Plan { warm_up: 1, timed: 4 };
        let latency = between_threads.sample(plan, Cores::first_two().unwrap()).unwrap();
        assert!(latency > 0.0);
    }
}
