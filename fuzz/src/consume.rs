//! `consume`: the consuming end, over memory that holds other bytes at each load.

use crate::input::Input;
use crate::memory::{AnyLines, FreshLines, Peer, WriteOnly};
use ringbar::layout::{HEADER_LINES, line};
use ringbar::spsc::{Consumer, Direction, Record, Violation};
use ringbar::tag::TagSpace;
use std::collections::HashMap;

/// Longest a run is: an input of one byte a record would go on for long.
const POPS_MAX: usize = 2000;

/// A producer that writes what the input says, between any two loads.
struct Attacker {
    input: Vec<u8>,
    at: usize,
    tags: TagSpace,
    mask: usize,
    /// Where the consumer is.
    position: u64,
    /// The tags that this pop was given: (line in memory, tag).
    given_tags: Vec<(usize, u64)>,
    /// The payload words that this pop was given.
    given: HashMap<(usize, usize), u64>,
}

impl Attacker {
    fn next<T>(&mut self, take: impl FnOnce(&mut Input) -> T) -> T {
        let mut input = Input::new(&self.input[self.at..]);
        let taken = take(&mut input);
        self.at = self.input.len() - input.rest().len();
        taken
    }

    /// True for a line behind the record that is being popped: a poll, which takes nothing from the input.
    fn is_ahead(&self, line: usize) -> bool {
        let number = line.wrapping_sub(self.position as usize) & self.mask;
        let lines =
            self.given_tags.first().map_or(1, |&(_, tag)| (tag & 0x1fff).div_ceil(56).max(1));
        number as u64 >= lines
    }

    /// Raw bytes, or a tag that fits, or one with a bit changed. The first byte says which.
    fn tag(&mut self, line: usize) -> u64 {
        let (tags, position, mask) = (self.tags, self.position, self.mask);
        self.next(|input| {
            let choice = input.byte();
            let number = (line & mask).wrapping_sub(position as usize & mask) & mask;
            let fitting = match number {
                _ if choice & 1 == 0 => return input.u64(),
                0 => {
                    let slot = (choice & 2 != 0).then(|| u16::from(input.byte()));
                    tags.head(position, usize::from(input.u16() & 0x1fff), slot)
                }
                number => tags.body(position + number as u64, number),
            };
            if choice & 0xf0 == 0xf0 { fitting ^ 1 << (input.byte() % 64) } else { fitting }
        })
    }
}

impl Peer for Attacker {
    fn control(&mut self, line: usize, word: usize, _: u32) -> u64 {
        assert_eq!(word, 0, "only tags are control words");
        if self.is_ahead(line) {
            return Input::new(&self.input[self.at..]).u64();
        }
        let tag = self.tag(line);
        self.given_tags.push((line & self.mask, tag));
        tag
    }

    fn payload(&mut self, line: usize, word: usize, _: u32) -> u64 {
        assert_ne!(word, 0, "a tag was loaded as payload");
        let value = self.next(|input| input.u64());
        self.given.insert((line & self.mask, word), value);
        value
    }

    fn stored(&mut self, line: usize, _: usize, _: u64) {
        panic!("a consumer wrote into ring line {line}");
    }
}

/// What PROTOCOL.md, section 4, says of a tag where a head belongs.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Head { bytes: usize, slot: Option<u16> },
    Nothing,
    Foreign,
}

fn meaning(tag: u64, position: u64, capacity: u64, generation: u32) -> Meaning {
    let (bytes, kind) = ((tag & 0x1fff) as usize, tag >> 13 & 3);
    let (calls, aux) = (tag >> 15 & 1 == 1, (tag >> 32) as u16);
    let ours = (tag >> 16) as u16 == generation as u16;
    let lap = (tag >> 48) as u16;
    let this_lap = position / capacity;
    if ours && kind == 1 && lap == this_lap as u16 && (calls || aux == 0) {
        return Meaning::Head { bytes, slot: calls.then_some(aux) };
    }
    let never_written = this_lap == 0 && tag == 0;
    let lap_before =
        this_lap > 0 && ours && (kind == 1 || kind == 2) && lap == (this_lap - 1) as u16;
    if never_written || lap_before { Meaning::Nothing } else { Meaning::Foreign }
}

/// What PROTOCOL.md, section 4, says of the tag of line `number` of a record, at that line's own position.
fn body(number: usize, position: u64, capacity: u64, generation: u32) -> u64 {
    let lap = (position / capacity) & 0xffff;
    lap << 48 | (number as u64) << 32 | u64::from(generation & 0xffff) << 16 | 2 << 13
}

/// Pops until the input is used up or a violation ends it.
pub fn run(data: &[u8]) {
    popped(data);
}

