//! A guest and a host over one fake function: claims, generations, deaths.

use super::fake::{TERMS, Tree};
use super::{GuestConfig, GuestError, connect};
use crate::directory::{self, Assignments, Refused, Request};
use crate::error::ChannelError;
use crate::layout::{DIRECTORY_MAGIC, Sizes};
use crate::lines::Lines;
use crate::link::Options;
use crate::os::map_error::MapError;
use crate::os::mapping::Mapping;
use crate::park::PolledBlock;
use crate::region::{Channel, Directory, Expect, Place, State};
use crate::reply::Ticket;
use crate::spin::SpinBudget;
use crate::sync::{Arc, AtomicBool, Ordering};
use crate::testing::small_sizes;
use crate::wake::WakeMode;
use crate::worker::{Next, Worker, WorkerConfig};
use core::time::Duration;
use std::thread::{self, JoinHandle};

const WANT: Expect =
    Expect { vocabulary_hash: TERMS.vocabulary_hash, features: 0, generation: None };
const ADDRESS: &str = "0000:00:03.0";

fn sizes() -> Sizes {
    Sizes { arena_bytes: 1 << 16, ..small_sizes() }
}

/// What a host makes of a claim.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Echo,
    WithoutWorker,
    Refuse,
    /// The first claim is refused by a daemon that ends.
    EndFirst,
}

/// A host in threads: answers claims with echoing workers.
struct Host {
    mapping: Arc<Mapping>,
    places: Vec<Place>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    fn start(tree: &Tree, channels: usize, answer_by: Answer) -> Self {
        let (mapping, places) = tree.region(ADDRESS, &vec![sizes(); channels]);
        let stop = Arc::new(AtomicBool::new(false));
        let mut host = Self { mapping, places, stop, thread: None };
        host.thread = Some(host.run(answer_by));
        host
    }

    fn channel(&self, index: usize) -> Channel {
        Channel::open(&self.mapping, self.places[index]).expect("its lines")
    }

    fn lines(&self) -> crate::lines::SharedLines {
        Directory::inspect(&self.mapping, self.mapping.len() as u64).expect("a directory").lines
    }

