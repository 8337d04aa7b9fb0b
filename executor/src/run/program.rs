//! A program that runs in the foreground: its signals, its end.

use super::error::{RunError, system};
use ringbar::os::liveness;
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::exfiltrator::origin::Origin;
use signal_hook::low_level::siginfo::Cause;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

/// Signals that a program may want for itself, and how they are sent on.
const FORWARDED: [(i32, Signal); 7] = [
    (SIGHUP, Signal::HUP),
    (SIGINT, Signal::INT),
    (SIGQUIT, Signal::QUIT),
    (SIGTERM, Signal::TERM),
    (SIGUSR1, Signal::USR1),
    (SIGUSR2, Signal::USR2),
    (SIGWINCH, Signal::WINCH),
];

/// Runs `command` to its end. Whatever signal another process sends to this one goes on to the program, at once and as
/// often as it comes.
///
/// The program stays in this process's group, so a key at the terminal (Ctrl-C) reaches it without us.
///
/// # Errors
/// [`RunError::Start`] if it cannot be started, [`RunError::System`] if it cannot be watched; it is ended then.
pub fn run(mut command: Command) -> Result<ExitStatus, RunError> {
    // Before the start: a signal in between waits in the pipe, and is sent on as soon as there is a program.
    let ignored = ignored_signals();
    let caught = FORWARDED.iter().map(|(number, _)| *number).filter(|n| !ignores(ignored, *n));
    let mut signals = SignalsInfo::<WithOrigin>::new(caught).map_err(system("catching signals"))?;
    let handle = signals.handle();
    let program = command.get_program().into();
    let mut child = command.spawn().map_err(|source| RunError::Start { program, source })?;
    let watched = liveness::pidfd_open(child.id() as i32).and_then(|pidfd| {
        let forward = move || signals.forever().for_each(|signal| send_on(&pidfd, &signal));
        std::thread::Builder::new().name("ringbar-signals".into()).spawn(forward)
    });
    let thread = match watched {
        Ok(thread) => thread,
        Err(error) => {
            let ended = child.kill().and_then(|()| child.wait());
            tracing::debug!(?ended, "the program was ended: its signals cannot be sent on");
            return Err(system("watching the program")(error));
        }
    };
    let status = child.wait().map_err(system("waiting for the program"));
    handle.close();
    // A thread that panicked has ended as well.
    let _ = thread.join();
    status
}

/// The signals that this process was started to ignore (by nohup, or in the background of a shell), a bit each: they
/// stay ignored, here and in the program.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn ignores(mask: u64, signal: i32) -> bool {
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

/// Sends a signal on, unless the terminal sent it to the whole group, the program included.
fn send_on(pidfd: &OwnedFd, origin: &Origin) {
    if origin.cause == Cause::Kernel {
        return;
    }
    let Some((_, signal)) = FORWARDED.iter().find(|(number, _)| *number == origin.signal) else {
        return;
    };
    if let Err(error) = rustix::process::pidfd_send_signal(pidfd, *signal) {
        tracing::debug!(%error, ?signal, "the program has ended already");
    }
}

/// The exit code that a shell would show: the program's own, or 128 and the number of the signal that ended it.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}
