//! The daemon, and the holder of a VM's device, are killed at each step that they take with a VM.
//!
//! A killed daemon costs a guest nothing but time: programs that are served go on, and the next daemon answers the claims
//! that the last one did not. A killed holder costs the VM its device; the daemon goes on and makes it anew.

mod support;

use ringbar::directory::{self, Nonce};
use ringbar::region::State;
use ringbar_executor::failpoints::{Point, Side};
use ringbar_vocabulary::Ping;
use std::os::unix::process::ExitStatusExt;
use support::device::{Monitor, Program, VmServer};
use support::{eventually, is_running};

/// Signal number of SIGKILL.
const KILLED: Option<i32> = Some(9);
const SIZES: &str = "--device-memory 64MiB --size 16MiB";

fn armed(point: Point, at: u32) -> String {
    format!("--failpoint {}:{at}", point.name())
}

fn was_reached(server: &VmServer, point: Point) -> bool {
    server.log().contains(&format!("failpoint {} reached by process", point.name()))
}

/// What leads the daemon to a step.
#[derive(Clone, Copy)]
enum Lead {
    /// A second program claims a channel.
    Claim,
    /// A second program leaves its channel.
    Leave,
}

const VICTIM: usize = 1;

fn nonce(number: u64) -> Nonce {
    Nonce::new(number).unwrap()
}

/// Goes on with a claim that may have been answered by a daemon that died meanwhile: a channel that is lost is given back
/// and claimed anew, as every claimant does.
fn claimed(monitor: &Monitor, index: usize, first: u64) -> Program {
    let is_assigned = |of: u64| {
        monitor.to_host[0].signal().unwrap();
        directory::is_assigned(&monitor.directory, index, nonce(of))
    };
    assert!(eventually(|| is_assigned(first)), "no answer to the claim");
    let settled = || matches!(monitor.host_state(index), State::Running | State::Lost);
    assert!(eventually(settled), "{:?}", monitor.host_state(index));
    if monitor.host_state(index) == State::Running {
        return monitor.attach(index, nonce(first));
    }
    directory::give_back(&monitor.directory, index, nonce(first));
    assert!(eventually(|| directory::seems_free(&monitor.directory, 3) == Some(index)));
    directory::claim(&monitor.directory, index, nonce(first + 1));
    assert!(eventually(|| is_assigned(first + 1)), "no answer to the second claim");
    monitor.attach(index, nonce(first + 1))
}

fn daemon_dies_at(point: Point, at: u32, lead: Lead) {
    let mut server = VmServer::start(&armed(point, at));
    let monitor = Monitor::connect(&server).unwrap();
    let other = monitor.claim(1);
    other.call(Ping { token: 1 }).unwrap();
    match lead {
        Lead::Claim => {
            directory::claim(&monitor.directory, VICTIM, nonce(2));
            monitor.to_host[0].signal().unwrap();
        }
        Lead::Leave => {
            let victim = monitor.claim(2);
            victim.call(Ping { token: 2 }).unwrap();
            assert_eq!(victim.index, VICTIM);
            victim.leave(&monitor);
        }
    }
    assert!(eventually(|| server.child.try_wait().unwrap().is_some()), "{}", server.log());
    assert_eq!(server.child.wait().unwrap().signal(), KILLED, "{}", server.log());
    assert!(was_reached(&server, point), "{}", server.log());
    (0..100).for_each(|token| assert_eq!(other.call(Ping { token }).unwrap().token, token));
    server.restart_with(SIZES);
    if let Lead::Leave = lead {
        assert!(eventually(|| directory::seems_free(&monitor.directory, 3) == Some(VICTIM)));
        directory::claim(&monitor.directory, VICTIM, nonce(2));
    }
    let again = claimed(&monitor, VICTIM, 2);
    assert_eq!(again.call(Ping { token: 3 }).unwrap().token, 3);
    other.call(Ping { token: 4 }).unwrap();
    // Daemon, holder, and a worker for each of the two.
    assert!(
        eventually(|| server.processes().len() == 4),
        "{:?}\n{}",
        server.processes(),
        server.log()
    );
    assert_eq!(server.vm().taken, 2);
}

/// What leads the holder to a step.
#[derive(Clone, Copy)]
enum HolderLead {
    /// A daemon starts it.
    Start,
    /// A monitor connects.
    Connect,
    /// A program claims a channel.
    Claim,
    /// A monitor goes.
    Leave,
    /// Its daemon ends.
    End,
}

