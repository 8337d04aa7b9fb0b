//! What kind of memory a mapping really is, by measurement: what the kernel was asked for says little, since the host's
//! processor may honour it (AMD) or not (Intel).

use crate::arena::Arena;
use crate::os::mapping::Mapping;
use crate::sync::{Arc, AtomicU64, Ordering};
use core::time::Duration;
use std::path::Path;
use std::time::Instant;

/// How the processor treats a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryType {
    /// Write-back: as fast as ordinary memory.
    Cached,
    /// Write-combining: stores are gathered, loads are not cached, streaming loads fetch a line at once.
    WriteCombining,
    /// Uncached: every load and store goes out alone.
    Uncached,
}

/// A memory type with the numbers that it was told by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// The type.
    pub kind: MemoryType,
    /// A dependent load of 8 bytes.
    pub load: Duration,
    /// The same from ordinary memory of this process.
    pub load_ordinary: Duration,
    /// A line of 64 bytes read by streaming loads.
    pub line: Duration,
}

impl Memory {
    /// Cached.
    pub fn is_cached(&self) -> bool {
        self.kind == MemoryType::Cached
    }
}

impl core::fmt::Display for Memory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let kind = match self.kind {
            MemoryType::Cached => "write-back",
            MemoryType::WriteCombining => "write-combining",
            MemoryType::Uncached => "uncached",
        };
        let ns = |time: Duration| time.as_nanos() as f64 / f64::from(LOADS);
        write!(
            f,
            "{kind} (load {:.1} ns, ordinary memory {:.1} ns, streamed line {:.1} ns)",
            ns(self.load),
            ns(self.load_ordinary),
            ns(self.line)
        )
    }
}

/// Loads in a round; the durations are a round's.
const LOADS: u32 = 64;
/// Rounds, of which the fastest counts: an interrupt makes one slow, never fast.
const ROUNDS: usize = 8;
/// Looks at memory that does not seem cached, and the time between two of them.
const LOOKS: usize = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(1);
/// A load slower than this many loads of ordinary memory did not come from a cache.
const UNCACHED_FACTOR: u32 = 8;
/// A load faster than this did (a measurement of two fast loops is mostly noise).
const CACHED_LOAD_MAX: Duration = Duration::from_nanos(20);

fn fastest(mut round: impl FnMut()) -> Duration {
    let time = |_| {
        let start = Instant::now();
        round();
        start.elapsed()
    };
    (0..ROUNDS).map(time).min().unwrap_or_default()
}

fn loads(mapping: &Mapping) -> Duration {
    let Ok(word) = mapping.ptr_at(0, 8) else { return Duration::ZERO };
    // SAFETY: the first eight bytes of a mapping that outlives the call, page-aligned, accessed by atomics only.
    let word = unsafe { AtomicU64::from_ptr(word.as_ptr().cast()) };
    fastest(|| {
        for _ in 0..LOADS {
            std::hint::black_box(word.load(Ordering::Acquire));
        }
    })
}

fn lines(mapping: &Arc<Mapping>) -> Duration {
    let Ok(part) = mapping.subrange(0, mapping.len().min(4096)) else { return Duration::ZERO };
    let arena = Arena::new(part).over_uncached_memory();
    let mut line = [0; 64];
    fastest(|| {
        for _ in 0..LOADS {
            // The first line is inside every mapping.
            let _ = arena.read(0, std::hint::black_box(&mut line));
        }
    })
}

/// Tells how the first line of `mapping` is treated, by reading alone: well under a millisecond where it is cached, a few
/// where it is not. Noise makes loads slow, never fast, so memory counts as not cached only after several looks apart, and
/// never where the processor is emulated: QEMU's TCG takes everything from ordinary memory.
pub fn measure(mapping: &Arc<Mapping>) -> Memory {
    judge(&Machine::here(), || Times::take(mapping))
}

/// The times of the looks so far, the fastest of each.
#[derive(Clone, Copy)]
struct Times {
    load: Duration,
    load_ordinary: Duration,
    line: Duration,
}

impl Times {
    fn take(mapping: &Arc<Mapping>) -> Self {
        let load = loads(mapping);
        let load_ordinary = Mapping::heap(64).map_or(Duration::ZERO, |ordinary| loads(&ordinary));
        Self { load, load_ordinary, line: lines(mapping) }
    }

    fn fastest_of(self, other: Self) -> Self {
        Self {
            load: self.load.min(other.load),
            load_ordinary: self.load_ordinary.min(other.load_ordinary),
            line: self.line.min(other.line),
        }
    }
}

/// Looks until memory is known to be cached, or has not been often enough.
fn judge(machine: &Machine, mut look: impl FnMut() -> Times) -> Memory {
    let mut times = look();
    for _ in 1..LOOKS {
        if classify(times) == MemoryType::Cached {
            break;
        }
        std::thread::sleep(LOOK_PAUSE);
        times = times.fastest_of(look());
    }
    let kind = if machine.emulated { MemoryType::Cached } else { classify(times) };
    let Times { load, load_ordinary, line } = times;
    Memory { kind, load, load_ordinary, line }
}

