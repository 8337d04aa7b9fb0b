//! A hostile client: what the worker makes of it. The rows H1 to H12 are those of the threat model.
#![cfg(not(any(ringbar_loom, miri)))]

mod hostile_rig;

use hostile_rig::{Attacker, COMMAND_SHIFT, GENERATION, Random, Rig, returns, rig, rig_with};
use ringbar::arena::address;
use ringbar::client::Client;
use ringbar::error::ChannelError;
use ringbar::layout::line;
use ringbar::lines::Lines;
use ringbar::link;
use ringbar::park::FdBlock;
use ringbar::region::State;
use ringbar::reply::Ticket;
use ringbar::spsc::Violation;
use ringbar::sync::Ordering;
use ringbar::tag::TagSpace;
use ringbar::worker::{Next, Worker};
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::Errno;
use std::thread;
use std::time::{Duration, Instant};

const TAGS: TagSpace = TagSpace::new(GENERATION, COMMAND_SHIFT);

/// Writes `tag` where the worker looks first.
fn forge(attacker: &Attacker, tag: u64) {
    attacker.commands.store(0, 0, tag, Ordering::Release);
}

/// The violation that `result` is.
fn violation<T: std::fmt::Debug>(result: Result<T, ChannelError>) -> Violation {
    match result {
        Err(ChannelError::Violation(violation)) => violation,
        other => panic!("expected a violation, found {other:?}"),
    }
}

/// Serves calls with their own bytes until the client leaves or breaks the protocol; says how many commands there were.
fn serve(mut worker: Worker<FdBlock>) -> (u64, Option<Violation>) {
    let completions = worker.completions().clone();
    let mut commands = 0;
    loop {
        match worker.next() {
            Ok(Next::Command(record)) => {
                commands += 1;
                if let Some(slot) = record.reply_slot {
                    completions.reply(Ticket { slot, position: record.position }, record.bytes);
                }
            }
            Ok(Next::Idle) => {}
            Ok(Next::ClientGone) => return (commands, None),
            Err(ChannelError::Violation(violation)) => return (commands, Some(violation)),
            Err(other) => panic!("{other}"),
        }
    }
}

/// The client learns of its own violation by this code.
fn assert_poisoned(client: &Client, expected: u32) {
    let error = client.post(b"more").expect_err("the channel is over");
    assert!(matches!(error, ChannelError::Poisoned { code, .. } if code == expected), "{error}");
}

#[test]
fn h1_a_tail_that_jumps_is_poisoned_with_both_numbers() {
    let Rig { client, mut worker, attacker } = rig();
    forge(&attacker, TAGS.head(64 * 5, 8, None));
    let found = violation(worker.next());
    let Violation::ForeignTag { position: 0, lap: 0, found } = found else { panic!("{found}") };
    assert_eq!(found >> 48, 5);
    assert_poisoned(&client, 1);
}

#[test]
fn h1_an_event_head_that_jumps_is_poisoned_with_both_numbers() {
    let Rig { client, worker, attacker } = rig();
    let completions = worker.completions().clone();
    attacker.set_header(line::EVENT_HEAD, 0, u64::MAX);
    let sent = (0..9).map(|_| completions.event(b"event"));
    let found = violation(sent.collect::<Result<Vec<_>, _>>());
    assert_eq!(found, Violation::Position { found: u64::MAX, least: 0, most: 8 });
    assert_poisoned(&client, 5);
}

#[test]
fn h2_a_tail_that_goes_back_is_poisoned() {
    let Rig { client, mut worker, attacker } = rig();
    for _ in 0..200 {
        client.post(b"one line").expect("room");
        assert!(matches!(worker.next(), Ok(Next::Command(_))));
    }
    let next = 200_u64;
    attacker.commands.store(next as usize, 0, TAGS.head(next - 128, 8, None), Ordering::Release);
    let found = violation(worker.next());
    assert!(matches!(found, Violation::ForeignTag { position: 200, lap: 3, .. }), "{found}");
    assert_poisoned(&client, 1);
}

