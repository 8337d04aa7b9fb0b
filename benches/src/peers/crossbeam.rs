//! crossbeam: its array queue and its bounded channel.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;

use super::{Line, WORDS, queue};
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

impl Transmit<WORDS> for Polled<Sender<Line>> {
    #[inline(always)]
    fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
        spin_until(|| self.0.try_send(Line(*words)).ok())
    }
}

impl Receive<WORDS> for Polled<Receiver<Line>> {
    #[inline(always)]
    fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
        take(&spin_until(|| self.0.try_recv().ok())?.0);
        Ok(())
    }
}

impl Transmit<WORDS> for Blocking<Sender<Line>> {
    #[inline(always)]
    fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
        self.0.send(Line(*words)).map_err(|_| Stalled)
    }
}

impl Receive<WORDS> for Blocking<Receiver<Line>> {
    #[inline(always)]
    fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
        take(&self.0.recv().map_err(|_| Stalled)?.0);
        Ok(())
    }
}
