//! A channel without doorbells or sockets: two mappings of one file, naps, and heartbeats (as over a BAR that is polled).
#![cfg(not(ringbar_loom))]

use ringbar::arena::Arena;
use ringbar::client::{ArenaPlan, Client, ClientConfig, Limits};
use ringbar::error::ChannelError;
use ringbar::layout::Sizes;
use ringbar::os::doorbell::NoDoorbell;
use ringbar::os::mapping::{Mapping, PeerTrust};
use ringbar::park::{PolledBlock, PolledPark};
use ringbar::region::{self, Channel, Expect, Place, Terms};
use ringbar::reply::Ticket;
use ringbar::spin::SpinBudget;
use ringbar::wake::WakeMode;
use ringbar::worker::{Next, Worker, WorkerConfig};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const TERMS: Terms = Terms { vocabulary_hash: 3, features: 0 };
/// Short, so that the test is: the product's bound is `HEARTBEAT_LIMIT`.
const LIMIT: Duration = Duration::from_secs(2);

fn arena(mapping: &Arc<Mapping>, place: Place) -> Arc<Arena> {
    let start = (place.offset + place.identity.arena_offset) as usize;
    let part = mapping.subrange(start, place.identity.arena_bytes as usize);
    Arc::new(Arena::new(part.expect("inside")))
}

/// Host and guest, each over a mapping of its own of one file with two channels; the second one is used.
fn ends(folder: &tempfile::TempDir) -> (Channel, Arc<Arena>, Channel, Arc<Arena>) {
    let path = folder.path().join("region");
    let sizes = [Sizes { arena_bytes: 1 << 16, ..Sizes::default() }; 2];
    let bytes = region::region_bytes(&sizes) as usize;
    let host = Arc::new(Mapping::file_create(&path, bytes).expect("a new file"));
    let places = region::create(&host, &sizes, TERMS).expect("a region");
    let host_end = Channel::open(&host, places[1]).expect("its lines");
    host_end.offer(1);
    let guest = Arc::new(Mapping::file(&path, PeerTrust::Own).expect("the file"));
    let want = Expect { vocabulary_hash: 3, ..Expect::default() };
    let place = region::inspect(&guest, 1, want).expect("a valid channel");
    let guest_end = Channel::open(&guest, place).expect("its lines");
    (host_end, arena(&host, places[1]), guest_end, arena(&guest, place))
}

fn worker(channel: Channel, arena: Arc<Arena>) -> Worker<PolledBlock> {
    let block = PolledBlock::new(&channel, LIMIT);
    let config = WorkerConfig {
        channel,
        generation: 1,
        arena,
        doorbell: Arc::new(NoDoorbell),
        wake: WakeMode::Polled,
        spin: SpinBudget::default(),
        relook: Duration::from_millis(1),
    };
    Worker::start(config, block).expect("an offered channel")
}

fn client(channel: Channel, arena: Arc<Arena>) -> Client {
    Client::attach(ClientConfig {
        channel,
        generation: 1,
        arena,
        plan: ArenaPlan::default(),
        doorbell: Arc::new(NoDoorbell),
        park: Box::new(PolledPark::default()),
        wake: WakeMode::Polled,
        spin: SpinBudget::default(),
        limits: Limits { stalled_after: LIMIT / 2, error_after: LIMIT },
        heartbeat: Some(|| ()),
    })
    .expect("an offered channel")
}

#[test]
fn calls_work_polled_with_pauses_on_either_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let (host, host_arena, guest, guest_arena) = ends(&folder);
    let mut worker = worker(host, host_arena);
    let echo = thread::spawn(move || {
        let completions = worker.completions().clone();
        loop {
            match worker.next().expect("honest") {
                Next::Command(record) => {
                    let ticket = Ticket {
                        slot: record.reply_slot.expect("a call"),
                        position: record.position,
                    };
                    thread::sleep(Duration::from_millis(2));
                    completions.reply(ticket, record.bytes);
                }
                Next::Idle => {}
                Next::ClientGone => return,
            }
        }
    });
    let client = client(guest, guest_arena);
    let mut caller = client.caller().expect("a slot");
    for call in 0..20_u64 {
        thread::sleep(Duration::from_millis(2));
        assert_eq!(caller.call(&call.to_le_bytes()).expect("a reply"), call.to_le_bytes());
    }
    assert_eq!(client.counters().client_bells, 0, "there is no doorbell to ring");
    client.close();
    echo.join().expect("ends");
}

#[test]
fn a_worker_without_heartbeat_is_an_error_within_the_bound() {
    let folder = tempfile::tempdir().expect("a folder");
    let (host, host_arena, guest, guest_arena) = ends(&folder);
    let worker = worker(host, host_arena);
    let client = client(guest, guest_arena);
    // Forgetting the worker leaves the state `Running` and stops its heart, as a dead guest or host would.
    worker.stop_heart();
    let error = client.wait_fence(0, 1, Some(LIMIT * 10)).expect_err("nobody lives there");
    assert!(matches!(error, ChannelError::Stalled { silent } if silent >= LIMIT), "{error}");
}

#[test]
fn a_client_whose_heart_stops_is_gone_for_the_worker() {
    let folder = tempfile::tempdir().expect("a folder");
    let (host, host_arena, guest, guest_arena) = ends(&folder);
    let mut worker = worker(host, host_arena);
    let client = client(guest, guest_arena);
    client.post(b"the last words").expect("room");
    client.stop_heart();
    let mut seen = 0;
    loop {
        match worker.next().expect("honest") {
            Next::Command(_) => seen += 1,
            Next::Idle => {}
            Next::ClientGone => break,
        }
    }
    assert_eq!(seen, 1, "what was published before is consumed");
}
