//! ringbar itself.
//!
//! | variant | measure | what runs |
//! |---|---|---|
//! | `bare` | one way, batch, round trip on two rings | [`Producer`] and [`Consumer`], nobody ever sleeps |
//! | `armed` | one way | the same, the producer looks at the consumer's sleep word: asymmetric barrier |
//! | `fenced` | one way | the same with a full fence for each message |
//! | `call` | round trip | [`Client`] and [`Worker`]: locks, counters, sleep words, everything an application gets |
//! | `bare call` | round trip | a producer and a reply slot alone |
//! | `parked` | wake | a [`Worker`] that blocks at once, woken by a post |
//!
//! A message is one line: 56 bytes and the tag, against 64 bytes of the peers.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringbar::client::{Caller, Client};
use ringbar::handshake::{Connection, Deadline, Message, SessionToken, Version, Welcome};
use ringbar::layout::{HEADER_LINES, Sizes, line};
use ringbar::lines::SharedLines;
use ringbar::link::{FEATURE_ASYMMETRIC_BARRIER, MemfdChannel, Options, features_here};
use ringbar::os::doorbell::EventFd;
use ringbar::os::liveness::PeerWatch;
use ringbar::os::mapping::Mapping;
use ringbar::park::FdBlock;
use ringbar::region::{Expect, Terms};
use ringbar::reply::{self, Slot, Ticket};
use ringbar::spsc::{Consumer, Direction, Producer};
use ringbar::sync::spin_loop;
use ringbar::wake::{WakeMode, Waker};
use ringbar::worker::{Next, Worker};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::candidate::{Candidate, Identity, Measure, Sides};
use crate::cores::Cores;
use crate::drive::{self, Plan};
use crate::error::BenchError;
use crate::process::{Beside, Role, arguments};
use crate::shared::SharedLines as BenchLines;
use crate::side::{
    Answer, BATCH, Call, Pair, Park, Receive, ReceiveBatch, SLOTS, Transmit, TransmitBatch, Wake,
};
use crate::spin::{STALL_LIMIT, Stalled, spin_until};

/// Words of payload in a line.
const WORDS: usize = 7;
/// Words of a reply.
const REPLY_WORDS: usize = 2;
const PEER: &str = "ringbar";
const GENERATION: u32 = 1;
/// Empty polls between two looks at the clock.
const POLLS_PER_LOOK: u32 = 1 << 20;

/// A header, two rings and reply slots in one memfd.
struct Memory {
    header: SharedLines,
    there: SharedLines,
    back: SharedLines,
    replies: SharedLines,
    /// Keeps the path alive that the second process opens.
    fd: OwnedFd,
}

impl Memory {
    fn create() -> Result<Self, BenchError> {
        let bytes = (HEADER_LINES + 2 * SLOTS + HEADER_LINES) * 64;
        let (mapping, fd) = Mapping::memfd_create("ringbar-bench", bytes).map_err(failed)?;
        Self::lay_out(Arc::new(mapping), fd)
    }

    fn open(path: &str) -> Result<Self, BenchError> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path);
        let fd = OwnedFd::from(file.map_err(BenchError::io("opening the region"))?);
        let mapping = Mapping::memfd_attach(&fd).map_err(failed)?;
        Self::lay_out(Arc::new(mapping), fd)
    }

    fn lay_out(mapping: Arc<Mapping>, fd: OwnedFd) -> Result<Self, BenchError> {
        mapping.prefault().map_err(failed)?;
        let lines = |at: usize, count: usize| {
            SharedLines::new(&mapping, at * 64, count).ok_or_else(|| failed("lines out of place"))
        };
        Ok(Self {
            header: lines(0, HEADER_LINES)?,
            there: lines(HEADER_LINES, SLOTS)?,
            back: lines(HEADER_LINES + SLOTS, SLOTS)?,
            replies: lines(HEADER_LINES + 2 * SLOTS, HEADER_LINES)?,
            fd,
        })
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    fn sender(&self, mode: WakeMode) -> Sender {
        let way = Direction::Commands;
        Sender {
            producer: Producer::new(self.there.clone(), self.header.clone(), way, GENERATION),
            waker: Waker::new(self.header.clone(), line::WORKER_SLEEP, mode),
        }
    }

    fn receiver(&self) -> Receiver {
        let way = Direction::Commands;
        let slots = HEADER_LINES;
        Receiver(Consumer::new(self.there.clone(), self.header.clone(), way, GENERATION, slots))
    }

    fn sender_back(&self) -> Sender {
        let way = Direction::Events;
        Sender {
            producer: Producer::new(self.back.clone(), self.header.clone(), way, GENERATION),
            waker: Waker::new(self.header.clone(), line::CLIENT_SLEEP, WakeMode::Polled),
        }
    }

    fn receiver_back(&self) -> Receiver {
        let way = Direction::Events;
        Receiver(Consumer::new(self.back.clone(), self.header.clone(), way, GENERATION, 0))
    }

    fn caller(&self) -> BareCaller {
        let slot = Slot::new(0, GENERATION);
        let producer = self.sender(WakeMode::Polled).producer;
        BareCaller { producer, replies: self.replies.clone(), slot }
    }

    fn answerer(&self) -> BareAnswerer {
        BareAnswerer { consumer: self.receiver().0, replies: self.replies.clone() }
    }
}

