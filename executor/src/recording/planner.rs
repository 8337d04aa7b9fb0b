//! How a plan is made: one pass over the rows, holding what each thread has.

use super::{
    Buffer, BufferId, Class, Direction, EventId, HostBlockId, Origin, Place, Plan, PlanLimits,
    PlannedStep, Recording, Row, Step, StepKind, StreamId, Teardown, call_hash, step_kind,
};
use std::collections::VecDeque;

/// A launch's command bytes before its kernel parameters, as recorders count them.
const LAUNCH_HEAD_BYTES: u32 = 48;
/// The most parameter bytes a kernel can have.
const PARAM_BYTES_MAX: u32 = 32_764;
/// Size of an allocation that no copy tells the size of.
const ALLOC_BYTES_DEFAULT: u64 = 1 << 20;
/// Size of an allocation that does not fit what is left of the limit.
const ALLOC_BYTES_MIN: u64 = 256;
/// Size of a pinned host block; no recording tells it.
const HOST_BLOCK_BYTES: u64 = 64 << 10;
/// Size of a fill, and of a device-to-device copy recorded without bytes.
const DEVICE_WORK_BYTES: u64 = 4 << 10;
/// What one device allocation may be rounded up to.
const DEVICE_ALIGNMENT_BYTES: u64 = 512;
/// Smallest piece of a split copy, however many threads there are.
const PIECE_BYTES_MIN: u64 = 1 << 20;

impl Plan {
    /// Plans `recording`; cannot fail, whatever its calls, threads and sizes.
    pub fn new(recording: &Recording, limits: &PlanLimits) -> Self {
        let kinds: Vec<_> =
            recording.calls().map(|name| (call_hash(name), step_kind(name))).collect();
        let mut planner = Planner::new(recording, limits, kinds);
        for (row, call) in (0_u32..).zip(recording.rows()) {
            planner.plan_row(row, call);
        }
        planner.finish()
    }
}

fn rounded(bytes: u64) -> u64 {
    bytes.next_multiple_of(DEVICE_ALIGNMENT_BYTES)
}

/// What one application thread has, oldest first.
#[derive(Default)]
struct Thread {
    buffers: VecDeque<BufferId>,
    streams: VecDeque<StreamId>,
    events: VecDeque<EventId>,
    host_blocks: VecDeque<HostBlockId>,
}

/// Living objects of all threads.
#[derive(Default)]
struct Living {
    buffers: usize,
    streams: usize,
    events: usize,
    host_blocks: usize,
    device_bytes: u64,
    host_bytes: u64,
}

struct Planner {
    plan: Plan,
    limits: PlanLimits,
    /// Indexed by `Row::call`.
    kinds: Vec<(u64, Option<StepKind>)>,
    /// Planned number of each recorded thread.
    thread_of: [u16; 256],
    threads: Vec<Thread>,
    /// Sizes told by later copies, the next allocation's last.
    alloc_bytes: Vec<Option<u64>>,
    living: Living,
    piece_bytes: u64,
    locals_pending: u32,
}

impl Planner {
    fn new(
        recording: &Recording,
        limits: &PlanLimits,
        kinds: Vec<(u64, Option<StepKind>)>,
    ) -> Self {
        let threads = recording.threads();
        let mut thread_of = [0; 256];
        for (planned, recorded) in (0_u16..).zip(threads) {
            thread_of[usize::from(*recorded)] = planned;
        }
        let share = limits.scratch_bytes_max / (2 * threads.len().max(1) as u64);
        let largest = limits.piece_bytes_max.clamp(PIECE_BYTES_MIN, u64::from(u32::MAX));
        Self {
            plan: empty_plan(threads.len() as u16),
            limits: *limits,
            alloc_bytes: told_alloc_bytes(recording, &kinds),
            kinds,
            thread_of,
            threads: threads.iter().map(|_| Thread::default()).collect(),
            living: Living::default(),
            piece_bytes: share.clamp(PIECE_BYTES_MIN, largest),
            locals_pending: 0,
        }
    }

