//! `produce`: the producing end, against a released position that is another at each load.

use crate::input::Input;
use crate::memory::{AnyLines, FreshLines, Peer, Plain};
use ringbar::layout::{HEADER_LINES, line};
use ringbar::spsc::{Direction, Producer, ReserveError};
use ringbar::tag::{Seen, TagSpace};
use std::cell::RefCell;
use std::rc::Rc;

/// Largest record asked for, in bytes: beyond what any ring takes, and beyond what a tag can say.
const BYTES_MAX: u16 = 20_000;

/// What both memories know about the producer.
#[derive(Default)]
struct Model {
    capacity: u64,
    /// Position of the next line to write, at the beginning of the operation.
    tail: u64,
    /// The same now: within a batch it moves on.
    written: u64,
    /// The last released position that an honest producer accepts.
    accepted: u64,
    /// A position was loaded that no honest consumer writes.
    lied: bool,
    /// The line whose tag a batch stores last, to publish itself.
    first: Option<u64>,
    /// Positions that the consumer will give, from the input.
    heads: Vec<u8>,
    at: usize,
}

type Shared = Rc<RefCell<Model>>;

/// The header: gives a released position that is right, nearly right, or anything.
struct Heads(Shared);

impl Peer for Heads {
    fn control(&mut self, at: usize, word: usize, _: u32) -> u64 {
        assert_eq!((at, word), (line::COMMAND_HEAD, 0), "nothing else is the producer's to read");
        let model = &mut *self.0.borrow_mut();
        let mut input = Input::new(&model.heads[model.at.min(model.heads.len())..]);
        let (accepted, written) = (model.accepted, model.written);
        let found = match input.byte() % 32 {
            0 => input.u64(),
            1 => accepted.wrapping_sub(u64::from(input.byte())),
            2 => written + u64::from(input.byte()),
            3..8 => accepted,
            _ => accepted + u64::from(input.u16()) % (written - accepted + 1),
        };
        model.at += 3;
        if found < accepted || found > written {
            model.lied = true;
        } else {
            model.accepted = found;
        }
        found
    }

    fn payload(&mut self, at: usize, word: usize, _: u32) -> u64 {
        panic!("word {word} of header line {at} was loaded as payload")
    }

    fn stored(&mut self, at: usize, _: usize, _: u64) {
        panic!("a producer wrote into header line {at}");
    }
}

/// The ring: refuses every store that is not into free lines.
struct Ring {
    memory: Plain,
    model: Shared,
}

impl Peer for Ring {
    fn control(&mut self, at: usize, _: usize, _: u32) -> u64 {
        panic!("a producer read ring line {at}")
    }

    fn payload(&mut self, at: usize, _: usize, _: u32) -> u64 {
        panic!("a producer read ring line {at}")
    }

    fn stored(&mut self, at: usize, word: usize, value: u64) {
        let model = self.model.borrow();
        let mask = model.capacity - 1;
        // A batch may free, by a later look, the lines that it wrote first; it never writes one twice before that.
        let ahead = (at as u64).wrapping_sub(model.written) & mask;
        let free = model.capacity - (model.written - model.accepted);
        let first_again = word == 0 && model.first == Some(at as u64 & mask);
        assert!(ahead < free || first_again, "line {at} is {ahead} lines ahead, {free} are free");
        *self.memory.word(at, word) = value;
    }
}

struct Harness {
    producer: Producer<AnyLines>,
    ring: FreshLines<Ring>,
    model: Shared,
    tags: TagSpace,
    /// Bytes that records are filled with.
    filling: Vec<u8>,
}

/// Runs operations until the input is used up or the consumer lied.
pub fn run(data: &[u8]) {
    published(data);
}

/// The same; returns how many records were published.
pub fn published(data: &[u8]) -> usize {
    let mut input = Input::new(data);
    let shift = 1 + u32::from(input.byte() % 9);
    let generation = input.u32();
    let heads = usize::from(input.u16());
    let heads = input.bytes(heads).to_vec();
    let mut harness = Harness::new(shift, generation, heads);
    let mut records = 0;
    while !input.is_empty() {
        match harness.step(&mut input) {
            Ok(more) => records += more,
            Err(()) => break,
        }
        let model = harness.model.borrow();
        assert!(!model.lied, "a lie was not noticed");
        assert_eq!(harness.producer.tail(), model.written);
    }
    records
}

