//! D1, D3, D8, D9, D10: a worker is killed at each step of the protocol that it takes.
//!
//! Each time: the step was reached; every waiter of its client (reply, fence, full ring, arena) gets a typed error within
//! 100 ms; another client and the daemon go on; the client attaches again, on the next generation, and works.

mod support;

use ringbar::Error as ChannelError;
use ringbar::os::liveness;
use ringbar_executor::attach::{AttachError, Attachment, Wish};
use ringbar_executor::failpoints::{Point, Side};
use ringbar_vocabulary::*;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, Server, eventually, named, send_signal};

/// From the worker's death to the last waiter's error.
const DEATH_BOUND: Duration = Duration::from_millis(100);
/// How often a step is tried again when a waiter was late: the machine may be busy with something else.
const TRIES: usize = 10;

const EVENT: EventId = EventId(1);
const STREAM: StreamId = StreamId::DEFAULT;

/// A waiter's name, when it returned, and with what.
type Outcome = (&'static str, Instant, ChannelError);

/// Everything a client does; reaches every step of a worker. Ends with the first error.
fn do_everything(at: &Attachment, round: u64) -> Result<(), AttachError> {
    let device = at.call(MemAlloc { context: ContextId::FIRST, bytes: 4096 })?.at;
    let block = at.client.pin(4096, 64)?;
    let place = ArenaRef { addr: block.address, len: block.len };
    at.client.arena().write(block.address, &[7; 4096]).unwrap();
    at.post(MemcpyHtoD { dst: device, stream: STREAM, data: Tail::Arena(place) })?;
    at.post(MemcpyDtoH { dst: place, src: device, stream: STREAM })?;
    at.post(Fence { stream: STREAM, index: 1, value: round })?;
    at.client.wait_fence(1, round, Some(PATIENCE))?;
    at.post(MemFree { at: device })?;
    at.post(StreamDestroy { stream: StreamId(77) })?;
    at.call(Ping { token: round })?;
    if round.is_multiple_of(8) && round <= 64 {
        at.grow(4096)?;
    }
    at.client.unpin(block.address)?;
    Ok(())
}

fn prepare(at: &Attachment) -> Result<(), AttachError> {
    at.call(Init { flags: 0 })?;
    at.post(EventCreate { context: ContextId::FIRST, event: EVENT, flags: 0 })?;
    Ok(())
}

/// Starts a thread for each way to wait; each reports how its wait ended.
fn start_waiters(at: &Attachment, busy: bool) -> mpsc::Receiver<Outcome> {
    let (tell, outcomes) = mpsc::channel();
    let start = |name: &'static str, wait: Box<dyn FnOnce() -> ChannelError + Send>| {
        let tell = tell.clone();
        thread::spawn(move || {
            let error = wait();
            let _ = tell.send((name, Instant::now(), error));
        });
    };
    let client = at.client.clone();
    start("fence", Box::new(move || client.wait_fence(7, 1, None).unwrap_err()));
    let client = at.client.clone();
    start(
        "arena",
        Box::new(move || {
            // All of the staging area, for a command that is never posted.
            let _all = match client.stage(client.staging_bytes()) {
                Ok(all) => all,
                Err(error) => return error,
            };
            client.stage(4096).unwrap_err()
        }),
    );
    if busy {
        let client = at.client.clone();
        start("reply", Box::new(move || call_until_it_fails(&client)));
        let client = at.client.clone();
        start("full ring", Box::new(move || post_until_it_fails(&client)));
    }
    outcomes
}

fn call_until_it_fails(client: &ringbar::client::Client) -> ChannelError {
    let ping = ringbar_executor::attach::encoded(Ping { token: 1 });
    let mut caller = match client.caller() {
        Ok(caller) => caller,
        Err(error) => return error,
    };
    loop {
        if let Err(error) = caller.call(&ping) {
            return error;
        }
    }
}

/// Faster than the worker executes, so that the ring is full most of the time.
fn post_until_it_fails(client: &ringbar::client::Client) -> ChannelError {
    let record = ringbar_executor::attach::encoded(EventRecord {
        event: EVENT,
        stream: STREAM,
        flags: 0,
        index: NO_FENCE,
        value: 0,
    });
    let batch = [&record[..]; 32];
    loop {
        if let Err(error) = client.post_batch(&batch) {
            return error;
        }
    }
}

/// When the process ended, watched by its pidfd from now on.
fn time_of_death(pid: u32) -> thread::JoinHandle<Instant> {
    let pidfd = liveness::pidfd_open(pid as i32);
    thread::spawn(move || {
        if let Ok(pidfd) = pidfd {
            while !liveness::has_exited(&pidfd).unwrap() {
                thread::sleep(Duration::from_micros(200));
            }
        }
        Instant::now()
    })
}