    fn plan_row(&mut self, row: u32, call: &Row) {
        self.plan.duration_ns = self.plan.duration_ns.saturating_add(call.gap_ns);
        if call.class == Class::Local {
            self.plan.local_calls += 1;
            self.locals_pending += 1;
            return;
        }
        let thread = self.thread_of[usize::from(call.thread)];
        match call.direction {
            Direction::None => {
                let step = self.step(call, thread).unwrap_or_else(|| self.fallback(call));
                self.push(row, 0, call, thread, step);
            }
            _ => self.plan_copy(row, call, thread),
        }
    }

    fn push(&mut self, row: u32, piece: u32, call: &Row, thread: u16, step: Step) {
        self.plan.steps.push(PlannedStep {
            due_ns: self.plan.duration_ns,
            row,
            piece,
            locals_before: std::mem::take(&mut self.locals_pending),
            thread,
            wait: call.class == Class::Sync,
            step,
        });
    }

    fn fallback(&self, call: &Row) -> Step {
        let (hash, _) = self.kinds[usize::from(call.call)];
        let inline_bytes = call.inline_bytes;
        match call.class {
            Class::Sync => Step::LibraryQuery { call: hash, inline_bytes },
            Class::Post | Class::Local => Step::LibraryCall { call: hash, inline_bytes },
        }
    }

    /// What the table says of a call without direction, or `None` where it cannot be that.
    fn step(&mut self, call: &Row, thread: u16) -> Option<Step> {
        let (_, kind) = self.kinds[usize::from(call.call)];
        let kind = kind?;
        if kind.needs_reply() && call.class != Class::Sync {
            return None;
        }
        match kind {
            StepKind::Launch => launch(call),
            StepKind::Alloc => self.alloc(thread),
            StepKind::Free => self.free(thread),
            StepKind::HostAlloc => self.host_alloc(thread),
            StepKind::HostFree => self.host_free(thread),
            StepKind::Memset => Some(self.memset(call, thread)),
            StepKind::StreamCreate => self.stream_create(thread),
            StepKind::StreamDestroy => self.stream_destroy(thread),
            StepKind::StreamSynchronize => Some(Step::StreamSynchronize),
            StepKind::StreamQuery => Some(Step::StreamQuery),
            StepKind::StreamWaitEvent => Some(Step::StreamWaitEvent { event: self.event(thread) }),
            StepKind::DeviceSynchronize => Some(Step::DeviceSynchronize),
            StepKind::EventCreate => self.event_create(thread),
            StepKind::EventDestroy => self.event_destroy(thread),
            StepKind::EventRecord => Some(Step::EventRecord { event: self.event(thread) }),
            StepKind::EventQuery => Some(Step::EventQuery { event: self.event(thread) }),
            StepKind::EventSynchronize => {
                Some(Step::EventSynchronize { event: self.event(thread) })
            }
            StepKind::ModuleLoad => Some(Step::ModuleLoad),
            StepKind::FunctionLookup => Some(Step::FunctionLookup),
        }
    }

    fn plan_copy(&mut self, row: u32, call: &Row, thread: u16) {
        let total = match (call.direction, call.bulk_bytes) {
            (Direction::DeviceToDevice, 0) => DEVICE_WORK_BYTES,
            (_, bytes) => bytes,
        };
        let place = self.place(thread, total);
        let mut done = 0;
        for piece in 0.. {
            let bytes = (total - done).min(self.piece_bytes);
            let step = self.copy(call.direction, thread, bytes, self.piece_of(place, done));
            self.push(row, piece, call, thread, step);
            done += bytes;
            if done == total {
                return;
            }
        }
    }