fn failed(reason: impl ToString) -> BenchError {
    BenchError::unavailable("a ringbar region", reason)
}

struct Sender {
    producer: Producer<SharedLines>,
    waker: Waker<SharedLines>,
}

impl Sender {
    /// The consumer of these measures only polls: a doorbell due would be a defect, and the run would not be one of an
    /// awake peer.
    #[inline(always)]
    fn published(&self) -> Result<(), Stalled> {
        if self.waker.must_ring() { Err(Stalled) } else { Ok(()) }
    }
}

impl Transmit<WORDS> for Sender {
    #[inline(always)]
    fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
        // A loop, not a closure that is called: a processor drains stores in order, so what a call stores on the stack waits
        // behind the cache misses of the lines before.
        let mut patience = Patience::default();
        while self.producer.push_line(words, None).is_err() {
            spin_loop();
            patience.wait()?;
        }
        self.published()
    }
}

impl TransmitBatch<WORDS> for Sender {
    #[inline(always)]
    fn send_batch(&mut self, mut next_words: impl FnMut() -> [u64; WORDS]) -> Result<(), Stalled> {
        let producer = &mut self.producer;
        spin_until(|| producer.has_room(BATCH as u64).ok()?.then_some(()))?;
        let mut batch = producer.batch();
        for _ in 0..BATCH {
            batch.push_line(&next_words()).map_err(|_| Stalled)?;
        }
        batch.commit();
        self.published()
    }
}

/// Counts empty polls, and looks at the clock every so often.
#[derive(Default)]
struct Patience {
    polls: u32,
    since: Option<Instant>,
}

impl Patience {
    #[inline(always)]
    fn wait(&mut self) -> Result<(), Stalled> {
        self.polls += 1;
        if self.polls.is_multiple_of(POLLS_PER_LOOK)
            && self.since.get_or_insert_with(Instant::now).elapsed() > STALL_LIMIT
        {
            return Err(Stalled);
        }
        Ok(())
    }
}

struct Receiver(Consumer<SharedLines>);

/// The words of a record as the consumer copied them.
#[inline(always)]
fn words(bytes: &[u8]) -> Result<&[u64; WORDS], Stalled> {
    bytemuck::try_from_bytes(bytes).map_err(|_| Stalled)
}

impl Receive<WORDS> for Receiver {
    #[inline(always)]
    fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
        let mut patience = Patience::default();
        loop {
            if let Some(record) = self.0.pop().map_err(|_| Stalled)? {
                take(words(record.bytes)?);
                return Ok(());
            }
            self.0.idle();
            patience.wait()?;
        }
    }
}

impl ReceiveBatch<WORDS> for Receiver {
    #[inline(always)]
    fn receive_batch(&mut self, mut take: impl FnMut(&[u64; WORDS])) -> Result<(), Stalled> {
        self.receive(&mut take)?;
        for _ in 1..BATCH {
            let Some(record) = self.0.pop().map_err(|_| Stalled)? else { break };
            take(words(record.bytes)?);
        }
        Ok(())
    }
}

struct BareCaller {
    producer: Producer<SharedLines>,
    replies: SharedLines,
    slot: Slot,
}

impl Call<WORDS, REPLY_WORDS> for BareCaller {
    #[inline(always)]
    fn call(&mut self, request: &[u64; WORDS]) -> Result<[u64; REPLY_WORDS], Stalled> {
        let Self { producer, replies, slot } = self;
        let position = producer.push_line(request, Some(slot.number())).map_err(|_| Stalled)?;
        let mut patience = Patience::default();
        let mut bytes = [0; 56];
        loop {
            if let Some(len) = slot.take(replies, position, &mut bytes).map_err(|_| Stalled)? {
                return reply_words(&bytes[..len]);
            }
            spin_loop();
            patience.wait()?;
        }
    }
}

