//! One process that has the function's VFIO group for all programs of the machine, and hands its interrupts on.
//!
//! A group has one owner, and when that ends, the kernel turns the function's memory off for a moment: what others write
//! meanwhile is lost. So an owner is either alone, or one that does nothing else and stays.

use super::discovery;
use super::vfio::{Interrupts, Vfio};
use super::{GuestConfig, GuestError};
use crate::os::doorbell::EventFd;
use crate::os::map_error::MapError;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::fs::Permissions;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// Eventfds in one message.
const BELLS_MAX: usize = 32;
/// Connections that wait to be answered; each takes microseconds.
const BACKLOG: i32 = 64;

fn socket_path(address: &str, config: &GuestConfig) -> PathBuf {
    config.run.join(address)
}

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The interrupts that a holder gives; `None` if none runs.
pub(super) fn from_holder(
    address: &str,
    config: &GuestConfig,
) -> Result<Option<Interrupts>, GuestError> {
    let path = socket_path(address, config);
    let failed = |action| {
        let subject = path.display().to_string();
        move |e: Errno| GuestError::Map(MapError::system(subject, action, e))
    };
    let socket = socket().map_err(failed("making a socket"))?;
    let name = SocketAddrUnix::new(&path).map_err(failed("naming the socket"))?;
    match rustix::net::connect(&socket, &name) {
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        other => other.map_err(failed("connect"))?,
    }
    let bells = receive(&socket).map_err(failed("receiving eventfds"))?;
    let bells = bells.into_iter().map(EventFd::from_fd).collect::<io::Result<Vec<_>>>();
    let bells = bells.map_err(|e| GuestError::Map(MapError::system("eventfd", "fcntl", e)))?;
    // A holder that is just ending gives nothing.
    Ok((!bells.is_empty()).then(|| Interrupts::of(bells, None)))
}

fn receive(socket: &OwnedFd) -> rustix::io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BELLS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(fds.flatten().collect())
}

fn send(socket: &OwnedFd, bells: &[EventFd]) -> rustix::io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = bells.iter().take(BELLS_MAX).map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BELLS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(&[1])], &mut control, flags).map(drop)
}

/// Has the function that `config` names (or the only one that is bound to vfio-pci) and hands its interrupts to whoever
/// connects, until the function is to be unplugged or `stop` is readable. `ready` is called with the socket's path.
///
/// # Errors
/// If there is no such function, another process has its group, or the socket cannot be made.
pub fn hold(
    config: &GuestConfig,
    stop: BorrowedFd<'_>,
    ready: impl FnOnce(&std::path::Path),
) -> Result<(), GuestError> {
    let functions = discovery::candidates(config)?;
    let bound = functions.iter().find(|function| function.is_vfio());
    let function = bound.ok_or_else(|| GuestError::NotBound {
        names: functions.iter().map(|f| f.address.as_str()).collect::<Vec<_>>().join(", "),
    })?;
    let vfio = Vfio::open(function, config)?;
    let path = socket_path(&function.address, config);
    let subject = path.display().to_string();
    let failed = |action| {
        let subject = subject.clone();
        move |e: io::Error| GuestError::Map(MapError::system(subject, action, e))
    };
    let listener = listen(&path, config).map_err(failed("listening"))?;
    share(&path, &function.folder.join("resource2")).map_err(failed("sharing"))?;
    ready(&path);
    let served = serve(&listener, &vfio.interrupts, stop).map_err(failed("serving"));
    // A successor makes its own.
    let _ = std::fs::remove_file(&path);
    served
}

fn listen(path: &std::path::Path, config: &GuestConfig) -> io::Result<OwnedFd> {
    std::fs::create_dir_all(&config.run)?;
    // This process has the group, so a socket that is there belongs to nobody.
    let _ = std::fs::remove_file(path);
    let listener = socket()?;
    rustix::net::bind(&listener, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Whoever may map the function may have its interrupts: same group, same mode.
fn share(path: &std::path::Path, like: &std::path::Path) -> io::Result<()> {
    let file = std::fs::metadata(like)?;
    std::os::unix::fs::chown(path, None, Some(file.gid()))?;
    std::fs::set_permissions(path, Permissions::from_mode(file.mode() & 0o777))
}

fn serve(listener: &OwnedFd, all: &Interrupts, stop: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        let release = all.release().map_or(stop, AsFd::as_fd);
        let watched = [listener.as_fd(), stop, release];
        let mut fds = watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match rustix::event::poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if fds[1..].iter().any(|fd| !fd.revents().is_empty()) {
            return Ok(());
        }
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            // A program that hung up meanwhile hurts itself only.
            Ok(program) => drop(send(&program, all.bells())),
            Err(Errno::CONNABORTED | Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Tree;
    use super::*;

    #[test]
    fn a_holder_hands_the_same_eventfds_to_everybody_until_it_is_stopped() {
        let tree = Tree::new();
        let config = tree.config(None);
        assert!(from_holder("f", &config).expect("no error").is_none(), "none runs");
        let bells: Vec<_> = (0..3).map(|_| EventFd::new().expect("an eventfd")).collect();
        let all = Interrupts::of(bells.clone(), None);
        let stop = EventFd::new().expect("an eventfd");
        let listener = listen(&socket_path("f", &config), &config).expect("a socket");
        let file = tree.function("0000:00:03.0", 4096).join("resource2");
        std::fs::set_permissions(&file, Permissions::from_mode(0o660)).expect("mine");
        share(&socket_path("f", &config), &file).expect("mine");
        let mode = std::fs::metadata(socket_path("f", &config)).expect("there").mode();
        assert_eq!(mode & 0o777, 0o660);
        let stopped = stop.clone();
        let holder = std::thread::spawn(move || serve(&listener, &all, stopped.as_fd()));
        let programs: Vec<_> =
            (0..2).map(|_| from_holder("f", &config).unwrap().expect("it runs")).collect();
        bells[2].signal().expect("room");
        assert_eq!(programs[1].bell(2).expect("three").drain().expect("readable"), 1);
        assert_eq!(programs[0].bell(2).expect("three").drain().expect("readable"), 0, "shared");
        assert_eq!(programs[0].vectors(), 3);
        stop.signal().expect("room");
        holder.join().expect("no panic").expect("ends in order");
        assert!(from_holder("f", &config).expect("no error").is_none(), "it ended");
    }
}
