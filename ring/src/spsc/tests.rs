//! Promises of the ring that need no second thread. Orderings are loom's business.

use super::*;
use crate::layout::{HEADER_LINES, line};
use crate::lines::{Lines, SharedLines};
use crate::sync::Ordering;
use crate::tag::{LINE_PAYLOAD_BYTES, TagSpace};
use crate::testing::heap_lines;

struct Pair {
    ring: SharedLines,
    header: SharedLines,
    tx: Producer<SharedLines>,
    rx: Consumer<SharedLines>,
}

fn pair(capacity: usize) -> Pair {
    let (ring, header) = (heap_lines(capacity), heap_lines(HEADER_LINES));
    let way = Direction::Commands;
    Pair {
        tx: Producer::new(ring.clone(), header.clone(), way, 3),
        rx: Consumer::new(ring.clone(), header.clone(), way, 3, 4),
        ring,
        header,
    }
}

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + seed * 7 + 1) as u8).collect()
}

#[test]
fn records_of_every_length_arrive_whole_and_in_order() {
    let mut pair = pair(256);
    for len in (0..300).chain([4096, 7111, 7168]) {
        let sent = pattern(len, len);
        let position = pair.tx.push(&sent).expect("room");
        let got = pair.rx.pop().expect("honest").expect("published");
        assert_eq!((got.position, got.bytes), (position, &sent[..]), "{len} bytes");
        pair.rx.release();
    }
}

#[test]
fn a_record_wraps_around_the_end_of_the_ring() {
    let mut pair = pair(8);
    for turn in 0..50 {
        let sent = pattern(turn, 5 * LINE_PAYLOAD_BYTES - 3);
        pair.tx.push(&sent).expect("room");
        assert_eq!(pair.rx.pop().expect("honest").expect("there").bytes, sent);
        pair.rx.release();
    }
    assert_eq!(pair.tx.tail(), 250);
}

#[test]
fn pieces_put_one_after_the_other_join_without_gaps() {
    let mut pair = pair(64);
    let sent = pattern(1, 200);
    let mut room = pair.tx.reserve(200, None).expect("room");
    room.put(&sent[..3]);
    room.word(u64::from_le_bytes(sent[3..11].try_into().expect("eight")));
    room.put(&sent[11..64]);
    room.word(u64::from_le_bytes(sent[64..72].try_into().expect("eight")));
    room.put(&sent[72..]);
    room.commit();
    assert_eq!(pair.rx.pop().expect("honest").expect("there").bytes, sent);
}

#[test]
fn what_was_reserved_but_not_put_is_zero_and_what_exceeds_it_is_dropped() {
    let mut pair = pair(64);
    pair.tx.push(&[0xff; 170]).expect("room");
    pair.rx.pop().expect("honest").expect("there");
    let mut room = pair.tx.reserve(170, None).expect("room");
    room.put(&[1, 2, 3]);
    room.commit();
    let got = pair.rx.pop().expect("honest").expect("there");
    assert_eq!(got.bytes[..8], [1, 2, 3, 0, 0, 0, 0, 0]);
    assert_eq!(got.bytes.len(), 170);
    let mut room = pair.tx.reserve(8, None).expect("room");
    room.put(&[9; 500]);
    room.commit();
    pair.tx.push(&[5]).expect("room");
    assert_eq!(pair.rx.pop().expect("honest").expect("there").bytes, [9; 8]);
    assert_eq!(pair.rx.pop().expect("honest").expect("there").bytes, [5]);
}

/// Records of one line after one of `lines` lines that was put as a whole and dropped, at position `base`.
fn after_a_dropped_record(base: u64, lines: usize, drop: impl Fn(&mut Producer<SharedLines>)) {
    let mut pair = pair(8);
    for _ in 0..base {
        pair.tx.push(&[1]).expect("room");
        pair.rx.pop().expect("honest").expect("there");
        pair.rx.release();
    }
    drop(&mut pair.tx);
    assert_eq!((pair.rx.pop(), pair.tx.tail()), (Ok(None), base));
    for turn in 0..16_u8 {
        pair.tx.push(&[turn]).expect("the room is free again");
        let got = pair.rx.pop().expect("an honest producer").expect("there");
        assert_eq!(got.bytes, [turn], "{lines} lines dropped at {base}");
        assert_eq!(pair.rx.pop(), Ok(None), "{lines} lines dropped at {base}");
        pair.rx.release();
    }
}

