//! The loop that joins a channel and a backend: takes commands from the ring, executes them, gives replies.
//!
//! [`serve_channel`] is all of it for a thread that owns both. A worker process adds an [`Attendant`], which is asked at
//! every look that found the ring empty, and now and then while it is busy.
//!
//! A command costs no allocation and no system call here. What a client gets wrong (bytes that are no command, a block
//! outside its arena, a fence that does not exist) poisons its channel with the decoder's own words.

mod services;

use crate::failpoints::{self, Point};
use ringbar::Error as ChannelError;
use ringbar::reply::Ticket;
use ringbar::spsc::Violation;
use ringbar::worker::{Block, Completions, Next, Worker};
use ringbar_backend::ring;
use ringbar_backend::{Backend, Executed, Services, execute};
use ringbar_vocabulary::{ClientOrigin, DeviceLost, Reply, Status};
use services::ArenaUse;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Commands after which the attendant is asked although the ring never was empty.
const ATTEND_EVERY_COMMANDS: u32 = 1 << 16;

/// Why serving ended, if nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed the channel or is gone. What it posted before was executed.
    ClientLeft,
    /// A failure made the device unusable; the client was answered with it until its ring was empty.
    DeviceLost(Status),
    /// The attendant asked for the end; the client was told.
    Stopped,
}

/// What was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Commands executed.
    pub commands: u64,
    /// Why it ended.
    pub end: End,
}

/// Why serving could not go on.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The client broke the protocol, or waiting failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The client asked its worker for something that no client may ask for; its channel is poisoned.
    #[error("{0}")]
    Request(String),
    /// The attendant gave up.
    #[error("{0}")]
    Attendant(String),
}

impl ServeError {
    /// Whether the client broke the protocol, and the channel is poisoned.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Channel(ChannelError::Violation(_)) | Self::Request(_))
    }
}

/// What an [`Attendant`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// More commands.
    GoOn,
    /// The channel closed in order.
    Stop,
}

/// What the server was doing when it asked its attendant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The ring was found empty.
    Idle {
        /// Whether no device work is outstanding.
        device_is_idle: bool,
    },
    /// There are commands, without an end so far.
    Busy,
}

/// What else a worker has to do than executing commands.
pub trait Attendant<B: Block> {
    /// Called when the ring was found empty, and every 65,536 commands.
    ///
    /// # Errors
    /// Ends serving: [`ServeError::Request`] poisons the channel, after any other the client sees its worker die.
    fn attend(&mut self, block: &mut B, look: Look) -> Result<Wish, ServeError>;

    /// Called before each command is executed: at most a load and a store.
    fn begins(&mut self, position: u64, opcode: u16) -> Wish;
}

/// Nothing else to do.
pub struct Unattended;

impl<B: Block> Attendant<B> for Unattended {
    fn attend(&mut self, _block: &mut B, _look: Look) -> Result<Wish, ServeError> {
        Ok(Wish::GoOn)
    }

    #[inline(always)]
    fn begins(&mut self, _position: u64, _opcode: u16) -> Wish {
        Wish::GoOn
    }
}

/// Serves a channel of a process of this machine with `backend` until the client leaves, or the device is lost.
///
/// # Errors
/// [`ServeError::Channel`] after a violation by the client (its channel is poisoned), or if waiting fails.
pub fn serve_channel<B: Block, K: Backend + ?Sized>(
    worker: Worker<B>,
    fence_words: u32,
    backend: &mut K,
) -> Result<Served, ServeError> {
    serve_attended(worker, fence_words, ClientOrigin::Host, backend, &mut Unattended)
}

/// As [`serve_channel`], for a client from there, with an attendant.
///
/// # Errors
/// As [`serve_channel`], and what the attendant returns.
pub fn serve_attended<B: Block, K: Backend + ?Sized>(
    worker: Worker<B>,
    fence_words: u32,
    origin: ClientOrigin,
    backend: &mut K,
    attendant: &mut impl Attendant<B>,
) -> Result<Served, ServeError> {
    let mut server = Server::new(worker, fence_words, origin);
    let end = server.run(backend, attendant)?;
    let commands = server.commands;
    if end != End::ClientLeft {
        failpoints::hit(Point::BeforeClose);
        server.worker.close();
    }
    Ok(Served { commands, end })
}

struct Server<B: Block> {
    worker: Worker<B>,
    completions: Completions,
    services: Arc<Services>,
    arena_use: ArenaUse,
    brake: StormBrake,
    commands: u64,
    /// Commands until the attendant is asked.
    until_attended: u32,
}

impl<B: Block> Server<B> {
    fn new(worker: Worker<B>, fence_words: u32, origin: ClientOrigin) -> Self {
        let completions = worker.completions().clone();
        let arena_use = ArenaUse::default();
        let services = ring::services(&completions, fence_words, origin, arena_use.clone());
        let (brake, until_attended) = (StormBrake::new(), ATTEND_EVERY_COMMANDS);
        Self { worker, completions, services, arena_use, brake, commands: 0, until_attended }
    }

