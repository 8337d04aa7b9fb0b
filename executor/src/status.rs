//! What a daemon tells about itself and its clients, and how `ringbar status` shows it.
//!
//! A daemon at PATH also listens at PATH.status. Whoever connects there gets one datagram with the descriptor of a memfd
//! that holds everything as one JSON text, and a hang-up: so a daemon with any number of clients waits for nobody who asks.
//! Counters are read from the regions' headers by the daemon, a third process to client and
//! worker; they are what each side claims.

use crate::job;
use comfy_table::{ContentArrangement, Table, presets};
use ringbar::counters::Counters;
use ringbar::handshake::{Connection, Deadline, TransportError};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Longest wait for a daemon's answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest text that is read: some hundred thousand clients.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// A daemon and its clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon.
    pub daemon: DaemonStatus,
    /// Its clients, by session number.
    pub clients: Vec<ClientStatus>,
}

/// A daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// What workers execute on.
    pub backend: String,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// The system interface that it waits by.
    pub waiter: String,
    /// Why that is not io_uring.
    pub waiter_reason: Option<String>,
    /// Whether it offers to wake without a fence on the producer's side.
    pub asymmetric_barrier: bool,
    /// Sessions so far, and claims of VMs that were answered with a channel.
    pub sessions_opened: u64,
    /// Generations after the first, so far: workers that died and were replaced.
    pub sessions_resumed: u64,
    /// Connections, and claims of VMs, that were refused or dropped, so far.
    pub refused: u64,
    /// Workers that ended without being asked to, so far.
    pub workers_lost: u64,
    /// Channels whose client broke the protocol, so far.
    #[serde(default)]
    pub channels_poisoned: u64,
    /// Commands that lasted for more than 10 s inside the driver, so far.
    #[serde(default)]
    pub stalls: Stalls,
    /// The VMs that it serves; their programs are among the clients.
    #[serde(default)]
    pub vms: Vec<VmStatus>,
}

/// Commands that lasted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalls {
    /// How many.
    pub count: u64,
    /// The one that lasted longest: its name and its seconds, as far as it was told.
    pub longest: Option<(String, u64)>,
}

impl Stalls {
    /// One that was told of; told of again when it is `over`.
    pub fn tell(&mut self, command: String, seconds: u64, over: bool) {
        self.count += u64::from(!over);
        if self.longest.as_ref().is_none_or(|(_, longest)| seconds > *longest) {
            self.longest = Some((command, seconds));
        }
    }

    /// The same for all that `other` has.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        if let Some((command, seconds)) = other.longest {
            self.tell(command, seconds, true);
        }
    }
}

impl std::fmt::Display for Stalls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} commands lasted over 10 s", self.count)?;
        match &self.longest {
            Some((command, seconds)) => write!(out, ", the longest {seconds} s ({command})"),
            None => Ok(()),
        }
    }
}

/// What became of a VM's programs, since this daemon serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VmCounts {
    /// Claims that were answered with a channel.
    pub claims_answered: u64,
    /// Claims that were refused.
    pub claims_refused: u64,
    /// Workers that ended without being asked to, and not because their program had left.
    pub workers_lost: u64,
    /// Channels whose program broke the protocol.
    pub channels_poisoned: u64,
    /// Channels that were taken back from a program without a heartbeat.
    pub channels_taken_back: u64,
    /// Commands that lasted for more than 10 s inside the driver.
    pub stalls: Stalls,
}

/// A VM's device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmStatus {
    /// The VM's name.
    pub name: String,
    /// Where its monitor connects.
    pub socket: String,
    /// The process that holds the device, 0 while it is not served.
    pub holder_pid: u32,
    /// Whether a monitor is connected.
    pub connected: bool,
    /// Bytes of memory.
    pub bytes: u64,
    /// Channels there are.
    pub channels: usize,
    /// Channels that somebody has.
    pub taken: usize,
    /// Monitors that were refused because one was connected, so far.
    pub monitors_refused: u64,
    /// Looks, 20 a second at most, that found the directory written over by the guest and wrote it anew, so far.
    #[serde(default)]
    pub directory_repaired: u64,
    /// Whether its monitor never connects, so that nothing can be known of it.
    #[serde(default)]
    pub polled: bool,
    /// Monitors that have gone, so far: boots and replugs.
    #[serde(default)]
    pub monitors_gone: u64,
    /// What became of its programs.
    #[serde(default)]
    pub counts: VmCounts,
    /// Why it is not served, while it is not; it is tried again every second.
    #[serde(default)]
    pub unserved: Option<String>,
}

