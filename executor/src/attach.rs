//! A bare client of a daemon: the handshake step by step, and the channel it gives. For `ringbar probe`, measurements and
//! tests; programs use `ringbar-session`, which does the rest too.

use crate::failpoints::{self, Point};
use ringbar::client::Client;
use ringbar::handshake::{Connection, Deadline, Hello, Message, SessionToken, TransportError};
use ringbar::layout::Sizes;
use ringbar::link::{self, MemfdChannel, Options};
use ringbar::rendezvous::{self, Joined};
use ringbar_vocabulary::{Command, PostCommand, ReplyBody, Status, SyncCommand, VOCABULARY_HASH};
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// A client with its connection.
pub struct Attachment {
    /// The producing end.
    pub client: Client,
    /// The socket that tells of the worker's death, and carries requests.
    pub connection: Connection,
    /// Names the session for a resume.
    pub token: SessionToken,
    /// The generation attached to.
    pub generation: u32,
    /// The worker's process.
    pub worker_pid: u32,
    /// The channel with its descriptors.
    pub channel: MemfdChannel,
}

/// What a client wishes for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its name in status output.
    pub name: String,
    /// The channel.
    pub sizes: Sizes,
    /// The session to go on with.
    pub resume: Option<SessionToken>,
    /// How it waits.
    pub options: Options,
    /// How long the handshake may take.
    pub limit: Duration,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            name: format!("process {}", std::process::id()),
            sizes: Sizes::default(),
            resume: None,
            options: Options::default(),
            limit: Duration::from_secs(5),
        }
    }
}

/// Why a client has no channel, or no answer.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] TransportError),
    /// The region is not one to attach to, or the channel is over.
    #[error(transparent)]
    Channel(#[from] ringbar::Error),
    /// The command failed.
    #[error(transparent)]
    Status(#[from] Status),
    /// The reply is none to this command.
    #[error(transparent)]
    Reply(#[from] ringbar_vocabulary::DecodeError),
    /// The arena cannot grow.
    #[error("growing the arena: {0}")]
    Grow(String),
}

impl Wish {
    /// What the client says first.
    pub fn hello(&self) -> Hello {
        Hello { sizes: self.sizes, resume: self.resume, ..Hello::new(VOCABULARY_HASH, &self.name) }
    }
}

/// Attaches to the daemon at `socket`.
///
/// # Errors
/// [`AttachError::Handshake`] if it refuses or does not answer, [`AttachError::Channel`] if its region is not as it says.
pub fn attach(socket: &Path, wish: &Wish) -> Result<Attachment, AttachError> {
    let deadline = Deadline::after(wish.limit);
    let connection = Connection::connect(socket, deadline)?;
    failpoints::hit(Point::ClientConnected);
    if failpoints::is_armed(Point::ClientGreeted) {
        connection.send(&Message::Hello(wish.hello()), &[], deadline)?;
        failpoints::hit(Point::ClientGreeted);
    }
    let attached = connection.attach(&wish.hello(), deadline)?;
    failpoints::hit(Point::ClientWelcomed);
    let joined = rendezvous::take_up(connection, VOCABULARY_HASH, attached, wish.options)?;
    failpoints::hit(Point::ClientAttached);
    let Joined { client, welcome, connection, channel } = joined;
    let (token, generation, worker_pid) = (welcome.token, welcome.generation, welcome.worker_pid);
    Ok(Attachment { client, connection, token, generation, worker_pid, channel })
}

/// A command's bytes.
pub fn encoded(command: impl Command) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(command.encoded_len());
    command.encode(&mut bytes);
    bytes
}

impl Attachment {
    /// Posts a command; returns its position.
    ///
    /// # Errors
    /// If the channel is over.
    pub fn post(&self, command: impl PostCommand) -> Result<u64, ringbar::Error> {
        self.client.post(&encoded(command))
    }

    /// Makes a synchronous call.
    ///
    /// # Errors
    /// [`AttachError::Status`] if the call failed, others if the channel is over.
    pub fn call<C: SyncCommand>(&self, command: C) -> Result<C::Reply, AttachError> {
        let mut caller = self.client.caller()?;
        Ok(C::Reply::decode(caller.call(&encoded(command))?)??)
    }

    /// Asks for `bytes` more of arena; returns the new segment's number.
    ///
    /// # Errors
    /// [`AttachError::Handshake`] with the refusal, if there is no more.
    pub fn grow(&self, bytes: u64) -> Result<u16, AttachError> {
        let deadline = Deadline::after(Duration::from_secs(5));
        let ask = Message::Grow(ringbar::handshake::Grow { bytes });
        self.connection.send(&ask, &[], deadline)?;
        failpoints::hit(Point::ClientGrowing);
        let received = self.connection.receive(deadline)?;
        let grown = match received.message {
            Message::Grown(grown) => grown,
            Message::Refused(refusal) => return Err(TransportError::Refused(refusal).into()),
            other => return Err(AttachError::Grow(format!("found the message {}", other.name()))),
        };
        let failed = |error: &dyn std::fmt::Display| AttachError::Grow(error.to_string());
        let memfd = &received.descriptors[0];
        let part = link::map_segment(self.client.arena(), memfd, grown.len);
        let part = part.map_err(|e| failed(&e))?;
        if !self.client.add_segment(grown.segment as u16, part) {
            return Err(AttachError::Grow(format!("there is a segment {} already", grown.segment)));
        }
        Ok(grown.segment as u16)
    }
}
