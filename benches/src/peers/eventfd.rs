//! One doorbell a message: the payload in a queue of shared memory, an eventfd rung for every publication.
//!
//! This is how a device is driven that knows no suppression. The queue is rtrb's; what costs is the system call. The
//! consumer takes the eventfd's count and then as many publications: by polling a non-blocking eventfd, or asleep in a
//! blocking read.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::EventfdFlags;

use super::{Line, WORDS, queue};
use crate::candidate::{Candidate, Identity, Measure};
use crate::error::BenchError;
use crate::eventfd::{create, ring, take};
use crate::side::{BATCH, Receive, ReceiveBatch, SLOTS, Transmit, TransmitBatch};
use crate::spin::{Stalled, spin_until};

pub(super) fn candidates() -> Vec<Candidate> {
    let polling = || open(EventfdFlags::NONBLOCK);
    let blocking = || open(EventfdFlags::empty());
    let mut all = queue("eventfd", "a message, polling", polling);
    all.extend(queue("eventfd", "a message, blocking", blocking));
    let batches = Identity::new("eventfd", "32 messages, polling", Measure::Batch32);
    all.push(Candidate::batch32(batches, polling));
    all
}

fn open(flags: EventfdFlags) -> Result<(Ringing, Listening), BenchError> {
    let bell = Arc::new(create(flags)?);
    let (queue, messages) = RingBuffer::new(SLOTS);
    Ok((Ringing { queue, bell: bell.clone() }, Listening { messages, bell, rung: 0 }))
}

struct Ringing {
    queue: Producer<Line>,
    bell: Arc<OwnedFd>,
}

impl Drop for Ringing {
    /// Frees a consumer that sleeps although nothing will come: it finds an empty queue and stalls within its bound.
    fn drop(&mut self) {
        let _ = ring(&self.bell);
    }
}

struct Listening {
    messages: Consumer<Line>,
    bell: Arc<OwnedFd>,
    rung: u64,
}

impl Listening {
    /// Takes one ring off those already counted, or waits for more.
    fn await_ring(&mut self) -> Result<(), Stalled> {
        if self.rung == 0 {
            self.rung = spin_until(|| take(&self.bell).ok())?;
        }
        self.rung -= 1;
        Ok(())
    }

    fn pop(&mut self) -> Result<Line, Stalled> {
        spin_until(|| self.messages.pop().ok())
    }
}

impl Transmit<WORDS> for Ringing {
    fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
        spin_until(|| self.queue.push(Line(*words)).ok())?;
        ring(&self.bell).map_err(|_| Stalled)
    }
}

impl Receive<WORDS> for Listening {
    fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
        self.await_ring()?;
        take(&self.pop()?.0);
        Ok(())
    }
}

impl TransmitBatch<WORDS> for Ringing {
    fn send_batch(&mut self, mut next_words: impl FnMut() -> [u64; WORDS]) -> Result<(), Stalled> {
        for _ in 0..BATCH {
            let line = Line(next_words());
            spin_until(|| self.queue.push(line).ok())?;
        }
        ring(&self.bell).map_err(|_| Stalled)
    }
}

impl ReceiveBatch<WORDS> for Listening {
    fn receive_batch(&mut self, mut take: impl FnMut(&[u64; WORDS])) -> Result<(), Stalled> {
        self.await_ring()?;
        for _ in 0..BATCH {
            take(&self.pop()?.0);
        }
        Ok(())
    }
}
