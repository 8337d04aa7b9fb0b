//! Waking a peer that sleeps.
//!
//! A doorbell is rung only for a peer that said it sleeps (see the protocol's section on sleeping), so none of this is
//! on the hot path: a wake-up of a halted virtual CPU costs tens of microseconds, whatever primitive carries it.
//!
//! # What a hostile peer can do to an eventfd
//!
//! Both sides hold the same open file description, so the peer can clear its `O_NONBLOCK` flag, drain it and saturate
//! it. [`EventFd::drain`] reads with `RWF_NOWAIT`, which no flag of the description overrides, so it never blocks. Writing
//! has no such form, so [`EventFd::signal`] looks at the flag first, and where it was cleared sets it again and asks
//! whether a write would block. What is left is a race: a peer that saturates the counter and clears the flag just
//! between that look and the write makes the write block, until somebody reads the counter or the flag is set again.
//! A client rings with no lock held, so it blocks that one post; another thread that learns of the worker's death ends it
//! ([`Doorbell::relieve`]). A worker serves one client, and the daemon, not the worker, decides when a worker whose client
//! is gone is killed.

use super::map_error::MapError;
use super::mapping::Mapping;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// How a peer is woken, for status output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DoorbellKind {
    /// A write to an eventfd.
    EventFd,
    /// A store into a device register, which the host's KVM turns into an eventfd.
    Mmio,
    /// None: the peer polls.
    None,
}

/// Something that wakes a sleeping peer.
pub trait Doorbell: Send + Sync {
    /// Wakes the peer, or makes its next sleep end at once. Ringing twice is the same as ringing once.
    fn ring(&self) -> io::Result<()>;

    /// The peer is gone: a thread that a system call of [`ring`](Self::ring) holds is let go.
    fn relieve(&self) {}

    /// How.
    fn kind(&self) -> DoorbellKind;
}

/// An eventfd: one side signals it, the other waits for it to be readable and drains it.
///
/// Cloning shares the descriptor.
#[derive(Clone, Debug)]
pub struct EventFd {
    fd: Arc<OwnedFd>,
}

