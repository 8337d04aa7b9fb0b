//! What a VM costs the host.

use crate::hostile::own_kib;
use crate::support::descriptors;
use crate::support::device::{VmServer, region_file};
use std::os::unix::fs::MetadataExt;

/// What is held for a VM on the host.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    /// The daemon, its holder, its workers.
    pub processes: usize,
    /// Open descriptors of daemon and holder.
    pub descriptors: [usize; 2],
    /// Memory of daemon and holder that is their own.
    pub memory_kib: u64,
    /// The device's memory, as far as there are pages of it.
    pub region_kib: u64,
}

impl Held {
    pub fn by(server: &VmServer) -> Self {
        let pids = [server.child.id(), server.vm().holder_pid];
        let region = region_file(pids[1]);
        Self {
            processes: server.processes().len(),
            descriptors: pids.map(descriptors),
            memory_kib: pids.map(own_kib).iter().sum(),
            region_kib: std::fs::metadata(region).unwrap().blocks() / 2,
        }
    }
}