#[test]
fn a_reservation_that_is_dropped_publishes_nothing() {
    for (base, lines) in (0..20).flat_map(|base| (1..=8).map(move |lines| (base, lines))) {
        let bytes = vec![1; lines * LINE_PAYLOAD_BYTES];
        after_a_dropped_record(base, lines, |tx| {
            tx.reserve(bytes.len(), None).expect("room").put(&bytes);
        });
    }
}

#[test]
fn a_record_of_a_batch_that_is_dropped_is_not_in_it() {
    for (base, lines) in (0..20).flat_map(|base| (1..=7).map(move |lines| (base, lines))) {
        let bytes = vec![1; lines * LINE_PAYLOAD_BYTES];
        after_a_dropped_record(base, lines, |tx| {
            let mut batch = tx.batch();
            batch.reserve(bytes.len(), None).expect("room").record().put(&bytes);
            assert!(batch.is_empty());
        });
    }
    let mut pair = pair(8);
    let mut batch = pair.tx.batch();
    batch.push(&[7]).expect("room");
    batch.reserve(300, None).expect("room").record().put(&[1; 300]);
    batch.push(&[8]).expect("room");
    assert_eq!(batch.commit(), 2);
    for expected in [7, 8] {
        assert_eq!(pair.rx.pop().expect("honest").expect("published").bytes, [expected]);
    }
    assert_eq!(pair.rx.pop(), Ok(None));
}

#[test]
fn a_writer_that_panics_publishes_nothing() {
    after_a_dropped_record(3, 5, |tx| {
        let writes = std::panic::AssertUnwindSafe(|| {
            let mut room = tx.reserve(280, None).expect("room");
            room.put(&[1; 250]);
            panic!("a writer that fails half way");
        });
        std::panic::catch_unwind(writes).expect_err("it panicked");
    });
}

#[test]
fn a_full_ring_says_what_it_waits_for() {
    let mut pair = pair(8);
    for _ in 0..8 {
        pair.tx.push(&[1]).expect("room");
    }
    let full = Full { wanted: 2, free: 0, until: 2 };
    assert_eq!(pair.tx.push(&[0; 60]), Err(ReserveError::Full(full)));
    pair.rx.pop().expect("honest");
    pair.rx.release();
    let full = Full { wanted: 2, free: 1, until: 2 };
    assert_eq!(pair.tx.push(&[0; 60]), Err(ReserveError::Full(full)));
    pair.rx.pop().expect("honest");
    pair.rx.release();
    pair.tx.push(&[0; 60]).expect("released up to 2");
}

#[test]
fn a_record_that_can_never_fit_is_refused() {
    let mut pair = pair(8);
    let error = pair.tx.push(&[0; 8 * LINE_PAYLOAD_BYTES + 1]).expect_err("nine lines");
    assert_eq!(error, ReserveError::TooLong { bytes: 449, limit: 448 });
    pair.tx.push(&[0; 448]).expect("the whole ring");
}

#[test]
fn a_batch_is_one_publication() {
    let mut pair = pair(64);
    let mut batch = pair.tx.batch();
    for i in 0..5_u8 {
        batch.push(&vec![i; 30 * usize::from(i) + 1]).expect("room");
    }
    assert_eq!(pair.rx.pop(), Ok(None), "nothing before the commit");
    assert_eq!(batch.commit(), 5);
    for i in 0..5_u8 {
        let got = pair.rx.pop().expect("honest").expect("published");
        assert_eq!(got.bytes, vec![i; 30 * usize::from(i) + 1]);
    }
}

#[test]
fn a_batch_that_is_dropped_is_published() {
    let mut pair = pair(8);
    pair.tx.batch().push(&[7]).expect("room");
    assert_eq!(pair.rx.pop().expect("honest").expect("published").bytes, [7]);
}

#[test]
fn a_reply_slot_travels_with_the_command() {
    let mut pair = pair(8);
    pair.tx.reserve(0, Some(3)).expect("room").commit();
    assert_eq!(pair.rx.pop().expect("honest").expect("there").reply_slot, Some(3));
    pair.tx.reserve(0, Some(4)).expect("room").commit();
    let error = pair.rx.pop().expect_err("four slots: 0 to 3");
    assert_eq!(error, Violation::ReplySlot { position: 1, slot: 4, slots: 4 });
}

