//! One suite for all waiters.

use super::*;
use crate::os::{EventFd, PeerWatch, counting_allocator, liveness};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

const SOON: Option<Duration> = Some(Duration::from_millis(1));
const LONG: Option<Duration> = Some(Duration::from_secs(20));

/// Makes a test of each promise for each waiter.
macro_rules! promises {
    ($($name:ident)*) => {
        mod by_poll {
            $(#[test] fn $name() { super::$name(&mut super::PollWaiter::new()) })*
        }
        mod by_uring {
            $(#[test] fn $name() {
                match super::UringWaiter::new() {
                    Ok(mut waiter) => super::$name(&mut waiter),
                    Err(e) => println!("did not run: no io_uring here ({e})"),
                }
            })*
        }
        mod by_the_best {
            $(#[test] fn $name() { super::$name(&mut super::AnyWaiter::best()) })*
        }
    };
}

promises! {
    a_signal_before_the_wait_ends_it
    a_signal_during_the_wait_ends_it
    a_wait_without_a_signal_ends_by_its_time_limit
    a_wait_without_sources_ends_by_its_time_limit
    a_time_limit_beyond_counting_is_no_error
    a_drained_doorbell_is_quiet_until_the_next_signal
    a_storm_of_signals_is_one_report
    unread_bytes_are_reported_by_every_wait
    a_hang_up_has_a_flag_of_its_own
    a_half_closed_socket_is_a_hang_up
    unread_bytes_do_not_disturb_who_waits_for_hang_up_only
    a_death_is_reported_through_the_pidfd
    all_that_is_ready_is_reported_at_once
    more_sources_than_one_submission_holds_are_all_waited_for
    a_removed_source_is_silent_and_its_peer_sees_it_closed
    a_removal_loses_no_signal_of_another_source
    a_token_is_used_once_at_a_time
    a_token_can_be_used_again_after_removal
    another_thread_may_go_on_waiting
    waiting_allocates_nothing_once_there_is_room
}

fn event(waiter: &mut dyn Waiter, token: u64) -> EventFd {
    let event = EventFd::new().unwrap();
    waiter.add(event.fd().clone(), token, Interest::Doorbell).unwrap();
    event
}

fn stream(waiter: &mut dyn Waiter, token: u64, interest: Interest) -> (Arc<OwnedFd>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours: Arc<OwnedFd> = Arc::new(ours.into());
    waiter.add(ours.clone(), token, interest).unwrap();
    (ours, theirs)
}

/// Waits until something is ready; waits may end early with nothing.
fn wait_for_any(waiter: &mut dyn Waiter) -> ReadySet {
    let end = Instant::now() + Duration::from_secs(20);
    let mut ready = ReadySet::default();
    while ready.is_empty() {
        assert!(Instant::now() < end, "nothing became ready");
        waiter.wait(LONG, &mut ready).unwrap();
    }
    ready
}

/// Waits a little, several times, and wants nothing to be ready.
fn expect_silence(waiter: &mut dyn Waiter) {
    let mut ready = ReadySet::default();
    for _ in 0..3 {
        waiter.wait(SOON, &mut ready).unwrap();
        assert_eq!(ready.as_slice(), []);
    }
}

fn readable(token: u64) -> Ready {
    Ready { token, readable: true, hang_up: false, error: false }
}

fn a_signal_before_the_wait_ends_it(waiter: &mut dyn Waiter) {
    event(waiter, 7).signal().unwrap();
    assert_eq!(wait_for_any(waiter).as_slice(), [readable(7)]);
}

fn a_signal_during_the_wait_ends_it(waiter: &mut dyn Waiter) {
    let event = event(waiter, 7);
    expect_silence(waiter);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            event.signal().unwrap();
        });
        assert_eq!(wait_for_any(waiter).as_slice(), [readable(7)]);
    });
}

