//! A VM that is served: answers claims, runs a worker for each channel that is taken, takes channels back.

mod aide;
mod channel;

use super::{Context, TICK, VmError};
use crate::daemon;
use crate::daemon::limits::RateLimit;
use crate::logging::SharedCounts;
use crate::status::{ClientStatus, VmCounts, VmStatus};
use crate::vm::link::{FromHolder, Held, Holder, Monitors, ToHolder};
use crate::vm::{VECTORS, VmConfig};
use aide::{Aide, Calls};
use channel::Slot;
use ringbar::directory::{self, Assignments, CLAIMS_VECTOR, Constants, Nonce, Refused, Request};
use ringbar::lines::SharedLines;
use ringbar::os::{EventFd, Interest, Mapping};
use ringbar::region::{self, Channel, Place};
use rustix::fs::FallocateFlags;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// Claims that are answered in a second, as a long-term mean and as a burst.
const CLAIMS_PER_S: u32 = 20;
/// Doorbells about claims that are answered between two ticks; more wait for the tick, so that a storm costs next to nothing.
const BELLS_A_TICK: u32 = 16;
/// Words of the holder that are taken at one look.
const WORDS_A_LOOK: usize = 64;

/// A VM, as long as its holder lives.
pub(super) struct Serving {
    config: VmConfig,
    number: u64,
    holder: Holder,
    device: Device,
    aide: Aide,
    assignments: Assignments,
    slots: Vec<Slot>,
    rate: RateLimit,
    /// Doorbells about claims since the last tick.
    bells: u32,
    monitors: Monitors,
    /// Lines of the log that its workers wrote.
    log_lines: OwnedFd,
    /// What became of its programs.
    counts: VmCounts,
    /// Looks that found the directory written over.
    repaired: u64,
    ending: bool,
    /// How the holder ended.
    lost: Option<String>,
}

/// What the holder holds, as the daemon uses it.
struct Device {
    memory: OwnedFd,
    directory: SharedLines,
    constants: Constants,
    to_host: Vec<EventFd>,
    to_guest: Vec<EventFd>,
}

/// What only a thread of the VM's own calls: its monitor can make each of it last.
struct SharedCalls {
    vm: String,
    memory: OwnedFd,
    to_guest: Vec<EventFd>,
    /// First byte and bytes of each channel's arena.
    arenas: Vec<(u64, u64)>,
}

impl SharedCalls {
    fn of(vm: &str, memory: &OwnedFd, to_guest: &[EventFd], places: &[Place]) -> io::Result<Self> {
        let arena = |place: &Place| {
            (place.offset + place.identity.arena_offset, place.identity.arena_bytes)
        };
        Ok(Self {
            vm: vm.to_owned(),
            memory: memory.try_clone()?,
            to_guest: to_guest.to_vec(),
            arenas: places.iter().map(arena).collect(),
        })
    }
}

impl Calls for SharedCalls {
    fn ring(&mut self, vector: usize) {
        if let Err(error) = self.to_guest[vector].signal() {
            tracing::debug!(%error, vm = self.vm, "the guest's doorbell cannot be rung");
        }
    }

    fn give_back(&mut self, channel: usize) {
        let (offset, bytes) = self.arenas[channel];
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(error) = rustix::fs::fallocate(&self.memory, flags, offset, bytes) {
            tracing::warn!(%error, vm = self.vm, channel, "a channel's memory was not given back");
        }
    }
}

/// The vector of a channel, in both directions.
fn vector(channel: usize) -> usize {
    usize::from(directory::vector(channel, VECTORS as u16))
}

impl Device {
    /// The bells of a channel: its worker's and its guest's.
    fn bells(&self, channel: usize) -> (&EventFd, &EventFd) {
        let vector = vector(channel);
        (&self.to_host[vector], &self.to_guest[vector])
    }
}

