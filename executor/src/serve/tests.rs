use super::*;
use ringbar::client::Client;
use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::region::Terms;
use ringbar_backend::Context;
use ringbar_mock::{MockConfig, MockGpu};
use ringbar_vocabulary::*;
use std::thread::JoinHandle;

type Serving = JoinHandle<Result<Served, ServeError>>;

/// A client, and a thread that serves it with a mock of that configuration.
fn served(config: MockConfig) -> (Client, Serving) {
    let sizes = Sizes { arena_bytes: 1 << 20, ..Sizes::default() };
    let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: 0 };
    let (client, worker) = link::pair(sizes, terms, Options::default()).unwrap();
    let config = MockConfig { device_memory_bytes: 16 << 20, ..config };
    let serving = std::thread::spawn(move || {
        let mut backend = MockGpu::new(config).unwrap();
        serve_channel(worker, sizes.fence_words, &mut backend)
    });
    (client, serving)
}

fn bytes_of(command: impl Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    bytes
}

fn call<C: SyncCommand>(client: &Client, command: C) -> Result<C::Reply, Status> {
    let mut caller = client.caller().unwrap();
    C::Reply::decode(caller.call(&bytes_of(command)).unwrap()).unwrap()
}

fn post(client: &Client, command: impl PostCommand) -> u64 {
    client.post(&bytes_of(command)).unwrap()
}

fn started(config: MockConfig) -> (Client, Serving) {
    let (client, serving) = served(config);
    call(&client, Init { flags: 0 }).unwrap();
    (client, serving)
}

#[test]
fn calls_are_answered_and_an_orderly_end_is_seen() {
    let (client, serving) = served(MockConfig::default());
    assert_eq!(call(&client, Ping { token: 7 }), Ok(PingReply { token: 7 }));
    client.close();
    let served = serving.join().unwrap().unwrap();
    assert_eq!(served, Served { commands: 1, end: End::ClientLeft });
}

#[test]
fn bytes_go_through_the_arena_to_the_device_and_back_and_a_fence_tells_when() {
    let (client, serving) = started(MockConfig::default());
    let device =
        call(&client, MemAlloc { context: ContextId::FIRST, bytes: 512 << 10 }).unwrap().at;
    // Large enough to take the streaming road, and not a whole number of lines.
    let data: Vec<u8> = (0..300_001_u32).map(|i| (i * 7) as u8).collect();
    let block = client.pin(data.len() as u64, 64).unwrap();
    client.arena().write(block.address, &data).unwrap();
    let place = ArenaRef { addr: block.address, len: data.len() as u64 };
    let copy = MemcpyHtoD { dst: device, stream: StreamId::DEFAULT, data: Tail::Arena(place) };
    let done = post(&client, copy);
    client.wait_executed(done + 1, None).unwrap();
    client.arena().write(block.address, &vec![0; data.len()]).unwrap();
    post(&client, MemcpyDtoH { dst: place, src: device, stream: StreamId::DEFAULT });
    post(&client, Fence { stream: StreamId::DEFAULT, index: 5, value: 3 });
    client.wait_fence(5, 3, None).unwrap();
    let mut back = vec![0; data.len()];
    client.arena().read(block.address, &mut back).unwrap();
    assert_eq!(back, data);
    client.close();
    assert_eq!(serving.join().unwrap().unwrap().end, End::ClientLeft);
}

#[test]
fn the_first_failed_post_is_latched_with_its_position() {
    let (client, _serving) = started(MockConfig::default());
    post(
        &client,
        StreamCreate { context: ContextId::FIRST, stream: StreamId(1), flags: 0, priority: 0 },
    );
    let wrong = post(&client, StreamDestroy { stream: StreamId(99) });
    post(&client, StreamDestroy { stream: StreamId(98) });
    call(&client, Ping { token: 0 }).unwrap();
    assert_eq!(client.first_post_error(), Some((wrong, Status::INVALID_HANDLE.0)));
    assert_eq!(client.counters().errors, 2);
}

/// Sends raw bytes and expects the channel to be poisoned, with `part` in the worker's error.
fn poisoned_by(bytes: &[u8], wants_reply: bool, part: &str) {
    let (client, serving) = started(MockConfig::default());
    if wants_reply {
        client.caller().unwrap().call(bytes).unwrap_err();
    } else {
        client.post(bytes).unwrap();
    }
    let error = serving.join().unwrap().unwrap_err();
    assert!(error.is_violation() && error.to_string().contains(part), "{error}");
    let waiter = client.wait_fence(0, 1, None).unwrap_err();
    assert!(matches!(waiter, ChannelError::Poisoned { reason: "command", .. }), "{waiter}");
}

