//! The messages: what the two sides say to each other. Their bytes are the business of [`wire`](super::wire).

use super::text::Text;
use crate::layout::Sizes;
use std::fmt;

/// A protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Versions of different majors do not understand each other.
    pub major: u16,
    /// Versions of one major speak the smaller minor.
    pub minor: u16,
}

impl Version {
    /// The protocol of this crate.
    pub const OURS: Self =
        Self { major: crate::layout::VERSION_MAJOR, minor: crate::layout::VERSION_MINOR };
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A secret that names a session, so that its client, and nobody else, can resume it. Not printed by `Debug`.
#[derive(Clone, Copy)]
pub struct SessionToken(pub [u8; 16]);

impl SessionToken {
    /// A new one from the system's random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl PartialEq for SessionToken {
    /// Looks at every byte, so that the time taken tells nothing about where a guess goes wrong.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl Eq for SessionToken {}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The newest protocol the client speaks.
    pub protocol: Version,
    /// Feature bits it has.
    pub features: u64,
    /// Hash of its command vocabulary.
    pub vocabulary_hash: u64,
    /// The channel it would like; the executor may give less.
    pub sizes: Sizes,
    /// The session it wants to go on with on a new generation, after its worker died.
    pub resume: Option<SessionToken>,
    /// A name for status output.
    pub name: Text<64>,
}

impl Hello {
    /// A hello of this crate's protocol with everything that this process can do, and sizes by default.
    pub fn new(vocabulary_hash: u64, name: &str) -> Self {
        Self {
            protocol: Version::OURS,
            features: crate::link::features_here(),
            vocabulary_hash,
            sizes: Sizes::default(),
            resume: None,
            name: Text::new(name),
        }
    }
}

/// The executor's consent. Comes with three descriptors: the region's memfd, the eventfd that wakes the worker, the
/// eventfd that wakes the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol to be spoken.
    pub protocol: Version,
    /// The features to be used.
    pub features: u64,
    /// Names the session for a later resume.
    pub token: SessionToken,
    /// Generation of the channel, at least 1.
    pub generation: u32,
    /// Number of the channel in the region's directory.
    pub channel: u32,
    /// Bytes of the region; the client compares them with what the kernel says of the memfd.
    pub region_bytes: u64,
    /// Process that serves the channel, in the executor's pid namespace; for display.
    pub worker_pid: u32,
}

/// Why the executor refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalCode {
    /// Another protocol major.
    Version,
    /// Another command vocabulary.
    Vocabulary,
    /// A required feature is missing.
    Features,
    /// Sizes beyond what this executor gives.
    Limits,
    /// This user may not.
    Credentials,
    /// All channels are taken.
    Busy,
    /// The session's old worker is not reaped yet: try again after `retry_after_ms`.
    Reaping,
    /// There is no such session to resume.
    UnknownSession,
    /// The message could not be understood.
    Malformed,
    /// Something failed on the executor's side.
    Internal,
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::Vocabulary => "vocabulary",
            Self::Features => "features",
            Self::Limits => "limits",
            Self::Credentials => "credentials",
            Self::Busy => "busy",
            Self::Reaping => "still being reaped",
            Self::UnknownSession => "unknown session",
            Self::Malformed => "malformed message",
            Self::Internal => "internal failure",
        })
    }
}

/// The executor's refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused ({code}): {text}")]
pub struct Refusal {
    /// The kind of reason.
    pub code: RefusalCode,
    /// The reason in words.
    pub text: Text<200>,
    /// When it may be worth trying again; 0: not by waiting.
    pub retry_after_ms: u32,
    /// The protocol of the side that refuses.
    pub protocol: Version,
}

impl Refusal {
    /// A refusal that waiting does not cure. Text beyond 200 bytes is cut.
    pub fn new(code: RefusalCode, text: &str) -> Self {
        Self { code, text: Text::new(text), retry_after_ms: 0, protocol: Version::OURS }
    }

    /// A refusal that may be over after some time.
    pub fn retry_after(code: RefusalCode, text: &str, retry_after_ms: u32) -> Self {
        Self { retry_after_ms, ..Self::new(code, text) }
    }
}

/// The client asks for another arena segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grow {
    /// Bytes: whole pages, at most 1 TiB.
    pub bytes: u64,
}

/// The executor's new arena segment. Comes with its memfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Number of the segment, at least 1 (0 is the region's own arena).
    pub segment: u32,
    /// Bytes of the segment; the client compares them with what the kernel says of the memfd.
    pub len: u64,
}

/// Any message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Client: first message.
    Hello(Hello),
    /// Executor: consent.
    Welcome(Welcome),
    /// Executor: refusal of a Hello or a Grow.
    Refused(Refusal),
    /// Client: one more arena segment, please.
    Grow(Grow),
    /// Executor: here it is.
    Grown(Grown),
    /// Client: leaves in order.
    Bye,
}

/// One good message of each kind, for the tests of this module and its neighbours.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub fn hello() -> Hello {
        Hello {
            protocol: Version::OURS,
            features: 0x0102_0304_0506_0708,
            vocabulary_hash: 0x1112_1314_1516_1718,
            sizes: Sizes { arena_address: 0x2000_0000_0000, ..Sizes::default() },
            resume: Some(SessionToken([7; 16])),
            name: Text::new("a client"),
        }
    }

    pub fn welcome() -> Welcome {
        Welcome {
            protocol: Version::OURS,
            features: 3,
            token: SessionToken([9; 16]),
            generation: 4,
            channel: 30,
            region_bytes: 1 << 20,
            worker_pid: 4711,
        }
    }

    pub fn all() -> Vec<Message> {
        let stranger = Hello { resume: None, name: Text::new(""), ..hello() };
        vec![
            Message::Hello(hello()),
            Message::Hello(stranger),
            Message::Welcome(welcome()),
            Message::Refused(Refusal::retry_after(RefusalCode::Reaping, "wait", 250)),
            Message::Grow(Grow { bytes: 1 << 30 }),
            Message::Grown(Grown { segment: 63, len: 4096 }),
            Message::Bye,
        ]
    }
}
