//! VMs that cannot be served, for now or at all, beside others that are.

use crate::support::device::{Monitor, VmServer};
use crate::support::{self, RINGBAR, eventually, send_signal};
use ringbar_executor::status::{self, VmStatus};
use ringbar_vocabulary::Ping;
use std::process::Command;
use std::time::Duration;

/// What status says of why the server's VM `name` is not served.
pub fn unserved(server: &VmServer, name: &str) -> Option<String> {
    let vms = server.status().daemon.vms.into_iter();
    vms.filter(|vm| vm.name == name).find_map(|vm| vm.unserved)
}

#[test]
fn a_vm_whose_socket_cannot_be_made_keeps_no_other_from_being_served_and_is_served_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    std::fs::write(&taken, "").unwrap();
    let server = VmServer::start(&format!("--vm other --socket {}", taken.display()));
    let monitor = Monitor::connect(&server).unwrap();
    let program = monitor.claim(7);
    program.call(Ping { token: 1 }).unwrap();
    assert!(eventually(|| unserved(&server, "other").is_some_and(|why| why.contains("no socket"))));
    assert_eq!(unserved(&server, "vm"), None);
    assert!(server.status().to_table().contains("NOT SERVED"));
    // It is tried again each second, and said once.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(server.log().matches("is not served for now").count(), 1, "{}", server.log());
    std::fs::remove_file(&taken).unwrap();
    assert!(eventually(|| unserved(&server, "other").is_none()), "{}", server.log());
    Monitor::connect_at(&taken).unwrap().claim(8).call(Ping { token: 2 }).unwrap();
    program.call(Ping { token: 3 }).unwrap();
}

#[test]
fn a_holder_that_does_not_answer_costs_other_vms_nothing_and_is_found_when_it_does() {
    let mut server = VmServer::start("--vm other --socket @/other");
    assert!(eventually(|| unserved(&server, "other").is_none()), "{}", server.log());
    let stopped = server.status().daemon.vms[1].holder_pid;
    let monitor = Monitor::connect(&server).unwrap();
    let other = Monitor::connect_at(&server.socket_of("other")).unwrap();
    send_signal(stopped, "STOP");
    server.kill();
    server.restart();
    monitor.claim(7).call(Ping { token: 1 }).unwrap();
    assert!(unserved(&server, "other").is_some());
    assert!(eventually(|| unserved(&server, "other").is_some_and(|why| why.contains("holder"))));
    monitor.claim(8).call(Ping { token: 2 }).unwrap();
    send_signal(stopped, "CONT");
    assert!(eventually(|| unserved(&server, "other").is_none()), "{}", server.log());
    assert_eq!(server.status().daemon.vms[1].holder_pid, stopped);
    other.claim(9).call(Ping { token: 3 }).unwrap();
}

#[test]
fn a_daemon_that_can_serve_nothing_does_not_start_and_says_what_to_try() {
    let mut server = VmServer::start("");
    let socket = server.socket();
    let serve = |size: &str| {
        let mut command = Command::new(RINGBAR);
        command.args(["serve", "--backend", "mock", "--vm", "vm", "--socket"]).arg(&socket);
        command.args(["--size", size]);
        let mut said = String::new();
        // Until its predecessor is quite gone.
        assert!(eventually(|| {
            let ended = command.output().unwrap();
            assert!(!ended.status.success());
            said = String::from_utf8_lossy(&ended.stderr).into_owned();
            !support::tells_of_predecessor(&said)
        }));
        said
    };
    server.kill();
    let said = serve("17MiB");
    assert!(said.contains("power of two"), "{said}");
    let said = serve("32MiB");
    assert!(said.contains("16777216 bytes") && said.contains("vm end"), "{said}");
    server.restart();
}

#[test]
fn a_second_daemon_for_a_vm_says_that_another_serves_it_and_takes_over_when_that_is_gone() {
    let mut server = VmServer::start("");
    let monitor = Monitor::connect(&server).unwrap();
    let program = monitor.claim(7);
    let socket = server.socket_of("daemon");
    let mut command = Command::new(RINGBAR);
    command.arg("serve").arg("--socket").arg(&socket).args(["--device-memory", "64MiB"]);
    command.args(["--vm", "vm", "--socket"]).arg(server.socket()).args(["--size", "16MiB"]);
    let mut second = command.spawn().unwrap();
    let vm = || status::query(&socket).ok().map(|status| status.daemon.vms[0].clone());
    let refused = |vm: VmStatus| vm.unserved.is_some_and(|why| why.contains("another daemon"));
    assert!(eventually(|| vm().is_some_and(refused)));
    program.call(Ping { token: 1 }).unwrap();
    server.kill();
    assert!(eventually(|| vm().is_some_and(|vm| vm.connected && vm.taken == 1)));
    program.call(Ping { token: 2 }).unwrap();
    monitor.claim(8).call(Ping { token: 3 }).unwrap();
    send_signal(second.id(), "TERM");
    second.wait().unwrap();
    server.restart();
}
