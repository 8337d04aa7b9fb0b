//! `ringbar vm check`, inside a virtual machine: takes each step from the PCI function to a call that the host answers, and
//! says of each what was found, or the likely cause of its failure and what to try.

use crate::run;
use clap::Args;
use ringbar::guest::{
    Attached, Device, Function, GuestConfig, GuestError, Machine, MemoryType, NoInterrupts,
};
use ringbar::os::DoorbellKind;
use ringbar_session::{Session, SessionCaller, SessionConfig};
use ringbar_vocabulary::{ContextId, DevicePtr, Init, MemAlloc, Ping, StreamId, VOCABULARY_HASH};
use std::fmt::{self, Display};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Calls that are timed, at most.
const PINGS: usize = 2000;
/// Time for them, at most.
const PING_TIME: Duration = Duration::from_secs(3);
/// Bytes that are copied to the device and back.
const BULK_BYTES: usize = 1 << 20;

/// Options of `ringbar vm check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which region and how, as RINGBAR_VM says it: [ADDRESS or PATH or auto][,memory=PATH][,bulk=wc|uc]
    /// [,interrupts=yes|alone|no][,patience=TIME][,silence=TIME]
    /// [default: $RINGBAR_VM, else the only one there is].
    #[arg(value_name = "DEVICE")]
    device: Option<String>,
    /// How long to wait for a channel [default: what the setting says, else 10s].
    #[arg(long, value_name = "TIME", value_parser = crate::units::duration)]
    patience: Option<Duration>,
}

impl CheckArgs {
    fn config(&self) -> Result<GuestConfig, GuestError> {
        let config = match &self.device {
            Some(text) => GuestConfig::parse(text),
            None => GuestConfig::from_env(),
        };
        let config = config?;
        Ok(GuestConfig { patience: self.patience.unwrap_or(config.patience), ..config })
    }
}

/// What was checked so far, printed at once.
#[derive(Default)]
struct Lines {
    failed: bool,
}

impl Lines {
    fn good(&self, name: &str, text: impl Display) {
        println!("✔ {name:<10} {text}");
    }

    /// Something that works, and might work better.
    fn fair(&self, name: &str, text: impl Display) {
        println!("! {name:<10} {text}");
    }

    fn bad(&mut self, name: &str, text: impl Display) {
        self.failed = true;
        println!("✘ {name:<10} {}", complete(&text.to_string()));
    }

    /// A step without which the next ones make no sense.
    fn step<T, E: Display>(&mut self, name: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.bad(name, error)).ok()
    }
}

/// A fault with cause and advice, where it does not say them itself: what fails behind an attached channel.
fn complete(text: &str) -> String {
    let cause = if text.contains("likely cause: ") {
        ""
    } else {
        "; likely cause: the worker or its device failed, or client and executor are of different builds"
    };
    let advice = if text.contains("try: ") {
        ""
    } else {
        "; try: again, then `ringbar status` and the log of `ringbar serve` on the host"
    };
    format!("{text}{cause}{advice}")
}

/// Runs `ringbar vm check`; succeeds only if all is well.
pub fn run(args: &CheckArgs) -> ExitCode {
    let mut lines = Lines::default();
    let done = check(args, &mut lines);
    if done.is_some() && !lines.failed {
        println!("all well: `ringbar run -- PROGRAM` works here");
        return ExitCode::SUCCESS;
    }
    println!("not all is well: see the lines with ✘");
    ExitCode::FAILURE
}

fn check(args: &CheckArgs, lines: &mut Lines) -> Option<()> {
    let machine = Machine::here();
    machine_line(&machine, lines);
    if let Some(found) = lines.step("libraries", run::libraries()) {
        lines.good("libraries", found);
    }
    let config = lines.step("setting", args.config())?;
    // Dropped before the session opens it again: a VFIO group has one owner.
    {
        let device = lines.step("found", Device::find(&config))?;
        found_lines(&device, lines);
    }
    let session = Session::connect_guest(&config, SessionConfig::default());
    let session = lines.step("channel", session)?;
    if let Some(attached) = session.attached() {
        channel_lines(attached, &machine, lines);
    }
    let mut caller = lines.step("worker", session.caller())?;
    let reply = lines.step("worker", caller.call(&Init { flags: 0 }))?;
    let version = reply.driver_version;
    let (major, minor) = (version / 1000, version % 1000 / 10);
    lines.good(
        "worker",
        format!("answers: CUDA driver {major}.{minor}, vocabulary {VOCABULARY_HASH:#018x}"),
    );
    lines
        .step("device", device_name(&mut caller, reply.device_count))
        .map(|name| lines.good("device", name))?;
    let pings = lines.step("round trip", Pings::take(&mut caller))?;
    lines.good("round trip", pings);
    lines.step("bulk", bulk(&session, &mut caller)).map(|text| lines.good("bulk", text))?;
    drop(caller);
    session.close();
    Some(())
}