/// The type that such rounds tell of.
fn classify(times: Times) -> MemoryType {
    let Times { load, load_ordinary, line } = times;
    if load <= load_ordinary * UNCACHED_FACTOR || load <= CACHED_LOAD_MAX * LOADS {
        MemoryType::Cached
    } else if line <= load * 3 {
        // Four streaming loads of 16 bytes took less than three single ones: the line came at once.
        MemoryType::WriteCombining
    } else {
        MemoryType::Uncached
    }
}

/// Whose processor it is and what runs this machine, to explain a memory type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `GenuineIntel`, `AuthenticAMD` or another vendor.
    pub vendor: String,
    /// Inside a virtual machine.
    pub virtual_machine: bool,
    /// Emulated by QEMU's TCG, whose memory is always cached.
    pub emulated: bool,
}

impl Machine {
    /// As `/proc/cpuinfo` says.
    pub fn here() -> Self {
        Self::read(Path::new("/proc/cpuinfo"))
    }

    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let field = |name: &str| {
            let line =
                text.lines().find(|line| line.split(':').next().map(str::trim) == Some(name));
            let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
            value.unwrap_or_default().to_owned()
        };
        let model = field("model name");
        Self {
            vendor: field("vendor_id"),
            virtual_machine: field("flags").split_whitespace().any(|flag| flag == "hypervisor"),
            emulated: model.contains("TCG"),
        }
    }

    /// What this machine makes of the memory type that a guest asks for, where it was measured to be `cached` or not.
    pub fn explanation(&self, cached: bool) -> &'static str {
        match (self.emulated, self.vendor.as_str(), cached) {
            (true, _, _) => "QEMU's TCG emulates the processor: memory is always cached",
            (_, "GenuineIntel", true) => "Intel's KVM ignores the guest's memory type",
            (_, "AuthenticAMD", false) => "AMD's KVM honours the guest's memory type",
            (_, "GenuineIntel", false) | (_, "AuthenticAMD", true) => {
                "not what KVM usually does on this processor"
            }
            _ => "a processor whose KVM may or may not honour the guest's memory type",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ns(each: u64) -> Duration {
        Duration::from_nanos(each * LOADS as u64)
    }

    const fn times(load: u64, load_ordinary: u64, line: u64) -> Times {
        Times { load: ns(load), load_ordinary: ns(load_ordinary), line: ns(line) }
    }

    fn machine(emulated: bool) -> Machine {
        Machine { vendor: "AuthenticAMD".to_owned(), virtual_machine: true, emulated }
    }

    #[test]
    fn types_are_told_by_loads_and_streamed_lines() {
        assert_eq!(classify(times(1, 1, 3)), MemoryType::Cached);
        assert_eq!(classify(times(15, 1, 3)), MemoryType::Cached, "noise of fast loops");
        assert_eq!(classify(times(90, 20, 300)), MemoryType::Cached, "a slow emulator");
        assert_eq!(classify(times(200, 1, 250)), MemoryType::WriteCombining);
        assert_eq!(classify(times(200, 1, 800)), MemoryType::Uncached);
    }

    #[test]
    fn one_fast_look_outweighs_all_noisy_ones() {
        let mut looks = [times(700, 19, 280), times(800, 12, 300), times(14, 10, 200)].into_iter();
        let memory = judge(&machine(false), || looks.next().unwrap());
        assert!(memory.is_cached(), "{memory}");
        assert_eq!((memory.load, memory.load_ordinary), (ns(14), ns(10)));
    }

    #[test]
    fn memory_that_is_slow_at_every_look_is_not_cached_unless_the_processor_is_emulated() {
        let mut looks = 0;
        let mut look = || {
            looks += 1;
            times(700, 10, 280)
        };
        assert_eq!(judge(&machine(false), &mut look).kind, MemoryType::WriteCombining);
        assert_eq!(judge(&machine(true), &mut look).kind, MemoryType::Cached);
        assert_eq!(looks, 2 * LOOKS);
    }

    #[test]
    fn ordinary_memory_is_cached_and_says_its_numbers() {
        let memory = measure(&Arc::new(Mapping::heap(4096).unwrap()));
        assert!(memory.is_cached(), "{memory}");
        assert!(memory.to_string().contains("ordinary memory"), "{memory}");
    }

    #[test]
    fn a_machine_is_told_by_vendor_flag_and_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cpuinfo");
        let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: QEMU TCG CPU version 2.5+\nflags\t\t: fpu hypervisor\n";
        std::fs::write(&path, text).unwrap();
        let machine = Machine::read(&path);
        assert_eq!(machine.vendor, "AuthenticAMD");
        assert!(machine.virtual_machine && machine.emulated);
        assert!(machine.explanation(true).contains("TCG"));
        let real = Machine { emulated: false, ..machine };
        assert!(real.explanation(false).contains("honours"));
        assert!(real.explanation(true).contains("not what"), "the measurement counts");
        let intel = Machine { vendor: "GenuineIntel".to_owned(), ..real };
        assert!(intel.explanation(true).contains("ignores"));
        assert!(intel.explanation(false).contains("not what"));
    }
}
