//! The standard library's bounded channel.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Line, WORDS, channel, queue};
use crate::candidate::Candidate;
use crate::side::{Receive, SLOTS, Transmit};
use crate::spin::{Stalled, spin_until};

pub(super) fn candidates() -> Vec<Candidate> {
    let polling = || {
        let (sender, receiver) = sync_channel(SLOTS);
        Ok((Polled(sender), Polled(receiver)))
    };
    let blocking = || {
        let (sender, receiver) = sync_channel(SLOTS);
        Ok((Blocking(sender), Blocking(receiver)))
    };
    let mut all = queue("std", "sync_channel, try", polling);
    all.extend(queue("std", "sync_channel, blocking", blocking));
    all
}

struct Polled<T>(T);

struct Blocking<T>(T);

channel! { SyncSender, Receiver }
