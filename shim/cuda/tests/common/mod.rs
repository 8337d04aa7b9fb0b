//! The library over a worker of a few lines in a thread of the test, on the mock. One session a test program: its tests
//! share it, as the threads of a program do.
#![allow(dead_code, reason = "each test program uses its part")]

use ringbar::client::ArenaPlan;
use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::park::FdBlock;
use ringbar::region::Terms;
use ringbar::reply::Ticket;
use ringbar::worker::{Completions, Next, Worker};
use ringbar_backend::{
    ArenaFault, Backend, ErrorLatch, Executed, FenceFault, Fences, Holds, HostMemory, Mapped,
    Services, execute,
};
use ringbar_mock::{MockConfig, MockGpu};
use ringbar_session::Session;
use ringbar_shim_cuda::init::cuInit;
use ringbar_shim_cuda::session;
use ringbar_vocabulary::{ArenaRef, Init, Status, VOCABULARY_HASH};
use std::sync::Arc;
use std::sync::Once;

struct Shared(Completions);

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
    fn mapped(&self, segment: u16) -> Option<Mapped> {
        let (address, bytes) = self.0.arena().place(segment)?;
        Some(Mapped { address, bytes })
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
        self.0.post_failed(position, status.0);
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
    command_lines: 1024,
    reply_slots: 8,
    event_lines: 8,
    fence_words: 256,
    arena_bytes: 32 << 20,
    arena_address: 0x6e00_0000_0000,
};

/// A quarter of the arena for staging.
pub fn options() -> Options {
    let plan = ArenaPlan { staging_bytes_max: SIZES.arena_bytes / 4 };
    Options { plan, ..Options::default() }
}

/// Serves until the client leaves; returns how many commands it saw. With `die_at` it vanishes before that command.
pub fn serve(mut worker: Worker<FdBlock>, config: MockConfig, die_at: Option<u64>) -> u64 {
    let shared = Arc::new(Shared(worker.completions().clone()));
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

static START: Once = Once::new();

/// Starts the session of this test program, the first time.
pub fn start() {
    start_until(None);
}

/// The same with a worker that vanishes before the command of that number.
pub fn start_until(die_at: Option<u64>) {
    START.call_once(|| {
        let config = MockConfig { device_memory_bytes: 256 << 20, ..MockConfig::default() };
        let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: 0 };
        let (client, worker) = link::pair(SIZES, terms, options()).expect("a channel");
        std::thread::spawn(move || serve(worker, config, die_at));
        let session = Session::over(client);
        let reply = session.caller().expect("a slot").call(&Init { flags: 0 }).expect("an answer");
        assert!(session::install(session, reply.driver_version, reply.device_count));
    });
    // SAFETY: it takes no pointers.
    assert_eq!(unsafe { cuInit(0) }, 0);
}