fn a_wait_without_a_signal_ends_by_its_time_limit(waiter: &mut dyn Waiter) {
    let _event = event(waiter, 1);
    let mut ready = ReadySet::default();
    for limit in [Duration::ZERO, Duration::from_micros(50), Duration::from_millis(5)] {
        waiter.wait(Some(limit), &mut ready).unwrap();
        assert!(ready.is_empty());
    }
}

fn a_wait_without_sources_ends_by_its_time_limit(waiter: &mut dyn Waiter) {
    let mut ready = ReadySet::default();
    waiter.wait(SOON, &mut ready).unwrap();
    assert!(ready.is_empty());
    assert_eq!(waiter.sources(), 0);
}

fn a_time_limit_beyond_counting_is_no_error(waiter: &mut dyn Waiter) {
    let event = event(waiter, 1);
    event.signal().unwrap();
    let mut ready = ReadySet::default();
    waiter.wait(Some(Duration::MAX), &mut ready).unwrap();
    assert_eq!(ready.as_slice(), [readable(1)]);
}

fn a_drained_doorbell_is_quiet_until_the_next_signal(waiter: &mut dyn Waiter) {
    let event = event(waiter, 1);
    for _ in 0..3 {
        event.signal().unwrap();
        assert_eq!(wait_for_any(waiter).as_slice(), [readable(1)]);
        assert_eq!(event.drain().unwrap(), 0, "the waiter drained it");
        expect_silence(waiter);
    }
}

fn a_storm_of_signals_is_one_report(waiter: &mut dyn Waiter) {
    let event = event(waiter, 1);
    expect_silence(waiter);
    for _ in 0..10_000 {
        event.signal().unwrap();
    }
    assert_eq!(wait_for_any(waiter).as_slice(), [readable(1)]);
    expect_silence(waiter);
}

fn unread_bytes_are_reported_by_every_wait(waiter: &mut dyn Waiter) {
    let (ours, mut theirs) = stream(waiter, 3, Interest::Readable);
    theirs.write_all(b"ab").unwrap();
    for _ in 0..3 {
        assert_eq!(wait_for_any(waiter).as_slice(), [readable(3)]);
    }
    rustix::io::read(&*ours, &mut [0u8; 2]).unwrap();
    expect_silence(waiter);
}

fn a_hang_up_has_a_flag_of_its_own(waiter: &mut dyn Waiter) {
    let (_ours, theirs) = stream(waiter, 3, Interest::HangUp);
    expect_silence(waiter);
    drop(theirs);
    let ready = wait_for_any(waiter);
    let found = ready.get(3).unwrap();
    assert!(found.hang_up && found.is_over() && !found.readable, "{found:?}");
}

fn a_half_closed_socket_is_a_hang_up(waiter: &mut dyn Waiter) {
    let (_ours, theirs) = stream(waiter, 3, Interest::Readable);
    expect_silence(waiter);
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(wait_for_any(waiter).get(3).unwrap().hang_up);
}

fn unread_bytes_do_not_disturb_who_waits_for_hang_up_only(waiter: &mut dyn Waiter) {
    let (_ours, mut theirs) = stream(waiter, 3, Interest::HangUp);
    theirs.write_all(b"unread").unwrap();
    expect_silence(waiter);
}

fn a_death_is_reported_through_the_pidfd(waiter: &mut dyn Waiter) {
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let watch = PeerWatch::of_process(liveness::pidfd_open(child.id() as i32).unwrap());
    for (fd, interest) in watch.fds() {
        waiter.add(fd.clone(), 9, interest).unwrap();
    }
    expect_silence(waiter);
    child.kill().unwrap();
    assert!(wait_for_any(waiter).get(9).unwrap().readable);
    child.wait().unwrap();
}