impl Serving {
    /// Takes up what an earlier daemon left. `number` and the numbers after it, one a channel, name it in the daemon's waiter.
    pub fn new(
        config: VmConfig,
        number: u64,
        (holder, held): (Holder, Held),
        counts: VmCounts,
        context: &mut Context<'_>,
    ) -> Result<Self, VmError> {
        let sizes = config.sizes()?;
        let Held { memory, to_host, to_guest, channels, monitors, found } = held;
        let map = |source| VmError::Map { vm: config.name.clone(), source };
        let wrong = |source| VmError::Region { vm: config.name.clone(), source };
        let mapping = Arc::new(Mapping::memfd_attach(&memory).map_err(map)?);
        if !found {
            region::create(&mapping, &sizes, VmConfig::terms()).map_err(wrong)?;
        }
        let log_lines = SharedCounts::create(config.channels).map_err(map)?;
        let directory = region::directory_lines(&mapping).map_err(wrong)?;
        let places = region::places(&sizes, VmConfig::terms());
        let constants = config.layout()?;
        let is_whole = constants.repair(&directory) == 0;
        directory::beat(&directory);
        let given = channels.iter().map(|(kept, _)| kept.claimant.and_then(Nonce::new)).collect();
        let over: Vec<bool> = channels.iter().map(|(kept, _)| kept.vm_is_gone).collect();
        let thread = |source| VmError::Thread { vm: config.name.clone(), source };
        let calls = SharedCalls::of(&config.name, &memory, &to_guest, &places);
        let aide = calls.and_then(Aide::start).map_err(thread)?;
        let mut slots = Vec::with_capacity(sizes.len());
        for (index, (place, (kept, pidfd))) in places.into_iter().zip(channels).enumerate() {
            let channel = Channel::open(&mapping, place).map_err(wrong)?;
            slots.push(Slot::new(number + 1 + index as u64, channel, kept, pidfd, context.now));
        }
        let assignments = Assignments::resume(directory.clone(), given);
        let device = Device { memory, directory, constants, to_host, to_guest };
        let rate = RateLimit::new(CLAIMS_PER_S, context.now);
        let mut vm = Self {
            config,
            number,
            holder,
            device,
            aide,
            assignments,
            slots,
            rate,
            bells: 0,
            monitors,
            log_lines,
            counts,
            repaired: 0,
            ending: false,
            lost: None,
        };
        tracing::info!(
            vm = vm.config.name,
            found,
            connected = monitors.connected,
            holder = vm.holder.pid,
            "serving a VM"
        );
        let always = context.config.keep_devices;
        if let Err(error) = vm.holder.tell(&ToHolder::Stay { always }, None) {
            tracing::warn!(%error, vm = vm.config.name, "the holder was not told");
        }
        vm.watch_all(context);
        vm.take_up(&over, context);
        // A VM may have written over it while no daemon was there.
        if found && (!vm.is_there() || !is_whole) {
            vm.restore();
        }
        Ok(vm)
    }

    fn watch_all(&mut self, context: &mut Context<'_>) {
        let holder = self.holder.control().clone();
        context.watch(holder, self.number, daemon::HOLDER, Interest::Readable);
        let given_back = self.aide.given_back().fd().clone();
        context.watch(given_back, self.number, daemon::GIVEN_BACK, Interest::Doorbell);
        self.watch_claims(context);
    }

    fn watch_claims(&self, context: &mut Context<'_>) {
        let claims = self.device.to_host[usize::from(CLAIMS_VECTOR)].fd().clone();
        context.watch(claims, self.number, daemon::CLAIMS, Interest::Doorbell);
    }