impl VmStatus {
    fn line(&self) -> String {
        if let Some(why) = &self.unserved {
            return format!("VM {} at {}: NOT SERVED: {why}\n", self.name, self.socket);
        }
        let monitor = match (self.polled, self.connected) {
            (true, _) => "polled",
            (false, true) => "connected",
            (false, false) => "no VM connected",
        };
        let counts = &self.counts;
        let events = [
            (self.monitors_refused, "monitors refused"),
            (self.directory_repaired, "times the directory repaired"),
            (counts.claims_refused, "claims refused"),
            (counts.workers_lost, "workers lost"),
            (counts.channels_poisoned, "channels poisoned"),
            (counts.channels_taken_back, "silent programs"),
        ];
        let events = events.iter().filter(|(count, _)| *count > 0);
        let events: String = events.map(|(count, what)| format!(", {count} {what}")).collect();
        format!(
            "VM {}: {monitor}, {} of {} channels taken, {} MiB at {} (holder {}){events}\n",
            self.name,
            self.taken,
            self.channels,
            self.bytes >> 20,
            self.socket,
            self.holder_pid
        )
    }
}

/// A client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// The session's number.
    pub session: u64,
    /// The name that the client gave itself, or VM and channel.
    pub name: String,
    /// The VM that it runs in.
    #[serde(default)]
    pub vm: Option<String>,
    /// Its channel in that.
    #[serde(default)]
    pub channel: Option<usize>,
    /// For how long its heart has rested, in milliseconds; known of programs in VMs.
    #[serde(default)]
    pub silent_ms: Option<u64>,
    /// The process that connected, 0 if it has no number here.
    pub client_pid: i32,
    /// Its worker, unless the session waits for the client to attach again.
    pub worker_pid: Option<u32>,
    /// The generation.
    pub generation: u32,
    /// The channel's state, or `waiting`.
    pub state: String,
    /// The command that is inside the driver for more than 10 s, and for how many seconds.
    #[serde(default)]
    pub stalled: Option<(String, u64)>,
    /// Seconds since the session was opened.
    pub uptime_s: f64,
    /// How a sleeping side is noticed: `fence` or `asymmetric`.
    pub wake: String,
    /// The system interface that the worker waits by; unknown until it has started.
    pub waiter: Option<String>,
    /// Why that is not io_uring.
    pub waiter_reason: Option<String>,
    /// Bytes of the region.
    pub region_bytes: u64,
    /// Bytes of further arena segments.
    pub segment_bytes: u64,
    /// Rings of the worker's doorbell for 1,000 commands.
    pub doorbells_per_1000_commands: f64,
    /// What both sides counted in this generation.
    pub counters: CounterStatus,
    /// How the last worker of this session ended, if one did.
    pub last_end: Option<String>,
}

macro_rules! counters {
    ($($name:ident: $text:literal,)+) => {
        /// What client and worker counted in a generation, as each of them claims.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct CounterStatus {
            $(#[doc = concat!($text, ".")] pub $name: u64,)+
        }

        impl From<Counters> for CounterStatus {
            fn from(counters: Counters) -> Self {
                Self { $($name: counters.$name,)+ }
            }
        }
    };
}

