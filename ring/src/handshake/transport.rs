//! Sending and receiving messages over a unix socket.
//!
//! `SOCK_SEQPACKET` keeps message borders and tells of a hang-up. Nothing here blocks without a limit: each call takes a
//! [`Deadline`], and one deadline may serve a whole handshake, so a peer that answers byte by byte, or never, is dropped
//! after that time. Descriptors are received close-on-exec into owners, so each way out closes what is not handed on.

use super::error::HandshakeError;
use super::message::{Hello, Message, Refusal, RefusalCode, Welcome};
use super::wire::{DESCRIPTORS_MAX, MESSAGE_BYTES_MAX, decode};
use crate::os::{EventFd, PeerCredentials, PeerWatch, liveness};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to sleep before trying again to connect to a listener whose queue is full.
const CONNECT_RETRY: Duration = Duration::from_millis(2);

/// The time by which something has to be finished.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Instant,
    limit: Duration,
}

impl Deadline {
    /// `limit` from now.
    pub fn after(limit: Duration) -> Self {
        let now = Instant::now();
        // A time beyond the clock's range is as good as a year.
        let end = now.checked_add(limit).unwrap_or(now + Duration::from_secs(365 * 86_400));
        Self { end, limit }
    }

    /// Time left; zero when it is over.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    fn is_over(&self) -> bool {
        self.left().is_zero()
    }
}

/// Why a message could not be exchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The deadline passed.
    #[error(
        "{waiting_for}: found nothing within {limit_ms} ms; likely cause: the other side hangs or is overloaded; try: a longer limit"
    )]
    TimedOut {
        /// What was waited for.
        waiting_for: &'static str,
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The other side is gone.
    #[error(
        "{waiting_for}: the other side closed the connection; likely cause: it ended or dropped this client; try: its log"
    )]
    Closed {
        /// What was waited for.
        waiting_for: &'static str,
    },
    /// A datagram longer than any message.
    #[error(
        "found a message of more than {MESSAGE_BYTES_MAX} bytes; likely cause: not a ringbar peer, or a newer one"
    )]
    TooLong,
    /// Descriptors were lost on the way in.
    #[error(
        "found file descriptors that could not be received, expected at most {DESCRIPTORS_MAX}; likely cause: the peer \
         sent too many, or this process has no free ones; try: a higher limit of open files (ulimit -n)"
    )]
    DescriptorsLost,
    /// A message that could not be understood.
    #[error(transparent)]
    Malformed(#[from] HandshakeError),
    /// The other side said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A good message that does not belong here.
    #[error(
        "found the message {found}, expected {expected}; likely cause: the two sides lost step; try: connect again"
    )]
    Unexpected {
        /// The message found.
        found: &'static str,
        /// The message expected.
        expected: &'static str,
    },
    /// The caller gave another number of descriptors than the message carries.
    #[error("{message}: found {found} file descriptors to send, expected {expected}")]
    DescriptorCount {
        /// The message.
        message: &'static str,
        /// Descriptors given.
        found: usize,
        /// Descriptors it carries.
        expected: usize,
    },
    /// A socket path that does not fit.
    #[error(
        "{path}: found a path of {found} bytes, expected at most 107; try: a shorter path, for instance under /run"
    )]
    PathTooLong {
        /// The path.
        path: String,
        /// Its length in bytes.
        found: usize,
    },
    /// Nobody answers at the path.
    #[error("{path}: {source}; likely cause: {cause}; try: {advice}")]
    Connect {
        /// The path.
        path: String,
        /// The kernel's answer.
        source: io::Error,
        /// The most likely reason.
        cause: &'static str,
        /// What usually helps.
        advice: &'static str,
    },
    /// A living process listens there already.
    #[error(
        "{path}: found a living listener, expected none; likely cause: it runs already; try: another path, or end it first"
    )]
    Live {
        /// The path.
        path: String,
    },
    /// Something that is no socket lies there.
    #[error(
        "{path}: found a file that is no socket, expected none or a dead socket; try: another path"
    )]
    NotASocket {
        /// The path.
        path: String,
    },
    /// The folder of a socket to make cannot be opened.
    #[error("{path}: the socket's folder: {source}; likely cause: {cause}; try: {advice}")]
    Folder {
        /// The folder.
        path: String,
        /// The kernel's answer.
        source: io::Error,
        /// The most likely reason.
        cause: &'static str,
        /// What usually helps.
        advice: &'static str,
    },
    /// Any other system call that failed.
    #[error("{action} failed: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl TransportError {
    /// For `map_err`.
    pub(super) fn io<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, source: source.into() }
    }

    pub(super) fn folder(path: &Path, errno: Errno) -> Self {
        let (cause, advice) = match errno {
            Errno::NOENT => ("it was not made, or went with the last boot", "mkdir -p with it"),
            Errno::ACCESS | Errno::PERM => ("it is another user's", "run as that user"),
            Errno::NOTDIR => ("a file lies there", "check the path"),
            _ => ("the kernel refused", "the error number's manual page"),
        };
        Self::Folder { path: path.display().to_string(), source: errno.into(), cause, advice }
    }

    fn connect(path: &Path, errno: Errno) -> Self {
        let (cause, advice) = match errno {
            Errno::NOENT => {
                ("no executor was started with this path", "start it, or check the path")
            }
            Errno::CONNREFUSED => {
                ("the executor that made this socket has ended", "start it again")
            }
            Errno::ACCESS | Errno::PERM => {
                ("the socket belongs to another user", "run as that user")
            }
            Errno::PROTOTYPE => ("another program's socket", "check the path"),
            _ => ("the kernel refused", "the error number's manual page"),
        };
        Self::Connect { path: path.display().to_string(), source: errno.into(), cause, advice }
    }
}

