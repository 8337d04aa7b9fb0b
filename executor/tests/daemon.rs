//! The daemon itself: who is let in, what is told about clients, how sessions and the daemon end. H13, D4.

mod support;

use ringbar::Error as ChannelError;
use ringbar::client::Health;
use ringbar::handshake::{
    Connection, Deadline, Grow, Hello, Message, Refusal, RefusalCode, SessionToken, TransportError,
    Version,
};
use ringbar::sync::Arc;
use ringbar_executor::attach::{AttachError, Attachment, Wish, attach};
use ringbar_executor::daemon::KEPT_VARIABLES;
use ringbar_executor::embedded::Embedded;
use ringbar_executor::status;
use ringbar_vocabulary::{Init, Ping};
use rustix::net::SendFlags;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};
use support::lacking::not_run;
use support::{
    PATIENCE, RINGBAR, Server, children, descriptors, eventually, is_running, named, send_signal,
};

fn connect(server: &Server) -> Connection {
    Connection::connect(server.socket(), Deadline::after(PATIENCE)).unwrap()
}

fn refusal_of(error: AttachError) -> Refusal {
    match error {
        AttachError::Handshake(TransportError::Refused(refusal)) => refusal,
        other => panic!("a refusal, not {other}"),
    }
}

fn refused(server: &Server, wish: &Wish) -> Refusal {
    refusal_of(server.attach(wish).err().expect("a refusal"))
}

/// Even one that gets at the socket: the copy of the program and the socket are within its reach.
#[test]
fn a_program_of_another_user_is_refused() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return not_run("only root can start a program as another user");
    }
    let server = Server::start("");
    let folder = server.socket().parent().unwrap().to_owned();
    let program = folder.join("ringbar");
    std::fs::copy(RINGBAR, &program).unwrap();
    for (path, mode) in [(&folder, 0o711), (&program, 0o755), (&server.socket(), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(&program);
    command.arg("probe").arg("--socket").arg(server.socket()).current_dir("/");
    let ended = command.uid(NOBODY).gid(NOBODY).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("found user 65534, expected 0"), "{said}");
    assert_eq!(server.status().daemon.refused, 1);
    server.client_named("of the daemon's own user").call(Ping { token: 1 }).unwrap();
}

/// The answer to a hello.
fn answer(server: &Server, hello: Hello) -> Refusal {
    let connection = connect(server);
    match connection.attach(&hello, Deadline::after(PATIENCE)) {
        Err(TransportError::Refused(refusal)) => refusal,
        other => panic!("a refusal, not {other:?}"),
    }
}

#[test]
fn the_sockets_are_private_and_a_second_daemon_is_refused() {
    let server = Server::start("");
    for path in [server.socket(), status::status_path(&server.socket())] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mut second = Command::new(RINGBAR);
    let ended = second
        .args(["serve", "--backend", "mock", "--socket"])
        .arg(server.socket())
        .output()
        .unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("living listener"), "{said}");
}

#[test]
fn h13_handshakes_that_are_never_finished_end_by_their_limit_and_disturb_nobody() {
    let server = Server::start("--handshake-timeout 2s --handshakes-max 8");
    let before = descriptors(server.pid());
    let silent: Vec<_> = (0..8).map(|_| connect(&server)).collect();
    let one_more = connect(&server);
    let Message::Refused(refusal) = one_more.receive(Deadline::after(PATIENCE)).unwrap().message
    else {
        panic!("not refused")
    };
    assert_eq!(refusal.code, RefusalCode::Busy);
    for connection in &silent {
        let told = connection.receive(Deadline::after(PATIENCE)).unwrap();
        let Message::Refused(refusal) = told.message else { panic!("not refused") };
        assert!(refusal.text.as_str().contains("no hello within"), "{refusal}");
        let end = connection.receive(Deadline::after(PATIENCE)).unwrap_err();
        assert!(matches!(end, TransportError::Closed { .. }), "{end}");
    }
    assert!(eventually(|| descriptors(server.pid()) == before), "no descriptor is left behind");
    server.client_named("honest").call(Ping { token: 1 }).unwrap();
}