/// What programs will see as their GPU.
fn device_name(caller: &mut SessionCaller, count: u32) -> Result<String, String> {
    if count == 0 {
        let text = "the executor has no device; likely cause: its GPU is hidden from it; try: CUDA_VISIBLE_DEVICES of `ringbar serve`";
        return Err(text.to_owned());
    }
    let name = caller.device_facts(0).map_err(|error| error.to_string())?.name;
    let software = if name == ringbar_mock::DEVICE_NAME {
        " (software GPU: runs programs whose kernels it knows; for a real one: `ringbar serve --backend cuda`)"
    } else {
        ""
    };
    Ok(format!("{count}, the first is {name}{software}"))
}

fn machine_line(machine: &Machine, lines: &mut Lines) {
    let vendor = if machine.vendor.is_empty() { "unknown vendor" } else { &machine.vendor };
    if machine.virtual_machine {
        lines.good("machine", format!("a virtual machine, processor {vendor}"));
    } else {
        let text = "no virtual machine, as its processor says; likely cause: this is the host; try: `ringbar vm check` \
                    inside the guest";
        lines.bad("machine", text);
    }
}

fn found_lines(device: &Device, lines: &mut Lines) {
    let function = |function: &Function| {
        let driver = function.driver.as_deref().unwrap_or("none");
        format!("PCI function {}, driver {driver}", function.address)
    };
    let what = device.function.as_ref().map_or_else(|| "no PCI function".to_owned(), function);
    let directory = &device.directory;
    let (size, channels) = (directory.region_bytes, directory.channels);
    lines.good("found", format!("{what}: a region of {} MiB with {channels} channels", size >> 20));
    lines.good(
        "mapped",
        format!("control {}, bulk {}", device.control.path.display(), device.bulk.path.display()),
    );
    match device.no_interrupts.as_deref() {
        Some(why @ NoInterrupts::NotHeld) => {
            lines.fair("interrupts", format!("none, polling: {why}"))
        }
        Some(why) => lines.bad("interrupts", format!("none, polling instead: {why}")),
        None => {}
    }
    for note in &device.notes {
        lines.fair("note", note);
    }
}

fn channel_lines(attached: &Attached, machine: &Machine, lines: &mut Lines) {
    let (channel, generation) = (attached.channel, attached.generation);
    lines
        .good("channel", format!("the host assigned channel {channel} in generation {generation}"));
    let memory = format!("control {}; bulk {}", attached.control, attached.bulk);
    let cached = attached.control.is_cached() && attached.bulk.is_cached();
    let explanation = machine.explanation(cached);
    if cached {
        lines.good("memory", format!("{memory}; {explanation}"));
    } else {
        let advice = memory_advice(attached.bulk.kind);
        lines.bad("memory", format!("{memory}; {explanation}; {advice}"));
    }
    if attached.arena_at_address {
        let address = attached.place.identity.arena_address;
        lines.good("pinned", format!("the arena lies at {address:#x} here and at the host"));
    } else {
        let advice = "pinned memory has no device pointers; likely cause: something else is mapped there; try: again";
        lines.bad("pinned", format!("the arena is not at the host's address: {advice}"));
    }
    let bell = match attached.doorbell {
        DoorbellKind::None => "none, the worker polls",
        DoorbellKind::Mmio => "a store into BAR 0",
        _ => "an eventfd",
    };
    let found = attached.device.interrupts.as_ref().map(|all| all.vectors());
    let how = waits(attached.interrupts, found, attached.device.vectors());
    match how {
        Ok(how) => lines.good("wake-up", format!("the worker by {bell}; this side waits {how}")),
        Err(fault) => lines.bad("wake-up", format!("the worker by {bell}; {fault}")),
    }
}

/// How this program waits: by interrupts or not, of a function with `found` vectors, if it has any of them, of `expected`.
fn waits(by_interrupts: bool, found: Option<usize>, expected: usize) -> Result<String, String> {
    match found {
        None => Ok("by polling, with naps of 50 us to 1 ms".to_owned()),
        Some(found) if by_interrupts && found >= expected => {
            Ok(format!("by interrupts ({found} MSI-X vectors through VFIO)"))
        }
        Some(found) => Err(format!(
            "found {found} MSI-X vectors, expected {expected}: some programs poll, and their doorbells go nowhere, so a worker that \
             sleeps looks again after 50 ms only; likely cause: the VM's device has too few; try: vectors={expected} in QEMU's \
             -device ivshmem-doorbell, or in libvirt's <msi>"
        )),
    }
}

/// What to do about memory that is not cached: no road out of this guest makes it so, hence what can be done with it.
const fn memory_advice(bulk: MemoryType) -> &'static str {
    match bulk {
        MemoryType::Uncached => {
            "everything works, but slowly; likely cause: the processor honours the guest's memory type, and bulk data is not \
             mapped write-combining: alone through VFIO, or bulk=uc; try: `ringbar vm hold`, or interrupts=no, and no bulk=uc"
        }
        _ => {
            "everything works, but slowly; likely cause: the processor honours the guest's memory type; try: nothing in this \
             guest makes it cached: let programs copy pinned memory out once instead of reading it through its pointer, or run \
             them where memory is cached (see VM.md, memory types)"
        }
    }
}

