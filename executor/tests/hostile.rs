//! H1 to H12, H14 to H16: clients that attack a real worker process through their own mapping of the region.
//!
//! Each time: the attacker's own channel at most is poisoned, with a typed error; its worker never crashes; another client
//! works on undisturbed. (H13, handshakes, is in `daemon.rs`.)

mod support;

use ringbar::Error as ChannelError;
use ringbar::handshake::{Deadline, Grow, Message};
use ringbar::layout::{HEADER_LINES, PAGE_BYTES, Sizes, line};
use ringbar::lines::{Lines, SharedLines};
use ringbar::os::Mapping;
use ringbar::sync::{Arc, AtomicBool, Ordering};
use ringbar::tag::TagSpace;
use ringbar_executor::attach::{AttachError, Attachment, Wish, encoded};
use ringbar_executor::idle::cpu_ns;
use ringbar_vocabulary::*;
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, Server, eventually, is_running, named};

const STREAM: StreamId = StreamId::DEFAULT;

/// A daemon, an attacker, and a client that must not notice.
struct Scene {
    server: Server,
    attacker: Attachment,
    other: Attachment,
}

impl Scene {
    fn new() -> Self {
        Self::with("")
    }

    fn with(options: &str) -> Self {
        let server = Server::start(options);
        let (attacker, other) = (server.client_named("attacker"), server.client_named("other"));
        attacker.call(Init { flags: 0 }).unwrap();
        other.call(Init { flags: 0 }).unwrap();
        Self { server, attacker, other }
    }

    /// The lines of the attacker's region from `offset` in its channel.
    fn lines(&self, offset: u64, count: usize) -> SharedLines {
        let mapping = Arc::new(Mapping::memfd_attach(self.attacker.channel.fds()[0]).unwrap());
        let place = self.attacker.channel.place();
        SharedLines::new(&mapping, (place.offset + offset) as usize, count).unwrap()
    }

    fn ring(&self) -> SharedLines {
        let id = self.attacker.channel.place().identity;
        self.lines(id.command_offset, 1 << id.command_shift)
    }

    fn tags(&self) -> TagSpace {
        let id = self.attacker.channel.place().identity;
        TagSpace::new(self.attacker.generation, id.command_shift.into())
    }

    /// Rings for a worker that may sleep.
    fn ring_the_bell(&self) {
        let bell = self.attacker.channel.fds()[1].try_clone_to_owned().unwrap();
        ringbar::os::EventFd::from_fd(bell).unwrap().signal().unwrap();
    }

    /// The attacker's channel is poisoned, once; its session is over and the other client works.
    fn expect_poisoned(&self, part: &str) {
        self.ring_the_bell();
        let error = self.attacker.client.wait_fence(0, u64::MAX, Some(PATIENCE)).unwrap_err();
        assert!(matches!(error, ChannelError::Poisoned { .. }), "{error}");
        assert!(eventually(|| self.server.client("attacker").is_none()), "its session is over");
        let log = self.server.log();
        assert_eq!(log.matches("channel poisoned").count(), 1, "{log}");
        assert!(log.contains(part), "no {part:?} in {log}");
        self.expect_others_undisturbed();
    }

    fn expect_others_undisturbed(&self) {
        let reply = self.other.call(Ping { token: 9 }).unwrap();
        assert_eq!(reply.token, 9);
        assert_eq!(self.other.client.first_post_error(), None);
        let log = self.server.log();
        assert!(!log.contains("panicked") && !log.contains("ended by signal"), "{log}");
    }

    /// The attacker got nowhere, and may go on as an honest client.
    fn expect_no_effect(&self) {
        assert_eq!(self.attacker.call(Ping { token: 3 }).unwrap().token, 3);
        self.expect_others_undisturbed();
    }

    fn expect_command_poisons(&self, bytes: &[u8], part: &str) {
        self.attacker.client.post(bytes).unwrap();
        self.expect_poisoned(part);
    }
}

#[test]
fn h1_a_position_beyond_the_capacity_poisons_the_channel_with_both_laps_named() {
    let scene = Scene::new();
    let next = scene.attacker.client.tail();
    // The line that is next, as if the client were five laps ahead.
    scene.ring().store(
        next as usize,
        0,
        scene.tags().head(next + 5 * 64, 8, None),
        Ordering::Release,
    );
    scene.expect_poisoned("expected the head of lap 0");
}

