//! Either side dies before any of its steps, and the other one ends with whole results or a typed error.
//!
//! A step is a store to shared memory or a ring of a doorbell. They are numbered as they come; a side whose number is up
//! takes no further step with any effect, as a killed process does. Its death itself is what the kernel tells: a hang-up
//! that lasts and wakes whoever waits.

use super::*;
use std::sync::Mutex as StdMutex;

/// The steps of one side.
#[derive(Clone)]
struct Life(std::sync::Arc<StdMutex<Steps>>);

struct Steps {
    taken: usize,
    /// Steps that have an effect.
    granted: usize,
}

impl Life {
    fn of(granted: usize) -> Self {
        Self(std::sync::Arc::new(StdMutex::new(Steps { taken: 0, granted })))
    }

    /// Takes a step; whether it has an effect.
    fn step(&self) -> bool {
        let mut steps = self.0.lock().expect("no panic");
        steps.taken += 1;
        steps.taken <= steps.granted
    }

    fn taken(&self) -> usize {
        self.0.lock().expect("no panic").taken
    }

    fn granted(&self) -> usize {
        self.0.lock().expect("no panic").granted
    }

    fn is_over(&self) -> bool {
        let steps = self.0.lock().expect("no panic");
        steps.taken > steps.granted
    }
}

/// Lines as a side that can die has them.
#[derive(Clone)]
struct MortalLines {
    lines: ModelLines,
    life: Life,
}

impl Lines for MortalLines {
    fn mask(&self) -> usize {
        self.lines.mask()
    }
    fn load(&self, line: usize, word: usize, order: Ordering) -> u64 {
        self.lines.load(line, word, order)
    }
    fn store(&self, line: usize, word: usize, value: u64, order: Ordering) {
        if self.lines.has(line, word) && self.life.step() {
            self.lines.store(line, word, value, order);
        }
    }
    fn payload(&self, line: usize, word: usize) -> u64 {
        self.lines.payload(line, word)
    }
    fn set_payload(&self, line: usize, word: usize, value: u64) {
        if self.lines.has(line, word) && self.life.step() {
            self.lines.set_payload(line, word, value);
        }
    }
}

/// What a side that can die has of the channel.
struct Mortal {
    life: Life,
    bell: Bell,
    header: ModelLines,
}

impl Mortal {
    fn lines(&self, lines: &ModelLines) -> MortalLines {
        MortalLines { lines: lines.clone(), life: self.life.clone() }
    }

    fn wake(&self, waker: &Waker<MortalLines>) {
        if waker.must_ring() && self.life.step() {
            self.bell.ring();
        }
    }

    /// The kernel closes the dead process's socket.
    fn hang_up(&self) {
        self.header.store(line::HOST_STATUS, 0, HUNG_UP, Ordering::Release);
        self.bell.ring();
    }
}

const HUNG_UP: u64 = 5;

/// The typed end of a wait whose peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PeerDied;

fn peer_died(header: &ModelLines) -> Option<PeerDied> {
    (header.load(line::HOST_STATUS, 0, Ordering::Acquire) == HUNG_UP).then_some(PeerDied)
}

/// Explores `model` once for each number of steps that the dying side is granted, beginning with none, until some number
/// is never used up; every step before that must have been reached.
fn for_every_step(
    least: usize,
    preemptions: Option<usize>,
    model: impl Fn(Life) + Send + Sync + Copy + 'static,
) {
    for granted in 0.. {
        let died = std::sync::Arc::new(StdMutex::new(false));
        let noted = died.clone();
        explore(preemptions, move || {
            let life = Life::of(granted);
            model(life.clone());
            *noted.lock().expect("no panic") |= life.taken() > granted;
        });
        if !*died.lock().expect("no panic") {
            assert!(granted >= least, "only {granted} steps were reached");
            return;
        }
    }
}

