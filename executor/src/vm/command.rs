//! `ringbar vm`: what concerns virtual machines, on the host and inside.

use super::link;
use clap::{Args, Subcommand};
use std::error::Error;
use std::path::PathBuf;

/// What `ringbar vm` can do.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// On the host: take away a device that an ended daemon left in place.
    End(EndArgs),
}

/// Options of `ringbar vm end`.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// The socket that the VM's monitor connects to.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
}

/// Does it.
///
/// # Errors
/// Each with its likely cause and what to try.
pub fn run(command: &VmCommand) -> Result<(), Box<dyn Error>> {
    match command {
        VmCommand::End(args) => link::end(&args.socket),
    }
}