#[test]
fn h13_garbage_instead_of_a_hello_is_refused_with_what_was_found() {
    let server = Server::start("");
    let cases: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", b"x", &[0; 160], &[0xff; 4096]];
    for garbage in cases {
        let connection = connect(&server);
        rustix::net::send(&connection, garbage, SendFlags::empty()).unwrap();
        let told = connection.receive(Deadline::after(PATIENCE)).unwrap().message;
        let Message::Refused(refusal) = told else { panic!("not refused") };
        assert_eq!(refusal.code, RefusalCode::Malformed);
    }
    let connection = connect(&server);
    connection.send(&Message::Grow(Grow { bytes: 4096 }), &[], Deadline::after(PATIENCE)).unwrap();
    let told = connection.receive(Deadline::after(PATIENCE)).unwrap().message;
    assert!(matches!(told, Message::Refused(_)), "{told:?}");
    server.client_named("honest").call(Ping { token: 1 }).unwrap();
}

#[test]
fn h13_more_sessions_than_allowed_are_refused_and_one_that_ends_makes_room() {
    let server = Server::start("--sessions-max 2");
    let first = server.client_named("first");
    let _second = server.client_named("second");
    let refusal = refused(&server, &named("third"));
    assert_eq!(refusal.code, RefusalCode::Busy);
    assert!(
        refusal.retry_after_ms > 0 && refusal.text.as_str().contains("2 sessions"),
        "{refusal}"
    );
    first.client.close();
    assert!(eventually(|| server.attach(&named("third")).is_ok()));
}

#[test]
fn h13_more_connections_a_second_than_allowed_are_refused_with_the_time_to_wait() {
    let server = Server::start("--connections-per-second 3");
    let attached: Vec<_> = (0..3).map(|_| server.client_named("fast")).collect();
    // So many at once that some find no room, however long the three took.
    let burst: Vec<_> = (0..20).map(|_| connect(&server)).collect();
    let told = burst.last().unwrap().receive(Deadline::after(PATIENCE)).unwrap().message;
    let Message::Refused(refusal) = told else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::Busy);
    assert!((1..=334).contains(&refusal.retry_after_ms), "{refusal:?}");
    std::thread::sleep(Duration::from_millis(refusal.retry_after_ms.into()));
    assert!(eventually(|| server.attach(&named("patient")).is_ok()));
    assert!(attached.iter().all(|at| at.call(Ping { token: 1 }).is_ok()));
}

#[test]
fn d4_another_protocol_major_and_another_vocabulary_are_refused_by_name_and_a_newer_minor_is_not() {
    let server = Server::start("");
    let hello = named("stranger").hello();
    let protocol = Version { major: Version::OURS.major + 1, minor: 0 };
    let refusal = answer(&server, Hello { protocol, ..hello.clone() });
    assert_eq!(refusal.code, RefusalCode::Version);
    let vocabulary_hash = hello.vocabulary_hash ^ 1;
    let refusal = answer(&server, Hello { vocabulary_hash, ..hello.clone() });
    assert_eq!(refusal.code, RefusalCode::Vocabulary);
    let protocol = Version { minor: 99, ..Version::OURS };
    let newer = connect(&server).attach(&Hello { protocol, ..hello }, Deadline::after(PATIENCE));
    assert_eq!(newer.unwrap().welcome.protocol, Version::OURS);
}

#[test]
fn a_client_without_the_asymmetric_barrier_gets_a_channel_that_wakes_by_fences() {
    let server = Server::start("");
    let hello = Hello { features: 0, ..named("poor").hello() };
    let connection = connect(&server);
    let welcome = connection.attach(&hello, Deadline::after(PATIENCE)).unwrap().welcome;
    assert_eq!(welcome.features, 0);
    assert!(eventually(|| server.client("poor").is_some_and(|client| client.wake == "fence")));
    let rich = server.client_named("rich");
    let both = ringbar::link::features_here() != 0 && server.status().daemon.asymmetric_barrier;
    let wake = server.client("rich").unwrap().wake;
    assert_eq!(wake == "asymmetric", both);
    rich.call(Ping { token: 1 }).unwrap();
}