#[inline(always)]
fn reply_words(bytes: &[u8]) -> Result<[u64; REPLY_WORDS], Stalled> {
    bytemuck::try_pod_read_unaligned(bytes).map_err(|_| Stalled)
}

struct BareAnswerer {
    consumer: Consumer<SharedLines>,
    replies: SharedLines,
}

impl Answer<WORDS, REPLY_WORDS> for BareAnswerer {
    #[inline(always)]
    fn answer(
        &mut self,
        reply: impl FnOnce(&[u64; WORDS]) -> [u64; REPLY_WORDS],
    ) -> Result<(), Stalled> {
        let mut patience = Patience::default();
        loop {
            if let Some(record) = self.consumer.pop().map_err(|_| Stalled)? {
                let slot = record.reply_slot.ok_or(Stalled)?;
                let ticket = Ticket { slot, position: record.position };
                let answer = reply(words(record.bytes)?);
                reply::write(&self.replies, GENERATION, ticket, bytemuck::bytes_of(&answer));
                return Ok(());
            }
            self.consumer.idle();
            patience.wait()?;
        }
    }
}

/// A client as an application has it.
struct ClientSide {
    client: Client,
    caller: Caller,
}

impl Call<WORDS, REPLY_WORDS> for ClientSide {
    #[inline(always)]
    fn call(&mut self, request: &[u64; WORDS]) -> Result<[u64; REPLY_WORDS], Stalled> {
        let write = |room: &mut ringbar::spsc::Reservation<'_, SharedLines>| {
            request.iter().for_each(|&word| room.word(word));
        };
        let reply = self.caller.call_with(WORDS * 8, write, Some(STALL_LIMIT));
        reply_words(reply.map_err(|_| Stalled)?)
    }
}

impl Wake for ClientSide {
    fn wake(&mut self) -> Result<(), BenchError> {
        self.client.post(&[]).map(drop).map_err(failed)
    }
}

struct WorkerSide(Worker<FdBlock>);

impl Answer<WORDS, REPLY_WORDS> for WorkerSide {
    #[inline(always)]
    fn answer(
        &mut self,
        reply: impl FnOnce(&[u64; WORDS]) -> [u64; REPLY_WORDS],
    ) -> Result<(), Stalled> {
        let (ticket, answer) = loop {
            match self.0.next().map_err(|_| Stalled)? {
                Next::Command(record) => {
                    let slot = record.reply_slot.ok_or(Stalled)?;
                    let ticket = Ticket { slot, position: record.position };
                    break (ticket, reply(words(record.bytes)?));
                }
                Next::Idle => {}
                Next::ClientGone => return Err(Stalled),
            }
        };
        self.0.completions().reply(ticket, bytemuck::bytes_of(&answer));
        Ok(())
    }
}

impl Park for WorkerSide {
    fn park(&mut self) -> Result<(), BenchError> {
        loop {
            match self.0.next().map_err(failed)? {
                Next::Command(_) => return Ok(()),
                Next::Idle => {}
                Next::ClientGone => return Err(failed("the client left")),
            }
        }
    }
}

/// A channel whose client and worker wake each other as they would between processes.
fn channel() -> Result<MemfdChannel, BenchError> {
    let sizes = Sizes { command_lines: SLOTS as u32, ..Sizes::default() };
    let terms = Terms { vocabulary_hash: 0, features: features_here() };
    let channel = MemfdChannel::create("ringbar-bench", sizes, terms).map_err(failed)?;
    channel.channel().offer(GENERATION);
    Ok(channel)
}

/// A worker that is measured while it is awake polls for as long as it takes; one whose wake is measured blocks at once.
fn options(measure: Measure) -> Options {
    let parked = measure == Measure::Wake;
    let spin_max = if parked { Duration::ZERO } else { STALL_LIMIT };
    Options { spin_max: Some(spin_max), ..Options::default() }
}

fn client_side(
    channel: &MemfdChannel,
    socket: Arc<OwnedFd>,
    measure: Measure,
) -> Result<ClientSide, BenchError> {
    let watch = PeerWatch::of_connection(socket);
    let client = channel.client(GENERATION, watch, options(measure)).map_err(failed)?;
    let caller = client.caller().map_err(failed)?;
    Ok(ClientSide { client, caller })
}

