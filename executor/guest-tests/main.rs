//! `ringbar-guest-tests`: what the tests of `.ci/vm` run inside their guests, and what calls out of one cost. Each test ends
//! with the line `guest-test NAME: passed`, or with why it failed.

#![forbid(unsafe_code)]

mod dax;
mod figures;
mod hostile;
mod work;

use clap::{Parser, Subcommand};
use figures::FiguresArgs;
use std::error::Error;
use std::process::ExitCode;
use work::Amount;

/// What runs inside the guests of ringbar's tests.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    test: Test,
}

#[derive(Debug, Subcommand)]
enum Test {
    /// Calls until told otherwise, through stalls; attaches anew after each loss.
    Work(Amount),
    /// Counts interrupts that end waits.
    Interrupts(Amount),
    /// Attacks its own channels in every way.
    Hostile,
    /// Writes over the directory and the control words of all channels: nothing works in this boot any more.
    Wreck,
    /// Takes the function away under its own feet.
    Unplug(Amount),
    /// Takes all channels, and is refused one more.
    Taken,
    /// Makes a region on a DAX device and attaches to it.
    Dax,
    /// What calls cost.
    Figures(FiguresArgs),
}

/// Runs it; its name is said with how it ended.
fn run(test: &Test) -> (&'static str, Result<(), Box<dyn Error>>) {
    match test {
        Test::Work(amount) => ("work", work::work(amount)),
        Test::Interrupts(amount) => ("interrupts", work::interrupts(amount)),
        Test::Hostile => ("hostile", hostile::run()),
        Test::Wreck => ("wreck", hostile::wreck()),
        Test::Unplug(amount) => ("unplug", work::unplug(amount)),
        Test::Taken => ("taken", work::taken()),
        Test::Dax => ("dax", dax::run().map_err(|error| -> Box<dyn Error> { error })),
        Test::Figures(args) => ("figures", figures::run(args)),
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse().test) {
        (name, Ok(())) => {
            println!("guest-test {name}: passed");
            ExitCode::SUCCESS
        }
        (name, Err(error)) => {
            println!("guest-test {name}: failed: {error}");
            ExitCode::FAILURE
        }
    }
}
