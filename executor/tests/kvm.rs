//! The ring over real KVM, without a guest kernel: the program runs on a virtual processor of a bare monitor, its doorbells
//! are stores that KVM turns into eventfds. Where there is no KVM, each test says by name that it did not run.

mod bare;
#[path = "../benches/record.rs"]
#[expect(dead_code, reason = "what writes a record is the bench's")]
mod record;
mod support;

use bare::mediator::Mediator;
use bare::memory::{Memory, RegisterFile};
use bare::program::{Program, probe};
use bare::{Bare, BareError};
use ringbar::layout::line;
use ringbar::lines::Lines;
use ringbar::os::EventFd;
use ringbar::region::{self, Channel, Expect};
use ringbar::sync::Ordering;
use ringbar_vocabulary::{Init, Ping, VOCABULARY_HASH};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::PATIENCE;
use support::device::VmServer;
use support::lacking::not_run;

/// Whether the asking test can run; if not, it is said.
///
/// # Panics
/// If there is KVM, and the monitor fails.
fn runs() -> bool {
    let lacking = BareError::lacking(probe()).expect("there is KVM, on which a program runs");
    if let Some(why) = &lacking {
        not_run(&format!("no program runs on KVM here: {why}"));
    }
    lacking.is_none()
}

#[test]
fn only_a_machine_without_kvm_keeps_a_test_from_running() {
    let source = || std::io::ErrorKind::NotFound.into();
    let refused = || kvm_ioctls::Error::new(2);
    let probed = [
        Ok(()),
        Err(BareError::Unusable { what: "opening /dev/kvm", source: refused() }),
        Err(BareError::Kvm { what: "entering user mode", source: refused() }),
        Err(BareError::system("a file", source())),
        Err(BareError::Ended { exit: "Shutdown".to_owned() }),
    ];
    let runs = probed.map(|probed| BareError::lacking(probed).map(|why| why.is_none()).ok());
    assert_eq!(runs, [Some(true), Some(false), None, None, None]);
}

/// The old way is not used.
fn nobody(_: u64) -> std::io::Result<u64> {
    Err(std::io::Error::other("no mediator"))
}

/// The lines of the channel that the program has.
fn channel(program: &Program) -> Channel {
    let index = program.session.attached().expect("through a device").channel;
    let want = Expect { vocabulary_hash: VOCABULARY_HASH, ..Expect::default() };
    let place = region::inspect(&program.monitor.mapping, index, want).expect("a channel");
    Channel::open(&program.monitor.mapping, place).expect("a channel")
}

#[test]
fn calls_from_a_virtual_processor_are_answered_by_a_real_worker() {
    if !runs() {
        return;
    }
    let server = VmServer::start("");
    let program = Program::attach(&server, None).unwrap();
    let mut caller = program.session.caller().unwrap();
    caller.call(&Init { flags: 0 }).unwrap();
    let work = move || {
        let wrong = (0..1000).find(|&token| {
            caller.call(&Ping { token }).ok().map(|reply| reply.token) != Some(token)
        });
        (wrong, caller)
    };
    let bare = Bare::new(&program.function).unwrap();
    let ((wrong, _), exits) = bare.run(&mut nobody, work).unwrap();
    assert_eq!(wrong, None, "the first call with another answer");
    assert_eq!((exits.loads, exits.stores), (0, 0), "no exit reached the monitor");
    let client = server.client(0).expect("a client");
    assert!(client.counters.replies >= 1000, "{:?}", client.counters);
}

/// Passes doorbells on to the host, and counts them.
fn counting(
    rung: Vec<EventFd>,
    host: Vec<EventFd>,
    stop: mpsc::Receiver<()>,
) -> std::thread::JoinHandle<u64> {
    let pass_on = move || -> u64 {
        let bells = rung.iter().zip(&host);
        bells
            .map(|(rung, host)| {
                let count = rung.drain().expect("an eventfd");
                if count > 0 {
                    host.signal().expect("an eventfd");
                }
                count
            })
            .sum()
    };
    std::thread::spawn(move || {
        let mut count = 0;
        while stop.recv_timeout(Duration::from_micros(200)) == Err(mpsc::RecvTimeoutError::Timeout)
        {
            count += pass_on();
        }
        count + pass_on()
    })
}

#[test]
fn kvm_signals_one_doorbell_for_each_sleep_of_the_worker_that_a_command_ends() {
    if !runs() {
        return;
    }
    let server = VmServer::start("");
    let bells: Vec<_> = (0..4).map(|_| EventFd::new().unwrap()).collect();
    let program = Program::attach(&server, Some(bells.clone())).unwrap();
    let (stop, stopped) = mpsc::channel();
    let counter = counting(bells, program.monitor.to_host.clone(), stopped);
    let mut caller = program.session.caller().unwrap();
    caller.call(&Init { flags: 0 }).unwrap();
    let before = program.session.client().counters();
    let header = channel(&program).header;
    let work = move || {
        let asleep = || header.load(line::WORKER_SLEEP, 0, Ordering::Relaxed) & 1 == 1;
        let begun = Instant::now();
        for token in 0..100 {
            while !asleep() && begun.elapsed() < PATIENCE {
                std::hint::spin_loop();
            }
            let answer = caller.call(&Ping { token });
            if answer.ok().map(|reply| reply.token) != Some(token) {
                return (Some(token), caller);
            }
        }
        (None, caller)
    };
    let bare = Bare::new(&program.function).unwrap();
    let ((wrong, _), exits) = bare.run(&mut nobody, work).unwrap();
    assert_eq!(wrong, None, "the first call with another answer");
    assert_eq!(exits.stores, 0, "the kernel took every doorbell itself");
    let after = program.session.client().counters();
    stop.send(()).unwrap();
    let signals = counter.join().unwrap();
    let rung = after.client_bells - before.client_bells;
    println!("{rung} doorbells for 100 calls to a worker that slept, {signals} signals");
    assert_eq!(signals, rung, "each store became one signal");
    // Not exactly 100: where this thread stood still for 50 ms between its look and its call, the worker looked by itself.
    assert!((90..=100).contains(&rung), "{rung}");
    assert!(rung <= after.worker_parks - before.worker_parks + 1, "{before:?} {after:?}");
}

