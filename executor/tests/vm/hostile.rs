//! What a hostile guest's attacks cost the host, looked at from outside while they go on, and what the host said of them.

use crate::support::children;
use crate::support::device::VmServer;
use crate::support::guest::Guest;
use ringbar_executor::idle::cpu_ns;
use ringbar_executor::logging::LINES_PER_S;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Memory of a worker's own beside the 64 MiB that its software GPU has, in KiB: what a million objects take, and as much again.
const WORKER_KIB: u64 = (64 + 256) << 10;
/// What of one processor a storm of doorbells may cost: without a brake, each of daemon and worker needs all of one.
const STORM_LOAD: f64 = 0.5;

/// Readings of one process's time on a processor, the first and the last one.
struct Load {
    first: (u64, Instant),
    last: (u64, Instant),
}

impl Load {
    fn add(this: &mut Option<Self>, pid: u32) {
        let (ns, now) = (cpu_ns(pid), Instant::now());
        match this {
            None => *this = Some(Self { first: (ns, now), last: (ns, now) }),
            // A process that has ended is found to have needed nothing.
            Some(load) if ns >= load.last.0 => load.last = (ns, now),
            Some(_) => {}
        }
    }

    fn seconds(&self) -> f64 {
        (self.last.1 - self.first.1).as_secs_f64()
    }

    fn of_a_processor(&self) -> f64 {
        (self.last.0 - self.first.0) as f64 / 1e9 / self.seconds().max(1e-9)
    }
}

/// What the attacks cost.
#[derive(Default)]
pub struct Toll {
    daemon: Option<Load>,
    /// During the storm, of the daemon and of each worker of that VM: the one that is rung lasts, another is about to end.
    storm: Option<Load>,
    storm_workers: HashMap<u32, Option<Load>>,
    worker_kib_max: u64,
}

impl Toll {
    /// One look. `other` is the worker of the other VM.
    pub fn look(&mut self, server: &VmServer, guest: &Guest, other: u32) {
        let daemon = server.child.id();
        let status = server.status();
        let holder = status.daemon.vms[0].holder_pid;
        let workers: Vec<u32> = children(daemon).into_iter().filter(|&p| p != other).collect();
        let kib = workers.iter().filter(|&&pid| pid != holder).map(|&pid| own_kib(pid)).max();
        self.worker_kib_max = self.worker_kib_max.max(kib.unwrap_or(0));
        Load::add(&mut self.daemon, daemon);
        let console = guest.console();
        if !console.contains("the storm begins") || console.contains("the storm is over") {
            return;
        }
        Load::add(&mut self.storm, daemon);
        let clients = status.clients.into_iter();
        let clients = clients.filter(|client| client.vm.as_deref() == Some("vm"));
        for worker in clients.filter_map(|client| client.worker_pid) {
            Load::add(self.storm_workers.entry(worker).or_default(), worker);
        }
    }

    /// H8 and H9.
    pub fn assert_bounded(&self) {
        let load = |load: Option<&Load>| load.map_or(0.0, Load::of_a_processor);
        let daemon = load(self.daemon.as_ref());
        let workers = self.storm_workers.values().flatten();
        let of_worker = workers.max_by(|a, b| a.seconds().total_cmp(&b.seconds()));
        let of_daemon = self.storm.as_ref();
        println!(
            "the daemon needed {:.2} of a processor in all, {:.2} in the storm and its worker {:.2}; \
             a worker had {} MiB of its own at most",
            daemon,
            load(of_daemon),
            load(of_worker),
            self.worker_kib_max >> 10
        );
        assert!(daemon < STORM_LOAD, "the daemon needed {daemon}");
        for (whose, storm) in [("daemon", of_daemon), ("worker", of_worker)] {
            let storm = storm.expect("the storm was seen");
            assert!(storm.seconds() > 0.5, "H9: the storm was seen for {} s", storm.seconds());
            let load = storm.of_a_processor();
            assert!(load < STORM_LOAD, "H9: the {whose} needed {load} of a processor in the storm");
        }
        // It was looked at while its work had all that there is.
        assert!(self.worker_kib_max > 48 << 10, "H8: {} KiB at most", self.worker_kib_max);
        assert!(self.worker_kib_max < WORKER_KIB, "H8: a worker had {} KiB", self.worker_kib_max);
    }
}

/// How a VM's program gets on: the commands of its worker, looked at every 20 ms.
#[derive(Default)]
pub struct Pace(Vec<(Instant, u64)>);

