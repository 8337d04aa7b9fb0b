//! The session itself: how it begins, posts, and ends.

use crate::SessionError;
use crate::bulk::{STAGING_PATIENCE, copy_threads_here};
use crate::caller::SessionCaller;
use crate::counts::{Counters, Counts};
use crate::fences::FenceWords;
use crate::host_functions::HostFunctions;
use crate::ids::Ids;
use crate::signals::block_signals;
use crate::sink::{HEAD_WORDS_MAX, RingSink, SplitCommand, SplitSink};
use crate::windows::Windows;
use ringbar::client::{Client, PinnedBlock, Staged};
use ringbar::error::ChannelError;
use ringbar::guest::{self, Attached, GuestConfig};
use ringbar::handshake::{Connection, Deadline, Hello, Message, SessionToken, TransportError};
use ringbar::layout::Sizes;
use ringbar::link::Options;
use ringbar::region::Expect;
use ringbar::rendezvous::{self, Joined};
use ringbar::spsc::Violation;
use ringbar::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};
use ringbar_vocabulary::{
    ArrayId, Command, ContextId, DeviceLost, EventId, FailureStatus, FunctionId, GraphExecId,
    GraphId, HEADER_BYTES, INLINE_MAX_BYTES, MemoryId, ModuleId, PoolId, PostCommand, Status,
    StreamCreate, StreamDestroy, StreamId, VOCABULARY_HASH,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a session is to be like.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// A name for the executor's status output; at most 64 bytes of it are used.
    pub name: String,
    /// The channel wished for; the executor may give less.
    pub sizes: Sizes,
    /// The session to go on with after its worker died: same client, new generation.
    pub resume: Option<SessionToken>,
    /// How to wait, and how the arena is shared out.
    pub options: Options,
    /// Whether every post waits for its execution, and launches, copies and fills for their stream, and answers with its
    /// own failure.
    pub strict: bool,
    /// How long connecting to a socket may take, retries while the executor is busy included.
    pub patience: Duration,
}

impl Default for SessionConfig {
    /// Named after this process, default sizes, not strict, 10 s of patience.
    fn default() -> Self {
        Self {
            name: format!("process {}", std::process::id()),
            sizes: Sizes::default(),
            resume: None,
            options: Options::default(),
            strict: false,
            patience: Duration::from_secs(10),
        }
    }
}

/// A client's session. Clones share it; any thread may use any clone.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) client: Client,
    /// Most bytes of a command in the ring.
    record_bytes_max: usize,
    strict: bool,
    pub(crate) fences: FenceWords,
    ids: Ids,
    pub(crate) counters: Counters,
    /// Failures of posts that were reported to the caller.
    pub(crate) failures_reported: AtomicU64,
    /// What the worker told of its device's end; 0 if nothing.
    device_failure: AtomicU32,
    pub(crate) origin: Option<Origin>,
    /// Segments that were added to the arena.
    pub(crate) grown: Mutex<u64>,
    pub(crate) windows: Windows,
    pub(crate) staging_bytes: u64,
    pub(crate) copy_threads: AtomicU64,
    pub(crate) host_functions: HostFunctions,
}

/// Sessions that are tried for one whose arena's address is free in this process.
const ADDRESSES_MAX: u32 = 8;

/// Where a session comes from.
pub(crate) enum Origin {
    Socket { path: PathBuf, config: SessionConfig, connection: Connection },
    Guest { guest: GuestConfig, config: SessionConfig, attached: Box<Attached> },
}

impl Session {
    /// Connects to the executor that listens at `path`.
    ///
    /// Waits while the executor asks to try again later, within [`SessionConfig::patience`].
    pub fn connect(path: impl AsRef<Path>, config: SessionConfig) -> Result<Self, SessionError> {
        let deadline = Deadline::after(config.patience);
        let mut addresses_left = ADDRESSES_MAX;
        loop {
            let error = match Self::connect_once(path.as_ref(), &config, deadline) {
                Err(SessionError::Handshake(error)) => error,
                Ok(session) if session.may_get_an_address(&mut addresses_left) => continue,
                other => return other,
            };
            match retry_after(&error) {
                Some(pause) if pause < deadline.left() => std::thread::sleep(pause),
                _ => return Err(SessionError::Handshake(error)),
            }
        }
    }

