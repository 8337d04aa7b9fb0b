//! The library over a worker of a few lines in a thread of the test, on the mock. One session a test program: its tests
//! share it, as the threads of a program do.
#![allow(dead_code, unused_macros, reason = "each test program uses its part")]

use ringbar::client::ArenaPlan;
use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::region::Terms;
use ringbar_backend::testing::serve;
use ringbar_mock::{MockConfig, MockGpu};
use ringbar_session::Session;
use ringbar_shim_cuda::exports::{Class, EXPORTS, pointer};
use ringbar_shim_cuda::init::cuInit;
use ringbar_shim_cuda::session;
use ringbar_vocabulary::{Init, VOCABULARY_HASH};
use std::ffi::CStr;
use std::sync::Once;

/// The code that a C function answers.
macro_rules! c {
    ($call:expr) => {{
        // SAFETY: every pointer in these tests lives through its call.
        unsafe { $call }
    }};
}

/// A kernel that the mock knows, in blocks of 256 threads at most.
pub const PTX: &CStr = c".version 8.0
.target sm_90
.address_size 64
.visible .entry _Z9fill_withPiii(.param .u64 p0, .param .u32 p1, .param .u32 p2)
.maxntid 256, 1, 1
{
    ret;
}
";

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

static START: Once = Once::new();

/// Starts the session of this test program, the first time.
pub fn start() {
    start_until(|_| false);
}

/// The same with a worker that vanishes before the command, counted from 1, for which `vanishes` says so.
pub fn start_until(vanishes: impl FnMut(u64) -> bool + Send + 'static) {
    start_with(config(), vanishes);
}

/// The mock of these tests.
pub fn config() -> MockConfig {
    MockConfig { device_memory_bytes: 256 << 20, ..MockConfig::default() }
}

/// The same on another mock.
pub fn start_with(config: MockConfig, vanishes: impl FnMut(u64) -> bool + Send + 'static) {
    START.call_once(|| {
        let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: 0 };
        let (client, worker) = link::pair(SIZES, terms, options()).expect("a channel");
        std::thread::spawn(move || {
            let mut gpu = MockGpu::new(config).expect("a mock");
            serve(worker, SIZES.fence_words, &mut gpu, vanishes);
        });
        let session = Session::over(client);
        let reply = session.caller().expect("a slot").call(&Init { flags: 0 }).expect("an answer");
        assert!(session::install(session, reply.driver_version, reply.device_count));
    });
    // SAFETY: it takes no pointers.
    assert_eq!(unsafe { cuInit(0) }, 0);
}

/// Calls an exported function with nothing but zeros.
///
/// Only for calls that are answered before their arguments are looked at.
pub fn call_with_zeros(index: usize) -> u32 {
    type AnyByWord = unsafe extern "C" fn(
        usize,
        usize,
        usize,
        usize,
        usize,
        usize,
        usize,
        usize,
        usize,
        usize,
        usize,
        usize,
    ) -> u32;
    // SAFETY: every export is a C function that answers a code. Arguments that it does not have are not seen by it, and
    // all that it may have are there: registers and stack hold zeros.
    let function = unsafe { std::mem::transmute::<*const (), AnyByWord>(pointer(index)) };
    // SAFETY: the caller promises that no argument is looked at.
    unsafe { function(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) }
}

/// What every function but the pure ones answers that answers something else than `code`, by name.
pub fn functions_that_do_not_answer(code: u32) -> Vec<(&'static str, u32)> {
    let gated = EXPORTS.iter().enumerate().filter(|(_, export)| export.class != Class::Free);
    let answers = gated.map(|(index, export)| (export.name, call_with_zeros(index)));
    answers.filter(|(_, answer)| *answer != code).collect()
}
