//! A worker of a few lines in a thread of the test, on the mock.
#![allow(dead_code, reason = "each test program uses its part")]

use ringbar::client::ArenaPlan;
use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::park::FdBlock;
use ringbar::region::Terms;
use ringbar::reply::Ticket;
use ringbar::worker::{Completions, Next, Worker};
use ringbar_backend::{
    ArenaFault, Backend, ErrorLatch, Executed, FenceFault, Fences, Holds, HostMemory, Services,
    execute,
};
use ringbar_mock::{MockConfig, MockGpu};
use ringbar_session::{Session, SessionCaller};
use ringbar_vocabulary::{ArenaRef, Init, Status, VOCABULARY_HASH};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

struct Shared(Completions, Mutex<Vec<(u64, Status)>>);

impl HostMemory for Shared {
    fn check(&self, at: ArenaRef) -> Result<(), ArenaFault> {
        self.0.arena().block(at.addr, at.len).map(drop).map_err(|_| self.outside(at))
    }
    fn read(&self, at: ArenaRef, into: &mut [u8]) -> Result<(), ArenaFault> {
        self.0.arena().read(at.addr, into).map_err(|_| self.outside(at))
    }
    fn write(&self, at: ArenaRef, from: &[u8]) -> Result<(), ArenaFault> {
        self.0.arena().write(at.addr, from).map_err(|_| self.outside(at))
    }
}

impl Shared {
    fn outside(&self, at: ArenaRef) -> ArenaFault {
        let expected = self.0.arena().segment_bytes(at.segment());
        ArenaFault::Outside { offset: at.offset(), len: at.len, expected }
    }
}

impl Fences for Shared {
    fn count(&self) -> u32 {
        SIZES.fence_words
    }
    fn write(&self, index: u32, value: u64) -> Result<(), FenceFault> {
        let fault = FenceFault { found: index, expected: SIZES.fence_words };
        self.0.fence(index, value).map_err(|_| fault)
    }
}

impl ErrorLatch for Shared {
    fn latch(&self, position: u64, status: Status) {
        self.1.lock().expect("no panic").push((position, status));
        self.0.post_failed(position, status.0);
    }
    fn failure(&self, number: u64) -> Option<(u64, Status)> {
        self.1.lock().expect("no panic").get(number as usize).copied()
    }
}

impl Holds for Shared {
    fn begin(&self, position: u64) {
        self.0.begin_hold(position);
    }
    fn end(&self, position: u64) {
        self.0.end_hold(position);
    }
}

pub const SIZES: Sizes = Sizes {
    command_lines: 256,
    reply_slots: 4,
    event_lines: 8,
    fence_words: 8,
    arena_bytes: 4 << 20,
    arena_address: 0,
};

/// A quarter of the arena for staging.
pub fn options() -> Options {
    let plan = ArenaPlan { staging_bytes_max: SIZES.arena_bytes / 4 };
    Options { plan, ..Options::default() }
}

/// Serves until the client leaves; returns how many commands it saw. With `die_at` it vanishes before that command.
pub fn serve(mut worker: Worker<FdBlock>, config: MockConfig, die_at: Option<u64>) -> u64 {
    let shared = Arc::new(Shared(worker.completions().clone(), Mutex::default()));
    let services = Arc::new(Services {
        arena: shared.clone(),
        fences: shared.clone(),
        errors: shared.clone(),
        holds: shared.clone(),
    });
    let completions = worker.completions().clone();
    let mut gpu = MockGpu::new(config).expect("a mock");
    let mut seen = 0;
    loop {
        match worker.next().expect("an honest client") {
            Next::Command(record) => {
                seen += 1;
                if die_at == Some(seen) {
                    return seen;
                }
                let (position, slot) = (record.position, record.reply_slot);
                let done = execute(&mut gpu, &services, position, record.bytes).expect("honest");
                if let (Executed::Replied(reply), Some(slot)) = (done, slot) {
                    let (bytes, len) = reply.to_bytes();
                    completions.reply(Ticket { slot, position }, &bytes[..len]);
                }
                worker.publish_soon();
            }
            Next::Idle => {}
            Next::ClientGone => {
                gpu.drain();
                return seen;
            }
        }
    }
}

pub struct Rig {
    pub session: Session,
    pub caller: SessionCaller,
    pub worker: JoinHandle<u64>,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(MockConfig::default(), false, None)
    }

    pub fn with(config: MockConfig, strict: bool, die_at: Option<u64>) -> Self {
        let config = MockConfig { device_memory_bytes: 64 << 20, ..config };
        let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: 0 };
        let (client, worker) = link::pair(SIZES, terms, options()).expect("a channel");
        let worker = std::thread::spawn(move || serve(worker, config, die_at));
        let session = if strict { Session::over_strict(client) } else { Session::over(client) };
        let mut caller = session.caller().expect("a slot");
        caller.call(&Init { flags: 0 }).expect("the first command");
        Self { session, caller, worker }
    }

    /// Leaves, and waits for the worker's end.
    pub fn finish(self) -> u64 {
        self.session.close();
        self.worker.join().expect("the worker does not panic")
    }
}
