//! The heartbeat of one side: a thread of its own, so that a long command does not look like a stopped process.

use crate::layout::line;
use crate::lines::{Lines, SharedLines};
use crate::progress;
use crate::sync::Ordering;
use core::time::Duration;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

/// Time between two beats.
pub const BEAT: Duration = Duration::from_millis(100);

/// Beats until it is dropped.
pub(crate) struct Heart {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    /// Counts word 1 of the status line up, from now on every 100 ms.
    pub(crate) fn start(header: SharedLines, status_line: usize) -> std::io::Result<Self> {
        Self::start_while(header, status_line, || (), |_| true)
    }

    /// The client's: ends with `generation`, since the next one has another client.
    /// Its thread lives in the program, and calls `begin` first.
    pub(crate) fn of_client(
        header: SharedLines,
        generation: u32,
        begin: fn(),
    ) -> std::io::Result<Self> {
        Self::start_while(header, line::CLIENT_STATUS, begin, move |header| {
            (progress::state(header, line::HOST_STATUS) >> 32) as u32 == generation
        })
    }

    fn start_while(
        header: SharedLines,
        status_line: usize,
        begin: fn(),
        goes_on: impl Fn(&SharedLines) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("ringbar-heart".into()).spawn(move || {
            begin();
            let mut beat = 0;
            while goes_on(&header) {
                beat += 1;
                header.store(status_line, 1, beat, Ordering::Relaxed);
                if stopped.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has stopped as well.
            let _ = thread.join();
        }
    }
}
