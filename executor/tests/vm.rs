//! Programs in real guests. Each test boots guests of its own; without QEMU each says by name that it did not run.
//!
//! Whether a test passes never depends on a time being short: emulated guests are slow, and so may be the machine.

#[path = "vm/held.rs"]
mod held;
#[path = "vm/hostile.rs"]
mod hostile;
mod support;

use held::Held;
use hostile::{Pace, assert_survived, look_at_attacks};
use ringbar_benches::calls::Figures;
use ringbar_benches::exchange::GuestLimit;
use ringbar_vocabulary::Ping;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;
use support::device::{Monitor, VmServer};
use support::guest::{Boot, CHECK, Guest, Raw, assert_checked, prepared, qemu_without_guest};
use support::lacking::{PROGRAMS, lacks};
use support::page::block;
use support::{RINGBAR, eventually, is_running, send_signal};

/// Returns from the test, saying its name, where nothing can be booted.
macro_rules! folder_or_return {
    () => {
        match prepared() {
            Some(folder) => folder,
            None => return,
        }
    };
}

/// Binds the device to vfio-pci.
const BIND: &str = r#"
for folder in /sys/bus/pci/devices/*; do
    if [ "$(cat $folder/vendor)$(cat $folder/device)" = 0x1af40x1110 ]; then
        echo vfio-pci > $folder/driver_override
        echo ${folder##*/} > /sys/bus/pci/drivers_probe
    fi
done
"#;

/// Sets `address` to the function's.
const ADDRESS: &str = r#"
for folder in /sys/bus/pci/devices/*; do
    if [ "$(cat $folder/vendor)$(cat $folder/device)" = 0x1af40x1110 ]; then address=${folder##*/}; fi
done
"#;

/// What QEMU says where a device is taken.
const REFUSED_BY_HOLDER: &str = "server sent version -2, expecting 0";

fn pids(server: &VmServer) -> Vec<u32> {
    server.status().clients.iter().filter_map(|client| client.worker_pid).collect()
}

/// What a guest's program is told whose worker died, or who counted as dead itself.
const PEER_DIED: &str = "lost (1): the session is over: the peer died with";

/// Fails unless the guest's program attached anew: to another channel, or to a later generation of the one that it lost.
fn assert_attached_anew(console: &str) {
    let said = console.lines().find_map(|line| line.strip_prefix("attached anew: channel "));
    let place = |text: &str| -> Option<(u32, u32)> {
        let (channel, generation) = text.split_once(", generation ")?;
        Some((channel.parse().ok()?, generation.parse().ok()?))
    };
    let places = said.and_then(|said| said.split_once(" after channel "));
    let places = places.and_then(|(now, lost)| Some((place(now)?, place(lost)?)));
    let (now, lost) = places.expect(console);
    assert!(now.0 != lost.0 || now.1 > lost.1, "{now:?} after {lost:?}: {console}");
}

/// KiB that the guest's working program pins: more than the control words of a channel.
const PINNED_KIB: u64 = 2 << 10;

#[test]
fn every_step_of_the_check_is_fine_and_all_channels_taken_is_said() {
    let folder = folder_or_return!();
    let server = VmServer::start("");
    let script = format!("{CHECK}\nringbar-guest-tests taken");
    let socket = server.socket();
    let console = Guest::boot(&Boot::new(folder.clone(), &socket, &script)).succeed();
    assert_checked(&folder, &console);
    assert!(console.contains("guest-test taken: passed"), "{console}");
}

#[test]
fn a_recorded_inference_run_has_the_same_digest_in_a_guest_as_on_the_host() {
    let folder = folder_or_return!();
    let replay = "replay llama-1b-eager-decode --rounds 1 --json";
    let digest = |json: &str| {
        let part = |name: &str| {
            let value = json.split(&format!("\"{name}\":")).nth(1);
            value.and_then(|text| text.split('"').nth(1)).map(str::to_owned)
        };
        (part("digest"), part("memory_digest"))
    };
    let host = Command::new(RINGBAR).args(replay.split(' ')).output().unwrap();
    let host = digest(&String::from_utf8_lossy(&host.stdout));
    assert!(host.0.is_some() && host.1.is_some(), "{host:?}");
    let server = VmServer::start_with("--device-memory 8GiB --size 256MiB --channels 1", "");
    let script = format!("ringbar {replay} --vm");
    let console = Guest::boot(&Boot::new(folder, &server.socket(), &script)).succeed();
    assert_eq!(digest(&console), host, "{console}");
}

