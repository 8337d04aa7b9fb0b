//! Measures ringbar against its peers and against the machine's own limits.
//!
//! A [run](rotation::run) measures every [`Candidate`] once a rotation, in an order shuffled anew,
//! on the same two cores, with the same payload and check ([`payload`]), and drops the samples around which the host
//! moved the cores. A transport takes part by implementing the traits of [`side`] that fit it and by naming its
//! candidates:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use ringbar_benches::candidate::{Candidate, Identity, Measure};
//! use ringbar_benches::cores::Cores;
//! use ringbar_benches::rotation::{Settings, run};
//! use ringbar_benches::side::{Receive, Transmit};
//! use ringbar_benches::spin::{Stalled, spin_until};
//!
//! #[derive(Clone)]
//! struct Mailbox(Arc<Mutex<Option<[u64; 7]>>>);
//!
//! impl Transmit<7> for Mailbox {
//!     fn send(&mut self, words: &[u64; 7]) -> Result<(), Stalled> {
//!         spin_until(|| {
//!             let mut place = self.0.lock().unwrap();
//!             place.is_none().then(|| *place = Some(*words))
//!         })
//!     }
//! }
//!
//! impl Receive<7> for Mailbox {
//!     fn receive(&mut self, take: impl FnOnce(&[u64; 7])) -> Result<(), Stalled> {
//!         take(&spin_until(|| self.0.lock().unwrap().take())?);
//!         Ok(())
//!     }
//! }
//!
//! let identity = Identity::new("mailbox", "mutex", Measure::OneWay).payload(56);
//! let mailbox = Candidate::one_way(identity, || {
//!     let place = Mailbox(Arc::default());
//!     Ok((place.clone(), place))
//! });
//! let settings = Settings::quick(Cores::first_two()?);
//! let results = run(vec![mailbox], &settings, |_, _| ())?;
//! println!("{}", ringbar_benches::report::table(&results));
//! # Ok::<(), ringbar_benches::error::BenchError>(())
//! ```
//!
//! A transport between processes runs its left side beside a [role](process::Role) of the same executable
//! ([`process::Beside`]) and calls the functions of [`drive`] itself; `eventfd` shows the whole pattern.
//!
//! The competitors stand behind the feature `peers` (on by default): a package that wants only the measuring library
//! depends on this one without default features.

#![deny(unsafe_code)]

pub mod calls;
pub mod candidate;
pub mod cores;
pub mod drive;
pub mod error;
pub mod eventfd;
pub mod exchange;
pub mod limits;
pub mod machine;
pub mod ours;
pub mod payload;
#[cfg(feature = "peers")]
pub mod peers;
pub mod process;
pub mod report;
pub mod rotation;
pub mod shared;
pub mod side;
pub mod spin;
pub mod stats;

use candidate::Candidate;
use process::Role;

/// Everything that this package can measure: the limits, ringbar, the raw eventfd wake and, with the feature `peers`, the peers.
pub fn candidates() -> Vec<Candidate> {
    let mut all = limits::candidates();
    all.extend(ours::candidates());
    all.extend(eventfd::candidates());
    #[cfg(feature = "peers")]
    all.extend(peers::candidates());
    all
}

/// What the second process can be asked to do; for [`process::serve_if_asked`].
pub fn roles() -> Vec<Role> {
    #[allow(unused_mut)]
    let mut all = vec![limits::ROLE, eventfd::ROLE, ours::RING_ROLE, ours::CHANNEL_ROLE];
    #[cfg(feature = "peers")]
    all.extend(peers::roles());
    all
}
