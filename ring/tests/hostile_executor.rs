//! A broken or hostile executor: what the client makes of it (D5 and D6 of the threat model, and the mirror of H1 to H3).
#![cfg(not(any(ringbar_loom, miri)))]

mod hostile_rig;

use hostile_rig::{GENERATION, Rig, SIZES, returns, rig, rig_with_bell};
use ringbar::client::{Client, Health};
use ringbar::error::ChannelError;
use ringbar::layout::line;
use ringbar::lines::Lines;
use ringbar::os::doorbell::{Doorbell, DoorbellKind};
use ringbar::region::State;
use ringbar::reply::{self, Ticket};
use ringbar::spsc::Violation;
use ringbar::sync::{Arc, Condvar, Mutex, Ordering};
use ringbar::tag::{self, TagSpace};
use ringbar::worker::Next;
use std::thread;

/// The violation that `result` is.
fn violation<T: std::fmt::Debug>(result: Result<T, ChannelError>) -> Violation {
    match result {
        Err(ChannelError::Violation(violation)) => violation,
        other => panic!("expected a violation, found {other:?}"),
    }
}

/// Posts until the ring is full and the released position is looked at.
fn fill(client: &Client) -> Result<Vec<u64>, ChannelError> {
    (0..=u64::from(SIZES.command_lines)).map(|_| client.post(b"one line")).collect()
}

#[test]
fn h1_a_command_head_that_jumps_is_poisoned_with_both_numbers() {
    for found in [65, 1 << 40, u64::MAX] {
        let Rig { client, worker: _worker, attacker } = rig();
        attacker.set_header(line::COMMAND_HEAD, 0, found);
        let filled = client.clone();
        let expected = Violation::Position { found, least: 0, most: 64 };
        assert_eq!(violation(returns(move || fill(&filled))), expected);
        assert_eq!(attacker.state(line::CLIENT_STATUS), State::Poisoned);
        assert_eq!(attacker.error_code(line::CLIENT_STATUS), 5);
    }
}

#[test]
fn h2_a_command_head_that_goes_back_is_poisoned() {
    let Rig { client, mut worker, attacker } = rig();
    for _ in 0..300 {
        client.post(b"one line").expect("room");
        assert!(matches!(worker.next(), Ok(Next::Command(_))));
    }
    attacker.set_header(line::COMMAND_HEAD, 0, 100);
    let found = violation(returns(move || fill(&client)));
    assert!(matches!(found, Violation::Position { found: 100, most: 300..=364, .. }), "{found}");
}

#[test]
fn h3_a_command_head_that_flaps_has_no_effect_or_is_poisoned() {
    for _ in 0..20 {
        let Rig { client, mut worker, attacker } = rig();
        let attack = attacker.keep(|attacker, random| {
            let value = [0, random.next(), random.below(100_000)][random.below(3) as usize];
            attacker.set_header(line::COMMAND_HEAD, 0, value);
        });
        // Until the client leaves or is poisoned; what it wrote is honest all the time.
        let consumer = thread::spawn(move || {
            while !matches!(worker.next().expect("an honest client"), Next::ClientGone) {}
        });
        let posts = client.clone();
        let ended = returns(move || (0..20_000).map(|_| posts.post(b"x")).find_map(Result::err));
        if let Some(error) = ended {
            assert!(
                matches!(error, ChannelError::Violation(Violation::Position { .. })),
                "{error}"
            );
        }
        drop(attack);
        client.close();
        returns(move || consumer.join().expect("no panic"));
    }
}

