//! Attacks on the region around the ring: doorbells, claims, what the host wrote once, handshakes that never end.

use super::{Attack, Attacker, End, PATIENCE, Result, random};
use ringbar::directory::{self, Nonce};
use ringbar::error::ChannelError;
use ringbar::layout::{HEADER_LINES, PAGE_BYTES, directory_line, line};
use ringbar::lines::Lines;
use ringbar::sync::Ordering;
use ringbar_vocabulary::{ContextId, EventCreate, EventId};
use std::time::{Duration, Instant};

pub(super) const ATTACKS: &[(&str, End, Attack)] = &[
    ("H9 a storm of doorbells without commands", End::Works, storm),
    ("H10 claims that are contested without end", End::Works, contested),
    ("H10 claims without end", End::Works, claims),
    ("H11 the memory is shrunk", End::Works, shrink),
    ("H11 zeros over all control words, as holes would be", End::Any, holes),
    ("H12 rewritten magic, version, sizes", End::Works, rewrite),
    ("H13 claims that are never taken up", End::Works, never_attach),
    ("H13 sessions one after the other", End::Works, sessions),
    ("H13 a session that is left without a word", End::Works, left_behind),
];

/// How long a storm of doorbells lasts, and how many there are at least.
const STORM: Duration = Duration::from_secs(3);
const STORM_BELLS: u32 = 50_000;
/// Claims for a channel that is taken.
const FLOOD: u32 = 5_000;
/// How long claims are made and withdrawn.
pub(super) const FLOODING: Duration = Duration::from_secs(2);
/// Sessions that are opened in a row.
const SESSIONS: usize = 12;

fn storm(attacker: &Attacker) -> Result {
    let bells = [attacker.bell(None)?, attacker.bell(Some(attacker.attached.channel))?];
    println!("the storm begins");
    let (end, mut rung) = (Instant::now() + STORM, 0);
    while Instant::now() < end || rung < STORM_BELLS {
        for _ in 0..100 {
            bells.iter().try_for_each(|bell| bell.ring())?;
        }
        rung += 100;
    }
    println!("the storm is over after {rung} doorbells of either kind");
    // They were noticed, counted, and cost a command after them nothing but time.
    let counted = || attacker.session.client().counters().empty_wakes;
    attacker.works()?;
    attacker.until("no empty wake-up is counted", || counted() > 0)
}

/// Claims for a channel that is taken: its own.
fn contested(attacker: &Attacker) -> Result {
    let lines = &attacker.attached.device.directory.lines;
    let bell = attacker.bell(None)?;
    let mut value = 3;
    for _ in 0..FLOOD {
        if let Some(nonce) = Nonce::new(random(&mut value)) {
            directory::claim(lines, attacker.attached.channel, nonce);
            bell.ring()?;
        }
    }
    Ok(())
}

/// Claims for free channels, which are withdrawn at once and made anew.
fn claims(attacker: &Attacker) -> Result {
    let found = &attacker.attached.device.directory;
    let bell = attacker.bell(None)?;
    let (end, mut value) = (Instant::now() + FLOODING, 5);
    while Instant::now() < end {
        let Some(channel) = directory::seems_free(&found.lines, found.channels) else { continue };
        let Some(nonce) = Nonce::new(random(&mut value)) else { continue };
        directory::claim(&found.lines, channel, nonce);
        bell.ring()?;
        while directory::claimant(&found.lines, channel) == Some(nonce) && Instant::now() < end {
            if directory::is_assigned(&found.lines, channel, nonce) {
                directory::give_back(&found.lines, channel, nonce);
                bell.ring()?;
            }
        }
        directory::give_back(&found.lines, channel, nonce);
    }
    bell.ring()?;
    attacker.all_others_are_free()
}

/// No guest can: the kernel refuses it, and the memory is as it was.
fn shrink(attacker: &Attacker) -> Result {
    let function = attacker.attached.device.function.as_ref().ok_or("no function")?;
    let path = function.folder.join("resource2");
    let file = std::fs::File::options().write(true).open(&path)?;
    // Whether that is an error or nothing is the kernel's affair.
    let _ = file.set_len(0);
    let bytes = std::fs::metadata(&path)?.len();
    if bytes == function.region_bytes {
        Ok(())
    } else {
        Err(format!("found {bytes} bytes, expected {}", function.region_bytes).into())
    }
}