#[test]
fn a_wrong_token_resumes_nothing_and_a_session_that_was_left_cannot_be_resumed() {
    let server = Server::start("");
    let at = server.client_named("owner");
    let wrong = Wish { resume: Some(SessionToken([7; 16])), ..named("thief") };
    assert_eq!(refused(&server, &wrong).code, RefusalCode::UnknownSession);
    at.call(Ping { token: 1 }).unwrap();
    at.client.close();
    assert!(eventually(|| server.client("owner").is_none()));
    let late = Wish { resume: Some(at.token), ..named("owner") };
    assert_eq!(refused(&server, &late).code, RefusalCode::UnknownSession);
}

#[test]
fn a_client_that_gives_up_on_a_living_worker_gets_the_next_one_after_the_old_is_reaped() {
    let server = Server::start("");
    let at = server.client_named("impatient");
    at.call(Init { flags: 0 }).unwrap();
    send_signal(at.worker_pid, "STOP");
    let wish = Wish { resume: Some(at.token), ..named("impatient") };
    let refusal = refused(&server, &wish);
    assert_eq!(refusal.code, RefusalCode::Reaping);
    assert!(refusal.retry_after_ms > 0);
    let mut again = None;
    assert!(eventually(|| {
        again = server.attach(&wish).ok();
        again.is_some()
    }));
    assert!(!is_running(at.worker_pid), "the old worker was gone before the new one came");
    let again = again.unwrap();
    assert_eq!(again.generation, 2);
    again.call(Init { flags: 0 }).unwrap();
    assert!(matches!(at.client.wait_fence(0, 1, None).unwrap_err(), ChannelError::PeerDied { .. }));
}

#[test]
fn a_session_whose_client_does_not_come_back_is_given_up_after_its_grace() {
    let server = Server::start("--resume-grace 2s");
    let before = descriptors(server.pid());
    let at = server.client_named("gone");
    send_signal(at.worker_pid, "KILL");
    assert!(eventually(|| server.client("gone").is_some_and(|client| client.state == "waiting")));
    assert!(eventually(|| server.client("gone").is_none()));
    assert!(eventually(|| descriptors(server.pid()) == before));
    let wish = Wish { resume: Some(at.token), ..named("gone") };
    assert_eq!(refused(&server, &wish).code, RefusalCode::UnknownSession);
}

#[test]
fn a_key_at_the_daemons_terminal_reaches_no_worker() {
    let server = Server::start("");
    let client = server.attach(&named("client")).unwrap();
    let group = |pid: u32| {
        let pid = rustix::process::Pid::from_raw(pid as i32);
        rustix::process::getpgid(pid).unwrap().as_raw_pid() as u32
    };
    // The session may be there before its worker begins.
    assert!(eventually(|| group(client.worker_pid) == client.worker_pid), "a group of its own");
    assert_ne!(group(server.pid()), client.worker_pid);
}

#[test]
fn status_tells_of_each_client_with_its_counters_as_json_and_as_a_table() {
    let server = Server::start("");
    let at = server.client_named("counted");
    (0..500).for_each(|token| assert!(at.call(Ping { token }).is_ok()));
    let client = || server.client("counted").unwrap();
    assert!(eventually(|| client().counters.replies == 500 && client().waiter.is_some()));
    let found = client();
    assert_eq!(found.counters.commands_submitted, 500);
    assert_eq!(
        (found.client_pid, found.worker_pid),
        (std::process::id() as i32, Some(at.worker_pid))
    );
    assert_eq!((found.generation, found.state.as_str()), (1, "running"));
    let rate = found.counters.client_bells as f64 * 2.0;
    assert!((found.doorbells_per_1000_commands - rate).abs() < 1e-9);
    let run = |extra: &[&str]| {
        let mut command = Command::new(RINGBAR);
        let done = command
            .arg("status")
            .arg("--socket")
            .arg(server.socket())
            .args(extra)
            .output()
            .unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stdout).unwrap()
    };
    let json: status::Status = serde_json::from_str(&run(&["--json"])).unwrap();
    assert_eq!(json.clients[0].name, "counted");
    let table = run(&[]);
    assert!(table.contains("counted") && table.contains("500"), "{table}");
}

