//! A VM's device without a VM: the test plays the monitor and the guest's programs over the real socket, memory and
//! doorbells, with a real daemon, holder and workers.

mod support;
#[path = "vm_device/unserved.rs"]
mod unserved;

use ringbar::Error as ChannelError;
use ringbar::directory;
use ringbar::guest::GuestConfig;
use ringbar::layout::DIRECTORY_MAGIC;
use ringbar::lines::Lines;
use ringbar::link::Options;
use ringbar::region::{Expect, State};
use ringbar::sync::Ordering;
use ringbar_executor::attach::{AttachError, encoded};
use ringbar_executor::status;
use ringbar_vocabulary::{
    ArenaRef, ContextId, EventId, Init, IpcEventHandle, IpcEventOpen, IpcMemoryClose,
    IpcMemoryHandle, IpcMemoryOpen, MemAlloc, ModuleId, ModuleLoad, Ping, PingReply, ReplyBody,
    Stats, Status, Tail, VOCABULARY_HASH,
};
use std::time::Instant;
use support::device::{Monitor, VmServer, region_file};
use support::{PATIENCE, Server, children, eventually, is_running, named, send_signal};
use unserved::unserved;

#[test]
fn programs_of_a_guest_have_channels_and_workers_of_their_own_and_status_shows_them() {
    let server = VmServer::start("");
    assert!(!server.vm().connected);
    let monitor = Monitor::connect(&server).unwrap();
    let (first, second) = (monitor.claim(7), monitor.claim(8));
    assert_ne!(first.index, second.index);
    for (program, token) in [(&first, 1), (&second, 2)] {
        assert_eq!(program.call(Ping { token }).unwrap().token, token);
    }
    let vm = server.vm();
    assert_eq!((vm.connected, vm.taken, vm.channels), (true, 2, 3));
    let clients = server.status().clients;
    assert_eq!(clients.iter().filter(|client| client.vm.as_deref() == Some("vm")).count(), 2);
    assert_ne!(clients[0].worker_pid, clients[1].worker_pid);
    let (index, generation) = (first.index, first.generation);
    first.leave(&monitor);
    assert!(eventually(|| server.client(index).is_none()), "{}", server.log());
    let third = monitor.claim(9);
    assert_eq!((third.index, third.generation), (index, generation + 1));
    second.call(Ping { token: 3 }).unwrap();
}

#[test]
fn a_program_of_a_guest_can_neither_give_out_memory_nor_open_anothers_and_one_of_the_host_can() {
    let (server, host) = (VmServer::start(""), Server::start(""));
    let monitor = Monitor::connect(&server).unwrap();
    let (guest, process) = (monitor.claim(7), host.attach(&named("process")).unwrap());
    let alloc = MemAlloc { context: ContextId::FIRST, bytes: 4096 };
    process.call(Init { flags: 0 }).unwrap();
    let at = process.call(alloc).unwrap().at;
    process.call(IpcMemoryHandle { at, handle: ArenaRef::new(0, 0, 64).unwrap() }).unwrap();
    let mut words = [0; 64];
    process.client.arena().read(0, &mut words).unwrap();
    let words: [u64; 8] =
        std::array::from_fn(|i| u64::from_le_bytes(words[8 * i..8 * i + 8].try_into().unwrap()));

    guest.call(Init { flags: 0 }).unwrap();
    let (context, own) = (ContextId::FIRST, guest.call(alloc).unwrap().at);
    let (handle, event) = (ArenaRef::new(0, 0, 64).unwrap(), EventId(1));
    let refused = |status: Option<AttachError>| {
        assert!(matches!(status, Some(AttachError::Status(Status::NOT_SUPPORTED))), "{status:?}");
    };
    refused(guest.call(IpcMemoryOpen { context, flags: 1, handle: words }).err());
    refused(guest.call(IpcMemoryHandle { at: own, handle }).err());
    refused(guest.call(IpcMemoryClose { at: own }).err());
    refused(guest.call(IpcEventHandle { event, handle }).err());
    refused(guest.call(IpcEventOpen { context, event, handle: words }).err());
    refused(guest.call(IpcMemoryHandle { at: own, handle }).err());
    assert_eq!(guest.call(Stats {}).unwrap().unsupported, 6);
    let log = server.log();
    for row in
        ["IpcMemoryOpen", "IpcMemoryHandle", "IpcMemoryClose", "IpcEventHandle", "IpcEventOpen"]
    {
        let told = log.lines().filter(|line| line.contains(&format!("row=\"{row}\"")));
        let told: Vec<_> =
            told.filter(|line| line.contains("not for programs in virtual")).collect();
        assert_eq!(told.len(), 1, "{row}: {log}");
    }
    // The same handle opens for another process of the host.
    let other = host.attach(&named("other")).unwrap();
    other.call(Init { flags: 0 }).unwrap();
    other.call(IpcMemoryOpen { context, flags: 1, handle: words }).unwrap();
}

