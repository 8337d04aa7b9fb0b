//! What a replay has on the device: kernels, buffers, streams and events, made once before the first round.

use super::error::ReplayError;
use super::link::Link;
use super::measure::Kind;
use crate::recording::{Origin, Payloads, Plan, PlannedStep, Step};
use ringbar::sync::{AtomicU64, Ordering::Relaxed};
use ringbar_mock::image;
use ringbar_vocabulary::{
    ArenaRef, ContextId, DevicePtr, EventCreate, EventId, FunctionId, FunctionLookup, Init,
    MemAlloc, MemsetD8, ModuleId, ModuleLoad, Param, StreamId, Tail,
};
use std::collections::BTreeMap;

/// The module that all launches use.
const MODULE: ModuleId = ModuleId(1);
/// Bytes at which the kernels of one thread keep their state.
const STATE_BYTES: u64 = 256;
/// Copies above this size are counted apart.
const BULK_BYTES_MIN: usize = 4096;

/// A kernel of one parameter size.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Its number.
    pub function: FunctionId,
    /// Where its pointer lies in the parameters, if it has room for one.
    pub pointer_at: Option<usize>,
}

/// A plan with everything that its steps need.
pub struct Scene<'p> {
    pub plan: &'p Plan,
    pub payloads: &'p Payloads,
    /// For each step that launches, its kernel; for others anything.
    kernels: Vec<Kernel>,
    kinds: Vec<Kind>,
    /// State of each thread's kernels.
    states: Vec<DevicePtr>,
    /// Addresses of buffers, by number; 0 while there is none.
    buffers: Vec<AtomicU64>,
}

impl<'p> Scene<'p> {
    /// Makes everything over `link`.
    pub fn set_up(
        plan: &'p Plan,
        payloads: &'p Payloads,
        link: &mut impl Link,
    ) -> Result<Self, ReplayError> {
        link.call(&Init { flags: 0 })?;
        let kernels = kernels(plan, link)?;
        let threads = 0..plan.thread_count() as u32;
        let states = threads.clone().map(|_| zeroed(STATE_BYTES, link));
        let scene = Self {
            plan,
            payloads,
            kernels,
            kinds: plan.steps().iter().map(kind).collect(),
            states: states.collect::<Result<_, _>>()?,
            buffers: plan.buffers().iter().map(|_| AtomicU64::new(0)).collect(),
        };
        for (buffer, address) in plan.buffers().iter().zip(&scene.buffers) {
            if buffer.origin == Origin::Setup {
                address.store(zeroed(buffer.bytes, link)?.0, Relaxed);
            }
        }
        for thread in threads {
            link.create_stream(stream(thread))?;
            link.post(&EventCreate { context: ContextId::FIRST, event: event(thread), flags: 0 })?;
        }
        link.synchronise(StreamId::DEFAULT)?;
        Ok(scene)
    }

    /// The kernel of a step that launches.
    #[inline]
    pub fn kernel(&self, step: usize) -> Kernel {
        self.kernels[step]
    }

    /// Which histogram a step belongs to.
    #[inline]
    pub fn kind(&self, step: usize) -> Kind {
        self.kinds[step]
    }

    /// Where a thread's kernels keep their state.
    #[inline]
    pub fn state(&self, thread: u16) -> DevicePtr {
        self.states[usize::from(thread)]
    }

    /// A buffer's address.
    #[inline]
    pub fn buffer(&self, buffer: crate::recording::BufferId) -> DevicePtr {
        DevicePtr(self.buffers[buffer.0 as usize].load(Relaxed))
    }

    /// A place's address.
    #[inline]
    pub fn place(&self, place: crate::recording::Place) -> DevicePtr {
        self.buffer(place.buffer).offset(place.offset)
    }

    /// The buffer was allocated there.
    pub fn set_buffer(&self, buffer: crate::recording::BufferId, at: DevicePtr) {
        self.buffers[buffer.0 as usize].store(at.0, Relaxed);
    }
}

/// The stream of a number of the plan; 0 is the default stream, which no plan names.
pub fn stream(number: u32) -> StreamId {
    StreamId(number + 1)
}

/// The event of a number of the plan.
pub fn event(number: u32) -> EventId {
    EventId(number + 1)
}

/// An image with all kernels of a replay.
pub fn module_image() -> Vec<u8> {
    image(&["mix"])
}

fn zeroed(bytes: u64, link: &mut impl Link) -> Result<DevicePtr, ReplayError> {
    let dst = link.call(&MemAlloc { context: ContextId::FIRST, bytes })?.at;
    link.post(&MemsetD8 { dst, count: bytes, stream: StreamId::DEFAULT, value: 0 })?;
    Ok(dst)
}

/// Looks up one kernel for each size of parameters.
fn kernels(plan: &Plan, link: &mut impl Link) -> Result<Vec<Kernel>, ReplayError> {
    link.call(&ModuleLoad {
        context: ContextId::FIRST,
        module: MODULE,
        image: Tail::Inline(&module_image()),
    })?;
    let mut by_size = BTreeMap::new();
    let mut all = Vec::with_capacity(plan.steps().len());
    for step in plan.steps() {
        let bytes = match step.step {
            Step::Launch { param_bytes } => param_bytes,
            _ => 0,
        };
        let next = FunctionId(by_size.len() as u32 + 1);
        let kernel = match by_size.get(&bytes) {
            Some(kernel) => *kernel,
            None => *by_size.entry(bytes).or_insert(kernel(bytes, next, link)?),
        };
        all.push(kernel);
    }
    Ok(all)
}

fn kernel(bytes: u32, function: FunctionId, link: &mut impl Link) -> Result<Kernel, ReplayError> {
    let name = kernel_name(bytes);
    let (layout, name) = (ArenaRef::default(), Tail::Inline(name.as_bytes()));
    let found = link.call(&FunctionLookup { module: MODULE, function, layout, name })?;
    let pointer = Param::from_word(found.inline[0]);
    let pointer_at = (bytes >= 8).then_some(usize::from(pointer.offset));
    Ok(Kernel { function, pointer_at })
}

/// The kernel that takes that many bytes of parameters.
pub fn kernel_name(param_bytes: u32) -> String {
    format!("mix_{param_bytes}")
}

fn kind(step: &PlannedStep) -> Kind {
    if step.step.h2d_bytes().max(step.step.d2h_bytes()) > BULK_BYTES_MIN {
        return Kind::Bulk;
    }
    match step.step {
        Step::LibraryQuery { .. }
        | Step::Alloc { .. }
        | Step::StreamSynchronize
        | Step::StreamQuery
        | Step::DeviceSynchronize
        | Step::EventQuery { .. }
        | Step::EventSynchronize { .. }
        | Step::ModuleLoad
        | Step::FunctionLookup => Kind::Sync,
        _ if step.wait => Kind::Sync,
        _ => Kind::Post,
    }
}