counters! {
    lines_submitted: "Lines submitted",
    commands_submitted: "Commands submitted",
    batches: "Publications",
    client_bells: "Rings of the worker's doorbell",
    client_parks: "Times a client thread blocked",
    full_waits: "Times a client thread found the ring full",
    arena_waits: "Times a client thread found the arena full",
    client_bytes: "Payload bytes submitted",
    lines_released: "Lines released by the worker",
    executed: "Position after the last command executed",
    retired: "Position before which no command uses its arena bytes",
    commands_executed: "Commands executed",
    replies: "Replies given",
    worker_bells: "Rings of the client's doorbell",
    worker_parks: "Times the worker blocked",
    empty_wakes: "Wake-ups of the worker that found no command",
    worker_bytes: "Payload bytes consumed",
    errors: "Posted commands that failed",
    events_lost: "Events that found their ring full",
}

impl CounterStatus {
    /// `count` for 1,000 `commands`; 0 if there were none.
    pub fn per_1000(count: u64, commands: u64) -> f64 {
        if commands == 0 { 0.0 } else { count as f64 * 1000.0 / commands as f64 }
    }
}

/// Why a daemon's status could not be had.
#[derive(Debug, Error)]
pub enum QueryError {
    /// Nobody answers there, or not in time.
    #[error(transparent)]
    Connect(#[from] TransportError),
    /// The answer broke off, or is none.
    #[error(
        "the daemon's answer: {0}; likely cause: a daemon of another version; try: the same release"
    )]
    Answer(#[from] io::Error),
}

/// Where a daemon at `socket` tells its status.
pub fn status_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".status");
    path.into()
}

/// What comes in the datagram; the text is in the memfd that comes with it.
#[derive(Serialize, Deserialize)]
struct Told {
    /// Bytes of the text.
    bytes: u64,
}

/// Tells `status` to whoever is connected there, without waiting.
///
/// # Errors
/// If there is no memory, or nobody any more.
pub fn tell(asker: &Connection, status: &Status) -> io::Result<()> {
    let text = serde_json::to_vec(status)?;
    let memfd = rustix::fs::memfd_create("ringbar-status", MemfdFlags::CLOEXEC)?;
    File::from(memfd.try_clone()?).write_all_at(&text, 0)?;
    job::send(asker, &Told { bytes: text.len() as u64 }, &[memfd.as_fd()])
}

/// Asks the daemon at `socket`.
///
/// # Errors
/// [`QueryError`] if there is none, or it does not answer.
pub fn query(socket: &Path) -> Result<Status, QueryError> {
    let connection = Connection::connect(status_path(socket), Deadline::after(ANSWER_LIMIT))?;
    let status = listen(&connection)?;
    // Its hang-up: from then on the daemon holds nothing for this.
    let _ = job::receive_within::<Told>(&connection, ANSWER_LIMIT);
    Ok(status)
}