/// The same; returns how many records were popped.
pub fn popped(data: &[u8]) -> usize {
    let mut input = Input::new(data);
    let shift = 1 + u32::from(input.byte() % 9);
    let generation = u32::from(input.u16());
    let slots = usize::from(input.byte());
    let capacity = 1 << shift;
    let attacker = Attacker {
        input: input.rest().to_vec(),
        at: 0,
        tags: TagSpace::new(generation, shift),
        mask: capacity - 1,
        position: 0,
        given_tags: Vec::new(),
        given: HashMap::new(),
    };
    let ring = FreshLines::new(capacity, attacker);
    let header = FreshLines::new(HEADER_LINES, WriteOnly::default());
    let (lines, way) = ((AnyLines::of(&ring), AnyLines::of(&header)), Direction::Commands);
    let mut consumer = Consumer::new(lines.0, lines.1, way, generation, slots);
    let mut records = 0;
    for _ in 0..POPS_MAX {
        let position = consumer.position();
        let left = ring.with(|peer| {
            peer.position = position;
            peer.given_tags.clear();
            peer.given.clear();
            peer.input.len() - peer.at
        });
        if left == 0 {
            break;
        }
        let result = consumer.pop();
        let popped = result.is_ok();
        let got_record = matches!(result, Ok(Some(_)));
        check_pop(&ring, result, position, generation, slots);
        if !popped {
            break;
        }
        records += usize::from(got_record);
        if !got_record {
            consumer.idle();
        }
        check_released(&header, consumer.position(), capacity as u64);
    }
    // What was popped can always be released.
    consumer.release();
    let position = consumer.position();
    assert_eq!(header.with(|peer| peer.last.map_or(0, |(_, _, value)| value)), position);
    records
}

/// No line is released before it was popped, and none is kept for longer than a lap.
fn check_released(header: &FreshLines<WriteOnly>, position: u64, capacity: u64) {
    let Some((at, word, released)) = header.with(|peer| peer.last) else {
        assert!(position <= capacity);
        return;
    };
    assert_eq!((at, word), (line::COMMAND_HEAD, 0), "nothing else is the consumer's to write");
    assert!(released <= position && position - released <= capacity);
}

fn check_pop(
    ring: &FreshLines<Attacker>,
    result: Result<Option<Record<'_>>, Violation>,
    position: u64,
    generation: u32,
    slots: usize,
) {
    let loads = ring.take_loads();
    for &(line, word, times) in &loads {
        let polled = word == 0 && ring.with(|peer| peer.is_ahead(line));
        assert!(polled || times <= 1, "word {word} of line {line} was loaded {times} times");
    }
    let payload_loads = loads.iter().filter(|&&(_, word, _)| word != 0).count();
    ring.with(|peer| {
        let capacity = peer.mask as u64 + 1;
        let (first_line, tag) = peer.given_tags[0];
        assert_eq!(first_line, position as usize & peer.mask);
        let lines_max = 128.min(capacity as usize);
        match (meaning(tag, position, capacity, generation), result) {
            (Meaning::Nothing, Ok(None)) => assert_eq!(payload_loads, 0, "nothing but tags"),
            (Meaning::Foreign, Err(Violation::ForeignTag { found, .. })) => assert_eq!(found, tag),
            (Meaning::Head { bytes, .. }, Err(Violation::TooLong { .. })) => {
                assert!(bytes.div_ceil(56) > lines_max);
                assert_eq!(payload_loads, 0, "refused before any payload is read");
            }
            (Meaning::Head { slot: Some(slot), .. }, Err(Violation::ReplySlot { .. })) => {
                assert!(usize::from(slot) >= slots);
                assert_eq!(payload_loads, 0, "refused before any payload is read");
            }
            (Meaning::Head { bytes, .. }, Err(Violation::BodyTag { number, found, .. })) => {
                assert!(number < bytes.div_ceil(56));
                assert_eq!(peer.given_tags.last().map(|&(_, tag)| tag), Some(found));
                assert_ne!(found, peer.tags.body(position + number as u64, number));
            }
            (Meaning::Head { bytes, slot }, Ok(Some(record))) => {
                assert_eq!((record.position, record.reply_slot), (position, slot));
                assert!(slot.is_none_or(|slot| usize::from(slot) < slots));
                let lines = bytes.div_ceil(56).max(1);
                assert!(lines <= lines_max);
                assert_eq!(record.end, position + lines as u64);
                assert_eq!(peer.given_tags.len(), lines, "each tag of the record once");
                for (number, &(_, tag)) in peer.given_tags.iter().enumerate().skip(1) {
                    let at = position + number as u64;
                    assert_eq!(tag, body(number, at, capacity, generation), "a body was taken");
                }
                assert_eq!(payload_loads, bytes.div_ceil(8), "each payload word once");
                check_bytes(peer, &record, bytes);
            }
            (meaning, result) => panic!("{meaning:?} at {position} came out as {result:?}"),
        }
    });
}

/// The record is exactly the words that were given, in order.
fn check_bytes(peer: &Attacker, record: &Record<'_>, bytes: usize) {
    assert_eq!(record.bytes.len(), bytes);
    for (index, got) in record.bytes.chunks(8).enumerate() {
        let line = (record.position as usize + index / 7) & peer.mask;
        let given = peer.given[&(line, index % 7 + 1)].to_ne_bytes();
        assert_eq!(*got, given[..got.len()], "payload word {index}");
    }
}