fn worker_side(
    channel: &MemfdChannel,
    socket: Arc<OwnedFd>,
    measure: Measure,
) -> Result<WorkerSide, BenchError> {
    let watch = PeerWatch::of_connection(socket);
    channel.worker(GENERATION, &watch, options(measure)).map(WorkerSide).map_err(failed)
}

fn open_client(measure: Measure) -> Result<(ClientSide, WorkerSide), BenchError> {
    let channel = channel()?;
    let (ours, theirs) = Connection::pair().map_err(failed)?;
    let worker = worker_side(&channel, theirs.socket().clone(), measure)?;
    Ok((client_side(&channel, ours.socket().clone(), measure)?, worker))
}

fn identity(variant: &str, measure: Measure) -> Identity {
    Identity::new(PEER, variant, measure).payload(WORDS * 8)
}

/// How a variant of the one-way measure wakes.
fn mode(variant: &str) -> WakeMode {
    match variant {
        "armed" => WakeMode::Asymmetric,
        "fenced" => WakeMode::Fence,
        _ => WakeMode::Polled,
    }
}

/// All variants between threads and between processes.
pub fn candidates() -> Vec<Candidate> {
    let mut all = between_threads();
    for (variant, measure) in [
        ("bare", Measure::OneWay),
        ("armed", Measure::OneWay),
        ("fenced", Measure::OneWay),
        ("bare", Measure::Batch32),
        ("bare", Measure::RoundTrip),
        ("bare call", Measure::RoundTrip),
    ] {
        let identity = identity(variant, measure).sides(Sides::Processes);
        all.push(Candidate::new(identity, move |plan, cores| {
            over_rings(variant, measure, plan, cores)
        }));
    }
    for (variant, measure) in [("call", Measure::RoundTrip), ("parked", Measure::Wake)] {
        let identity = identity(variant, measure).sides(Sides::Processes);
        all.push(Candidate::new(identity, move |plan, cores| over_channel(measure, plan, cores)));
    }
    all
}

fn between_threads() -> Vec<Candidate> {
    let one_way = |variant: &'static str| {
        Candidate::one_way(identity(variant, Measure::OneWay), move || {
            let memory = Memory::create()?;
            Ok((memory.sender(mode(variant)), memory.receiver()))
        })
    };
    vec![
        one_way("bare"),
        one_way("armed"),
        one_way("fenced"),
        Candidate::batch32(identity("bare", Measure::Batch32), || {
            let memory = Memory::create()?;
            Ok((memory.sender(WakeMode::Polled), memory.receiver()))
        }),
        Candidate::round_trip(identity("bare", Measure::RoundTrip).note("two rings"), || {
            let memory = Memory::create()?;
            Ok(two_rings(&memory))
        }),
        Candidate::round_trip(identity("bare call", Measure::RoundTrip), || {
            let memory = Memory::create()?;
            Ok((memory.caller(), memory.answerer()))
        }),
        Candidate::round_trip(identity("call", Measure::RoundTrip), || {
            open_client(Measure::RoundTrip)
        }),
        Candidate::wake(identity("parked", Measure::Wake).payload(0), || {
            open_client(Measure::Wake)
        }),
    ]
}

type Queue = Pair<Sender, Receiver>;

fn two_rings(memory: &Memory) -> (Queue, Queue) {
    let left = Pair { outgoing: memory.sender(WakeMode::Polled), incoming: memory.receiver_back() };
    let right = Pair { outgoing: memory.sender_back(), incoming: memory.receiver() };
    (left, right)
}

#[derive(Serialize, Deserialize)]
struct OverRings {
    plan: Plan,
    path: String,
    measure: Measure,
    variant: String,
}

/// The left side of a measure on bare rings, with the right one in a second process.
fn over_rings(
    variant: &str,
    measure: Measure,
    plan: Plan,
    cores: Cores,
) -> Result<f64, BenchError> {
    let memory = Memory::create()?;
    let order = OverRings { plan, path: memory.path(), measure, variant: variant.into() };
    let second = Beside { role: RING_ROLE.name, arguments: order, stdin: None };
    let mode = mode(variant);
    let (left, right): (f64, f64) = second.run(cores, || match measure {
        Measure::Batch32 => drive::transmit_batches(plan, &mut memory.sender(mode)).map(|()| 0.0),
        Measure::RoundTrip if variant == "bare" => drive::call(plan, &mut two_rings(&memory).0),
        Measure::RoundTrip => drive::call(plan, &mut memory.caller()),
        _ => drive::transmit(plan, &mut memory.sender(mode)).map(|()| 0.0),
    })?;
    Ok(if measure == Measure::RoundTrip { left } else { right })
}

