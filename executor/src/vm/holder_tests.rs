//! The holder, with this test as its daemon and its monitors.

use super::*;
use std::io::Read;

/// A holder whose daemon is this test, and its folder.
fn holder() -> (Holder, OwnedFd, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("vm");
    let (signals, never) = UnixStream::pair().unwrap();
    std::mem::forget(never);
    let config =
        VmConfig { name: "vm".into(), socket, bytes: 1 << 20, channels: 1, ..VmConfig::default() };
    let mut holder = Holder::start(config, signals).unwrap();
    let (daemon, theirs) = job::control_pair().unwrap();
    holder.serve_daemon(Arc::new(theirs));
    for _ in 0..2 {
        job::receive::<FromHolder>(&daemon).unwrap().expect("the device, and its channel");
    }
    (holder, daemon, folder)
}

fn connect(holder: &mut Holder) -> UnixStream {
    let monitor = UnixStream::connect(&holder.config.socket).unwrap();
    holder.accept_monitor();
    monitor
}

/// The next word about monitors, if one waits.
fn hear(daemon: &OwnedFd) -> Option<(u64, Monitors)> {
    match job::receive(daemon).unwrap()?.0 {
        FromHolder::Monitors { number, monitors } => Some((number, monitors)),
        other => panic!("{other:?}"),
    }
}

fn say_heard(holder: &mut Holder, daemon: &OwnedFd, number: u64) {
    job::send(daemon, &ToHolder::Heard { number }, &[]).unwrap();
    holder.listen_to_daemon();
}

fn serves_monitors(holder: &mut Holder) -> bool {
    let _waits = UnixStream::connect(&holder.config.socket).unwrap();
    let mut ready = ReadySet::with_capacity(4);
    holder.waiter.wait(Some(Duration::ZERO), &mut ready).unwrap();
    let serves = ready.iter().any(|ready| ready.token == DEVICE);
    // Taken off the queue again, and gone by then.
    let _ = rustix::net::accept(&holder.device.socket);
    serves
}

#[test]
fn a_second_monitor_is_told_a_version_that_does_not_exist_before_it_is_hung_up_on() {
    let (mut holder, _daemon, _folder) = holder();
    let _first = connect(&mut holder);
    let mut said = Vec::new();
    connect(&mut holder).read_to_end(&mut said).unwrap();
    assert_eq!(said, ivshmem::REFUSAL.to_le_bytes());
    assert!(holder.monitor.is_some() && holder.gone == 0, "the first one has its device");
}

#[test]
fn a_holder_without_daemon_and_vm_ends_after_its_limit_unless_it_was_told_to_stay() {
    let (mut holder, daemon, _folder) = holder();
    let later = Instant::now() + Duration::from_secs(3600);
    assert_eq!(holder.ends_in(later), None, "it has a daemon");
    let tell = |always| job::send(&daemon, &ToHolder::Stay { always }, &[]).unwrap();
    tell(true);
    holder.listen_to_daemon();
    let without_daemon = |holder: &mut Holder| {
        let daemon = holder.daemon.take();
        let (now, late) = (holder.ends_in(Instant::now()), holder.ends_in(later));
        holder.daemon = daemon;
        (now, late)
    };
    assert_eq!(without_daemon(&mut holder), (None, None));
    tell(false);
    holder.listen_to_daemon();
    let (now, late) = without_daemon(&mut holder);
    assert!(now.is_some_and(|left| !left.is_zero()) && late == Some(Duration::ZERO));
    let _monitor = connect(&mut holder);
    assert_eq!(without_daemon(&mut holder), (None, None), "it has a VM");
}

#[test]
fn refusals_that_a_stopped_daemon_does_not_hear_are_one_word_and_the_end_of_a_vm_is_another() {
    let (mut holder, daemon, _folder) = holder();
    let monitor = connect(&mut holder);
    (0..1000).for_each(|_| drop(connect(&mut holder)));
    drop(monitor);
    holder.monitor_left();
    let connected = Monitors { connected: true, gone: 0, refused: 0 };
    assert_eq!(hear(&daemon), Some((1, connected)));
    let gone = Monitors { connected: false, gone: 1, refused: 1000 };
    assert_eq!(hear(&daemon), Some((2, gone)));
    assert_eq!(hear(&daemon), None);
    say_heard(&mut holder, &daemon, 2);
    assert_eq!(hear(&daemon), None, "it knows everything");
    let _monitor = connect(&mut holder);
    assert_eq!(hear(&daemon).unwrap().0, 3);
    drop(connect(&mut holder));
    assert_eq!(hear(&daemon), None, "one waits to be heard");
    say_heard(&mut holder, &daemon, 3);
    let refused = Monitors { connected: true, gone: 1, refused: 1001 };
    assert_eq!(hear(&daemon), Some((4, refused)));
}