/// A guest cannot punch holes into the host's memory; zeros over all control words are what a hole would be.
fn holes(attacker: &Attacker) -> Result {
    let id = attacker.attached.place.identity;
    let event = EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 };
    attacker.session.post(&event)?;
    for page in (id.command_offset..id.arena_offset).step_by(PAGE_BYTES) {
        let lines = attacker.lines(page, HEADER_LINES)?;
        for at in 0..lines.count() {
            (0..8).for_each(|word| lines.store(at, word, 0, Ordering::Relaxed));
        }
    }
    // Nothing is published after a hole, so the worker sees an empty ring, or a violation where it had read on.
    let client = attacker.session.client();
    match client.wait_executed(client.tail() + 1, Some(Duration::from_millis(500))) {
        Err(ChannelError::Deadline { .. }) => Ok(()),
        Err(error) if error.is_final() => Ok(()),
        other => Err(format!("found {other:?}, expected silence or the end of the channel").into()),
    }
}

/// Rewrites what the host wrote once; the host has private copies. The directory is put back: other programs of this VM
/// read it.
fn rewrite(attacker: &Attacker) -> Result {
    let directory = &attacker.attached.device.directory.lines;
    let header = attacker.lines(0, HEADER_LINES)?;
    let entry = directory_line::ENTRIES + attacker.attached.channel;
    let places = [
        (directory, 0, 0..4),
        (directory, entry, 0..2),
        (&header, line::IDENTITY, 0..8),
        (&header, line::GEOMETRY, 0..8),
    ];
    let mut old = Vec::new();
    for (lines, at, words) in places {
        for word in words {
            old.push((lines, at, word, lines.load(at, word, Ordering::Relaxed)));
            lines.store(at, word, u64::MAX, Ordering::Relaxed);
        }
    }
    attacker.ring_the_bell()?;
    attacker.bell(None)?.ring()?;
    let result = (0..100).try_for_each(|_| attacker.works());
    for (lines, at, word, value) in old {
        lines.store(at, word, value, Ordering::Relaxed);
    }
    result
}

/// Claims all channels that are free and attaches to none: the host takes them back by itself.
fn never_attach(attacker: &Attacker) -> Result {
    let found = &attacker.attached.device.directory;
    let bell = attacker.bell(None)?;
    let mut claimed = 0;
    while let Some(channel) = directory::seems_free(&found.lines, found.channels) {
        let nonce = Nonce::new(77 + channel as u64).ok_or("no nonce")?;
        directory::claim(&found.lines, channel, nonce);
        bell.ring()?;
        claimed += 1;
    }
    if claimed == 0 {
        return Err("no channel was free to be claimed".into());
    }
    attacker.all_others_are_free()
}

/// Each has a worker of its own, whose channel is free again for the next one.
fn sessions(attacker: &Attacker) -> Result {
    for _ in 0..SESSIONS {
        let next = Attacker::new()?;
        next.works()?;
        next.session.close();
    }
    attacker.all_others_are_free()
}

/// Neither closed nor given back, its memory still mapped: its heart rests, and that is all that the host learns.
fn left_behind(attacker: &Attacker) -> Result {
    let other = Attacker::new()?;
    other.session.client().stop_heart();
    std::mem::forget(other);
    attacker.all_others_are_free()
}

/// Looks until it is `met`, and does something between two looks.
fn until_with(
    late: &str,
    mut met: impl FnMut() -> bool,
    mut meanwhile: impl FnMut() -> Result,
) -> Result {
    let end = Instant::now() + PATIENCE;
    while !met() {
        if Instant::now() > end {
            return Err(late.into());
        }
        meanwhile()?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

impl Attacker {
    fn until(&self, late: &str, met: impl FnMut() -> bool) -> Result {
        until_with(late, met, || self.works())
    }

    /// The same without a look whether the channel works meanwhile.
    pub(super) fn until_bypassed(&self, late: &str, met: impl FnMut() -> bool) -> Result {
        until_with(late, met, || Ok(()))
    }

    /// Waits until no other channel than this one is taken.
    fn all_others_are_free(&self) -> Result {
        let found = &self.attached.device.directory;
        let is_free = |channel| {
            directory::assigned(&found.lines, channel).is_none()
                && directory::claimant(&found.lines, channel).is_none()
        };
        let others = (0..found.channels).filter(|&channel| channel != self.attached.channel);
        self.until("channels that nobody uses are still taken", || others.clone().all(is_free))
    }
}
