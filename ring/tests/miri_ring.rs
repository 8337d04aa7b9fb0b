//! The ring and a whole channel over plain memory, small enough for Miri: `cargo +nightly miri test -p ringbar --test
//! miri_ring`. Without Miri they are ordinary tests.
#![cfg(not(ringbar_loom))]

mod miri_rig;

use miri_rig::{GENERATION, Rig, heap_lines, rig};
use ringbar::arena::{Arena, address};
use ringbar::layout::HEADER_LINES;
use ringbar::lines::SharedLines;
use ringbar::os::Mapping;
use ringbar::reply::{self, ReplyBytes, Slot, Ticket};
use ringbar::spsc::{Consumer, Direction, Producer, ReserveError};
use ringbar::sync::Arc;
use ringbar::tag::REPLY_BYTES_MAX;
use ringbar::worker::Next;
use std::thread;

type Ends = (Producer<SharedLines>, Consumer<SharedLines>);

fn ends(lines: usize) -> Ends {
    let (ring, header) = (heap_lines(lines), heap_lines(HEADER_LINES));
    let way = Direction::Commands;
    let producer = Producer::new(ring.clone(), header.clone(), way, GENERATION);
    (producer, Consumer::new(ring, header, way, GENERATION, 4))
}

fn push(producer: &mut Producer<SharedLines>, record: &[u8]) {
    loop {
        match producer.push(record) {
            Ok(_) => return,
            Err(ReserveError::Full(_)) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn record(number: usize) -> Vec<u8> {
    (0..(number * 37) % 300).map(|i| (i + number) as u8).collect()
}

#[test]
fn records_of_many_lengths_cross_from_thread_to_thread() {
    const RECORDS: usize = 40;
    let (mut producer, mut consumer) = ends(8);
    let sender = thread::spawn(move || (0..RECORDS).for_each(|n| push(&mut producer, &record(n))));
    let mut number = 0;
    while number < RECORDS {
        match consumer.pop().expect("an honest producer") {
            Some(got) => {
                assert_eq!(got.bytes, record(number));
                number += 1;
            }
            None => {
                consumer.idle();
                thread::yield_now();
            }
        }
    }
    sender.join().expect("no panic");
}

#[test]
fn batches_cross_from_thread_to_thread_whole() {
    const BATCHES: u8 = 10;
    let (mut producer, mut consumer) = ends(8);
    let sender = thread::spawn(move || {
        for number in 0..BATCHES {
            let mut batch = producer.batch();
            let mut left = 5;
            while left > 0 {
                match batch.push(&[number; 60]) {
                    Ok(_) => left -= 1,
                    Err(ReserveError::Full(_)) => {
                        batch.commit();
                        thread::yield_now();
                        batch = producer.batch();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            batch.commit();
        }
    });
    let mut seen = 0;
    while seen < 5 * usize::from(BATCHES) {
        match consumer.pop().expect("an honest producer") {
            Some(got) => {
                assert_eq!(got.bytes, [(seen / 5) as u8; 60]);
                seen += 1;
            }
            None => {
                consumer.idle();
                thread::yield_now();
            }
        }
    }
    sender.join().expect("no panic");
}

#[test]
fn replies_cross_from_thread_to_thread() {
    const CALLS: u64 = 30;
    let replies = heap_lines(4);
    let asked = heap_lines(1);
    let answers = (replies.clone(), asked.clone());
    let worker = thread::spawn(move || {
        use ringbar::lines::Lines;
        use ringbar::sync::Ordering;
        for position in 0..CALLS {
            while answers.1.load(0, 0, Ordering::Acquire) <= position {
                thread::yield_now();
            }
            let bytes = vec![position as u8; position as usize * 2 % 57];
            reply::write(&answers.0, GENERATION, Ticket { slot: 2, position }, &bytes);
        }
    });
    let mut slot = Slot::new(2, GENERATION);
    let mut bytes: ReplyBytes = [0; REPLY_BYTES_MAX];
    for position in 0..CALLS {
        use ringbar::lines::Lines;
        asked.store(0, 0, position + 1, ringbar::sync::Ordering::Release);
        let len = loop {
            match slot.take(&replies, position, &mut bytes).expect("an honest worker") {
                Some(len) => break len,
                None => thread::yield_now(),
            }
        };
        assert_eq!(bytes[..len], vec![position as u8; position as usize * 2 % 57]);
    }
    worker.join().expect("no panic");
}

#[test]
fn a_whole_channel_carries_calls_posts_staged_bytes_fences_and_events() {
    let Rig { client, mut worker, .. } = rig();
    let served = thread::spawn(move || {
        let completions = worker.completions().clone();
        let mut sum = 0_u64;
        loop {
            let staged = match worker.next().expect("an honest client") {
                Next::Command(record) => match record.reply_slot {
                    Some(slot) => {
                        let ticket = Ticket { slot, position: record.position };
                        completions.reply(ticket, record.bytes);
                        completions.event(record.bytes).expect("an honest client");
                        None
                    }
                    None => Some(u64::from_le_bytes(record.bytes.try_into().expect("eight bytes"))),
                },
                Next::Idle => None,
                Next::ClientGone => return sum,
            };
            if let Some(address) = staged {
                let mut bytes = [0; 100];
                completions.arena().read(address, &mut bytes).expect("inside");
                sum += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
                completions.fence(3, sum).expect("a fence");
                worker.publish_soon();
            }
        }
    });
    let callers: Vec<_> = (0..2_u8)
        .map(|thread| {
            let client = client.clone();
            thread::spawn(move || {
                let mut caller = client.caller().expect("a slot");
                for number in 0..5_u8 {
                    let request = [thread, number];
                    assert_eq!(caller.call(&request).expect("a reply"), request);
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let staged = client.stage(100).expect("room in time");
        staged.write(0, &[2; 100]).expect("inside");
        let position = client.post(&staged.address().to_le_bytes()).expect("room");
        staged.posted(position);
    }
    client.wait_fence(3, 1000, None).expect("the worker raises it");
    callers.into_iter().for_each(|caller| caller.join().expect("no panic"));
    client.wait_executed(client.tail(), None).expect("the worker is alive");
    let mut events = 0;
    while client.poll_event(<[u8]>::len).expect("an honest worker").is_some() {
        events += 1;
    }
    assert_eq!(events + client.counters().events_lost, 10);
    client.close();
    assert_eq!(served.join().expect("no panic"), 1000);
}

#[test]
fn the_last_bytes_of_an_arena_of_any_length_are_copied_within_it() {
    for len in 97..=104 {
        let mapping = Arc::new(Mapping::heap(len).expect("memory"));
        let arena = Arena::new(mapping.subrange(0, len).expect("the whole"));
        let end = address(0, len as u64 - 3);
        arena.write(end, &[1, 2, 3]).expect("inside");
        let mut back = [0; 3];
        arena.read(end, &mut back).expect("inside");
        assert_eq!(back, [1, 2, 3]);
        arena.read(end, &mut [0; 4]).expect_err("outside");
    }
}
