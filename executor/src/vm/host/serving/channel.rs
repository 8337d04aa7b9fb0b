//! One channel of a VM: given to a claimant with a worker, and taken back.

use super::{Context, Serving};
use crate::daemon;
use crate::daemon::process::{EndKind, Ending, WorkerProcess};
use crate::daemon::told::Told;
use crate::failpoints::{self, Point, Side};
use crate::job::{ClientKind, Job};
use crate::status::{ClientStatus, CounterStatus, Stalls};
use crate::vm::link::{Kept, ToHolder};
use ringbar::counters::Counters;
use ringbar::directory::Nonce;
use ringbar::os::Interest;
use ringbar::park::ClientHeart;
use ringbar::region::{Channel, State};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// One channel as the daemon holds it.
pub(super) struct Slot {
    /// Names it in the daemon's waiter.
    pub number: u64,
    pub channel: Channel,
    pub worker: Option<WorkerProcess>,
    generation: u32,
    heart: ClientHeart,
    /// It is freed as soon as its worker is reaped, whatever its claimant does.
    doomed: bool,
    taken: Instant,
    told: Told,
    /// For how long the claimant's heart had rested at the last look.
    silent: Duration,
}

impl Slot {
    /// A channel as the holder kept it.
    pub fn new(
        number: u64,
        channel: Channel,
        kept: Kept,
        pidfd: Option<OwnedFd>,
        now: Instant,
    ) -> Self {
        let worker = kept.worker_pid.zip(pidfd);
        Self {
            number,
            heart: ClientHeart::new(&channel),
            channel,
            worker: worker.map(|(pid, pidfd)| WorkerProcess::adopt(pid, pidfd)),
            generation: kept.generation,
            doomed: false,
            taken: now,
            told: Told::default(),
            silent: Duration::ZERO,
        }
    }

    pub fn kept(&self, claimant: Option<Nonce>) -> Kept {
        Kept {
            generation: self.generation,
            claimant: claimant.map(Nonce::get),
            worker_pid: self.worker.as_ref().map(WorkerProcess::pid),
            vm_is_gone: false,
        }
    }

    /// Ends its worker at once; the channel is free once that is reaped.
    pub fn kill(&mut self) {
        self.doomed = true;
        self.worker.iter_mut().for_each(WorkerProcess::kill);
    }

    /// Whether its worker was told to end.
    pub fn is_doomed(&self) -> bool {
        self.doomed
    }

    /// Asks its worker to end; the channel is free once that is reaped.
    pub fn ask_to_end(&mut self, kill_at: Instant) {
        if !std::mem::replace(&mut self.doomed, true) {
            self.worker.iter_mut().for_each(|worker| worker.ask_to_end(kill_at));
        }
    }

    /// Whether a client is attached in the present generation, as it says itself.
    pub fn is_attached(&self) -> bool {
        self.channel.client_state() == (State::Running, self.generation)
    }

    /// For how long the claimant's heart has rested.
    pub fn silent(&mut self) -> Duration {
        self.silent = self.heart.silent();
        self.silent
    }

    /// Takes what the worker reported. False when no more will come.
    pub fn take_reports(&mut self) -> bool {
        let Some(worker) = &self.worker else { return false };
        self.told.take_reports(worker)
    }

    /// Commands that lasted, as far as they were told since the last question.
    pub fn take_stalls(&mut self) -> Stalls {
        self.told.take_stalls()
    }

    pub fn status(&self, vm: &str, channel: usize, now: Instant) -> ClientStatus {
        let counters = Counters::read(&self.channel.header);
        let state = match &self.worker {
            Some(_) => format!("{:?}", self.channel.host_state().0).to_lowercase(),
            None => "waiting".to_owned(),
        };
        let (waiter, waiter_reason) = self.told.waiter.clone().unzip();
        ClientStatus {
            session: self.number,
            name: format!("{vm}, channel {channel}"),
            vm: Some(vm.to_owned()),
            channel: Some(channel),
            silent_ms: Some(self.silent.as_millis() as u64),
            client_pid: 0,
            worker_pid: self.worker.as_ref().map(WorkerProcess::pid),
            generation: self.generation,
            state,
            stalled: self.told.stalled(now),
            uptime_s: now.duration_since(self.taken).as_secs_f64(),
            wake: "fence".into(),
            waiter,
            waiter_reason: waiter_reason.flatten(),
            region_bytes: self.channel.place.identity.channel_bytes,
            segment_bytes: 0,
            doorbells_per_1000_commands: CounterStatus::per_1000(
                counters.client_bells,
                counters.commands_submitted,
            ),
            counters: counters.into(),
            last_end: self.told.last_end.clone(),
        }
    }
}