#[test]
fn status_lists_hundreds_of_clients() {
    const CLIENTS: usize = 200;
    let server = Server::start("--sessions-max 500 --connections-per-second 10000");
    // Each client has some descriptors here; the daemon raises its own limit by itself.
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, ..limits };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| server.client_named(&format!("client {number}"))).collect();
    let last = clients.last().unwrap();
    last.call(Ping { token: 1 }).unwrap();
    let status = server.status();
    let mut names: Vec<_> = status.clients.iter().map(|client| client.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CLIENTS);
    let workers = clients.iter().map(|at| Some(at.worker_pid));
    assert!(workers.eq(status.clients.iter().map(|client| client.worker_pid)));
    let done = Command::new(RINGBAR).arg("status").arg("--socket").arg(server.socket()).output();
    let table = String::from_utf8(done.unwrap().stdout).unwrap();
    assert!((0..CLIENTS).all(|number| table.contains(&format!(" client {number} "))), "{table}");
}

#[test]
fn whoever_asks_for_status_and_does_not_read_keeps_nobody_waiting() {
    let server = Server::start("");
    let at = server.client_named("client");
    let path = status::status_path(&server.socket());
    let silent: Vec<_> =
        (0..50).map(|_| Connection::connect(&path, Deadline::after(PATIENCE)).unwrap()).collect();
    assert_eq!(server.status().clients.len(), 1);
    at.call(Ping { token: 1 }).unwrap();
    drop(silent);
}

#[test]
fn status_of_no_daemon_says_so() {
    let mut command = Command::new(RINGBAR);
    let done = command.args(["status", "--socket", "/nonexistent/socket"]).output().unwrap();
    assert!(!done.status.success());
    assert!(String::from_utf8_lossy(&done.stderr).contains("no executor was started"));
}

#[test]
fn a_daemon_that_is_asked_to_end_closes_every_channel_and_leaves_nothing() {
    let mut server = Server::start("");
    let clients: Vec<Attachment> = (0..3).map(|_| server.client_named("client")).collect();
    assert!(clients.iter().all(|at| at.call(Ping { token: 1 }).is_ok()));
    server.signal("TERM");
    for at in &clients {
        let error = at.client.wait_fence(0, 1, None).unwrap_err();
        assert!(matches!(error, ChannelError::Closed), "{error}");
    }
    assert_eq!(server.wait(), Some(0));
    assert!(clients.iter().all(|at| !is_running(at.worker_pid)));
    assert!(!server.socket().exists());
}

#[test]
fn workers_and_clients_outlive_a_daemon_that_is_killed() {
    let mut server = Server::start("");
    let at = server.client_named("survivor");
    at.call(Init { flags: 0 }).unwrap();
    server.signal("KILL");
    server.wait();
    (0..1000).for_each(|token| assert_eq!(at.call(Ping { token }).unwrap().token, token));
    assert!(matches!(at.client.health(), Health::Running));
    assert!(at.grow(4096).is_ok(), "its worker still answers");
    let worker = at.worker_pid;
    at.client.close();
    drop(at);
    assert!(eventually(|| !is_running(worker)), "the worker ends with its client");
}

#[test]
fn workers_inherit_nothing_but_what_their_job_needs() {
    let server = Server::start("");
    let at = server.client_named("client");
    at.call(Ping { token: 1 }).unwrap();
    let environment = std::fs::read(format!("/proc/{}/environ", at.worker_pid)).unwrap();
    let names: Vec<_> = environment.split(|&b| b == 0).filter(|v| !v.is_empty()).collect();
    let kept = |variable: &&[u8]| {
        let name = variable.split(|&b| b == b'=').next().unwrap_or_default();
        KEPT_VARIABLES.iter().any(|kept| kept.as_bytes() == name)
    };
    assert!(names.iter().all(kept), "{names:?}");
    assert!(KEPT_VARIABLES.len() < 10, "few: {KEPT_VARIABLES:?}");
    let folder = format!("/proc/{}/fd", at.worker_pid);
    let open = std::fs::read_dir(folder).unwrap().flatten();
    let targets: Vec<_> = open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect();
    let sockets = targets.iter().filter(|t| t.to_string_lossy().starts_with("socket:")).count();
    // Standard input and its copy, the client's socket and signal handling have sockets; the listeners are not there.
    assert!(sockets <= 3, "{targets:?}");
    assert_eq!(children(server.pid()), [at.worker_pid]);
}

