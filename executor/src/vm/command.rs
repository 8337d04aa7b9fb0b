//! `ringbar vm`: what concerns virtual machines, on the host and inside.

use super::{check, guest_test, link};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What `ringbar vm` can do.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// On the host: take away a device that an ended daemon left in place.
    End(EndArgs),
    /// In the guest: check each step of the way to the host; succeeds only if all is well.
    Check(check::CheckArgs),
    /// In the guest: one of the tests of `.ci/vm`.
    #[command(hide = true)]
    GuestTest(guest_test::GuestTestArgs),
}

/// Options of `ringbar vm end`.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// The socket that the VM's monitor connects to.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
}

/// Does it.
pub fn run(command: &VmCommand) -> ExitCode {
    match command {
        VmCommand::End(args) => match link::end(&args.socket) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("ringbar: {error}");
                ExitCode::FAILURE
            }
        },
        VmCommand::Check(args) => check::run(args),
        VmCommand::GuestTest(args) => guest_test::run(args),
    }
}