#[test]
fn h2_a_position_that_goes_back_poisons_the_channel() {
    let scene = Scene::new();
    let record = encoded(EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 });
    scene.attacker.client.post_batch(&[&record[..]; 200]).unwrap();
    let next = scene.attacker.client.tail();
    scene.attacker.client.wait_executed(next, Some(PATIENCE)).unwrap();
    scene.ring().store(
        next as usize,
        0,
        scene.tags().head(next - 2 * 64, 8, None),
        Ordering::Release,
    );
    scene.expect_poisoned("expected the head of lap 3 or the lap before");
}

#[test]
fn h3_h4_tags_and_payload_that_flap_while_they_are_read_hurt_only_their_channel() {
    let scene = Scene::new();
    let (ring, tags) = (scene.ring(), scene.tags());
    let end = Instant::now() + Duration::from_millis(300);
    let mut value = 1_u64;
    while Instant::now() < end {
        for line in 0..64 {
            value = value.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let tag = if value >> 63 == 0 { tags.head(line, 56, None) } else { value };
            ring.store(line as usize, 0, tag, Ordering::Release);
            (1..8).for_each(|word| ring.store(line as usize, word, value, Ordering::Relaxed));
        }
        scene.ring_the_bell();
    }
    scene.expect_poisoned("channel poisoned");
}

#[test]
fn h3_garbage_over_the_whole_region_hurts_only_its_channel() {
    let scene = Scene::new();
    let pages = scene.attacker.channel.place().identity.arena_offset as usize / PAGE_BYTES;
    let pages: Vec<_> =
        (0..pages).map(|page| scene.lines((page * PAGE_BYTES) as u64, HEADER_LINES)).collect();
    let mut value = 7_u64;
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        for page in &pages {
            for at in 0..HEADER_LINES * 8 {
                value = value.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                page.store(at / 8, at % 8, value >> (value & 31), Ordering::Relaxed);
            }
        }
        scene.ring_the_bell();
        // The daemon reads the counters of that region meanwhile.
        assert!(scene.server.client("other").is_some());
    }
    assert!(eventually(|| scene.server.client("attacker").is_none()), "its session is over");
    scene.expect_others_undisturbed();
}

#[test]
fn h5_arena_blocks_that_overflow_or_reach_outside_are_refused_before_any_access() {
    let size = 1 << 20;
    let outside = [
        ArenaRef { addr: size, len: 1 },
        ArenaRef { addr: size - 8, len: 16 },
        ArenaRef { addr: 8, len: u64::MAX },
        ArenaRef { addr: u64::MAX, len: u64::MAX },
        ArenaRef { addr: (1 << 48) - 1, len: 2 },
        ArenaRef { addr: 1 << 48, len: 8 },
    ];
    for place in outside {
        let scene = Scene::new();
        let command = MemcpyDtoH { dst: place, src: DevicePtr(1 << 32), stream: STREAM };
        scene.expect_command_poisons(&encoded(command), "arena");
    }
}

#[test]
fn h6_stale_foreign_and_wrong_handles_are_errors_of_their_command_only() {
    let scene = Scene::new();
    scene
        .attacker
        .post(StreamCreate {
            context: ContextId::FIRST,
            stream: StreamId(4),
            flags: 0,
            priority: 0,
        })
        .unwrap();
    scene.attacker.post(StreamDestroy { stream: StreamId(4) }).unwrap();
    let stale = scene.attacker.post(StreamDestroy { stream: StreamId(4) }).unwrap();
    // A stream's number where an event's is wanted, and one that only the other client has.
    scene.attacker.post(EventDestroy { event: EventId(4) }).unwrap();
    scene
        .other
        .post(EventCreate { context: ContextId::FIRST, event: EventId(900), flags: 0 })
        .unwrap();
    scene.attacker.post(EventDestroy { event: EventId(900) }).unwrap();
    scene.attacker.call(Ping { token: 1 }).unwrap();
    let failure = Some((stale, Status::INVALID_HANDLE.0));
    assert_eq!(scene.attacker.client.first_post_error(), failure);
    assert_eq!(scene.attacker.client.counters().errors, 3);
    scene.expect_no_effect();
}

