//! A client is killed at each step that it takes: its worker ends, its session is freed, and the daemon keeps no descriptor.

mod support;

use ringbar_executor::failpoints::{Point, Side};
use ringbar_vocabulary::Ping;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use support::{RINGBAR, Server, children, descriptors, eventually};

fn dies_at(point: Point) {
    let server = Server::start("--handshake-timeout 2s");
    let other = server.client_named("other");
    other.call(Ping { token: 1 }).unwrap();
    // Behind its answer the daemon holds nothing more of what it gave that client.
    server.client("other").unwrap();
    let before = descriptors(server.pid());
    let mut probe = Command::new(RINGBAR);
    probe.arg("probe").arg("--socket").arg(server.socket()).args(["--failpoint", point.name()]);
    let ended = probe.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.signal(), Some(9), "{said}");
    assert!(said.contains(&format!("failpoint {} reached", point.name())), "{said}");
    assert!(eventually(|| server.client("probe").is_none()), "the session is freed");
    assert!(eventually(|| children(server.pid()).len() == 1), "its worker is gone and reaped");
    assert!(eventually(|| descriptors(server.pid()) == before), "no descriptor is left behind");
    other.call(Ping { token: 2 }).unwrap();
}

macro_rules! deaths {
    ($($name:ident: $point:ident;)+) => {
        $(
            #[test]
            fn $name() {
                dies_at(Point::$point);
            }
        )+

        #[test]
        fn every_step_of_a_client_has_its_test() {
            let tested = [$(Point::$point),+];
            let untested: Vec<_> =
                Point::of(Side::Client).filter(|point| !tested.contains(point)).collect();
            assert_eq!(untested, []);
        }
    };
}

deaths! {
    killed_before_it_says_hello: ClientConnected;
    killed_before_it_reads_the_welcome: ClientGreeted;
    killed_before_it_maps_the_region: ClientWelcomed;
    killed_as_soon_as_it_is_attached: ClientAttached;
    killed_in_the_middle_of_a_record: ClientWriting;
    killed_after_a_post: ClientPosted;
    killed_with_a_staged_block: ClientStaged;
    killed_while_a_reply_is_due: ClientCalled;
    killed_after_a_reply: ClientAnswered;
    killed_while_its_arena_grows: ClientGrowing;
    killed_after_its_arena_grew: ClientGrown;
    killed_after_it_closed: ClientClosed;
}

#[test]
fn a_probe_takes_every_step_and_says_how_long_each_took() {
    let server = Server::start("");
    let mut probe = Command::new(RINGBAR);
    let done =
        probe.arg("probe").arg("--socket").arg(server.socket()).arg("--json").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let steps: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(steps.as_array().unwrap().len(), 7);
}