#[test]
fn h2_an_event_head_that_goes_back_is_poisoned() {
    let Rig { client, worker, attacker } = rig();
    let completions = worker.completions().clone();
    for _ in 0..20 {
        assert!(completions.event(b"event").expect("room"));
        client.poll_event(|_| ()).expect("honest").expect("there");
    }
    attacker.set_header(line::EVENT_HEAD, 0, 3);
    let sent = (0..9).map(|_| completions.event(b"event"));
    let found = violation(sent.collect::<Result<Vec<_>, _>>());
    assert!(matches!(found, Violation::Position { found: 3, .. }), "{found}");
}

#[test]
fn h3_tags_that_flap_between_loads_have_no_effect_or_are_poisoned() {
    for seed in 0..20 {
        let Rig { client, worker, attacker } = rig();
        let attack = attacker.keep(move |attacker, random| {
            let at = (random.next() ^ seed) % 64;
            let tag = match random.below(64) {
                0 => random.next(),
                1 => TAGS.body(at, 1),
                other => TAGS.head(at, (other % 9) as usize * 30, None),
            };
            attacker.commands.store(at as usize, 0, tag, Ordering::Release);
        });
        let (_, found) = returns(move || serve(worker));
        let found = found.expect("nobody honest writes these tags");
        assert!(matches!(found.code(), 1..=4), "{found}");
        drop(attack);
        assert_eq!(attacker.state(line::HOST_STATUS), State::Poisoned);
        assert_eq!(attacker.error_code(line::HOST_STATUS), found.code());
        drop(client);
    }
}

#[test]
fn h4_bytes_that_change_while_a_command_is_read_do_not_change_the_command() {
    let Rig { client, mut worker, attacker } = rig();
    let attack = attacker.keep(|attacker, random| {
        let (at, word) = (random.below(64) as usize, 1 + random.below(7) as usize);
        attacker.commands.set_payload(at, word, random.next());
    });
    let consumer = thread::spawn(move || {
        let mut commands = 0;
        while commands < 2000 {
            if let Next::Command(record) = worker.next().expect("no tag is touched") {
                let first = record.bytes.to_vec();
                thread::yield_now();
                assert_eq!(first, record.bytes, "what was decoded changed afterwards");
                assert_eq!(record.bytes.len(), 500);
                commands += 1;
            }
        }
    });
    for _ in 0..2000 {
        client.post(&[7; 500]).expect("room in time");
    }
    returns(move || consumer.join().expect("the worker ends"));
    assert!(attack.rounds() > 0);
}

#[test]
fn h5_lengths_beyond_the_limits_are_refused_before_any_payload_is_read() {
    for bytes in [64 * 56 + 1, 7169, 8191] {
        let Rig { client, mut worker, attacker } = rig();
        forge(&attacker, TAGS.head(0, bytes, None));
        assert_eq!(
            violation(worker.next()),
            Violation::TooLong { position: 0, bytes, limit: 64 * 56 }
        );
        assert_poisoned(&client, 3);
    }
}

#[test]
fn h5_blocks_that_overflow_or_reach_outside_the_arena_are_refused() {
    let hostile = [
        (address(0, 1 << 20), 1),
        (address(0, (1 << 20) - 1), 2),
        (address(0, 1), u64::MAX),
        (address(0, (1 << 48) - 1), (1 << 48) + 1),
        (address(1, 0), 1),
        (address(63, 0), 1),
        (address(64, 0), 1),
        (u64::MAX, u64::MAX),
    ];
    for (at, len) in hostile {
        let Rig { client, mut worker, .. } = rig();
        client.post(&[at.to_le_bytes(), len.to_le_bytes()].concat()).expect("room");
        let (at, len) = match worker.next() {
            Ok(Next::Command(record)) => {
                let word =
                    |i: usize| u64::from_le_bytes(record.bytes[i..i + 8].try_into().unwrap());
                (word(0), word(8))
            }
            other => panic!("{other:?}"),
        };
        let completions = worker.completions().clone();
        let found = completions.arena().block(at, len).expect_err("outside");
        assert!(matches!(found, Violation::Range { start, .. } if start == at));
        completions.poison(found);
        assert_poisoned(&client, 7);
    }
}