#[test]
fn a_second_monitor_is_refused_while_one_is_connected_and_served_after_it() {
    let server = VmServer::start("");
    let first = Monitor::connect(&server).unwrap();
    let program = first.claim(7);
    assert!(Monitor::connect(&server).is_none());
    program.call(Ping { token: 1 }).unwrap();
    assert!(eventually(|| server.vm().monitors_refused == 1));
    drop(first.connection);
    assert!(eventually(|| !server.vm().connected));
    let second = Monitor::connect(&server).unwrap();
    second.claim(8).call(Ping { token: 2 }).unwrap();
}

#[test]
fn all_channels_taken_can_be_seen_and_one_that_is_left_can_be_had() {
    let server = VmServer::start("");
    let monitor = Monitor::connect(&server).unwrap();
    let mut programs: Vec<_> = (1..=3).map(|nonce| monitor.claim(nonce)).collect();
    assert_eq!(directory::seems_free(&monitor.directory, 3), None);
    programs.pop().unwrap().leave(&monitor);
    assert!(eventually(|| directory::seems_free(&monitor.directory, 3) == Some(2)));
    assert_eq!(monitor.claim(4).index, 2);
}

#[test]
fn a_killed_worker_loses_its_channel_alone_and_the_next_claim_has_a_new_generation() {
    let server = VmServer::start("");
    let monitor = Monitor::connect(&server).unwrap();
    let (program, other) = (monitor.claim(7), monitor.claim(8));
    send_signal(server.client(program.index).unwrap().worker_pid.unwrap(), "KILL");
    assert!(eventually(|| program.host_state() == State::Lost), "{}", server.log());
    let error = program.call(Ping { token: 1 }).unwrap_err();
    assert!(matches!(error, AttachError::Channel(ChannelError::PeerDied { .. })), "{error}");
    let status = server.client(program.index).expect("it stays with who has it");
    assert_eq!((status.state.as_str(), status.worker_pid), ("waiting", None));
    let (index, generation) = (program.index, program.generation);
    program.leave(&monitor);
    assert!(eventually(|| server.client(index).is_none()));
    let again = monitor.claim(9);
    assert_eq!((again.index, again.generation), (index, generation + 1));
    again.call(Ping { token: 2 }).unwrap();
    other.call(Ping { token: 3 }).unwrap();
}

#[test]
fn a_program_whose_heart_stops_gives_its_channel_back_within_the_limit() {
    let server = VmServer::start("--guest-heart-limit 3s");
    let monitor = Monitor::connect(&server).unwrap();
    let (program, lives) = (monitor.claim(7), monitor.claim(8));
    let index = program.index;
    // Without a word of goodbye, as a killed program: only its heart stops.
    drop(program);
    assert!(eventually(|| server.client(index).is_none()), "{}", server.log());
    assert!(eventually(|| directory::seems_free(&monitor.directory, 3) == Some(index)));
    lives.call(Ping { token: 1 }).unwrap();
}

#[test]
fn a_claimant_that_never_attaches_loses_its_channel() {
    let server = VmServer::start("--guest-heart-limit 3s");
    let monitor = Monitor::connect(&server).unwrap();
    let nonce = directory::Nonce::new(7).unwrap();
    directory::claim(&monitor.directory, 0, nonce);
    // Without a doorbell too: the daemon looks by itself.
    assert!(eventually(|| directory::is_assigned(&monitor.directory, 0, nonce)));
    assert!(
        eventually(|| directory::assigned(&monitor.directory, 0).is_none()),
        "{}",
        server.log()
    );
}