#[test]
fn two_programs_of_a_guest_work_at_once_with_workers_of_their_own() {
    let folder = folder_or_return!();
    let server = VmServer::start("");
    let script = "ringbar-guest-tests work --count 0 --time 15s & first=$!\n\
                  ringbar-guest-tests work --count 0 --time 15s\nwait $first";
    let mut guest = Guest::boot(&Boot::new(folder, &server.socket(), script));
    guest.wait_for("working", 2);
    assert_eq!(pids(&server).len(), 2, "{}", server.log());
    let console = guest.succeed();
    assert_eq!(console.matches("guest-test work: passed").count(), 2, "{console}");
}

#[test]
fn ten_thousand_interrupts_arrive_and_are_counted() {
    let folder = folder_or_return!();
    let server = VmServer::start("--mock latency_ns=300000");
    let script = format!(
        "{BIND}\nexport RINGBAR_VM=auto,interrupts=alone\n{CHECK}\n\
         ringbar-guest-tests interrupts --count 10000"
    );
    let socket = server.socket();
    let boot = Boot { vfio: true, ..Boot::new(folder.clone(), &socket, &script) };
    let console = Guest::boot(&boot).succeed();
    assert_checked(&folder, &console);
    assert!(console.contains("by interrupts (4 MSI-X vectors"), "{console}");
    assert!(console.contains("guest-test interrupts: passed"), "{console}");
    console.lines().filter(|l| l.contains("interrupts received")).for_each(|l| println!("{l}"));
}

#[test]
fn programs_of_a_bound_function_poll_without_a_holder_and_one_that_is_alone_keeps_others_out() {
    let folder = folder_or_return!();
    let server = VmServer::start("");
    let work = "ringbar-guest-tests work --count 0 --time";
    let script = format!(
        "{ADDRESS}\necho 1 > /sys/bus/pci/devices/$address/enable\n{BIND}\n{CHECK}\n\
         {work} 3s & first=$!\n{work} 3s\nwait $first\nsleep 1\n\
         RINGBAR_VM=auto,interrupts=alone {work} 30s > /tmp/said & alone=$!\n\
         until grep -q working /tmp/said; do sleep 1; done\n\
         if {work} 1s; then exit 1; fi\nkill $alone\ncat /tmp/said"
    );
    let socket = server.socket();
    let boot = Boot { vfio: true, ..Boot::new(folder, &socket, &script) };
    let console = Guest::boot(&boot).succeed();
    assert!(console.contains("start `ringbar vm hold` for interrupts"), "{console}");
    assert_eq!(console.matches("guest-test work: passed").count(), 2, "{console}");
    assert_eq!(console.matches(" polled, control").count(), 2, "{console}");
    assert_eq!(console.matches(" interrupts, control").count(), 1, "{console}");
    let refused = console.lines().find(|line| line.contains("work: failed")).expect(&console);
    assert!(refused.contains("through VFIO, alone") && refused.contains("try: "), "{refused}");
}