/// A message and the descriptors that came with it, as many as the message has.
#[derive(Debug)]
pub struct Received {
    /// The message, checked.
    pub message: Message,
    /// Its descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

impl Received {
    /// The descriptors as an array of the length that the caller expects.
    fn into_descriptors<const N: usize>(self) -> Result<[OwnedFd; N], TransportError> {
        let (message, found) = (self.message.name(), self.descriptors.len());
        let wrong = |_| TransportError::DescriptorCount { message, found, expected: N };
        self.descriptors.try_into().map_err(wrong)
    }

    fn unexpected(&self, expected: &'static str) -> TransportError {
        TransportError::Unexpected { found: self.message.name(), expected }
    }
}

/// What a client has after a handshake.
#[derive(Debug)]
pub struct Attached {
    /// What the executor said.
    pub welcome: Welcome,
    /// The region's memfd, not yet checked (see `Mapping::memfd_attach`).
    pub region: OwnedFd,
    /// Signalled by the client to wake the worker.
    pub worker_doorbell: EventFd,
    /// Signalled by the worker to wake the client.
    pub client_doorbell: EventFd,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub struct Connection {
    socket: Arc<OwnedFd>,
}

impl Connection {
    /// Connects to the executor that listens at `path`.
    pub fn connect(path: impl AsRef<Path>, deadline: Deadline) -> Result<Self, TransportError> {
        let path = path.as_ref();
        let address = address_of(path)?;
        let socket = new_socket()?;
        match connect_until(&socket, &address, deadline) {
            Ok(()) => Ok(Self { socket: Arc::new(socket) }),
            Err(Errno::AGAIN) => Err(timed_out("connecting", deadline)),
            Err(e) => Err(TransportError::connect(path, e)),
        }
    }

    /// Two connected ends in this process.
    ///
    /// Each end's `peer_credentials` and `watch` name *this* process, also after one end was given to a child.
    pub fn pair() -> Result<(Self, Self), TransportError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let (one, other) = pair.map_err(TransportError::io("socketpair"))?;
        Ok((Self { socket: Arc::new(one) }, Self { socket: Arc::new(other) }))
    }

