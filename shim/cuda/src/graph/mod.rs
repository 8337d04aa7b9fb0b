//! Graphs: captured from streams or built node by node, made executable, launched.
//!
//! The executor holds them, and is asked what nodes are. Copies and host functions that the program added itself are
//! remembered here as it said them.

pub mod add;
pub mod capture;
pub mod edges;
pub mod edit;
pub mod exec;
pub mod generic;
pub mod memory;
pub mod node;
pub mod params;
pub mod refer;
pub mod user_object;

use crate::failure::{Failure, Outcome};
use crate::handles::{Handle, Kind, Table};
use crate::session::live;
use ringbar::sync::{AtomicU32, Ordering::*};
use ringbar_vocabulary::{ArenaRef, GraphExecId, GraphId, NodeId, Status};
use user_object::{Held, Launches, UserObject};

/// A graph. Never freed.
#[derive(Debug)]
pub struct Graph {
    /// Its handle.
    pub handle: Handle,
    /// Its number for the executor: that of a captured graph changes once, when the capture ends.
    number: AtomicU32,
    /// The objects of the program that it keeps alive.
    held: Held,
}

/// An executable graph. Never freed.
#[derive(Debug)]
pub struct Exec {
    /// Its handle.
    pub handle: Handle,
    /// Its number for the executor.
    pub id: GraphExecId,
    /// `CUgraphInstantiate_flags`.
    pub flags: u64,
    /// The objects of the program that it keeps alive.
    held: Held,
    launches: Launches,
}

/// All graphs by handle.
pub static GRAPHS: Table<Graph> = Table::new(Kind::Graph);
/// All executable graphs by handle.
pub static EXECS: Table<Exec> = Table::new(Kind::GraphExec);

impl Graph {
    /// Its number for the executor.
    pub fn id(&self) -> GraphId {
        GraphId(self.number.load(Acquire))
    }

    /// Takes the only reference to an object over.
    pub(crate) fn keep(&self, object: &'static UserObject) {
        self.held.note(object, 1);
    }

    fn renumber(&self, id: GraphId) {
        self.number.store(id.0, Release);
    }
}

/// A new graph under a number that the executor knows it by.
fn made(id: GraphId) -> Outcome<&'static Graph> {
    let (number, held) = (AtomicU32::new(id.0), Held::default());
    Ok(GRAPHS.insert(|handle| Graph { handle, number, held })?.1)
}

/// The graph that a handle names; INVALID_VALUE if it names none.
pub fn resolve(graph: Handle) -> Outcome<&'static Graph> {
    GRAPHS.get(graph).ok_or(Failure(Status::INVALID_VALUE))
}

/// The executable graph that a handle names; INVALID_VALUE if it names none.
pub fn resolve_exec(exec: Handle) -> Outcome<&'static Exec> {
    EXECS.get(exec).ok_or(Failure(Status::INVALID_VALUE))
}

/// The node that a handle names; INVALID_VALUE for what is no handle of a node.
pub fn resolve_node(node: Handle) -> Outcome<NodeId> {
    match node.number(Kind::GraphNode) {
        Some(number) if number != 0 => Ok(NodeId(number as u64)),
        _ => Err(Status::INVALID_VALUE.into()),
    }
}

/// The handle of a node; null for none.
pub fn node_handle(node: NodeId) -> Outcome<Handle> {
    let handle = Handle::new(Kind::GraphNode, node.0 as usize);
    match handle.number(Kind::GraphNode) {
        _ if node.0 == 0 => Ok(Handle::NULL),
        Some(number) if number as u64 == node.0 => Ok(handle),
        // The executor numbered more nodes than a handle has bits for.
        _ => Err(Status::OUT_OF_MEMORY.into()),
    }
}

/// Room that is offered at first for a list of words.
const LIST_WORDS: u64 = 512;

/// A list that the executor writes: `ask` names the place and answers how many items of `words` words there are.
fn list(words: u64, mut ask: impl FnMut(ArenaRef) -> Outcome<u64>) -> Outcome<Vec<u64>> {
    let live = live()?;
    let mut room = LIST_WORDS;
    loop {
        let block = live.session.answer_block(8 * room)?;
        let found = ask(block.place())?.saturating_mul(words);
        if found > room {
            room = found;
            continue;
        }
        let mut bytes = vec![0; 8 * found as usize];
        block.read(&mut bytes)?;
        let items = bytes.as_chunks::<8>().0.iter();
        return Ok(items.map(|word| u64::from_le_bytes(*word)).collect());
    }
}

/// Words as they travel.
fn bytes_of(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}