#[test]
fn the_documented_holder_gives_interrupts_to_two_programs_at_once() {
    let folder = folder_or_return!();
    let server = VmServer::start("--mock latency_ns=300000");
    // The modules are there already.
    let commands = block("interrupts").replace("modprobe vfio-pci\n", "");
    assert_eq!(commands, "ringbar vm hold --bind &\n");
    let script = format!(
        "{commands}\nuntil ls /run/ringbar/* > /dev/null 2>&1; do sleep 1; done\n{CHECK}\necho checked\n\
         ringbar-guest-tests interrupts --count 300 & first=$!\n\
         ringbar-guest-tests interrupts --count 300\nwait $first\n{STOP_HOLDER}\necho killing\n{KILL_HOLDER}"
    );
    let script = script.replace("ringbar vm hold --bind &", "ringbar vm hold --bind & hold=$!");
    let socket = server.socket();
    let boot = Boot { vfio: true, ..Boot::new(folder.clone(), &socket, &script) };
    let console = Guest::boot(&boot).succeed();
    let (checked, rest) = console.split_once("checked\n").expect(&console);
    assert_checked(&folder, checked);
    assert!(checked.contains("by interrupts"), "{checked}");
    let (held, killed) = rest.split_once("killing\n").expect(&console);
    assert_eq!(held.matches("guest-test interrupts: passed").count(), 2, "{console}");
    let refused = held.lines().find(|line| line.starts_with("✘ interrupts")).expect(&console);
    assert!(refused.contains("no answer within") && refused.contains("try: "), "{refused}");
    // What it attached with, what it got told, and that it went on.
    let (before, after) = killed.split_once("lost (1): ").expect(&console);
    assert!(before.contains(" interrupts, control"), "{console}");
    println!("{}", after.lines().next().unwrap_or_default());
    assert_attached_anew(after);
    assert!(after.contains("guest-test work: passed"), "{console}");
}

/// Stops the process of `$hold` while the way is checked, which says so and does not hang.
const STOP_HOLDER: &str = "
kill -STOP $hold
if ringbar vm check --patience 2s; then exit 1; fi
kill -CONT $hold";

/// Kills the process of `$hold` under a program that works.
const KILL_HOLDER: &str = "
ringbar-guest-tests work --count 1 > /tmp/said & program=$!
until grep -q working /tmp/said; do sleep 1; done
kill -9 $hold
wait $program || echo failed
cat /tmp/said";

/// Makes a DAX device of the guest's persistent memory, by what sysfs offers; ndctl does the same.
const MAKE_DAX: &str = "
cd /sys/bus/nd/devices
seed=$(cat region0/dax_seed)
echo ram > $seed/mode
echo 4096 > $seed/align
echo 0f4e3a1c-8d53-4b3a-9e5d-2f6a7c8b9d01 > $seed/uuid
echo namespace0.0 > /sys/bus/nd/drivers/nd_pmem/unbind
echo namespace0.0 > $seed/namespace
echo $seed > /sys/bus/nd/drivers/dax_pmem/bind
until [ -e /dev/dax0.0 ]; do sleep 1; done
cat /sys/bus/dax/devices/dax0.0/size
";

#[test]
fn a_region_on_a_real_dax_device_is_attached_to_cached_and_at_its_address() {
    let folder = folder_or_return!();
    let server = VmServer::start("");
    let script = format!("{MAKE_DAX}\nringbar-guest-tests dax");
    let socket = server.socket();
    let boot = Boot { dax: true, ..Boot::new(folder, &socket, &script) };
    let console = Guest::boot(&boot).succeed();
    assert!(console.contains("attached over /dev/dax0.0"), "{console}");
    assert!(console.contains("guest-test dax: passed"), "{console}");
}

#[test]
fn a_user_of_the_group_needs_no_root_once_the_documented_rule_has_run() {
    let folder = folder_or_return!();
    let server = VmServer::start("");
    let rule = include_str!("../systemd/70-ringbar.rules")
        .split("RUN+=\"")
        .nth(1)
        .and_then(|text| text.split('"').next())
        .unwrap();
    let rule = rule.replace("/sys%p", "$(readlink -f /sys/bus/pci/devices/$address)");
    // The shell of the rule is the script's, which knows the address.
    let rule = rule.strip_prefix("/bin/sh -c '").and_then(|text| text.strip_suffix('\'')).unwrap();
    let script = format!(
        "{ADDRESS}\nmkdir -p /etc\n\
         printf 'root:x:0:0::/:/bin/sh\\nuser:x:1000:1000::/:/bin/sh\\n' > /etc/passwd\n\
         printf 'root:x:0:\\nuser:x:1000:\\nringbar:x:900:user\\n' > /etc/group\n\
         if su user -c 'ringbar vm check --patience 60s'; then exit 1; fi\necho refused\n\
         ({rule})\nsu user -c '{CHECK}'\nsu user -c 'ringbar-guest-tests work --count 0'"
    );
    let socket = server.socket();
    let console = Guest::boot(&Boot::new(folder.clone(), &socket, &script)).succeed();
    let (before, after) = console.split_once("refused\n").unwrap();
    assert!(before.contains("the udev rule of VM.md"), "{console}");
    assert_checked(&folder, after);
    assert!(after.contains("guest-test work: passed"), "{console}");
}

