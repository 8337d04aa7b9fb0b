//! What a transport implements to be measured.
//!
//! Every measure has two sides, each on a core of its own: in two threads, or in two processes. A transport implements
//! the pairs that it has; everything else (payload, check, warm-up, clock) lies in [`drive`](crate::drive) and is the
//! same for all. The traits are generic rather than objects, so that each candidate's inner loop is compiled for itself.
//!
//! | measure | left side | right side |
//! |---|---|---|
//! | one way | [`Transmit`] | [`Receive`] |
//! | batch of 32 | [`TransmitBatch`] | [`ReceiveBatch`] |
//! | round trip | [`Call`] | [`Answer`] |
//! | wake of a parked peer | [`Wake`] | [`Park`] |
//!
//! The rules for an implementation: exactly one `pause` after an empty poll, unless adaptive waiting is the transport's
//! own feature; no wait without a bound (use [`spin_until`](crate::spin::spin_until)); a message counts as sent once the
//! other side can see it; the words are handed to `take` as they were read from the transport.

use crate::error::BenchError;
use crate::spin::Stalled;

/// Messages in a batch.
pub const BATCH: usize = 32;

/// Slots in every queue.
pub const SLOTS: usize = 1_024;

/// Sends single messages of `W` words.
pub trait Transmit<const W: usize> {
    /// Sends one message and makes it visible, waiting while the queue is full.
    ///
    /// # Errors
    /// [`Stalled`] if the receiver makes no room.
    fn send(&mut self, words: &[u64; W]) -> Result<(), Stalled>;
}

/// Receives single messages of `W` words.
pub trait Receive<const W: usize> {
    /// Waits for one message, hands its words to `take` and frees its slot.
    ///
    /// # Errors
    /// [`Stalled`] if no message comes.
    fn receive(&mut self, take: impl FnOnce(&[u64; W])) -> Result<(), Stalled>;
}

/// Sends messages of `W` words, [`BATCH`] in one publication.
pub trait TransmitBatch<const W: usize> {
    /// Calls `next_words` exactly [`BATCH`] times, in order, and publishes all messages at once.
    ///
    /// # Errors
    /// [`Stalled`] if the receiver makes no room.
    fn send_batch(&mut self, next_words: impl FnMut() -> [u64; W]) -> Result<(), Stalled>;
}

/// Receives messages of `W` words in batches.
pub trait ReceiveBatch<const W: usize> {
    /// Waits for at least one message, hands what is there to `take` in order (at most [`BATCH`] messages) and frees
    /// their slots at once.
    ///
    /// # Errors
    /// [`Stalled`] if no message comes.
    fn receive_batch(&mut self, take: impl FnMut(&[u64; W])) -> Result<(), Stalled>;
}

/// Makes synchronous calls: `Q` words of request, `A` words of reply.
pub trait Call<const Q: usize, const A: usize> {
    /// Sends the request, waits for its reply and returns the reply's words.
    ///
    /// # Errors
    /// [`Stalled`] if no reply comes.
    fn call(&mut self, request: &[u64; Q]) -> Result<[u64; A], Stalled>;
}

/// Answers synchronous calls.
pub trait Answer<const Q: usize, const A: usize> {
    /// Waits for one request, hands its words to `reply` and sends back what that returns.
    ///
    /// # Errors
    /// [`Stalled`] if no request comes.
    fn answer(&mut self, reply: impl FnOnce(&[u64; Q]) -> [u64; A]) -> Result<(), Stalled>;
}

/// Wakes a parked peer.
pub trait Wake {
    /// Wakes the peer once. The driver has waited until the peer is parked.
    ///
    /// # Errors
    /// Whatever the doorbell answers.
    fn wake(&mut self) -> Result<(), BenchError>;
}

/// Parks until it is woken.
pub trait Park {
    /// Parks (gives up the core) and returns after exactly one [`Wake::wake`]. A transport that spins before it parks
    /// may do so for less than [`PARK_GAP`](crate::drive::PARK_GAP).
    ///
    /// # Errors
    /// Whatever the doorbell answers.
    fn park(&mut self) -> Result<(), BenchError>;
}

/// Two one-way queues as one round trip: a request on one, the reply on the other.
#[derive(Debug)]
pub struct Pair<T, R> {
    /// To the other side.
    pub outgoing: T,
    /// From the other side.
    pub incoming: R,
}

impl<const W: usize, T: Transmit<W>, R: Receive<W>> Call<W, W> for Pair<T, R> {
    #[inline(always)]
    fn call(&mut self, request: &[u64; W]) -> Result<[u64; W], Stalled> {
        self.outgoing.send(request)?;
        let mut reply = [0; W];
        self.incoming.receive(|words| reply = *words)?;
        Ok(reply)
    }
}

impl<const W: usize, T: Transmit<W>, R: Receive<W>> Answer<W, W> for Pair<T, R> {
    #[inline(always)]
    fn answer(&mut self, reply: impl FnOnce(&[u64; W]) -> [u64; W]) -> Result<(), Stalled> {
        let mut words = [0; W];
        self.incoming.receive(|request| words = reply(request))?;
        self.outgoing.send(&words)
    }
}
