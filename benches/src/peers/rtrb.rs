//! rtrb: single messages and chunks of 32.

use rtrb::{Consumer, Producer, RingBuffer};

use super::{Line, WORDS, queue};
use crate::candidate::{Candidate, Identity, Measure};
use crate::side::{BATCH, Receive, ReceiveBatch, SLOTS, Transmit, TransmitBatch};
use crate::spin::{Stalled, spin_until};

pub(super) fn candidates() -> Vec<Candidate> {
    let open = || {
        let (producer, consumer) = RingBuffer::new(SLOTS);
        Ok((Half(producer), Half(consumer)))
    };
    let mut all = queue("rtrb", "push/pop", open);
    let chunks = Identity::new("rtrb", "chunks of 32", Measure::Batch32);
    all.push(Candidate::batch32(chunks, open));
    all
}

struct Half<T>(T);

impl Transmit<WORDS> for Half<Producer<Line>> {
    #[inline(always)]
    fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
        spin_until(|| self.0.push(Line(*words)).ok())
    }
}

impl Receive<WORDS> for Half<Consumer<Line>> {
    #[inline(always)]
    fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
        take(&spin_until(|| self.0.pop().ok())?.0);
        Ok(())
    }
}

impl TransmitBatch<WORDS> for Half<Producer<Line>> {
    #[inline(always)]
    fn send_batch(&mut self, mut next_words: impl FnMut() -> [u64; WORDS]) -> Result<(), Stalled> {
        // The borrow of a chunk cannot leave the poll, so the chunk is taken once the poll has seen its room.
        spin_until(|| (self.0.cached_slots() >= BATCH || self.0.slots() >= BATCH).then_some(()))?;
        let chunk = self.0.write_chunk_uninit(BATCH).map_err(|_| Stalled)?;
        chunk.fill_from_iter(std::iter::repeat_with(|| Line(next_words())));
        Ok(())
    }
}

impl ReceiveBatch<WORDS> for Half<Consumer<Line>> {
    #[inline(always)]
    fn receive_batch(&mut self, mut take: impl FnMut(&[u64; WORDS])) -> Result<(), Stalled> {
        // Batches come whole, so waiting for a whole one keeps rtrb on its cached index.
        spin_until(|| (self.0.cached_slots() >= BATCH || self.0.slots() >= BATCH).then_some(()))?;
        let chunk = self.0.read_chunk(BATCH).map_err(|_| Stalled)?;
        let (first, second) = chunk.as_slices();
        first.iter().chain(second).for_each(|line| take(&line.0));
        chunk.commit_all();
        Ok(())
    }
}
