//! A worker of a few lines in a thread of the test, on the mock.
#![allow(dead_code, reason = "each test program uses its part")]

use ringbar::client::ArenaPlan;
use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::park::FdBlock;
use ringbar::region::Terms;
use ringbar::worker::Worker;
use ringbar_backend::testing;
use ringbar_mock::{MockConfig, MockGpu};
use ringbar_session::{Session, SessionCaller};
use ringbar_vocabulary::{Init, VOCABULARY_HASH};
use std::thread::JoinHandle;

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
pub fn serve(worker: Worker<FdBlock>, config: MockConfig, die_at: Option<u64>) -> u64 {
    let mut gpu = MockGpu::new(config).expect("a mock");
    testing::serve(worker, SIZES.fence_words, &mut gpu, |seen| die_at == Some(seen))
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