#[test]
fn h7_unknown_opcodes_reserved_bits_and_truncated_commands_poison_the_channel() {
    let good = encoded(EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 });
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let bad =
        [with(1, 0xff), with(0, 30), with(3, 0x80), good[..good.len() - 8].to_vec(), Vec::new()];
    for bytes in bad {
        Scene::new().expect_command_poisons(&bytes, "cannot be decoded");
    }
}

#[test]
fn h8_whoever_never_looks_at_replies_and_makes_objects_without_end_is_refused_with_a_status() {
    let scene = Scene::new();
    let giant =
        scene.attacker.call(MemAlloc { context: ContextId::FIRST, bytes: 1 << 50 }).unwrap_err();
    assert!(matches!(giant, AttachError::Status(Status::OUT_OF_MEMORY)), "{giant}");
    let records: Vec<_> = (1..1_100_000_u32)
        .map(|id| encoded(EventCreate { context: ContextId::FIRST, event: EventId(id), flags: 0 }))
        .collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    scene.attacker.client.post_batch(&records).unwrap();
    let tail = scene.attacker.client.tail();
    scene.attacker.client.wait_executed(tail, Some(PATIENCE)).unwrap();
    let (_, status) = scene.attacker.client.first_post_error().unwrap();
    assert_eq!(Status(status), Status::OUT_OF_MEMORY);
    scene.expect_no_effect();
}

#[test]
fn h8_more_arena_than_a_client_may_have_is_refused_by_its_limit() {
    let scene = Scene::with("--client-memory 8MiB");
    let mut segments = 0;
    let refusal = loop {
        match scene.attacker.grow(2 << 20) {
            Ok(_) => segments += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(segments, 3, "the region and three segments are 8 MiB at most");
    assert!(refusal.contains("limits") && refusal.contains("--client-memory"), "{refusal}");
    let wish = named("too large");
    let wish = Wish { sizes: Sizes { arena_bytes: 16 << 20, ..wish.sizes }, ..wish };
    let refusal = scene.server.attach(&wish).err().unwrap().to_string();
    assert!(
        refusal.contains("limits") && refusal.contains("expected at most 8388608"),
        "{refusal}"
    );
    scene.expect_no_effect();
}

#[test]
fn h9_a_doorbell_storm_without_commands_costs_bounded_processor_time_and_is_counted() {
    let scene = Scene::new();
    let bell = scene.attacker.channel.fds()[1].try_clone_to_owned().unwrap();
    let bell = ringbar::os::EventFd::from_fd(bell).unwrap();
    let (over, start) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let counters = || scene.attacker.client.counters();
    let (spent, parks) = (cpu_ns(scene.attacker.worker_pid), counters().worker_parks);
    let is_over = over.clone();
    let storm = thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            bell.signal().unwrap();
            thread::yield_now();
        }
    });
    thread::sleep(Duration::from_secs(1));
    let counted = eventually(|| counters().empty_wakes > 100);
    over.store(true, Ordering::Relaxed);
    storm.join().unwrap();
    assert!(counted, "they are counted");
    let seconds = start.elapsed().as_secs_f64();
    let spent = (cpu_ns(scene.attacker.worker_pid) - spent) as f64 / 1e9;
    assert!(spent < seconds / 2.0, "{spent} s of processor time in {seconds} s");
    assert_eq!(scene.attacker.call(Ping { token: 1 }).unwrap().token, 1);
    // Without a brake there are tens of thousands.
    let parks = (counters().worker_parks - parks) as f64;
    assert!(parks < 1500.0 * (seconds + 1.0), "{parks} wake-ups in {seconds} s");
    scene.expect_no_effect();
}

#[test]
fn h9_a_flood_of_requests_on_the_socket_costs_bounded_processor_time() {
    let scene = Scene::new();
    let connection = scene.attacker.connection.clone();
    let spent = cpu_ns(scene.attacker.worker_pid);
    let (start, mut answers) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(1)
        || answers < 100 && start.elapsed() < support::PATIENCE
    {
        let soon = Deadline::after(Duration::from_millis(1));
        let _ = connection.send(&Message::Grow(Grow { bytes: 1 << 40 }), &[], soon);
        while let Ok(Some(answer)) = connection.receive_now() {
            assert!(matches!(answer.message, Message::Refused(_)));
            answers += 1;
        }
    }
    let spent = (cpu_ns(scene.attacker.worker_pid) - spent) as f64 / 1e9;
    let seconds = start.elapsed().as_secs_f64();
    assert!(spent < seconds / 2.0, "{spent} s of processor time in {seconds} s");
    assert!((100..6000 * (seconds as u32 + 1)).contains(&answers), "{answers} answers");
    scene.expect_no_effect();
}

