//! The service files of `executor/systemd`, what systemd is told, and what VM.md has for libvirt.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::page::{PAGE, block};
use support::{PATIENCE, RINGBAR, eventually, send_signal, success, text};

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

#[test]
fn the_unit_of_interrupts_does_what_the_page_says_and_leaves_it_to_ringbar_which_device_that_is() {
    let unit = include_str!("../systemd/ringbar-vm-hold.service");
    let started: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("ExecStart")).collect();
    let [modprobe, settle, hold] = started[..] else { panic!("{started:?}") };
    let documented = block("interrupts");
    assert_eq!(documented, "modprobe vfio-pci\nringbar vm hold --bind &\n");
    assert_eq!(modprobe, "Pre=/sbin/modprobe vfio-pci");
    assert_eq!(settle, "Pre=/usr/bin/udevadm settle");
    let arguments = hold.strip_prefix("=/usr/local/bin/ringbar ").unwrap();
    assert_eq!(arguments, "vm hold --bind");
    // A slip before it would be an error.
    success(Command::new(RINGBAR).args(arguments.split(' ')).arg("--help"));
}

/// What the udev rule runs for a device with that folder, whose files go to this process's group.
fn rule(folder: &std::path::Path) -> Command {
    let rule = include_str!("../systemd/70-ringbar.rules");
    let script = rule.split("RUN+=\"/bin/sh -c '").nth(1).unwrap().split('\'').next().unwrap();
    let group = text(&success(Command::new("id").arg("-g")).stdout);
    let script = script.replace("ringbar", group.trim());
    let mut command = Command::new("sh");
    command.arg("-c").arg(script.replace("/sys%p", folder.to_str().unwrap()));
    command
}

#[test]
fn the_udev_rule_lets_the_group_use_what_files_there_are_once_they_are_there() {
    let has_mode = |folder: &std::path::Path, name: &str| {
        folder.join(name).metadata().is_ok_and(|file| file.permissions().mode() & 0o777 == 0o660)
    };
    let make = |folder: &std::path::Path, name: &str| {
        let made = folder.join("made");
        std::fs::write(&made, "").unwrap();
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(made, folder.join(name)).unwrap();
    };
    // All of them, one that cannot be enabled (a driver has it), and no write-combining file.
    for (files, enabled) in [
        (&["resource0", "resource2", "resource2_wc"][..], true),
        (&["resource0", "resource2", "resource2_wc"], false),
        (&["resource0", "resource2"], true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| make(folder.path(), name));
        if !enabled {
            std::fs::create_dir(folder.path().join("enable")).unwrap();
        }
        rule(folder.path()).status().unwrap();
        assert!(files.iter().all(|name| has_mode(folder.path(), name)), "{files:?} {enabled}");
        let written = std::fs::read_to_string(folder.path().join("enable"));
        assert_eq!(written.ok().as_deref(), enabled.then_some("1\n"));
    }
    // It waits for a second only, in which this thread may stand still.
    let waited = |_| {
        let folder = tempfile::tempdir().unwrap();
        let mut late = rule(folder.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        ["resource0", "resource2"].iter().for_each(|name| make(folder.path(), name));
        late.wait().unwrap();
        has_mode(folder.path(), "resource2")
    };
    assert!((0..10).any(waited), "it waits");
}
