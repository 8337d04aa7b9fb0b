//! The executor of ringbar: the daemon, one worker process a client, and the replay of recorded workloads.

#![forbid(unsafe_code)]

pub mod failpoints;
pub mod recording;
pub mod serve;