/// Writes `forged` into the reply slot of the first caller as soon as the command is there, and calls.
fn call_forged(forged: u64) -> Result<Vec<u8>, ChannelError> {
    let Rig { client, mut worker, attacker } = rig();
    let forger = thread::spawn(move || {
        let slot = loop {
            if let Next::Command(record) = worker.next().expect("an honest client") {
                break record.reply_slot.expect("a call");
            }
        };
        attacker.replies.store(slot.into(), 0, forged, Ordering::Release);
        attacker.client_bell.signal().expect("a doorbell");
        (worker, attacker)
    });
    let result = returns(move || client.caller()?.call(b"question").map(<[u8]>::to_vec));
    let (_worker, attacker) = forger.join().expect("no panic");
    if result.is_err() {
        assert_eq!(attacker.error_code(line::CLIENT_STATUS), 6);
        assert_eq!(attacker.state(line::CLIENT_STATUS), State::Poisoned);
    }
    result
}

#[test]
fn d5_forged_replies_are_poisoned() {
    let wrong = [
        tag::reply(GENERATION, 1, 8),             // for a later command
        tag::reply(GENERATION, u64::MAX, 8),      // for no command
        tag::reply(GENERATION + 1, 0, 8),         // of another generation
        tag::reply(GENERATION, 0, 0) | 57,        // longer than a line
        tag::reply(GENERATION, 0, 8) & !(3 << 6), // of no kind
        1,
        u64::MAX,
    ];
    for forged in wrong {
        let found = violation(call_forged(forged));
        assert!(matches!(found, Violation::Reply { position: 0, found, .. } if found == forged));
    }
    call_forged(tag::reply(GENERATION, 0, 8)).expect("what is right is taken");
}

#[test]
fn d5_a_reply_given_twice_is_poisoned_at_the_next_call() {
    let Rig { client, mut worker, attacker } = rig();
    let twice = thread::spawn(move || {
        let completions = worker.completions().clone();
        let mut first = None;
        loop {
            let record = match worker.next().expect("an honest client") {
                Next::Command(record) => record,
                Next::Idle => continue,
                Next::ClientGone => return,
            };
            let slot = record.reply_slot.expect("a call");
            let ticket = Ticket { slot, position: record.position };
            match first {
                None => completions.reply(*first.insert(ticket), b"once"),
                Some(first) => reply::write(&attacker.replies, GENERATION, first, b"again!"),
            }
        }
    });
    let result = returns(move || {
        let mut caller = client.caller().expect("a slot");
        let first = caller.call(b"first").map(<[u8]>::len);
        first.and_then(|_| caller.call(b"second").map(<[u8]>::len))
    });
    assert!(matches!(violation(result), Violation::Reply { position: 1, .. }));
    returns(move || twice.join().expect("no panic"));
}

#[test]
fn d6_progress_beyond_what_was_submitted_is_poisoned() {
    for (word, code) in [(0, 5), (1, 5)] {
        let Rig { client, worker: _worker, attacker } = rig();
        client.post(b"one").expect("room");
        attacker.set_header(line::PROGRESS, word, 2);
        let expected = Violation::Position { found: 2, least: 0, most: 1 };
        let found = match word {
            0 => violation(client.wait_executed(1, None)),
            _ => violation(client.stage(64).map(drop)),
        };
        assert_eq!(found, expected);
        assert_eq!(attacker.error_code(line::CLIENT_STATUS), code);
        assert_eq!(
            violation(client.post(b"more")),
            expected,
            "every later call gets the first one"
        );
    }
}

#[test]
fn events_with_forged_tags_are_poisoned() {
    let tags = TagSpace::new(GENERATION, hostile_rig::EVENT_SHIFT);
    let with_reply = tags.head(0, 8, Some(0));
    for (forged, code) in
        [(1, 1), (tags.head(8, 8, None), 1), (tags.head(0, 8191, None), 3), (with_reply, 4)]
    {
        let Rig { client, worker: _worker, attacker } = rig();
        attacker.events.store(0, 0, forged, Ordering::Release);
        client.wait_event(None).expect("something is there");
        assert_eq!(violation(client.poll_event(<[u8]>::len)).code(), code);
        assert_eq!(attacker.error_code(line::CLIENT_STATUS), code);
    }
}