#[test]
fn payload_that_imitates_tags_of_any_lap_is_never_a_command() {
    let mut pair = pair(8);
    let tags = TagSpace::new(3, 3);
    for turn in 0..40_u64 {
        let lines = 1 + turn % 8;
        let base = pair.tx.tail();
        let mut room = pair.tx.reserve(lines as usize * LINE_PAYLOAD_BYTES, None).expect("room");
        for word in 0..lines * 7 {
            let at = base + word % 24;
            room.word(if word % 2 == 0 { tags.head(at, 8, None) } else { tags.body(at, 1) });
        }
        room.commit();
        let got = pair.rx.pop().expect("honest").expect("there");
        assert_eq!((got.position, got.bytes.len()), (base, lines as usize * LINE_PAYLOAD_BYTES));
        assert_eq!(pair.rx.pop(), Ok(None), "payload passed for a command in turn {turn}");
        pair.rx.release();
    }
}

/// Writes `tag` where the consumer looks next.
fn forge(pair: &Pair, tag: u64) {
    pair.ring.store(pair.rx.position() as usize, 0, tag, Ordering::Release);
}

#[test]
fn h1_a_position_that_jumps_is_a_violation_with_both_numbers() {
    let mut pair = pair(8);
    let tags = TagSpace::new(3, 3);
    forge(&pair, tags.head(8 * 5, 8, None));
    let error = pair.rx.pop().expect_err("five laps ahead");
    let Violation::ForeignTag { position: 0, lap: 0, found } = error else { panic!("{error}") };
    assert_eq!(found >> 48, 5);
    pair.header.store(line::COMMAND_HEAD, 0, 9, Ordering::Release);
    let error = pair.tx.refresh_head().expect_err("nothing was submitted");
    assert_eq!(error, Violation::Position { found: 9, least: 0, most: 0 });
}

#[test]
fn h2_a_position_that_goes_back_is_a_violation() {
    let mut pair = pair(8);
    for _ in 0..20 {
        pair.tx.push(&[1]).expect("room");
        pair.rx.pop().expect("honest");
        pair.rx.release();
        pair.tx.refresh_head().expect("honest");
    }
    forge(&pair, TagSpace::new(3, 3).head(4, 8, None));
    pair.rx.pop().expect_err("two laps back");
    pair.header.store(line::COMMAND_HEAD, 0, 19, Ordering::Release);
    let error = pair.tx.refresh_head().expect_err("went back");
    assert_eq!(error, Violation::Position { found: 19, least: 20, most: 20 });
}

#[test]
fn a_record_longer_than_the_ring_is_a_violation() {
    let mut pair = pair(8);
    forge(&pair, TagSpace::new(3, 3).head(0, 500, None));
    let error = pair.rx.pop().expect_err("nine lines in a ring of eight");
    assert_eq!(error, Violation::TooLong { position: 0, bytes: 500, limit: 448 });
}

#[test]
fn a_body_line_without_its_tag_is_a_violation() {
    let mut pair = pair(8);
    pair.tx.push(&[1; 100]).expect("room");
    pair.ring.store(1, 0, TagSpace::new(3, 3).body(1, 2), Ordering::Release);
    let error = pair.rx.pop().expect_err("the wrong line number");
    assert!(matches!(error, Violation::BodyTag { position: 0, number: 1, .. }));
}

#[test]
fn no_position_near_the_end_of_u64_overflows_in_a_hostile_head() {
    let mut pair = pair(8);
    pair.header.store(line::COMMAND_HEAD, 0, u64::MAX, Ordering::Release);
    for _ in 0..8 {
        pair.tx.push(&[1]).expect("free lines need no look at the head");
    }
    let error = pair.tx.push(&[1]).expect_err("a lie");
    let lie = Violation::Position { found: u64::MAX, least: 0, most: 8 };
    assert_eq!(error, ReserveError::Violation(lie));
}

#[test]
fn a_lie_about_lines_ahead_changes_nothing_that_is_popped() {
    let mut pair = pair(256);
    let tags = TagSpace::new(3, 8);
    for ahead in [40, 64, 65, 100] {
        pair.ring.store(ahead, 0, tags.head(ahead as u64, 56, None), Ordering::Release);
    }
    for n in 0..3_u8 {
        pair.tx.push(&[n]).expect("room");
        assert_eq!(pair.rx.pop().expect("honest").expect("published").bytes, [n]);
        assert_eq!(pair.rx.pop(), Ok(None), "nothing was published behind it");
    }
}
