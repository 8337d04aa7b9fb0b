//! Waiting by io_uring.

use super::{Interest, ReadySet, Source, Waiter, token_in_use};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::PollFlags;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

/// Entries of the submission queue; more sources are armed in several steps.
const ENTRIES: u32 = 64;

/// Longer waits are cut to this, so that the kernel can count them.
const TIMEOUT_MAX: Duration = Duration::from_secs(1 << 30);

/// Marks the completion of a cancellation, which nobody waits for. No slot has this number.
const CANCELLED: u64 = u64::MAX;

/// Waits by io_uring: one system call a wait, however many sources are idle.
///
/// # Which form, and why
///
/// Each source is a one-shot `POLL_ADD`, armed again by the next wait's own system call after it fired. That keeps the
/// semantics of `poll(2)` (what is still ready is reported again), leaves sources that did not fire untouched in the
/// kernel, and bounds what a doorbell storm can do: one completion a wait. A multishot poll is edge-triggered, so a source
/// that was not emptied would be forgotten, and a storm fills the completion queue. `READ` on the eventfd saves the drain,
/// but needs a blocking descriptor (a non-blocking one completes with `EAGAIN` at once), and that flag is in the hands
/// of the peer.
///
/// # Threads
///
/// The ring belongs to the thread that waits (`SINGLE_ISSUER` with `DEFER_TASKRUN`, where the kernel has them: a
/// wake-up then interrupts nobody). When another thread waits, the ring is made anew with the same sources.
#[derive(Debug)]
pub struct UringWaiter {
    ring: Option<Ring>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots with a source that is not armed in `ring`.
    unarmed: Vec<u32>,
}

/// Invariant: `source` stays in place while `armed`, so the kernel polls an open descriptor of ours.
#[derive(Debug)]
struct Slot {
    source: Option<Source>,
    /// Counts the sources that this slot had, so that a late completion of an earlier one is told apart.
    generation: u32,
    armed: bool,
}

struct Ring {
    uring: IoUring,
    owner: ThreadId,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl UringWaiter {
    /// Without sources. Fails where the kernel has no io_uring, forbids it, or is older than 5.11.
    pub fn new() -> io::Result<Self> {
        let ring = Some(Ring::new()?);
        Ok(Self { ring, slots: vec![], free: vec![], unarmed: vec![] })
    }

    /// All sources, for another waiter; leaves none.
    pub(super) fn take_sources(&mut self) -> impl Iterator<Item = Source> {
        self.ring = None;
        self.unarmed.clear();
        self.free.clear();
        std::mem::take(&mut self.slots).into_iter().filter_map(|slot| slot.source)
    }

    fn find(&self, token: u64) -> Option<usize> {
        let has = |slot: &Slot| slot.source.as_ref().is_some_and(|source| source.token == token);
        self.slots.iter().position(has)
    }

    /// A slot without a source, and room to note it as unarmed without allocating later.
    fn free_slot(&mut self) -> u32 {
        if let Some(index) = self.free.pop() {
            return index;
        }
        self.slots.push(Slot { source: None, generation: 0, armed: false });
        self.unarmed.reserve(self.slots.len());
        (self.slots.len() - 1) as u32
    }

    /// The ring of this thread; a new one with nothing armed if there is none.
    fn prepare(&mut self) -> io::Result<()> {
        let here = std::thread::current().id();
        if self.ring.as_ref().is_some_and(|ring| ring.owner == here) {
            return Ok(());
        }
        self.ring = None;
        self.unarmed.clear();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.armed = false;
            if slot.source.is_some() {
                self.unarmed.push(index as u32);
            }
        }
        self.ring = Some(Ring::new()?);
        Ok(())
    }

    /// Queues a poll for each source that has none.
    fn arm(&mut self) -> io::Result<()> {
        let Some(ring) = &mut self.ring else { return Ok(()) };
        while let Some(index) = self.unarmed.pop() {
            let slot = &mut self.slots[index as usize];
            if let Some(source) = &slot.source {
                ring.push(&poll_entry(source, user_data(index, slot.generation)))?;
                slot.armed = true;
            }
        }
        Ok(())
    }

    /// Takes all completions and hands what was found to `report`.
    fn reap(&mut self, mut report: impl FnMut(&Source, PollFlags)) {
        let Some(ring) = &mut self.ring else { return };
        for completion in ring.uring.completion() {
            let (index, generation) = slot_of(completion.user_data());
            let Some(slot) = self.slots.get_mut(index as usize) else { continue };
            if slot.generation != generation || !slot.armed {
                continue;
            }
            slot.armed = false;
            self.unarmed.push(index);
            if let (Some(source), Some(found)) = (&slot.source, found(&completion)) {
                report(source, found);
            }
        }
    }