impl Harness {
    fn new(shift: u32, generation: u32, heads: Vec<u8>) -> Self {
        let capacity = 1 << shift;
        let model = Model { capacity: capacity as u64, heads, ..Model::default() };
        let model: Shared = Rc::new(RefCell::new(model));
        let memory = Plain::new(capacity);
        let ring = FreshLines::new(capacity, Ring { memory, model: Rc::clone(&model) });
        let header = FreshLines::new(HEADER_LINES, Heads(Rc::clone(&model)));
        let lines = (AnyLines::of(&ring), AnyLines::of(&header));
        let producer = Producer::new(lines.0, lines.1, Direction::Commands, generation);
        let tags = TagSpace::new(generation, shift);
        let filling = (0..BYTES_MAX).map(|i| (i % 251) as u8 ^ (i >> 8) as u8).collect();
        Self { producer, ring, model, tags, filling }
    }

    /// One operation: how many records it published, or that the consumer's lie was found.
    fn step(&mut self, input: &mut Input<'_>) -> Result<usize, ()> {
        match input.byte() % 8 {
            0 => self.refresh(),
            1 => self.drop_reservation(input),
            2 | 3 => self.batch(input),
            _ => self.push(input),
        }
    }

    fn refresh(&mut self) -> Result<usize, ()> {
        let found = self.producer.refresh_head();
        let model = self.model.borrow();
        assert_eq!(found.is_err(), model.lied);
        found.map(|head| assert_eq!(head, model.accepted)).map(|()| 0).map_err(|_| ())
    }

    /// Puts some of a record, perhaps within a batch, and drops it: the lines are then as if nothing had been put.
    fn drop_reservation(&mut self, input: &mut Input<'_>) -> Result<usize, ()> {
        let bytes = length(input);
        let put = bytes.min(usize::from(input.byte()) * 100);
        let (tail, before) = (self.producer.tail(), self.line_tags());
        let filling = &self.filling[..put];
        let refused = if input.byte() & 1 == 1 {
            let mut batch = self.producer.batch();
            let room = batch.reserve(bytes, None);
            room.map(|mut room| put_in_pieces(room.record(), filling)).err()
        } else {
            let room = self.producer.reserve(bytes, None);
            room.map(|mut room| put_in_pieces(&mut room, filling)).err()
        };
        assert_eq!(self.producer.tail(), tail);
        if let Some(error) = refused {
            return self.explain(&error, bytes);
        }
        for (ahead, (before, after)) in before.into_iter().zip(self.line_tags()).enumerate() {
            let seen = self.tags.judge(tail + ahead as u64, after);
            let withdrawn = before == after || seen == Seen::Nothing;
            assert!(withdrawn, "{ahead} lines ahead of a record that was dropped: {seen:?}");
        }
        Ok(0)
    }

    /// The tag of every line, from the tail on.
    fn line_tags(&self) -> Vec<u64> {
        let (tail, lines) = (self.producer.tail(), self.producer.capacity());
        let tag = |ring: &mut Ring, position| *ring.memory.word(position as usize, 0);
        self.ring.with(|ring| (tail..tail + lines).map(|position| tag(ring, position)).collect())
    }

    fn push(&mut self, input: &mut Input<'_>) -> Result<usize, ()> {
        let bytes = length(input);
        let put = bytes.min(usize::from(input.byte()) * 100);
        let slot = (input.byte() & 1 == 1).then(|| input.u16());
        let filling = &self.filling[..put];
        let pushed = self.producer.reserve(bytes, slot).map(|mut room| {
            put_in_pieces(&mut room, filling);
            room.commit()
        });
        match pushed {
            Ok(position) => {
                self.check_record(position, bytes, put, slot);
                self.advance(bytes);
                Ok(1)
            }
            Err(error) => self.explain(&error, bytes),
        }
    }

