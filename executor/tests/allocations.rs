//! Steady state allocates nothing, on either side: the session that posts, calls, copies and waits, and the worker's loop
//! that executes on the mock. One test in a program of its own, because the allocator counts every thread.

use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::region::Terms;
use ringbar::sync::{AtomicU64, Ordering::Relaxed};
use ringbar_executor::serve::serve_channel;
use ringbar_mock::{MockConfig, MockGpu, image};
use ringbar_session::{Session, SessionCaller};
use ringbar_vocabulary::*;
use std::alloc::{GlobalAlloc, Layout, System};

/// Allocations of all threads while counting is on.
static COUNT: AtomicU64 = AtomicU64::new(0);
static COUNTING: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(COUNTING.load(Relaxed), Relaxed);
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn allocations_of(run: impl FnOnce()) -> u64 {
    COUNT.store(0, Relaxed);
    COUNTING.store(1, Relaxed);
    run();
    COUNTING.store(0, Relaxed);
    COUNT.load(Relaxed)
}

struct Rig {
    caller: SessionCaller,
    session: Session,
    function: FunctionId,
    device: DevicePtr,
    /// Longer than a record: they travel through the arena.
    params: Vec<u8>,
    data: Vec<u8>,
}

impl Rig {
    fn new(session: Session) -> Self {
        let mut caller = session.caller().expect("a slot");
        caller.call(&Init { flags: 0 }).expect("a worker");
        let (module, function) = (ModuleId(1), FunctionId(1));
        let image = image(&["mix"]);
        caller
            .call(&ModuleLoad { context: ContextId::FIRST, module, image: Tail::Inline(&image) })
            .expect("loaded");
        let (layout, name) = (ArenaRef::default(), Tail::Inline(b"mix_7600"));
        let found = caller.call(&FunctionLookup { module, function, layout, name }).expect("found");
        let device =
            caller.call(&MemAlloc { context: ContextId::FIRST, bytes: 4 << 20 }).expect("room").at;
        let mut params = vec![3; 7600];
        let at = usize::from(Param::from_word(found.inline[0]).offset);
        params[at..at + 8].copy_from_slice(&device.0.to_le_bytes());
        Self { caller, session, function, device, params, data: vec![5; 1 << 20] }
    }

    fn launch(&self) {
        let launch = LaunchKernel {
            function: self.function,
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            stream: StreamId::DEFAULT,
            params: Tail::Inline(&self.params),
        };
        self.session.post(&launch).expect("room in time");
    }

    fn library_call(&self) {
        let arguments = Tail::Inline(&self.params[..44]);
        let stream = StreamId::DEFAULT;
        let call = LibraryCall { library: 1, function: 2, stream, arguments };
        self.session.post(&call).expect("room in time");
    }

    /// Everything that a running program does again and again.
    fn steady_state(&mut self) {
        for _ in 0..200 {
            self.launch();
            self.library_call();
        }
        for token in 0..200 {
            assert_eq!(self.caller.call(&Ping { token }).expect("alive").token, token);
        }
        for bytes in [8, 4096, 5000, 1 << 20] {
            let data = &mut self.data[..bytes];
            self.session.memcpy_htod(self.device, data, StreamId::DEFAULT).expect("posted");
            self.session.memcpy_dtoh(data, self.device, StreamId::DEFAULT).expect("copied");
        }
        let ticket = self.session.fence(StreamId::DEFAULT).expect("a word");
        self.session.wait(ticket).expect("reached");
    }
}

#[test]
fn steady_state_allocates_nothing_on_either_side() {
    let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: link::features_here() };
    let sizes = Sizes::default();
    let (client, worker) = link::pair(sizes, terms, Options::default()).expect("a channel");
    let config = MockConfig { device_memory_bytes: 64 << 20, ..MockConfig::default() };
    let serving = std::thread::spawn(move || {
        serve_channel(worker, sizes.fence_words, &mut MockGpu::new(config).expect("a mock"))
    });
    let mut rig = Rig::new(Session::over(client));
    for _ in 0..3 {
        rig.steady_state();
    }
    let counted = allocations_of(|| (0..10).for_each(|_| rig.steady_state()));
    assert_eq!(counted, 0, "allocations in 10 rounds of more than 600 commands");
    assert!(allocations_of(|| drop(std::hint::black_box(Box::new(1)))) > 0, "the count works");
    rig.session.close();
    serving.join().expect("no panic").expect("an honest client");
}
