//! The executor's socket file.
//!
//! It is made with mode 0600 (no moment at which it had another), a socket of a living executor is never replaced, and one
//! that a dead executor left behind is. Two executors that start at the same time are kept apart by a lock on the folder,
//! held only while the file is made.

use super::transport::{
    Connection, Deadline, TransportError, address_of, new_socket, timed_out, wait_until,
};
use rustix::event::PollFlags;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// How long another executor may hold the folder's lock while it makes its socket.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// Listens for clients; removes its socket file on drop, if it is still its own.
#[derive(Debug)]
pub struct Listener {
    socket: Arc<OwnedFd>,
    file: Option<SocketFile>,
}

/// A socket's file, and the device and inode by which it is known again. Dropping this removes the file, unless another lies
/// in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// What lies at `path`, if something does.
    pub fn at(path: &Path) -> Option<Self> {
        identity(path).map(|identity| Self { path: path.into(), identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Makes the socket file (mode 0600) and listens.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, TransportError> {
        Self::bind_within(path, LOCK_LIMIT)
    }

    /// The same, waiting for at most `limit` while another process makes a socket in the same folder. Whoever may read the folder
    /// can hold its lock for ever, so a thread that serves others gives no time.
    pub fn bind_within(path: impl AsRef<Path>, limit: Duration) -> Result<Self, TransportError> {
        let path = path.as_ref();
        let address = address_of(path)?;
        let _lock = lock_folder(path, limit)?;
        clear_the_way(path)?;
        let socket = new_socket()?;
        // On Linux the file takes over the mode of the socket, so it is private from its first moment.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)
            .map_err(TransportError::io("fchmod"))?;
        rustix::net::bind(&socket, &address).map_err(TransportError::io("bind"))?;
        rustix::net::listen(&socket, BACKLOG).map_err(TransportError::io("listen"))?;
        Ok(Self { socket: Arc::new(socket), file: SocketFile::at(path) })
    }

    /// Takes over a listening socket that somebody else made (a service manager, an earlier daemon). Its file is not
    /// removed on drop.
    pub fn from_fd(socket: OwnedFd) -> Result<Self, TransportError> {
        let flags = rustix::fs::fcntl_getfl(&socket).map_err(TransportError::io("F_GETFL"))?;
        rustix::fs::fcntl_setfl(&socket, flags | OFlags::NONBLOCK)
            .map_err(TransportError::io("F_SETFL"))?;
        Ok(Self { socket: Arc::new(socket), file: None })
    }

    /// A client's connection if one is waiting, without waiting for one.
    ///
    /// An error (no free descriptors, no memory) may last: wait a little before the next try.
    pub fn try_accept(&self) -> Result<Option<Connection>, TransportError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&self.socket, flags) {
            Ok(socket) => Connection::from_fd(socket).map(Some),
            // Gone again, or interrupted: the socket stays readable if there is more.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
            Err(e) => Err(TransportError::Io { action: "accept", source: e.into() }),
        }
    }

    /// Waits for a client's connection.
    pub fn accept(&self, deadline: Deadline) -> Result<Connection, TransportError> {
        loop {
            if let Some(connection) = self.try_accept()? {
                return Ok(connection);
            }
            let ready = wait_until(self.socket.as_fd(), PollFlags::IN, deadline);
            if !ready.map_err(TransportError::io("poll"))? {
                return Err(timed_out("accepting a connection", deadline));
            }
        }
    }

    /// The listening socket, for a waiter.
    pub fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// Path of the socket file, if this listener made it.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }
}

/// Device and inode of what lies at `path`, links not followed.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

/// Holds the folder of `path` against other executors until the result is dropped.
fn lock_folder(path: &Path, limit: Duration) -> Result<OwnedFd, TransportError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder, flags, Mode::empty())
        .map_err(|errno| TransportError::folder(folder, errno))?;
    let deadline = Deadline::after(limit);
    loop {
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(fd),
            Err(Errno::AGAIN | Errno::INTR) if !deadline.left().is_zero() => {
                std::thread::sleep(LOCK_RETRY);
            }
            Err(Errno::AGAIN) => return Err(timed_out("locking the socket's folder", deadline)),
            Err(e) => return Err(TransportError::io("locking the socket's folder")(e)),
        }
    }
}