#[test]
fn a_trapped_load_is_a_call_through_the_monitor_to_the_mediator_and_back() {
    if !runs() {
        return;
    }
    let function =
        bare::function::Function::new(tempfile::tempfile().unwrap(), Vec::new()).unwrap();
    let mut mediator = Mediator::start().unwrap();
    let load = || bare::function::trap().lines.load(0, 0, Ordering::Relaxed);
    let work = move || (0..100).find(|&call| load() != call);
    let bare = Bare::new(&function).unwrap();
    let (wrong, exits) = bare.run(&mut |call| mediator.call(call), work).unwrap();
    assert_eq!((wrong, exits.loads), (None, 100));
}

#[test]
fn all_figures_can_be_measured_without_any_kernel() {
    if !runs() {
        return;
    }
    let server = VmServer::start("");
    let program = Program::attach(&server, None).unwrap();
    let figures = bare::figures::measure(&program, 64).unwrap();
    assert_eq!(figures.calls, 64);
    assert_eq!(figures.bells_for_awake(), 0, "doorbells for a worker that was awake: {figures}");
    assert!(figures.old_way_ns.is_some_and(|ns| ns > 0.0), "{figures}");
}

#[test]
fn what_needs_a_kernel_ends_the_machine_with_an_error_and_the_thread_goes_on() {
    if !runs() {
        return;
    }
    let function =
        bare::function::Function::new(tempfile::tempfile().unwrap(), Vec::new()).unwrap();
    let bare = Bare::new(&function).unwrap();
    let ended = bare.run(&mut nobody, || std::thread::sleep(Duration::from_millis(1)));
    let error = ended.unwrap_err();
    assert!(matches!(error, BareError::Ended { .. }), "{error}");
    // The thread can go on, and have another machine.
    probe().unwrap();
}

const MAPS: &str = "\
    555500000000-555500002000 r-xp 00000000 fe:00 7  /bin/program\n\
    7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n\
    7f0000001000-7f0000003000 rw-p 00000000 00:00 0 \n\
    7f0000003000-7f0000004000 rw-s 00000000 00:01 9  /tmp/registers\n\
    7f0000005000-7f0000008000 rw-s 00000000 00:10 1  anon_inode:kvm-vcpu:0\n\
    ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n";

#[test]
fn each_page_leads_to_its_slot_and_registers_lead_outside_of_memory() {
    let registers = 1 << 38;
    let file = RegisterFile { path: "/tmp/registers".into(), guest: registers };
    let memory = Memory::of_maps(MAPS, &[file]);
    assert_eq!(memory.slots.len(), 2, "{:?}", memory.slots);
    let (text, data) = (memory.slots[0], memory.slots[1]);
    assert_eq!(memory.translate(0x5555_0000_1008), Some((text.guest + 0x1008, false)));
    assert_eq!(memory.translate(data.host + 0x1ff8), Some((data.guest + 0x1ff8, true)));
    assert_eq!(memory.translate(0x7f00_0000_300c), Some((registers + 12, true)));
    assert_eq!(memory.translate(0x7f00_0000_0000), None, "reserved only");
}

#[test]
fn this_process_is_mapped_with_its_code_and_its_heap() {
    let memory = Memory::of_process(&[]).unwrap();
    let heap = Box::new(7_u64);
    let code = this_process_is_mapped_with_its_code_and_its_heap as fn();
    let (heap, code) = (&raw const *heap as u64, code as usize as u64);
    assert!(matches!(memory.translate(heap), Some((_, true))));
    assert!(matches!(memory.translate(code), Some((_, false))));
}

/// The record that VM.md tells of.
const RECORD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../benches/record/intel-r-xeon-r-processor-6-207-2-2c-vm-2026-12-01.json"
);

#[test]
fn a_records_figure_is_the_ratio_of_the_round_that_it_names() {
    let [bare, _] = record::Found::read(RECORD.as_ref()).unwrap().measured;
    let round_trip = &record::rows(&bare)[0];
    let (ring, old) = round_trip.from.split_once(" ns against ").unwrap();
    let number = |text: &str| text.trim_end_matches(" ns").parse::<f64>().unwrap();
    let ratio = number(old) / number(ring);
    assert!((ratio / round_trip.median - 1.0).abs() < 0.005, "{ratio} of {}", round_trip.from);
    let limit = round_trip.limit.as_ref().unwrap();
    assert!(limit.contains("107 times (103 to 143)") && limit.contains("84 times"), "{limit}");
}

#[test]
fn one_round_with_a_doorbell_that_no_sleep_explains_makes_a_record_miss() {
    let [mut bare, _] = record::Found::read(RECORD.as_ref()).unwrap().measured;
    assert!(record::rows(&bare)[1].reached, "as recorded");
    let figures = &mut bare.rounds[3].figures;
    figures.bells = figures.sleeps + 1;
    assert!(!record::rows(&bare)[1].reached, "although the ring counted none for an awake worker");
}