    /// Workers of an earlier daemon go on; channels whose worker died meanwhile are marked, and freed if they are `over`: their
    /// VM has gone.
    fn take_up(&mut self, over: &[bool], context: &mut Context<'_>) {
        for (channel, &over) in over.iter().enumerate() {
            let over = over || !self.is_there();
            let slot = &mut self.slots[channel];
            if let Some(worker) = &slot.worker {
                let (pidfd, number) = (worker.pidfd().clone(), slot.number);
                context.watch(pidfd, number, daemon::WORKER, Interest::Readable);
                if over || self.assignments.holder(channel).is_none() {
                    slot.kill();
                }
            } else if self.assignments.holder(channel).is_some() {
                slot.channel.mark_lost();
                self.ring_guest(channel);
                if over {
                    self.free(channel);
                }
            } else {
                // The daemon before it may not have come to that.
                self.aide.give_back(channel);
            }
        }
    }

    /// Whether there is a VM, as far as can be known of one that never connects.
    fn is_there(&self) -> bool {
        self.monitors.connected || self.config.polled
    }

    /// Something of this VM's is ready.
    pub fn look_at(&mut self, number: u64, part: u64, context: &mut Context<'_>) {
        let channel = number.wrapping_sub(self.number + 1) as usize;
        match part {
            daemon::HOLDER if number == self.number => {
                self.listen_to_holder(context);
            }
            daemon::CLAIMS if number == self.number => {
                self.bells += 1;
                if self.bells == BELLS_A_TICK {
                    context.unwatch(self.number, daemon::CLAIMS);
                }
                self.answer_claims(context);
            }
            // Claims may have waited for it.
            daemon::GIVEN_BACK if number == self.number => self.answer_claims(context),
            daemon::WORKER if channel < self.slots.len() => self.worker_ended(channel, context),
            daemon::CONTROL if channel < self.slots.len() => {
                let slot = &mut self.slots[channel];
                let goes_on = slot.take_reports();
                self.counts.stalls.add(slot.take_stalls());
                if !goes_on {
                    context.unwatch(number, daemon::CONTROL);
                }
            }
            _ => {}
        }
    }

    /// False where it has more to say, or has ended: a monitor that comes and goes without end gets no more of a look than others.
    fn listen_to_holder(&mut self, context: &mut Context<'_>) -> bool {
        for _ in 0..WORDS_A_LOOK {
            match self.holder.next() {
                Ok(None) => return true,
                Ok(Some(FromHolder::Monitors { number, monitors })) => {
                    self.hear_of(monitors);
                    if let Err(error) = self.holder.tell(&ToHolder::Heard { number }, None) {
                        tracing::debug!(%error, vm = self.config.name, "the holder was not told");
                    }
                }
                Ok(Some(FromHolder::Refused { reason })) => {
                    tracing::info!(vm = self.config.name, reason, "the device stays");
                }
                Ok(Some(other)) => {
                    tracing::warn!(vm = self.config.name, "the holder says {other:?}")
                }
                Err(error) => {
                    self.holder_gone(&error, context);
                    return false;
                }
            }
        }
        false
    }

    /// A VM may have gone and the next one come since the last word.
    fn hear_of(&mut self, monitors: Monitors) {
        let before = std::mem::replace(&mut self.monitors, monitors);
        if monitors.gone != before.gone {
            self.vm_gone();
            self.restore();
        }
        if monitors.connected && (!before.connected || monitors.gone != before.gone) {
            tracing::info!(vm = self.config.name, "the VM's monitor connected");
            directory::beat(&self.device.directory);
        }
    }

    /// Behind a VM: whatever it wrote over the directory, the next one finds it whole and without claims. Not when that one
    /// connects, since it may have claimed a channel by then. Identities of channels are written anew with each generation.
    fn restore(&mut self) {
        self.repair();
        self.assignments.restore();
    }

    /// Programs begin with the directory: whatever one wrote over the host's words of it is written anew, so that the next one
    /// of the same VM, or its next boot, finds it.
    fn repair(&mut self) {
        let device = &self.device;
        let words = device.constants.repair(&device.directory) + self.assignments.repair();
        if words == 0 {
            return;
        }
        self.repaired += 1;
        // However long a program goes on with it, the lines in the log are few.
        if self.repaired.is_power_of_two() {
            let (vm, looks) = (&self.config.name, self.repaired);
            tracing::warn!(
                vm,
                words,
                looks,
                "a guest wrote over the directory: it is written anew"
            );
        }
    }

