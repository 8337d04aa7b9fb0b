//! Named, numbered steps of the protocol at which a process can be made to end or to stop, for tests of what its peer then
//! does.
//!
//! Always compiled in, so that what is tested is what runs. A step that is not armed costs one load of a word that never
//! changes. A process arms at most one, once: a worker by the daemon's hidden `--failpoint`, a client by `ringbar probe`.
//!
//! A failpoint is written `name`, `name:3` (at the third time) or `name:3=stop` (with an action: `kill`, the default, is
//! SIGKILL; `stop` is SIGSTOP; `abort` is SIGABRT; `hang` sleeps for ever).

use ringbar::sync::{AtomicU32, Ordering};
use rustix::process::Signal;
use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

macro_rules! points {
    ($($Name:ident = $number:literal, $name:literal, $text:literal;)+) => {
        /// A step of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        assert!(Point::ALL.is_sorted_by(|a, b| (*a as u32) < (*b as u32)));
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