/// Removes the socket of a dead executor; refuses to touch anything else.
fn clear_the_way(path: &Path) -> Result<(), TransportError> {
    let data = match std::fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(TransportError::io("looking for an old socket")(e)),
    };
    if !data.file_type().is_socket() {
        return Err(TransportError::NotASocket { path: path.display().to_string() });
    }
    match rustix::net::connect(&new_socket()?, &address_of(path)?) {
        Err(Errno::CONNREFUSED) => {
            std::fs::remove_file(path).map_err(TransportError::io("removing a dead socket"))
        }
        Err(Errno::NOENT) => Ok(()),
        // It answers, its queue is full, or it speaks another kind of socket: somebody lives there.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
            Err(TransportError::Live { path: path.display().to_string() })
        }
        Err(e) => Err(TransportError::io("asking whether an old socket is alive")(e)),
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        (folder, path)
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[test]
    fn a_folder_that_somebody_keeps_locked_costs_no_time_where_none_is_given() {
        let (_folder, path) = place();
        let held = lock_folder(&path, LOCK_LIMIT).unwrap();
        let error = Listener::bind_within(&path, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("locking the socket's folder"), "{error}");
        drop(held);
        Listener::bind_within(&path, Duration::ZERO).unwrap();
    }

    /// Leaves a socket file behind as a killed executor does.
    fn leave_a_dead_socket(path: &Path) {
        let mut listener = Listener::bind(path).unwrap();
        std::mem::forget(listener.file.take());
        drop(listener);
        // A child that another test starts has a copy of the listener for a moment.
        assert!(eventually(|| Connection::connect(path, soon()).is_err()));
    }

    /// True once `condition` holds, false if it does not in time.
    fn eventually(mut condition: impl FnMut() -> bool) -> bool {
        let end = soon();
        while !end.left().is_zero() {
            if condition() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    #[test]
    fn clients_connect_and_are_accepted() {
        let (_folder, path) = place();
        let listener = Listener::bind(&path).unwrap();
        assert!(listener.try_accept().unwrap().is_none());
        let client = Connection::connect(&path, soon()).unwrap();
        let server = listener.accept(soon()).unwrap();
        assert_eq!(server.peer_credentials().unwrap().pid, std::process::id() as i32);
        assert!(!server.watch().unwrap().is_dead().unwrap());
        drop(client);
        assert!(eventually(|| server.watch().unwrap().is_dead().unwrap()));
    }

    #[test]
    fn a_folder_that_does_not_exist_is_named_with_what_to_try() {
        let (_folder, path) = place();
        let error = Listener::bind(path.join("socket")).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("mkdir -p"), "{error}");
    }

    #[test]
    fn the_socket_file_is_private() {
        let (_folder, path) = place();
        let _listener = Listener::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_living_listener_is_never_replaced() {
        let (_folder, path) = place();
        let first = Listener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(TransportError::Live { .. })));
        // The probe was a connection that closed at once; the real client comes behind it.
        let _client = Connection::connect(&path, soon()).unwrap();
        assert!(first.accept(soon()).is_ok());
    }

    #[test]
    fn a_living_socket_of_another_kind_is_not_replaced_either() {
        let (_folder, path) = place();
        let _stream = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(TransportError::Live { .. })));
        let error = Connection::connect(&path, soon()).unwrap_err();
        assert!(error.to_string().contains("another program's socket"), "{error}");
    }

    #[test]
    fn a_dead_socket_is_replaced() {
        let (_folder, path) = place();
        leave_a_dead_socket(&path);
        let error = Connection::connect(&path, soon()).unwrap_err();
        assert!(error.to_string().contains("has ended"), "{error}");
        let listener = Listener::bind(&path).unwrap();
        let _client = Connection::connect(&path, soon()).unwrap();
        assert!(listener.accept(soon()).is_ok());
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let (_folder, path) = place();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path), Err(TransportError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn of_two_that_start_at_once_over_a_dead_socket_one_wins() {
        let (_folder, path) = place();
        leave_a_dead_socket(&path);
        let results: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| Listener::bind(&path))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let lost = results.iter().filter(|r| matches!(r, Err(TransportError::Live { .. })));
        assert_eq!(lost.count(), 3);
    }

    #[test]
    fn the_socket_file_goes_with_its_listener_and_a_successors_stays() {
        let (_folder, path) = place();
        let listener = Listener::bind(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
        let first = Listener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = Listener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists(), "the second listener's file");
        assert_eq!(second.path(), Some(path.as_path()));
    }

    #[test]
    fn an_inherited_listener_keeps_its_file() {
        let (_folder, path) = place();
        let mut made = Listener::bind(&path).unwrap();
        std::mem::forget(made.file.take());
        let socket = Arc::try_unwrap(made.socket).unwrap();
        let taken = Listener::from_fd(socket).unwrap();
        let _client = Connection::connect(&path, soon()).unwrap();
        assert!(taken.accept(soon()).is_ok());
        drop(taken);
        assert!(path.exists());
    }

    #[test]
    fn accepting_ends_by_its_deadline() {
        let (_folder, path) = place();
        let listener = Listener::bind(&path).unwrap();
        let error = listener.accept(Deadline::after(Duration::from_millis(5))).unwrap_err();
        assert!(matches!(error, TransportError::TimedOut { limit_ms: 5, .. }), "{error}");
    }

    #[test]
    fn connecting_to_a_full_queue_ends_by_its_deadline() {
        let (_folder, path) = place();
        let _listener = Listener::bind(&path).unwrap();
        let mut waiting = vec![];
        let error = loop {
            match Connection::connect(&path, Deadline::after(Duration::from_millis(20))) {
                Ok(connection) => waiting.push(connection),
                Err(error) => break error,
            }
            assert!(waiting.len() < 1000, "the queue never fills");
        };
        assert!(matches!(error, TransportError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn a_missing_and_an_overlong_path_are_told_apart() {
        let (_folder, path) = place();
        let error = Connection::connect(&path, soon()).unwrap_err();
        assert!(error.to_string().contains("no executor was started"), "{error}");
        let long = Path::new("/tmp").join("x".repeat(200));
        let error = Listener::bind(&long).unwrap_err();
        assert!(matches!(error, TransportError::PathTooLong { found: 205, .. }), "{error}");
    }
}
