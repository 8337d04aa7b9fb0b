//! Copies of the program's own memory in a capture. The graph gets a pinned block in between, and a function of this library
//! that moves the bytes between the two each time the graph runs: so such a copy is two nodes of it, of which one is a host
//! function. Block and function live as long as the graph and all that is made of it.

use super::host;
use crate::capturing;
use crate::failure::Outcome;
use crate::graph::Graph;
use crate::graph::user_object::UserObject;
use crate::session::Live;
use crate::stream::Working;
use ringbar::client::PinnedBlock;
use ringbar_session::{HostFunctionToken, SessionError};
use ringbar_vocabulary::{DevicePtr, LaunchHostFunction};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What captures that go on will hold, by their numbers.
static PENDING: Mutex<Vec<(u64, &'static UserObject)>> = Mutex::new(Vec::new());

fn pending() -> MutexGuard<'static, Vec<(u64, &'static UserObject)>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the capture of that number a reference.
pub(crate) fn hold(capture: u64, object: &'static UserObject) {
    pending().push((capture, object));
}

/// What the capture of that number held is its graph's from now on, or given up where there is none.
pub(crate) fn hand_over(capture: u64, graph: Option<&Graph>) {
    let held: Vec<_> = pending().extract_if(.., |(number, _)| *number == capture).collect();
    for (_, object) in held {
        match graph {
            Some(graph) => graph.keep(object),
            // It was retained for the capture.
            None => drop(object.release(1)),
        }
    }
}

/// A block that a copy goes through, and the function that moves its bytes.
struct Between {
    live: &'static Live,
    block: PinnedBlock,
    token: HostFunctionToken,
}

impl Between {
    /// Makes both, and has the capture hold them.
    fn new(
        live: &'static Live,
        stream: &Working,
        bytes: u64,
        moves: impl Fn(&PinnedBlock) -> Result<(), SessionError> + Send + Sync + 'static,
    ) -> Outcome<Self> {
        let capture = capturing::id_of(stream.id)?;
        let block = live.session.pin(bytes)?;
        let run = move || {
            // The channel is over then, which every call of the program is told.
            if let Err(error) = moves(&block) {
                tracing::warn!(%error, "a graph's copy of the program's own memory did not take place");
            }
        };
        let give_back = move || {
            // Fails only if the channel is over, and the block with it.
            let _ = live.session.unpin(&block);
        };
        let token = live.session.register_host_function(Arc::new(run), false);
        let token = token.inspect_err(|_| give_back())?;
        let destroy = Arc::new(move || {
            live.session.forget_host_function(token);
            give_back();
        });
        let object = UserObject::of_graph(destroy.clone()).inspect_err(|_| destroy())?;
        hold(capture, object);
        Ok(Self { live, block, token })
    }

    /// Captures the move.
    fn moves(&self, stream: &Working) -> Outcome {
        self.live.post(&LaunchHostFunction { stream: stream.id, token: self.token.0 })?;
        Ok(())
    }
}

/// Captures a copy of the program's bytes, as they are when the graph runs.
pub(super) fn to_device(
    live: &'static Live,
    dst: u64,
    src: u64,
    bytes: u64,
    stream: &Working,
) -> Outcome {
    let between = Between::new(live, stream, bytes, move |block| {
        live.session.write_pinned(block, 0, host::bytes(src, bytes))
    })?;
    between.moves(stream)?;
    let part = (&between.block, 0, bytes);
    live.session.memcpy_htod_pinned(DevicePtr(dst), part, stream.id)?;
    live.settle_capture()
}

/// Captures a copy into the program's memory.
pub(super) fn to_host(
    live: &'static Live,
    dst: u64,
    src: u64,
    bytes: u64,
    stream: &Working,
) -> Outcome {
    let between = Between::new(live, stream, bytes, move |block| {
        live.session.read_pinned(block, 0, host::bytes_mut(dst, bytes))
    })?;
    let part = (&between.block, 0, bytes);
    live.session.memcpy_dtoh_pinned(part, DevicePtr(src), stream.id)?;
    live.settle_capture()?;
    between.moves(stream)
}
