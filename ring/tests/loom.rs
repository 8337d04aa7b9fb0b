//! Models of the protocol under loom: `RUSTFLAGS="--cfg ringbar_loom" cargo test -p ringbar --release --test loom`.
//!
//! Each model is small enough to be explored completely. `every_mutant_is_killed` runs this program again, once for
//! each ordering of PROTOCOL.md, with that ordering weakened, and demands that the model named there fails.
#![cfg(ringbar_loom)]

use core::time::Duration;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use ringbar::hub::{Hub, Park};
use ringbar::layout::{directory_line, line};
use ringbar::lines::{Lines, ModelLines};
use ringbar::reply::{self, ReplyBytes, Slot, Ticket};
use ringbar::spin::SpinBudget;
use ringbar::spsc::{Consumer, Direction, Producer, ReserveError};
use ringbar::sync::Ordering;
use ringbar::wake::{Sleeper, WakeMode, Waker};

#[path = "loom/crash.rs"]
mod crash;

const GENERATION: u32 = 1;

fn header() -> ModelLines {
    ModelLines::header(&[
        (line::HOST_STATUS, 0),
        (line::COMMAND_HEAD, 0),
        (line::WORKER_SLEEP, 0),
        (line::CLIENT_SLEEP, 0),
        (line::PROGRESS, 0),
        (line::PROGRESS, 1),
        (line::PROGRESS, 2),
        (line::PROGRESS, 3),
    ])
}

type Tx = Producer<ModelLines>;
type Rx = Consumer<ModelLines>;

fn ring(lines: usize, header: &ModelLines) -> (Tx, Rx) {
    let ring = ModelLines::ring(lines, 1);
    let way = Direction::Commands;
    let tx = Producer::new(ring.clone(), header.clone(), way, GENERATION);
    let rx = Consumer::new(ring, header.clone(), way, GENERATION, 2);
    (tx, rx)
}

fn explore(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    builder.check(model);
}

/// Pushes, letting the consumer run while the ring is full.
fn push(tx: &mut Tx, record: &[u8]) {
    loop {
        match tx.push(record) {
            Ok(_) => return,
            Err(ReserveError::Full(_)) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn pop(rx: &mut Rx) -> (usize, u64) {
    loop {
        match rx.pop().expect("an honest producer") {
            Some(record) => {
                let mut word = [0; 8];
                let first = record.bytes.len().min(8);
                word[..first].copy_from_slice(&record.bytes[..first]);
                let popped = (record.bytes.len(), u64::from_le_bytes(word));
                rx.release();
                return popped;
            }
            None => thread::yield_now(),
        }
    }
}

#[test]
fn push_and_pop_with_wrap() {
    explore(None, || {
        let header = header();
        let (mut tx, mut rx) = ring(2, &header);
        let producer =
            thread::spawn(move || (1..=3_u64).for_each(|i| push(&mut tx, &i.to_le_bytes())));
        for i in 1..=3 {
            assert_eq!(pop(&mut rx), (8, i));
        }
        producer.join().expect("the producer ends");
    });
}

#[test]
fn a_record_of_two_lines_is_whole() {
    explore(None, || {
        let header = header();
        let (mut tx, mut rx) = ring(2, &header);
        let producer = thread::spawn(move || {
            push(&mut tx, &[7; 60]);
            push(&mut tx, &[8; 8]);
        });
        assert_eq!(pop(&mut rx), (60, 0x0707_0707_0707_0707));
        assert_eq!(pop(&mut rx), (8, 0x0808_0808_0808_0808));
        producer.join().expect("the producer ends");
    });
}

/// Its tags are withdrawn before the next record is published: the consumer never meets one of them.
#[test]
fn a_record_that_is_dropped_is_never_seen() {
    explore(None, || {
        let header = header();
        let (mut tx, mut rx) = ring(4, &header);
        let producer = thread::spawn(move || {
            push(&mut tx, &[1; 8]);
            tx.reserve(168, None).expect("room").put(&[2; 168]);
            push(&mut tx, &[3; 8]);
            push(&mut tx, &[4; 8]);
        });
        for expected in [1, 3, 4] {
            assert_eq!(pop(&mut rx), (8, 0x0101_0101_0101_0101 * expected));
        }
        producer.join().expect("the producer ends");
    });
}

#[test]
fn a_batch_is_seen_whole_or_not_at_all() {
    explore(None, || {
        let header = header();
        let (mut tx, mut rx) = ring(4, &header);
        let producer = thread::spawn(move || {
            let mut batch = tx.batch();
            batch.push(&1_u64.to_le_bytes()).expect("room");
            batch.push(&2_u64.to_le_bytes()).expect("room");
            batch.commit();
        });
        if rx.pop().expect("honest").is_some() {
            assert!(rx.pop().expect("honest").is_some(), "the second was published with the first");
        }
        producer.join().expect("the producer ends");
    });
}

#[test]
fn a_reply_carries_what_was_written() {
    explore(None, || {
        let header = header();
        let (mut tx, mut rx) = ring(2, &header);
        let replies = ModelLines::ring(2, 1);
        let theirs = replies.clone();
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                let ticket = loop {
                    if let Some(record) = rx.pop().expect("honest") {
                        break Ticket {
                            slot: record.reply_slot.expect("a call"),
                            position: record.position,
                        };
                    }
                    thread::yield_now();
                };
                rx.release();
                reply::write(&theirs, GENERATION, ticket, &(ticket.position + 100).to_le_bytes());
            }
        });
        let mut slot = Slot::new(1, GENERATION);
        for _ in 0..2 {
            let position = tx.reserve(8, Some(1)).expect("room").commit();
            let mut bytes: ReplyBytes = [0; 56];
            let len = loop {
                match slot.take(&replies, position, &mut bytes).expect("an honest worker") {
                    Some(len) => break len,
                    None => thread::yield_now(),
                }
            };
            assert_eq!((len, bytes[0]), (8, 100 + position as u8));
        }
        worker.join().expect("the worker ends");
    });
}

