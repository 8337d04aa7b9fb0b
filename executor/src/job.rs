//! What a daemon tells its worker, and what the worker tells back.
//!
//! Both go over a socket pair that is the worker's standard input, one JSON text a datagram. So the worker inherits nothing
//! by number: its descriptors come with its job. All that it must know of the region comes this way too, so that a client
//! that rewrites the region's header changes nothing.

use crate::device::Device;
use ringbar::layout::{PAGE_BYTES, Sizes};
use ringbar::region::Place;
use ringbar_vocabulary::{ClientOrigin, VOCABULARY_HASH};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Longest text.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Descriptors that come with a job: region, worker's bell, client's bell, and a process's socket or the counts of a VM's
/// log lines.
pub const JOB_DESCRIPTORS: usize = 4;
/// Most descriptors that come with any message.
pub const DESCRIPTORS_MAX: usize = 16;

/// Everything that a worker has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The session's number, for logs.
    pub session: u64,
    /// The generation to serve.
    pub generation: u32,
    /// Features that were agreed on.
    pub features: u64,
    /// Where the channel lies in its region, in bytes.
    pub offset: u64,
    /// The channel's sizes.
    #[serde(with = "SentSizes")]
    pub sizes: Sizes,
    /// How the client is known to live.
    pub client: ClientKind,
    /// What to execute on.
    pub device: Device,
    /// How the worker behaves.
    pub options: WorkerOptions,
    /// Bytes of further arena segments that the client may have.
    pub segment_bytes_max: u64,
}

/// Where the only channel of a region lies.
pub const ONLY_CHANNEL_OFFSET: u64 = PAGE_BYTES as u64;

/// Who the client is, and what tells that it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// A process of this host: its socket comes with the job.
    Process,
    /// A program in a VM: only its heartbeat tells. The counts of the VM's log lines come with the job.
    Guest {
        /// The VM's name.
        vm: String,
        /// Its channel in that.
        channel: usize,
        /// Channels of the VM.
        channels: usize,
        /// Silence after which it counts as dead, in milliseconds.
        heart_limit_ms: u64,
        /// Whether it may have a GPU that reaches all memory of its worker.
        allow_hmm: bool,
    },
}

impl ClientKind {
    /// Where the client runs, which decides what it may do.
    pub fn origin(&self) -> ClientOrigin {
        match self {
            Self::Process => ClientOrigin::Host,
            Self::Guest { allow_hmm: true, .. } => ClientOrigin::TrustedGuest,
            Self::Guest { .. } => ClientOrigin::Guest,
        }
    }
}

impl Job {
    /// Where the channel lies and what it is.
    pub fn place(&self) -> Place {
        let identity = self.sizes.identity(VOCABULARY_HASH, self.features);
        Place { offset: self.offset, identity }
    }

    /// Names its client in each line of the log.
    pub fn fields(&self) -> String {
        let Self { session, generation, .. } = self;
        match &self.client {
            ClientKind::Process => format!("session={session} generation={generation}"),
            ClientKind::Guest { vm, channel, .. } => {
                format!("vm={vm} channel={channel} session={session} generation={generation}")
            }
        }
    }
}

/// How workers behave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerOptions {
    /// Longest poll before blocking, in microseconds; `None`: the ring's own choice.
    pub spin_max_us: Option<u64>,
    /// Time after which a command is taken for hung, in milliseconds.
    pub command_timeout_ms: Option<u64>,
    /// Time after which device work that nobody adds to is taken for hung, in milliseconds.
    pub device_timeout_ms: Option<u64>,
    /// Lines of one class that are logged in a second.
    pub log_lines_per_s: Option<u32>,
}

/// How [`Sizes`] are sent; that these are all of its fields is checked when this is compiled.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Sizes")]
struct SentSizes {
    command_lines: u32,
    reply_slots: u32,
    event_lines: u32,
    fence_words: u32,
    arena_bytes: u64,
    arena_address: u64,
}