impl Pace {
    /// For as long as an honest program surely works in the other VM.
    pub fn beside_an_honest_program(server: &VmServer, vm: &str) -> Self {
        let mut pace = Self::default();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            pace.look(server, vm);
        }
        pace
    }

    fn look(&mut self, server: &VmServer, vm: &str) {
        self.0.push((Instant::now(), server.executed(vm)));
        std::thread::sleep(Duration::from_millis(20));
    }

    /// Commands a second.
    fn rate(&self) -> f64 {
        let [Some(first), Some(last)] = [self.0.first(), self.0.last()] else { return 0.0 };
        (last.1 - first.1) as f64 / (last.0 - first.0).as_secs_f64().max(1e-9)
    }

    /// For how long no command more was executed, at most.
    fn longest_stand_still(&self) -> Duration {
        let mut longest = Duration::ZERO;
        let Some(&(mut since, mut count)) = self.0.first() else { return longest };
        for &(now, found) in &self.0 {
            longest = longest.max(now - since);
            if found != count {
                (since, count) = (now, found);
            }
        }
        longest
    }

    /// At a third of the rate at least that it has beside an honest program, and without a pause that is of another kind.
    pub fn assert_undisturbed(&self, honest: &[Self]) {
        let rate = honest.iter().map(Self::rate).fold(f64::INFINITY, f64::min);
        let still = honest.iter().map(Self::longest_stand_still).max().unwrap_or_default();
        let (attacked, attacked_still) = (self.rate(), self.longest_stand_still());
        println!(
            "the other VM beside an honest program: {rate:.0} commands a second, stood still for {still:?} at most; \
             beside the attacks: {attacked:.0}, {attacked_still:?}"
        );
        assert!(attacked > rate / 3.0, "{attacked} commands a second against {rate}");
        // The attacks take longer than the honest work that is looked at, and so meet more of what else a busy machine does:
        // a machine that compiled meanwhile made the pause 4.3 s, where it was 0.1 s beside the honest program.
        let bound = 4 * still + Duration::from_secs(5);
        assert!(attacked_still < bound, "stood still for {attacked_still:?} against {still:?}");
    }
}

/// What the attacks cost while they go on, and how the `other` VM gets on.
pub fn look_at_attacks(server: &VmServer, hostile: &mut Guest, other: &str) -> (Toll, Pace) {
    let (mut toll, mut pace) = (Toll::default(), Pace::default());
    let worker = server.client_of(other, 0).and_then(|client| client.worker_pid);
    let worker = worker.expect("a worker of the other VM");
    while !hostile.console().contains("honest again") {
        assert!(hostile.is_running(), "{}", hostile.console());
        toll.look(server, hostile, worker);
        pace.look(server, other);
    }
    (toll, pace)
}

/// Memory that is a process's own; 0 once it has ended.
pub fn own_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Every class was tried, each poisoned channel was so once with its reason, and the log was not flooded.
pub fn assert_survived(console: &str, log: &str) {
    for class in 1..=13 {
        let name = format!("H{class}");
        let has = |line: &str| line.split([' ', ',']).any(|word| word == name);
        let tried = console.lines().filter(|line| line.starts_with("survived: ")).any(has);
        assert!(tried, "{name} was not tried: {console}");
    }
    let said = console.lines().find_map(|line| line.strip_suffix(" channels poisoned"));
    let poisoned: usize = said.expect(console).parse().unwrap();
    let chance = console.lines().filter(|line| line.contains("by chance")).count();
    let logged = log.matches("channel poisoned").count();
    assert!((poisoned..=poisoned + chance).contains(&logged), "{logged} of {poisoned}: {log}");
    let reasons = [
        "expected the head of lap 0",
        "or the lap before",
        "arena",
        "cannot be decoded",
        "wants its reply in slot",
    ];
    for reason in reasons {
        assert!(log.contains(reason), "no {reason:?} in {log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    // Illegal instruction, abort, bus error, arithmetic, segmentation fault: what a crash ends by.
    for signal in [4, 6, 7, 8, 11] {
        assert!(!log.contains(&format!("ended by signal {signal} ")), "{log}");
    }
    assert_no_flood(log);
}

/// H10: of all lines of daemon, holder and workers, whatever they say.
fn assert_no_flood(log: &str) {
    let mut lines = HashMap::new();
    let mut others = 0;
    for line in log.lines() {
        // Time, level and place, then what is said; numbers differ, the first words do not.
        let words: Vec<&str> = line.split_whitespace().take(6).collect();
        match words.first().and_then(|time| time.get(..19)) {
            Some(second) if line.starts_with("20") => {
                *lines.entry((second, words[1..].join(" "))).or_insert(0) += 1;
            }
            _ => others += 1,
        }
    }
    assert!(log.contains("a module image was refused"), "no flood was tried: {log}");
    assert!(log.contains("more lines like the next one were kept back"), "{log}");
    // Two seconds of one window each may share one second of the clock.
    let most = lines.iter().max_by_key(|(_, count)| **count).unwrap();
    assert!(*most.1 <= 2 * LINES_PER_S, "{} lines of {:?} in a second", most.1, most.0);
    // What was kept back is said once a second and class, and a line before one that was not.
    let all: u32 = lines.values().sum();
    println!("{all} lines in the log, {} of one class in one second at most", most.1);
    assert!(others <= all, "{others} lines without a time: {log}");
}