/// A record of two lines, then a batch of two records of one line, each with a doorbell if the worker sleeps.
#[test]
fn of_the_client_at_any_step_leaves_whole_publications() {
    // Two payload words, two tags; two payload words, two tags.
    for_every_step(8, Some(3), |life| {
        let header = header();
        let bell = Bell::new();
        let client = Mortal { life: life.clone(), bell: bell.clone(), header: header.clone() };
        let commands = ModelLines::ring(4, 1);
        let way = Direction::Commands;
        let mut tx = Producer::new(client.lines(&commands), client.lines(&header), way, GENERATION);
        let waker = Waker::new(client.lines(&header), line::WORKER_SLEEP, WakeMode::Fence);
        let dying = thread::spawn(move || {
            tx.push(&[1; 60]).expect("room");
            client.wake(&waker);
            let mut sent = usize::from(!client.life.is_over());
            let mut batch = tx.batch();
            batch.push(&[2; 8]).expect("room");
            batch.push(&[3; 8]).expect("room");
            batch.commit();
            client.wake(&waker);
            sent += 2 * usize::from(!client.life.is_over());
            client.hang_up();
            sent
        });
        let sleeper = Sleeper::new(header.clone(), line::WORKER_SLEEP, WakeMode::Fence);
        let hub = Hub::new(sleeper, bell, SpinBudget::new(Duration::ZERO));
        let mut rx = Consumer::new(commands, header.clone(), way, GENERATION, 0);
        let mut taken = Vec::new();
        let end = loop {
            let ready = || rx.is_ready().then_some(Ok(()));
            match hub.wait(ready, || peer_died(&header).map(Err)) {
                Ok(()) => taken.push(pop(&mut rx)),
                Err(died) => {
                    // What was published before the death is executed.
                    while rx.is_ready() {
                        taken.push(pop(&mut rx));
                    }
                    break died;
                }
            }
        };
        assert_eq!(end, PeerDied);
        let all =
            [(60, 0x0101_0101_0101_0101), (8, 0x0202_0202_0202_0202), (8, 0x0303_0303_0303_0303)];
        assert!(matches!(taken.len(), 0 | 1 | 3), "half of a batch");
        assert_eq!(taken, all[..taken.len()]);
        let sent = dying.join().expect("joined");
        assert!(taken.len() >= sent, "{} of {sent} published records", taken.len());
    });
}

/// Takes a call and answers it, then a post that fails, raises a fence behind what it wrote into the arena, and says what
/// it executed. Lines are released as they are popped.
fn work(worker: &Mortal, commands: &ModelLines, replies: &ModelLines, memory: [&ModelLines; 2]) {
    let header = worker.lines(&worker.header);
    let way = Direction::Commands;
    let mut rx = Consumer::new(worker.lines(commands), header.clone(), way, GENERATION, 2);
    let waker = Waker::new(header.clone(), line::CLIENT_SLEEP, WakeMode::Fence);
    let mut next = || loop {
        match rx.pop().expect("honest") {
            Some(record) => return Some((record.position, record.reply_slot)),
            None if worker.life.is_over() => return None,
            None => thread::yield_now(),
        }
    };
    let Some((position, Some(slot))) = next() else { return };
    reply::write(&worker.lines(replies), GENERATION, Ticket { slot, position }, &[9; 8]);
    worker.wake(&waker);
    let Some((position, None)) = next() else { return };
    ringbar::progress::latch_error(&header, position, 719);
    let [fences, arena] = memory.map(|lines| worker.lines(lines));
    arena.set_payload(0, 1, 5);
    ringbar::progress::raise_fence(&fences, 0, 1);
    worker.wake(&waker);
    ringbar::progress::publish(&header, 2, 2);
    worker.wake(&waker);
}

#[test]
fn of_the_worker_at_any_step_ends_every_wait() {
    // Release. Reply: payload, tag. Release. Error: status, position. Arena, fence. Retired, executed.
    for_every_step(10, Some(2), |life| {
        let header = header();
        let bell = Bell::new();
        let worker = Mortal { life: life.clone(), bell: bell.clone(), header: header.clone() };
        let (commands, replies) = (ModelLines::ring(2, 1), ModelLines::ring(2, 1));
        let (fences, arena) = (ModelLines::ring(1, 0), ModelLines::ring(1, 1));
        let theirs = [&commands, &replies, &fences, &arena].map(ModelLines::clone);
        let dying = thread::spawn(move || {
            let [commands, replies, fences, arena] = &theirs;
            work(&worker, commands, replies, [fences, arena]);
            worker.hang_up();
        });
        let hub = hub(&header, WakeMode::Fence, &bell);
        let mut tx = Producer::new(commands, header.clone(), Direction::Commands, GENERATION);
        let died = || peer_died(&header);
        let mut slot = Slot::new(0, GENERATION);
        let mut bytes: ReplyBytes = [0; 56];
        let position = tx.reserve(8, Some(0)).expect("room").commit();
        let answered = hub.wait(
            || slot.take(&replies, position, &mut bytes).expect("honest").map(Ok),
            || died().map(Err),
        );
        if answered == Ok(8) {
            assert_eq!(bytes[..8], [9; 8], "a reply without its bytes");
        }
        let posted = tx.push(&[1; 8]).is_ok();
        assert!(posted, "there is room for two");
        let fenced = || (ringbar::progress::fence(&fences, 0) >= 1).then_some(Ok(()));
        let fenced = hub.wait(fenced, || died().map(Err));
        if fenced.is_ok() {
            assert_eq!(arena.payload(0, 1), 5, "a fence without what lies before it");
        }
        if let Some(found) = ringbar::progress::first_error(&header) {
            assert_eq!(found, (1, 719), "a failure without its status");
        }
        let room = || tx.has_room(2).expect("honest").then_some(Ok(()));
        let room = hub.wait(room, || died().map(Err));
        // The steps that each of them takes, counted from the first.
        for (end, steps) in [(answered.map(drop), 3), (fenced, 8), (room, 4)] {
            assert!(end == Err(PeerDied) || life.granted() >= steps, "an answer that nobody gave");
        }
        dying.join().expect("joined");
    });
}
