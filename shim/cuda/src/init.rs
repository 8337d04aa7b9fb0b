//! `cuInit`: the log, the connection, the devices.

use crate::arg::Out;
use crate::failure::{Failure, Outcome};
use crate::{device, fork, session, stats};
use ringbar::guest::{GuestConfig, GuestError};
use ringbar_session::{Session, SessionConfig, SessionError};
use ringbar_vocabulary::{Init, Status};
use std::sync::{Mutex, Once, PoisonError};

static STARTING: Mutex<()> = Mutex::new(());
static LOG: Once = Once::new();
/// Each stream that was ever waited for has a fence word.
const FENCE_WORDS: u32 = 8192;

/// What the environment says about the session.
fn config() -> SessionConfig {
    let strict = std::env::var("RINGBAR_STRICT").is_ok_and(|value| value == "1");
    let mut config = SessionConfig { strict, ..SessionConfig::default() };
    config.sizes.fence_words = FENCE_WORDS;
    config
}

/// Connects once a process; later calls find the session there.
fn start() -> Outcome {
    // Before the lock: a child that is forked while another thread holds it would wait for ever.
    fork::watch();
    fork::refuse_in_child()?;
    let _only = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if session::live().is_ok() || session::gate() != Err(Status::NOT_INITIALIZED) {
        return Ok(session::gate()?);
    }
    LOG.call_once(log);
    let session = connect()?;
    let reply = session.caller().and_then(|mut caller| caller.call(&Init { flags: 0 }));
    let reply = reply.map_err(Failure::from)?;
    let over_a_bar = session.attached().is_some();
    session::install(session, reply.driver_version, reply.device_count);
    if over_a_bar {
        leave_at_exit();
    }
    stats::at_exit();
    Ok(())
}

/// Out of a virtual machine nothing but a heart at rest tells the host that this process ended, so it is told: its channel
/// is free at once for the next program.
fn leave_at_exit() {
    // SAFETY: the handler takes nothing, and the library stays loaded until the process ends.
    let refused = unsafe { libc::atexit(leave) };
    if refused != 0 {
        tracing::warn!("the host will learn of this program's end by its silence only");
    }
}

extern "C" fn leave() {
    // The parent still uses the channel of a copy.
    if fork::is_dead_copy() {
        return;
    }
    if let Ok(live) = session::live() {
        session::shut(Status::DEINITIALIZED);
        live.session.close();
    }
}

fn connect() -> Outcome<Session> {
    match std::env::var_os("RINGBAR_SOCKET").filter(|socket| !socket.is_empty()) {
        Some(socket) => {
            Session::connect(&socket, config()).map_err(|error| not_connected(&socket, &error))
        }
        None => connect_guest(),
    }
}

/// From a virtual machine: by the PCI function that `RINGBAR_VM` names, or the only one there is.
fn connect_guest() -> Outcome<Session> {
    let guest = GuestConfig::from_env().map_err(|error| no_device(&error))?;
    let session = Session::connect_guest(&guest, config()).map_err(|error| match &error {
        SessionError::Guest(error) => no_device(error),
        _ => unreachable_host(&error),
    })?;
    if let Some(attached) = session.attached() {
        tracing::info!(
            device = attached.device.name,
            channel = attached.channel,
            generation = attached.generation,
            interrupts = attached.interrupts,
            control = %attached.control,
            bulk = %attached.bulk,
            "attached to the host of this virtual machine"
        );
        if let Some(why) = &attached.device.no_interrupts {
            tracing::warn!("this program polls: {why}");
        }
    }
    Ok(session)
}

#[cold]
fn no_device(error: &GuestError) -> Failure {
    if error.says_no_way() {
        tracing::error!(
            "no executor: RINGBAR_SOCKET is not set (try: start the program by `ringbar run -- PROGRAM`), and this machine has no \
             way to a host: {error}"
        );
    } else {
        tracing::error!("{error} (`ringbar vm check` tries each step)");
    }
    Failure(Status::NO_DEVICE)
}

#[cold]
fn unreachable_host(error: &SessionError) -> Failure {
    tracing::error!("{error} (`ringbar vm check` tries each step)");
    Failure(Status::NO_DEVICE)
}

#[cold]
fn not_connected(socket: &std::ffi::OsStr, error: &SessionError) -> Failure {
    tracing::error!(socket = %socket.display(), %error, "no executor; is `ringbar serve` running there?");
    Failure(Status::SYSTEM_NOT_READY)
}

/// Logs to standard error what `RINGBAR_LOG` asks for.
fn log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("RINGBAR_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // Fails only in tests, where another one is set already.
    let _ = log.try_init();
}

entry! {
    /// Starts the driver: connects to the executor. Flags must be 0. NO_DEVICE if the program may see none.
    free fn cuInit(flags: u32) {
        if flags != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        start()?;
        if device::devices()?.is_empty() {
            return Err(Status::NO_DEVICE.into());
        }
        Ok(())
    }

    /// The driver's CUDA version; connects if nobody did yet.
    free fn cuDriverGetVersion(version: Out<i32>) {
        let version = version.required()?;
        if session::live().is_err() {
            start()?;
        }
        version.set(session::live()?.driver_version as i32)
    }
}
