//! Objects of the program that graphs keep alive: counted references, and a function of the program that is called when the
//! last one is gone.
//!
//! A graph gives its references up when it is destroyed, an executable graph when its launches are done as well. The
//! function is called by the thread that gives up the last reference, or by one that waits for the launches.

use super::resolve;
use crate::arg::{Opaque, Out};
use crate::failure::{Failure, Outcome};
use crate::handles::{Handle, Kind, Table};
use crate::host_function;
use crate::memory::captured;
use crate::session::{self, Live};
use crate::stream::Working;
use crate::types::{CUgraph, CUhostFn, CUuserObject};
use ringbar::sync::{AtomicBool, Ordering::*};
use ringbar_session::{FenceTicket, HostFunction, without_signals};
use ringbar_vocabulary::Status;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// `CU_USER_OBJECT_NO_DESTRUCTOR_SYNC`, which has to be given.
const NO_DESTRUCTOR_SYNC: u32 = 1;
/// `CU_GRAPH_USER_OBJECT_MOVE`: the graph takes references over from the caller.
const MOVE: u32 = 1;
/// How often it is looked whether the launches of a destroyed graph are done.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// An object. Never freed; its handle names nothing once the last reference is gone.
pub struct UserObject {
    handle: Handle,
    references: Mutex<u64>,
    destroy: HostFunction,
}

/// All objects by handle.
pub static OBJECTS: Table<UserObject> = Table::new(Kind::UserObject);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UserObject {
    /// One of this library's own: the graph that takes it has the only reference.
    pub(crate) fn of_graph(destroy: HostFunction) -> Outcome<&'static Self> {
        let references = Mutex::new(1);
        Ok(OBJECTS.insert(|handle| UserObject { handle, references, destroy })?.1)
    }

    fn retain(&self, count: u64) {
        *lock(&self.references) += count;
    }

    /// INVALID_VALUE if there are fewer references.
    pub(crate) fn release(&self, count: u64) -> Outcome {
        let mut references = lock(&self.references);
        *references = references.checked_sub(count).ok_or(Failure(Status::INVALID_VALUE))?;
        let is_last = *references == 0;
        drop(references);
        if is_last && OBJECTS.remove(self.handle).is_some() {
            (self.destroy)();
        }
        Ok(())
    }
}

/// References that a graph, executable or not, holds.
#[derive(Default)]
pub struct Held {
    any: AtomicBool,
    objects: Mutex<Vec<(&'static UserObject, u64)>>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Held").field(&lock(&self.objects).len()).finish()
    }
}

impl Held {
    /// Whether there are some.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.load(Acquire)
    }

    /// Notes references that were retained for it.
    pub(super) fn note(&self, object: &'static UserObject, count: u64) {
        let mut objects = lock(&self.objects);
        match objects.iter_mut().find(|(held, _)| std::ptr::eq(*held, object)) {
            Some((_, held)) => *held += count,
            None => objects.push((object, count)),
        }
        self.any.store(true, Release);
    }

    /// Retains what another graph holds.
    pub(super) fn share(&self, other: &Self) {
        if !other.any() {
            return;
        }
        // A copy: a graph may be put into itself.
        let objects = lock(&other.objects).clone();
        for (object, count) in objects {
            object.retain(count);
            self.note(object, count);
        }
    }

    /// Retains it all for the capture of that number, which a launch becomes part of.
    pub(super) fn share_with_capture(&self, capture: u64) {
        for (object, _) in lock(&self.objects).clone() {
            object.retain(1);
            captured::hold(capture, object);
        }
    }

    fn forget(&self, object: &'static UserObject, count: u64) -> Outcome {
        let mut objects = lock(&self.objects);
        let held = objects.iter_mut().find(|(held, _)| std::ptr::eq(*held, object));
        let (_, held) = held.ok_or(Failure(Status::INVALID_VALUE))?;
        *held = held.checked_sub(count).ok_or(Failure(Status::INVALID_VALUE))?;
        objects.retain(|(_, held)| *held > 0);
        Ok(())
    }

    /// Gives up all of them.
    pub(super) fn end(&self) {
        let objects = std::mem::take(&mut *lock(&self.objects));
        for (object, count) in objects {
            // There are as many as were noted.
            let _ = object.release(count);
        }
    }
}

