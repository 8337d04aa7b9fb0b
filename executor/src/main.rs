//! The command-line program of ringbar.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ringbar_executor::cli::run()
}
