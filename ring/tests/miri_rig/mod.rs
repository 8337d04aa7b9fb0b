//! A whole channel in plain memory, with doorbells made of a condition variable: no system call but those of threads, so
//! Miri can run it, on any target.
#![allow(dead_code, reason = "each test program uses a part of it")]

use ringbar::arena::Arena;
use ringbar::client::{ArenaPlan, Client, ClientConfig, ClientPark, Limits};
use ringbar::hub::Park;
use ringbar::layout::{HEADER_LINES, Sizes};
use ringbar::lines::SharedLines;
use ringbar::os::{Doorbell, DoorbellKind, Mapping};
use ringbar::region::{self, Channel, Expect, Place, Terms};
use ringbar::spin::SpinBudget;
use ringbar::sync::{Arc, Condvar, Mutex};
use ringbar::wake::WakeMode;
use ringbar::worker::{Block, Blocked, Worker, WorkerConfig};
use std::io;
use std::time::Duration;

pub const SIZES: Sizes = Sizes {
    command_lines: 8,
    reply_slots: 4,
    event_lines: 8,
    fence_words: 8,
    arena_bytes: 16 * 4096,
    arena_address: 0,
};
pub const GENERATION: u32 = 0x0102_0304;
pub const TERMS: Terms = Terms { vocabulary_hash: 0x1122_3344_5566_7788, features: 0 };

/// `count` zeroed lines.
pub fn heap_lines(count: usize) -> SharedLines {
    let mapping = Arc::new(Mapping::heap(count * 64).expect("memory"));
    SharedLines::new(&mapping, 0, count).expect("aligned lines")
}

/// A region of one channel.
pub fn region() -> (Arc<Mapping>, Place) {
    let bytes = region::region_bytes(&[SIZES]) as usize;
    let mapping = Arc::new(Mapping::heap(bytes).expect("memory"));
    let places = region::create(&mapping, &[SIZES], TERMS).expect("a region");
    (mapping, places[0])
}

/// Wakes and is waited for.
#[derive(Clone, Default)]
pub struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    /// True if it rang within the time.
    fn wait(&self, timeout: Duration) -> bool {
        let (rang, told) = &*self.0;
        let rang = rang.lock().expect("no panic under the lock");
        let waited = told.wait_timeout_while(rang, timeout, |rang| !*rang);
        core::mem::take(&mut *waited.expect("no panic under the lock").0)
    }
}

impl Doorbell for Bell {
    fn ring(&self) -> io::Result<()> {
        *self.0.0.lock().expect("no panic under the lock") = true;
        self.0.1.notify_one();
        Ok(())
    }

    fn kind(&self) -> DoorbellKind {
        DoorbellKind::None
    }
}

impl Park for Bell {
    fn park(&self, timeout: Duration) {
        self.wait(timeout);
    }
}

impl ClientPark for Bell {
    fn peer_gone(&self) -> bool {
        false
    }
}

impl Block for Bell {
    fn block(&mut self, timeout: Duration) -> io::Result<Blocked> {
        Ok(if self.wait(timeout) { Blocked::Rang } else { Blocked::Other })
    }
}

/// Both ends of a channel, and all its lines once more for an attacker.
pub struct Rig {
    pub client: Client,
    pub worker: Worker<Bell>,
    pub attacked: Vec<SharedLines>,
}

/// A channel, offered and running, over one mapping.
pub fn rig() -> Rig {
    let (mapping, created) = region();
    let want = Expect { vocabulary_hash: TERMS.vocabulary_hash, features: 0, generation: None };
    let place = region::inspect(&mapping, 0, want).expect("a good region");
    assert_eq!(place, created);
    let channel = Channel::open(&mapping, place).expect("its lines");
    channel.offer(GENERATION);
    let id = place.identity;
    let arena =
        mapping.subrange((place.offset + id.arena_offset) as usize, id.arena_bytes as usize);
    let arena = Arc::new(Arena::new(arena.expect("inside")));
    let (worker_bell, client_bell) = (Bell::default(), Bell::default());
    let config = WorkerConfig {
        channel: channel.clone(),
        generation: GENERATION,
        arena: Arc::clone(&arena),
        doorbell: Arc::new(client_bell.clone()),
        wake: WakeMode::Fence,
        spin: SpinBudget::new(Duration::ZERO),
        relook: Duration::from_millis(5),
    };
    let worker = Worker::start(config, worker_bell.clone()).expect("a worker");
    let client = Client::attach(ClientConfig {
        channel: channel.clone(),
        generation: GENERATION,
        arena,
        plan: ArenaPlan::default(),
        doorbell: Arc::new(worker_bell),
        park: Box::new(client_bell),
        wake: WakeMode::Fence,
        spin: SpinBudget::new(Duration::ZERO),
        limits: Limits::default(),
        heartbeat: None,
    });
    let lines = |offset: u64, count: u32| {
        SharedLines::new(&mapping, (place.offset + offset) as usize, count as usize)
            .expect("inside")
    };
    let attacked = vec![
        lines(0, HEADER_LINES as u32),
        lines(id.command_offset, SIZES.command_lines),
        lines(id.reply_offset, SIZES.reply_slots),
        lines(id.event_offset, SIZES.event_lines),
    ];
    Rig { client: client.expect("a client"), worker, attacked }
}
