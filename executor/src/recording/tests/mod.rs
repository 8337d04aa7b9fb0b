//! What the reader, the writer, the plan and the payloads promise together.

mod digesting;
mod payloads;
mod planning;
mod reading;
mod refusing;
mod writing;

use super::*;
use std::collections::HashSet;
use std::io::Write;

const HEADER: &str = "gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir\n";

fn parse(text: &str) -> Result<Recording, RecordingError> {
    Recording::from_reader(text.as_bytes(), &RecordingLimits::default())
}

fn parse_rows(rows: &str) -> Result<Recording, RecordingError> {
    parse(&format!("{HEADER}{rows}"))
}

fn plan_of(rows: &str) -> Plan {
    Plan::new(&parse_rows(rows).unwrap(), &PlanLimits::default())
}

fn steps_of(rows: &str) -> Vec<Step> {
    plan_of(rows).steps().iter().map(|step| step.step).collect()
}

/// Line, column, name and byte of the one value that is wrong in `rows`, and what was expected.
fn fault_of(rows: &str) -> (u64, usize, &'static str, usize, Fault) {
    match parse_rows(rows) {
        Err(RecordingError::Value { at, fault, .. }) => {
            (at.line, at.column, at.name, at.byte, fault)
        }
        other => panic!("expected a fault in a value, found {other:?}"),
    }
}

/// A small generator of random cases, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