#[test]
fn h5_blocks_that_overlap_are_two_views_of_the_same_bytes_and_nothing_else() {
    let Rig { worker, .. } = rig();
    let arena = worker.completions().arena().clone();
    arena.write(address(0, 100), &[1; 100]).expect("inside");
    arena.write(address(0, 150), &[2; 100]).expect("inside");
    let mut all = [0; 200];
    arena.read(address(0, 75), &mut all).expect("inside");
    let expected = [&[0; 25][..], &[1; 50], &[2; 100], &[0; 25]].concat();
    assert_eq!(all[..], expected);
}

#[test]
fn h7_reserved_bits_and_kinds_that_do_not_exist_are_poisoned() {
    let slot_without_call = TAGS.head(0, 8, None) | 5 << 32;
    let kind_three = TAGS.head(0, 8, None) | 3 << 13;
    let body = TAGS.body(0, 1);
    let other_generation = TagSpace::new(GENERATION + 1, COMMAND_SHIFT).head(0, 8, None);
    for tag in [slot_without_call, kind_three, body, other_generation, 1, u64::MAX] {
        let Rig { client, mut worker, attacker } = rig();
        forge(&attacker, tag);
        let found = violation(worker.next());
        assert_eq!(found, Violation::ForeignTag { position: 0, lap: 0, found: tag });
        assert_poisoned(&client, 1);
    }
}

#[test]
fn h7_a_reply_slot_that_does_not_exist_is_poisoned() {
    let Rig { client, mut worker, attacker } = rig();
    forge(&attacker, TAGS.head(0, 8, Some(8)));
    let found = violation(worker.next());
    assert_eq!(found, Violation::ReplySlot { position: 0, slot: 8, slots: 8 });
    assert_poisoned(&client, 4);
}

#[test]
fn a_channel_is_poisoned_once_and_its_ring_is_not_read_again() {
    let Rig { client, mut worker, attacker } = rig();
    forge(&attacker, TAGS.head(0, 8, Some(8)));
    let warnings = hostile_rig::warnings(|| {
        let first = violation(worker.next());
        for tag in [u64::MAX, TAGS.head(0, 8191, None), TAGS.head(0, 8, None), 0] {
            forge(&attacker, tag);
            assert_eq!(violation(worker.next()), first, "the first one stays");
        }
    });
    assert_eq!(warnings, 1);
    assert_eq!(attacker.error_code(line::HOST_STATUS), 4);
    assert_eq!(attacker.state(line::HOST_STATUS), State::Poisoned);
    assert_poisoned(&client, 4);
}

#[test]
fn h9_a_doorbell_storm_without_commands_is_counted_and_slows_only_its_sender() {
    const LOOKS: u32 = 200;
    let Rig { client, mut worker, attacker } = rig();
    let storm = attacker.keep(|attacker, _| attacker.worker_bell.signal().expect("a doorbell"));
    let worker = returns(move || {
        let start = Instant::now();
        for _ in 0..LOOKS {
            assert!(matches!(worker.next(), Ok(Next::Idle)));
        }
        // After the first 16 empty wake-ups each costs the storm a millisecond, and the worker almost nothing.
        assert!(start.elapsed() >= Duration::from_millis(u64::from(LOOKS) - 20));
        worker
    });
    let counters = client.counters();
    assert!(counters.empty_wakes >= u64::from(LOOKS) - 10, "{counters:?}");
    let worker = thread::spawn(move || serve(worker));
    let reply =
        client.caller().and_then(|mut caller| caller.call(b"still there").map(<[u8]>::to_vec));
    assert_eq!(reply.expect("the worker serves on"), b"still there");
    assert!(storm.rounds() > u64::from(LOOKS));
    drop(storm);
    client.close();
    assert_eq!(returns(move || worker.join().expect("no panic")), (1, None));
}