#[test]
fn h10_a_flood_of_refusals_writes_a_few_lines_a_second() {
    let scene = Scene::with("--log-lines-per-second 5");
    let start = Instant::now();
    let wrong = Wish { sizes: Sizes { command_lines: 3, ..Sizes::default() }, ..named("flood") };
    (0..300).for_each(|_| drop(scene.server.attach(&wrong).err().unwrap()));
    let seconds = start.elapsed().as_secs() as usize + 1;
    let lines = scene.server.log().matches("a client was refused").count();
    assert!((1..=5 * (seconds + 1)).contains(&lines), "{lines} lines in {seconds} s");
    assert_eq!(scene.server.status().daemon.refused, 300);
    scene.expect_others_undisturbed();
}

#[test]
fn h11_the_region_cannot_be_shrunk_and_holes_in_it_hurt_only_who_punched_them() {
    use rustix::fs::FallocateFlags;
    let scene = Scene::new();
    let memfd = scene.attacker.channel.fds()[0];
    assert!(rustix::fs::ftruncate(memfd, 0).is_err(), "sealed");
    let bytes = rustix::fs::fstat(memfd).unwrap().st_size as u64;
    for _ in 0..50 {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(memfd, punch, 0, bytes).unwrap();
        // Whatever comes of it: it ends, and only here.
        let _ = scene.attacker.client.post_batch(
            &[&encoded(EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 })[..];
                8],
        );
        scene.ring_the_bell();
    }
    scene.expect_others_undisturbed();
    assert!(is_running(scene.other.worker_pid));
}

#[test]
fn h12_rewriting_magic_version_and_sizes_after_the_attach_changes_nothing() {
    let scene = Scene::new();
    for at in 0..16 {
        scene.lines(0, HEADER_LINES).store(
            line::IDENTITY + at / 8,
            at % 8,
            u64::MAX,
            Ordering::Relaxed,
        );
    }
    let block = scene.attacker.client.pin(4096, 64).unwrap();
    let device =
        scene.attacker.call(MemAlloc { context: ContextId::FIRST, bytes: 4096 }).unwrap().at;
    let data = Tail::Arena(ArenaRef { addr: block.address, len: 4096 });
    scene.attacker.post(MemcpyHtoD { dst: device, stream: STREAM, data }).unwrap();
    scene.attacker.post(Fence { stream: STREAM, index: 511, value: 1 }).unwrap();
    scene.attacker.client.wait_fence(511, 1, Some(PATIENCE)).unwrap();
    scene.expect_no_effect();
}

#[test]
fn h14_malformed_images_are_refused_and_a_worker_that_dies_of_one_dies_alone() {
    let scene = Scene::with("--mock abort_at_command=40");
    for image in [&b"RBMOCK1\0\xff\xfe"[..], b"\x7fELF", b""] {
        let load = ModuleLoad {
            context: ContextId::FIRST,
            module: ModuleId(1),
            image: Tail::Inline(image),
        };
        let error = scene.attacker.call(load).map(drop);
        // The mock takes an empty list of names for a module without kernels.
        assert!(matches!(error, Err(AttachError::Status(Status::INVALID_IMAGE))), "{error:?}");
    }
    let error = (0..40).find_map(|token| scene.attacker.call(Ping { token }).err()).unwrap();
    assert!(matches!(error, AttachError::Channel(ChannelError::PeerDied { .. })), "{error}");
    assert!(eventually(|| scene.server.log().contains("ended by signal 6")));
    assert_eq!(scene.other.call(Ping { token: 1 }).unwrap().token, 1);
}

