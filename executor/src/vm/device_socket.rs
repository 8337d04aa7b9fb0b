//! The socket that a VM's monitor connects to, and who may do that.

use ringbar::handshake::SocketFile;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Gid, Uid};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

/// Who may connect, as far as it was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The socket's user; the holder's own if it was not said.
    pub owner: Option<u32>,
    /// The socket's group; the holder's own if it was not said.
    pub group: Option<u32>,
    /// The socket's permissions; those of [`mode`](Self::mode) if they were not said.
    pub mode: Option<u32>,
}

impl Access {
    /// The socket's permissions: its user's alone, or also the group's if one was said.
    pub fn mode(&self) -> u32 {
        self.mode.unwrap_or(if self.group.is_some() { 0o660 } else { 0o600 })
    }

    /// Whether the file at `path` has them all.
    fn is_given_at(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|data| {
            self.owner.is_none_or(|owner| owner == data.uid())
                && self.group.is_none_or(|group| group == data.gid())
                && self.mode() == data.mode() & 0o7777
        })
    }

    /// Gives the socket at `path` to its user and group, if it is not theirs yet.
    ///
    /// # Errors
    /// What the system refused, with what to try.
    pub fn give(&self, path: &Path) -> Result<(), String> {
        if self.is_given_at(path) {
            return Ok(());
        }
        let failed = |what: &str, error: Errno| format!("{}: {what}: {error}", path.display());
        // The folder may be another user's, who could put a link to any file in its place.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed("opening", e))?;
        let found = rustix::fs::fstat(&file).map_err(|e| failed("looking at it", e))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
            return Err(format!("{}: found a file that is no socket", path.display()));
        }
        let (owner, group) = (self.owner.map(Uid::from_raw), self.group.map(Gid::from_raw));
        rustix::fs::chownat(&file, "", owner, group, AtFlags::EMPTY_PATH).map_err(|error| {
            let advice = match error {
                Errno::PERM => {
                    "; likely cause: only root gives files to another user, and others only to groups that they are in; \
                     try: run `serve` as root, or --socket-group with a group of its user"
                }
                _ => "",
            };
            let name = |id: Option<u32>| id.map_or("as before".into(), |id| id.to_string());
            let (owner, group) = (name(self.owner), name(self.group));
            format!("{}: giving it to user {owner} and group {group}: {error}{advice}", path.display())
        })?;
        let mode = std::fs::Permissions::from_mode(self.mode());
        std::fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)
            .map_err(|error| format!("{}: permissions {:o}: {error}", path.display(), self.mode()))
    }
}

/// A listening socket; its file is removed on drop.
pub struct DeviceSocket {
    /// The socket.
    pub socket: Arc<OwnedFd>,
    _file: Option<SocketFile>,
}

impl DeviceSocket {
    /// Makes the socket file. Only the holder of the VM's other socket comes here, so nobody else is about to do the same.
    ///
    /// # Errors
    /// What lies in the way, or what the system refused.
    pub fn bind(path: &Path, access: &Access) -> Result<Self, String> {
        clear_the_way(path)?;
        let failed = |e: io::Error| format!("{}: listening: {e}", path.display());
        let socket = bound(path).map_err(failed)?;
        // From here on the file goes when this fails.
        let made = Self { socket: Arc::new(socket), _file: SocketFile::at(path) };
        access.give(path)?;
        rustix::net::listen(&made.socket, 4).map_err(|e| failed(e.into()))?;
        Ok(made)
    }
}

/// A socket at which nobody can connect yet.
fn bound(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // On Linux the file takes over the mode of the socket, so it is private from its first moment.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Removes the socket of a dead holder, and nothing else.
fn clear_the_way(path: &Path) -> Result<(), String> {
    let failed = |what: &str, e: io::Error| format!("{}: {what}: {e}", path.display());
    match std::fs::symlink_metadata(path) {
        Ok(data) if !data.file_type().is_socket() => {
            Err(format!("{}: found a file that is no socket", path.display()))
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(|e| failed("removing a dead socket", e))
            }
            _ => Err(format!(
                "{}: somebody else listens there; try: another --socket for the VM",
                path.display()
            )),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed("looking for an old socket", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_the_permissions_that_were_said_or_is_its_users_alone_and_a_groups() {
        let folder = tempfile::tempdir().unwrap();
        let own = rustix::process::getegid().as_raw();
        let cases = [
            (Access::default(), 0o600),
            (Access { group: Some(own), ..Access::default() }, 0o660),
            (Access { mode: Some(0o666), ..Access::default() }, 0o666),
        ];
        for (number, (access, mode)) in cases.into_iter().enumerate() {
            let path = folder.path().join(number.to_string());
            let _socket = DeviceSocket::bind(&path, &access).unwrap();
            let data = std::fs::metadata(&path).unwrap();
            assert_eq!((data.mode() & 0o777, data.gid()), (mode, own));
        }
    }

    #[test]
    fn a_file_behind_a_link_in_the_sockets_place_is_given_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (folder.path().join("file"), folder.path().join("socket"));
        let listener = std::os::unix::net::UnixListener::bind(&file).unwrap();
        std::os::unix::fs::symlink(&file, &path).unwrap();
        let before = std::fs::metadata(&file).unwrap().mode();
        let access = Access { mode: Some(0o606), ..Access::default() };
        let error = access.give(&path).unwrap_err();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::metadata(&file).unwrap().mode(), before);
        access.give(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o606);
        drop(listener);
    }
}
