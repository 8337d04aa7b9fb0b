//! The standard library's bounded channel.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Line, WORDS, queue};
use crate::candidate::Candidate;
use crate::side::{Receive, SLOTS, Transmit};
use crate::spin::{Stalled, spin_until};

pub(super) fn candidates() -> Vec<Candidate> {
    let polling = || {
        let (sender, receiver) = sync_channel(SLOTS);
        Ok((Polled(sender), Polled(receiver)))
    };
    let blocking = || {
        let (sender, receiver) = sync_channel(SLOTS);
        Ok((Blocking(sender), Blocking(receiver)))
    };
    let mut all = queue("std", "sync_channel, try", polling);
    all.extend(queue("std", "sync_channel, blocking", blocking));
    all
}

struct Polled<T>(T);

struct Blocking<T>(T);

impl Transmit<WORDS> for Polled<SyncSender<Line>> {
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

impl Transmit<WORDS> for Blocking<SyncSender<Line>> {
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
