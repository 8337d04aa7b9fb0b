//! The figures of a guest's calls, measured on the virtual processor.

use super::Bare;
use super::function::trap;
use super::mediator::Mediator;
use super::program::Program;
use ringbar::lines::Lines;
use ringbar::sync::Ordering;
use ringbar_benches::calls::{Bench, Figures, OldCall};
use std::error::Error;
use std::time::{Duration, Instant};

/// Measures everything over `program`'s channel, and over a mediator of its own.
pub fn measure(program: &Program, calls: u64) -> Result<Figures, Box<dyn Error>> {
    measure_with(program, calls, &mut Mediator::start()?)
}

/// The same with that mediator.
pub fn measure_with(
    program: &Program,
    calls: u64,
    mediator: &mut Mediator,
) -> Result<Figures, Box<dyn Error>> {
    let mut bench = Bench::prepare(&program.session, calls)?;
    let work = move || {
        let mut old = |call: u64| -> Result<(), Box<dyn Error>> {
            let found = trap().lines.load(0, 0, Ordering::Relaxed);
            if found == call {
                Ok(())
            } else {
                Err(format!("found the answer {found}, expected {call}").into())
            }
        };
        let old: &mut OldCall<'_> = &mut old;
        let figures = bench.run(&spin, Some(old)).map_err(|error| error.to_string());
        // Its buffers are given back outside.
        (figures, bench)
    };
    let bare = Bare::new(&program.function)?;
    let ((figures, _), _) = bare.run(&mut |call| mediator.call(call), work)?;
    Ok(figures?)
}

/// Passes time without a kernel.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