/// What is told at the other end of `connection`.
fn listen(connection: &Connection) -> io::Result<Status> {
    let (told, fds) = job::receive_within::<Told>(connection, ANSWER_LIMIT)?;
    let memfd = fds.into_iter().next().ok_or_else(|| io::Error::other("no descriptor in it"))?;
    let mut text = Vec::new();
    let mut file = File::from(memfd);
    file.rewind()?;
    file.take(told.bytes.min(TEXT_BYTES_MAX)).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

impl Status {
    /// For people.
    pub fn to_table(&self) -> String {
        let daemon = &self.daemon;
        let reason = daemon.waiter_reason.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        let wake = if daemon.asymmetric_barrier { "asymmetric barrier" } else { "fence" };
        let mut text = format!(
            "ringbar {} (process {}) on {}, up {}, waits by {}{reason}, wakes by {wake}\n\
             {} sessions opened, {} resumed, {} workers lost, {} channels poisoned, {} connections or claims refused\n",
            daemon.version,
            daemon.pid,
            daemon.backend,
            duration(daemon.uptime_s),
            daemon.waiter,
            daemon.sessions_opened,
            daemon.sessions_resumed,
            daemon.workers_lost,
            daemon.channels_poisoned,
            daemon.refused,
        );
        if daemon.stalls.count > 0 {
            text += &format!("{}\n", daemon.stalls);
        }
        text.extend(daemon.vms.iter().map(VmStatus::line));
        if self.clients.is_empty() {
            return text + "no clients";
        }
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(HEADER);
        table.add_rows(self.clients.iter().map(ClientStatus::row));
        text += &table.to_string();
        text
    }
}

const HEADER: [&str; 13] = [
    "session",
    "client",
    "pid",
    "worker",
    "generation",
    "state",
    "up",
    "commands",
    "waiting lines",
    "doorbells / 1,000",
    "failed posts",
    "waits by",
    "last end",
];

impl ClientStatus {
    fn row(&self) -> [String; 13] {
        let counters = &self.counters;
        let waiting = counters.lines_submitted.saturating_sub(counters.lines_released);
        let waiter = self.waiter.as_deref().unwrap_or("-");
        [
            self.session.to_string(),
            self.name.clone(),
            self.client_pid.to_string(),
            self.worker_pid.map_or("-".into(), |pid| pid.to_string()),
            self.generation.to_string(),
            self.state_in_words(),
            duration(self.uptime_s),
            counters.commands_submitted.to_string(),
            waiting.to_string(),
            format!("{:.2}", self.doorbells_per_1000_commands),
            counters.errors.to_string(),
            format!("{waiter}, {}", self.wake),
            self.last_end.clone().unwrap_or_else(|| "-".into()),
        ]
    }

    fn state_in_words(&self) -> String {
        let mut words = self.state.clone();
        if let Some((command, seconds)) = &self.stalled {
            words += &format!(", {seconds} s in {command}");
        }
        if let Some(silent @ 1000..) = self.silent_ms {
            words += &format!(", silent for {} s", silent / 1000);
        }
        words
    }
}

fn duration(seconds: f64) -> String {
    match seconds as u64 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doorbells_are_given_for_1000_commands_and_0_for_none() {
        assert_eq!(CounterStatus::per_1000(5, 2000), 2.5);
        assert_eq!(CounterStatus::per_1000(5, 0), 0.0);
    }

    #[test]
    fn a_status_of_thousands_of_clients_arrives_whole_without_anybody_reading() {
        let client = ClientStatus {
            session: 1,
            name: "x".repeat(64),
            vm: None,
            channel: None,
            silent_ms: None,
            client_pid: 1,
            worker_pid: Some(2),
            generation: 1,
            state: "running".into(),
            stalled: None,
            uptime_s: 1.5,
            wake: "fence".into(),
            waiter: Some("poll".into()),
            waiter_reason: Some("why".into()),
            region_bytes: 1,
            segment_bytes: 2,
            doorbells_per_1000_commands: 0.5,
            counters: CounterStatus::default(),
            last_end: None,
        };
        let daemon = DaemonStatus {
            version: "1".into(),
            pid: 1,
            backend: "mock".into(),
            uptime_s: 2.5,
            waiter: "poll".into(),
            waiter_reason: None,
            asymmetric_barrier: false,
            sessions_opened: 5000,
            sessions_resumed: 0,
            refused: 0,
            workers_lost: 0,
            channels_poisoned: 0,
            stalls: Stalls::default(),
            vms: Vec::new(),
        };
        let clients = (1..=5000).map(|session| ClientStatus { session, ..client.clone() });
        let status = Status { daemon, clients: clients.collect() };
        let (ours, theirs) = job::control_pair().unwrap();
        tell(&Connection::from_fd(ours).unwrap(), &status).unwrap();
        assert_eq!(listen(&Connection::from_fd(theirs).unwrap()).unwrap(), status);
    }

    #[test]
    fn a_command_that_lasts_is_counted_once_and_the_longest_is_named() {
        let mut stalls = Stalls::default();
        stalls.tell("MemFree".into(), 10, false);
        stalls.tell("MemFree".into(), 31, true);
        let mut all = Stalls::default();
        all.tell("ModuleLoad".into(), 11, false);
        all.add(stalls);
        assert_eq!(all.to_string(), "2 commands lasted over 10 s, the longest 31 s (MemFree)");
    }

    #[test]
    fn the_status_socket_lies_beside_the_daemons() {
        assert_eq!(
            status_path(Path::new("/run/ringbar.sock")),
            Path::new("/run/ringbar.sock.status")
        );
    }
}