#[test]
fn when_the_monitor_goes_everything_is_freed_at_once_and_the_next_boot_works() {
    let server = VmServer::start("--guest-heart-limit 10min");
    let monitor = Monitor::connect(&server).unwrap();
    let programs: Vec<_> = (1..=3).map(|nonce| monitor.claim(nonce)).collect();
    let workers: Vec<u32> =
        server.status().clients.iter().filter_map(|client| client.worker_pid).collect();
    assert_eq!(workers.len(), 3);
    drop(monitor.connection);
    assert!(eventually(|| server.vm().taken == 0), "{}", server.log());
    assert!(workers.iter().all(|&pid| !is_running(pid)));
    drop(programs);
    let next = Monitor::connect(&server).unwrap();
    let program = next.claim(4);
    assert_eq!(program.generation, 2);
    program.call(Ping { token: 1 }).unwrap();
}

#[test]
fn a_daemon_killed_and_started_again_finds_device_and_live_workers() {
    let mut server = VmServer::start("");
    let monitor = Monitor::connect(&server).unwrap();
    let (program, doomed) = (monitor.claim(7), monitor.claim(8));
    let (holder, worker) =
        (server.vm().holder_pid, server.client(program.index).unwrap().worker_pid);
    let doomed_worker = server.client(doomed.index).unwrap().worker_pid.unwrap();
    server.kill();
    program.call(Ping { token: 1 }).unwrap();
    send_signal(doomed_worker, "KILL");
    server.restart();
    program.call(Ping { token: 2 }).unwrap();
    let vm = server.vm();
    assert_eq!((vm.holder_pid, vm.connected, vm.taken), (holder, true, 2));
    let client = server.client(program.index).unwrap();
    assert_eq!((client.worker_pid, client.generation), (worker, program.generation));
    assert!(eventually(|| doomed.host_state() == State::Lost), "{}", server.log());
    let (index, generation) = (doomed.index, doomed.generation);
    doomed.leave(&monitor);
    assert!(eventually(|| server.client(index).is_none()), "{}", server.log());
    assert_eq!(monitor.claim(9).generation, generation + 1, "no generation comes twice");
    let index = program.index;
    program.leave(&monitor);
    assert!(eventually(|| server.client(index).is_none()), "an adopted worker's end is seen");
}

#[test]
fn an_orderly_end_leaves_a_vm_its_device_and_takes_away_one_that_nobody_has() {
    let mut server = VmServer::start("");
    let holder = server.vm().holder_pid;
    let monitor = Monitor::connect(&server).unwrap();
    let program = monitor.claim(7);
    program.call(Ping { token: 1 }).unwrap();
    server.end();
    let state = program.host_state();
    assert_eq!(state, State::Closed, "the program is told: {}", server.log());
    assert!(is_running(holder));
    server.restart();
    assert_eq!((server.vm().holder_pid, server.vm().connected), (holder, true));
    monitor.claim(8).call(Ping { token: 1 }).unwrap();
    for (options, stays) in [("", false), ("--keep-devices", true)] {
        let mut server = VmServer::start(options);
        let holder = server.vm().holder_pid;
        server.end();
        if stays {
            assert!(is_running(holder));
            server.restart();
            assert_eq!(server.vm().holder_pid, holder);
        } else {
            assert!(eventually(|| !is_running(holder)), "{}", server.log());
            assert!(!server.socket().exists());
        }
    }
}

#[test]
fn a_region_wrecked_while_no_daemon_was_there_is_repaired_by_the_next_one() {
    for connected_before in [false, true] {
        let mut server = VmServer::start("");
        let monitor = Monitor::connect(&server).unwrap();
        monitor.claim(7).call(Ping { token: 1 }).unwrap();
        server.kill();
        let lines = monitor.directory.count();
        for word in 0..lines * 8 {
            monitor.directory.store(word / 8, word % 8, u64::MAX, Ordering::Relaxed);
        }
        drop(monitor);
        let early = connected_before.then(|| Monitor::connect_patiently(&server));
        server.restart();
        let next = early.unwrap_or_else(|| Monitor::connect_patiently(&server));
        next.claim(8).call(Ping { token: 2 }).unwrap();
    }
}

