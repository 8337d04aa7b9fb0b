//! How a program of a virtual machine waits, and how it learns that the other side is gone: no file descriptor tells it.

use super::claim::Lease;
use super::device::Device;
use super::hold::HolderEnd;
use super::vfio::Interrupts;
use crate::client::ClientPark;
use crate::directory;
use crate::error::ChannelError;
use crate::hub::Park;
use crate::layout::line;
use crate::lines::{Lines, SharedLines};
use crate::os::doorbell::EventFd;
use crate::os::waiter::{Interest, PollWaiter, ReadySet, Waiter};
use crate::park::PolledPark;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use core::time::Duration;
use std::path::PathBuf;
use std::time::Instant;

/// Two looks further apart than this say nothing about the time between them: this side may have been stopped.
const LOOK_GAP_MAX: Duration = Duration::from_millis(200);

/// Time between two looks at sysfs.
const LOOK_AT_SYSFS: Duration = Duration::from_millis(100);

const BELL: u64 = 0;
const RELEASE: u64 = 1;

/// Waits by naps, or by an interrupt where this program has them.
pub(super) struct GuestPark {
    wait: Wait,
    header: SharedLines,
    directory: SharedLines,
    /// The function's folder in sysfs.
    folder: Option<PathBuf>,
    /// Whoever has the function open for all programs.
    holder: Option<Arc<Interrupts>>,
    hearts: Mutex<Hearts>,
    /// How long both hearts may rest.
    silence: Duration,
    /// When sysfs was looked at last.
    looked: Mutex<Instant>,
    released: AtomicBool,
    /// Given back last, when nothing is written any more.
    lease: Mutex<Option<Lease>>,
}

enum Wait {
    Naps(PolledPark),
    Interrupts(Box<OnInterrupt>),
}

struct OnInterrupt {
    bell: EventFd,
    rung: AtomicBool,
    state: Mutex<(PollWaiter, ReadySet)>,
    interrupts: Arc<Interrupts>,
}

/// The heartbeats that were seen last, and for how long they have rested while somebody looked.
struct Hearts {
    beats: (u64, u64),
    looked: Instant,
    silent: Duration,
}

impl OnInterrupt {
    fn new(interrupts: &Arc<Interrupts>, vector: u16) -> std::io::Result<Option<Self>> {
        let Some(bell) = interrupts.bell(vector).cloned() else { return Ok(None) };
        let mut waiter = PollWaiter::new();
        waiter.add(Arc::clone(bell.fd()), BELL, Interest::Readable)?;
        if let Some(release) = interrupts.release() {
            waiter.add(Arc::clone(release.fd()), RELEASE, Interest::Readable)?;
        }
        Ok(Some(Self {
            bell,
            rung: AtomicBool::new(false),
            state: Mutex::new((waiter, ReadySet::with_capacity(2))),
            interrupts: Arc::clone(interrupts),
        }))
    }

    /// True if the function is to be given back.
    fn park(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (waiter, ready) = &mut *state;
        if waiter.wait(Some(timeout), ready).is_err() {
            // Never spin on a descriptor that cannot be waited for.
            std::thread::sleep(timeout.min(Duration::from_millis(1)));
            return false;
        }
        if ready.get(BELL).is_some() {
            self.rung.store(true, Ordering::Relaxed);
        }
        ready.get(RELEASE).is_some()
    }
}

impl GuestPark {
    pub(super) fn new(
        device: &Device,
        header: SharedLines,
        lease: Lease,
        silence: Duration,
    ) -> Result<Self, ChannelError> {
        let lines = &device.directory.lines;
        let vector = directory::vector(lease.channel, directory::doorbells(lines));
        let interrupt = device.interrupts.as_ref().map(|all| OnInterrupt::new(all, vector));
        let interrupt = interrupt.transpose();
        let interrupt =
            interrupt.map_err(|e| ChannelError::io("setting up the wait for interrupts", e))?;
        let wait = interrupt.flatten().map_or_else(
            || Wait::Naps(PolledPark::default()),
            |interrupt| Wait::Interrupts(Box::new(interrupt)),
        );
        let hearts = Hearts { beats: (0, 0), looked: Instant::now(), silent: Duration::ZERO };
        Ok(Self {
            wait,
            header,
            directory: lines.clone(),
            folder: device.folder(),
            holder: device.holder.clone(),
            hearts: Mutex::new(hearts),
            silence,
            looked: Mutex::new(Instant::now()),
            released: AtomicBool::new(false),
            lease: Mutex::new(Some(lease)),
        })
    }

    /// Neither the worker's heart nor the daemon's has moved for the limit, as far as was looked.
    fn hearts_rest(&self) -> bool {
        let worker = self.header.load(line::HOST_STATUS, 1, Ordering::Relaxed);
        let beats = (worker, directory::heartbeat(&self.directory));
        let mut hearts = self.hearts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let gap = hearts.looked.elapsed();
        hearts.looked = Instant::now();
        if beats != hearts.beats {
            hearts.beats = beats;
            hearts.silent = Duration::ZERO;
        } else {
            hearts.silent += gap.min(LOOK_GAP_MAX);
        }
        hearts.silent >= self.silence
    }

    /// The device is gone (sysfs has no such function), or the holder of its interrupts. Looked at now and then, and at once
    /// where the memory reads as ones, or as the zeros that took its place.
    fn lost(&self) -> Option<ChannelError> {
        let state = self.header.load(line::HOST_STATUS, 0, Ordering::Relaxed);
        let empty = state == 0 || state == u64::MAX;
        let mut looked = self.looked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !empty && looked.elapsed() < LOOK_AT_SYSFS {
            return None;
        }
        *looked = Instant::now();
        // The memory goes with this file; the rest of the folder goes later.
        if self.folder.as_ref().is_some_and(|folder| !folder.join("resource2").exists()) {
            return Some(ChannelError::Unplugged);
        }
        let end = self.holder.as_ref()?.holder_end()?;
        Some(match end {
            HolderEnd::Unplugged => ChannelError::Unplugged,
            HolderEnd::Gone => ChannelError::HolderEnded,
        })
    }
}

impl Park for GuestPark {
    fn prepare(&self) {
        if let Wait::Interrupts(interrupt) = &self.wait
            && interrupt.rung.swap(false, Ordering::Relaxed)
        {
            // Failing to drain costs one empty wake-up.
            let count = interrupt.bell.drain().unwrap_or(0);
            interrupt.interrupts.received.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn park(&self, timeout: Duration) {
        match &self.wait {
            Wait::Naps(naps) => naps.park(timeout),
            Wait::Interrupts(interrupt) => {
                if interrupt.park(timeout) {
                    self.released.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

impl ClientPark for GuestPark {
    fn peer_gone(&self) -> bool {
        let lease = self.lease.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let holds = lease.as_ref().is_some_and(Lease::holds);
        drop(lease);
        !holds || self.hearts_rest()
    }

    fn left(&self) {
        self.lease.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }

    fn ended(&self) -> Option<ChannelError> {
        if self.released.load(Ordering::Relaxed) {
            return Some(ChannelError::Unplugged);
        }
        self.lost()
    }

    fn wants_doorbell(&self) -> bool {
        matches!(self.wait, Wait::Interrupts(_))
    }
}
