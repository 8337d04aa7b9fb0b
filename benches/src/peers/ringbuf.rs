//! ringbuf: single messages and slices of 32.

use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use super::{Line, WORDS, queue};
use crate::candidate::{Candidate, Identity, Measure};
use crate::side::{BATCH, Receive, ReceiveBatch, SLOTS, Transmit, TransmitBatch};
use crate::spin::{Stalled, spin_until};

pub(super) fn candidates() -> Vec<Candidate> {
    let open = || {
        let (producer, consumer) = HeapRb::new(SLOTS).split();
        Ok((Half(producer), Half(consumer)))
    };
    let mut all = queue("ringbuf", "push/pop", open);
    let slices = Identity::new("ringbuf", "slices of 32", Measure::Batch32);
    all.push(Candidate::batch32(slices, open));
    all
}

struct Half<T>(T);

impl Transmit<WORDS> for Half<HeapProd<Line>> {
    #[inline(always)]
    fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
        spin_until(|| self.0.try_push(Line(*words)).ok())
    }
}

impl Receive<WORDS> for Half<HeapCons<Line>> {
    #[inline(always)]
    fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
        take(&spin_until(|| self.0.try_pop())?.0);
        Ok(())
    }
}

impl TransmitBatch<WORDS> for Half<HeapProd<Line>> {
    #[inline(always)]
    fn send_batch(&mut self, mut next_words: impl FnMut() -> [u64; WORDS]) -> Result<(), Stalled> {
        let lines: [Line; BATCH] = std::array::from_fn(|_| Line(next_words()));
        spin_until(|| (self.0.vacant_len() >= BATCH).then_some(()))?;
        self.0.push_slice(&lines);
        Ok(())
    }
}

impl ReceiveBatch<WORDS> for Half<HeapCons<Line>> {
    #[inline(always)]
    fn receive_batch(&mut self, mut take: impl FnMut(&[u64; WORDS])) -> Result<(), Stalled> {
        let mut lines = [Line::default(); BATCH];
        let popped =
            spin_until(|| Some(self.0.pop_slice(&mut lines)).filter(|&popped| popped > 0))?;
        lines[..popped].iter().for_each(|line| take(&line.0));
        Ok(())
    }
}
