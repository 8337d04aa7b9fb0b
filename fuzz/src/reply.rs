//! `reply`: a caller's slot, over memory that holds other bytes at each load, and honest replies over plain memory.

use crate::input::Input;
use crate::memory::{FreshLines, Peer, Plain};
use ringbar::reply::{self, ReplyBytes, Slot, Ticket};
use ringbar::spsc::Violation;
use ringbar::tag::{self, REPLY_BYTES_MAX};

const SLOTS: usize = 8;

/// A worker that writes what the input says, between any two loads.
struct Attacker<'a> {
    input: Input<'a>,
    generation: u32,
    position: u64,
    /// The last tag given; can be given again.
    last_tag: u64,
    words: Vec<u64>,
}

impl Peer for Attacker<'_> {
    fn control(&mut self, _: usize, word: usize, _: u32) -> u64 {
        assert_eq!(word, 0, "only tags are control words");
        let choice = self.input.byte();
        let fitting = |bytes: u8| tag::reply(self.generation, self.position, bytes.into());
        self.last_tag = match choice % 4 {
            0 => self.input.u64(),
            1 => fitting(self.input.byte() % 64),
            2 => fitting(self.input.byte() % 64) ^ 1 << (self.input.byte() % 64),
            _ => self.last_tag,
        };
        self.last_tag
    }

    fn payload(&mut self, _: usize, word: usize, _: u32) -> u64 {
        assert_ne!(word, 0, "a tag was loaded as payload");
        let value = self.input.u64();
        self.words.push(value);
        value
    }

    fn stored(&mut self, line: usize, _: usize, _: u64) {
        panic!("a caller wrote into reply slot {line}");
    }
}

/// What PROTOCOL.md, section 5, says of a tag that is not the one seen before.
fn announced(tag: u64, generation: u32, position: u64) -> Option<usize> {
    let (bytes, kind) = ((tag & 0x3f) as usize, tag >> 6 & 3);
    let answers = tag >> 24 == (position + 1) & 0xff_ffff_ffff;
    let ours = (tag >> 8) as u16 == generation as u16;
    (bytes <= 56 && kind == 3 && ours && answers).then_some(bytes)
}

/// Takes replies until the input is used up or a violation ends it.
pub fn run(data: &[u8]) {
    taken(data);
}

/// The same; returns how many replies were taken.
pub fn taken(data: &[u8]) -> usize {
    let mut input = Input::new(data);
    honest(&mut input);
    let (number, generation) = (u16::from(input.byte()) % SLOTS as u16, input.u32());
    let position = if input.byte() & 1 == 0 { u64::from(input.u16()) } else { input.u64() >> 1 };
    let attacker = Attacker { input, generation, position, last_tag: 0, words: Vec::new() };
    let replies = FreshLines::new(SLOTS, attacker);
    let mut slot = Slot::new(number, generation);
    let (mut seen, mut replies_taken) = (0, 0);
    while replies.with(|peer| !peer.input.is_empty()) {
        let position = replies.with(|peer| {
            peer.words.clear();
            peer.position
        });
        let mut bytes: ReplyBytes = [0xa5; REPLY_BYTES_MAX];
        let result = slot.take(&replies, position, &mut bytes);
        for (line, word, times) in replies.take_loads() {
            assert_eq!(line, usize::from(number));
            assert!(times <= 1, "word {word} was loaded {times} times in one take");
        }
        let tag = replies.with(|peer| peer.last_tag);
        match (result, announced(tag, generation, position)) {
            (Ok(None), _) => assert_eq!(tag, seen),
            (Ok(Some(len)), Some(expected)) => {
                assert_eq!(len, expected);
                replies.with(|peer| check_bytes(&peer.words, len, &bytes));
                replies_taken += 1;
                replies.with(|peer| peer.position += 1 + u64::from(peer.input.byte()));
            }
            (Err(Violation::Reply { found, slot, .. }), None) => {
                assert_eq!((found, slot), (tag, number));
                break;
            }
            (result, announced) => panic!("{tag:#x} ({announced:?}) came out as {result:?}"),
        }
        seen = tag;
    }
    replies_taken
}

fn check_bytes(words: &[u64], len: usize, bytes: &ReplyBytes) {
    assert_eq!(words.len(), len.div_ceil(8), "each word once, and none beyond the length");
    for (index, word) in words.iter().enumerate() {
        assert_eq!(bytes[8 * index..8 * index + 8], word.to_ne_bytes());
    }
    assert!(bytes[8 * words.len()..].iter().all(|&byte| byte == 0xa5), "no byte beyond is touched");
}

/// What is written is what is taken, and the rest of the line is zero.
fn honest(input: &mut Input<'_>) {
    let (generation, position) = (input.u32(), input.u64() >> 1);
    let ticket = Ticket { slot: u16::from(input.byte()) % SLOTS as u16, position };
    let len = usize::from(input.byte() % 80);
    let bytes = input.bytes(len);
    let lines = FreshLines::new(SLOTS, Plain::new(SLOTS));
    lines.with(|plain| (1..8).for_each(|word| *plain.word(ticket.slot.into(), word) = u64::MAX));
    reply::write(&lines, generation, ticket, bytes);
    let mut got: ReplyBytes = [0; REPLY_BYTES_MAX];
    let taken = Slot::new(ticket.slot, generation).take(&lines, position, &mut got);
    let expected = &bytes[..bytes.len().min(REPLY_BYTES_MAX)];
    assert_eq!(taken, Ok(Some(expected.len())));
    assert_eq!(got[..expected.len()], *expected);
    let words = (1..8).map(|word| lines.with(|plain| *plain.word(ticket.slot.into(), word)));
    let line: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
    assert!(line[expected.len()..].iter().all(|&byte| byte == 0), "padding is zero");
}
