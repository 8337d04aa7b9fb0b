//! `ringbar vm end`: takes a device away for good.
//!
//! What it understands of a holder's answer is only what every version says, so that a holder which an earlier release left
//! in place can be ended.

use super::link::{ToHolder, holder_path, says_nobody};
use crate::job;
use ringbar::handshake::{Connection, Deadline, TransportError};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Longest wait for the holder's answer, and for its end.
const LIMIT: Duration = Duration::from_secs(5);

/// Ends the holder of the device at `socket`, and waits until it has ended; answers its process. Workers that still run for the
/// VM end with it: nobody could find them any more. A device that a VM has is left to it unless `force` is given.
///
/// # Errors
/// If there is no holder, a daemon serves it (which is to be ended first), a VM has the device, or it does not answer.
pub fn end(socket: &Path, force: bool) -> Result<i32, Box<dyn Error>> {
    let connected = Connection::connect(holder_path(socket), Deadline::after(LIMIT));
    let connection = connected.map_err(|error| match error {
        TransportError::Connect { source, .. } if says_nobody(&source) => {
            format!(
                "{}: no device is held there; try: the socket that `serve --vm` was given",
                socket.display()
            )
        }
        other => other.to_string(),
    })?;
    let pid = connection.peer_credentials()?.pid;
    let process = process_of(pid)?;
    let control = connection.socket().as_fd();
    let told = match job::receive_within::<Value>(control, LIMIT) {
        Ok((told, _)) => told,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(stuck(pid)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(error.into()),
        // So much of it that it is another version's.
        Err(_) => Value::Null,
    };
    may_end(&told, force, pid)?;
    let workers = workers(control, &told);
    // Holders of before know only one word for it.
    let knows_both = told.pointer("/device/layout").is_some();
    let word = if force || !knows_both { ToHolder::End } else { ToHolder::EndIfUnused };
    job::send(control, &word, &[])?;
    while let Ok((told, _)) = job::receive_within::<Value>(control, LIMIT) {
        not_refused(&told)?;
    }
    if !has_ended(&process)? {
        return Err(stuck(pid));
    }
    // One that has ended by itself is no error.
    workers.iter().for_each(|worker| {
        let _ = pidfd_send_signal(worker, Signal::KILL);
    });
    Ok(pid)
}

/// What comes with the words about channels that follow the first one: the pidfd of each worker.
fn workers(control: BorrowedFd<'_>, told: &Value) -> Vec<OwnedFd> {
    let channels = told.pointer("/device/channels").and_then(Value::as_u64).unwrap_or(0);
    let words = (0..channels).map_while(|_| job::receive_within::<Value>(control, LIMIT).ok());
    words.flat_map(|(_, fds)| fds).collect()
}

/// Whether the holder that told this may be ended.
fn may_end(told: &Value, force: bool, pid: i32) -> Result<(), Box<dyn Error>> {
    not_refused(told)?;
    let connected = told.pointer("/device/monitors/connected").and_then(Value::as_bool);
    match connected {
        _ if force => Ok(()),
        Some(false) => Ok(()),
        Some(true) => Err("a VM has this device, and would lose it for good: it could not connect again; \
             try: shut that VM down first, or --force"
            .into()),
        None => Err(format!(
            "the holder (process {pid}) is of another version, and whether a VM has its device is not known; \
             try: --force once that VM is shut down"
        )
        .into()),
    }
}

fn not_refused(told: &Value) -> Result<(), Box<dyn Error>> {
    let reason = told.pointer("/refused/reason").and_then(Value::as_str);
    reason.map_or(Ok(()), |reason| Err(reason.into()))
}

fn stuck(pid: i32) -> Box<dyn Error> {
    format!(
        "the holder (process {pid}) does not answer within {LIMIT:?}; likely cause: it is stopped; try: `kill -CONT {pid}`, \
         or `kill -KILL {pid}`, by which a VM that has its device loses it for good"
    )
    .into()
}

fn process_of(pid: i32) -> Result<OwnedFd, Box<dyn Error>> {
    let process = Pid::from_raw(pid)
        .ok_or("the holder runs in another container or namespace; try: end it there")?;
    Ok(pidfd_open(process, PidfdFlags::empty())?)
}

fn has_ended(process: &OwnedFd) -> Result<bool, Box<dyn Error>> {
    let timeout = Timespec::try_from(LIMIT)?;
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout)))? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_device_is_ended_where_no_vm_has_it_or_by_force_whatever_else_its_holder_says() {
        let device =
            |connected| json!({"device": {"novel": [1], "monitors": {"connected": connected}}});
        let refused = json!({"refused": {"reason": "another daemon serves this VM"}});
        assert!(may_end(&device(false), false, 7).is_ok());
        let said = |told: &Value| may_end(told, false, 7).unwrap_err().to_string();
        assert!(said(&device(true)).contains("--force"));
        assert!(said(&json!({"device": {}})).contains("process 7"));
        assert!(said(&Value::Null).contains("another version"));
        assert!(said(&refused).contains("another daemon"));
        assert!(may_end(&device(true), true, 7).is_ok() && may_end(&Value::Null, true, 7).is_ok());
        assert!(may_end(&refused, true, 7).is_err());
    }
}