#[test]
fn no_vm_is_served_before_a_stopped_daemon_can_be_told_that_the_last_one_has_gone() {
    let (mut holder, daemon, _folder) = holder();
    let mut boots = 0;
    while !holder.told.holds_back {
        drop(connect(&mut holder));
        holder.monitor_left();
        boots += 1;
        assert!(boots < 100_000, "its socket never is full");
    }
    assert!(!serves_monitors(&mut holder));
    let mut last = (0, Monitors::default());
    while let Some((number, monitors)) = hear(&daemon) {
        assert_eq!(number, last.0 + 1);
        last = (number, monitors);
        say_heard(&mut holder, &daemon, number);
    }
    assert_eq!(last.1, Monitors { connected: false, gone: boots, refused: 0 });
    assert!(serves_monitors(&mut holder));
}

#[test]
fn a_daemon_that_dies_holds_no_vm_back_and_the_next_one_is_told_which_channels_are_over() {
    let (mut holder, daemon, _folder) = holder();
    let kept = Kept { generation: 1, claimant: Some(7), ..Kept::default() };
    let monitor = connect(&mut holder);
    job::send(&daemon, &ToHolder::Keep { channel: 0, kept }, &[]).unwrap();
    holder.listen_to_daemon();
    while !holder.told.holds_back {
        drop(connect(&mut holder));
        holder.monitor_left();
    }
    drop((monitor, daemon));
    holder.listen_to_daemon();
    assert!(holder.daemon.is_none() && serves_monitors(&mut holder));
    let (daemon, theirs) = job::control_pair().unwrap();
    holder.serve_daemon(Arc::new(theirs));
    let device: FromHolder = job::receive(&daemon).unwrap().unwrap().0;
    assert!(matches!(device, FromHolder::Device { monitors, .. } if monitors.gone > 0));
    let channel: FromHolder = job::receive(&daemon).unwrap().unwrap().0;
    assert_eq!(channel, FromHolder::Channel(Kept { vm_is_gone: true, ..kept }));
}

#[test]
fn a_holder_is_not_ended_as_unused_by_whoever_did_not_see_a_vm_connect() {
    let (mut holder, daemon, _folder) = holder();
    // It waits to be accepted: the daemon knows nothing of it.
    let _monitor = UnixStream::connect(&holder.config.socket).unwrap();
    job::send(&daemon, &ToHolder::EndIfUnused, &[]).unwrap();
    holder.listen_to_daemon();
    assert!(!holder.ended && holder.monitor.is_some());
    let mut words = std::iter::from_fn(|| job::receive::<FromHolder>(&daemon).unwrap());
    assert!(words.any(|(word, _)| matches!(word, FromHolder::Refused { .. })));
    job::send(&daemon, &ToHolder::End, &[]).unwrap();
    holder.listen_to_daemon();
    assert!(holder.ended, "it was told so in any case");
}

#[test]
fn a_daemon_that_takes_nothing_over_keeps_no_holder_alive() {
    let (mut holder, daemon, _folder) = holder();
    let long_ago = Instant::now() - Duration::from_secs(30);
    holder.lonely_since = long_ago;
    drop(daemon);
    holder.listen_to_daemon();
    assert_eq!(holder.lonely_since, long_ago, "it only looked");
    let (daemon, theirs) = job::control_pair().unwrap();
    holder.serve_daemon(Arc::new(theirs));
    job::send(&daemon, &ToHolder::Stay { always: false }, &[]).unwrap();
    holder.listen_to_daemon();
    drop(daemon);
    holder.listen_to_daemon();
    assert!(holder.lonely_since > long_ago);
}