/// Whether the daemon is to be started again afterwards.
fn lead_holder_to(lead: HolderLead, server: &mut VmServer) -> bool {
    match lead {
        HolderLead::Start => {
            let up_or_over =
                || server.child.try_wait().unwrap().is_some() || is_up(&server.socket());
            assert!(eventually(up_or_over), "{}", server.log());
            return server.child.try_wait().unwrap().is_some();
        }
        // Refused or served, it has nothing any more once the holder is dead.
        HolderLead::Connect => drop(Monitor::connect(server)),
        HolderLead::Claim => {
            let monitor = Monitor::connect(server).unwrap();
            directory::claim(&monitor.directory, 0, nonce(1));
            monitor.to_host[0].signal().unwrap();
            assert!(eventually(|| was_reached(server, Point::HolderKeeping)), "{}", server.log());
        }
        HolderLead::Leave => drop(Monitor::connect(server).unwrap()),
        HolderLead::End => {
            server.end();
            return true;
        }
    }
    false
}

fn is_up(socket: &std::path::Path) -> bool {
    ringbar_executor::status::query(socket).is_ok()
}

fn holder_dies_at(point: Point, lead: HolderLead) {
    let mut server = VmServer::try_start(SIZES, &armed(point, 1));
    let first_holder = match lead {
        HolderLead::Start => None,
        _ => {
            assert!(eventually(|| is_up(&server.socket())), "{}", server.log());
            Some(server.vm().holder_pid)
        }
    };
    let daemon_is_over = lead_holder_to(lead, &mut server);
    assert!(eventually(|| was_reached(&server, point)), "{}", server.log());
    let is_dead = |pid: u32| eventually(|| !is_running(pid));
    assert!(first_holder.is_none_or(is_dead), "{}", server.log());
    if daemon_is_over {
        if let HolderLead::Start = lead {
            assert!(server.log().contains("the holder of VM vm"), "it says why: {}", server.log());
        }
        server.restart_with(SIZES);
    }
    let daemon = server.child.id();
    assert!(is_running(daemon), "the daemon goes on");
    let has_new_holder = || {
        let holder = server.vm().holder_pid;
        // It says so before it dies.
        let dies = format!("reached by process {holder}");
        let dies = server.log().lines().any(|line| line.ends_with(&dies));
        Some(holder) != first_holder && !dies && is_running(holder)
    };
    assert!(eventually(has_new_holder), "{}", server.log());
    let monitor = Monitor::connect_patiently(&server);
    let program = monitor.claim(5);
    assert_eq!(program.call(Ping { token: 6 }).unwrap().token, 6);
    // Daemon, holder, worker.
    assert!(
        eventually(|| server.processes().len() == 3),
        "{:?}\n{}",
        server.processes(),
        server.log()
    );
}

macro_rules! deaths {
    ($($name:ident: $point:ident at $at:literal $lead:ident;)+; $($holder_name:ident: $holder_point:ident $holder_lead:ident;)+) => {
        $(
            #[test]
            fn $name() {
                daemon_dies_at(Point::$point, $at, Lead::$lead);
            }
        )+
        $(
            #[test]
            fn $holder_name() {
                holder_dies_at(Point::$holder_point, HolderLead::$holder_lead);
            }
        )+

        #[test]
        fn every_step_with_a_vm_has_its_test() {
            let tested = [$(Point::$point,)+ $(Point::$holder_point),+];
            let steps = Point::of(Side::VmDaemon).chain(Point::of(Side::Holder));
            let untested: Vec<_> = steps.filter(|point| !tested.contains(point)).collect();
            assert_eq!(untested, []);
        }
    };
}

deaths! {
    a_daemon_killed_with_a_claim_in_its_hands: VmClaimed at 2 Claim;
    a_daemon_killed_with_a_generation_that_has_no_worker: VmOffered at 2 Claim;
    a_daemon_killed_with_a_worker_that_nobody_keeps: VmSpawned at 2 Claim;
    a_daemon_killed_with_a_kept_worker_that_has_no_job: VmKept at 2 Claim;
    a_daemon_killed_with_a_served_channel_that_is_not_assigned: VmGave at 2 Claim;
    a_daemon_killed_as_soon_as_a_channel_is_assigned: VmAssigned at 2 Claim;
    a_daemon_killed_before_it_marks_a_channel: VmReaped at 1 Leave;
    a_daemon_killed_before_it_frees_a_channel: VmFreeing at 1 Leave;
    a_daemon_killed_before_the_holder_knows_that_a_channel_is_free: VmFreed at 1 Leave;
    ;
    a_holder_killed_as_soon_as_it_runs: HolderBegun Start;
    a_holder_killed_before_a_daemon_knows_its_device: HolderMade Start;
    a_holder_killed_in_the_middle_of_telling: HolderTelling Start;
    a_holder_killed_after_it_told_everything: HolderTold Start;
    a_holder_killed_with_a_word_to_keep: HolderKeeping Claim;
    a_holder_killed_before_it_greets_a_monitor: HolderGreeting Connect;
    a_holder_killed_after_it_greeted_a_monitor: HolderGreeted Connect;
    a_holder_killed_when_its_monitor_left: HolderMonitorLeft Leave;
    a_holder_killed_when_it_is_asked_to_end: HolderEnding End;
}