    fn connect_once(
        path: &Path,
        config: &SessionConfig,
        deadline: Deadline,
    ) -> Result<Self, SessionError> {
        let connection = Connection::connect(path, deadline)?;
        let hello = Hello {
            sizes: config.sizes,
            resume: config.resume,
            ..Hello::new(VOCABULARY_HASH, &config.name)
        };
        let attached = connection.attach(&hello, deadline)?;
        let Joined { client, welcome, connection, .. } =
            rendezvous::take_up(connection, VOCABULARY_HASH, attached, config.options)?;
        let config = SessionConfig { resume: Some(welcome.token), ..config.clone() };
        let strict = config.strict;
        let origin = Origin::Socket { path: path.to_owned(), config, connection };
        Ok(Self::new(client, strict, Some(origin)))
    }

    /// Connects from a virtual machine to the executor of its host, through the PCI function or file that `guest` names.
    ///
    /// The channel's sizes are the host's choice, and its arena does not grow. Waits for a channel within
    /// [`GuestConfig::patience`]; of `config` only options and strictness count.
    pub fn connect_guest(guest: &GuestConfig, config: SessionConfig) -> Result<Self, SessionError> {
        let guest = guest.clone();
        let want = Expect { vocabulary_hash: VOCABULARY_HASH, ..Expect::default() };
        // The thread of its heart lives in the program, whose signals are not for it.
        let options = Options { thread_begins: block_signals, ..config.options };
        let (client, attached) = guest::connect(&guest, want, options)?;
        let strict = config.strict;
        let origin = Origin::Guest { guest, config, attached: Box::new(attached) };
        Ok(Self::new(client, strict, Some(origin)))
    }

    /// How a session of a virtual machine came to its channel.
    pub fn attached(&self) -> Option<&Attached> {
        match &self.shared.origin {
            Some(Origin::Guest { attached, .. }) => Some(attached),
            _ => None,
        }
    }

    /// Whether the address of the arena was taken in this process and a new session might get a free one.
    fn may_get_an_address(&self, left: &mut u32) -> bool {
        let client = &self.shared.client;
        // A resumed session keeps its address, which the session before may still have mapped.
        if client.generation() != 1 || client.arena_is_where_agreed() || *left == 0 {
            return false;
        }
        *left -= 1;
        self.close();
        true
    }

    /// A session over a client that exists already, for a worker in this process.
    pub fn over(client: Client) -> Self {
        Self::new(client, false, None)
    }

    /// The same, in strict mode.
    pub fn over_strict(client: Client) -> Self {
        Self::new(client, true, None)
    }