#[test]
fn a_vm_paused_for_longer_than_the_limit_of_its_hearts_loses_its_channel_and_gets_a_new_one() {
    let folder = folder_or_return!();
    let server = VmServer::start("");
    let script = "ringbar-guest-tests work --count 1";
    let mut guest = Guest::boot(&Boot::new(folder, &server.socket(), script));
    guest.wait_for("working", 1);
    guest.monitor("stop");
    assert!(eventually(|| server.vm().taken == 0), "{}", server.log());
    guest.monitor("cont");
    let console = guest.succeed();
    assert!(console.contains(PEER_DIED), "{console}");
    assert_attached_anew(&console);
}

#[test]
fn a_killed_worker_is_a_typed_error_in_the_guest_which_attaches_on_a_new_generation() {
    let folder = folder_or_return!();
    let server = VmServer::start("--channels 1");
    let script = "ringbar-guest-tests work --count 1";
    let mut guest = Guest::boot(&Boot::new(folder, &server.socket(), script));
    guest.wait_for("working", 1);
    send_signal(pids(&server)[0], "KILL");
    let console = guest.succeed();
    assert!(console.contains(PEER_DIED), "{console}");
    let anew = "attached anew: channel 0, generation 2 after channel 0, generation 1";
    assert!(console.contains(anew), "{console}");
    assert!(eventually(|| server.vm().taken == 0), "{}", server.log());
}

#[test]
fn a_daemon_killed_and_started_again_is_not_noticed_by_a_guest_that_works() {
    let folder = folder_or_return!();
    let mut server = VmServer::start("");
    let script = "ringbar-guest-tests work --count 1";
    let mut guest = Guest::boot(&Boot::new(folder, &server.socket(), script));
    guest.wait_for("working", 1);
    let (worker, holder) = (pids(&server), server.vm().holder_pid);
    server.kill();
    server.restart();
    assert_eq!((pids(&server), server.vm().holder_pid), (worker.clone(), holder));
    let before = server.executed("vm");
    assert!(eventually(|| server.executed("vm") > before), "{}", guest.console());
    assert!(!guest.console().contains("lost"), "{}", guest.console());
    // The restarted daemon does for the guest what the first one did.
    send_signal(worker[0], "KILL");
    let console = guest.succeed();
    assert_attached_anew(&console);
}

#[test]
fn worker_and_daemon_killed_at_once_are_a_typed_error_in_the_guest_which_attaches_again() {
    let folder = folder_or_return!();
    let mut server = VmServer::start("");
    let script = "ringbar-guest-tests work --count 1";
    let mut guest = Guest::boot(&Boot::new(folder, &server.socket(), script));
    guest.wait_for("working", 1);
    let (worker, holder) = (pids(&server)[0], server.vm().holder_pid);
    // The daemon first: it must not tell the guest of its worker's end.
    server.kill();
    send_signal(worker, "KILL");
    guest.wait_for(PEER_DIED, 1);
    // Nobody answers claims yet.
    assert!(!guest.console().contains("attached anew"), "{}", guest.console());
    server.restart();
    let console = guest.succeed();
    assert_attached_anew(&console);
    assert!(console.contains("guest-test work: passed"), "{console}");
    assert_eq!(server.vm().holder_pid, holder);
    assert!(eventually(|| server.vm().taken == 0), "{}", server.log());
}

#[test]
fn a_stopped_worker_is_a_stall_that_ends_by_itself() {
    let folder = folder_or_return!();
    let server = VmServer::start("");
    let script = "ringbar-guest-tests work --count 1";
    let mut guest = Guest::boot(&Boot::new(folder, &server.socket(), script));
    guest.wait_for("working", 1);
    let worker = pids(&server)[0];
    send_signal(worker, "STOP");
    guest.wait_for("stalled after", 1);
    send_signal(worker, "CONT");
    guest.wait_for("the worker goes on", 1);
    assert!(!guest.console().contains("lost"), "{}", guest.console());
    send_signal(worker, "KILL");
    guest.succeed();
}