    /// Takes over a connected `SOCK_SEQPACKET` socket, for instance an inherited one.
    pub fn from_fd(socket: OwnedFd) -> Result<Self, TransportError> {
        let kind =
            rustix::net::sockopt::socket_type(&socket).map_err(TransportError::io("SO_TYPE"))?;
        if kind != SocketType::SEQPACKET {
            let text = "expected a SOCK_SEQPACKET socket";
            let source = io::Error::new(io::ErrorKind::InvalidInput, text);
            return Err(TransportError::Io { action: "taking over a socket", source });
        }
        Ok(Self { socket: Arc::new(socket) })
    }

    /// Sends one message with its descriptors, which stay the caller's.
    pub fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), TransportError> {
        let (found, expected) = (descriptors.len(), message.descriptors());
        if found != expected {
            return Err(TransportError::DescriptorCount {
                message: message.name(),
                found,
                expected,
            });
        }
        self.send_bytes(message.encode().as_bytes(), descriptors, deadline)
    }

    /// Receives one message. Descriptors of a message that is not accepted are closed.
    pub fn receive(&self, deadline: Deadline) -> Result<Received, TransportError> {
        loop {
            if let Some(received) = self.receive_now()? {
                return Ok(received);
            }
            self.wait(PollFlags::IN, "receiving a message", deadline)?;
        }
    }

    /// Receives one message if there is one, without waiting; for sockets in a waiter's set.
    pub fn receive_now(&self) -> Result<Option<Received>, TransportError> {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let Some((len, descriptors)) = self.receive_bytes(&mut bytes)? else { return Ok(None) };
        let message = decode(&bytes[..len], descriptors.len())?;
        Ok(Some(Received { message, descriptors }))
    }

    /// The client's handshake: says hello, and takes the answer apart.
    pub fn attach(&self, hello: &Hello, deadline: Deadline) -> Result<Attached, TransportError> {
        self.send(&Message::Hello(hello.clone()), &[], deadline)?;
        let received = self.receive(deadline)?;
        let welcome = match &received.message {
            Message::Welcome(welcome) => welcome.clone(),
            Message::Refused(refusal) => return Err(refusal.clone().into()),
            _ => return Err(received.unexpected("Welcome or Refused")),
        };
        welcome.check(hello, 0)?;
        let [region, worker, client] = received.into_descriptors()?;
        let bell = |fd| EventFd::from_fd(fd).map_err(TransportError::io("taking over a doorbell"));
        Ok(Attached {
            welcome,
            region,
            worker_doorbell: bell(worker)?,
            client_doorbell: bell(client)?,
        })
    }

    /// The executor's side of the same: waits for a hello, and tells a client that sent anything else why it is dropped.
    pub fn receive_hello(&self, deadline: Deadline) -> Result<Hello, TransportError> {
        let error = match self.receive(deadline) {
            Ok(Received { message: Message::Hello(hello), .. }) => return Ok(hello),
            Ok(received) => received.unexpected("Hello"),
            Err(e) => e,
        };
        let refusal = match &error {
            TransportError::Malformed(wrong) => wrong.refusal(),
            other => Refusal::new(RefusalCode::Malformed, &other.to_string()),
        };
        // Best effort: the client may be gone, and it is dropped either way.
        let _ = self.send(&Message::Refused(refusal), &[], Deadline::after(Duration::ZERO));
        Err(error)
    }

    /// The socket, for a waiter.
    pub fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// Who made the connection.
    pub fn peer_credentials(&self) -> Result<PeerCredentials, TransportError> {
        liveness::peer_credentials(&self.socket).map_err(TransportError::io("SO_PEERCRED"))
    }

