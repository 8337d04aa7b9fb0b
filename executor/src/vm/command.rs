//! `ringbar vm`: what concerns virtual machines, on the host and inside.

use super::{check, end};
use crate::cli;
use clap::{Args, Subcommand};
use ringbar::guest::{self, GuestConfig};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `ringbar vm` can do.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// On the host: take away a device that an ended daemon left in place, and wait until it is gone.
    End(EndArgs),
    /// In the guest: check each step of the way to the host; succeeds only if all is well.
    Check(check::CheckArgs),
    /// In the guest: has the function's VFIO group for all programs, so that each gets interrupts; started once, at boot.
    Hold(HoldArgs),
}

/// Options of `ringbar vm end`.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// The socket that the VM's monitor connects to.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Also if a VM has the device, which loses it for good then.
    #[arg(long)]
    force: bool,
}

/// Options of `ringbar vm hold`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// The function's address [default: $RINGBAR_VM, else the only one that holds a region].
    #[arg(value_name = "DEVICE")]
    device: Option<String>,
    /// First enable the function and bind it to vfio-pci, whose module must be loaded; one that has a driver keeps it.
    #[arg(long)]
    bind: bool,
}

fn end_device(args: &EndArgs) -> Result<(), Box<dyn std::error::Error>> {
    let pid = end::end(&args.socket, args.force)?;
    println!(
        "the device at {} is gone, and its holder (process {pid}) with it",
        args.socket.display()
    );
    Ok(())
}

fn hold(args: &HoldArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = match &args.device {
        Some(text) => GuestConfig::parse(text)?,
        None => GuestConfig::from_env()?,
    };
    let stop = cli::stop_descriptor()?;
    guest::hold(&config, args.bind, stop.as_fd(), |path| {
        println!("interrupts at {}", path.display());
        cli::tell_ready();
    })?;
    Ok(())
}

fn code(result: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringbar: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does it.
pub fn run(command: &VmCommand) -> ExitCode {
    crate::logging::start(None);
    match command {
        VmCommand::End(args) => code(end_device(args)),
        VmCommand::Hold(args) => code(hold(args)),
        VmCommand::Check(args) => check::run(args),
    }
}