/// Times of calls that do nothing.
struct Pings {
    times: Vec<Duration>,
}

impl Pings {
    fn take(caller: &mut SessionCaller) -> Result<Self, String> {
        let end = Instant::now() + PING_TIME;
        let mut times = Vec::with_capacity(PINGS);
        while times.len() < PINGS && (times.len() < 10 || Instant::now() < end) {
            let token = times.len() as u32;
            let start = Instant::now();
            let reply = caller.call(&Ping { token: token.into() }).map_err(|e| e.to_string())?;
            times.push(start.elapsed());
            if reply.token != u64::from(token) {
                return Err(format!("found token {}, expected {token}", reply.token));
            }
        }
        times.sort_unstable();
        Ok(Self { times })
    }

    fn at(&self, percent: usize) -> f64 {
        let last = self.times.len().saturating_sub(1);
        self.times.get(last * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

impl Display for Pings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.at(50), self.at(99));
        write!(f, "p50 {p50:.2} us, p99 {p99:.2} us ({} calls)", self.times.len())
    }
}

/// Copies a pattern to the device and back.
fn bulk(session: &Session, caller: &mut SessionCaller) -> Result<String, String> {
    let text = |error: ringbar_session::SessionError| error.to_string();
    let bytes: Vec<u8> = (0..BULK_BYTES).map(|i| (i * 31 / 8) as u8).collect();
    let alloc = MemAlloc { context: ContextId::FIRST, bytes: BULK_BYTES as u64 };
    let at: DevicePtr = caller.call(&alloc).map_err(text)?.at;
    let start = Instant::now();
    session.memcpy_htod(at, &bytes, StreamId::DEFAULT).map_err(text)?;
    session.synchronise(StreamId::DEFAULT).map_err(text)?;
    let there = start.elapsed();
    let mut back = vec![0; BULK_BYTES];
    let start = Instant::now();
    session.memcpy_dtoh(&mut back, at, StreamId::DEFAULT).map_err(text)?;
    let and_back = start.elapsed();
    if back != bytes {
        let cause =
            "likely cause: two programs write to one channel; try: again with nothing else running";
        return Err(format!("the bytes that came back are not those that were sent; {cause}"));
    }
    let rate = |time: Duration| BULK_BYTES as f64 / time.as_secs_f64() / 1e6;
    Ok(format!(
        "1 MiB to the device at {:.0} MB/s, back at {:.0} MB/s, unchanged",
        rate(there),
        rate(and_back)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar::error::ChannelError;
    use ringbar_session::SessionError;
    use ringbar_vocabulary::Status;

    #[test]
    fn percentiles_of_sorted_times_are_shown_with_their_count() {
        let times = (1..=100).map(Duration::from_micros).collect();
        assert_eq!(Pings { times }.to_string(), "p50 50.00 us, p99 99.00 us (100 calls)");
    }

    #[test]
    fn advice_about_memory_names_ways_that_exist_and_no_device_that_cannot_hold_the_region() {
        let uncached = memory_advice(MemoryType::Uncached);
        let settings = uncached.split_whitespace().filter(|word| word.contains('='));
        for setting in settings.map(|word| word.trim_matches([',', ';'])) {
            GuestConfig::parse(&format!("auto,{setting}")).expect("a setting");
        }
        for advice in [uncached, memory_advice(MemoryType::WriteCombining)] {
            assert!(advice.contains("likely cause") && advice.contains("try: "), "{advice}");
            assert!(!advice.contains("memory="), "{advice}");
        }
    }

    #[test]
    fn a_program_that_polls_for_want_of_vectors_is_a_fault_with_the_option_that_mends_it() {
        assert!(waits(false, None, 4).expect("no function, or not bound").contains("polling"));
        assert!(waits(true, Some(4), 4).expect("all of them").contains("by interrupts (4"));
        for (by_interrupts, found) in [(false, 2), (true, 2)] {
            let fault = waits(by_interrupts, Some(found), 4).expect_err("two are missing");
            assert!(fault.contains("found 2") && fault.contains("try: vectors=4"), "{fault}");
        }
    }

    #[test]
    fn every_fault_has_one_cause_and_one_advice_whether_it_says_them_itself_or_not() {
        let lost = SessionError::from(ChannelError::Closed);
        let died = SessionError::from(ChannelError::PeerDied { in_flight: 1 });
        let status = SessionError::Status { function: "Init", status: Status::INVALID_VALUE };
        let said = "found nothing; likely cause: this; try: that".to_owned();
        let texts = [lost.to_string(), died.to_string(), status.to_string(), said];
        for text in texts.map(|text| complete(&text)) {
            for word in ["likely cause: ", "try: "] {
                assert_eq!(text.matches(word).count(), 1, "{text}");
            }
        }
    }

    #[test]
    fn a_machine_without_the_device_fails_the_check() {
        let mut lines = Lines::default();
        let device = Some("/nonexistent/region".to_owned());
        let args = CheckArgs { device, patience: Some(Duration::from_millis(10)) };
        assert!(check(&args, &mut lines).is_none());
        assert!(lines.failed);
    }
}