    /// A watch on the peer's life, through this socket and the peer's pidfd.
    pub fn watch(&self) -> Result<PeerWatch, TransportError> {
        PeerWatch::of_socket(self.socket.clone()).map_err(TransportError::io("SO_PEERPIDFD"))
    }

    fn send_bytes(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), TransportError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            match rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags) {
                // A datagram goes whole or not at all.
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, "sending a message", deadline)?,
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {
                    return Err(TransportError::Closed { waiting_for: "sending a message" });
                }
                Err(e) => return Err(TransportError::Io { action: "sendmsg", source: e.into() }),
            }
        }
    }

    /// One datagram and its descriptors; `None` if there is none yet.
    fn receive_bytes(
        &self,
        bytes: &mut [u8],
    ) -> Result<Option<(usize, Vec<OwnedFd>)>, TransportError> {
        // Room for one more than a message has, so that an excess is told by its number.
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX + 1))];
        // Whatever stays in it is closed when it is dropped.
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let result = loop {
            let mut buffers = [IoSliceMut::new(bytes)];
            match rustix::net::recvmsg(&self.socket, &mut buffers, &mut control, flags) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        let closed = TransportError::Closed { waiting_for: "receiving a message" };
        let received = match result {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::CONNRESET | Errno::NOTCONN) => return Err(closed),
            Err(e) => return Err(TransportError::Io { action: "recvmsg", source: e.into() }),
        };
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(TransportError::DescriptorsLost);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(TransportError::TooLong);
        }
        if received.bytes == 0 {
            return Err(closed);
        }
        Ok(Some((received.bytes, take_descriptors(&mut control))))
    }

    fn wait(
        &self,
        wanted: PollFlags,
        waiting_for: &'static str,
        deadline: Deadline,
    ) -> Result<(), TransportError> {
        if wait_until(self.socket.as_fd(), wanted, deadline).map_err(TransportError::io("poll"))? {
            return Ok(());
        }
        Err(timed_out(waiting_for, deadline))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn take_descriptors(control: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    rights.flatten().collect()
}

/// Connects a socket that does not block; `AGAIN` if the listener's queue is full until the deadline.
pub(crate) fn connect_until(
    socket: &OwnedFd,
    address: &SocketAddrUnix,
    deadline: Deadline,
) -> rustix::io::Result<()> {
    loop {
        match rustix::net::connect(socket, address) {
            Err(Errno::INTR) => {}
            // The listener's queue is full; the kernel offers no way to wait for room.
            Err(Errno::AGAIN) if !deadline.is_over() => {
                std::thread::sleep(CONNECT_RETRY.min(deadline.left()));
            }
            other => return other,
        }
    }
}

/// Waits for `fd`; `false` when the deadline passed. At least one look is taken, however late it is.
pub(crate) fn wait_until(
    fd: BorrowedFd<'_>,
    wanted: PollFlags,
    deadline: Deadline,
) -> rustix::io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, wanted)];
    loop {
        let left = Timespec::try_from(deadline.left()).unwrap_or_default();
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(0) if deadline.is_over() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            other => return other.map(|_| true),
        }
    }
}

pub(super) fn timed_out(waiting_for: &'static str, deadline: Deadline) -> TransportError {
    let limit_ms = u64::try_from(deadline.limit.as_millis()).unwrap_or(u64::MAX);
    TransportError::TimedOut { waiting_for, limit_ms }
}

pub(super) fn address_of(path: &Path) -> Result<SocketAddrUnix, TransportError> {
    SocketAddrUnix::new(path).map_err(|errno| match errno {
        Errno::NAMETOOLONG => TransportError::PathTooLong {
            path: path.display().to_string(),
            found: path.as_os_str().len(),
        },
        e => TransportError::connect(path, e),
    })
}

pub(super) fn new_socket() -> Result<OwnedFd, TransportError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(TransportError::io("socket"))
}

#[cfg(all(test, not(miri)))]
#[path = "transport_tests.rs"]
mod tests;