#[test]
fn a_guest_killed_in_its_work_leaves_nothing_and_the_next_boot_works_on_the_same_socket() {
    let folder = folder_or_return!();
    let server = VmServer::start("--guest-heart-limit 10min");
    let socket = server.socket();
    let before = Held::by(&server);
    let script = "ringbar-guest-tests work --count 1";
    let mut guest = Guest::boot(&Boot::new(folder.clone(), &socket, script));
    guest.wait_for("working", 1);
    let worker = pids(&server)[0];
    let working = Held::by(&server);
    assert!(working.region_kib >= before.region_kib + PINNED_KIB, "{before:?} {working:?}");
    assert_ne!(working.descriptors, before.descriptors, "a worker and a connection more");
    guest.kill();
    assert!(eventually(|| server.vm().taken == 0 && !is_running(worker)), "{}", server.log());
    // The control words of the channel stay; its arena, and all that the worker had, is given back.
    let mut after = Held::by(&server);
    let freed = eventually(|| {
        after = Held::by(&server);
        after.processes == before.processes && after.descriptors == before.descriptors
    });
    assert!(freed, "{before:?} {after:?}");
    assert!(after.region_kib < before.region_kib + PINNED_KIB, "{before:?} {after:?}");
    assert!(after.memory_kib < before.memory_kib + PINNED_KIB, "{before:?} {after:?}");
    let script = "ringbar-guest-tests work --count 0";
    let console = Guest::boot(&Boot::new(folder, &socket, script)).succeed();
    assert!(console.contains("in generation 2"), "{console}");
}

#[test]
fn a_program_killed_in_the_guest_gives_its_channel_back() {
    let folder = folder_or_return!();
    let server = VmServer::start("--guest-heart-limit 3s");
    // It is killed with a channel; then another program gets all that there are.
    let script = "ringbar-guest-tests work --count 1 > /tmp/said & program=$!\n\
                  until grep -q working /tmp/said; do sleep 1; done\n\
                  cat /tmp/said; kill -9 $program; echo killed\n\
                  until ringbar-guest-tests taken; do sleep 1; done";
    let console = Guest::boot(&Boot::new(folder, &server.socket(), script)).succeed();
    let (before, _) = console.split_once("killed").expect(&console);
    assert!(before.contains("working"), "it had its channel: {console}");
    assert!(console.contains("guest-test taken: passed"), "{console}");
    assert!(eventually(|| server.vm().taken == 0), "{}", server.log());
}

#[test]
fn a_function_taken_away_in_the_guest_is_a_typed_error() {
    let folder = folder_or_return!();
    let server = VmServer::start("");
    let script = "ringbar-guest-tests unplug";
    let console = Guest::boot(&Boot::new(folder, &server.socket(), script)).succeed();
    assert!(console.contains("guest-test unplug: passed"), "{console}");
}

/// Takes a pluggable device away.
const UNPLUG: &str = "device_del rb0";

/// Takes a pluggable device away by QEMU, once the guest says that a program uses it.
fn unplug_by_monitor(guest: &mut Guest, times: usize) {
    guest.wait_for("working", times);
    guest.monitor(UNPLUG);
    guest.wait_for("guest-test unplug: passed", times);
}

