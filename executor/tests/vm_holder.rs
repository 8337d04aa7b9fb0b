//! The holder of a VM's device by itself: what ends it and what does not, who may connect to its socket, what it does where the
//! system has nothing left.

mod support;

use ringbar_vocabulary::Ping;
use rustix::process::{Pid, Resource, Rlimit, getegid, geteuid, getrlimit, prlimit};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use support::device::{Monitor, VmServer};
use support::{RINGBAR, eventually, is_running, send_signal};

fn end(server: &VmServer, options: &[&str]) -> Output {
    let mut command = Command::new(RINGBAR);
    command.args(["vm", "end", "--socket"]).arg(server.socket()).args(options).output().unwrap()
}

/// Processor time that a process has used, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    behind_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_holder_that_a_vm_needs_ignores_the_signals_that_end_a_process() {
    let mut server = VmServer::start("");
    let monitor = Monitor::connect(&server).unwrap();
    let program = monitor.claim(7);
    let holder = server.vm().holder_pid;
    for (number, signal) in ["TERM", "INT", "HUP"].into_iter().enumerate() {
        send_signal(holder, signal);
        let heard = || server.log().matches("asks the holder to end: ignored").count() > number;
        assert!(eventually(heard), "{signal}: {}", server.log());
        program.call(Ping { token: 1 }).unwrap();
    }
    server.kill();
    send_signal(holder, "TERM");
    server.restart();
    assert_eq!((server.vm().holder_pid, server.vm().connected), (holder, true));
    monitor.claim(8).call(Ping { token: 2 }).unwrap();
}

#[test]
fn a_holder_that_nobody_needs_ends_by_a_signal_unless_the_device_is_to_be_kept() {
    for (options, stays) in [("", false), ("--keep-devices", true)] {
        let mut server = VmServer::start(options);
        let holder = server.vm().holder_pid;
        server.kill();
        let gone = || server.log().contains("the daemon is gone: holding on");
        assert!(eventually(gone), "{}", server.log());
        if stays {
            let before = server.log().matches("asks the holder to end: ignored").count();
            send_signal(holder, "TERM");
            let heard = || server.log().matches("asks the holder to end: ignored").count() > before;
            assert!(eventually(heard), "{}", server.log());
            server.restart();
            assert_eq!(server.vm().holder_pid, holder);
        } else {
            send_signal(holder, "TERM");
            assert!(eventually(|| !is_running(holder)), "{}", server.log());
            assert!(!server.socket().exists());
        }
    }
}

#[test]
fn ending_a_device_that_a_vm_has_needs_force_and_returns_when_it_is_gone() {
    let mut server = VmServer::start("");
    let holder = server.vm().holder_pid;
    let served = end(&server, &["--force"]);
    assert!(!served.status.success() && said(&served).contains("another daemon"), "{served:?}");
    let monitor = Monitor::connect(&server).unwrap();
    let program = monitor.claim(7);
    let worker = server.client(0).unwrap().worker_pid.unwrap();
    server.kill();
    let mut refused = end(&server, &[]);
    assert!(eventually(|| {
        refused = end(&server, &[]);
        !said(&refused).contains("another daemon")
    }));
    assert!(!refused.status.success() && said(&refused).contains("--force"), "{refused:?}");
    assert!(is_running(holder));
    program.call(Ping { token: 1 }).unwrap();
    assert!(is_running(worker));
    let ended = end(&server, &["--force"]);
    assert!(ended.status.success(), "{ended:?}");
    assert!(eventually(|| !is_running(worker)), "nobody would know of it any more");
    assert!(!is_running(holder) && !server.socket().exists(), "{ended:?}");
    let none = end(&server, &[]);
    assert!(!none.status.success() && said(&none).contains("no device is held"), "{none:?}");
}

#[test]
fn ending_a_stopped_holder_names_the_process_to_kill() {
    let mut server = VmServer::start("");
    let holder = server.vm().holder_pid;
    server.kill();
    send_signal(holder, "STOP");
    let stuck = end(&server, &[]);
    let advice = format!("kill -KILL {holder}");
    assert!(!stuck.status.success() && said(&stuck).contains(&advice), "{stuck:?}");
    send_signal(holder, "CONT");
    let mut ended = end(&server, &[]);
    assert!(eventually(|| {
        ended = end(&server, &[]);
        !is_running(holder)
    }));
}

#[test]
fn the_socket_has_its_user_group_and_permissions_again_whenever_it_is_made_anew() {
    // Only root may give it to another user.
    let owner = if geteuid().is_root() { 65534 } else { geteuid().as_raw() };
    let group = if geteuid().is_root() { 65534 } else { getegid().as_raw() };
    let options = format!("--socket-owner {owner} --socket-group {group}");
    let mut server = VmServer::start(&options);
    let found = |server: &VmServer| {
        let data = std::fs::metadata(server.socket());
        data.ok().map(|data| (data.uid(), data.gid(), data.mode() & 0o777))
    };
    let wanted = Some((owner, group, 0o660));
    assert_eq!(found(&server), wanted);
    let holder = server.vm().holder_pid;
    server.end();
    assert!(eventually(|| !is_running(holder)), "{}", server.log());
    server.restart();
    assert_eq!(found(&server), wanted, "no VM had it, so it was made anew");
    let holder = server.vm().holder_pid;
    send_signal(holder, "KILL");
    let remade = || {
        let vm = server.vm();
        vm.unserved.is_none() && vm.holder_pid != holder
    };
    assert!(eventually(remade), "{}", server.log());
    assert_eq!(found(&server), wanted, "its holder died");
    let holder = server.vm().holder_pid;
    server.kill();
    let options = format!("--device-memory 64MiB --size 16MiB {options} --socket-mode 0640");
    server.restart_with(&options);
    assert_eq!(server.vm().holder_pid, holder);
    assert_eq!(found(&server), Some((owner, group, 0o640)), "a daemon with other options");
}

#[test]
fn a_holder_without_descriptors_says_so_once_and_serves_the_vm_when_it_has_some() {
    let server = VmServer::start("");
    let holder = server.vm().holder_pid;
    let pid = Pid::from_raw(holder as i32);
    // Not the hard limit, which not even root may raise again everywhere; the holder has this process's.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |most: usize| {
        let lower = Rlimit { current: Some(most as u64), maximum };
        prlimit(pid, Resource::Nofile, lower).unwrap()
    };
    let is_open = |number: &usize| Path::new(&format!("/proc/{holder}/fd/{number}")).is_symlink();
    let before = limit((0..).find(|number| !is_open(number)).unwrap());
    let waits = UnixStream::connect(server.socket()).unwrap();
    let said = || server.log().matches("nobody can be accepted for now").count();
    assert!(eventually(|| said() == 1), "{}", server.log());
    let used = || cpu_ticks(holder);
    let start = used();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(used() - start < 50, "it spins: {} of 100 ticks", used() - start);
    assert_eq!(said(), 1, "{}", server.log());
    prlimit(pid, Resource::Nofile, before).unwrap();
    drop(waits);
    Monitor::connect_patiently(&server).claim(7).call(Ping { token: 1 }).unwrap();
}

#[test]
fn a_folder_that_is_missing_is_named_with_what_to_try() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none/vm");
    let mut command = Command::new(RINGBAR);
    command.args(["serve", "--backend", "mock", "--vm", "vm", "--socket"]).arg(&socket);
    let ended = command.output().unwrap();
    let path = folder.path().join("none").display().to_string();
    assert!(!ended.status.success());
    assert!(said(&ended).contains(&path) && said(&ended).contains("mkdir -p"), "{ended:?}");
}