    /// The monitor is gone: so is everything that the guest had.
    fn vm_gone(&mut self) {
        tracing::info!(vm = self.config.name, "the VM's monitor is gone: its channels are freed");
        for channel in 0..self.slots.len() {
            self.slots[channel].kill();
            if self.slots[channel].worker.is_none() {
                // A claim that nobody answered goes as well.
                self.free(channel);
            }
        }
    }

    fn holder_gone(&mut self, error: &std::io::Error, context: &mut Context<'_>) {
        context.unwatch(self.number, daemon::HOLDER);
        context.unwatch(self.number, daemon::CLAIMS);
        self.holder.reap();
        if !self.ending {
            tracing::error!(%error, vm = self.config.name, "the VM's holder died, and the device of a running VM with it: a new one is made at the same socket; \
                 try: restart the VM, or unplug the device and plug it again through a new chardev, as VM.md says");
        }
        self.lost = Some(format!("its holder died: {error}"));
        self.monitors.connected = false;
        self.vm_gone();
    }

    fn answer_claims(&mut self, context: &mut Context<'_>) {
        // The holder tells of a VM that went before it greets the next one, whose claims are answered after that word.
        if self.lost.is_some() || !self.listen_to_holder(context) {
            return;
        }
        let requests: Vec<_> = self.assignments.requests().collect();
        for (channel, request) in requests {
            match request {
                Request::Asked(nonce) => self.answer(channel, nonce, context),
                Request::GivenBack => self.given_back(channel, context),
                Request::Contested(_) => {}
            }
        }
    }

    fn answer(&mut self, channel: usize, nonce: Nonce, context: &mut Context<'_>) {
        let refused = if self.ending {
            Some(Refused::Ending)
        } else if self.rate.take(context.now).is_err() {
            Some(Refused::TooMany)
        } else if self.slots[channel].worker.is_some() || self.aide.has(channel) {
            // Its last worker is not reaped yet, or its arena not given back: the claim waits.
            return;
        } else {
            self.begin(channel, nonce, context).err().map(|error| {
                tracing::error!(%error, vm = self.config.name, channel, "no worker for a claim");
                Refused::NoWorker
            })
        };
        if let Some(why) = refused {
            self.counts.claims_refused += 1;
            tracing::warn!(vm = self.config.name, channel, %why, "a claim was refused");
            self.assignments.refuse(channel, nonce, why);
        }
        self.ring_guest(channel);
    }

    /// The claimant no longer wants its channel. While its client lives this is somebody else's scribble.
    fn given_back(&mut self, channel: usize, context: &Context<'_>) {
        let slot = &mut self.slots[channel];
        if slot.worker.is_none() {
            self.free(channel);
        } else if !slot.is_attached() {
            slot.ask_to_end(context.now + context.config.limits.worker_end_limit);
        }
    }

    fn ring_guest(&self, channel: usize) {
        self.aide.ring(vector(channel));
    }

    /// Has the holder keep what the next daemon must know of a channel.
    fn keep(&self, channel: usize) -> std::io::Result<()> {
        let slot = &self.slots[channel];
        let kept = slot.kept(self.assignments.holder(channel));
        let worker = slot.worker.as_ref().map(|worker| worker.pidfd().as_fd());
        self.holder.tell(&ToHolder::Keep { channel, kept }, worker)
    }

    fn keep_if_possible(&self, channel: usize) {
        if self.lost.is_none()
            && let Err(error) = self.keep(channel)
        {
            tracing::warn!(%error, vm = self.config.name, "the holder was not told");
        }
    }