#[test]
fn a_device_that_is_unplugged_in_use_polled_or_by_interrupts_and_plugged_again_works_again() {
    let folder = folder_or_return!();
    let server = VmServer::start("");
    let socket = server.socket();
    let wait = "until ls -d /sys/bus/pci/devices/0000:01:* > /dev/null 2>&1; do sleep 1; done";
    let script = format!(
        "ringbar-guest-tests unplug --count 0\n\
         {wait}\nringbar-guest-tests work --count 0 --time 1s > /dev/null\necho worked again\n\
         {BIND}\nringbar vm hold &\nuntil ls /run/ringbar/* > /dev/null 2>&1; do sleep 1; done\n\
         ringbar-guest-tests unplug --count 0"
    );
    let boot = Boot { pluggable: true, vfio: true, ..Boot::new(folder, &socket, &script) };
    let mut guest = Guest::boot(&boot);
    unplug_by_monitor(&mut guest, 1);
    let replug = block("replug").replace("/run/ringbar/vm1.sock", socket.to_str().unwrap());
    let [unplug, remove, add, plug] = replug.lines().collect::<Vec<_>>()[..] else {
        panic!("{replug}")
    };
    assert_eq!(unplug, UNPLUG);
    // QEMU lets go of the device some time after the guest did, and of its socket no sooner.
    let removed = eventually(|| {
        guest.monitor(remove);
        !server.vm().connected
    });
    assert!(removed, "{}", server.log());
    guest.monitor(add);
    guest.monitor(plug);
    guest.wait_for("worked again", 1);
    unplug_by_monitor(&mut guest, 2);
    let console = guest.succeed();
    let (polled, interrupted) = console.split_once("worked again").unwrap();
    assert!(polled.contains(" polled, control"), "{console}");
    assert!(interrupted.contains(" interrupts, control"), "{console}");
}

#[test]
fn a_second_qemu_on_a_taken_socket_ends_with_an_error_and_the_first_vm_works_on() {
    let _folder = folder_or_return!();
    let server = VmServer::start("");
    let first = Monitor::connect(&server).unwrap();
    let program = first.claim(7);
    let second = qemu_without_guest(&server.socket());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains(REFUSED_BY_HOLDER), "{second:?}");
    assert!(eventually(|| server.vm().monitors_refused == 1), "{}", server.log());
    program.call(Ping { token: 1 }).unwrap();
    first.claim(8).call(Ping { token: 2 }).unwrap();
}

#[test]
fn a_hostile_guest_program_disturbs_no_other_vm() {
    let folder = folder_or_return!();
    let server = VmServer::start("--vm other --socket @/other --size 16MiB");
    let (socket, other) = (server.socket(), server.socket_of("other"));
    let served = || server.status().daemon.vms.iter().all(|vm| vm.unserved.is_none());
    assert!(eventually(served), "{}", server.log());
    let script = "ringbar-guest-tests work --count 1";
    let mut quiet = Guest::boot(&Boot::new(folder.clone(), &other, script));
    quiet.wait_for("working", 1);
    let worker = server.client_of("other", 0).unwrap().worker_pid.unwrap();
    // An honest program works beside it first and last, so that one more guest to emulate is in all figures.
    let honest = "ringbar-guest-tests work --count 0 --time";
    let script = format!(
        "{honest} 6s\nringbar-guest-tests hostile\necho honest again\n{honest} 8s\n\
         ringbar-guest-tests wreck"
    );
    let held = Held::by(&server);
    let mut hostile = Guest::boot(&Boot::new(folder.clone(), &socket, &script));
    hostile.wait_for("working", 1);
    let first = Pace::beside_an_honest_program(&server, "other");
    hostile.wait_for("guest-test work: passed", 1);
    let (toll, attacked) = look_at_attacks(&server, &mut hostile, "other");
    let log = server.log();
    hostile.wait_for("working", 2);
    let last = Pace::beside_an_honest_program(&server, "other");
    let console = hostile.succeed();
    assert!(console.contains("guest-test hostile: passed"), "{console}");
    assert_eq!(console.matches("guest-test work: passed").count(), 2, "{console}");
    assert!(console.contains("guest-test wreck: passed"), "{console}");
    println!("{}", console.lines().filter(|l| l.starts_with("H4: ")).collect::<String>());
    assert_survived(&console, &log);
    toll.assert_bounded();
    // H8: nothing is left of it.
    let mut left = Held::by(&server);
    let freed = eventually(|| {
        left = Held::by(&server);
        left.processes == held.processes && left.descriptors == held.descriptors
    });
    assert!(freed, "{held:?} {left:?}");
    assert!(left.memory_kib < held.memory_kib + PINNED_KIB, "{held:?} {left:?}");
    // Its own VM finds everything as it was with the next boot, and with the one after that in the same monitor.
    let script = "ringbar-guest-tests work --count 0\nringbar-guest-tests wreck\nsleep 600";
    let mut again = Guest::boot(&Boot { reboots: true, ..Boot::new(folder, &socket, script) });
    again.wait_for("guest-test wreck: passed", 1);
    again.monitor("system_reset");
    again.wait_for("guest-test work: passed", 2);
    again.kill();

    attacked.assert_undisturbed(&[first, last]);
    let client = server.client_of("other", 0).unwrap();
    assert_eq!((client.worker_pid, client.generation), (Some(worker), 1), "{}", server.log());
    assert!(!quiet.console().contains("lost"), "{}", quiet.console());
    send_signal(worker, "KILL");
    let console = quiet.succeed();
    assert!(console.contains("guest-test work: passed"), "every byte came back: {console}");
}

