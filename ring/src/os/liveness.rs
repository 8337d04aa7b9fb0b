//! Whether the peer still lives.
//!
//! Death is told by file descriptors, because the kernel closes a process's sockets and marks its pidfd when it dies,
//! however it dies, and because a descriptor can be waited for together with doorbells. Both also tell of a zombie whose
//! parent does not reap it: its sockets are closed and its pidfd is readable from the moment of exit. A pid alone tells
//! nothing of the kind (a zombie still has one) and may be given to another process.
//!
//! One of the two is enough, both are better: a peer that passed its socket on to a child keeps the socket open after its
//! death, and a pidfd cannot be had for a peer in another pid namespace or on an old kernel.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Who is at the other end of a unix socket, as the kernel noted it when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process, in this process's pid namespace; 0 if it has no number there.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

impl PeerCredentials {
    /// Runs as the same user as this process.
    pub fn is_same_user(&self) -> bool {
        self.uid == rustix::process::geteuid().as_raw()
    }
}

/// The credentials of the process that made the connection.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    // libc and not rustix, whose pid type has no room for the 0 of a peer in another pid namespace.
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let value = (&raw mut found).cast();
    socket_option(socket.as_fd(), libc::SO_PEERCRED, value, size_of::<libc::ucred>())?;
    Ok(PeerCredentials { pid: found.pid, uid: found.uid, gid: found.gid })
}