#[test]
fn h11_the_region_can_be_neither_shrunk_nor_grown() {
    let Rig { attacker, .. } = rig();
    let size = rustix::fs::fstat(&attacker.memfd).expect("a memfd").st_size as u64;
    for wrong in [0, size - 4096, size + 4096] {
        assert_eq!(ftruncate(&attacker.memfd, wrong), Err(Errno::PERM), "{wrong} bytes");
    }
}

/// Gives `len` bytes at `offset` of the memfd back to the system.
fn punch(attacker: &Attacker, offset: u64, len: u64) {
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&attacker.memfd, hole, offset, len).expect("a hole");
}

#[test]
fn h11_a_hole_in_the_command_ring_is_a_violation_of_that_client_only() {
    let Rig { client: other, worker: other_worker, .. } = rig();
    let other_worker = thread::spawn(move || serve(other_worker));
    let Rig { client, mut worker, attacker } = rig();
    for _ in 0..100 {
        client.post(b"into the second lap").expect("room");
        assert!(matches!(worker.next(), Ok(Next::Command(_))));
    }
    client.post(b"lost").expect("room");
    // Directory and header are one page each, then the ring begins.
    punch(&attacker, 8192, 4096);
    let found = violation(worker.next());
    assert_eq!(found, Violation::ForeignTag { position: 100, lap: 1, found: 0 });
    assert_poisoned(&client, 1);
    let mut caller = other.caller().expect("a slot");
    assert_eq!(caller.call(b"unharmed").expect("a reply"), b"unharmed");
    drop(caller);
    other.close();
    assert_eq!(other_worker.join().expect("no panic"), (1, None));
}

#[test]
fn h11_holes_everywhere_while_commands_run_end_the_channel_and_not_the_process() {
    for seed in 0..10 {
        let Rig { client, worker, attacker } = rig();
        let attack = attacker.keep(move |attacker, _| {
            let pages = rustix::fs::fstat(&attacker.memfd).expect("a memfd").st_size as u64 / 4096;
            (seed..pages.min(8)).for_each(|page| punch(attacker, page * 4096, 4096));
            punch(attacker, 8 * 4096, (pages - 8) * 4096);
        });
        let arena = worker.completions().arena().clone();
        let worker = thread::spawn(move || serve(worker));
        let posts = client.clone();
        let poster = thread::spawn(move || {
            // Some of it arrives, until the client's own holes end its channel, swallow a command for ever, or do not.
            let mut bytes = [0; 4096];
            for number in 0..2000_u64 {
                if posts.post(&number.to_le_bytes()).is_err() {
                    break;
                }
                arena.read(address(0, number * 8), &mut bytes).expect("inside");
                assert_eq!(bytes, [0; 4096], "a hole reads as zeros");
            }
        });
        thread::sleep(Duration::from_millis(50));
        drop(attack);
        // A post that waits for room behind a swallowed command ends with its own channel.
        client.close();
        returns(move || poster.join().expect("the poster ends"));
        // The state may have been punched away with the header: then the socket tells.
        drop(client);
        returns(move || worker.join().expect("the worker ends, by itself"));
    }
}