/// Runs a program that NVIDIA's compiler made, unmodified, in a guest, and compares what it says.
fn program_says(name: &str, expected: &str) {
    let Some(folder) = prepared() else { return };
    if !folder.join("root/programs").join(name).exists() {
        return lacks(PROGRAMS, &format!("{name} is not compiled; try: .ci/programs"));
    }
    let server = VmServer::start_with("--device-memory 256MiB --size 256MiB --channels 1", "");
    let script =
        format!("ringbar run -- /programs/{name} > /tmp/said\necho begin\ncat /tmp/said\necho end");
    let console = Guest::boot(&Boot::new(folder, &server.socket(), &script)).succeed();
    let said = console.split("begin\n").nth(1).and_then(|text| text.split("end\n").next());
    assert_eq!(said, Some(expected), "{console}");
    assert!(server.log().contains("serving a guest"), "it ran here: {}", server.log());
}

#[test]
fn an_unmodified_cuda_program_runs_in_a_guest() {
    let expected = include_str!("../../shim/programs/expected/01_vector_add.txt");
    program_says("01_vector_add", expected);
}

#[test]
fn an_unmodified_program_with_cuda_graphs_runs_in_a_guest() {
    let expected = include_str!("../../shim/programs/expected/06_graph_capture.txt");
    program_says("06_graph_capture", expected);
}

#[test]
fn figures_of_calls_out_of_a_guest_are_measured_beside_the_old_way() {
    let folder = folder_or_return!();
    let server = VmServer::start_with("--device-memory 64MiB --size 64MiB", "");
    let (socket, old) = (server.socket(), server.socket_of("old"));
    let listener = UnixListener::bind(&old).unwrap();
    // The mediator of the old way: another process than the monitor.
    std::thread::spawn(move || {
        let Ok((mut monitor, _)) = listener.accept() else { return };
        let mut byte = [0];
        while monitor.read_exact(&mut byte).is_ok() && monitor.write_all(&byte).is_ok() {}
    });
    let chardev = format!("socket,id=old,path={}", old.display());
    let raw = Raw::start(&server.socket_of("raw")).unwrap();
    let backend = raw.backend();
    let arguments = [
        ["-chardev", &chardev, "-device", "pci-serial,chardev=old"],
        ["-object", &backend, "-device", "ivshmem-plain,memdev=raw"],
    ];
    let script = "ringbar-guest-tests figures --old --limit --json";
    let boot = Boot { arguments: arguments.as_flattened(), ..Boot::new(folder, &socket, script) };
    let console = Guest::boot(&boot).succeed();
    let figures: Vec<_> = console.lines().filter(|line| line.starts_with("figure: ")).collect();
    println!("{}", figures.join("\n"));
    assert_eq!(figures.len(), 6, "{console}");
    let json = |name| console.lines().find_map(|line| line.strip_prefix(name)).expect(&console);
    let measured: Figures = serde_json::from_str(json("figures: ")).unwrap();
    assert_eq!(measured.bells_for_awake(), 0, "doorbells for a worker that was awake: {console}");
    println!("{}", json("limit: "));
    let limit: GuestLimit = serde_json::from_str(json("limit: ")).unwrap();
    assert!(limit.exchange_ns > 0.0, "{limit:?}");
}
