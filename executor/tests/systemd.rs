//! The service files of `executor/systemd`, what systemd is told, and what VM.md has for libvirt.

mod support;

use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use support::page::{PAGE, block};
use support::{PATIENCE, RINGBAR, eventually, send_signal};

#[test]
fn systemd_is_told_that_serve_is_ready_once_monitors_can_connect() {
    let folder = tempfile::tempdir().unwrap();
    let (told, device) = (folder.path().join("notify"), folder.path().join("vm"));
    let manager = UnixDatagram::bind(&told).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut serve = Command::new(RINGBAR);
    serve.args(["serve", "--backend", "mock", "--device-memory", "64MiB", "--vm", "vm", "--size"]);
    serve.arg("16MiB").arg("--socket").arg(&device).env("NOTIFY_SOCKET", &told);
    let mut serve = serve.stdin(Stdio::null()).spawn().unwrap();
    let mut text = [0; 64];
    let bytes = manager.recv(&mut text).expect("it is told");
    let connected = UnixStream::connect(&device).map(drop);
    send_signal(serve.id(), "TERM");
    let ended = eventually(|| serve.try_wait().unwrap().is_some());
    assert_eq!(&text[..bytes], b"READY=1\n");
    assert!(connected.is_ok(), "{connected:?}");
    assert!(ended, "it ends in order");
}

#[test]
fn the_page_quotes_the_unit_and_the_udev_rule_as_they_are() {
    for file in
        [include_str!("../systemd/ringbar@.service"), include_str!("../systemd/70-ringbar.rules")]
    {
        let indent =
            |line: &str| if line.is_empty() { "\n".into() } else { format!("    {line}\n") };
        let quoted: String = file.lines().map(indent).collect();
        assert!(PAGE.contains(&quoted), "VM.md does not quote this:\n{file}");
    }
}

#[test]
fn the_snippet_for_libvirt_is_the_device_of_the_line_for_qemu() {
    let (snippet, line) = (block("libvirt"), block("qemu"));
    let between = |text: &str, before: &str, after: &[char]| {
        let behind = text.split_once(before).map(|(_, behind)| behind);
        let found = behind.and_then(|behind| behind.split(after).next()).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no {before} in {text}"))
    };
    let path = between(&snippet, "<server path='", &['\'']);
    assert_eq!(path, between(&line, "path=", &[',', ' ', '\n']));
    let vectors = between(&snippet, "<msi vectors='", &['\'']);
    assert_eq!(vectors, between(&line, "vectors=", &[',', ' ', '\n']));
    let model = between(&snippet, "<model type='", &['\'']);
    assert!(line.contains(&format!("-device {model},")), "{model} in {line}");
}