#[test]
fn a_directory_that_a_program_wrecked_is_whole_for_the_next_one_of_the_same_boot() {
    let server = VmServer::start("--guest-heart-limit 3s");
    let monitor = Monitor::connect(&server).unwrap();
    let works = monitor.claim(7);
    let lines = monitor.directory.count();
    for word in 0..lines * 8 {
        monitor.directory.store(word / 8, word % 8, u64::MAX, Ordering::Relaxed);
    }
    // What claims the free channels is nobody, and nobody's heart beats; the one who has a channel has it still.
    monitor.claim(8).call(Ping { token: 1 }).unwrap();
    works.call(Ping { token: 2 }).unwrap();
    assert_eq!(server.vm().directory_repaired, 1, "{}", server.log());
    assert!(server.vm().connected, "by the same monitor");
}

#[test]
fn a_guest_that_wrecks_the_directory_for_ever_gets_few_looks_and_few_lines_in_the_log() {
    let server = VmServer::start("");
    let monitor = Monitor::connect(&server).unwrap();
    let start = Instant::now();
    assert!(eventually(|| {
        monitor.directory.store(0, 0, u64::MAX, Ordering::Relaxed);
        server.vm().directory_repaired >= 20
    }));
    // The daemon may have looked once more between the two readings, at either end.
    let looks = start.elapsed().as_millis() / 50 + 2;
    assert!(u128::from(server.vm().directory_repaired) <= looks, "{looks} at most");
    let lines = server.log().matches("a guest wrote over the directory").count();
    assert!((1..=5).contains(&lines), "at looks 1, 2, 4, 8, 16: {}", server.log());
    let magic = || monitor.directory.load(0, 0, Ordering::Relaxed);
    assert!(eventually(|| magic() == DIRECTORY_MAGIC), "{:#x}", magic());
    monitor.claim(7).call(Ping { token: 1 }).unwrap();
}

#[test]
fn a_vm_that_ends_unheard_by_a_stopped_daemon_loses_its_channels_when_that_goes_on() {
    let server = VmServer::start("--guest-heart-limit 10min");
    let monitor = Monitor::connect(&server).unwrap();
    let programs: Vec<_> = (1..=3).map(|nonce| monitor.claim(nonce)).collect();
    send_signal(server.child.id(), "STOP");
    // More of them than its socket has room for.
    for _ in 0..1000 {
        assert!(Monitor::connect(&server).is_none());
    }
    drop((programs, monitor));
    let next = Monitor::connect_patiently(&server);
    send_signal(server.child.id(), "CONT");
    next.claim(8).call(Ping { token: 1 }).unwrap();
    // As many as the new monitor took to find the old one gone came to them.
    assert!(server.vm().monitors_refused >= 1000, "{:?}", server.vm());
    assert!(eventually(|| server.vm().taken == 1), "{}", server.log());
}

#[test]
fn a_vm_that_ends_while_no_daemon_is_there_loses_its_channels_with_the_next_one() {
    let mut server = VmServer::start("--guest-heart-limit 10min");
    let monitor = Monitor::connect(&server).unwrap();
    let programs: Vec<_> = (1..=3).map(|nonce| monitor.claim(nonce)).collect();
    server.kill();
    drop((programs, monitor));
    let next = Monitor::connect_patiently(&server);
    server.restart();
    next.claim(8).call(Ping { token: 1 }).unwrap();
    assert!(eventually(|| server.vm().taken == 1), "{}", server.log());
}

#[test]
fn a_holder_that_does_not_read_costs_its_vm_the_next_channels_and_leaves_no_dead_workers() {
    let server = VmServer::start("");
    let monitor = Monitor::connect(&server).unwrap();
    let holder = server.vm().holder_pid;
    send_signal(holder, "STOP");
    let mut nonces = (1..).filter_map(directory::Nonce::new);
    let mut ask = || {
        let nonce = nonces.next().unwrap();
        directory::claim(&monitor.directory, 0, nonce);
        let refusal = || directory::refusal(&monitor.directory, 0, nonce);
        let answered =
            || directory::is_assigned(&monitor.directory, 0, nonce) || refusal().is_some();
        monitor.to_host[0].signal().unwrap();
        assert!(eventually(answered), "{}", server.log());
        directory::give_back(&monitor.directory, 0, nonce);
        monitor.to_host[0].signal().unwrap();
        assert!(eventually(|| directory::seems_free(&monitor.directory, 3) == Some(0)));
        refusal()
    };
    let no_worker = Some(directory::Refused::NoWorker);
    assert!(eventually(|| ask() == no_worker), "its socket never is full: {}", server.log());
    assert!(eventually(|| children(server.child.id()) == [holder]), "{}", server.log());
    send_signal(holder, "CONT");
    assert!(eventually(|| ask().is_none()), "{}", server.log());
    monitor.claim(u64::MAX).call(Ping { token: 1 }).unwrap();
}