/// An eventfd, as loom can model it.
#[derive(Clone)]
struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }
    fn ring(&self) {
        *self.0.0.lock().expect("no panic") = true;
        self.0.1.notify_one();
    }
}

impl Park for Bell {
    /// Takes a late ring back, as the real one does.
    fn prepare(&self) {
        *self.0.0.lock().expect("no panic") = false;
    }

    /// Without a time-out: a lost wake-up is a deadlock, which loom reports.
    fn park(&self, _: Duration) {
        let mut rung = self.0.0.lock().expect("no panic");
        while !*rung {
            rung = self.0.1.wait(rung).expect("no panic");
        }
    }
}

fn hub(header: &ModelLines, mode: WakeMode, bell: &Bell) -> Hub<ModelLines, Bell> {
    let sleeper = Sleeper::new(header.clone(), line::CLIENT_SLEEP, mode);
    Hub::new(sleeper, bell.clone(), SpinBudget::new(Duration::ZERO))
}

fn park_and_wake(mode: WakeMode) {
    explore(None, move || {
        let header = header();
        let bell = Bell::new();
        let hub = hub(&header, mode, &bell);
        let (theirs, waker) =
            (header.clone(), Waker::new(header.clone(), line::CLIENT_SLEEP, mode));
        let publisher = thread::spawn(move || {
            for executed in 1..=2 {
                theirs.store(line::PROGRESS, 0, executed, Ordering::Release);
                if waker.must_ring() {
                    bell.ring();
                }
            }
        });
        let executed =
            |least| (header.load(line::PROGRESS, 0, Ordering::Acquire) >= least).then_some(());
        hub.wait(|| executed(1), || None);
        hub.wait(|| executed(2), || None);
        publisher.join().expect("the publisher ends");
    });
}

#[test]
fn no_wake_up_is_lost_with_a_fence() {
    park_and_wake(WakeMode::Fence);
}

/// The barrier is modelled as a `SeqCst` fence on both sides: `membarrier` makes each running thread of the other
/// process pass a full barrier at some point between its call and its return, and the light side's compiler fence
/// keeps its two accesses on their sides of wherever that point falls.
#[test]
fn no_wake_up_is_lost_with_the_asymmetric_barrier() {
    park_and_wake(WakeMode::Asymmetric);
}

