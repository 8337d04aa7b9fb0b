//! Graphs as a whole: making, copying, describing and destroying them.

use super::{GRAPHS, made, resolve};
use crate::arg::{Out, Text};
use crate::failure::{Failure, Outcome};
use crate::session::live;
use crate::types::CUgraph;
use ringbar_vocabulary::{GraphClone, GraphCreate, GraphDestroy, GraphDot, Status};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Room for a description that is asked for at first.
const DOT_BYTES: u64 = 64 << 10;

fn describe(graph: CUgraph, flags: u32) -> Outcome<Vec<u8>> {
    let graph = resolve(graph)?.id();
    let live = live()?;
    let mut room = DOT_BYTES;
    loop {
        let block = live.session.answer_block(room)?;
        let text = block.place();
        let found = live.call(&GraphDot { graph, flags, text })?.bytes;
        if found <= room {
            let mut text = vec![0; found as usize];
            block.read(&mut text)?;
            return Ok(text);
        }
        room = found;
    }
}

entry! {
    /// Makes an empty graph.
    sync fn cuGraphCreate(graph: Out<CUgraph>, flags: u32) {
        let graph = graph.required()?;
        if flags != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        let live = live()?;
        let id = live.session.graph_id()?;
        live.call(&GraphCreate { graph: id })?;
        graph.set(made(id)?.handle)
    }

    /// Copies a graph.
    sync fn cuGraphClone(copy: Out<CUgraph>, original: CUgraph) {
        let copy = copy.required()?;
        let original = resolve(original)?;
        let live = live()?;
        let graph = live.session.graph_id()?;
        live.call(&GraphClone { graph, original: original.id() })?;
        let clone = made(graph)?;
        clone.held.share(&original.held);
        copy.set(clone.handle)
    }

    /// Destroys a graph; executable graphs made of it stay.
    post fn cuGraphDestroy(graph: CUgraph) {
        let graph = GRAPHS.remove(graph).ok_or(Failure(Status::INVALID_VALUE))?;
        live()?.post(&GraphDestroy { graph: graph.id() })?;
        graph.held.end();
        Ok(())
    }

    /// Writes a description of a graph in the DOT language to a file.
    sync fn cuGraphDebugDotPrint(graph: CUgraph, path: Text, flags: u32) {
        let path = OsStr::from_bytes(path.bytes()?);
        let text = describe(graph, flags)?;
        std::fs::write(path, text).map_err(|error| {
            tracing::warn!(file = %path.display(), %error, "the description of a graph cannot be written");
            Failure(Status::OPERATING_SYSTEM)
        })
    }
}