#[test]
fn a_daemon_killed_with_all_processes_of_its_group_leaves_a_vm_its_device() {
    let mut server = VmServer::start("");
    let monitor = Monitor::connect(&server).unwrap();
    let program = monitor.claim(7);
    let holder = server.vm().holder_pid;
    let group = rustix::process::Pid::from_raw(server.child.id() as i32).unwrap();
    // Which the worker is not in: it goes with the rest all the same, as where a service's processes are ended.
    let worker = server.client(0).unwrap().worker_pid.unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    send_signal(worker, "KILL");
    server.child.wait().unwrap();
    server.restart();
    assert_eq!((server.vm().holder_pid, server.vm().connected), (holder, true));
    assert!(eventually(|| program.host_state() == State::Lost), "{}", server.log());
    monitor.claim(8).call(Ping { token: 1 }).unwrap();
}

/// A program of a guest whose monitor only maps the file that the device's memory is.
fn polled_program(server: &VmServer) -> (ringbar::client::Client, ringbar::guest::Attached) {
    let memory = region_file(server.vm().holder_pid);
    let device = Some(memory.display().to_string());
    let config = GuestConfig { device, patience: PATIENCE, ..GuestConfig::default() };
    let want = Expect { vocabulary_hash: VOCABULARY_HASH, ..Expect::default() };
    ringbar::guest::connect(&config, want, Options::default()).unwrap()
}

fn ping(client: &ringbar::client::Client, token: u64) {
    let mut caller = client.caller().unwrap();
    let reply = caller.call(&encoded(Ping { token })).unwrap();
    assert_eq!(PingReply::decode(reply).unwrap().unwrap().token, token);
}

#[test]
fn a_vm_whose_monitor_never_connects_is_served_without_doorbells_across_deaths_of_either_side() {
    let mut server = VmServer::start("--polled");
    let (first, attached) = polled_program(&server);
    assert_eq!(directory::doorbells(&attached.device.directory.lines), 0);
    ping(&first, 1);
    let holder = server.vm().holder_pid;
    send_signal(server.client(attached.channel).unwrap().worker_pid.unwrap(), "KILL");
    assert!(first.wait_ended(PATIENCE).is_some());
    assert!(server.client(attached.channel).is_some(), "it stays with who has it");
    drop(first);
    let (second, _) = polled_program(&server);
    server.kill();
    server.restart();
    ping(&second, 2);
    server.end();
    assert!(is_running(holder), "nothing says that no VM has the memory");
    server.restart();
    ping(&polled_program(&server).0, 3);
    assert_eq!(server.vm().holder_pid, holder);
}

#[test]
fn the_end_of_a_guests_worker_is_one_line_that_names_vm_and_channel_and_one_count() {
    let server = VmServer::start_quietly("");
    let monitor = Monitor::connect(&server).unwrap();
    let (program, attacker, leaves) = (monitor.claim(7), monitor.claim(8), monitor.claim(9));
    leaves.leave(&monitor);
    assert!(eventually(|| server.client(2).is_none()));
    assert_eq!(server.log(), "", "nothing went wrong");
    send_signal(server.client(program.index).unwrap().worker_pid.unwrap(), "KILL");
    assert!(eventually(|| server.vm().counts.workers_lost == 1), "{}", server.log());
    let log = server.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    for part in ["WARN", "a guest's worker ended: ended by signal 9", "channel=0", "vm=\"vm\""] {
        assert!(log.contains(part), "{log}");
    }
    let client = server.client(program.index).unwrap();
    assert_eq!(client.last_end.as_deref(), Some("ended by signal 9"));
    assert!(server.status().to_table().contains("ended by signal 9"));
    let mut caller = attacker.client.caller().unwrap();
    caller.call(&[0xff; 64]).unwrap_err();
    assert!(eventually(|| server.vm().counts.channels_poisoned == 1), "{}", server.log());
    let log = server.log();
    assert_eq!(log.lines().count(), 2, "{log}");
    let line = log.lines().nth(1).unwrap();
    let parts = ["channel poisoned", "vm=vm channel=1", "generation=1"];
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    let status = server.status().daemon;
    assert_eq!((status.sessions_opened, status.workers_lost, status.channels_poisoned), (3, 1, 1));
    let counts = &status.vms[0].counts;
    assert_eq!((counts.claims_answered, counts.workers_lost, counts.claims_refused), (3, 1, 0));
}