#[test]
fn h12_magic_version_and_sizes_rewritten_after_the_attach_have_no_effect() {
    for features in [0, link::features_here()] {
        let Rig { client, worker, attacker } = rig_with(features);
        let worker = thread::spawn(move || serve(worker));
        let attack = attacker.keep(|attacker, random| {
            let word = random.below(8) as usize;
            for constant in [line::IDENTITY, line::GEOMETRY] {
                attacker.set_header(constant, word, random.next());
            }
            attacker.directory.store(
                random.below(32) as usize,
                word,
                random.next(),
                Ordering::Relaxed,
            );
        });
        let calls = client.clone();
        returns(move || {
            let mut caller = calls.caller().expect("a slot");
            for number in 0..5000_u64 {
                let request = number.to_le_bytes();
                assert_eq!(caller.call(&request).expect("a reply"), request);
                let staged = calls.stage(5000).expect("room in time");
                staged.write(0, &[number as u8; 5000]).expect("inside");
                let position = calls.post(&staged.address().to_le_bytes()).expect("room");
                staged.posted(position);
            }
        });
        drop(attack);
        client.close();
        assert_eq!(returns(move || worker.join().expect("no panic")), (10_000, None));
    }
}

#[test]
fn sleep_words_that_flap_at_full_speed_cost_a_bounded_number_of_doorbells_and_nothing_hangs() {
    // A wake-up that the attack swallows costs a re-look of 50 ms, so not too many.
    const CALLS: u64 = 300;
    for features in [0, link::features_here()] {
        let Rig { client, mut worker, attacker } = rig_with(features);
        let attack = attacker.keep(|attacker, random| {
            attacker.set_header(line::WORKER_SLEEP, 0, random.next());
            attacker.set_header(line::CLIENT_SLEEP, 0, random.next());
        });
        let worker = thread::spawn(move || {
            let completions = worker.completions().clone();
            let (mut looks, mut replies) = (0_u64, 0_u64);
            loop {
                looks += 1;
                match worker.next().expect("no ring line is touched") {
                    Next::Command(record) => {
                        let slot = record.reply_slot.expect("a call");
                        replies += 1;
                        completions.reply(Ticket { slot, position: record.position }, record.bytes);
                    }
                    Next::Idle => {}
                    Next::ClientGone => return (looks, replies),
                }
            }
        });
        let calls = client.clone();
        returns(move || {
            let mut caller = calls.caller().expect("a slot");
            for number in 0..CALLS {
                let request = number.to_le_bytes();
                assert_eq!(caller.call(&request).expect("a reply"), request);
            }
        });
        client.close();
        let (looks, replies) = returns(move || worker.join().expect("no panic"));
        let counters = client.counters();
        assert_eq!(replies, CALLS);
        assert!(counters.client_bells <= counters.batches, "{counters:?}");
        assert!(counters.worker_bells <= replies + 2 * looks, "{looks} looks, {counters:?}");
        assert!(attack.rounds() > 0);
    }
}

#[test]
fn anything_written_anywhere_ends_in_a_typed_error_or_in_no_effect() {
    for seed in 0..10 {
        let Rig { client, worker, attacker } = rig();
        let worker = thread::spawn(move || serve(worker));
        let mut own = Random::new(seed);
        let attack = attacker.keep(move |attacker, random| {
            let value =
                [random.next(), own.next() >> 32, own.below(200), 0][random.below(4) as usize];
            let (at, word) = (random.next() as usize, random.below(8) as usize);
            let places =
                [&attacker.header, &attacker.commands, &attacker.replies, &attacker.events];
            places[random.below(4) as usize].store(at, word, value, Ordering::Relaxed);
            thread::yield_now();
        });
        let uses = client.clone();
        returns(move || {
            let limit = Some(Duration::from_millis(20));
            while let Ok(mut caller) = uses.caller() {
                match caller.call_with(8, |room| room.word(3), limit) {
                    Ok(reply) => assert!(reply.len() <= 56),
                    Err(error) if error.is_final() => break,
                    Err(_) => {}
                }
                let _ = (uses.poll_event(<[u8]>::len), uses.executed(), uses.stage(4096).map(drop));
            }
        });
        drop(attack);
        drop(client);
        returns(move || worker.join().expect("the worker never panics"));
    }
}