    fn new(client: Client, strict: bool, origin: Option<Origin>) -> Self {
        let shared = Shared {
            record_bytes_max: client.record_bytes_max().min(INLINE_MAX_BYTES),
            fences: FenceWords::new(&client),
            grown: Mutex::new(0),
            windows: Windows::default(),
            staging_bytes: client.staging_bytes(),
            copy_threads: AtomicU64::new(copy_threads_here() as u64),
            host_functions: HostFunctions::default(),
            client,
            strict,
            ids: Ids::new(),
            counters: Counters::new(),
            device_failure: AtomicU32::new(0),
            failures_reported: AtomicU64::new(0),
            origin,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Asks the same executor for a new generation, after the worker was lost. The device of the new session is empty;
    /// this session stays over.
    pub fn reattach(&self) -> Result<Self, SessionError> {
        let origin = self.shared.origin.as_ref().ok_or(SessionError::NotConnected)?;
        self.shared.client.close();
        match origin {
            Origin::Socket { path, config, .. } => Self::connect(path, config.clone()),
            Origin::Guest { guest, config, .. } => Self::connect_guest(guest, config.clone()),
        }
    }

    /// Whether it comes out of a virtual machine.
    pub fn is_in_guest(&self) -> bool {
        matches!(self.shared.origin, Some(Origin::Guest { .. }))
    }

    /// A caller for this thread's synchronous calls. Waits while all reply slots of the channel are leased.
    pub fn caller(&self) -> Result<SessionCaller, SessionError> {
        SessionCaller::lease(self)
    }

    /// Posts a command; returns its position. Waits only while the ring (or, for a long tail, the arena) is full.
    #[inline]
    pub fn post<C: PostCommand>(&self, command: &C) -> Result<u64, SessionError> {
        let shared = &*self.shared;
        let bytes = command.encoded_len();
        if bytes > shared.record_bytes_max {
            return self.post_long(command);
        }
        let position = shared.client.post_with(bytes, |room| {
            shared.counters.count_work(C::ROW);
            command.encode(&mut RingSink(room));
        })?;
        self.posted_as(command, position)
    }

    #[cold]
    fn post_long<C: PostCommand>(&self, command: &C) -> Result<u64, SessionError> {
        let (split, block) = self.split(command)?;
        let position = self.post_split::<C>(&split)?;
        block.posted(&self.shared.client, position)?;
        self.posted_as(command, position)
    }

    fn post_split<C: Command>(&self, split: &SplitCommand) -> Result<u64, SessionError> {
        let shared = &*self.shared;
        let position = shared.client.post_with(split.encoded_len(), |room| {
            shared.counters.count_work(C::ROW);
            split.encode(&mut RingSink(room));
        })?;
        Ok(position)
    }

    /// In strict mode waits for a command and its device work, and answers with its failure.
    #[inline(always)]
    fn posted_as<C: Command>(&self, command: &C, position: u64) -> Result<u64, SessionError> {
        if self.shared.strict {
            self.wait_exactly(command, position)?;
        }
        Ok(position)
    }

    /// In strict mode waits for the command at `position` and answers with its failure.
    #[inline(always)]
    pub(crate) fn posted(&self, position: u64) -> Result<u64, SessionError> {
        if self.shared.strict {
            self.wait_executed(position)?;
        }
        Ok(position)
    }

    /// Waits until the command posted at `position` is executed (not: until its device work is done), and answers with a
    /// failure of any post up to now.
    #[cold]
    pub fn wait_executed(&self, position: u64) -> Result<(), SessionError> {
        self.shared.client.wait_executed(position + 1, None)?;
        self.check()
    }

    /// Copies the tail of a command that is too long for the ring into the arena.
    pub(crate) fn split<C: Command>(
        &self,
        command: &C,
    ) -> Result<(SplitCommand, TailBlock<'_>), SessionError> {
        let head_bytes = HEADER_BYTES + C::FIXED_BYTES;
        const { assert!(HEADER_BYTES + C::FIXED_BYTES <= 8 * HEAD_WORDS_MAX) };
        let tail_bytes = (command.encoded_len() - head_bytes) as u64;
        if tail_bytes == 0 {
            let (bytes, limit) = (head_bytes, self.shared.record_bytes_max);
            return Err(ChannelError::TooLong { bytes, limit }.into());
        }
        let client = &self.shared.client;
        let block = TailBlock::take(client, tail_bytes)?;
        let mut sink = SplitSink::new(head_bytes, |at, bytes| block.write(client, at, bytes));
        command.encode(&mut sink);
        match sink.finish(block.address()) {
            Ok(split) => Ok((split, block)),
            Err(violation) => {
                block.cancel(client);
                Err(violation.into())
            }
        }
    }

    /// Reports failures of posts that were not reported yet: the first of them with its position and status, or as a count
    /// if the worker no longer knows it.
    pub fn check(&self) -> Result<(), SessionError> {
        let reported = self.shared.failures_reported.load(Relaxed);
        let Some((position, status)) = self.shared.client.first_post_error() else {
            return Ok(());
        };
        let failures = match reported {
            0 => 1,
            _ => self.shared.client.counters().errors,
        };
        let count = failures.saturating_sub(reported);
        let place = &self.shared.failures_reported;
        let mine = place.compare_exchange(reported, failures, Relaxed, Relaxed).is_ok();
        match (mine && count > 0, reported) {
            (false, _) => Ok(()),
            (true, 0) => Err(SessionError::PostFailed { position, status: Status(status) }),
            (true, _) => {
                Err(self.failure(reported).unwrap_or(SessionError::MorePostsFailed { count }))
            }
        }
    }

    /// The failure of that number among all, if the worker still knows it.
    #[cold]
    fn failure(&self, number: u64) -> Option<SessionError> {
        let told = match self.caller().ok()?.call(&FailureStatus { number }) {
            Ok(told) => told,
            // A device that failed answers every command so, and is what failed.
            Err(error) => return error.status().is_some_and(Status::is_sticky).then_some(error),
        };
        let status = Status(told.status);
        (!status.is_success())
            .then_some(SessionError::PostFailed { position: told.position, status })
    }

    /// The first posted command that failed, reported or not, also after the worker is gone: its position and status.
    pub fn first_failure(&self) -> Option<(u64, Status)> {
        let (position, status) = self.shared.client.first_post_error()?;
        Some((position, Status(status)))
    }

    /// The failure that made the device unusable, if one did, also after the worker is gone: the first failure of a posted
    /// command, or what the worker told last.
    pub fn device_failure(&self) -> Option<Status> {
        let first = self.first_failure().map(|(_, status)| status);
        if let Some(status) = first.filter(|status| status.is_sticky()) {
            return Some(status);
        }
        while let Ok(Some(event)) = self.shared.client.poll_event(DeviceLost::from_bytes) {
            if let Some(DeviceLost(status)) = event {
                self.shared.device_failure.store(status.0, Relaxed);
            }
        }
        let told = Status(self.shared.device_failure.load(Relaxed));
        (!told.is_success()).then_some(told)
    }

    /// Counts bytes of an image: sent, or known to the executor already.
    pub fn count_image(&self, sent: u64, known: u64) {
        self.shared.counters.image_bytes.fetch_add(sent, Relaxed);
        self.shared.counters.image_bytes_known.fetch_add(known, Relaxed);
    }

    /// Creates a stream; returns its number.
    pub fn create_stream(&self, flags: u32, priority: i32) -> Result<StreamId, SessionError> {
        let stream = self.shared.ids.stream()?;
        self.create_stream_as(stream, flags, priority)?;
        Ok(stream)
    }

    /// Creates a stream under a number that the caller chose; it is not given out any more.
    pub fn create_stream_as(
        &self,
        stream: StreamId,
        flags: u32,
        priority: i32,
    ) -> Result<u64, SessionError> {
        self.shared.ids.taken_stream(stream);
        self.post(&StreamCreate { context: ContextId::FIRST, stream, flags, priority })
    }

    /// Destroys a stream; its outstanding work still completes, its fence word is free once all its fences were reached.
    pub fn destroy_stream(&self, stream: StreamId) -> Result<u64, SessionError> {
        self.shared.fences.release(stream);
        self.post(&StreamDestroy { stream })
    }

    /// A stream is gone without a command of its own, with its context: its fence word is free once its fences were reached.
    pub fn forget_stream(&self, stream: StreamId) {
        self.shared.fences.release(stream);
    }

    /// Creates a stream in a context; returns its number.
    pub fn create_stream_in(
        &self,
        context: ContextId,
        flags: u32,
        priority: i32,
    ) -> Result<StreamId, SessionError> {
        let stream = self.shared.ids.stream()?;
        self.post(&StreamCreate { context, stream, flags, priority })?;
        Ok(stream)
    }

    /// A number for a new event.
    pub fn event_id(&self) -> Result<EventId, SessionError> {
        self.shared.ids.event()
    }

    /// A number for a new module.
    pub fn module_id(&self) -> Result<ModuleId, SessionError> {
        self.shared.ids.module()
    }

    /// A number for a new function.
    pub fn function_id(&self) -> Result<FunctionId, SessionError> {
        self.shared.ids.function()
    }

    /// A number for a new context, from [`ContextId::FIRST_CREATED`] on.
    pub fn context_id(&self) -> Result<ContextId, SessionError> {
        self.shared.ids.context()
    }

    /// A number for a new memory pool.
    pub fn pool_id(&self) -> Result<PoolId, SessionError> {
        self.shared.ids.pool()
    }

    /// A number for new physical memory.
    pub fn memory_id(&self) -> Result<MemoryId, SessionError> {
        self.shared.ids.memory()
    }

    /// A number for a new graph.
    pub fn graph_id(&self) -> Result<GraphId, SessionError> {
        self.shared.ids.graph()
    }

    /// A number for a new executable graph.
    pub fn graph_exec_id(&self) -> Result<GraphExecId, SessionError> {
        self.shared.ids.graph_exec()
    }

    /// A number for a new array.
    pub fn array_id(&self) -> Result<ArrayId, SessionError> {
        self.shared.ids.array()
    }

    /// How often each function was called, and bytes copied.
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// The channel's own end, for counters, health and events.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// Whether every post waits for its execution.
    pub fn is_strict(&self) -> bool {
        self.shared.strict
    }

    /// Most bytes of a command that travel in the ring; longer tails go to the arena by themselves.
    pub fn record_bytes_max(&self) -> usize {
        self.shared.record_bytes_max
    }

    /// Leaves in order: the worker ends after what was posted before.
    pub fn close(&self) {
        self.shared.client.close();
        if let Some(Origin::Socket { connection, .. }) = &self.shared.origin {
            // Best effort: hanging up says the same.
            let _ = connection.send(&Message::Bye, &[], Deadline::after(Duration::ZERO));
        }
    }
}

/// How long to wait before trying to connect again, if the executor's refusal says that it may help.
fn retry_after(error: &TransportError) -> Option<Duration> {
    match error {
        TransportError::Refused(refusal) if refusal.retry_after_ms > 0 => {
            Some(Duration::from_millis(refusal.retry_after_ms.into()))
        }
        _ => None,
    }
}

/// Where the tail of a long command lies: staged, or pinned for the moment if it is too large for staging.
pub(crate) enum TailBlock<'c> {
    Staged(Staged<'c>),
    Pinned(PinnedBlock),
}

impl<'c> TailBlock<'c> {
    fn take(client: &'c Client, bytes: u64) -> Result<Self, ChannelError> {
        match Self::staged(client, bytes)? {
            Some(staged) => Ok(staged),
            None => client.pin(bytes, 64).map(Self::Pinned),
        }
    }

    /// A block of the staging area; `None` if that is too small, or does not move.
    pub(crate) fn staged(client: &'c Client, bytes: u64) -> Result<Option<Self>, ChannelError> {
        if bytes > client.staging_bytes() {
            return Ok(None);
        }
        // Whoever holds the staging area may be waiting for this very command.
        match client.stage_within(bytes, Some(STAGING_PATIENCE)) {
            Err(ChannelError::Deadline { .. }) => Ok(None),
            staged => staged.map(|staged| Some(Self::Staged(staged))),
        }
    }

    pub(crate) fn address(&self) -> u64 {
        match self {
            Self::Staged(staged) => staged.address(),
            Self::Pinned(block) => block.address,
        }
    }

    fn write(&self, client: &Client, at: u64, bytes: &[u8]) -> Result<(), Violation> {
        match self {
            Self::Staged(staged) => staged.write(at, bytes),
            Self::Pinned(block) => client.arena().write(block.address + at, bytes),
        }
    }

    /// The command was posted: the block is free once it is retired.
    fn posted(self, client: &Client, position: u64) -> Result<(), ChannelError> {
        match self {
            Self::Staged(staged) => staged.posted(position),
            Self::Pinned(block) => drop(client.unpin(block.address)?),
        }
        Ok(())
    }

    /// The command was answered, or never sent.
    pub(crate) fn cancel(self, client: &Client) {
        if let Self::Pinned(block) = self {
            // Fails only if the channel is over, and the block with it.
            let _ = client.unpin(block.address);
        }
    }
}