#[test]
fn bytes_that_are_no_command_poison_the_channel_with_the_decoders_words() {
    poisoned_by(&[0xff; 16], false, "65535");
    poisoned_by(&bytes_of(Ping { token: 1 })[..8], true, "8 bytes");
}

#[test]
fn a_block_outside_the_arena_poisons_the_channel() {
    let outside = ArenaRef { addr: (1 << 20) - 8, len: 16 };
    let at = DevicePtr(ringbar_mock::DEVICE_BASE);
    let copy = MemcpyDtoH { dst: outside, src: at, stream: StreamId::DEFAULT };
    poisoned_by(&bytes_of(copy), false, "1048576");
    let other_segment = ArenaRef::new(3, 0, 16).unwrap();
    let copy = MemcpyDtoH { dst: other_segment, src: at, stream: StreamId::DEFAULT };
    poisoned_by(&bytes_of(copy), false, "segment 3");
}

#[test]
fn a_fence_that_does_not_exist_poisons_the_channel() {
    let fence = Fence { stream: StreamId::DEFAULT, index: 512, value: 1 };
    poisoned_by(&bytes_of(fence), false, "fence 512");
}

#[test]
fn a_reply_slot_in_the_wrong_place_poisons_the_channel() {
    poisoned_by(&bytes_of(Ping { token: 1 }), false, "without a reply slot");
    poisoned_by(
        &bytes_of(EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 }),
        true,
        "names a reply slot",
    );
}

#[test]
fn a_lost_device_answers_what_was_sent_and_then_ends_the_worker() {
    let mut config = MockConfig::default();
    config.faults.fail_at_launch = Some(1);
    let (client, serving) = started(config);
    let (module, function) = (ModuleId(1), FunctionId(1));
    let image = ringbar_mock::image(&["mix"]);
    call(&client, ModuleLoad { context: ContextId::FIRST, module, image: Tail::Inline(&image) })
        .unwrap();
    let layout = ArenaRef::new(0, 0, 4096).unwrap();
    let name = Tail::Inline(b"mix_8");
    let found = call(&client, FunctionLookup { module, function, layout, name }).unwrap();
    let block = vec![0; found.param_bytes as usize];
    // A failure that is over with its own command does not hide the one that ends the device.
    let earlier = post(&client, MemFree { at: DevicePtr(7) });
    post(
        &client,
        LaunchKernel {
            function,
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            stream: StreamId::DEFAULT,
            params: Tail::Inline(&block),
        },
    );
    post(&client, Fence { stream: StreamId::DEFAULT, index: 0, value: 1 });
    let waiter = client.wait_fence(0, 1, None).unwrap_err();
    assert!(matches!(waiter, ChannelError::Closed), "{waiter}");
    assert_eq!(client.first_post_error(), Some((earlier, Status::INVALID_VALUE.0)));
    let told = client.poll_event(DeviceLost::from_bytes).unwrap();
    assert_eq!(told, Some(Some(DeviceLost(Status::LAUNCH_FAILED))));
    let served = serving.join().unwrap().unwrap();
    assert_eq!(served.end, End::DeviceLost(Status::LAUNCH_FAILED));
}

/// Remembers of each command whether another one was said to follow.
#[derive(Default)]
struct Told {
    announced: bool,
    followed: Vec<bool>,
}

impl Handler<Context<'_>> for Told {
    fn unsupported(&mut self, _: &mut Context<'_>, _: &'static Row) -> Status {
        Status::NOT_SUPPORTED
    }
}

impl Backend for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn begin(&mut self, _: &mut Context<'_>) -> Result<(), Status> {
        self.followed.push(std::mem::take(&mut self.announced));
        Ok(())
    }

    fn more_follows(&mut self) {
        self.announced = true;
    }

    fn lost(&self) -> Option<Status> {
        None
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn drain(&mut self) {}
}

#[test]
fn a_backend_is_told_of_commands_behind_which_others_wait() {
    let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: 0 };
    let (client, worker) = link::pair(Sizes::default(), terms, Options::default()).unwrap();
    for _ in 0..3 {
        post(&client, MemFree { at: DevicePtr(1) });
    }
    client.close();
    let mut told = Told::default();
    serve_channel(worker, Sizes::default().fence_words, &mut told).unwrap();
    assert_eq!(told.followed, [true, true, false]);
}
