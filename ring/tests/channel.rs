//! Both ends of a channel, in threads of one process, over a real memfd with real eventfds.
#![cfg(not(ringbar_loom))]

use ringbar::client::{Client, Health};
use ringbar::counters::Counters;
use ringbar::error::ChannelError;
use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::park::FdBlock;
use ringbar::region::Terms;
use ringbar::reply::Ticket;
use ringbar::spsc::Violation;
use ringbar::worker::{Next, Worker};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const SIZES: Sizes = Sizes {
    command_lines: 64,
    reply_slots: 8,
    event_lines: 8,
    fence_words: 64,
    arena_bytes: 1 << 20,
    arena_address: 0,
};

fn pair(features: u64) -> (Client, Worker<FdBlock>) {
    let terms = Terms { vocabulary_hash: 7, features };
    link::pair(SIZES, terms, Options::default()).expect("a fresh channel")
}

/// Waits until the client's counters show what the test is about: its threads block before the worker starts.
fn until(client: &Client, shows: impl Fn(&Counters) -> bool) {
    while !shows(&client.counters()) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Answers every call with its own bytes, cut to 56, until the client leaves. Returns how many commands it saw.
fn echo(mut worker: Worker<FdBlock>) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let completions = worker.completions().clone();
        let mut seen = 0;
        loop {
            match worker.next().expect("an honest client") {
                Next::Command(record) => {
                    seen += 1;
                    if let Some(slot) = record.reply_slot {
                        let ticket = Ticket { slot, position: record.position };
                        completions.reply(ticket, record.bytes);
                    }
                }
                Next::Idle => {}
                Next::ClientGone => return seen,
            }
        }
    })
}