/// The second process of `over_rings`.
pub const RING_ROLE: Role = Role { name: "ringbar-rings", run: rings_in_role };

fn rings_in_role(value: Value) -> Result<Value, BenchError> {
    let OverRings { plan, path, measure, variant } = arguments(RING_ROLE.name, value)?;
    let memory = Memory::open(&path)?;
    let figure = match measure {
        Measure::Batch32 => drive::receive_batches(plan, &mut memory.receiver())?,
        Measure::RoundTrip if variant == "bare" => {
            drive::answer(plan, &mut two_rings(&memory).1).map(|()| 0.0)?
        }
        Measure::RoundTrip => drive::answer(plan, &mut memory.answerer()).map(|()| 0.0)?,
        _ => drive::receive(plan, &mut memory.receiver())?,
    };
    Ok(Value::from(figure))
}

#[derive(Serialize, Deserialize)]
struct OverChannel {
    plan: Plan,
    path: String,
    measure: Measure,
}

/// A client here, its worker in a second process: the channel's descriptors travel over a socket, as they do for real.
fn over_channel(measure: Measure, plan: Plan, cores: Cores) -> Result<f64, BenchError> {
    let channel = channel()?;
    let lines = BenchLines::create(1)?;
    let (ours, theirs) = Connection::pair().map_err(failed)?;
    let welcome = Welcome {
        protocol: Version::OURS,
        features: channel.place().identity.features,
        token: SessionToken([1; 16]),
        generation: GENERATION,
        channel: 0,
        region_bytes: channel.region_bytes(),
        worker_pid: std::process::id(),
    };
    let deadline = Deadline::after(STALL_LIMIT);
    ours.send(&Message::Welcome(welcome), &channel.fds(), deadline).map_err(failed)?;
    let stdin = theirs.socket().try_clone().map_err(BenchError::io("duplicating a socket"))?;
    drop(theirs);
    let order = OverChannel { plan, path: lines.path(), measure };
    let second = Beside { role: CHANNEL_ROLE.name, arguments: order, stdin: Some(stdin) };
    let mut client = client_side(&channel, ours.socket().clone(), measure)?;
    if measure == Measure::Wake {
        let parks = &lines[0].words[0];
        let (rung_at, woken_at): (_, Vec<u64>) =
            second.run(cores, || drive::wake(plan, parks, &mut client))?;
        return Ok(drive::wake_latency(plan, &rung_at, &woken_at));
    }
    let (figure, ()) = second.run(cores, || drive::call(plan, &mut client))?;
    Ok(figure)
}

/// The second process of `over_channel`.
pub const CHANNEL_ROLE: Role = Role { name: "ringbar-worker", run: worker_in_role };

fn worker_in_role(value: Value) -> Result<Value, BenchError> {
    let OverChannel { plan, path, measure } = arguments(CHANNEL_ROLE.name, value)?;
    let stdin = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned();
    let socket = stdin.map_err(BenchError::io("taking the socket"))?;
    let connection = Connection::from_fd(socket).map_err(failed)?;
    let received = connection.receive(Deadline::after(STALL_LIMIT)).map_err(failed)?;
    let [memfd, worker_bell, client_bell] = <[OwnedFd; 3]>::try_from(received.descriptors)
        .map_err(|found| failed(format!("{} descriptors came, expected 3", found.len())))?;
    let bell = |fd| EventFd::from_fd(fd).map_err(BenchError::io("taking an eventfd"));
    // Registers this process for the barrier, which the client's side relies on.
    let features = features_here() & FEATURE_ASYMMETRIC_BARRIER;
    let want = Expect { features, ..Expect::default() };
    let (worker_bell, client_bell) = (bell(worker_bell)?, bell(client_bell)?);
    let channel =
        MemfdChannel::receive(memfd, 0, want, worker_bell, client_bell).map_err(failed)?;
    let mut worker = worker_side(&channel, connection.socket().clone(), measure)?;
    if measure == Measure::Wake {
        let lines = BenchLines::open(&path, 1)?;
        return Ok(Value::from(drive::park(plan, &lines[0].words[0], &mut worker)?));
    }
    drive::answer(plan, &mut worker)?;
    Ok(Value::Null)
}