    fn run<K: Backend + ?Sized>(
        &mut self,
        backend: &mut K,
        attendant: &mut impl Attendant<B>,
    ) -> Result<End, ServeError> {
        loop {
            failpoints::hit(Point::BeforePop);
            let record = match self.worker.next_while(&mut || backend.is_waited_for())? {
                Next::Command(record) => record,
                Next::ClientGone => return Ok(End::ClientLeft),
                Next::Idle => {
                    if let Some(end) = self.idle(backend, attendant)? {
                        return Ok(end);
                    }
                    continue;
                }
            };
            failpoints::hit(Point::AfterPop);
            let (position, slot) = (record.position, record.reply_slot);
            let opcode = record.bytes.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
            if attendant.begins(position, opcode) == Wish::Stop {
                return Ok(End::Stopped);
            }
            if record.followed {
                backend.more_follows();
            }
            let executed = execute(backend, &self.services, position, record.bytes);
            failpoints::hit(Point::AfterExecution);
            self.commands += 1;
            match (executed, slot) {
                (Ok(Executed::Posted), None) => {}
                (Ok(Executed::Replied(reply)), Some(slot)) => {
                    self.reply(Ticket { slot, position }, &reply);
                }
                (result, _) => return Err(self.poison(position, result)),
            }
            if self.arena_use.take() {
                failpoints::hit(Point::BeforeProgress);
                self.worker.publish_soon();
            }
            self.until_attended -= 1;
            if self.until_attended == 0 && self.attend(attendant, Look::Busy)? == Wish::Stop {
                return Ok(End::Stopped);
            }
        }
    }

    #[inline(always)]
    fn reply(&self, ticket: Ticket, reply: &Reply) {
        failpoints::hit(Point::BeforeReply);
        let (bytes, len) = reply.to_bytes();
        self.completions.reply(ticket, &bytes[..len]);
        failpoints::hit(Point::AfterReply);
    }

    #[cold]
    fn attend(
        &mut self,
        attendant: &mut impl Attendant<B>,
        look: Look,
    ) -> Result<Wish, ServeError> {
        self.until_attended = ATTEND_EVERY_COMMANDS;
        let wish = attendant.attend(self.worker.block_mut(), look);
        if let Err(ServeError::Request(what)) = &wish {
            let violation = Violation::Command { position: self.commands, what: what.clone() };
            self.completions.poison(violation);
        }
        wish
    }

    /// The ring was empty: other duties, the state of the device, and a brake on looks without commands.
    #[cold]
    fn idle<K: Backend + ?Sized>(
        &mut self,
        backend: &mut K,
        attendant: &mut impl Attendant<B>,
    ) -> Result<Option<End>, ServeError> {
        failpoints::hit(Point::Idle);
        if let Some(status) = backend.lost() {
            tracing::warn!(%status, "the device is lost: this worker ends, the next one gets a new device");
            // Where it cannot be told, the client finds the channel closed all the same.
            let _ = self.completions.event(&DeviceLost(status).to_bytes());
            return Ok(Some(End::DeviceLost(status)));
        }
        backend.rest();
        self.brake.idle(self.commands);
        let look = Look::Idle { device_is_idle: backend.is_idle() };
        let wish = self.attend(attendant, look)?;
        Ok((wish == Wish::Stop).then_some(End::Stopped))
    }

    #[cold]
    fn poison(
        &self,
        position: u64,
        result: Result<Executed, ringbar_backend::Violation>,
    ) -> ServeError {
        let what = match result {
            Err(violation) => violation.to_string(),
            Ok(Executed::Posted) => {
                "a posted command that names a reply slot: nobody would ever answer it".to_owned()
            }
            Ok(Executed::Replied(_)) => {
                "a synchronous command without a reply slot: its answer has no place".to_owned()
            }
        };
        self.completions.poison(Violation::Command { position, what }).into()
    }
}

/// Bounds what a client can make its worker burn with requests on its socket, one look each. (Doorbells without commands
/// are bounded by the ring itself.)
struct StormBrake {
    /// Commands seen at the last idle look.
    commands: u64,
    /// Idle looks since then.
    looks: u32,
    since: Instant,
}

impl StormBrake {
    /// Idle looks within [`Self::WINDOW`] that are believed to be honest.
    const LOOKS: u32 = 64;
    const WINDOW: Duration = Duration::from_millis(64);
    const PAUSE: Duration = Duration::from_millis(1);

    fn new() -> Self {
        Self { commands: 0, looks: 0, since: Instant::now() }
    }

    /// Called at every look that found nothing: sleeps if there were too many, so that there are about 1,000 a second.
    fn idle(&mut self, commands: u64) {
        self.looks += 1;
        if commands != self.commands || self.since.elapsed() > Self::WINDOW {
            *self = Self { commands, looks: 0, since: Instant::now() };
        } else if self.looks > Self::LOOKS {
            std::thread::sleep(Self::PAUSE);
        }
    }
}

#[cfg(test)]
mod tests;