#[test]
fn many_threads_call_at_once_and_each_gets_its_own_reply() {
    for features in [0, link::features_here()] {
        let (client, worker) = pair(features);
        let worker = echo(worker);
        let threads: Vec<_> = (0..12_u64)
            .map(|thread| {
                let client = client.clone();
                thread::spawn(move || {
                    for call in 0..200_u64 {
                        let mut caller = client.caller().expect("a slot");
                        let request = [thread.to_le_bytes(), call.to_le_bytes()].concat();
                        assert_eq!(caller.call(&request).expect("a reply"), request);
                        client.post(&request).expect("room");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().expect("no thread fails"));
        client.close();
        assert_eq!(worker.join().expect("the worker ends"), 12 * 400);
    }
}

#[test]
fn posts_of_threads_that_synchronise_are_consumed_in_that_order() {
    const POSTS: u64 = 3000;
    let (client, mut worker) = pair(0);
    let consumer = thread::spawn(move || {
        for expected in 0..POSTS {
            let number = loop {
                match worker.next().expect("an honest client") {
                    Next::Command(record) => break record.bytes.to_vec(),
                    Next::Idle => {}
                    Next::ClientGone => panic!("{expected} of {POSTS} posts came"),
                }
            };
            assert_eq!(number, expected.to_le_bytes());
        }
    });
    // Three threads hand the next number on: whoever has it posts it.
    let (mut hands, mut takes): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::channel()).unzip();
    hands.rotate_left(1);
    hands[2].send(0).expect("the first one listens");
    let posters: Vec<_> = hands
        .into_iter()
        .zip(takes.drain(..))
        .map(|(hand, take)| {
            let client = client.clone();
            thread::spawn(move || {
                for number in take {
                    client.post(&u64::to_le_bytes(number)).expect("room");
                    if number + 1 == POSTS || hand.send(number + 1).is_err() {
                        break;
                    }
                }
            })
        })
        .collect();
    consumer.join().expect("in order");
    posters.into_iter().for_each(|poster| poster.join().expect("no thread fails"));
}

#[test]
fn a_writer_that_panics_leaves_the_channel_whole() {
    let (client, worker) = pair(0);
    let worker = echo(worker);
    for turn in 0..40_usize {
        let fails = std::panic::AssertUnwindSafe(|| {
            client.post_with(2000, |room| {
                room.put(&[0xaa; 1900][..turn * 40]);
                panic!("a writer that fails half way");
            })
        });
        std::panic::catch_unwind(fails).expect_err("it panicked");
        let mut caller = client.caller().expect("a slot");
        assert_eq!(caller.call(&[turn as u8]).expect("a reply"), [turn as u8]);
    }
    client.close();
    assert_eq!(worker.join().expect("ends"), 40);
}

#[test]
fn a_wait_for_longer_than_a_clock_can_say_ends_like_one_without_limit() {
    let (client, worker) = pair(0);
    let waiter = {
        let client = client.clone();
        thread::spawn(move || client.wait_fence(0, 1, Some(Duration::MAX)))
    };
    thread::sleep(Duration::from_millis(20));
    worker.completions().fence(0, 1).expect("a fence");
    waiter.join().expect("no panic").expect("reached");
}

#[test]
fn a_block_that_is_refused_for_its_alignment_says_so() {
    let (client, _worker) = pair(0);
    let error = client.pin(4096, 96).expect_err("no power of two");
    assert!(matches!(error, ChannelError::Arena(_)) && !error.is_final(), "{error}");
    assert!(error.to_string().contains("alignment 96"), "{error}");
}

#[test]
fn a_slow_pace_parks_both_sides_and_loses_nothing() {
    for features in [0, link::features_here()] {
        let (client, worker) = pair(features);
        let worker = echo(worker);
        let mut caller = client.caller().expect("a slot");
        for call in 0..30_u64 {
            thread::sleep(Duration::from_millis(2));
            assert_eq!(caller.call(&call.to_le_bytes()).expect("a reply"), call.to_le_bytes());
        }
        let counters = client.counters();
        assert!(counters.worker_parks > 0, "the worker slept in the gaps: {counters:?}");
        assert!(counters.client_bells > 0, "and was woken: {counters:?}");
        assert!(counters.client_bells <= counters.batches);
        client.close();
        assert_eq!(worker.join().expect("the worker ends"), 30);
    }
}

#[test]
fn posts_of_all_sizes_through_a_full_ring_arrive_in_order() {
    let (client, mut worker) = pair(0);
    let watched = client.clone();
    let consumer = thread::spawn(move || {
        until(&watched, |counters| counters.full_waits > 0);
        drop(watched);
        let mut expected = 0_u64;
        loop {
            match worker.next().expect("honest") {
                Next::Command(record) => {
                    assert_eq!(record.bytes[..8], expected.to_le_bytes());
                    assert!(record.bytes[8..].iter().all(|&b| b == expected as u8));
                    expected += 1;
                }
                Next::Idle => {}
                Next::ClientGone => return expected,
            }
        }
    });
    for number in 0..5000_u64 {
        let mut record = number.to_le_bytes().to_vec();
        record.resize(8 + (number as usize * 37) % 3000, number as u8);
        client.post(&record).expect("room in time");
    }
    client.close();
    assert_eq!(consumer.join().expect("ends"), 5000);
}

#[test]
fn batches_larger_than_the_ring_go_through_in_pieces() {
    let (client, worker) = pair(0);
    let worker = echo(worker);
    let records: Vec<[u8; 60]> = (0..500_u32).map(|i| [i as u8; 60]).collect();
    let records: Vec<&[u8]> = records.iter().map(|r| &r[..]).collect();
    client.post_batch(&records).expect("room in time");
    let counters = client.counters();
    assert_eq!(counters.commands_submitted, 500);
    assert!(counters.batches < 500, "{} publications", counters.batches);
    client.close();
    assert_eq!(worker.join().expect("ends"), 500);
}

#[test]
fn staged_bytes_reach_the_worker_and_their_room_comes_back() {
    let (client, mut worker) = pair(0);
    let watched = client.clone();
    let consumer = thread::spawn(move || {
        until(&watched, |counters| counters.arena_waits > 0);
        drop(watched);
        let arena = worker.completions().arena().clone();
        let mut sum = 0_u64;
        loop {
            let end = match worker.next().expect("honest") {
                Next::Command(record) => {
                    let at = u64::from_le_bytes(record.bytes[..8].try_into().expect("eight"));
                    let mut copy = vec![0; 100_000];
                    arena.read(at, &mut copy).expect("inside");
                    sum += copy.iter().map(|&b| u64::from(b)).sum::<u64>();
                    true
                }
                Next::Idle => false,
                Next::ClientGone => return sum,
            };
            if end {
                worker.publish_soon();
            }
        }
    });
    for round in 0..100_u8 {
        let staged = client.stage(100_000).expect("room in time");
        staged.write(0, &[round; 100_000]).expect("inside the block");
        let position = client.post(&staged.address().to_le_bytes()).expect("room");
        staged.posted(position);
    }
    client.close();
    assert_eq!(consumer.join().expect("ends"), 100_000 * (0..100).sum::<u64>());
}

#[test]
fn a_block_larger_than_the_staging_area_is_refused_at_once() {
    let (client, _worker) = pair(0);
    let error = client.stage(client.staging_bytes() + 1).expect_err("too large");
    assert!(matches!(error, ChannelError::ArenaFull { .. }), "{error}");
    assert!(!error.is_final());
}

#[test]
fn a_pinned_block_is_reused_only_after_what_was_posted_before_is_retired() {
    let (client, mut worker) = pair(0);
    let all = client.pin(512 << 10, 4096).expect("half the arena is for pinning");
    client.post(b"uses it").expect("room");
    assert!(client.unpin(all.address).expect("alive"));
    assert!(!client.unpin(all.address).expect("alive"), "it left already");
    client.pin(64, 64).expect_err("the command is not retired");
    while !matches!(worker.next().expect("honest"), Next::Idle) {}
    client.pin(512 << 10, 4096).expect("retired, so free again");
}

#[test]
fn fences_and_errors_and_events_reach_the_client() {
    let (client, worker) = pair(0);
    let completions = worker.completions().clone();
    let waiter = {
        let client = client.clone();
        thread::spawn(move || client.wait_fence(63, 5, None))
    };
    thread::sleep(Duration::from_millis(20));
    completions.fence(63, 5).expect("the last word");
    waiter.join().expect("no panic").expect("reached");
    completions.fence(64, 1).expect_err("there is no such word");
    client.wait_fence(64, 1, None).expect_err("nor for the client");

    assert_eq!(client.first_post_error(), None);
    client.post(b"fails").expect("room");
    client.post(b"fails too").expect("room");
    completions.post_failed(0, 719);
    completions.post_failed(1, 1);
    assert_eq!(client.first_post_error(), Some((0, 719)), "the first one stays");

    assert!(completions.event(b"hello").expect("room"));
    client.wait_event(None).expect("there");
    assert_eq!(client.poll_event(<[u8]>::to_vec).expect("honest"), Some(b"hello".to_vec()));
    assert_eq!(client.poll_event(<[u8]>::to_vec).expect("honest"), None);
    let sent = (0..20).filter(|_| completions.event(b"flood").expect("never waits")).count();
    assert_eq!((sent, client.counters().events_lost), (8, 12));
}

#[test]
fn a_deadline_ends_one_wait_and_not_the_channel() {
    let (client, worker) = pair(0);
    let limit = Some(Duration::from_millis(5));
    let error = client.wait_fence(0, 1, limit).expect_err("nobody raises it");
    assert!(matches!(error, ChannelError::Deadline { .. }));
    let mut caller = client.caller().expect("a slot");
    caller.call_with(0, |_| {}, limit).expect_err("nobody answers");
    let worker = echo(worker);
    assert_eq!(caller.call(b"again").expect("another slot"), b"again");
    client.close();
    worker.join().expect("ends");
}

#[test]
fn a_slot_whose_caller_gave_up_is_used_again_once_its_late_reply_has_come() {
    let (client, worker) = pair(0);
    let limit = Duration::from_millis(5);
    let slots = SIZES.reply_slots as usize;
    let mut callers: Vec<_> = (0..slots).map(|_| client.caller().expect("a slot")).collect();
    let none = client.caller_within(limit).err().expect("all of them are leased");
    assert!(matches!(none, ChannelError::Deadline { .. }), "{none}");
    for caller in &mut callers {
        caller.call_with(8, |room| room.word(1), Some(limit)).expect_err("nobody answers");
    }
    drop(callers);
    let none = client.caller_within(limit).err().expect("replies may still come in all of them");
    assert!(matches!(none, ChannelError::Deadline { .. }), "{none}");
    let worker = echo(worker);
    // All late replies come before the first new one; every slot works.
    let mut again: Vec<_> = (0..slots).map(|_| client.caller().expect("a slot")).collect();
    for (number, caller) in again.iter_mut().enumerate() {
        let request = [number as u8; 3];
        assert_eq!(caller.call(&request).expect("an answer"), request);
    }
    drop(again);
    client.close();
    worker.join().expect("ends");
}

#[test]
fn a_call_that_finds_the_ring_full_ends_at_its_deadline() {
    let (client, _worker) = pair(0);
    let mut caller = client.caller().expect("a slot");
    for _ in 0..SIZES.command_lines {
        client.post(b"one line").expect("room");
    }
    let limit = Some(Duration::from_millis(5));
    let error = caller.call_with(8, |room| room.word(1), limit).expect_err("no room");
    assert!(matches!(error, ChannelError::Deadline { .. }), "{error}");
    assert_eq!(client.tail(), u64::from(SIZES.command_lines), "nothing was sent");
}

#[test]
fn a_worker_that_leaves_ends_every_wait_with_closed() {
    let (client, worker) = pair(0);
    let waiters: Vec<_> = (0..4)
        .map(|i| {
            let client = client.clone();
            thread::spawn(move || client.wait_fence(i, 1, None))
        })
        .collect();
    thread::sleep(Duration::from_millis(20));
    worker.close();
    for waiter in waiters {
        let error = waiter.join().expect("no panic").expect_err("closed");
        assert!(matches!(error, ChannelError::Closed), "{error}");
    }
    assert!(matches!(client.post(b"more"), Err(ChannelError::Closed)));
}

#[test]
fn a_worker_whose_socket_closes_is_dead_with_its_work_counted() {
    let (client, worker) = pair(0);
    client.post(b"one").expect("room");
    client.post(b"two").expect("room");
    let waiter = {
        let client = client.clone();
        thread::spawn(move || client.wait_fence(0, 1, None))
    };
    thread::sleep(Duration::from_millis(20));
    drop(worker); // closes its end of the socket, says nothing
    let error = waiter.join().expect("no panic").expect_err("dead");
    assert!(matches!(error, ChannelError::PeerDied { in_flight: 2 }), "{error}");
    assert!(matches!(client.health(), Health::Ended(ChannelError::PeerDied { .. })));
}

#[test]
fn a_violation_poisons_the_channel_once_and_both_sides_know() {
    let (client, mut worker) = pair(0);
    let completions = worker.completions().clone();
    let waiter = {
        let client = client.clone();
        thread::spawn(move || client.wait_fence(0, 1, None))
    };
    thread::sleep(Duration::from_millis(20));
    let what = "opcode 999".to_string();
    completions.poison(Violation::Command { position: 3, what });
    let error = waiter.join().expect("no panic").expect_err("poisoned");
    assert!(matches!(error, ChannelError::Poisoned { code: 8, .. }), "{error}");
    assert!(error.to_string().contains("command"));
    client.post(b"more").expect_err("over");
    assert!(matches!(worker.next(), Ok(Next::Idle | Next::ClientGone)), "nothing more is read");
}

#[test]
fn more_callers_than_slots_wait_for_one() {
    let (client, worker) = pair(0);
    let worker = echo(worker);
    let held: Vec<_> = (0..8).map(|_| client.caller().expect("a slot")).collect();
    let late = {
        let client = client.clone();
        thread::spawn(move || client.caller().and_then(|mut c| c.call(b"late").map(<[u8]>::to_vec)))
    };
    thread::sleep(Duration::from_millis(20));
    assert!(!late.is_finished(), "eight slots are leased");
    drop(held);
    assert_eq!(late.join().expect("no panic").expect("a slot came free"), b"late");
    client.close();
    worker.join().expect("ends");
}
