//! Options of the just-in-time compiler.
//!
//! They are accepted: the executor's driver compiles with its own defaults. Those through which the compiler answers are
//! filled as after a compilation that had nothing to say: empty logs, no time.

use crate::arg::Out;
use crate::failure::Outcome;
use ringbar_vocabulary::Status;
use std::ffi::{c_char, c_void};

const WALL_TIME: u32 = 2;
const INFO_LOG: u32 = 3;
const INFO_LOG_BYTES: u32 = 4;
const ERROR_LOG: u32 = 5;
const ERROR_LOG_BYTES: u32 = 6;
const OPTIONS_MAX: u32 = 64;

/// Fills what the options ask to be filled.
pub fn accept(count: u32, options: Out<u32>, values: Out<usize>) -> Outcome {
    if count == 0 {
        return Ok(());
    }
    if options.is_null() || values.is_null() || count > OPTIONS_MAX {
        return Err(Status::INVALID_VALUE.into());
    }
    let pairs: Vec<(u32, usize)> = (0..count as usize)
        .map(|at| Ok((options.at(at).get()?, values.at(at).get()?)))
        .collect::<Outcome<_>>()?;
    let room = |option| pairs.iter().find(|pair| pair.0 == option).map_or(0, |pair| pair.1);
    for (at, &(option, value)) in pairs.iter().enumerate() {
        match option {
            WALL_TIME => values.at(at).set(0.0_f32.to_bits() as usize)?,
            INFO_LOG if room(INFO_LOG_BYTES) > 0 => end_text(value),
            ERROR_LOG if room(ERROR_LOG_BYTES) > 0 => end_text(value),
            INFO_LOG_BYTES | ERROR_LOG_BYTES => values.at(at).set(0)?,
            other => tracing::debug!(
                option = other,
                "an option of the compiler is left to the executor's driver"
            ),
        }
    }
    Ok(())
}

fn end_text(address: usize) {
    let place: *mut c_void = std::ptr::with_exposed_provenance_mut(address);
    Out::<c_char>::at_address(place.cast()).set_if_wanted(0);
}