    /// Withdraws the poll of a slot from the kernel, so that it lets go of the descriptor.
    fn cancel(&mut self, index: u32) {
        let here = std::thread::current().id();
        let user_data = user_data(index, self.slots[index as usize].generation);
        let cancelled = match &mut self.ring {
            Some(ring) if ring.owner == here => ring.cancel(user_data),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        match cancelled {
            // What else is ready stays so, and is found again when it is armed again.
            Ok(()) => self.reap(|_, _| {}),
            // Closing the ring withdraws everything; the next wait makes a new one.
            Err(_) => self.ring = None,
        }
    }
}

/// What a completion found; `None` for a cancelled poll, which is armed again.
fn found(completion: &cqueue::Entry) -> Option<PollFlags> {
    match completion.result() {
        mask if mask > 0 => Some(PollFlags::from_bits_retain(mask as _)),
        0 => None,
        error if error == -libc::ECANCELED => None,
        _ => Some(PollFlags::ERR),
    }
}

fn user_data(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn slot_of(user_data: u64) -> (u32, u32) {
    (user_data as u32, (user_data >> 32) as u32)
}

fn poll_entry(source: &Source, user_data: u64) -> squeue::Entry {
    // The bits are 16, signed in one of rustix's two forms.
    let flags = i64::from(source.interest.poll_flags().bits()) as u32;
    opcode::PollAdd::new(Fd(source.fd.as_raw_fd()), flags).build().user_data(user_data)
}

impl Ring {
    fn new() -> io::Result<Self> {
        let mut modern = IoUring::builder();
        modern.setup_single_issuer().setup_defer_taskrun().dontfork();
        let uring = match modern.build(ENTRIES) {
            // Kernels before 6.1 know no such flags.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => IoUring::new(ENTRIES)?,
            other => other?,
        };
        if !uring.params().is_feature_ext_arg() || !uring.params().is_feature_nodrop() {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        Ok(Self { uring, owner: std::thread::current().id() })
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the entries used here name no memory, and a poll's descriptor is kept open by its slot.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.uring.submit()?;
        }
    }

    /// Submits what is queued and waits for a completion.
    fn enter(&self, timeout: Option<Duration>) -> io::Result<()> {
        let submitter = self.uring.submitter();
        let result = match timeout {
            Some(time) => {
                let limit = Timespec::from(time.min(TIMEOUT_MAX));
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&limit))
            }
            None => submitter.submit_and_wait(1),
        };
        match result {
            Ok(_) => Ok(()),
            Err(e) if is_no_failure(&e) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn cancel(&mut self, user_data: u64) -> io::Result<()> {
        self.push(&opcode::PollRemove::new(user_data).build().user_data(CANCELLED))?;
        self.enter(Some(Duration::ZERO))
    }
}

/// The time ran out, a signal came, or completions have to be taken first.
fn is_no_failure(error: &io::Error) -> bool {
    let expected = [libc::ETIME, libc::EINTR, libc::EBUSY];
    error.raw_os_error().is_some_and(|errno| expected.contains(&errno))
}

impl Waiter for UringWaiter {
    fn add(&mut self, fd: Arc<OwnedFd>, token: u64, interest: Interest) -> io::Result<()> {
        if self.find(token).is_some() {
            return Err(token_in_use(token));
        }
        let index = self.free_slot();
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.source = Some(Source { token, fd, interest });
        self.unarmed.push(index);
        Ok(())
    }

    fn remove(&mut self, token: u64) -> bool {
        let Some(at) = self.find(token) else { return false };
        if self.slots[at].armed {
            self.cancel(at as u32);
        }
        self.slots[at].armed = false;
        self.slots[at].source = None;
        self.unarmed.retain(|&index| index as usize != at);
        self.free.push(at as u32);
        true
    }

    fn sources(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut ReadySet) -> io::Result<()> {
        ready.reset(self.sources());
        self.prepare()?;
        let entered =
            self.arm().and_then(|()| self.ring.as_ref().map_or(Ok(()), |r| r.enter(timeout)));
        if let Err(e) = entered {
            // Unknown what was submitted: the next wait starts from a new ring.
            self.ring = None;
            return Err(e);
        }
        self.reap(|source, found| ready.entries.push(source.ready(found)));
        Ok(())
    }
}
