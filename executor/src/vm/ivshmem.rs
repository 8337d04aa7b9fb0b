//! The ivshmem server's side of the device socket: one way, numbers of eight little-endian bytes, descriptors beside them.
//!
//! A monitor that connects is told the protocol's version (0), its own number, the shared memory (-1 and a descriptor), then
//! one line for each doorbell of each peer: the peer's number and an eventfd. Here the host is peer 0 and the guest peer 1,
//! and there are no others. A monitor that is not to be served is told a version that does not exist.

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

/// The version that every monitor speaks.
const VERSION: i64 = 0;
/// Said in the place of the version to a monitor that is refused. QEMU ends then, or goes on without a device that was to be
/// plugged, and says "server sent version -2, expecting 0"; where the connection is only closed, it reads for ever.
pub const REFUSAL: i64 = -2;
/// Announces the memory.
const MEMORY: i64 = -1;
/// The number of the host.
pub const HOST: i64 = 0;
/// The number of the guest.
pub const GUEST: i64 = 1;

/// Tells a monitor, without waiting, everything that it has to know: the memory, what the guest rings, and what rings the
/// guest.
///
/// # Errors
/// If the monitor is gone or does not read.
pub fn greet<'fd>(
    monitor: impl AsFd,
    memory: BorrowedFd<'fd>,
    to_host: impl Iterator<Item = BorrowedFd<'fd>>,
    to_guest: impl Iterator<Item = BorrowedFd<'fd>>,
) -> io::Result<()> {
    send(&monitor, VERSION, None)?;
    send(&monitor, GUEST, None)?;
    send(&monitor, MEMORY, Some(memory))?;
    let to_host = to_host.map(|bell| (HOST, bell));
    let to_guest = to_guest.map(|bell| (GUEST, bell));
    to_host.chain(to_guest).try_for_each(|(peer, bell)| send(&monitor, peer, Some(bell)))
}

/// Tells a monitor, without waiting, that it gets no device. Its connection is to be closed then.
///
/// # Errors
/// If the monitor is gone.
pub fn refuse(monitor: impl AsFd) -> io::Result<()> {
    send(monitor, REFUSAL, None)
}

fn send(monitor: impl AsFd, number: i64, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.into_iter().collect();
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let bytes = number.to_le_bytes();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = rustix::net::sendmsg(monitor, &[IoSlice::new(&bytes)], &mut control, flags)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar::os::EventFd;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    use std::io::IoSliceMut;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn receive(socket: &UnixStream) -> (i64, Option<OwnedFd>) {
        let mut bytes = [0; 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        rustix::net::recvmsg(socket, &mut buffers, &mut control, flags).unwrap();
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        (i64::from_le_bytes(bytes), fd)
    }

    #[test]
    fn a_monitor_hears_version_number_memory_and_doorbells_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bells: Vec<_> = (0..4).map(|_| EventFd::new().unwrap()).collect();
        let (memory, _) = rustix::pipe::pipe().unwrap();
        let (to_host, to_guest) = bells.split_at(2);
        greet(
            &ours,
            memory.as_fd(),
            to_host.iter().map(AsFd::as_fd),
            to_guest.iter().map(AsFd::as_fd),
        )
        .unwrap();
        let heard: Vec<_> = (0..7).map(|_| receive(&theirs)).collect();
        let numbers: Vec<_> = heard.iter().map(|(number, fd)| (*number, fd.is_some())).collect();
        let expected =
            [(0, false), (1, false), (-1, true), (0, true), (0, true), (1, true), (1, true)];
        assert_eq!(numbers, expected);
        let last = EventFd::from_fd(heard.into_iter().next_back().unwrap().1.unwrap()).unwrap();
        last.signal().unwrap();
        assert_eq!(
            bells[3].drain().unwrap(),
            1,
            "the fourth descriptor is the guest's second bell"
        );
    }
}