#[test]
fn a_channel_is_poisoned_once_by_the_client_too() {
    let Rig { client, worker: _worker, attacker } = rig();
    attacker.set_header(line::PROGRESS, 0, 99);
    let warnings = hostile_rig::warnings(|| {
        let first = violation(client.executed());
        for found in [98, 1 << 50, u64::MAX] {
            attacker.set_header(line::PROGRESS, 0, found);
            attacker.set_header(line::PROGRESS, 1, found);
            attacker.events.store(0, 0, found, Ordering::Release);
            assert_eq!(violation(client.executed()), first);
            assert_eq!(violation(client.stage(64).map(drop)), first);
            assert_eq!(violation(client.poll_event(<[u8]>::len)), first);
            assert_eq!(violation(client.post(b"more")), first);
        }
    });
    assert_eq!(warnings, 1);
    assert_eq!(attacker.error_code(line::CLIENT_STATUS), 5);
}

#[test]
fn states_that_do_not_exist_end_the_channel_in_a_typed_error() {
    for state in [0, 1 << 32, 6 | 1 << 32, 2 | 2 << 32, u64::MAX] {
        let Rig { client, worker: _worker, attacker } = rig();
        attacker.set_header(line::HOST_STATUS, 0, state);
        let error = client.post(b"more").expect_err("not running in this generation");
        assert!(matches!(error, ChannelError::PeerDied { .. }), "{error}");
    }
    for (state, closed) in [(3, true), (4, false)] {
        let Rig { client, worker: _worker, attacker } = rig();
        attacker.set_header(line::HOST_STATUS, 0, state | 1 << 32);
        let error = client.post(b"more").expect_err("over");
        assert_eq!(matches!(error, ChannelError::Closed), closed, "{error}");
        assert_eq!(matches!(error, ChannelError::Poisoned { code: 0, .. }), !closed, "{error}");
    }
}

#[test]
fn fences_that_jump_and_go_back_end_no_wait_early() {
    let Rig { client, worker: _worker, attacker } = rig();
    let waits = client.clone();
    let waiter = thread::spawn(move || waits.wait_fence(9, 1000, None));
    for value in [999, 5, 0, 998] {
        attacker.fences.store(1, 1, value, Ordering::Release);
        attacker.client_bell.signal().expect("a doorbell");
        thread::yield_now();
    }
    assert!(!waiter.is_finished(), "1000 was never there");
    attacker.fences.store(1, 1, u64::MAX, Ordering::Release);
    attacker.client_bell.signal().expect("a doorbell");
    returns(move || waiter.join().expect("no panic")).expect("reached");
}

#[test]
fn nothing_is_read_after_a_violation() {
    let Rig { client, worker, attacker } = rig();
    let completions = worker.completions().clone();
    assert!(completions.event(b"one").expect("room"));
    completions.fence(0, 1).expect("a fence");
    attacker.set_header(line::PROGRESS, 0, 5);
    let found = violation(client.executed());
    assert!(matches!(found, Violation::Position { found: 5, .. }), "{found}");
    let limit = Some(std::time::Duration::from_secs(60));
    for result in [
        client.poll_event(|_| ()).map(drop),
        client.wait_event(limit),
        client.wait_fence(0, 1, limit),
        client.wait_device_fence(0, 1, limit),
        client.wait_executed(0, limit),
        client.post(b"more").map(drop),
    ] {
        assert_eq!(violation(result), found);
    }
}

#[test]
fn a_failure_of_a_command_that_was_never_posted_is_poisoned() {
    let Rig { client, worker, attacker } = rig();
    client.post(b"the only one").expect("room");
    worker.completions().post_failed(1, 719);
    assert_eq!(client.first_post_error(), None);
    assert_eq!(attacker.state(line::CLIENT_STATUS), State::Poisoned);
}