fn all_that_is_ready_is_reported_at_once(waiter: &mut dyn Waiter) {
    let events: Vec<_> = (0..10).map(|token| event(waiter, token)).collect();
    events.iter().step_by(3).for_each(|event| event.signal().unwrap());
    let mut found: Vec<_> = wait_for_any(waiter).iter().map(|ready| ready.token).collect();
    found.sort_unstable();
    assert_eq!(found, [0, 3, 6, 9]);
    expect_silence(waiter);
}

fn more_sources_than_one_submission_holds_are_all_waited_for(waiter: &mut dyn Waiter) {
    let events: Vec<_> = (0..300).map(|token| event(waiter, token)).collect();
    expect_silence(waiter);
    events.iter().for_each(|event| event.signal().unwrap());
    let mut found = std::collections::BTreeSet::new();
    while found.len() < events.len() {
        found.extend(wait_for_any(waiter).iter().map(|ready| ready.token));
    }
    expect_silence(waiter);
}

fn a_removed_source_is_silent_and_its_peer_sees_it_closed(waiter: &mut dyn Waiter) {
    let (ours, mut theirs) = stream(waiter, 3, Interest::Readable);
    expect_silence(waiter);
    drop(ours);
    assert!(waiter.remove(3));
    assert!(!waiter.remove(3), "only once");
    assert_eq!(waiter.sources(), 0);
    theirs.set_read_timeout(LONG).unwrap();
    assert_eq!(theirs.read(&mut [0u8; 1]).unwrap(), 0, "end of file");
    expect_silence(waiter);
}

fn a_removal_loses_no_signal_of_another_source(waiter: &mut dyn Waiter) {
    let events: Vec<_> = (0..3).map(|token| event(waiter, token)).collect();
    expect_silence(waiter);
    events.iter().for_each(|event| event.signal().unwrap());
    assert!(waiter.remove(1));
    let mut found: Vec<_> = wait_for_any(waiter).iter().map(|ready| ready.token).collect();
    found.sort_unstable();
    assert_eq!(found, [0, 2]);
}

fn a_token_is_used_once_at_a_time(waiter: &mut dyn Waiter) {
    let event = event(waiter, 1);
    let error = waiter.add(event.fd().clone(), 1, Interest::Doorbell).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(waiter.sources(), 1);
}

fn a_token_can_be_used_again_after_removal(waiter: &mut dyn Waiter) {
    let first = event(waiter, 1);
    expect_silence(waiter);
    waiter.remove(1);
    let second = event(waiter, 1);
    first.signal().unwrap();
    expect_silence(waiter);
    second.signal().unwrap();
    assert_eq!(wait_for_any(waiter).as_slice(), [readable(1)]);
}

fn another_thread_may_go_on_waiting(waiter: &mut dyn Waiter) {
    let (first, second) = (event(waiter, 1), event(waiter, 2));
    expect_silence(waiter);
    std::thread::scope(|scope| {
        let waiter = &mut *waiter;
        scope.spawn(move || {
            first.signal().unwrap();
            assert_eq!(wait_for_any(waiter).as_slice(), [readable(1)]);
            waiter.remove(1);
        });
    });
    second.signal().unwrap();
    assert_eq!(wait_for_any(waiter).as_slice(), [readable(2)]);
}

fn waiting_allocates_nothing_once_there_is_room(waiter: &mut dyn Waiter) {
    let events: Vec<_> = (0..20).map(|token| event(waiter, token)).collect();
    let mut ready = ReadySet::with_capacity(waiter.sources());
    waiter.wait(SOON, &mut ready).unwrap();
    let before = counting_allocator::allocations();
    assert!(before > 0, "the counter counts");
    for _ in 0..100 {
        events.iter().for_each(|event| event.signal().unwrap());
        waiter.wait(LONG, &mut ready).unwrap();
    }
    assert_eq!(counting_allocator::allocations() - before, 0);
}

#[test]
fn a_closed_descriptor_number_is_an_error_not_a_hang_up() {
    let ready = Ready::of(1, PollFlags::NVAL);
    assert!(ready.error && ready.is_over() && !ready.hang_up && !ready.readable);
}