    /// Every 50 ms: the daemon's heartbeat, claims without a doorbell, hearts at rest.
    pub fn tick(&mut self, context: &mut Context<'_>) {
        if let Some(lasts) = self.aide.lasts() {
            tracing::warn!(
                ?lasts,
                vm = self.config.name,
                "ringing the guest, or giving back its memory, lasts: its programs wait longer, others do not; \
                 likely cause: its monitor writes to its eventfds, or zeroes its memory, without end"
            );
        }
        self.repair();
        directory::beat(&self.device.directory);
        if std::mem::take(&mut self.bells) >= BELLS_A_TICK && self.lost.is_none() {
            self.watch_claims(context);
        }
        self.answer_claims(context);
        let limit = context.config.limits.guest_heart_limit;
        let end_limit = context.config.limits.worker_end_limit;
        for channel in 0..self.slots.len() {
            if self.assignments.holder(channel).is_none() {
                continue;
            }
            let slot = &mut self.slots[channel];
            let silent = slot.silent();
            match &mut slot.worker {
                Some(worker) => {
                    worker.kill_if_due(context.now);
                    // It should have noticed by itself.
                    if silent > limit + end_limit && !slot.is_doomed() {
                        self.counts.channels_taken_back += 1;
                        slot.kill();
                    }
                }
                None if silent > limit => {
                    self.counts.channels_taken_back += 1;
                    tracing::info!(
                        vm = self.config.name,
                        channel,
                        "a silent program's channel is taken back"
                    );
                    self.free(channel);
                }
                None => {}
            }
        }
    }

    /// How its holder ended, once no worker is left that could write into the memory; with the counts.
    pub fn ended(&mut self) -> Option<(String, VmCounts)> {
        let why = self.lost.clone().filter(|_| !self.has_workers())?;
        Some((why, std::mem::take(&mut self.counts)))
    }

    fn has_workers(&self) -> bool {
        self.slots.iter().any(|slot| slot.worker.is_some())
    }

    /// When to [`tick`](Self::tick) next; never while there is no guest and nothing to end.
    pub fn next_tick(&self, now: Instant) -> Option<Instant> {
        (self.is_there() || self.has_workers()).then_some(now + TICK)
    }

    /// Ends in order: workers first, then the device, unless it is to stay or a VM has it, which could not connect again.
    pub fn end(&mut self, context: &Context<'_>) {
        self.ending = true;
        let kill_at = context.now + context.config.limits.worker_end_limit;
        self.slots.iter_mut().for_each(|slot| slot.ask_to_end(kill_at));
        self.end_holder(context.config.keep_devices);
    }

    fn end_holder(&self, keep: bool) {
        if !keep && !self.is_there() && self.is_over() && self.lost.is_none() {
            // If it is gone already, all the better.
            let _ = self.holder.tell(&ToHolder::EndIfUnused, None);
        }
    }

    /// Whether it was ended and no worker is left.
    pub fn is_over(&self) -> bool {
        self.ending && !self.has_workers()
    }

    /// Says to `status` how things are.
    pub fn tell(&self, status: &mut VmStatus) {
        let taken = |channel: &usize| self.assignments.holder(*channel).is_some();
        status.holder_pid = self.holder.pid;
        status.connected = self.is_there();
        status.taken = (0..self.slots.len()).filter(taken).count();
        status.monitors_refused = self.monitors.refused;
        status.monitors_gone = self.monitors.gone;
        status.counts = self.counts.clone();
        status.directory_repaired = self.repaired;
        if let Some(why) = &self.lost {
            status.holder_pid = 0;
            status.unserved = Some(format!("{why}; its workers have not ended yet"));
        }
    }

    /// Its channels that somebody has, as clients.
    pub fn clients(&self, now: Instant) -> Vec<ClientStatus> {
        let taken = (0..self.slots.len()).filter(|&c| self.assignments.holder(c).is_some());
        taken.map(|channel| self.slots[channel].status(&self.config.name, channel, now)).collect()
    }
}
