//! What bounds a call out of a virtual machine, measured in it without any ring: a request and a reply of a call's sizes
//! through memory that it shares with a thread of the host, and what this processor takes for the steps of a call.
//!
//! Under QEMU that memory is a second function, an `ivshmem-plain`, which holds no region.

use crate::calls::{BLOCK, median};
use ringbar::guest::functions;
use ringbar::lines::{LINE_BYTES, Lines, SharedLines};
use ringbar::os::Mapping;
use ringbar::sync::{Arc, AtomicBool, Ordering, fence, spin_loop};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bytes of the shared memory: a BAR has a power of two.
pub const BYTES: u64 = 1 << 20;
/// Lines that requests go through in turn, behind the reply's line.
const REQUESTS: u64 = 1024;
/// Looks between two questions whether to go on, and, in the guest, between two pauses.
const LOOKS: u32 = 4096;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Repetitions of each step that is measured alone.
const STEPS: u32 = 4096;

/// What was measured, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuestLimit {
    /// 56 bytes there and 16 back through shared memory, without any ring: a median.
    pub exchange_ns: f64,
    /// A reading of the clock.
    pub clock_ns: f64,
    /// A pause between two looks.
    pub pause_ns: f64,
    /// A full fence.
    pub fence_ns: f64,
    /// A store of a word.
    pub store_ns: f64,
}

/// Memory that two sides share.
pub struct Exchange(SharedLines);

impl Exchange {
    /// Over memory whose bytes are zero; `None` if it is smaller than [`BYTES`].
    pub fn over(mapping: Mapping) -> Option<Self> {
        // As many as there are: a power of two, with room for all that are used.
        let lines = mapping.len() / LINE_BYTES;
        let room = lines > REQUESTS as usize;
        room.then(|| SharedLines::new(&Arc::new(mapping), 0, lines).map(Self)).flatten()
    }

    /// The host's side: answers until told to stop. Sleeps until the first request: what is measured before needs the
    /// processors.
    pub fn answer(&self, stop: &AtomicBool) {
        let mut round = 1;
        let asked = || self.0.load(request(1), 0, Ordering::Acquire) != 0;
        while !asked() && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..LOOKS {
                if self.0.load(request(round), 0, Ordering::Acquire) < round {
                    spin_loop();
                    continue;
                }
                let sum = (1..8).fold(0, |sum, word| {
                    sum ^ self.0.load(request(round), word, Ordering::Relaxed)
                });
                black_box(sum);
                (1..3).for_each(|word| self.0.store(0, word, round, Ordering::Relaxed));
                self.0.store(0, 0, round, Ordering::Release);
                round += 1;
            }
        }
    }

    /// The guest's side: asks `BLOCK` times from `first` on, without a pause between looks.
    fn ask(&self, first: u64) -> Result<(), &'static str> {
        for round in first..first + BLOCK {
            let at = request(round);
            (1..8).for_each(|word| self.0.store(at, word, round, Ordering::Relaxed));
            self.0.store(at, 0, round, Ordering::Release);
            self.wait_for(round)?;
            let sum = (1..3).fold(0, |sum, word| sum ^ self.0.load(0, word, Ordering::Relaxed));
            black_box(sum);
        }
        Ok(())
    }

    #[inline(always)]
    fn wait_for(&self, round: u64) -> Result<(), &'static str> {
        let mut begun = None;
        loop {
            for _ in 0..LOOKS {
                if self.0.load(0, 0, Ordering::Acquire) >= round {
                    return Ok(());
                }
            }
            spin_loop();
            if begun.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err("no thread of the host answered within 5 s");
            }
        }
    }

    fn exchange_ns(&self, calls: u64) -> Result<f64, &'static str> {
        let mut times = Vec::with_capacity((calls / BLOCK) as usize + 1);
        // A tenth of them warms up.
        let warm = calls / 10 / BLOCK;
        for block in 0..warm + calls / BLOCK + 1 {
            let start = Instant::now();
            self.ask(1 + block * BLOCK)?;
            if block >= warm {
                times.push(start.elapsed());
            }
        }
        Ok(median(&mut times) / BLOCK as f64)
    }

    fn store_ns(&self) -> f64 {
        step(|| self.0.store(REQUESTS as usize, 1, black_box(1), Ordering::Relaxed))
    }
}

fn request(round: u64) -> usize {
    1 + (round % REQUESTS) as usize
}

fn step(mut step: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..STEPS).for_each(|_| step());
    start.elapsed().as_nanos() as f64 / f64::from(STEPS)
}

/// Measures, in a guest with a second function whose memory a thread of the host answers in.
///
/// # Errors
/// If there is no such function, or nobody answers.
pub fn measure(calls: u64) -> Result<GuestLimit, Box<dyn Error>> {
    let all = functions("/sys".as_ref());
    let other = all.iter().find(|function| function.region_bytes == BYTES);
    let other = other.ok_or(
        "found no function with 1 MiB; try: -object memory-backend-file,id=raw,size=1M,share=on,mem-path=PATH \
         -device ivshmem-plain,memdev=raw",
    )?;
    let memory = Mapping::pci_resource(other.folder.join("resource2"))?;
    let exchange = Exchange::over(memory).ok_or("its memory is too small")?;
    Ok(GuestLimit {
        exchange_ns: exchange.exchange_ns(calls)?,
        clock_ns: step(|| {
            black_box(Instant::now());
        }),
        pause_ns: step(spin_loop),
        fence_ns: step(|| fence(Ordering::SeqCst)),
        store_ns: exchange.store_ns(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar::os::PeerTrust;

    #[test]
    fn every_request_through_shared_memory_is_answered_and_a_figure_comes_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(BYTES).unwrap();
        let stop = AtomicBool::new(false);
        let map = || Mapping::file(file.path(), PeerTrust::Own).unwrap();
        let open = || Exchange::over(map()).unwrap();
        let (host, guest) = (open(), open());
        let ns = std::thread::scope(|scope| {
            scope.spawn(|| host.answer(&stop));
            let ns = guest.exchange_ns(4 * REQUESTS);
            stop.store(true, Ordering::Relaxed);
            ns
        });
        assert!(ns.is_ok_and(|ns| ns > 0.0), "{ns:?}");
    }
}