    fn copy(&mut self, direction: Direction, thread: u16, bytes: u64, near: Place) -> Step {
        let length = bytes as u32; // at most `piece_bytes`, which fits
        match direction {
            Direction::DeviceToHost => Step::CopyD2H { bytes: length, from: near },
            Direction::DeviceToDevice => {
                let to = self.scratch(aside(thread), bytes);
                Step::CopyD2D { bytes: length, from: near, to }
            }
            Direction::HostToDevice | Direction::None => Step::CopyH2D { bytes: length, to: near },
        }
    }

    /// Where `bytes` of `thread` go: its newest allocation if that holds them, else its landing buffer.
    fn place(&mut self, thread: u16, bytes: u64) -> Place {
        let newest = self.threads[usize::from(thread)].buffers.back();
        match newest.filter(|id| self.plan.buffers[id.0 as usize].bytes >= bytes) {
            Some(buffer) => Place { buffer: *buffer, offset: 0 },
            None => self.scratch(landing(thread), bytes.min(self.piece_bytes)),
        }
    }

    /// Where the piece at `done` of a copy to `place` goes: scratch buffers take every piece at their start.
    fn piece_of(&self, place: Place, done: u64) -> Place {
        match self.plan.buffers[place.buffer.0 as usize].origin {
            Origin::Setup => place,
            Origin::Call => Place { offset: done, ..place },
        }
    }

    /// The start of a buffer of setup, which grows to hold `bytes`.
    fn scratch(&mut self, buffer: BufferId, bytes: u64) -> Place {
        let size = &mut self.plan.buffers[buffer.0 as usize].bytes;
        *size = bytes.max(*size);
        Place { buffer, offset: 0 }
    }

    fn memset(&mut self, call: &Row, thread: u16) -> Step {
        let at = self.place(thread, DEVICE_WORK_BYTES);
        Step::Memset { bytes: DEVICE_WORK_BYTES as u32, value: call.inline_bytes as u8, at }
    }

    fn alloc(&mut self, thread: u16) -> Option<Step> {
        let told = self.alloc_bytes.pop().flatten();
        if self.living.buffers >= self.limits.objects_max {
            return None;
        }
        let wanted = told.unwrap_or(ALLOC_BYTES_DEFAULT).max(ALLOC_BYTES_MIN);
        let left = self.limits.device_bytes_max.saturating_sub(self.living.device_bytes);
        let bytes = if wanted <= left { wanted } else { ALLOC_BYTES_MIN };
        let buffer = BufferId(self.plan.buffers.len() as u32);
        self.plan.buffers.push(Buffer { bytes, thread, origin: Origin::Call });
        self.threads[usize::from(thread)].buffers.push_back(buffer);
        self.living.buffers += 1;
        self.living.device_bytes += rounded(bytes);
        self.plan.device_bytes_peak = self.plan.device_bytes_peak.max(self.living.device_bytes);
        Some(Step::Alloc { buffer })
    }

    fn free(&mut self, thread: u16) -> Option<Step> {
        let buffer = self.threads[usize::from(thread)].buffers.pop_front()?;
        self.living.buffers -= 1;
        self.living.device_bytes -= rounded(self.plan.buffers[buffer.0 as usize].bytes);
        Some(Step::Free { buffer })
    }

    fn host_alloc(&mut self, thread: u16) -> Option<Step> {
        let bytes = self.living.host_bytes + HOST_BLOCK_BYTES;
        if self.living.host_blocks >= self.limits.objects_max || bytes > self.limits.host_bytes_max
        {
            return None;
        }
        let block = HostBlockId(self.plan.host_blocks.len() as u32);
        self.plan.host_blocks.push(HOST_BLOCK_BYTES);
        self.threads[usize::from(thread)].host_blocks.push_back(block);
        self.living.host_blocks += 1;
        self.living.host_bytes = bytes;
        Some(Step::HostAlloc { block })
    }

    fn host_free(&mut self, thread: u16) -> Option<Step> {
        let block = self.threads[usize::from(thread)].host_blocks.pop_front()?;
        self.living.host_blocks -= 1;
        self.living.host_bytes -= HOST_BLOCK_BYTES;
        Some(Step::HostFree { block })
    }

