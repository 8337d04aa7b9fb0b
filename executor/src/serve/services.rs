//! What this program does at the steps of the ring's services to a backend: failpoints, and whether the arena is in use.

use crate::failpoints::{self, Point};
use ringbar::sync::{AtomicBool, Ordering};
use ringbar_backend::ring::{Step, Watch};
use std::sync::Arc;

/// Whether the arena was used since it was last asked.
#[derive(Clone, Default)]
pub(super) struct ArenaUse(Arc<AtomicBool>);

impl ArenaUse {
    #[inline(always)]
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn take(&self) -> bool {
        let used = self.0.load(Ordering::Relaxed);
        if used {
            self.0.store(false, Ordering::Relaxed);
        }
        used
    }
}

/// The failpoint at a step; `None` for the use of the arena.
#[inline(always)]
fn point(step: Step) -> Option<Point> {
    Some(match step {
        Step::ArenaUsed => return None,
        Step::InArenaRead => Point::InArenaRead,
        Step::InArenaWrite => Point::InArenaWrite,
        Step::BeforeFence => Point::BeforeFence,
        Step::AfterFence => Point::AfterFence,
        Step::BeforeLatch => Point::BeforeLatch,
        Step::BeforeHold => Point::BeforeHold,
        Step::BeforeRelease => Point::BeforeRelease,
    })
}

impl Watch for ArenaUse {
    #[inline(always)]
    fn reached(&self, step: Step) {
        match point(step) {
            Some(point) => failpoints::hit(point),
            None => self.note(),
        }
    }

    #[inline(always)]
    fn is_between(&self, step: Step) -> bool {
        point(step).is_some_and(failpoints::is_armed)
    }
}