#[test]
fn refused_images_of_all_channels_of_a_vm_together_write_a_few_lines_a_second() {
    let server =
        VmServer::start("--log-lines-per-second 5 --vm other --socket @/other --size 16MiB");
    assert!(eventually(|| unserved(&server, "other").is_none()), "{}", server.log());
    let monitor = Monitor::connect(&server).unwrap();
    let other = Monitor::connect_at(&server.socket_of("other")).unwrap();
    let start = Instant::now();
    let flood = |program: support::device::Program, images: u64| {
        program.call(Init { flags: 0 }).unwrap();
        for module in 1..=images {
            let (context, image) = (ContextId::FIRST, Tail::Inline(&b"\x7fELF, or so it says"[..]));
            let module = ModuleId(module as u32);
            program.call(ModuleLoad { context, module, image }).unwrap_err();
        }
    };
    let programs: Vec<_> = (7..10).map(|nonce| monitor.claim(nonce)).collect();
    std::thread::scope(|scope| {
        for program in programs {
            scope.spawn(|| flood(program, 200));
        }
    });
    flood(other.claim(7), 1);
    let seconds = start.elapsed().as_secs() as usize + 1;
    let log = server.log();
    let lines = |vm: &str| {
        let of_vm = log.lines().filter(|line| line.contains("a module image was refused"));
        of_vm.filter(|line| line.contains(vm)).count()
    };
    // Two lines more where all three wrote at the same moment.
    assert!((1..=(5 + 2) * (seconds + 1)).contains(&lines("vm=vm ")), "{seconds} s: {log}");
    assert_eq!(lines("vm=other "), 1, "{log}");
}

#[test]
fn status_is_told_at_the_socket_of_each_vm() {
    let mut server = VmServer::start("--vm other --socket @/other --size 16MiB");
    let other = server.socket_of("other");
    for _ in 0..2 {
        assert!(eventually(|| status::query(&other).is_ok()), "{}", server.log());
        let vms = status::query(&other).unwrap().daemon.vms;
        let names: Vec<_> = vms.iter().map(|vm| (vm.name.as_str(), vm.polled)).collect();
        assert_eq!(names, [("vm", false), ("other", false)]);
        server.kill();
        server.restart();
    }
}

#[test]
fn status_says_for_how_long_the_heart_of_a_program_has_rested() {
    let server = VmServer::start("--guest-heart-limit 10min");
    let monitor = Monitor::connect(&server).unwrap();
    let (program, lives) = (monitor.claim(7), monitor.claim(8));
    let (silent, live) = (program.index, lives.index);
    drop(program);
    let rests = |index| server.client(index).unwrap().silent_ms.unwrap();
    assert!(eventually(|| rests(silent) > 3000), "{:?}", server.status());
    assert!(rests(live) < rests(silent));
    assert!(server.status().to_table().contains("silent for"));
}

#[test]
fn a_gpu_that_reaches_its_workers_memory_is_refused_to_guests_and_to_nobody_else() {
    let setting = "--mock pageable_memory_access=true";
    let server = VmServer::start(setting);
    let monitor = Monitor::connect(&server).unwrap();
    let program = monitor.claim(7);
    let error = program.call(Init { flags: 0 }).unwrap_err();
    assert!(matches!(error, AttachError::Status(Status::NOT_PERMITTED)), "{error}");
    let error = program.call(MemAlloc { context: ContextId::FIRST, bytes: 4096 }).unwrap_err();
    assert!(matches!(error, AttachError::Status(Status::NOT_INITIALIZED)), "{error}");
    let log = server.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("uvm_disable_hmm=1")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("--allow-hmm") && told[0].contains("vm=vm channel=0"), "{log}");
    let host = Server::start(setting);
    host.attach(&named("process")).unwrap().call(Init { flags: 0 }).unwrap();
    let trusted = VmServer::start(&format!("{setting} --allow-hmm"));
    let monitor = Monitor::connect(&trusted).unwrap();
    monitor.claim(7).call(Init { flags: 0 }).unwrap();
}