    fn run(&self, answer_by: Answer) -> JoinHandle<()> {
        let (lines, stop) = (self.lines(), Arc::clone(&self.stop));
        let channels: Vec<_> = (0..self.places.len()).map(|index| self.channel(index)).collect();
        let mapping = Arc::clone(&self.mapping);
        thread::spawn(move || {
            let mut assignments = Assignments::new(lines.clone(), channels.len());
            let (mut generation, mut ends) = (0, answer_by == Answer::EndFirst);
            while !stop.load(Ordering::Relaxed) {
                directory::beat(&lines);
                for (index, request) in assignments.requests().collect::<Vec<_>>() {
                    match request {
                        Request::Asked(nonce) if std::mem::take(&mut ends) => {
                            assignments.refuse(index, nonce, Refused::Ending)
                        }
                        Request::Asked(nonce) if answer_by != Answer::Refuse => {
                            generation += 1;
                            channels[index].offer(generation);
                            if answer_by != Answer::WithoutWorker {
                                echo(channels[index].clone(), &mapping, generation);
                            }
                            assignments.assign(index, nonce);
                        }
                        Request::Asked(nonce) => {
                            assignments.refuse(index, nonce, Refused::NoWorker)
                        }
                        Request::GivenBack => assignments.free(index),
                        Request::Contested(_) => {}
                    }
                }
                thread::sleep(Duration::from_millis(1));
            }
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the host panicked");
        }
    }
}

/// Runs an echoing worker until its client is gone.
fn echo(channel: Channel, mapping: &Arc<Mapping>, generation: u32) {
    let place = channel.place;
    let start = (place.offset + place.identity.arena_offset) as usize;
    let arena = mapping.subrange(start, place.identity.arena_bytes as usize).expect("inside");
    let block = PolledBlock::new(&channel, Duration::from_secs(60));
    let config = WorkerConfig {
        channel,
        generation,
        arena: Arc::new(crate::arena::Arena::new(arena)),
        doorbell: Arc::new(crate::os::doorbell::NoDoorbell),
        wake: WakeMode::Polled,
        spin: SpinBudget::default(),
        relook: Duration::from_millis(1),
    };
    let mut worker = Worker::start(config, block).expect("an offered channel");
    thread::spawn(move || {
        let completions = worker.completions().clone();
        while let Ok(next) = worker.next() {
            match next {
                Next::Command(record) => {
                    if let Some(slot) = record.reply_slot {
                        completions.reply(Ticket { slot, position: record.position }, record.bytes);
                    }
                }
                Next::Idle => {}
                Next::ClientGone => return,
            }
        }
    });
}

fn patient(tree: &Tree, patience: Duration) -> GuestConfig {
    GuestConfig { patience, ..tree.config(None) }
}

#[test]
fn a_guest_finds_the_function_claims_a_channel_and_calls() {
    let tree = Tree::new();
    let _host = Host::start(&tree, 2, Answer::Echo);
    let config = patient(&tree, Duration::from_secs(60));
    let (client, attached) = connect(&config, WANT, Options::default()).expect("a channel");
    assert_eq!((attached.device.name.as_str(), attached.channel), (ADDRESS, 0));
    assert!(attached.bulk.is_cached() && !attached.interrupts);
    let mut caller = client.caller().expect("a slot");
    for call in 0..20_u64 {
        assert_eq!(caller.call(&call.to_le_bytes()).expect("a reply"), call.to_le_bytes());
    }
    let staged = client.stage(5000).expect("room");
    staged.write(0, &[7; 5000]).expect("inside");
    let mut back = [0; 5000];
    staged.read(0, &mut back).expect("inside");
    assert_eq!(back, [7; 5000]);
}

#[test]
fn programs_get_channels_of_their_own_until_all_are_taken_and_a_dropped_one_comes_free() {
    let tree = Tree::new();
    let _host = Host::start(&tree, 2, Answer::Echo);
    let config = patient(&tree, Duration::from_secs(60));
    let first = connect(&config, WANT, Options::default()).expect("the first");
    let second = connect(&config, WANT, Options::default()).expect("the second");
    assert_ne!(first.1.channel, second.1.channel);
    let hurried = patient(&tree, Duration::from_millis(300));
    let error = connect(&hurried, WANT, Options::default()).expect_err("both are taken");
    assert!(matches!(error, GuestError::AllTaken { channels: 2, .. }), "{error}");
    let free = first.1.channel;
    drop(first);
    let third = connect(&config, WANT, Options::default()).expect("it came free");
    assert_eq!(third.1.channel, free);
    assert_ne!(third.1.generation, second.1.generation);
}

#[test]
fn a_client_that_leaves_gives_its_channel_back_although_others_still_hold_it() {
    let tree = Tree::new();
    let host = Host::start(&tree, 1, Answer::Echo);
    let config = patient(&tree, Duration::from_secs(60));
    let (client, attached) = connect(&config, WANT, Options::default()).expect("a channel");
    host.channel(0).mark_lost();
    client.post(b"x").expect_err("lost");
    client.close();
    let (_second, again) = connect(&config, WANT, Options::default()).expect("it came free");
    assert!(again.generation > attached.generation);
    assert!(
        matches!(client.post(b"x"), Err(ChannelError::PeerDied { .. })),
        "the first error stays"
    );
}

#[test]
fn a_host_that_does_not_run_or_refuses_is_an_error_and_no_hang() {
    let tree = Tree::new();
    tree.region(ADDRESS, &[sizes()]);
    let hurried = patient(&tree, Duration::from_millis(100));
    let error = connect(&hurried, WANT, Options::default()).expect_err("nobody answers");
    assert!(matches!(error, GuestError::NoAnswer { daemon_lives: false, .. }), "{error}");
    assert!(error.to_string().contains("serve --vm"), "{error}");
    let tree = Tree::new();
    let _host = Host::start(&tree, 1, Answer::Refuse);
    let config = patient(&tree, Duration::from_secs(60));
    let error = connect(&config, WANT, Options::default()).expect_err("refused");
    assert!(matches!(error, GuestError::Refused { why: Refused::NoWorker }), "{error}");
}

#[test]
fn a_daemon_that_ends_is_waited_for_until_its_successor_answers() {
    let tree = Tree::new();
    let _host = Host::start(&tree, 1, Answer::EndFirst);
    let config = patient(&tree, Duration::from_secs(60));
    connect(&config, WANT, Options::default()).expect("the successor assigns the channel");
}

#[test]
fn a_lost_worker_and_a_new_generation_are_errors_of_the_old_client() {
    let tree = Tree::new();
    let host = Host::start(&tree, 1, Answer::Echo);
    let config = patient(&tree, Duration::from_secs(60));
    let (client, attached) = connect(&config, WANT, Options::default()).expect("a channel");
    let channel = host.channel(0);
    channel.mark_lost();
    let error = client.wait_fence(0, 1, Some(Duration::from_secs(60))).expect_err("lost");
    assert!(matches!(error, ChannelError::PeerDied { .. }), "{error}");
    channel.offer(attached.generation + 1);
    let error = client.post(b"late").expect_err("another generation");
    assert!(matches!(error, ChannelError::PeerDied { .. }), "{error}");
    client.close();
    drop(client);
    assert_eq!(channel.client_state(), (State::Absent, 0), "the new generation is untouched");
}

#[test]
fn hearts_that_rest_on_both_sides_are_a_death() {
    let tree = Tree::new();
    let host = Host::start(&tree, 1, Answer::WithoutWorker);
    let config = patient(&tree, Duration::from_secs(60));
    let (client, _) = connect(&config, WANT, Options::default()).expect("a channel");
    let stalled = client.wait_fence(0, 1, Some(Duration::from_millis(2500)));
    let error = stalled.expect_err("nobody executes");
    assert!(matches!(error, ChannelError::Deadline { .. }), "the daemon's heart beats: {error}");
    drop(host);
    let error = client.wait_fence(0, 1, Some(Duration::from_secs(100))).expect_err("dead");
    assert!(matches!(error, ChannelError::PeerDied { .. }), "{error}");
}

#[test]
fn hearts_that_rest_for_less_than_the_configured_silence_are_no_death() {
    let tree = Tree::new();
    let host = Host::start(&tree, 1, Answer::WithoutWorker);
    let config = GuestConfig {
        silence: Duration::from_secs(600),
        ..patient(&tree, Duration::from_secs(60))
    };
    let (client, _) = connect(&config, WANT, Options::default()).expect("a channel");
    drop(host);
    let stopped = client.wait_fence(0, 1, Some(2 * crate::park::HEARTBEAT_LIMIT));
    let error = stopped.expect_err("nobody executes");
    assert!(matches!(error, ChannelError::Deadline { .. }), "it may go on: {error}");
    assert!(matches!(client.health(), crate::client::Health::Stalled { .. }), "and is reported");
}

#[test]
fn a_function_that_is_unplugged_is_an_error_of_its_own() {
    let tree = Tree::new();
    let host = Host::start(&tree, 1, Answer::Echo);
    let config = patient(&tree, Duration::from_secs(60));
    let (client, _) = connect(&config, WANT, Options::default()).expect("a channel");
    client.check_up().expect("it is there");
    // The kernel takes this away first, and with it the memory.
    let memory = tree.sysfs().join("bus/pci/devices").join(ADDRESS).join("resource2");
    std::fs::remove_file(memory).expect("gone");
    // What the host's memory reads as once nobody answers for it.
    let status = (crate::layout::line::HOST_STATUS, 0, u64::MAX);
    host.channel(0).header.store(status.0, status.1, status.2, Ordering::Relaxed);
    let error = client.check_up().expect_err("what was read before was nothing");
    assert!(matches!(error, ChannelError::Unplugged), "{error}");
    let error = client.post(b"lost").expect_err("gone");
    assert!(matches!(error, ChannelError::Unplugged), "{error}");
}

#[test]
fn several_regions_none_and_a_cut_off_one_are_errors_that_name_them() {
    let tree = Tree::new();
    let host = tree.region(ADDRESS, &[sizes()]);
    tree.function("0000:00:05.0", 1 << 16);
    let find = |device: Option<&str>| super::Device::find(&tree.config(device));
    assert_eq!(find(None).expect("the only region").name, ADDRESS);
    tree.region("0000:00:04.0", &[sizes()]);
    let other = tree.sysfs().join("bus/pci/devices/0000:00:04.0/enable");
    std::fs::write(other, "1").expect("its switch");
    let error = find(None).expect_err("two");
    assert!(matches!(&error, GuestError::Several { found } if found.len() == 2), "{error}");
    assert_eq!(find(Some("0000:00:04.0")).expect("named").name, "0000:00:04.0");
    let error = find(Some("0000:00:05.0")).expect_err("zeros");
    assert!(matches!(error, GuestError::Region { .. }), "{error}");
    let lines = crate::lines::SharedLines::new(&host.0, 0, 1).expect("directory");
    lines.store(0, 2, 1 << 40, Ordering::Relaxed);
    let error = find(Some(ADDRESS)).expect_err("cut off");
    assert!(
        matches!(error, GuestError::WrongSize { expected, .. } if expected == 1 << 40),
        "{error}"
    );
    let zeros = Tree::new();
    zeros.function("0000:00:05.0", 1 << 16);
    zeros.function("0000:00:06.0", 1 << 16);
    let text = super::Device::find(&zeros.config(None)).expect_err("no magic").to_string();
    assert!(
        text.contains("0000:00:05.0") && text.contains(&format!("{DIRECTORY_MAGIC:#x}")),
        "{text}"
    );
}

#[test]
fn memory_that_is_another_region_than_the_functions_is_refused_with_what_differs() {
    let tree = Tree::new();
    let (mine, _) = tree.region(ADDRESS, &[sizes()]);
    let (other, _) = tree.region("0000:00:04.0", &[sizes()]);
    let find = |of: &str| {
        let memory = tree.sysfs().join("bus/pci/devices").join(of).join("resource2");
        super::Device::find(&GuestConfig { memory: Some(memory), ..tree.config(Some(ADDRESS)) })
    };
    let lines = |mapping| Directory::inspect(mapping, mapping.len() as u64).expect("one").lines;
    directory::beat(&lines(&mine));
    assert_eq!(find(ADDRESS).expect("the same memory").control.bytes, mine.len() as u64);
    let error = find("0000:00:04.0").expect_err("its host beats less often");
    assert!(matches!(&error, GuestError::OtherMemory { function, .. } if function == ADDRESS));
    assert!(error.to_string().contains("another heartbeat"), "{error}");
    directory::beat(&lines(&other));
    Assignments::new(lines(&other), 1).assign(0, directory::Nonce::MIN);
    let error = find("0000:00:04.0").expect_err("another program has its channel").to_string();
    assert!(error.contains("other programs"), "{error}");
}

#[test]
fn a_holder_that_ends_under_programs_is_an_error_of_their_waits_polled_or_not() {
    for by_interrupts in [true, false] {
        let tree = Tree::new();
        let host = Host::start(&tree, 1, Answer::Echo);
        let config = patient(&tree, Duration::from_secs(60));
        let mut device = super::Device::find(&config).expect("a region");
        let (life, holder) = std::io::pipe().expect("a pipe");
        let bells = vec![crate::os::EventFd::new().expect("an eventfd")];
        device.holder = Some(Arc::new(super::Interrupts::of_holder(bells, life.into())));
        device.interrupts = device.holder.clone().filter(|_| by_interrupts);
        directory::set_doorbells(&host.lines(), 1);
        let attached = super::attach(&device, &config, WANT, Options::default());
        let (client, attached) = attached.expect("a channel");
        assert_eq!(attached.interrupts, by_interrupts);
        let early = client.wait_fence(0, 1, Some(Duration::from_millis(300)));
        assert!(matches!(early, Err(ChannelError::Deadline { .. })), "it lives: {early:?}");
        drop(holder);
        let error = client.wait_fence(0, 1, Some(Duration::from_secs(60))).expect_err("it ended");
        assert!(matches!(error, ChannelError::HolderEnded), "{error}");
        assert!(error.is_final() && error.to_string().contains("ringbar vm hold"), "{error}");
    }
}

#[test]
fn a_kernel_that_maps_nothing_gives_its_reason_by_its_error_number() {
    let tree = Tree::new();
    let folder = tree.function(ADDRESS, 4096);
    let config = tree.config(None);
    let refused = |errno| {
        let source = std::io::Error::from_raw_os_error(errno);
        let function = super::functions(&tree.sysfs()).remove(0);
        let error = MapError::system("resource0", "mmap", source).into();
        super::device::why_unmapped(&function, &config, error)
    };
    assert!(matches!(refused(libc::EINVAL), GuestError::Map(_)), "nobody has it through VFIO");
    std::os::unix::fs::symlink("../../drivers/vfio-pci", folder.join("driver")).expect("bound");
    let held = refused(libc::EINVAL);
    assert!(
        matches!(held, GuestError::HeldByVfio { .. })
            && held.to_string().contains("Invalid argument")
    );
    assert!(matches!(refused(libc::ENOMEM), GuestError::Map(_)), "another reason");
    assert!(matches!(refused(libc::EPERM), GuestError::Map(_)), "no lockdown in this tree");
    std::fs::create_dir_all(tree.sysfs().join("kernel/security")).expect("room");
    let set = |modes| std::fs::write(tree.sysfs().join("kernel/security/lockdown"), modes);
    set("[none] integrity confidentiality\n").expect("a file");
    assert!(matches!(refused(libc::EPERM), GuestError::Map(_)), "not locked down");
    set("none [integrity] confidentiality\n").expect("a file");
    let error = refused(libc::EPERM);
    assert!(matches!(error, GuestError::LockedDown { .. }), "{error}");
    let setting = format!("{ADDRESS},interrupts=alone");
    assert!(
        error.to_string().contains(&setting) && GuestConfig::parse(&setting).is_ok(),
        "{error}"
    );
}

#[test]
fn a_file_alone_is_a_region_without_doorbells() {
    let tree = Tree::new();
    tree.region(ADDRESS, &[sizes()]);
    let path = tree.sysfs().join("bus/pci/devices").join(ADDRESS).join("resource2");
    let device = super::Device::find(&tree.config(path.to_str())).expect("a region");
    assert!(device.function.is_none() && matches!(device.bells, super::Bells::None));
}

#[test]
fn a_user_of_another_monitor_attaches_by_a_descriptor_and_eventfds() {
    let tree = Tree::new();
    let host = Host::start(&tree, 1, Answer::Echo);
    directory::set_doorbells(&host.lines(), 2);
    let path = tree.sysfs().join("bus/pci/devices").join(ADDRESS).join("resource2");
    let memory = std::fs::File::options().read(true).write(true).open(path).expect("a file");
    let bells =
        || (0..2).map(|_| crate::os::EventFd::new().expect("an eventfd")).collect::<Vec<_>>();
    let (to_host, own) = (bells(), bells());
    let device = super::Device::from_parts("mine", memory.into(), to_host.clone(), own);
    let config = patient(&tree, Duration::from_secs(60));
    let device = device.expect("a region");
    let attached = super::attach(&device, &config, WANT, Options::default());
    let (client, attached) = attached.expect("a channel");
    assert!(attached.interrupts && to_host[0].drain().expect("readable") > 0, "the claim rang");
    // Nobody rings this side here, so it looks again by itself.
    assert_eq!(client.caller().expect("a slot").call(b"12345678").expect("a reply"), *b"12345678");
}
