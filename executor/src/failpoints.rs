//! Named, numbered steps of the protocol at which a process can be made to end or to stop, for tests of what its peer then
//! does.
//!
//! Always compiled in, so that what is tested is what runs. A step that is not armed costs one load of a word that never
//! changes. A process arms at most one, once: a client by `ringbar probe`, all others by the hidden `--failpoint` of
//! `ringbar serve`, which arms it in itself, or in the first worker or holder that it starts, by whose step it is.
//!
//! A failpoint is written `name`, `name:3` (at the third time) or `name:3=stop` (with an action: `kill`, the default, is
//! SIGKILL; `stop` is SIGSTOP; `abort` is SIGABRT; `hang` sleeps for ever).

use ringbar::sync::{AtomicU32, Ordering};
use rustix::process::Signal;
use std::env::VarError;
use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

macro_rules! points {
    ($($Name:ident = $number:literal, $name:literal, $text:literal;)+) => {
        /// A step of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Point {
            $(#[doc = concat!($text, ".")] $Name = $number,)+
        }

        impl Point {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$Name),+];

            /// Its name, as the command line spells it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$Name => $name,)+ }
            }

            /// What happens there.
            pub fn text(self) -> &'static str {
                match self { $(Self::$Name => $text,)+ }
            }
        }
    };
}

points! {
    WorkerBegun = 1, "worker_begun", "the worker process runs and knows nothing yet";
    WorkerTold = 2, "worker_told", "the worker has its job and its descriptors, the region is not mapped";
    WorkerMapped = 3, "worker_mapped", "the region is mapped, the channel is still offered";
    WorkerStarted = 4, "worker_started", "the channel is running, no command was looked at";
    BeforePop = 5, "before_pop", "before the worker looks for a command";
    AfterPop = 6, "after_pop", "a command is copied out of the ring, not executed";
    AfterExecution = 7, "after_execution", "a command is executed, nothing about it is published";
    BeforeReply = 8, "before_reply", "a synchronous command is executed, its reply is not written";
    AfterReply = 9, "after_reply", "the reply is written and the client woken";
    BeforeFence = 10, "before_fence", "before a fence word is stored";
    AfterFence = 11, "after_fence", "a fence word is stored and the client woken";
    InArenaRead = 12, "in_arena_read", "half of a block is copied out of the arena";
    InArenaWrite = 13, "in_arena_write", "half of a block is copied into the arena";
    BeforeHold = 14, "before_hold", "before a hold on arena bytes is noted";
    BeforeRelease = 15, "before_release", "before a hold on arena bytes is given back";
    BeforeLatch = 16, "before_latch", "before the first failure of a posted command is published";
    BeforeProgress = 17, "before_progress", "an arena command is done, its progress is not published";
    Idle = 18, "idle", "the ring was found empty and the worker has slept once";
    BeforeGrown = 19, "before_grown", "a further arena segment is made, the client does not know";
    AfterGrown = 20, "after_grown", "a further arena segment is announced";
    BeforeClose = 21, "before_close", "the worker leaves in order, the client does not know";
    ClientConnected = 40, "client_connected", "the client is connected and has said nothing";
    ClientGreeted = 41, "client_greeted", "the client's hello is sent, the answer is not read";
    ClientWelcomed = 42, "client_welcomed", "the client has its descriptors, the region is not mapped";
    ClientAttached = 43, "client_attached", "the client is attached and has posted nothing";
    ClientWriting = 44, "client_writing", "the client is writing a record that is not published";
    ClientPosted = 45, "client_posted", "the client has posted commands";
    ClientStaged = 46, "client_staged", "the client holds a staged block that no command uses";
    ClientCalled = 47, "client_called", "the client has sent a synchronous command and does not wait for the reply";
    ClientAnswered = 48, "client_answered", "the client has its reply";
    ClientGrowing = 49, "client_growing", "the client has asked for a further arena segment and does not wait for it";
    ClientGrown = 50, "client_grown", "the client has a further arena segment";
    ClientClosed = 51, "client_closed", "the client has closed the channel and has not said goodbye";
    DaemonAccepted = 60, "daemon_accepted", "a connection is accepted, nothing is known of who it is";
    DaemonAdmitted = 61, "daemon_admitted", "the credentials are checked, the connection may say hello";
    DaemonHeard = 62, "daemon_heard", "a hello is understood, there is no session for it";
    DaemonOpened = 63, "daemon_opened", "a session has its region, no generation is offered";
    DaemonResumed = 64, "daemon_resumed", "a token names a session without a worker, the next generation is not offered";
    DaemonOffered = 65, "daemon_offered", "a generation is offered, it has no worker";
    DaemonSpawned = 66, "daemon_spawned", "a worker process is started, it and the client know nothing";
    DaemonWelcomed = 67, "daemon_welcomed", "the client has its descriptors, the worker has none";
    DaemonGave = 68, "daemon_gave", "the worker has its job and its descriptors, nobody waits for its end";
    DaemonServing = 69, "daemon_serving", "a session is served and watched";
    DaemonEndSeen = 70, "daemon_end_seen", "a worker has ended, it is not reaped";
    DaemonReaped = 71, "daemon_reaped", "a worker is reaped, its channel is not marked";
    DaemonMarked = 72, "daemon_marked", "a channel is marked lost, its session is not decided on";
    DaemonClientDied = 73, "daemon_client_died", "a client's process has ended, nothing of it is freed";
    DaemonFreeing = 74, "daemon_freeing", "before a session and its memory are freed";
    DaemonAsked = 75, "daemon_asked", "somebody asks for status, nothing is told";
    DaemonEnding = 76, "daemon_ending", "the daemon is asked to end, no worker is";
    VmClaimed = 80, "vm_claimed", "a guest's claim is seen, no generation is offered";
    VmOffered = 81, "vm_offered", "a generation is offered to a guest, it has no worker";
    VmSpawned = 82, "vm_spawned", "a guest's worker is started, the holder does not know it";
    VmKept = 83, "vm_kept", "the holder keeps a guest's worker, that has no job";
    VmGave = 84, "vm_gave", "a guest's worker has its job, the channel is not assigned";
    VmAssigned = 85, "vm_assigned", "a channel is assigned to a guest, nobody waits for its worker's end";
    VmReaped = 86, "vm_reaped", "a guest's worker is reaped, its channel is not marked";
    VmFreeing = 87, "vm_freeing", "before a guest's channel is freed";
    VmFreed = 88, "vm_freed", "a guest's channel is freed, the holder does not know";
    HolderBegun = 100, "holder_begun", "the holder runs and has made nothing";
    HolderMade = 101, "holder_made", "the holder has sockets, memory and doorbells, no daemon knows";
    HolderTelling = 102, "holder_telling", "a daemon has the device and knows of no channel";
    HolderTold = 103, "holder_told", "a daemon knows everything, the holder does not listen to it";
    HolderKeeping = 104, "holder_keeping", "a daemon's word is received and not kept";
    HolderGreeting = 105, "holder_greeting", "a monitor is accepted and knows nothing";
    HolderGreeted = 106, "holder_greeted", "a monitor has the device, the daemon does not know";
    HolderMonitorLeft = 107, "holder_monitor_left", "a monitor has left, the daemon does not know";
    HolderEnding = 108, "holder_ending", "a daemon asks the holder to end";
}