/// Loads a kernel of 8 bytes of parameters and launches it once.
fn launch(at: &Attachment) -> Result<u64, AttachError> {
    let (module, function) = (ModuleId(1), FunctionId(1));
    let image = ringbar_mock::image(&["mix"]);
    at.call(ModuleLoad { context: ContextId::FIRST, module, image: Tail::Inline(&image) })?;
    let layout = ArenaRef::new(0, 0, 4096).unwrap();
    let found =
        at.call(FunctionLookup { module, function, layout, name: Tail::Inline(b"mix_8") })?;
    let params = vec![0; found.param_bytes as usize];
    let (grid, block) = ([1; 3], [1; 3]);
    let params = Tail::Inline(&params);
    Ok(at.post(LaunchKernel { function, grid, block, shared_bytes: 0, stream: STREAM, params })?)
}

#[test]
fn h15_a_kernel_that_never_ends_ends_its_worker_after_the_timeout_and_no_other() {
    let scene = Scene::with("--mock hang_at_launch=1 --command-timeout 2s --device-timeout 2s");
    launch(&scene.attacker).unwrap();
    scene.attacker.post(Fence { stream: STREAM, index: 1, value: 1 }).unwrap();
    let error = scene.attacker.client.wait_fence(1, 1, None).unwrap_err();
    assert!(matches!(error, ChannelError::PeerDied { .. }), "{error}");
    assert!(scene.server.log().contains("takes longer than 2s"), "{}", scene.server.log());
    scene.expect_others_undisturbed();
    let old = scene.attacker.worker_pid;
    assert!(eventually(|| !is_running(old)));
    expect_next_generation_works(&scene);
}

fn expect_next_generation_works(scene: &Scene) {
    let wish = Wish { resume: Some(scene.attacker.token), ..named("attacker") };
    let mut again = None;
    assert!(eventually(|| {
        again = scene.server.attach(&wish).ok();
        again.is_some()
    }));
    let again = again.unwrap();
    assert_eq!(again.generation, 2);
    again.call(Init { flags: 0 }).unwrap();
    assert!(again.call(MemAlloc { context: ContextId::FIRST, bytes: 4096 }).is_ok());
}

#[test]
fn h15_d11_a_kernel_that_fails_is_a_sticky_error_and_the_next_worker_works() {
    let scene = Scene::with("--mock fail_at_launch=1");
    let position = launch(&scene.attacker).unwrap();
    let error = scene.attacker.client.wait_fence(1, 1, None).unwrap_err();
    assert!(matches!(error, ChannelError::Closed), "{error}");
    let failure = Some((position, Status::LAUNCH_FAILED.0));
    assert_eq!(scene.attacker.client.first_post_error(), failure);
    scene.expect_others_undisturbed();
    expect_next_generation_works(&scene);
}

/// Each client has a worker process, and so a software GPU, of its own: this fails only if that is no longer so.
#[test]
fn h16_nobody_reads_what_another_client_left_in_device_memory() {
    let scene = Scene::new();
    let bytes = 1 << 20;
    let dirty = scene.attacker.call(MemAlloc { context: ContextId::FIRST, bytes }).unwrap().at;
    scene
        .attacker
        .post(MemsetD8 { dst: dirty, count: bytes, stream: STREAM, value: 0xa5 })
        .unwrap();
    scene.attacker.call(Ping { token: 1 }).unwrap();
    scene.attacker.client.close();
    assert!(eventually(|| scene.server.client("attacker").is_none()));
    let next = scene.server.client_named("next");
    next.call(Init { flags: 0 }).unwrap();
    let fresh = next.call(MemAlloc { context: ContextId::FIRST, bytes }).unwrap().at;
    let block = next.client.pin(256 << 10, 64).unwrap();
    next.client.arena().write(block.address, &vec![1; 256 << 10]).unwrap();
    let dst = ArenaRef { addr: block.address, len: block.len };
    next.post(MemcpyDtoH { dst, src: fresh, stream: STREAM }).unwrap();
    next.call(Ping { token: 1 }).unwrap();
    let mut back = vec![1; 256 << 10];
    next.client.arena().read(block.address, &mut back).unwrap();
    assert!(back.iter().all(|&byte| byte == 0));
}

#[test]
fn garbage_on_the_socket_of_a_running_channel_poisons_it() {
    let scene = Scene::new();
    rustix::net::send(
        &scene.attacker.connection,
        b"GET / HTTP/1.1",
        rustix::net::SendFlags::empty(),
    )
    .unwrap();
    scene.expect_poisoned("channel poisoned");
}