#[test]
fn no_waiter_is_forgotten_behind_the_leader() {
    explore(Some(3), || {
        let header = header();
        let bell = Bell::new();
        let hub = Arc::new(hub(&header, WakeMode::Fence, &bell));
        let waiters: Vec<_> = [(line::PROGRESS, 0), (line::HOST_STATUS, 0)]
            .into_iter()
            .map(|(at, word)| {
                let (hub, header) = (hub.clone(), header.clone());
                thread::spawn(move || {
                    let ready = || (header.load(at, word, Ordering::Acquire) != 0).then_some(());
                    hub.wait(ready, || None);
                })
            })
            .collect();
        let waker = Waker::new(header.clone(), line::CLIENT_SLEEP, WakeMode::Fence);
        for at in [line::PROGRESS, line::HOST_STATUS] {
            header.store(at, 0, 1, Ordering::Release);
            if waker.must_ring() {
                bell.ring();
            }
        }
        for waiter in waiters {
            waiter.join().expect("every waiter ends");
        }
    });
}

/// The worker's wait: its ring, its sleep word, the client's doorbell.
#[test]
fn a_sleeping_consumer_is_woken_by_a_push() {
    explore(None, || {
        let header = header();
        let bell = Bell::new();
        let (mut tx, mut rx) = ring(2, &header);
        let (theirs, waker) =
            (bell.clone(), Waker::new(header.clone(), line::WORKER_SLEEP, WakeMode::Fence));
        let producer = thread::spawn(move || {
            for i in 1..=2_u64 {
                push(&mut tx, &i.to_le_bytes());
                if waker.must_ring() {
                    theirs.ring();
                }
            }
        });
        let mut sleeper = Sleeper::new(header.clone(), line::WORKER_SLEEP, WakeMode::Fence);
        for i in 1..=2 {
            while !rx.is_ready() {
                bell.prepare();
                sleeper.arm();
                if !rx.is_ready() {
                    bell.park(Duration::MAX);
                }
                sleeper.disarm();
            }
            assert_eq!(pop(&mut rx), (8, i));
        }
        producer.join().expect("the producer ends");
    });
}

#[test]
fn the_first_error_is_read_with_its_status() {
    explore(None, || {
        let header = header();
        let theirs = header.clone();
        let worker = thread::spawn(move || ringbar::progress::latch_error(&theirs, 41, 719));
        if let Some(found) = ringbar::progress::first_error(&header) {
            assert_eq!(found, (41, 719));
        }
        worker.join().expect("the worker ends");
    });
}

/// Arena bytes are modelled by a loom cell: each of the words by which they may be reused must order access to them.
#[test]
fn progress_and_fences_order_the_arena() {
    use ringbar::progress;
    for by in ["executed", "retired", "fence"] {
        explore(None, move || {
            let header = header();
            let fences = ModelLines::ring(1, 0);
            let arena = ModelLines::ring(1, 1);
            let (their_header, their_fences, their_arena) =
                (header.clone(), fences.clone(), arena.clone());
            let worker = thread::spawn(move || {
                their_arena.set_payload(0, 1, 5);
                match by {
                    "executed" => progress::publish(&their_header, 1, 0),
                    "retired" => progress::publish_retired(&their_header, 1),
                    _ => progress::raise_fence(&their_fences, 0, 1),
                }
            });
            let reached = match by {
                "executed" => progress::executed(&header).seems_to_reach(1),
                "retired" => progress::retired(&header).seems_to_reach(1),
                _ => progress::fence(&fences, 0) >= 1,
            };
            if reached {
                assert_eq!(arena.payload(0, 1), 5);
                arena.set_payload(0, 1, 6);
            }
            worker.join().expect("the worker ends");
        });
    }
}

/// A closing side publishes its last records before its state: whoever sees the state sees the records.
#[test]
fn what_was_posted_before_close_is_seen_after_it() {
    explore(None, || {
        let header = header();
        let (mut tx, mut rx) = ring(2, &header);
        let theirs = header.clone();
        let producer = thread::spawn(move || {
            push(&mut tx, &[4; 8]);
            ringbar::progress::publish_state(&theirs, line::HOST_STATUS, 3);
        });
        if ringbar::progress::state(&header, line::HOST_STATUS) == 3 {
            assert!(rx.pop().expect("honest").is_some(), "closed, but the last record is missing");
        }
        producer.join().expect("the producer ends");
    });
}

