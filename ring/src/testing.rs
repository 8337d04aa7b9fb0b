//! What the tests of this crate share.

use crate::layout::Sizes;
use crate::lines::SharedLines;
use crate::os::mapping::Mapping;
use crate::sync::Arc;

/// A zeroed private mapping.
pub(crate) fn zeroed(bytes: usize) -> Arc<Mapping> {
    Arc::new(Mapping::heap(bytes).expect("memory for a test"))
}

/// Zeroed lines on the heap.
pub(crate) fn heap_lines(count: usize) -> SharedLines {
    SharedLines::new(&zeroed(count * 64), 0, count).expect("aligned lines")
}

/// The smallest sensible channel: 8 command lines, 2 reply slots, 4 event lines, 8 fences, 4 pages of arena.
pub(crate) fn small_sizes() -> Sizes {
    Sizes {
        command_lines: 8,
        reply_slots: 2,
        event_lines: 4,
        fence_words: 8,
        arena_bytes: 4 * 4096,
        arena_address: 0,
    }
}