/// A worker that says it sleeps, and whose doorbell would make whoever rings it wait for ever.
#[test]
fn a_doorbell_that_would_block_stops_no_post() {
    let Rig { client, worker: _worker, attacker } = rig();
    let bell = &attacker.worker_bell;
    bell.drain().expect("no ring is lost by that");
    rustix::io::write(bell, &(u64::MAX - 1).to_ne_bytes()).expect("an empty counter");
    let block = || rustix::fs::fcntl_setfl(bell, rustix::fs::OFlags::empty()).expect("flags");
    for epoch in 0..10 {
        attacker.set_header(line::WORKER_SLEEP, 0, 2 * epoch + 1);
        block();
        let posts = client.clone();
        returns(move || posts.post(b"ring").map(drop)).expect("room");
    }
    assert_eq!(client.counters().client_bells, 10, "each sleep was rung for");
    block();
    returns(move || client.close());
}

/// A doorbell that holds whoever rings it, as a race lost to a hostile worker does, until the worker is gone.
#[derive(Default)]
struct StuckBell {
    held: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Doorbell for StuckBell {
    fn ring(&self) -> std::io::Result<()> {
        let mut held = self.held.lock().expect("no panic");
        held.0 = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(held, |held| !held.1).expect("no panic"));
        Ok(())
    }

    fn relieve(&self) {
        self.held.lock().expect("no panic").1 = true;
        self.changed.notify_all();
    }

    fn kind(&self) -> DoorbellKind {
        DoorbellKind::EventFd
    }
}

#[test]
fn a_thread_that_rings_for_ever_holds_up_no_other_and_ends_with_the_worker() {
    let bell = Arc::new(StuckBell::default());
    let Rig { client, worker, attacker } = rig_with_bell(bell.clone());
    attacker.set_header(line::WORKER_SLEEP, 0, 1);
    let posts = client.clone();
    let stuck = thread::spawn(move || posts.post(b"ring"));
    drop(bell.changed.wait_while(bell.held.lock().expect("no panic"), |held| !held.0));
    let others = client.clone();
    returns(move || {
        others.post(b"more").expect("room");
        others.stage(4096).expect("room");
        assert!(matches!(others.health(), Health::Running | Health::Stalled { .. }));
    });
    assert!(!stuck.is_finished());
    drop(worker);
    let error = returns(move || client.wait_fence(0, 1, None)).expect_err("the worker died");
    assert!(matches!(error, ChannelError::PeerDied { in_flight: 2 }), "{error}");
    returns(move || stuck.join().expect("no panic")).expect("it was posted");
}

#[test]
fn a_parked_client_is_not_kept_awake_by_doorbells_of_the_past() {
    let Rig { client, worker, attacker } = rig();
    attacker.client_bell.signal().expect("a doorbell");
    let waits = client.clone();
    let waiter = thread::spawn(move || waits.wait_fence(0, 1, None));
    thread::sleep(std::time::Duration::from_millis(300));
    worker.completions().fence(0, 1).expect("a fence");
    returns(move || waiter.join().expect("no panic")).expect("reached");
    // One park ends with the old doorbell; then each lasts 50 ms. One that is never drained ends thousands of parks.
    let parks = client.counters().client_parks;
    assert!((1..100).contains(&parks), "{parks} parks in 300 ms");
}

#[test]
fn a_flood_of_doorbells_slows_its_sender_and_not_the_clients_machine() {
    let Rig { client, worker, attacker } = rig();
    let attack = attacker.keep(|attacker, _| attacker.client_bell.signal().expect("a doorbell"));
    let begun = std::time::Instant::now();
    let waits = client.clone();
    let waiter = thread::spawn(move || waits.wait_fence(0, 1, None));
    thread::sleep(std::time::Duration::from_millis(500));
    worker.completions().fence(0, 1).expect("a fence");
    returns(move || waiter.join().expect("no panic")).expect("reached");
    let elapsed = begun.elapsed();
    drop(attack);
    // Behind the first few, each useless wake-up costs a pause of 200 us.
    let most = 70 + elapsed.as_micros() / 200;
    let parks = u128::from(client.counters().client_parks);
    assert!((1..=most).contains(&parks), "{parks} parks in {elapsed:?}");
}
