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

/// Measures the first line of `mapping`, by reading alone: well under a millisecond even where it is uncached.
pub fn measure(mapping: &Arc<Mapping>) -> Memory {
    let load = loads(mapping);
    let load_ordinary = Mapping::heap(64).map_or(Duration::ZERO, |ordinary| loads(&ordinary));
    let line = lines(mapping);
    Memory { kind: classify(load, load_ordinary, line), load, load_ordinary, line }
}

/// The type that such rounds tell of.
fn classify(load: Duration, load_ordinary: Duration, line: Duration) -> MemoryType {
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

    /// What this machine makes of the memory type that a guest asks for.
    pub fn explanation(&self) -> &'static str {
        match (self.emulated, self.vendor.as_str()) {
            (true, _) => "QEMU's TCG emulates the processor: memory is always cached",
            (_, "GenuineIntel") => "Intel's KVM ignores the guest's memory type: the BAR is cached",
            (_, "AuthenticAMD") => {
                "AMD's KVM honours the guest's memory type: the BAR is not cached"
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

    #[test]
    fn types_are_told_by_loads_and_streamed_lines() {
        assert_eq!(classify(ns(1), ns(1), ns(3)), MemoryType::Cached);
        assert_eq!(classify(ns(15), ns(1), ns(3)), MemoryType::Cached, "noise of fast loops");
        assert_eq!(classify(ns(90), ns(20), ns(300)), MemoryType::Cached, "a slow emulator");
        assert_eq!(classify(ns(200), ns(1), ns(250)), MemoryType::WriteCombining);
        assert_eq!(classify(ns(200), ns(1), ns(800)), MemoryType::Uncached);
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
        assert!(machine.explanation().contains("TCG"));
        let real = Machine { emulated: false, ..machine };
        assert!(real.explanation().contains("honours"));
    }
}
