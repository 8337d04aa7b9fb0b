//! A session over a socket: the handshake, a refusal that passes, and a new generation after the worker is lost.

mod common;

use common::{SIZES, options, serve};
use ringbar::handshake::{
    Capabilities, Connection, Deadline, Listener, Message, Refusal, RefusalCode, SessionToken,
    Version, Welcome, negotiate,
};
use ringbar::link::{self, MemfdChannel};
use ringbar::region::Terms;
use ringbar_mock::MockConfig;
use ringbar_session::{Session, SessionConfig, SessionError};
use ringbar_vocabulary::{Init, Ping, VOCABULARY_HASH};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

const TOKEN: SessionToken = SessionToken([3; 16]);

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// Serves one client in one generation; with `die_at` it vanishes before that command.
fn serve_client(connection: &Connection, generation: u32, die_at: Option<u64>) {
    let hello = connection.receive_hello(soon()).expect("a hello");
    assert_eq!(hello.resume, (generation > 1).then_some(TOKEN));
    let ours = Capabilities {
        protocol: Version::OURS,
        features: link::features_here(),
        required_features: 0,
        vocabulary_hash: VOCABULARY_HASH,
    };
    let chosen = negotiate(&hello, &ours).expect("the same build");
    let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: chosen.features };
    let channel = MemfdChannel::create("test", hello.sizes, terms).expect("a region");
    channel.channel().offer(generation);
    let welcome = Welcome {
        protocol: chosen.protocol,
        features: chosen.features,
        token: TOKEN,
        generation,
        channel: 0,
        region_bytes: channel.region_bytes(),
        worker_pid: std::process::id(),
    };
    connection.send(&Message::Welcome(welcome), &channel.fds(), soon()).expect("a client");
    let watch = connection.watch().expect("a socket");
    let worker = channel.worker(generation, &watch, options()).expect("offered");
    serve(worker, MockConfig::default(), die_at);
}

fn host(
    serve: impl FnOnce(&Listener) + Send + 'static,
) -> (tempfile::TempDir, PathBuf, JoinHandle<()>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listener = Listener::bind(&path).expect("a socket");
    (folder, path, std::thread::spawn(move || serve(&listener)))
}

fn config() -> SessionConfig {
    SessionConfig { sizes: SIZES, options: options(), ..SessionConfig::default() }
}

#[test]
fn a_lost_session_attaches_again_on_a_new_generation_and_stays_over_itself() {
    let (_folder, path, host) = host(|listener| {
        let first = listener.accept(soon()).expect("the first");
        serve_client(&first, 1, Some(3));
        drop(first);
        serve_client(&listener.accept(soon()).expect("the second"), 2, None);
    });
    let old = Session::connect(&path, config()).expect("an executor");
    let mut caller = old.caller().expect("a slot");
    caller.call(&Init { flags: 0 }).expect("alive");
    caller.call(&Ping { token: 1 }).expect("alive");
    let lost = caller.call(&Ping { token: 2 }).expect_err("the worker vanishes");
    assert!(lost.is_lost(), "{lost}");
    let new = old.reattach().expect("a new generation");
    assert_eq!((old.client().generation(), new.client().generation()), (1, 2));
    let mut caller = new.caller().expect("a slot");
    assert_eq!(caller.call(&Ping { token: 7 }).expect("alive").token, 7);
    assert!(old.caller().and_then(|mut c| c.call(&Ping { token: 8 })).expect_err("over").is_lost());
    drop(caller);
    new.close();
    host.join().expect("the host ends");
}

#[test]
fn a_refusal_that_passes_is_waited_out_and_another_is_an_error() {
    let (_folder, path, host) = host(|listener| {
        let refuse = |refusal| {
            let connection = listener.accept(soon()).expect("a client");
            connection.receive_hello(soon()).expect("a hello");
            connection.send(&Message::Refused(refusal), &[], soon()).expect("a client");
        };
        refuse(Refusal::retry_after(RefusalCode::Reaping, "still being reaped", 5));
        refuse(Refusal::new(RefusalCode::Credentials, "another user"));
    });
    let error = Session::connect(&path, config()).err().expect("refused in the end");
    assert!(matches!(error, SessionError::Handshake(_)), "{error}");
    assert!(error.to_string().contains("another user"), "{error}");
    host.join().expect("the host ends");
}
