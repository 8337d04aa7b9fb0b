//! The daemon is killed at each step that it takes with processes of this host.
//!
//! Each time: the step was reached; a client that is served already goes on with its worker; the client that the daemon was
//! busy with has an error at once, or is served as well; no process is left behind; the next daemon at the same socket
//! serves both anew.

mod support;

use ringbar::Error as ChannelError;
use ringbar::handshake::TransportError;
use ringbar_executor::attach::{AttachError, Attachment, Wish};
use ringbar_executor::failpoints::{Point, Side};
use ringbar_executor::status;
use ringbar_vocabulary::Ping;
use support::{Server, eventually, is_running, named, send_signal};

/// Signal number of SIGKILL.
const KILLED: Option<i32> = Some(9);

/// What leads the daemon to a step.
#[derive(Clone, Copy)]
enum Lead {
    /// A second client attaches.
    Attach,
    /// A second client's worker is killed.
    KillWorker,
    /// A second client's worker is killed, and the client attaches again.
    Resume,
    /// A second client, of another process, is killed.
    KillClient,
    /// The same while its worker is stopped, so that the daemon is the first to notice.
    KillClientAlone,
    /// Somebody asks for status.
    Ask,
    /// The daemon is asked to end.
    End,
}

/// What a client that attached may find when the daemon died meanwhile.
fn is_served_or_told(victim: Result<Attachment, AttachError>, point: Point) {
    let call = |at: Attachment| at.call(Ping { token: 9 }).map(|reply| reply.token);
    match victim.and_then(call) {
        Ok(token) => assert_eq!(token, 9),
        Err(AttachError::Handshake(TransportError::Closed { .. })) => {}
        Err(AttachError::Channel(ChannelError::PeerDied { .. } | ChannelError::Region(_))) => {}
        Err(error) => panic!("{}: a typed error of a dead daemon, not {error}", point.name()),
    }
}

/// A client in a process of its own, that has attached and does nothing more.
fn other_process(server: &Server) -> std::process::Child {
    let mut probe = std::process::Command::new(support::RINGBAR);
    probe.arg("probe").arg("--socket").arg(server.socket());
    let probe = probe.args(["--failpoint", "client_attached=stop"]).spawn().unwrap();
    assert!(eventually(|| server.client("probe").is_some_and(|client| client.waiter.is_some())));
    probe
}

/// Leads the daemon to `point`; a worker that is to be continued once the daemon is dead.
fn lead_to(point: Point, lead: Lead, server: &Server) -> Option<u32> {
    let kill_worker = || {
        let victim = server.client_named("victim");
        victim.call(Ping { token: 1 }).unwrap();
        send_signal(victim.worker_pid, "KILL");
        victim
    };
    match lead {
        Lead::Attach => is_served_or_told(server.attach(&named("victim")), point),
        Lead::KillWorker => {
            let victim = kill_worker();
            let error = victim.client.wait_fence(0, 1, None).unwrap_err();
            assert!(matches!(error, ChannelError::PeerDied { .. }), "{error}");
        }
        Lead::Resume => {
            let victim = kill_worker();
            let waits = || server.client("victim").is_some_and(|client| client.state == "waiting");
            assert!(eventually(waits));
            let wish = Wish { resume: Some(victim.token), ..named("victim") };
            is_served_or_told(server.attach(&wish), point);
        }
        Lead::KillClient | Lead::KillClientAlone => {
            let mut client = other_process(server);
            let worker = server.client("probe").unwrap().worker_pid.unwrap();
            let stopped = matches!(lead, Lead::KillClientAlone).then_some(worker);
            stopped.into_iter().for_each(|worker| send_signal(worker, "STOP"));
            client.kill().unwrap();
            client.wait().unwrap();
            return stopped;
        }
        Lead::Ask => drop(status::query(&server.socket()).unwrap_err()),
        Lead::End => server.signal("TERM"),
    }
    None
}

/// Once armed, a step is passed by each client and each question, so those of this test itself are counted off first.
fn dies_at(point: Point, at: u32, lead: Lead) {
    let mut server = Server::start(&format!("--failpoint {}:{at}", point.name()));
    let other = server.client_named("other");
    other.call(Ping { token: 1 }).unwrap();
    let stopped = lead_to(point, lead, &server);
    assert_eq!(server.wait_for_signal(), KILLED, "{}", server.log());
    stopped.into_iter().for_each(|worker| send_signal(worker, "CONT"));
    let reached = format!("failpoint {} reached by process {}", point.name(), server.pid());
    assert!(server.log().contains(&reached), "{}", server.log());
    (0..100).for_each(|token| assert_eq!(other.call(Ping { token }).unwrap().token, token));
    let left = || server.processes().into_iter().filter(|&pid| is_running(pid)).collect::<Vec<_>>();
    assert!(eventually(|| left() == [other.worker_pid]), "{:?}\n{}", left(), server.log());
    server.start_again("");
    server.client_named("victim").call(Ping { token: 2 }).unwrap();
    server.client_named("other, anew").call(Ping { token: 3 }).unwrap();
    other.call(Ping { token: 4 }).unwrap();
    let worker = other.worker_pid;
    drop(other);
    assert!(eventually(|| !is_running(worker)), "a worker ends with its client, daemon or not");
}

macro_rules! deaths {
    ($($name:ident: $point:ident at $at:literal $lead:ident;)+) => {
        $(
            #[test]
            fn $name() {
                dies_at(Point::$point, $at, Lead::$lead);
            }
        )+

        #[test]
        fn every_step_of_a_daemon_has_its_test() {
            let tested = [$(Point::$point),+];
            let untested: Vec<_> =
                Point::of(Side::Daemon).filter(|point| !tested.contains(point)).collect();
            assert_eq!(untested, []);
        }
    };
}

deaths! {
    killed_with_a_connection_that_it_knows_nothing_of: DaemonAccepted at 2 Attach;
    killed_before_a_client_says_hello: DaemonAdmitted at 2 Attach;
    killed_with_a_hello_and_no_session: DaemonHeard at 2 Attach;
    killed_with_a_region_that_nobody_has: DaemonOpened at 2 Attach;
    killed_with_a_generation_that_has_no_worker: DaemonOffered at 2 Attach;
    killed_with_a_worker_that_has_no_job: DaemonSpawned at 2 Attach;
    killed_between_the_clients_descriptors_and_the_workers: DaemonWelcomed at 2 Attach;
    killed_after_both_have_their_descriptors: DaemonGave at 2 Attach;
    killed_as_soon_as_a_session_is_served: DaemonServing at 2 Attach;
    killed_before_it_reaps_a_worker: DaemonEndSeen at 1 KillWorker;
    killed_before_it_marks_a_channel: DaemonReaped at 1 KillWorker;
    killed_after_it_marked_a_channel: DaemonMarked at 1 KillWorker;
    killed_before_it_offers_the_next_generation: DaemonResumed at 1 Resume;
    killed_before_it_frees_what_a_dead_client_had: DaemonClientDied at 1 KillClientAlone;
    killed_before_it_frees_a_session: DaemonFreeing at 1 KillClient;
    killed_while_somebody_asks_for_status: DaemonAsked at 2 Ask;
    killed_when_it_is_asked_to_end: DaemonEnding at 1 End;
}