/// Whose step a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A worker's.
    Worker,
    /// A client's.
    Client,
    /// The daemon's, with processes of this host.
    Daemon,
    /// The daemon's, with a VM.
    VmDaemon,
    /// A VM holder's.
    Holder,
}

impl Point {
    /// Whose step it is.
    pub fn side(self) -> Side {
        match self as u32 {
            0..40 => Side::Worker,
            40..60 => Side::Client,
            60..80 => Side::Daemon,
            80..100 => Side::VmDaemon,
            _ => Side::Holder,
        }
    }

    /// All points of one side.
    pub fn of(side: Side) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |point| point.side() == side)
    }
}

/// What a failpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// SIGKILL to this process.
    Kill = 1,
    /// SIGSTOP to this process; it goes on after SIGCONT.
    Stop = 2,
    /// `abort`.
    Abort = 3,
    /// This thread sleeps for ever.
    Hang = 4,
}

const ACTIONS: [(&str, Action); 4] = [
    ("kill", Action::Kill),
    ("stop", Action::Stop),
    ("abort", Action::Abort),
    ("hang", Action::Hang),
];

/// A point, how often it is passed before it acts, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failpoint {
    /// Where.
    pub point: Point,
    /// At which time, from 1.
    pub at: u32,
    /// What happens.
    pub action: Action,
}

/// A text that names no failpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("found failpoint {found:?}, expected NAME, NAME:TIMES or NAME:TIMES=ACTION; {detail}")]
pub struct FailpointError {
    /// The text.
    found: String,
    /// Which part is wrong, and what could stand there.
    detail: String,
}

impl FromStr for Failpoint {
    type Err = FailpointError;