/// What a worker reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The channel is running.
    Started {
        /// The system interface that it waits by.
        waiter: String,
        /// Why that is not io_uring.
        waiter_reason: Option<String>,
    },
    /// The client has so many bytes of further arena segments now.
    Grown {
        /// Bytes in all.
        segment_bytes: u64,
    },
    /// A command is inside the driver for long, or was and is not any more.
    Stalled {
        /// The command.
        command: String,
        /// For how long.
        seconds: u64,
        /// Whether it is over.
        over: bool,
    },
    /// The worker is about to end.
    Ended {
        /// Why.
        reason: String,
    },
}

/// How a worker process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The client left.
    ClientLeft = 0,
    /// The client broke the protocol.
    Violation = 3,
    /// The device became unusable.
    DeviceLost = 4,
    /// The worker could not start, or could not go on.
    Failed = 5,
    /// A command or device work took too long.
    Hung = 6,
    /// Somebody asked it to end.
    Stopped = 7,
}

impl Exit {
    /// The exit of a process that ended with `code`.
    pub fn from_code(code: i32) -> Option<Self> {
        let all = [
            Self::ClientLeft,
            Self::Violation,
            Self::DeviceLost,
            Self::Failed,
            Self::Hung,
            Self::Stopped,
        ];
        all.into_iter().find(|exit| i32::from(*exit as u8) == code)
    }
}

/// A connected pair: the daemon's end, and the worker's standard input. Neither blocks.
pub fn control_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends `value` and descriptors, without waiting.
pub fn send(socket: impl AsFd, value: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[IoSlice::new(&text)], &mut control, flags)?;
    Ok(())
}

/// Receives a value and its descriptors if one is there. `UnexpectedEof` if the other side is gone.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut text = [0; TEXT_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let mut buffers = [IoSliceMut::new(&mut text)];
    let received = match rustix::net::recvmsg(socket, &mut buffers, &mut control, flags) {
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        other => other?,
    };
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message longer than any"));
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = rights.flatten().collect();
    Ok(Some((serde_json::from_slice(&text[..received.bytes])?, fds)))
}

/// As [`receive`], waiting for at most `limit`.
pub fn receive_within<T: DeserializeOwned>(
    socket: impl AsFd,
    limit: Duration,
) -> io::Result<(T, Vec<OwnedFd>)> {
    let timeout = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout)))?;
    receive(&socket)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            session: 3,
            generation: 2,
            features: 1,
            offset: ONLY_CHANNEL_OFFSET,
            sizes: Sizes::default(),
            client: ClientKind::Process,
            device: Device::default(),
            options: WorkerOptions::default(),
            segment_bytes_max: 1 << 30,
        }
    }

    #[test]
    fn a_job_arrives_whole_with_its_descriptors() {
        let (ours, theirs) = control_pair().unwrap();
        let fds: Vec<OwnedFd> = (0..4).map(|_| rustix::pipe::pipe().unwrap().0).collect();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        send(&ours, &job(), &fds).unwrap();
        let (found, fds) = receive::<Job>(&theirs).unwrap().unwrap();
        assert_eq!((found, fds.len()), (job(), 4));
        assert!(receive::<Job>(&theirs).unwrap().is_none());
    }

    #[test]
    fn the_place_of_a_job_is_the_one_that_its_region_was_made_with() {
        let mapping =
            ringbar::os::Mapping::heap(ringbar::region::region_bytes(&[Sizes::default()]) as usize);
        let terms = ringbar::region::Terms { vocabulary_hash: VOCABULARY_HASH, features: 1 };
        let places = ringbar::region::create(
            &std::sync::Arc::new(mapping.unwrap()),
            &[Sizes::default()],
            terms,
        );
        assert_eq!(places.unwrap(), [job().place()]);
    }

    #[test]
    fn a_hang_up_and_a_text_of_another_kind_are_errors() {
        let (ours, theirs) = control_pair().unwrap();
        send(&ours, &"hello", &[]).unwrap();
        assert!(receive::<Job>(&theirs).is_err());
        let limit = Duration::from_millis(5);
        assert_eq!(
            receive_within::<Job>(&theirs, limit).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        drop(ours);
        assert_eq!(receive::<Job>(&theirs).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
