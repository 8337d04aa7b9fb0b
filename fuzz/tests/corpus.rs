//! The committed seeds are what `ringbar_fuzz::seeds` makes, run without a finding, and reach what they are meant to.

use ringbar_fuzz::{
    TARGETS, attach, commands, consume, handshake, images, input::Input, produce, reply, seeds,
};
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares, or writes if the environment asks for it.
fn agree(path: PathBuf, expected: &[u8]) {
    if std::env::var_os("RINGBAR_WRITE_SEEDS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, expected).expect("a seed is written");
    }
    let found = fs::read(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is out of date: RINGBAR_WRITE_SEEDS=1 cargo test",
        path.display()
    );
}

/// Files that are no seed any more; they are removed if the environment asks for new seeds.
fn no_others(folder: &Path, seeds: &[seeds::Seed]) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    for file in files.filter(|file| !seeds.iter().any(|(name, _)| **name == *file.file_name())) {
        let write = std::env::var_os("RINGBAR_WRITE_SEEDS").is_some();
        let removed = write && fs::remove_file(file.path()).is_ok();
        assert!(removed, "{} is no seed: RINGBAR_WRITE_SEEDS=1 cargo test", file.path().display());
    }
}

#[test]
fn the_committed_seeds_are_those_of_the_encoders() {
    let mut bytes = 0;
    for (target, _) in TARGETS {
        let all = seeds::of(target);
        assert!(all.len() >= 4, "{target}");
        no_others(&folder("corpus").join(target), &all);
        for (name, seed) in all {
            bytes += seed.len();
            agree(folder("corpus").join(target).join(name), &seed);
        }
    }
    assert!(bytes < 300 << 10, "{bytes} bytes of seeds");
}

#[test]
fn the_committed_dictionary_is_that_of_the_table() {
    agree(folder("dict").join("commands.dict"), ringbar_vocabulary::fuzz_dictionary().as_bytes());
}

#[test]
fn every_seed_runs_and_so_does_every_beginning_of_it() {
    for (target, run) in TARGETS {
        for (_, seed) in seeds::of(target) {
            let step = (seed.len() / 64).max(1);
            (0..=seed.len()).step_by(step).for_each(|end| run(&seed[..end]));
            run(&seed);
        }
    }
}

fn seed(target: &str, name: &str) -> Vec<u8> {
    let found = seeds::of(target).into_iter().find(|(seed, _)| seed == name);
    found.unwrap_or_else(|| panic!("{target} has no seed {name}")).1
}

#[test]
fn seeds_of_attach_are_attached_to_or_refused_as_they_should() {
    let channels = |name| attach::attached(&seed("attach", name));
    assert_eq!(channels("one-channel"), 1);
    assert_eq!(channels("31-channels"), 25, "as many as fit");
    assert_eq!(channels("no-magic"), 0);
    assert_eq!(channels("mapped-too-short"), 0);
    assert_eq!(channels("mapped-one-page-short"), 0);
    assert_eq!(channels("running"), 1);
}

#[test]
fn seeds_of_consume_are_popped_to_the_end() {
    let records = |name| consume::popped(&seed("consume", name));
    assert_eq!(records("raw-single-lines"), 7);
    assert_eq!(records("raw-wrap"), 6);
    assert_eq!(records("raw-long"), 2);
    assert_eq!(records("fitting-tags"), 8);
}

#[test]
fn seeds_of_produce_are_published_until_the_lie() {
    let records = |name| produce::published(&seed("produce", name));
    assert!(records("full") >= 6, "{}", records("full"));
    assert!(records("batches") >= 12, "{}", records("batches"));
    assert!(records("large") >= 8, "{}", records("large"));
}

#[test]
fn seeds_of_reply_are_taken_until_the_lie() {
    let replies = |name| reply::taken(&seed("reply", name));
    assert_eq!((replies("answers"), replies("one-bit-wrong"), replies("too-long")), (3, 1, 0));
    assert_eq!(replies("raw"), 1);
}

#[test]
fn seeds_of_handshake_are_messages() {
    for (name, seed) in seeds::of("handshake").iter().filter(|(name, _)| !name.ends_with("-body")) {
        assert!(handshake::is_message(&seed[1..], usize::from(seed[0])), "{name}");
    }
}

#[test]
fn seeds_of_images_are_images_with_kernels_or_refused_as_they_should() {
    let kernels = |name| images::kernels(&seed("images", name));
    assert_eq!(kernels("cubin"), [0, 4, 0]);
    assert_eq!(kernels("fat"), [0, 4, 4]);
    assert_eq!(kernels("ptx"), [0, 4, 4]);
    assert_eq!(kernels("small-ptx"), [0, 1, 1]);
    assert_eq!(kernels("two-entries"), [1, 1, 1]);
    assert_eq!(kernels("packed-ptx"), [0, 4, 4]);
    assert_eq!(kernels("wrong-length"), [0, 0, 0]);
    for image in [images::CUBIN, images::FAT, images::PTX] {
        assert_eq!(images::length(image), Ok(image.len()));
    }
}

#[test]
fn seeds_of_commands_are_commands_and_a_session_that_goes_to_its_end() {
    for (name, seed) in seeds::of("commands").iter().filter(|(_, seed)| seed[0] == 0) {
        commands::one(&seed[1..]).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let session = seed("commands", "session");
    let (executed, failures) = commands::executed(&mut Input::new(&session[1..]));
    assert_eq!((executed, failures), (21, 0), "commands, and failed ones among them");
}