    fn from_str(text: &str) -> Result<Self, FailpointError> {
        let wrong = |detail: String| FailpointError { found: text.into(), detail };
        let (rest, action) = text.split_once('=').unwrap_or((text, "kill"));
        let (name, at) = rest.split_once(':').unwrap_or((rest, "1"));
        let point = Point::ALL.iter().find(|point| point.name() == name);
        let point = point.ok_or_else(|| wrong(format!("names: {}", list(Point::ALL))))?;
        let at = at.parse().ok().filter(|&at| at > 0);
        let at = at.ok_or_else(|| wrong("TIMES is a number from 1".into()))?;
        let action = ACTIONS.iter().find(|(name, _)| *name == action);
        let action = action.ok_or_else(|| wrong("actions: kill, stop, abort, hang".into()))?.1;
        Ok(Self { point: *point, at, action })
    }
}

fn list(points: &[Point]) -> String {
    points.iter().map(|point| point.name()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = ACTIONS.iter().find(|(_, action)| *action == self.action);
        write!(f, "{}:{}={}", self.point.name(), self.at, action.map_or("kill", |(name, _)| name))
    }
}

/// Number of the armed point, 0 for none.
static ARMED: AtomicU32 = AtomicU32::new(0);
/// Times the armed point is still to be passed, the last one included.
static LEFT: AtomicU32 = AtomicU32::new(0);
static ACTION: AtomicU32 = AtomicU32::new(0);

/// The environment variable that arms a failpoint in a worker or a holder.
pub const VARIABLE: &str = "RINGBAR_FAILPOINT";

/// Arms the failpoint that the environment names, if it names one.
///
/// # Errors
/// [`FailpointError`] for a text that names none: whoever wrote it expects this process to end at some step.
pub fn arm_from_environment() -> Result<(), FailpointError> {
    let text = match std::env::var(VARIABLE) {
        Ok(text) => text,
        Err(VarError::NotPresent) => return Ok(()),
        Err(VarError::NotUnicode(text)) => text.to_string_lossy().into_owned(),
    };
    arm(text.parse()?);
    Ok(())
}

/// Takes `failpoint` if it is one of `side`: what the environment of a process of that side is to say.
pub fn take_for(failpoint: &mut Option<Failpoint>, side: Side) -> Option<(&'static str, String)> {
    let taken = failpoint.take_if(|failpoint| failpoint.point.side() == side)?;
    Some((VARIABLE, taken.to_string()))
}

/// Arms `failpoint` in this process.
pub fn arm(failpoint: Failpoint) {
    LEFT.store(failpoint.at, Ordering::Relaxed);
    ACTION.store(failpoint.action as u32, Ordering::Relaxed);
    ARMED.store(failpoint.point as u32, Ordering::Relaxed);
}

/// Passes `point`: does nothing unless it is armed.
#[inline(always)]
pub fn hit(point: Point) {
    if is_armed(point) {
        passed(point);
    }
}

/// Whether `point` is armed: for steps that are only taken apart for a failpoint between the parts.
#[inline(always)]
pub fn is_armed(point: Point) -> bool {
    ARMED.load(Ordering::Relaxed) == point as u32
}

#[cold]
fn passed(point: Point) {
    if LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        ARMED.store(0, Ordering::Relaxed);
        act(point);
    }
}

fn act(point: Point) {
    let text = format!("failpoint {} reached by process {}\n", point.name(), std::process::id());
    // The proof that the point was reached, before the process ends; at once, so that no other process's text gets into it.
    let _ = std::io::stderr().write_all(text.as_bytes());
    let action = ACTION.load(Ordering::Relaxed);
    let signal = |signal| {
        // Own process: allowed always.
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    };
    match action {
        a if a == Action::Stop as u32 => signal(Signal::STOP),
        a if a == Action::Abort as u32 => std::process::abort(),
        a if a == Action::Hang as u32 => sleep_for_ever(),
        _ => {
            signal(Signal::KILL);
            sleep_for_ever();
        }
    }
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failpoint_is_read_back_as_it_is_written() {
        for &point in Point::ALL {
            for (_, action) in ACTIONS {
                let failpoint = Failpoint { point, at: 3, action };
                assert_eq!(failpoint.to_string().parse(), Ok(failpoint));
            }
        }
        let short: Failpoint = "before_pop".parse().unwrap();
        assert_eq!(short, Failpoint { point: Point::BeforePop, at: 1, action: Action::Kill });
    }

    #[test]
    fn names_and_numbers_are_unique() {
        let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
        assert!(Point::ALL.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn texts_that_name_no_failpoint_say_what_could() {
        for (text, part) in
            [("nowhere", "before_pop"), ("idle:0", "from 1"), ("idle:1=sing", "abort")]
        {
            let error = text.parse::<Failpoint>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
