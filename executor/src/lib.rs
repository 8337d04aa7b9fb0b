//! The executor of ringbar: the daemon, one worker process a client, and the replay of recorded workloads.

#![forbid(unsafe_code)]

pub mod attach;
pub mod bench;
pub mod cli;
pub mod daemon;
pub mod device;
pub mod embedded;
pub mod failpoints;
pub mod figures;
pub mod idle;
pub mod job;
pub mod logging;
pub mod probe;
pub mod recording;
pub mod replay;
pub mod run;
pub mod serve;
pub mod status;
pub mod units;
pub mod vm;
pub mod worker;