impl EventFd {
    /// A new one with a count of zero; non-blocking, closed on exec.
    pub fn new() -> io::Result<Self> {
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// Takes one that a peer or another process passed, and makes it non-blocking.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        set_nonblocking(fd.as_fd())?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// Makes the waiting side's wait end.
    ///
    /// A saturated counter is success: whoever waits has a wake pending already. Does not block, but for the race that the
    /// module's documentation tells of.
    pub fn signal(&self) -> io::Result<()> {
        if set_nonblocking(self.as_fd())? && !has_room(self.as_fd())? {
            return Ok(());
        }
        loop {
            match rustix::io::write(&*self.fd, &1u64.to_ne_bytes()) {
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Sets the count back to zero and says what it was; zero if nobody signalled. Never blocks.
    pub fn drain(&self) -> io::Result<u64> {
        drain(self.fd.as_fd())
    }

    /// The descriptor, for a [`Waiter`](super::Waiter).
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sets `O_NONBLOCK`; whether that had to be done.
fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    let blocks = !flags.contains(OFlags::NONBLOCK);
    if blocks {
        rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    }
    Ok(blocks)
}

/// Whether a write would not block now.
fn has_room(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    rustix::event::poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(asked[0].revents().contains(PollFlags::OUT))
}

/// [`EventFd::drain`] for a descriptor that is only borrowed.
pub(super) fn drain(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut count = [0u8; 8];
    loop {
        let mut buffers = [io::IoSliceMut::new(&mut count)];
        // An offset of -1: at the current position, which an eventfd does not have.
        let read = rustix::io::preadv2(fd, &mut buffers, u64::MAX, ReadWriteFlags::NOWAIT);
        let read = match read {
            // Kernels before 5.8 know no such flag for an eventfd.
            Err(Errno::OPNOTSUPP) => rustix::io::read(fd, &mut count),
            other => other,
        };
        match read {
            Ok(8) => return Ok(u64::from_ne_bytes(count)),
            Ok(_) | Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Wakes a peer by writing to an eventfd that it waits for.
#[derive(Clone, Debug)]
pub struct EventFdDoorbell(pub EventFd);

impl Doorbell for EventFdDoorbell {
    fn ring(&self) -> io::Result<()> {
        self.0.signal()
    }

    fn relieve(&self) {
        // A counter that cannot be read holds nobody.
        let _ = self.0.drain();
    }

    fn kind(&self) -> DoorbellKind {
        DoorbellKind::EventFd
    }
}

/// Wakes a peer by a 32-bit store into a device register.
#[derive(Clone, Debug)]
pub struct MmioDoorbell {
    registers: Arc<Mapping>,
    offset: usize,
    value: u32,
}

impl MmioDoorbell {
    /// Offset of the doorbell register in BAR 0 of an ivshmem-doorbell device, in bytes.
    pub const IVSHMEM_OFFSET: usize = 12;

    /// Rings by storing `value` at `offset` (a multiple of 4) of `registers`.
    pub fn new(registers: Arc<Mapping>, offset: usize, value: u32) -> Result<Self, MapError> {
        registers.check_register_u32(offset)?;
        Ok(Self { registers, offset, value })
    }

    /// The doorbell of an ivshmem-doorbell device: `bar0` is its register BAR, `peer` the number of the side to wake (the
    /// host is 0), `vector` which of that side's eventfds.
    pub fn ivshmem(bar0: Arc<Mapping>, peer: u16, vector: u16) -> Result<Self, MapError> {
        Self::new(bar0, Self::IVSHMEM_OFFSET, u32::from(peer) << 16 | u32::from(vector))
    }
}

impl Doorbell for MmioDoorbell {
    fn ring(&self) -> io::Result<()> {
        self.registers.store_register_u32(self.offset, self.value).map_err(io::Error::other)
    }

    fn kind(&self) -> DoorbellKind {
        DoorbellKind::Mmio
    }
}

/// For a peer that polls: ringing does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDoorbell;

impl Doorbell for NoDoorbell {
    fn ring(&self) -> io::Result<()> {
        Ok(())
    }

    fn kind(&self) -> DoorbellKind {
        DoorbellKind::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers() -> Arc<Mapping> {
        Arc::new(Mapping::heap(256).unwrap())
    }

    fn bytes(mapping: &Mapping, offset: usize) -> [u8; 4] {
        // SAFETY: heap memory of this test, initialised, inside the mapping, with no other user.
        unsafe { mapping.ptr_at(offset, 4).unwrap().cast::<[u8; 4]>().read() }
    }

    #[test]
    fn an_ivshmem_doorbell_stores_peer_and_vector_at_offset_12() {
        let bar0 = registers();
        let bell = MmioDoorbell::ivshmem(Arc::clone(&bar0), 0x0102, 0x0304).unwrap();
        bell.ring().unwrap();
        assert_eq!(u32::from_ne_bytes(bytes(&bar0, 12)), 0x0102_0304);
        assert_eq!((bytes(&bar0, 8), bytes(&bar0, 16)), ([0; 4], [0; 4]));
        assert_eq!(bell.kind(), DoorbellKind::Mmio);
    }

    #[test]
    fn a_register_outside_the_bar_or_askew_is_refused_when_the_bell_is_made() {
        assert!(matches!(MmioDoorbell::new(registers(), 256, 1), Err(MapError::Range { .. })));
        assert!(matches!(MmioDoorbell::new(registers(), 14, 1), Err(MapError::Misaligned { .. })));
    }

    #[test]
    fn no_doorbell_rings_without_effect() {
        NoDoorbell.ring().unwrap();
        assert_eq!(NoDoorbell.kind(), DoorbellKind::None);
    }

    #[cfg(not(miri))]
    mod kernel {
        use super::*;

        #[test]
        fn signals_add_up_and_are_drained_at_once() {
            let bell = EventFdDoorbell(EventFd::new().unwrap());
            assert_eq!(bell.0.drain().unwrap(), 0);
            for _ in 0..3 {
                bell.ring().unwrap();
            }
            assert_eq!(bell.0.drain().unwrap(), 3);
            assert_eq!(bell.0.drain().unwrap(), 0);
            assert_eq!(bell.kind(), DoorbellKind::EventFd);
        }

        #[test]
        fn ringing_a_saturated_eventfd_is_success() {
            let event = EventFd::new().unwrap();
            rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
            event.signal().unwrap();
            assert_eq!(event.drain().unwrap(), u64::MAX - 1);
        }

        #[test]
        fn draining_does_not_block_when_the_peer_cleared_the_non_blocking_flag() {
            let event = EventFd::new().unwrap();
            let theirs = event.as_fd().try_clone_to_owned().unwrap();
            rustix::fs::fcntl_setfl(&theirs, OFlags::empty()).unwrap();
            assert_eq!(event.drain().unwrap(), 0);
        }

        #[test]
        fn ringing_does_not_block_when_the_peer_cleared_the_non_blocking_flag_and_saturated_it() {
            let event = EventFd::new().unwrap();
            rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
            rustix::fs::fcntl_setfl(&event, OFlags::empty()).unwrap();
            event.signal().unwrap();
            rustix::fs::fcntl_setfl(&event, OFlags::empty()).unwrap();
            assert_eq!(event.drain().unwrap(), u64::MAX - 1);
            event.signal().unwrap();
            assert_eq!(event.drain().unwrap(), 1, "one that has room is rung");
        }

        #[test]
        fn a_ring_that_blocks_is_let_go_when_the_peer_is_gone() {
            let event = EventFd::new().unwrap();
            rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
            let bell = EventFdDoorbell(event.clone());
            // As if the race was lost: behind the look, before the write.
            rustix::fs::fcntl_setfl(&event, OFlags::empty()).unwrap();
            let blocked =
                std::thread::spawn(move || rustix::io::write(&event, &1u64.to_ne_bytes()));
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!blocked.is_finished());
            bell.relieve();
            assert_eq!(blocked.join().unwrap().unwrap(), 8);
        }

        #[test]
        fn a_blocking_eventfd_is_made_non_blocking_when_taken_over() {
            let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
            let event = EventFd::from_fd(fd).unwrap();
            let flags = rustix::fs::fcntl_getfl(&event).unwrap();
            assert!(flags.contains(OFlags::NONBLOCK));
        }

        #[test]
        fn a_doorbell_that_is_no_eventfd_is_an_error_when_rung() {
            let (reader, _writer) = rustix::pipe::pipe().unwrap();
            assert!(EventFd::from_fd(reader).unwrap().signal().is_err());
        }
    }
}
