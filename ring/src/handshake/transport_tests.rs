use super::super::message::{Grow, Grown, Version, samples};
use super::*;
use crate::os::Mapping;
use rustix::io::FdFlags;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn now() -> Deadline {
    Deadline::after(Duration::ZERO)
}

fn pair() -> (Connection, Connection) {
    Connection::pair().unwrap()
}

/// A pipe whose reading end tells whether every copy of the writing end is closed.
fn witness() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

/// Waits for it: a child that another test starts has a copy of everything for a moment, until it executes its program.
fn all_writers_are_closed(reader: &OwnedFd) -> bool {
    wait_until(reader.as_fd(), PollFlags::IN, soon()).unwrap()
}

fn some_writer_is_open(reader: &OwnedFd) -> bool {
    !wait_until(reader.as_fd(), PollFlags::IN, now()).unwrap()
}

/// Sends `bytes` with `count` copies of a pipe's writing end, then closes it here; the result tells who else has it.
fn send_witnesses(connection: &Connection, bytes: &[u8], count: usize) -> OwnedFd {
    let (reader, writer) = witness();
    let descriptors = vec![writer.as_fd(); count];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let socket = connection.socket();
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
    reader
}

#[test]
fn every_message_crosses_a_socket_with_its_descriptors() {
    let (ours, theirs) = pair();
    let (_reader, writer) = witness();
    for message in samples::all() {
        let descriptors = vec![writer.as_fd(); message.descriptors()];
        ours.send(&message, &descriptors, soon()).unwrap();
        let received = theirs.receive(soon()).unwrap();
        assert_eq!(received.descriptors.len(), message.descriptors());
        assert_eq!(received.message, message);
    }
}

#[test]
fn received_descriptors_are_not_inherited_by_children() {
    let (ours, theirs) = pair();
    let (_reader, writer) = witness();
    let grown = Message::Grown(Grown { segment: 1, len: 4096 });
    ours.send(&grown, &[writer.as_fd()], soon()).unwrap();
    let received = theirs.receive(soon()).unwrap();
    let flags = rustix::io::fcntl_getfd(&received.descriptors[0]).unwrap();
    assert!(flags.contains(FdFlags::CLOEXEC));
}

#[test]
fn descriptors_that_do_not_belong_to_a_message_are_refused_and_closed() {
    for count in 1..=4 {
        let (ours, theirs) = pair();
        let reader = send_witnesses(&ours, Message::Bye.encode().as_bytes(), count);
        let error = theirs.receive(soon()).unwrap_err();
        let expected = HandshakeError::Descriptors { kind: "Bye", found: count, expected: 0 };
        assert!(matches!(&error, TransportError::Malformed(e) if *e == expected), "{error}");
        assert!(all_writers_are_closed(&reader), "none of {count} is left open");
    }
}

#[test]
fn more_descriptors_than_there_is_room_for_are_noticed_and_all_closed() {
    let (ours, theirs) = pair();
    let reader = send_witnesses(&ours, Message::Bye.encode().as_bytes(), 64);
    assert!(matches!(theirs.receive(soon()), Err(TransportError::DescriptorsLost)));
    assert!(all_writers_are_closed(&reader));
}

#[test]
fn descriptors_of_a_malformed_or_overlong_or_empty_message_are_closed() {
    let overlong = [0; MESSAGE_BYTES_MAX + 1];
    for bytes in [&b"garbage"[..], &overlong, &[]] {
        let (ours, theirs) = pair();
        let reader = send_witnesses(&ours, bytes, 2);
        assert!(theirs.receive(soon()).is_err());
        assert!(all_writers_are_closed(&reader), "after {} bytes", bytes.len());
    }
}

#[test]
fn descriptors_that_nobody_fetched_go_with_the_connection() {
    let (ours, theirs) = pair();
    let reader = send_witnesses(&ours, Message::Bye.encode().as_bytes(), 3);
    assert!(some_writer_is_open(&reader), "they wait in the queue");
    drop(theirs);
    assert!(all_writers_are_closed(&reader));
}

#[test]
fn an_overlong_datagram_is_refused() {
    let (ours, theirs) = pair();
    rustix::net::send(ours.socket(), &[0; 4096], SendFlags::empty()).unwrap();
    assert!(matches!(theirs.receive(soon()), Err(TransportError::TooLong)));
}

#[test]
fn a_peer_that_stays_silent_is_given_up_by_the_deadline() {
    let (_ours, theirs) = pair();
    let error = theirs.receive_hello(Deadline::after(Duration::from_millis(5))).unwrap_err();
    assert!(matches!(error, TransportError::TimedOut { limit_ms: 5, .. }), "{error}");
}

#[test]
fn a_peer_that_never_reads_is_given_up_by_the_deadline() {
    let (ours, _theirs) = pair();
    let bye = Message::Bye;
    let error = loop {
        if let Err(error) = ours.send(&bye, &[], Deadline::after(Duration::from_millis(5))) {
            break error;
        }
    };
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error}");
}

