//! A channel over a real memfd, mapped three times: by the client, by the worker, and by an attacker who has the rights of
//! either and writes into it at will.
#![allow(dead_code, reason = "each test program uses a part of it")]

use ringbar::client::{ArenaPlan, Client, ClientConfig, Limits};
use ringbar::layout::{HEADER_LINES, Sizes};
use ringbar::lines::{Lines, SharedLines};
use ringbar::link::{MemfdChannel, Options};
use ringbar::os::doorbell::Doorbell;
use ringbar::os::{EventFd, Mapping, PeerWatch};
use ringbar::park::{FdBlock, FdPark};
use ringbar::region::{Expect, State, Terms};
use ringbar::spin::SpinBudget;
use ringbar::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use ringbar::wake::WakeMode;
use ringbar::worker::Worker;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tracing::span;

pub const SIZES: Sizes = Sizes {
    command_lines: 64,
    reply_slots: 8,
    event_lines: 8,
    fence_words: 64,
    arena_bytes: 1 << 20,
    arena_address: 0,
};
pub const GENERATION: u32 = 1;
/// log2 of the command lines, for tags.
pub const COMMAND_SHIFT: u32 = 6;
pub const EVENT_SHIFT: u32 = 3;

/// All three parties of one channel.
pub struct Rig {
    pub client: Client,
    pub worker: Worker<FdBlock>,
    pub attacker: Attacker,
}

/// The attacker's own mapping and descriptors.
#[derive(Clone)]
pub struct Attacker {
    pub memfd: Arc<OwnedFd>,
    pub worker_bell: EventFd,
    pub client_bell: EventFd,
    pub directory: SharedLines,
    pub header: SharedLines,
    pub commands: SharedLines,
    pub replies: SharedLines,
    pub events: SharedLines,
    pub fences: SharedLines,
}

/// A fresh channel, attached to and running, woken by full fences.
pub fn rig() -> Rig {
    rig_with(0)
}

/// The same with these feature bits.
pub fn rig_with(features: u64) -> Rig {
    assemble(features, None)
}

/// The same with a client that wakes the worker by `bell`.
pub fn rig_with_bell(bell: Arc<dyn Doorbell>) -> Rig {
    assemble(0, Some(bell))
}

fn assemble(features: u64, doorbell: Option<Arc<dyn Doorbell>>) -> Rig {
    let terms = Terms { vocabulary_hash: 7, features };
    let host = MemfdChannel::create("hostile", SIZES, terms).expect("a region");
    host.channel().offer(GENERATION);
    let dup = |index: usize| host.fds()[index].try_clone_to_owned().expect("a descriptor");
    let bell = |index| EventFd::from_fd(dup(index)).expect("a doorbell");
    let want = Expect { vocabulary_hash: 7, features: 0, generation: Some(GENERATION) };
    let theirs = MemfdChannel::receive(dup(0), 0, want, bell(1), bell(2)).expect("a good region");
    let (one, other) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .expect("a socket pair");
    let watch = PeerWatch::of_connection(Arc::new(one));
    let worker = host.worker(GENERATION, &watch, Options::default()).expect("a worker");
    let watch = PeerWatch::of_connection(Arc::new(other));
    let client = match doorbell {
        None => theirs.client(GENERATION, watch, Options::default()),
        Some(doorbell) => Client::attach(ClientConfig {
            channel: theirs.channel().clone(),
            generation: GENERATION,
            arena: Arc::clone(theirs.arena()),
            plan: ArenaPlan::default(),
            doorbell,
            park: Box::new(FdPark::new(bell(2), watch).expect("a wait")),
            wake: WakeMode::Fence,
            spin: SpinBudget::default(),
            limits: Limits::default(),
            heartbeat: None,
        }),
    };
    let client = client.expect("a client");
    let attacker = Attacker::new(dup(0), bell(1), bell(2), &host);
    Rig { client, worker, attacker }
}

impl Attacker {
    fn new(
        memfd: OwnedFd,
        worker_bell: EventFd,
        client_bell: EventFd,
        host: &MemfdChannel,
    ) -> Self {
        let mapping = Arc::new(Mapping::memfd_attach(&memfd).expect("a third mapping"));
        let (place, id) = (host.place(), host.place().identity);
        let lines = |offset: u64, count: usize| {
            SharedLines::new(&mapping, offset as usize, count).expect("inside")
        };
        Self {
            directory: lines(0, HEADER_LINES),
            header: lines(place.offset, HEADER_LINES),
            commands: lines(place.offset + id.command_offset, SIZES.command_lines as usize),
            replies: lines(place.offset + id.reply_offset, SIZES.reply_slots as usize),
            events: lines(place.offset + id.event_offset, SIZES.event_lines as usize),
            fences: lines(place.offset + id.fence_offset, SIZES.fence_words as usize / 8),
            memfd: Arc::new(memfd),
            worker_bell,
            client_bell,
        }
    }

    /// Word 0 of a header line.
    pub fn set_header(&self, line: usize, word: usize, value: u64) {
        self.header.store(line, word, value, Ordering::Release);
    }

    /// Code of the first error in a status line.
    pub fn error_code(&self, status_line: usize) -> u32 {
        self.header.load(status_line, 2, Ordering::Acquire) as u32
    }

    /// State in a status line.
    pub fn state(&self, status_line: usize) -> State {
        State::from_number(self.header.load(status_line, 0, Ordering::Acquire) as u32)
    }

    /// Does `act` over and over on a thread of its own, until the guard is dropped.
    pub fn keep(&self, mut act: impl FnMut(&Attacker, &mut Random) + Send + 'static) -> Attack {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, attacker) = (stop.clone(), rounds.clone(), self.clone());
        let thread = thread::spawn(move || {
            let mut random = Random::new(1);
            while !stopped.load(Ordering::Relaxed) {
                act(&attacker, &mut random);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        while rounds.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        Attack { stop, rounds, thread: Some(thread) }
    }
}

/// An attack that is going on.
pub struct Attack {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Attack {
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the attack failed");
        }
    }
}

/// Arbitrary numbers, the same in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Runs `act` on a thread and fails if it has not returned after a time that no working code needs.
pub fn returns<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let result = act();
        // Nobody listens any more if this took too long.
        let _ = tell.send(result);
    });
    match told.recv_timeout(Duration::from_secs(120)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the attacked side hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it ended without a result"))
        }
    }
}

/// Counts the warnings of this thread while `act` runs.
pub fn warnings(act: impl FnOnce()) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    tracing::subscriber::with_default(Warnings(count.clone()), act);
    count.load(Ordering::Relaxed)
}

struct Warnings(Arc<AtomicU64>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