    fn stream_create(&mut self, thread: u16) -> Option<Step> {
        if self.living.streams >= self.limits.objects_max {
            return None;
        }
        let stream = StreamId(self.plan.streams);
        self.plan.streams += 1;
        self.living.streams += 1;
        self.threads[usize::from(thread)].streams.push_back(stream);
        Some(Step::StreamCreate { stream })
    }

    fn stream_destroy(&mut self, thread: u16) -> Option<Step> {
        let stream = self.threads[usize::from(thread)].streams.pop_front()?;
        self.living.streams -= 1;
        Some(Step::StreamDestroy { stream })
    }

    fn event_create(&mut self, thread: u16) -> Option<Step> {
        if self.living.events >= self.limits.objects_max {
            return None;
        }
        let event = EventId(self.plan.events);
        self.plan.events += 1;
        self.living.events += 1;
        self.threads[usize::from(thread)].events.push_back(event);
        Some(Step::EventCreate { event })
    }

    fn event_destroy(&mut self, thread: u16) -> Option<Step> {
        let event = self.threads[usize::from(thread)].events.pop_front()?;
        self.living.events -= 1;
        Some(Step::EventDestroy { event })
    }

    /// The thread's newest living event, else its own.
    fn event(&self, thread: u16) -> EventId {
        let newest = self.threads[usize::from(thread)].events.back();
        newest.copied().unwrap_or(EventId(u32::from(thread)))
    }

    fn finish(mut self) -> Plan {
        for thread in self.threads {
            self.plan.teardown.buffers.extend(thread.buffers);
            self.plan.teardown.streams.extend(thread.streams);
            self.plan.teardown.events.extend(thread.events);
            self.plan.teardown.host_blocks.extend(thread.host_blocks);
        }
        let setup = self.plan.buffers.iter().filter(|buffer| buffer.origin == Origin::Setup);
        self.plan.device_bytes_peak += setup.map(|buffer| rounded(buffer.bytes)).sum::<u64>();
        self.plan.steps.shrink_to_fit();
        self.plan
    }
}

fn landing(thread: u16) -> BufferId {
    BufferId(2 * u32::from(thread))
}

fn aside(thread: u16) -> BufferId {
    BufferId(2 * u32::from(thread) + 1)
}

/// A plan without steps, with the buffers, streams and events of setup.
fn empty_plan(threads: u16) -> Plan {
    let scratch = |thread| Buffer { bytes: ALLOC_BYTES_MIN, thread, origin: Origin::Setup };
    Plan {
        steps: Vec::new(),
        buffers: (0..threads).flat_map(|thread| [scratch(thread), scratch(thread)]).collect(),
        host_blocks: Vec::new(),
        threads,
        streams: u32::from(threads),
        events: u32::from(threads),
        local_calls: 0,
        duration_ns: 0,
        device_bytes_peak: 0,
        teardown: Teardown::default(),
    }
}

fn launch(call: &Row) -> Option<Step> {
    let param_bytes = call.inline_bytes.saturating_sub(LAUNCH_HEAD_BYTES);
    (param_bytes <= PARAM_BYTES_MAX).then_some(Step::Launch { param_bytes })
}

/// For each allocation, the last one first, what the copies after it tell of its size.
fn told_alloc_bytes(recording: &Recording, kinds: &[(u64, Option<StepKind>)]) -> Vec<Option<u64>> {
    let mut next_h2d = [None; 256];
    let mut told = Vec::new();
    for call in recording.rows().iter().rev().filter(|call| call.class != Class::Local) {
        let next = &mut next_h2d[usize::from(call.thread)];
        let (_, kind) = kinds[usize::from(call.call)];
        match call.direction {
            Direction::HostToDevice => *next = Some(call.bulk_bytes),
            Direction::None if kind == Some(StepKind::Alloc) => told.push(next.take()),
            _ => {}
        }
    }
    told
}