/// When `text` was in the daemon's log, looked for from now on.
fn time_of_log(server: &Server, text: String) -> thread::JoinHandle<Instant> {
    let (log, end) = (server.log_path(), Instant::now() + PATIENCE);
    thread::spawn(move || {
        let told = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains(&text));
        while !told() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        Instant::now()
    })
}

/// Another client that works all the time; ends with the number of its calls.
fn bystander(server: &Server, over: mpsc::Receiver<()>) -> thread::JoinHandle<u64> {
    let at = server.client_named("bystander");
    prepare(&at).unwrap();
    thread::spawn(move || {
        let mut calls = 0;
        while over.try_recv() == Err(mpsc::TryRecvError::Empty) {
            at.call(Ping { token: calls }).unwrap();
            calls += 1;
        }
        calls
    })
}

/// One death: `Ok` with how late the last waiter was.
fn die_once(point: Point, at: u32, options: &str, busy: bool) -> Duration {
    let server = Server::start(&format!("--failpoint {}:{at} {options}", point.name()));
    let reached = format!("failpoint {} reached", point.name());
    let dying = time_of_log(&server, reached.clone());
    let mut resume = None;
    let lateness;
    let attached = server.attach(&named("victim"));
    let returned = Instant::now();
    let (over, is_over) = mpsc::channel();
    let other = bystander(&server, is_over);
    match attached {
        Ok(victim) => {
            let death = time_of_death(victim.worker_pid);
            resume = Some(victim.token);
            lateness = wait_for_death(&victim, point, death, busy);
        }
        // The worker may die before its client has attached, which then fails as soon.
        Err(AttachError::Channel(ChannelError::Region(_) | ChannelError::PeerDied { .. })) => {
            // It said so before it died. A wait that was over before that was seen was not long.
            lateness = returned.saturating_duration_since(dying.join().unwrap());
        }
        Err(error) => panic!("a typed error of a dead worker, not {error}"),
    }
    assert!(eventually(|| server.log().contains(&reached)), "{}", server.log());
    works_again(&server, resume);
    over.send(()).unwrap();
    assert!(other.join().unwrap() > 0, "the other client was served all along");
    assert!(server.status().daemon.workers_lost >= 1);
    lateness
}

fn wait_for_death(
    victim: &Attachment,
    point: Point,
    death: thread::JoinHandle<Instant>,
    busy: bool,
) -> Duration {
    let prepared = prepare(victim);
    let outcomes = start_waiters(victim, busy);
    let mut last = prepared;
    if point == Point::BeforeClose {
        send_signal(victim.worker_pid, "TERM");
    }
    let end = Instant::now() + PATIENCE;
    for round in 1.. {
        assert!(Instant::now() < end, "{} was never reached", point.name());
        if point == Point::Idle {
            thread::sleep(Duration::from_millis(5));
        }
        last = last.and_then(|()| do_everything(victim, round));
        if last.is_err() {
            break;
        }
    }
    let failed = Instant::now();
    assert_dead("the client's own thread", &last.unwrap_err());
    let death = death.join().unwrap();
    let waiters = if busy { 4 } else { 2 };
    let ended: Vec<Outcome> =
        (0..waiters).map(|_| outcomes.recv_timeout(PATIENCE).unwrap()).collect();
    for (name, _, error) in &ended {
        assert!(matches!(error, ChannelError::PeerDied { .. }), "{name} waiter: {error}");
    }
    let latest = ended.iter().map(|(_, at, _)| *at).chain([failed]).max().unwrap();
    latest.saturating_duration_since(death)
}

fn assert_dead(who: &str, error: &AttachError) {
    use ringbar::handshake::TransportError::{Closed, TimedOut};
    let dead = matches!(
        error,
        AttachError::Channel(ChannelError::PeerDied { .. }) | AttachError::Handshake(Closed { .. })
    );
    assert!(!matches!(error, AttachError::Handshake(TimedOut { .. })), "{who} waited in vain");
    assert!(dead, "{who}: {error}");
}

/// The client goes on in the next generation, or as a new session if it never had one.
fn works_again(server: &Server, resume: Option<ringbar::handshake::SessionToken>) {
    let wish = Wish { resume, ..named("victim") };
    let mut again = None;
    assert!(eventually(|| {
        again = server.attach(&wish).ok();
        again.is_some()
    }));
    let again = again.unwrap();
    assert_eq!(again.generation, if resume.is_some() { 2 } else { 1 });
    prepare(&again).unwrap();
    (1..20).for_each(|round| do_everything(&again, round).unwrap());
}

fn dies_at(point: Point, at: u32, options: &str, busy: bool) {
    let late = |_| die_once(point, at, options, busy);
    let best = (0..TRIES).map(late).find(|late| *late <= DEATH_BOUND);
    assert!(
        best.is_some(),
        "a waiter returned later than {DEATH_BOUND:?} in each of {TRIES} tries"
    );
}

/// Work is queued on the device and so holds arena bytes.
const QUEUED: &str = "--mock latency_ns=100000 --mock bandwidth_bytes_per_s=1000000000";

