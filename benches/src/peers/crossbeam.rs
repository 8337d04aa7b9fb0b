//! crossbeam: its array queue and its bounded channel.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;

use super::{Line, WORDS, channel, queue};
use crate::candidate::Candidate;
use crate::side::{Receive, SLOTS, Transmit};
use crate::spin::{Stalled, spin_until};

pub(super) fn candidates() -> Vec<Candidate> {
    let array_queue = || {
        let queue = Arc::new(ArrayQueue::new(SLOTS));
        Ok((Polled(queue.clone()), Polled(queue)))
    };
    let polling = || {
        let (sender, receiver) = bounded(SLOTS);
        Ok((Polled(sender), Polled(receiver)))
    };
    let blocking = || {
        let (sender, receiver) = bounded(SLOTS);
        Ok((Blocking(sender), Blocking(receiver)))
    };
    let mut all = queue("crossbeam-queue", "ArrayQueue", array_queue);
    all.extend(queue("crossbeam-channel", "bounded, try", polling));
    all.extend(queue("crossbeam-channel", "bounded, blocking", blocking));
    all
}

struct Polled<T>(T);

struct Blocking<T>(T);

impl Transmit<WORDS> for Polled<Arc<ArrayQueue<Line>>> {
    #[inline(always)]
    fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
        spin_until(|| self.0.push(Line(*words)).ok())
    }
}

impl Receive<WORDS> for Polled<Arc<ArrayQueue<Line>>> {
    #[inline(always)]
    fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
        take(&spin_until(|| self.0.pop())?.0);
        Ok(())
    }
}

channel! { Sender, Receiver }