#[test]
fn a_closed_peer_is_told_to_who_sends_and_who_receives() {
    let (ours, theirs) = pair();
    drop(theirs);
    let closed = |result: Result<(), TransportError>| {
        assert!(matches!(result, Err(TransportError::Closed { .. })), "{result:?}");
    };
    closed(ours.receive(soon()).map(drop));
    closed(ours.send(&Message::Bye, &[], soon()));
}

#[test]
fn what_was_sent_before_closing_still_arrives() {
    let (ours, theirs) = pair();
    ours.send(&Message::Bye, &[], soon()).unwrap();
    drop(ours);
    assert_eq!(theirs.receive(soon()).unwrap().message, Message::Bye);
    assert!(matches!(theirs.receive(soon()), Err(TransportError::Closed { .. })));
}

#[test]
fn sending_with_too_few_descriptors_is_refused_here_and_not_by_the_peer() {
    let (ours, _theirs) = pair();
    let error = ours.send(&Message::Welcome(samples::welcome()), &[], soon()).unwrap_err();
    assert!(
        matches!(error, TransportError::DescriptorCount { found: 0, expected: 3, .. }),
        "{error}"
    );
}

#[test]
fn without_a_message_nothing_is_received_and_nothing_waited_for() {
    let (ours, theirs) = pair();
    assert!(theirs.receive_now().unwrap().is_none());
    ours.send(&Message::Grow(Grow { bytes: 4096 }), &[], soon()).unwrap();
    assert!(theirs.receive_now().unwrap().is_some());
}

#[test]
fn a_handshake_hands_over_region_and_doorbells() {
    let (client, executor) = pair();
    let (ours, region) = Mapping::memfd_create("test", 1 << 20).unwrap();
    let (worker_bell, client_bell) = (EventFd::new().unwrap(), EventFd::new().unwrap());
    std::thread::scope(|scope| {
        let attached = scope.spawn(|| client.attach(&samples::hello(), soon()).unwrap());
        assert_eq!(executor.receive_hello(soon()).unwrap(), samples::hello());
        let welcome = Welcome { features: 0, ..samples::welcome() };
        let descriptors = [region.as_fd(), worker_bell.as_fd(), client_bell.as_fd()];
        executor.send(&Message::Welcome(welcome.clone()), &descriptors, soon()).unwrap();
        let attached = attached.join().unwrap();
        assert_eq!(attached.welcome, welcome);
        assert_eq!(Mapping::memfd_attach(&attached.region).unwrap().len(), ours.len());
        attached.worker_doorbell.signal().unwrap();
        assert_eq!(worker_bell.drain().unwrap(), 1, "the worker's bell, not the client's");
        client_bell.signal().unwrap();
        assert_eq!(attached.client_doorbell.drain().unwrap(), 1);
    });
}

#[test]
fn a_refusal_reaches_the_client_as_an_error_with_its_reason() {
    let (client, executor) = pair();
    let refusal = Refusal::retry_after(RefusalCode::Reaping, "generation 3 is being reaped", 50);
    executor.send(&Message::Refused(refusal.clone()), &[], soon()).unwrap();
    match client.attach(&samples::hello(), soon()) {
        Err(TransportError::Refused(found)) => assert_eq!(found, refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_welcome_beyond_the_offer_is_not_accepted() {
    let (client, executor) = pair();
    let (_reader, writer) = witness();
    let newer = Version { minor: 9, ..Version::OURS };
    let welcome = Welcome { protocol: newer, features: 0, ..samples::welcome() };
    executor.send(&Message::Welcome(welcome), &[writer.as_fd(); 3], soon()).unwrap();
    let error = client.attach(&samples::hello(), soon()).unwrap_err();
    assert!(matches!(error, TransportError::Malformed(HandshakeError::Protocol { .. })), "{error}");
}

#[test]
fn a_client_that_speaks_out_of_turn_is_told_why_it_is_dropped() {
    let (client, executor) = pair();
    client.send(&Message::Bye, &[], soon()).unwrap();
    let error = executor.receive_hello(soon()).unwrap_err();
    assert!(matches!(error, TransportError::Unexpected { found: "Bye", expected: "Hello" }));
    let Message::Refused(refusal) = client.receive(soon()).unwrap().message else { panic!() };
    assert_eq!(refusal.code, RefusalCode::Malformed);
}

#[test]
fn a_client_of_another_major_is_refused_with_both_numbers() {
    let (client, executor) = pair();
    let future = Hello { protocol: Version { major: 9, minor: 4 }, ..samples::hello() };
    client.send(&Message::Hello(future), &[], soon()).unwrap();
    assert!(executor.receive_hello(soon()).is_err());
    let Message::Refused(refusal) = client.receive(soon()).unwrap().message else { panic!() };
    assert_eq!(refusal.code, RefusalCode::Version);
    let text = refusal.text.as_str();
    assert!(text.contains("9.4") && text.contains(&Version::OURS.major.to_string()), "{text}");
}

#[test]
fn only_a_packet_socket_can_be_taken_over() {
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(Connection::from_fd(stream.into()).is_err());
    let (ours, _theirs) = pair();
    let socket = Arc::try_unwrap(ours.socket).unwrap();
    assert!(Connection::from_fd(socket).is_ok());
}