/// Launches of an executable graph that holds objects: the last of each stream.
#[derive(Default, Debug)]
pub struct Launches(Mutex<Vec<FenceTicket>>);

impl Launches {
    /// One was posted to a stream that does not capture.
    pub(super) fn note(&self, live: &Live, stream: &Working) -> Outcome {
        let ticket = live.session.fence(stream.id)?;
        let mut tickets = lock(&self.0);
        tickets.retain(|known| known.stream() != ticket.stream());
        tickets.push(ticket);
        Ok(())
    }

    /// Gives up what the graph holds once its launches are done, or never will be.
    pub(super) fn end(&'static self, held: &'static Held) {
        let Ok(live) = session::live() else { return held.end() };
        let tickets = std::mem::take(&mut *lock(&self.0));
        let are_done = move || tickets.iter().all(|ticket| live.session.is_reached(*ticket));
        if !held.any() || are_done() {
            return held.end();
        }
        let wait = move || {
            while !are_done() && !is_over(live) {
                std::thread::sleep(LOOK_EVERY);
            }
            held.end();
        };
        let thread = std::thread::Builder::new().name("ringbar-user-objects".into());
        if let Err(error) = without_signals(|| thread.spawn(wait)) {
            tracing::warn!(%error, "no thread: what a destroyed graph held is never given up");
        }
    }
}

/// Whether nothing more will ever be done.
fn is_over(live: &Live) -> bool {
    live.still_there().is_err() || live.session.device_failure().is_some()
}

fn object(handle: CUuserObject) -> Outcome<&'static UserObject> {
    OBJECTS.get(handle).ok_or(Failure(Status::INVALID_VALUE))
}

/// A number of references: from 1 to the largest `int`.
fn checked(count: u32) -> Outcome<u64> {
    match i32::try_from(count) {
        Ok(count) if count > 0 => Ok(count as u64),
        _ => Err(Status::INVALID_VALUE.into()),
    }
}

entry! {
    /// Makes an object with so many references of the caller's; `destroy` is called with `data` when the last is gone.
    local fn cuUserObjectCreate(place: Out<CUuserObject>, data: Opaque, destroy: CUhostFn, count: u32, flags: u32) {
        let place = place.required()?;
        let references = Mutex::new(checked(count)?);
        if flags != NO_DESTRUCTOR_SYNC {
            return Err(Status::INVALID_VALUE.into());
        }
        let destroy = host_function::closure(destroy, data)?;
        let (handle, _) = OBJECTS.insert(|handle| UserObject { handle, references, destroy })?;
        place.set(handle)
    }

    /// Adds references of the caller's.
    local fn cuUserObjectRetain(handle: CUuserObject, count: u32) {
        let (object, count) = (object(handle)?, checked(count)?);
        object.retain(count);
        Ok(())
    }

    /// Gives up references of the caller's.
    local fn cuUserObjectRelease(handle: CUuserObject, count: u32) {
        let (object, count) = (object(handle)?, checked(count)?);
        object.release(count)
    }

    /// Gives a graph references: new ones, or those of the caller.
    local fn cuGraphRetainUserObject(graph: CUgraph, handle: CUuserObject, count: u32, flags: u32) {
        let (graph, object, count) = (resolve(graph)?, object(handle)?, checked(count)?);
        if flags & !MOVE != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        if flags & MOVE == 0 {
            object.retain(count);
        }
        graph.held.note(object, count);
        Ok(())
    }

    /// Gives up references of a graph's.
    local fn cuGraphReleaseUserObject(graph: CUgraph, handle: CUuserObject, count: u32) {
        let (graph, object, count) = (resolve(graph)?, object(handle)?, checked(count)?);
        graph.held.forget(object, count)?;
        object.release(count)
    }
}