/// A pidfd of the process that made the connection, `None` where the kernel cannot give one.
///
/// By `SO_PEERPIDFD` where the kernel has it (6.5), which cannot hit another process that got the number meanwhile, else by
/// the number.
pub fn peer_pidfd(socket: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut number: libc::c_int = -1;
    let value = (&raw mut number).cast();
    match socket_option(socket.as_fd(), libc::SO_PEERPIDFD, value, size_of::<libc::c_int>()) {
        // SAFETY: the kernel made this descriptor for this call, and nobody else knows of it.
        Ok(()) => Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            pidfd_of_number(peer_credentials(socket)?.pid)
        }
        Err(e) if is_unavailable(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A pidfd of process `pid`: readable once it has exited, reaped or not.
///
/// For a child that was not reaped yet this is certain to be the right process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(Errno::INVAL)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether the process of `pidfd` has exited (as a zombie or for good).
pub fn has_exited(pidfd: impl AsFd) -> io::Result<bool> {
    Ok(!poll_now(pidfd.as_fd(), PollFlags::IN)?.is_empty())
}

/// `None` where there is no such process to be had.
fn pidfd_of_number(pid: i32) -> io::Result<Option<OwnedFd>> {
    if pid <= 0 {
        return Ok(None);
    }
    match pidfd_open(pid) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if is_unavailable(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

fn is_unavailable(error: &io::Error) -> bool {
    let unavailable = [libc::ESRCH, libc::ENODATA, libc::ENOSYS, libc::EPERM, libc::EINVAL];
    error.raw_os_error().is_some_and(|errno| unavailable.contains(&errno))
}

fn socket_option(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    value: *mut libc::c_void,
    size: usize,
) -> io::Result<()> {
    let mut len = size as libc::socklen_t;
    let fd = socket.as_raw_fd();
    // SAFETY: `value` points at `size` writable bytes of the caller, and the kernel writes at most `len` of them.
    let answer = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, value, &raw mut len) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What `fd` has of `wanted` (hang-up and error are always wanted), without waiting.
pub(crate) fn poll_now(fd: BorrowedFd<'_>, wanted: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::from_borrowed_fd(fd, wanted)];
    loop {
        match rustix::event::poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) => return Ok(fds[0].revents()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Watches one peer: through the socket to it, through its pidfd, or both.
#[derive(Clone, Debug)]
pub struct PeerWatch {
    socket: Option<Arc<OwnedFd>>,
    pidfd: Option<Arc<OwnedFd>>,
}

impl PeerWatch {
    /// Watches the socket, and the process at its other end where the kernel gives a pidfd.
    ///
    /// Not for a socket pair that was made here and inherited by a child: the kernel notes the maker as the peer. There
    /// give the child's pidfd by [`PeerWatch::with_pidfd`].
    pub fn of_socket(socket: Arc<OwnedFd>) -> io::Result<Self> {
        let pidfd = peer_pidfd(&socket)?.map(Arc::new);
        Ok(Self { socket: Some(socket), pidfd })
    }

    /// Watches the socket alone: for a connection whose other end was handed to another process than the one that
    /// accepted it, so that only the last copy's closing tells of its death.
    pub fn of_connection(socket: Arc<OwnedFd>) -> Self {
        Self { socket: Some(socket), pidfd: None }
    }

    /// Watches a process alone.
    pub fn of_process(pidfd: OwnedFd) -> Self {
        Self { socket: None, pidfd: Some(Arc::new(pidfd)) }
    }

    /// Watches a socket and a process that is known to be at its other end.
    pub fn with_pidfd(socket: Arc<OwnedFd>, pidfd: OwnedFd) -> Self {
        Self { socket: Some(socket), pidfd: Some(Arc::new(pidfd)) }
    }

    /// Whether the peer is gone: its process has exited, or its end of the socket is closed or shut down. One system call
    /// a descriptor; no waiting.
    pub fn is_dead(&self) -> io::Result<bool> {
        if let Some(pidfd) = &self.pidfd
            && has_exited(pidfd)?
        {
            return Ok(true);
        }
        match &self.socket {
            Some(socket) => Ok(!poll_now(socket.as_fd(), PollFlags::RDHUP)?.is_empty()),
            None => Ok(false),
        }
    }

    /// Waits for at most `limit` until the peer is gone; answers whether it is.
    pub fn wait_dead(&self, limit: Duration) -> io::Result<bool> {
        let wanted = |interest| match interest {
            super::Interest::HangUp => PollFlags::RDHUP,
            _ => PollFlags::IN,
        };
        let fds = self.fds().map(|(fd, interest)| PollFd::new(fd, wanted(interest)));
        let mut fds: Vec<_> = fds.collect();
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => self.is_dead(),
            Err(e) => Err(e.into()),
        }
    }

    /// The socket, to be waited for with [`Interest::HangUp`](super::Interest::HangUp).
    pub fn socket(&self) -> Option<&Arc<OwnedFd>> {
        self.socket.as_ref()
    }

    /// The pidfd, to be waited for with [`Interest::Readable`](super::Interest::Readable): readable means exited.
    pub fn pidfd(&self) -> Option<&Arc<OwnedFd>> {
        self.pidfd.as_ref()
    }

    /// Every descriptor to wait for, and what to wait for on it.
    pub fn fds(&self) -> impl Iterator<Item = (&Arc<OwnedFd>, super::Interest)> {
        let socket = self.socket.iter().map(|fd| (fd, super::Interest::HangUp));
        socket.chain(self.pidfd.iter().map(|fd| (fd, super::Interest::Readable)))
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Child, Command};
    use std::time::Instant;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    fn connected() -> (tempfile::TempDir, UnixStream, UnixStream) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let client = UnixStream::connect(folder.path().join("s")).unwrap();
        let (server, _) = listener.accept().unwrap();
        (folder, server, client)
    }

    /// True once `condition` holds, false if it does not within ten seconds.
    fn eventually(mut condition: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    #[test]
    fn a_zombie_that_nobody_reaped_is_dead() {
        let mut child = sleeper();
        let watch = PeerWatch::of_process(pidfd_open(child.id() as i32).unwrap());
        assert!(!watch.is_dead().unwrap());
        child.kill().unwrap();
        assert!(eventually(|| watch.is_dead().unwrap()), "killed, not reaped");
        let state = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        assert!(state.contains(") Z "), "still a zombie: {state}");
        child.wait().unwrap();
        assert!(watch.is_dead().unwrap(), "and still dead when reaped");
    }

    #[test]
    fn a_closed_socket_is_dead_although_its_process_lives() {
        let (_folder, server, client) = connected();
        let watch = PeerWatch::of_socket(Arc::new(server.into())).unwrap();
        assert!(!watch.is_dead().unwrap());
        drop(client);
        assert!(eventually(|| watch.is_dead().unwrap()));
    }

    #[test]
    fn unread_bytes_neither_hide_nor_fake_a_death() {
        use std::io::Write;
        let (_folder, server, mut client) = connected();
        let watch = PeerWatch::of_socket(Arc::new(server.into())).unwrap();
        client.write_all(b"unread").unwrap();
        assert!(!watch.is_dead().unwrap());
        drop(client);
        assert!(eventually(|| watch.is_dead().unwrap()));
    }

    #[test]
    fn a_process_whose_socket_was_inherited_is_dead_by_its_pidfd() {
        let (_folder, server, client) = connected();
        let mut child = sleeper();
        let pidfd = pidfd_open(child.id() as i32).unwrap();
        let watch = PeerWatch::with_pidfd(Arc::new(server.into()), pidfd);
        child.kill().unwrap();
        assert!(eventually(|| watch.is_dead().unwrap()));
        assert!(watch.wait_dead(Duration::from_secs(600)).unwrap(), "without waiting");
        child.wait().unwrap();
        drop(client);
    }

    #[test]
    fn a_wait_for_death_ends_with_it_or_with_patience() {
        let mut child = sleeper();
        let watch = PeerWatch::of_process(pidfd_open(child.id() as i32).unwrap());
        assert!(!watch.wait_dead(Duration::from_millis(1)).unwrap());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| watch.wait_dead(Duration::from_secs(600)).unwrap());
            child.kill().unwrap();
            assert!(waiting.join().unwrap());
        });
        child.wait().unwrap();
    }

    #[test]
    fn credentials_and_pidfd_name_the_process_at_the_other_end() {
        let (_folder, server, _client) = connected();
        let found = peer_credentials(&server).unwrap();
        assert_eq!(found.pid, std::process::id() as i32);
        assert!(found.is_same_user());
        let pidfd = peer_pidfd(&server).unwrap().expect("a pidfd of this process");
        assert!(!has_exited(&pidfd).unwrap());
        let info =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
        let pid = format!("Pid:\t{}\n", std::process::id());
        assert!(info.contains(&pid), "{info}");
        let flags = rustix::io::fcntl_getfd(&pidfd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "not inherited by children");
    }

    #[test]
    fn numbers_that_are_no_process_give_no_pidfd() {
        assert!(pidfd_of_number(0).unwrap().is_none());
        assert!(pidfd_of_number(-1).unwrap().is_none());
        assert!(pidfd_of_number(i32::MAX).unwrap().is_none());
        assert!(pidfd_open(0).is_err());
    }

    #[test]
    fn a_watch_lists_its_descriptors_with_what_to_wait_for() {
        use super::super::Interest;
        let (_folder, server, _client) = connected();
        let watch = PeerWatch::of_socket(Arc::new(server.into())).unwrap();
        let interests: Vec<_> = watch.fds().map(|(_, interest)| interest).collect();
        assert_eq!(interests, [Interest::HangUp, Interest::Readable]);
    }
}
