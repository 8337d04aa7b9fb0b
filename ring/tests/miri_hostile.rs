//! One side at work while the other writes arbitrary words, atomically, at the same time: whatever comes of it is `Ok` or a
//! [`Violation`], and for Miri: never undefined behaviour. `cargo +nightly miri test -p ringbar --test miri_hostile`.
#![cfg(not(ringbar_loom))]

mod miri_rig;

use miri_rig::{GENERATION, Rig, heap_lines, rig};
use ringbar::error::ChannelError;
use ringbar::layout::{HEADER_LINES, line};
use ringbar::lines::{Lines, SharedLines};
use ringbar::region::State;
use ringbar::reply::{ReplyBytes, Slot, Ticket};
use ringbar::spsc::{Consumer, Direction, Producer, ReserveError, Violation};
use ringbar::sync::{Arc, AtomicBool, Ordering};
use ringbar::tag::{self, REPLY_BYTES_MAX, TagSpace};
use ringbar::worker::Next;
use std::thread::{self, JoinHandle};
use std::time::Duration;

const RUNS: u64 = if cfg!(miri) { 6 } else { 100 };
const STEPS: u64 = if cfg!(miri) { 600 } else { 3000 };

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(32)
    }
}

/// Calls `write` over and over until told to stop.
struct Attack {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Attack {
    fn start(seed: u64, mut write: impl FnMut(&mut Random) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            while !stopped.load(Ordering::Relaxed) {
                write(&mut random);
                thread::yield_now();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// A word anywhere in `lines`: arbitrary, small, or a tag that nearly fits.
fn scribble(lines: &SharedLines, random: &mut Random) {
    let (at, word) = (random.next() as usize, (random.next() % 8) as usize);
    // Line 0 half of the time: that is where a new consumer looks.
    let at = if random.next().is_multiple_of(2) { 0 } else { at };
    let tags = TagSpace::new(GENERATION, lines.count().trailing_zeros());
    let position = (at & lines.mask()) as u64
        + u64::from(random.next().is_multiple_of(4)) * lines.count() as u64;
    let value = match random.next() % 8 {
        0 => random.next(),
        1 => random.next() % 100,
        2 => tags.body(position, (random.next() % 3) as usize),
        3 => tag::reply(GENERATION, random.next() % 100, (random.next() % 57) as usize),
        4 => tags.head(position, (random.next() % 8192) as usize, None),
        _ => tags.head(position, (random.next() % 150) as usize, Some((random.next() % 3) as u16)),
    };
    let word = if random.next().is_multiple_of(2) { 0 } else { word };
    lines.store(at, word, value, Ordering::Release);
}

#[test]
fn a_consumer_of_scribbled_lines_gets_records_or_violations() {
    let (mut records, mut violations) = (0, 0);
    for seed in 0..RUNS {
        let (ring, header) = (heap_lines(8), heap_lines(HEADER_LINES));
        let attacked = ring.clone();
        let _attack = Attack::start(seed, move |random| scribble(&attacked, random));
        for _ in 0..STEPS / 10 {
            // A violation ends a channel: the next one begins on the same lines.
            let way = Direction::Commands;
            let (ring, header) = (ring.clone(), header.clone());
            let mut consumer = Consumer::new(ring, header, way, GENERATION, 2);
            for _ in 0..10 {
                thread::yield_now();
                match consumer.pop() {
                    Ok(Some(record)) => {
                        assert!(record.bytes.len() <= 8 * 56);
                        assert!(record.reply_slot.is_none_or(|slot| slot < 2));
                        assert_eq!(record.bytes.to_vec(), record.bytes, "a private copy");
                        records += 1;
                    }
                    Ok(None) => consumer.idle(),
                    Err(_) => {
                        violations += 1;
                        break;
                    }
                }
            }
        }
    }
    assert!(records > 0 && violations > 0, "{records} records, {violations} violations");
}

#[test]
fn a_producer_into_scribbled_lines_goes_on_or_finds_a_violation() {
    let (mut pushed, mut violations) = (0, 0);
    // On a busy machine an attacker may come late to some runs, never to all of so many.
    for seed in 0..100 * RUNS {
        if seed >= RUNS && pushed > 0 && violations > 0 {
            break;
        }
        let (ring, header) = (heap_lines(8), heap_lines(HEADER_LINES));
        let attacked = (ring.clone(), header.clone());
        let _attack = Attack::start(seed, move |random| {
            scribble(&attacked.0, random);
            let head =
                [random.next() % 40, random.next()][usize::from(random.next().is_multiple_of(8))];
            attacked.1.store(line::COMMAND_HEAD, 0, head, Ordering::Release);
        });
        let mut producer = Producer::new(ring, header, Direction::Commands, GENERATION);
        for step in 0..STEPS {
            thread::yield_now();
            let tail = producer.tail();
            match producer.push(&vec![1; (step % 200) as usize]) {
                Ok(position) => {
                    assert_eq!(position, tail);
                    pushed += 1;
                }
                Err(ReserveError::Full(full)) => assert!(full.free < full.wanted),
                Err(ReserveError::Violation(Violation::Position { found, least, most })) => {
                    assert!(found < least || found > most);
                    violations += 1;
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(pushed > 0 && violations > 0, "{pushed} pushed, {violations} violations");
}

#[test]
fn a_caller_at_a_scribbled_slot_gets_a_reply_or_a_violation() {
    let (mut replies_taken, mut violations) = (0, 0);
    for seed in 0..RUNS {
        let replies = heap_lines(4);
        let attacked = replies.clone();
        let _attack = Attack::start(seed, move |random| {
            let tag = tag::reply(GENERATION, 7, (random.next() % 57) as usize);
            let value = if random.next().is_multiple_of(4) { random.next() } else { tag };
            let word = (random.next() % 8) as usize;
            attacked.store(
                random.next() as usize,
                if word < 5 { 0 } else { word },
                value,
                Ordering::Release,
            );
        });
        for _ in 0..STEPS / 3 {
            let mut slot = Slot::new(1, GENERATION);
            let mut bytes: ReplyBytes = [0; REPLY_BYTES_MAX];
            match slot.take(&replies, 7, &mut bytes) {
                Ok(Some(len)) => {
                    assert!(len <= REPLY_BYTES_MAX);
                    replies_taken += 1;
                }
                Ok(None) => {}
                Err(Violation::Reply { slot: 1, position: 7, .. }) => violations += 1,
                Err(other) => panic!("{other}"),
            }
            thread::yield_now();
        }
    }
    assert!(replies_taken > 0 && violations > 0, "{replies_taken} taken, {violations} violations");
}

#[test]
fn a_whole_channel_under_attack_ends_in_typed_errors() {
    for seed in 0..RUNS {
        let Rig { client, mut worker, attacked } = rig();
        let header = attacked[0].clone();
        let attack = Attack::start(seed, move |random| {
            let lines = &attacked[(random.next() % 4) as usize];
            scribble(lines, random);
        });
        let served = thread::spawn(move || {
            let completions = worker.completions().clone();
            loop {
                match worker.next() {
                    Ok(Next::Command(record)) => {
                        if let Some(slot) = record.reply_slot {
                            let ticket = Ticket { slot, position: record.position };
                            completions.reply(ticket, record.bytes);
                        }
                        let _ = completions.event(b"event");
                    }
                    Ok(Next::Idle) => {}
                    Ok(Next::ClientGone) => return,
                    Err(ChannelError::Violation(_)) => return,
                    Err(other) => panic!("{other}"),
                }
            }
        });
        for _ in 0..STEPS / 10 {
            let limit = Some(Duration::from_millis(1));
            let called = client.caller().and_then(|mut caller| {
                caller.call_with(60, |room| room.put(&[3; 60]), limit).map(<[u8]>::len)
            });
            let staged = client.stage(500).map(|staged| staged.write(3, &[1; 400]));
            let polled = client.poll_event(<[u8]>::len);
            if [called.err(), staged.err(), polled.err()]
                .into_iter()
                .flatten()
                .any(|e| e.is_final())
            {
                break;
            }
        }
        drop(attack);
        drop(client);
        // The client may be unable to say that it left; a socket would tell then, which this rig has not.
        let closed = u64::from(GENERATION) << 32 | u64::from(State::Closed.number());
        header.store(line::CLIENT_STATUS, 0, closed, Ordering::Release);
        served.join().expect("the worker never panics");
    }
}
