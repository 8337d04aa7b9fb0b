//! The bytes of a region, spelled out: the same on every target. Under Miri also on a big-endian one:
//! `cargo +nightly miri test -p ringbar --test miri_layout --target s390x-unknown-linux-gnu`.
#![cfg(not(ringbar_loom))]

mod miri_rig;

use miri_rig::{GENERATION, SIZES, TERMS, heap_lines, region};
use ringbar::layout::{HEADER_LINES, PAGE_BYTES, line};
use ringbar::lines::{Lines, SharedLines};
use ringbar::os::Mapping;
use ringbar::progress;
use ringbar::region::{Channel, Expect, RegionError, inspect};
use ringbar::reply::{self, Slot, Ticket};
use ringbar::spsc::{Consumer, Direction, Producer};
use ringbar::sync::{Arc, Ordering};
use ringbar::tag::REPLY_BYTES_MAX;

/// The bytes of a line, in the order in which they lie in memory.
fn bytes_of(lines: &SharedLines, line: usize) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (word, into) in bytes.chunks_exact_mut(8).enumerate() {
        into.copy_from_slice(&lines.payload(line, word).to_ne_bytes());
    }
    bytes
}

fn line_at(mapping: &Arc<Mapping>, offset: usize) -> [u8; 64] {
    bytes_of(&SharedLines::new(mapping, offset, 1).expect("inside"), 0)
}

/// 64 bytes from groups of hexadecimal digits.
fn hex(text: &str) -> [u8; 64] {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16);
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| byte(pair).expect("digits")).collect();
    bytes.try_into().expect("64 bytes")
}

#[test]
fn the_directory_has_the_bytes_that_the_protocol_names() {
    let (mapping, _) = region();
    assert_eq!(mapping.len(), 0x1_6000);
    // Magic; major, minor, bytes a line, log2 of a page; bytes of the region; channels; zeros.
    let head = "52494e47 42415231  0100 0000 4000 0c00  00600100 00000000  01000000 00000000
                00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(line_at(&mapping, 0), hex(head));
    // Offset and bytes of channel 0, free.
    let entry = "00100000 00000000  00500100 00000000  00000000 00000000 00000000 00000000
                 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(line_at(&mapping, 64), hex(entry));
    assert_eq!(line_at(&mapping, 128), [0; 64], "there is no channel 1");
}

#[test]
fn a_channel_header_has_the_bytes_that_the_protocol_names() {
    let (mapping, place) = region();
    assert_eq!(place.offset, PAGE_BYTES as u64);
    // Magic; version, header bytes; features; vocabulary; channel bytes; log2 of lines, slots, events, zero, fence words;
    // arena bytes; arena address.
    let identity = "52425243 484e4c31  0100 0000 00100000  00000000 00000000  88776655 44332211
                    00500100 00000000  03 02 03 00 08000000  00000100 00000000  00000000 00000000";
    assert_eq!(line_at(&mapping, PAGE_BYTES), hex(identity));
    // Offsets of command ring, replies, events, fences, arena; zeros.
    let geometry = "00100000 00000000  00200000 00000000  00300000 00000000  00400000 00000000
                    00500000 00000000  00000000 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(line_at(&mapping, PAGE_BYTES + 64), hex(geometry));
}

#[test]
fn what_one_target_creates_is_attached_to_and_offered_in_the_same_bytes() {
    let (mapping, created) = region();
    let want = Expect { vocabulary_hash: TERMS.vocabulary_hash, features: 0, generation: None };
    let place = inspect(&mapping, 0, want).expect("a good region");
    assert_eq!((place, place.identity.sizes()), (created, SIZES));
    let other = Expect { vocabulary_hash: 1, ..want };
    let error = inspect(&mapping, 0, other).expect_err("another vocabulary");
    assert_eq!(error, RegionError::Vocabulary { found: TERMS.vocabulary_hash, expected: 1 });
    let channel = Channel::open(&mapping, place).expect("its lines");
    channel.offer(GENERATION);
    // State Offered, generation.
    let status = line_at(&mapping, PAGE_BYTES + line::HOST_STATUS * 64);
    assert_eq!(status[..8], [1, 0, 0, 0, 0x04, 0x03, 0x02, 0x01]);
}

#[test]
fn a_changed_word_is_refused_on_every_target() {
    for word in [0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 12] {
        let (mapping, place) = region();
        let header =
            SharedLines::new(&mapping, place.offset as usize, HEADER_LINES).expect("inside");
        let changed = header.load(word / 8, word % 8, Ordering::Relaxed) ^ 1 << 40;
        header.store(word / 8, word % 8, changed, Ordering::Relaxed);
        let want = Expect { vocabulary_hash: TERMS.vocabulary_hash, features: 0, generation: None };
        inspect(&mapping, 0, want).expect_err("a changed identity word");
    }
}

#[test]
fn a_record_has_the_bytes_that_the_protocol_names() {
    let (ring, header) = (heap_lines(8), heap_lines(HEADER_LINES));
    let way = Direction::Commands;
    let mut producer = Producer::new(ring.clone(), header.clone(), way, GENERATION);
    let payload: Vec<u8> = (1..=60).collect();
    let mut room = producer.reserve(60, Some(0x0203)).expect("room");
    room.word(u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]));
    room.put(&payload[8..]);
    room.commit();
    // 60 bytes, a head that calls; generation; reply slot; lap.
    let mut head = [0; 64];
    head[..8].copy_from_slice(&[60, 0xa0, 0x04, 0x03, 0x03, 0x02, 0, 0]);
    head[8..].copy_from_slice(&payload[..56]);
    assert_eq!(bytes_of(&ring, 0), head);
    // A body; generation; line 1; lap.
    let mut body = [0; 64];
    body[..8].copy_from_slice(&[0, 0x40, 0x04, 0x03, 0x01, 0, 0, 0]);
    body[8..12].copy_from_slice(&payload[56..]);
    assert_eq!(bytes_of(&ring, 1), body);
    let mut consumer = Consumer::new(ring, header.clone(), way, GENERATION, 1024);
    let record = consumer.pop().expect("honest").expect("published");
    assert_eq!((record.bytes, record.reply_slot), (&payload[..], Some(0x0203)));
    consumer.release();
    assert_eq!(bytes_of(&header, line::COMMAND_HEAD)[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_reply_and_progress_have_the_bytes_that_the_protocol_names() {
    let (replies, header) = (heap_lines(4), heap_lines(HEADER_LINES));
    reply::write(&replies, GENERATION, Ticket { slot: 1, position: 0x0a0b_0c0d }, &[1, 2, 3]);
    // 3 bytes of kind 3; generation; position + 1.
    let mut expected = [0; 64];
    expected[..8].copy_from_slice(&[0xc3, 0x04, 0x03, 0x0e, 0x0c, 0x0b, 0x0a, 0]);
    expected[8..11].copy_from_slice(&[1, 2, 3]);
    assert_eq!(bytes_of(&replies, 1), expected);
    let mut bytes = [0; REPLY_BYTES_MAX];
    let taken = Slot::new(1, GENERATION).take(&replies, 0x0a0b_0c0d, &mut bytes);
    assert_eq!((taken, bytes[..3].to_vec()), (Ok(Some(3)), vec![1, 2, 3]));
    progress::publish(&header, 0x0102, 0x0304);
    assert_eq!(bytes_of(&header, line::PROGRESS)[..10], [2, 1, 0, 0, 0, 0, 0, 0, 4, 3]);
}