macro_rules! deaths {
    ($($name:ident: $point:ident at $at:literal $options:expr, $busy:literal;)+) => {
        $(
            #[test]
            fn $name() {
                dies_at(Point::$point, $at, $options, $busy);
            }
        )+

        #[test]
        fn every_step_of_a_worker_has_its_test() {
            let tested = [$(Point::$point),+];
            let untested: Vec<_> =
                Point::of(Side::Worker).filter(|point| !tested.contains(point)).collect();
            assert_eq!(untested, []);
        }
    };
}

deaths! {
    killed_as_soon_as_it_runs: WorkerBegun at 1 "", true;
    killed_before_it_maps_the_region: WorkerTold at 1 "", true;
    killed_before_the_channel_runs: WorkerMapped at 1 "", true;
    killed_before_its_first_command: WorkerStarted at 1 "", true;
    killed_before_it_takes_a_command: BeforePop at 40 "", true;
    killed_with_a_command_in_its_hands: AfterPop at 40 "", true;
    killed_after_execution_before_anything_is_published: AfterExecution at 40 "", true;
    killed_before_it_replies: BeforeReply at 12 "", true;
    killed_after_it_replied: AfterReply at 12 "", true;
    killed_before_it_raises_a_fence: BeforeFence at 3 "", true;
    killed_after_it_raised_a_fence: AfterFence at 3 "", true;
    killed_in_the_middle_of_a_copy_out_of_the_arena: InArenaRead at 3 "", true;
    killed_in_the_middle_of_a_copy_into_the_arena: InArenaWrite at 3 "", true;
    killed_before_it_holds_arena_bytes: BeforeHold at 3 QUEUED, true;
    killed_before_it_releases_arena_bytes: BeforeRelease at 3 QUEUED, true;
    killed_before_it_latches_a_failure: BeforeLatch at 1 "", true;
    killed_before_it_publishes_progress: BeforeProgress at 3 "", true;
    killed_while_the_ring_is_empty: Idle at 2 "", false;
    killed_before_it_announces_an_arena_segment: BeforeGrown at 1 "", false;
    killed_after_it_announced_an_arena_segment: AfterGrown at 1 "", false;
    killed_before_it_closes: BeforeClose at 1 "", true;
}

#[test]
fn a_worker_killed_from_outside_is_noticed_like_any_other() {
    // As the kernel does when memory runs out; the daemon does not reap while it is stopped, so it stays a zombie.
    let server = Server::start("");
    let victim = server.client_named("victim");
    prepare(&victim).unwrap();
    let outcomes = start_waiters(&victim, true);
    thread::sleep(Duration::from_millis(20));
    server.signal("STOP");
    send_signal(victim.worker_pid, "KILL");
    for _ in 0..4 {
        let (name, _, error) = outcomes.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(error, ChannelError::PeerDied { .. }), "{name}: {error}");
    }
    server.signal("CONT");
    works_again(&server, Some(victim.token));
}

#[test]
fn commands_in_flight_are_reported_as_lost_and_not_executed_again() {
    let server = Server::start("--failpoint after_pop:4");
    let victim = server.client_named("victim");
    prepare(&victim).unwrap();
    let mut tail = 0;
    while let Ok(position) = victim.post(EventRecord {
        event: EVENT,
        stream: STREAM,
        flags: 0,
        index: NO_FENCE,
        value: 0,
    }) {
        tail = position;
        if position >= 12 {
            break;
        }
    }
    let error = victim.client.wait_executed(tail + 1, None).unwrap_err();
    let ChannelError::PeerDied { in_flight } = error else { panic!("{error}") };
    assert!(in_flight >= 1, "{in_flight}");
    let mut again = None;
    let wish = Wish { resume: Some(victim.token), ..named("victim") };
    assert!(eventually(|| {
        again = server.attach(&wish).ok();
        again.is_some()
    }));
    let again = again.unwrap();
    again.call(Init { flags: 0 }).unwrap();
    let stats = again.call(Stats {}).unwrap();
    assert_eq!(stats.commands, 2, "init and stats, nothing of the generation before");
}

#[test]
fn a_worker_that_hangs_in_a_command_is_told_of_by_its_name_and_ended() {
    let server = Server::start("--failpoint before_reply=hang --command-timeout 2s");
    let at = server.client_named("hangs");
    let error = at.call(Init { flags: 0 }).unwrap_err();
    assert!(matches!(error, AttachError::Channel(ChannelError::PeerDied { .. })), "{error}");
    let log = server.log();
    assert!(log.contains("Init takes longer than 2s (--command-timeout)"), "{log}");
    assert!(log.contains("is inside the driver for long"), "{log}");
    assert!(eventually(|| server.status().daemon.stalls.count == 1));
    let stalls = server.status().daemon.stalls;
    assert_eq!((stalls.count, stalls.longest.map(|(name, _)| name)), (1, Some("Init".into())));
}