#[test]
fn dead_workers_are_reaped_as_they_end() {
    let server = Server::start("");
    for _ in 0..20 {
        let at = server.client_named("short");
        at.call(Ping { token: 1 }).unwrap();
    }
    assert!(eventually(|| children(server.pid()).is_empty()), "no zombies");
    assert_eq!(server.status().daemon.sessions_opened, 20);
}

#[test]
fn an_embedded_daemon_serves_and_ends_with_its_owner() {
    let daemon = Embedded::start(|config| config.worker_program = RINGBAR.into()).unwrap();
    let at = attach(daemon.socket(), &named("embedded")).unwrap();
    assert_eq!(at.call(Ping { token: 5 }).unwrap().token, 5);
    assert_eq!(daemon.status().unwrap().clients.len(), 1);
    let waiter = at.client.clone();
    let waiter = std::thread::spawn(move || waiter.wait_fence(0, 1, None).unwrap_err());
    let socket = daemon.socket().to_owned();
    drop(daemon);
    assert!(matches!(waiter.join().unwrap(), ChannelError::Closed));
    assert!(!is_running(at.worker_pid) && !socket.exists());
}

#[test]
fn d2_a_worker_that_is_stopped_is_stalled_which_is_reported_and_ends_by_itself() {
    let server = Server::start("");
    let at = server.client_named("patient");
    at.call(Ping { token: 1 }).unwrap();
    send_signal(at.worker_pid, "STOP");
    let client = at.client.clone();
    let waiter = std::thread::spawn(move || {
        let ping = ringbar_executor::attach::encoded(Ping { token: 2 });
        client.caller().unwrap().call(&ping).map(<[u8]>::len)
    });
    assert!(eventually(|| matches!(at.client.health(), Health::Stalled { .. })));
    send_signal(at.worker_pid, "CONT");
    assert_eq!(waiter.join().unwrap().unwrap(), 16, "the call was only late");
    assert!(eventually(|| matches!(at.client.health(), Health::Running)));
}

#[test]
fn d2_silence_beyond_the_configured_limit_is_an_error_of_every_waiter() {
    let server = Server::start("");
    let mut wish = named("hurried");
    wish.options.limits.stalled_after = Duration::from_secs(1);
    wish.options.limits.error_after = Duration::from_secs(5);
    let at = server.attach(&wish).unwrap();
    at.call(Ping { token: 1 }).unwrap();
    let start = Instant::now();
    send_signal(at.worker_pid, "STOP");
    let error = at.client.wait_fence(0, 1, None).unwrap_err();
    assert!(matches!(error, ChannelError::Stalled { .. }), "{error}");
    assert!(start.elapsed() >= Duration::from_secs(4), "not before its time");
    send_signal(at.worker_pid, "CONT");
}

#[test]
fn a_client_killed_while_its_worker_is_stopped_is_cleaned_up_by_force() {
    let server = Server::start("");
    let mut probe = Command::new(RINGBAR);
    probe
        .arg("probe")
        .arg("--socket")
        .arg(server.socket())
        .args(["--failpoint", "client_attached=stop"]);
    let mut probe = probe.spawn().unwrap();
    assert!(eventually(|| server.client("probe").is_some_and(|client| client.waiter.is_some())));
    let worker = server.client("probe").unwrap().worker_pid.unwrap();
    send_signal(worker, "STOP");
    probe.kill().unwrap();
    probe.wait().unwrap();
    assert!(eventually(|| server.client("probe").is_none() && !is_running(worker)));
    assert!(children(server.pid()).is_empty());
}

#[test]
fn commands_of_many_threads_are_all_served() {
    let server = Server::start("");
    let at = Arc::new(server.client_named("threads"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let at = &at;
            scope.spawn(move || {
                for token in 0..500 {
                    let token = thread * 1000 + token;
                    assert_eq!(at.call(Ping { token }).unwrap().token, token);
                }
            });
        }
    });
    // A reply comes before it is counted.
    assert!(eventually(|| at.client.counters().replies == 4000));
}