/// The host gives a channel to one claimant, and later to another one. The first looks at the assignment, reads the
/// generation, and looks once more.
#[test]
fn a_claimant_attaches_to_no_generation_but_its_own() {
    use ringbar::directory::{self, Nonce};
    explore(None, || {
        let [mine, next] = [7, 8].map(|nonce| Nonce::new(nonce).expect("not zero"));
        let words = directory_line::ENTRIES;
        let directory = ModelLines::header(&[(words, 2), (words, 3), (words, 4)]);
        let header = header();
        let channel = ModelLines::ring(1, 1);
        let theirs = (directory.clone(), header.clone(), channel.clone());
        let host = thread::spawn(move || {
            let (directory, header, channel) = theirs;
            channel.set_payload(0, 1, 5);
            ringbar::progress::publish_state(&header, line::HOST_STATUS, 1);
            directory::publish_assignment(&directory, 0, Some(mine));
            directory::publish_assignment(&directory, 0, None);
            ringbar::progress::publish_state(&header, line::HOST_STATUS, 2);
            directory::publish_assignment(&directory, 0, Some(next));
        });
        if directory::is_assigned(&directory, 0, mine) {
            assert_eq!(channel.payload(0, 1), 5, "the channel is ready");
            let generation = ringbar::progress::state(&header, line::HOST_STATUS);
            if directory::is_assigned(&directory, 0, mine) {
                assert_eq!(generation, 1, "its successor's");
            }
        }
        host.join().expect("the host ends");
    });
}

#[test]
fn a_refused_claimant_reads_why() {
    use ringbar::directory::{self, Nonce, Refused};
    explore(None, || {
        let nonce = Nonce::MIN;
        let words = directory_line::ENTRIES;
        let directory = ModelLines::header(&[(words, 3), (words, 4)]);
        let theirs = directory.clone();
        let host = thread::spawn(move || {
            directory::publish_refusal(&theirs, 0, nonce, Refused::TooMany);
        });
        if let Some(why) = directory::refusal(&directory, 0, nonce) {
            assert_eq!(why, Refused::TooMany);
        }
        host.join().expect("the host ends");
    });
}

/// Sites that can be weakened, and the model that must then fail. PROTOCOL.md shows the same table.
const MUTANTS: [(&str, &str); 24] = [
    ("T1", "push_and_pop_with_wrap"),
    ("T2", "push_and_pop_with_wrap"),
    ("H1", "push_and_pop_with_wrap"),
    ("H2", "push_and_pop_with_wrap"),
    ("R1", "a_reply_carries_what_was_written"),
    ("R2", "a_reply_carries_what_was_written"),
    ("S1", "no_wake_up_is_lost_with_a_fence"),
    ("S2", "no_wake_up_is_lost_with_a_fence"),
    ("A1", "no_wake_up_is_lost_with_the_asymmetric_barrier"),
    ("A2", "no_wake_up_is_lost_with_the_asymmetric_barrier"),
    ("P1", "progress_and_fences_order_the_arena"),
    ("P2", "progress_and_fences_order_the_arena"),
    ("F1", "progress_and_fences_order_the_arena"),
    ("F2", "progress_and_fences_order_the_arena"),
    ("E1", "the_first_error_is_read_with_its_status"),
    ("E2", "the_first_error_is_read_with_its_status"),
    ("G1", "what_was_posted_before_close_is_seen_after_it"),
    ("G2", "what_was_posted_before_close_is_seen_after_it"),
    ("D1", "a_claimant_attaches_to_no_generation_but_its_own"),
    ("D2", "a_claimant_attaches_to_no_generation_but_its_own"),
    ("C1", "crash::of_the_client_at_any_step_leaves_whole_publications"),
    ("C2", "crash::of_the_worker_at_any_step_ends_every_wait"),
    ("C3", "crash::of_the_worker_at_any_step_ends_every_wait"),
    ("C4", "crash::of_the_worker_at_any_step_ends_every_wait"),
];

#[test]
fn every_mutant_is_killed() {
    let program = std::env::current_exe().expect("this program");
    for (site, model) in MUTANTS {
        let output = std::process::Command::new(&program)
            .args([model, "--exact", "--test-threads=1"])
            .env("RINGBAR_MUTANT", site)
            .output()
            .expect("this program runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("running 1 test"), "{site}: model {model} does not exist");
        assert!(!output.status.success(), "{site} weakened, and {model} still passes");
    }
}

#[test]
fn protocol_md_shows_every_mutant_with_its_model() {
    let page = include_str!("../PROTOCOL.md");
    let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| ")).collect();
    for (site, model) in MUTANTS {
        let shown = rows.iter().any(|r| {
            r.starts_with(&format!("| {site} |"))
                && r.trim_end().ends_with(&format!("| `{model}` |"))
        });
        assert!(shown, "PROTOCOL.md has no row for {site} and {model}");
    }
}