    fn batch(&mut self, input: &mut Input<'_>) -> Result<usize, ()> {
        let wanted = 1 + input.byte() % 16;
        let lengths: Vec<_> = (0..wanted).map(|_| length(input)).collect();
        let (mut added, mut refused) = (Vec::new(), None);
        let mut batch = self.producer.batch();
        for bytes in lengths {
            match batch.push(&self.filling[..bytes]) {
                Ok(position) => {
                    let mut model = self.model.borrow_mut();
                    let mask = model.capacity - 1;
                    model.first.get_or_insert(position & mask);
                    model.written += bytes.div_ceil(56).max(1) as u64;
                    added.push((position, bytes));
                }
                Err(error) => {
                    refused = Some((error, bytes));
                    break;
                }
            }
        }
        assert_eq!(batch.len(), added.len());
        assert_eq!(batch.commit(), added.len());
        self.model.borrow_mut().first = None;
        let records = added.len();
        // A consumer that releases what is not published yet gets what it deserves, in its own ring.
        let (accepted, start) = (self.model.borrow().accepted, self.model.borrow().tail);
        for (position, bytes) in added.into_iter().filter(|_| accepted <= start) {
            self.check_record(position, bytes, bytes, None);
        }
        let tail = self.model.borrow().written;
        self.model.borrow_mut().tail = tail;
        refused.map_or(Ok(()), |(error, bytes)| self.explain(&error, bytes).map(|_| ()))?;
        Ok(records)
    }

    fn advance(&self, bytes: usize) {
        let mut model = self.model.borrow_mut();
        model.written += bytes.div_ceil(56).max(1) as u64;
        model.tail = model.written;
    }

    /// A refusal has to be the right one.
    fn explain(&self, error: &ReserveError, bytes: usize) -> Result<usize, ()> {
        let model = self.model.borrow();
        let lines = bytes.div_ceil(56).max(1) as u64;
        let free = model.capacity - (model.written - model.accepted);
        match error {
            ReserveError::TooLong { bytes: found, limit } => {
                assert_eq!((*found, *limit), (bytes, 56 * 128.min(model.capacity as usize)));
                assert!(bytes > *limit);
            }
            ReserveError::Full(full) => {
                assert_eq!((full.wanted, full.free), (lines, free));
                assert!(lines > free && full.until == model.written + lines - model.capacity);
            }
            ReserveError::Violation(_) => {
                assert!(model.lied, "an honest position was refused");
                return Err(());
            }
        }
        assert!(!model.lied, "a lie was not noticed");
        Ok(0)
    }

    /// The record at `position`, as PROTOCOL.md, section 4, lays it out.
    fn check_record(&self, position: u64, bytes: usize, put: usize, slot: Option<u16>) {
        let lines = bytes.div_ceil(56).max(1);
        let capacity = self.model.borrow().capacity as usize;
        assert!(lines <= 128.min(capacity), "a record of {bytes} bytes was taken");
        self.ring.with(|ring| {
            assert_eq!(
                *ring.memory.word(position as usize, 0),
                self.tags.head(position, bytes, slot)
            );
            for number in 1..lines {
                let at = position + number as u64;
                assert_eq!(*ring.memory.word(at as usize, 0), self.tags.body(at, number));
            }
            for (index, &expected) in self.filling[..put].iter().enumerate() {
                let (line, byte) = (position as usize + index / 56, index % 56);
                let word = ring.memory.word(line, 1 + byte / 8).to_ne_bytes();
                assert_eq!(word[byte % 8], expected, "byte {index} of the record at {position}");
            }
        });
    }
}

/// Lengths around one line, around the limits, or any.
fn length(input: &mut Input<'_>) -> usize {
    let any = input.u16();
    usize::from(match input.byte() % 8 {
        0 => any % 64,
        1 => 7168 - 8 + any % 16,
        2 => 8192 - 8 + any % 16,
        3 => any % BYTES_MAX,
        _ => any % 256,
    })
}

/// Puts `bytes` in pieces of changing length, words among them.
fn put_in_pieces(room: &mut ringbar::spsc::Reservation<'_, AnyLines>, mut bytes: &[u8]) {
    for step in 0.. {
        if step % 3 == 0
            && let Some((word, rest)) = bytes.split_first_chunk::<8>()
        {
            room.word(u64::from_le_bytes(*word));
            bytes = rest;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(step % 29));
        room.put(piece);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
}