impl Serving {
    /// Offers the next generation, starts its worker, and gives the channel to `nonce`.
    pub(super) fn begin(
        &mut self,
        channel: usize,
        nonce: Nonce,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        failpoints::hit(Point::VmClaimed);
        let slot = &mut self.slots[channel];
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.channel.offer(slot.generation);
        failpoints::hit(Point::VmOffered);
        slot.heart = ClientHeart::new(&slot.channel);
        (slot.doomed, slot.taken) = (false, context.now);
        slot.told = Told::default();
        let channels = self.config.channels;
        let job = self.slots[channel].job(&self.config.name, channel, channels, context);
        let slot = &mut self.slots[channel];
        let failpoint = failpoints::take_for(&mut context.config.failpoint, Side::Worker);
        let program = &context.config.worker_program;
        let worker = WorkerProcess::start(program, slot.number, failpoint)?;
        failpoints::hit(Point::VmSpawned);
        // The holder knows the worker before that knows its channel: no worker can serve a channel unknown to the next
        // daemon.
        let (pid, pidfd) = (worker.pid(), worker.pidfd().clone());
        let kept = Kept {
            generation: slot.generation,
            claimant: Some(nonce.get()),
            worker_pid: Some(pid),
            vm_is_gone: false,
        };
        let keep = ToHolder::Keep { channel, kept };
        if let Err(error) = self.holder.tell(&keep, Some(pidfd.as_fd())) {
            worker.discard();
            return Err(error);
        }
        failpoints::hit(Point::VmKept);
        let (worker_bell, guest_bell) = self.device.bells(channel);
        let (memory, log) = (self.device.memory.as_fd(), self.log_lines.as_fd());
        let fds = [memory, worker_bell.as_fd(), guest_bell.as_fd(), log];
        let worker = worker.give(&job, &fds).inspect_err(|_| self.keep_if_possible(channel))?;
        failpoints::hit(Point::VmGave);
        let slot = &mut self.slots[channel];
        let number = slot.number;
        let control = worker.control().cloned();
        slot.worker = Some(worker);
        self.counts.claims_answered += 1;
        self.assignments.assign(channel, nonce);
        failpoints::hit(Point::VmAssigned);
        context.watch(pidfd, number, daemon::WORKER, Interest::Readable);
        if let Some(control) = control {
            context.watch(control, number, daemon::CONTROL, Interest::Readable);
        }
        let generation = self.slots[channel].generation;
        tracing::info!(vm = self.config.name, channel, generation, worker = pid, "serving a guest");
        Ok(())
    }

    /// The worker's process has ended: it is reaped before anything else is done with its channel.
    pub(super) fn worker_ended(&mut self, channel: usize, context: &mut Context<'_>) {
        let slot = &mut self.slots[channel];
        slot.take_reports();
        self.counts.stalls.add(slot.told.take_stalls());
        let Some(worker) = &mut slot.worker else { return };
        let ending = match worker.reap() {
            Ok(Some(ending)) => ending,
            Ok(None) => return,
            Err(error) => {
                // Its channel stays taken for good: nothing says that it will not write any more.
                return tracing::error!(%error, vm = self.config.name, channel, "a worker cannot be reaped");
            }
        };
        slot.worker = None;
        failpoints::hit(Point::VmReaped);
        context.unwatch(slot.number, daemon::WORKER);
        context.unwatch(slot.number, daemon::CONTROL);
        let doomed = slot.doomed;
        self.tell_of_end(channel, &ending, context);
        self.slots[channel].channel.mark_lost();
        self.ring_guest(channel);
        if doomed || !self.is_there() {
            self.free(channel);
        } else {
            self.keep_if_possible(channel);
            self.answer_claims(context);
        }
        self.end_holder(context.config.keep_devices);
    }

    /// One line and one count for an end that nobody asked for.
    fn tell_of_end(&mut self, channel: usize, ending: &Ending, context: &Context<'_>) {
        let slot = &mut self.slots[channel];
        let kind = match ending.kind {
            EndKind::Unseen => slot.end_of_unseen(context.config.limits.guest_heart_limit),
            kind => kind,
        };
        let (generation, vm) = (slot.generation, &self.config.name);
        let reason = slot.told.ended(ending);
        let text = &ending.text;
        match kind {
            // Its worker has said so in a line of its own.
            EndKind::Violation => self.counts.channels_poisoned += 1,
            EndKind::Lost if !slot.doomed => {
                self.counts.workers_lost += 1;
                tracing::warn!(vm, channel, generation, reason, "a guest's worker ended: {text}");
                return;
            }
            EndKind::Lost | EndKind::Left | EndKind::Unseen => {}
        }
        tracing::info!(vm, channel, generation, reason, "a guest's worker ended: {text}");
    }

    /// The channel is nobody's: its arena goes back to the system, and after that the next claim may have it.
    pub(super) fn free(&mut self, channel: usize) {
        failpoints::hit(Point::VmFreeing);
        self.aide.give_back(channel);
        self.assignments.free(channel);
        failpoints::hit(Point::VmFreed);
        self.slots[channel].doomed = false;
        self.keep_if_possible(channel);
    }
}

impl Slot {
    /// What the end of a worker means that an earlier daemon started, as far as its channel says it.
    fn end_of_unseen(&mut self, limit: Duration) -> EndKind {
        let left = !self.is_attached() || self.silent() > limit / 2;
        match self.channel.host_state().0 {
            State::Poisoned => EndKind::Violation,
            State::Closed => EndKind::Left,
            _ if left => EndKind::Left,
            _ => EndKind::Lost,
        }
    }

    fn job(&self, vm: &str, channel: usize, channels: usize, context: &Context<'_>) -> Job {
        let limit = context.config.limits.guest_heart_limit;
        Job {
            session: self.number,
            generation: self.generation,
            features: self.channel.place.identity.features,
            offset: self.channel.place.offset,
            sizes: self.channel.place.identity.sizes(),
            client: ClientKind::Guest {
                vm: vm.into(),
                channel,
                channels,
                heart_limit_ms: limit.as_millis() as u64,
                allow_hmm: context.config.allow_hmm,
            },
            device: context.config.device.clone(),
            options: context.config.worker.clone(),
            segment_bytes_max: 0,
        }
    }
}
