//! gil: its SPSC channel, single messages and batches of 32 through its write buffer and read guard.

#![allow(unsafe_code)]

use std::num::NonZeroUsize;

use gil::spsc::{Receiver, Sender, channel};

use super::{Line, WORDS, queue};
use crate::candidate::{Candidate, Identity, Measure};
use crate::side::{BATCH, Receive, ReceiveBatch, SLOTS, Transmit, TransmitBatch};
use crate::spin::{Stalled, spin_until};

pub(super) fn candidates() -> Vec<Candidate> {
    let open = || {
        const CAPACITY: NonZeroUsize = NonZeroUsize::new(SLOTS).unwrap();
        let (sender, receiver) = channel(CAPACITY);
        Ok((Half(sender), Half(receiver)))
    };
    let mut all = queue("gil", "spsc try_send/try_recv", open);
    let batches = Identity::new("gil", "spsc buffers of 32", Measure::Batch32);
    all.push(Candidate::batch32(batches, open));
    all
}

struct Half<T>(T);

impl Transmit<WORDS> for Half<Sender<Line>> {
    #[inline(always)]
    fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
        spin_until(|| self.0.try_send(Line(*words)).ok())
    }
}

impl Receive<WORDS> for Half<Receiver<Line>> {
    #[inline(always)]
    fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
        take(&spin_until(|| self.0.try_recv())?.0);
        Ok(())
    }
}

impl TransmitBatch<WORDS> for Half<Sender<Line>> {
    #[inline(always)]
    fn send_batch(&mut self, mut next_words: impl FnMut() -> [u64; WORDS]) -> Result<(), Stalled> {
        spin_until(|| (self.0.write_buffer().len() >= BATCH).then_some(()))?;
        self.0.write_buffer()[..BATCH].iter_mut().for_each(|slot| {
            slot.write(Line(next_words()));
        });
        // SAFETY: the write buffer held at least BATCH slots, and the first BATCH of them have just been written.
        unsafe { self.0.commit(BATCH) };
        Ok(())
    }
}

impl ReceiveBatch<WORDS> for Half<Receiver<Line>> {
    #[inline(always)]
    fn receive_batch(&mut self, mut take: impl FnMut(&[u64; WORDS])) -> Result<(), Stalled> {
        spin_until(|| {
            let mut guard = self.0.read_guard();
            let count = guard.len().min(BATCH);
            guard.as_slice()[..count].iter().for_each(|line| take(&line.0));
            guard.advance(count);
            (count > 0).then_some(())
        })
    }
}
