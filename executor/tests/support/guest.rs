//! Real guests: QEMU (over KVM where that boots a kernel, else emulated), a distribution's kernel, an initramfs with ringbar's
//! own binary and the test's script.

use super::lacking::lacks;
use super::page::block;
use super::{PATIENCE, eventually};
use ringbar::guest::Machine;
use ringbar::os::{Mapping, PeerTrust};
use ringbar::sync::{Arc, AtomicBool, Ordering};
use ringbar_benches::exchange::{self, Exchange};
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The variable that names the folder with kernel and initramfs that `.ci/vm` prepares.
pub const VARIABLE: &str = "RINGBAR_VM_TESTS";
/// How long a guest may take for anything that has to happen.
const GUEST_PATIENCE: Duration = Duration::from_secs(240);

/// `required` where QEMU and a kernel must be there: a test that lacks them fails.
const GUESTS: &str = "RINGBAR_GUESTS";

/// Where kernel and initramfs lie; `None`, said by name, if there are none here.
///
/// # Panics
/// If there must be.
pub fn prepared() -> Option<PathBuf> {
    let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
    if folder.is_none() {
        let why = "there is no QEMU here; try: .ci/vm, which installs it and runs this test";
        lacks(GUESTS, why);
    }
    folder
}

/// What runs guests here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM, which booted the kernel for `.ci/vm`.
    Kvm,
    /// QEMU emulates the processor.
    Tcg,
}

impl Accelerator {
    /// As `.ci/vm` found out, which wrote it beside the kernel with the reason.
    pub fn of(folder: &Path) -> Self {
        let said = std::fs::read_to_string(folder.join("accelerator")).unwrap_or_default();
        if said.starts_with("kvm") { Self::Kvm } else { Self::Tcg }
    }

    /// QEMU's arguments. Never both in one command: it hangs where KVM answers and boots nothing.
    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg", "-cpu", "max"],
        }
    }

    /// Whether a guest has the memory type that it asks for, so that the BAR is not cached and `vm check` says so: KVM on AMD.
    pub fn honours_memory_types(self) -> bool {
        self == Self::Kvm && Machine::here().vendor == "AuthenticAMD"
    }
}

/// Checks the way to the host, and goes on whatever that says.
pub const CHECK: &str = "ringbar vm check --patience 60s || echo the check failed";

/// Fails if a check found a fault, but for memory where the processor makes it so.
pub fn assert_checked(folder: &Path, console: &str) {
    let excused =
        |line: &&str| line.contains("✘ memory") && Accelerator::of(folder).honours_memory_types();
    let faults: Vec<_> = console.lines().filter(|line| line.contains('✘')).collect();
    assert!(faults.iter().all(excused), "{console}");
    let said = if faults.is_empty() { "all well" } else { "the check failed" };
    assert!(console.contains('✔') && console.contains(said), "{console}");
}

/// What a guest is started with.
pub struct Boot<'t> {
    /// The folder of [`prepared`].
    pub folder: PathBuf,
    /// The socket of the VM's device.
    pub socket: &'t Path,
    /// What the guest does.
    pub script: &'t str,
    /// Whether there is a virtual IOMMU, and VFIO's modules are loaded.
    pub vfio: bool,
    /// Whether a part of its memory is a persistent one, and the modules for DAX devices are loaded.
    pub dax: bool,
    /// Whether the device, `rb0` with the character device `rb`, can be unplugged from its root port `rp0`.
    pub pluggable: bool,
    /// Whether QEMU goes on when the guest is reset or ends, with another boot.
    pub reboots: bool,
    /// Further arguments of QEMU.
    pub arguments: &'t [&'t str],
}

impl<'t> Boot<'t> {
    /// A guest with the device, without VFIO.
    pub fn new(folder: PathBuf, socket: &'t Path, script: &'t str) -> Self {
        Self {
            folder,
            socket,
            script,
            vfio: false,
            dax: false,
            pluggable: false,
            reboots: false,
            arguments: &[],
        }
    }
}

/// QEMU's arguments of that block of VM.md, with this socket.
fn documented(name: &str, socket: &Path) -> Vec<String> {
    let block = block(name).replace("/run/ringbar/vm1.sock", socket.to_str().unwrap());
    let words = block.split_whitespace().filter(|word| *word != "\\");
    words.skip_while(|word| !word.starts_with('-')).map(str::to_owned).collect()
}

/// QEMU with the documented device and without any guest: whether it starts, and what it says.
pub fn qemu_without_guest(socket: &Path) -> Output {
    let mut command = Command::new("qemu-system-x86_64");
    command.args("-S -nodefaults -no-user-config -display none -machine q35 -accel tcg".split(' '));
    command.args(documented("qemu", socket)).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = eventually(|| child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended, "QEMU neither starts nor ends");
    output
}

/// A guest that runs.
pub struct Guest {
    child: Child,
    folder: TempDir,
}

impl Guest {
    /// Boots.
    pub fn boot(boot: &Boot<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let initrd = folder.path().join("initrd");
        let mut archive = std::fs::read(boot.folder.join("guest.cpio")).unwrap();
        let mut files = vec![("test.sh", boot.script.as_bytes())];
        if boot.vfio {
            files.push(("with-vfio", b"yes"));
        }
        if boot.dax {
            files.push(("with-dax", b"yes"));
        }
        archive.extend(cpio(&files));
        File::create(&initrd).unwrap().write_all(&archive).unwrap();
        let mut command = Command::new("qemu-system-x86_64");
        command.args("-m 768 -nodefaults -no-user-config -display none".split(' '));
        if !boot.reboots {
            command.arg("-no-reboot");
        }
        command.args(Accelerator::of(&boot.folder).arguments());
        if boot.vfio {
            command.args(documented("qemu-interrupts", boot.socket));
        } else {
            command.args(["-machine", "q35"]);
        }
        let device = if boot.pluggable { "qemu-pluggable" } else { "qemu" };
        command.args(documented(device, boot.socket));
        command.args(boot.arguments);
        command.arg("-kernel").arg(boot.folder.join("vmlinuz")).arg("-initrd").arg(&initrd);
        let iommu = if boot.vfio { " intel_iommu=on" } else { "" };
        let dax = if boot.dax { " memmap=64M!512M" } else { "" };
        let append = format!("console=ttyS0 quiet panic=-1 no_timer_check{iommu}{dax}");
        command.args(["-append", &append]);
        let console = folder.path().join("console");
        command.args(["-serial", &format!("file:{}", console.display())]);
        let monitor = folder.path().join("monitor");
        command.args(["-monitor", &format!("unix:{},server=on,wait=off", monitor.display())]);
        let log = File::create(folder.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, folder }
    }

    /// All that the guest wrote so far.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until the guest has written a text so many times.
    pub fn wait_for(&mut self, text: &str, times: usize) {
        let end = Instant::now() + GUEST_PATIENCE;
        while self.console().matches(text).count() < times {
            let ended = self.child.try_wait().unwrap();
            let late = Instant::now() > end;
            let found = self.console().matches(text).count() >= times;
            assert!(
                found || !(late || ended.is_some()),
                "no {text:?}, QEMU {ended:?}\n{}\n{}",
                self.console(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether QEMU has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the guest's script succeeded.
    pub fn succeed(mut self) -> String {
        let end = Instant::now() + GUEST_PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(Instant::now() < end, "the guest does not end\n{}", self.console());
            std::thread::sleep(Duration::from_millis(10));
        };
        let console = self.console();
        assert_eq!(status, Some(0), "\n{console}\n{}", self.log());
        assert!(console.contains("guest: the script ended with 0"), "{console}");
        console
    }

    /// Ends QEMU without a word to the guest.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Says something to QEMU.
    pub fn monitor(&self, line: &str) {
        let path = self.folder.path().join("monitor");
        let mut socket = None;
        assert!(eventually(|| {
            socket = UnixStream::connect(&path).ok();
            socket.is_some()
        }));
        let mut socket = socket.unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(socket, "{line}").unwrap();
        // It answers with another prompt once it is done.
        let mut seen = Vec::new();
        let mut part = [0; 4096];
        while String::from_utf8_lossy(&seen).matches("(qemu)").count() < 2 {
            let got = std::io::Read::read(&mut socket, &mut part).unwrap();
            assert!(got > 0, "QEMU's monitor hung up");
            seen.extend(&part[..got]);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory for an `ivshmem-plain`, and a thread of the host that answers a guest's requests in it, without any ring.
pub struct Raw {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    answering: Option<JoinHandle<()>>,
}

impl Raw {
    pub fn start(path: &Path) -> std::io::Result<Self> {
        File::create(path)?.set_len(exchange::BYTES)?;
        let mapping = Mapping::file(path, PeerTrust::Own).map_err(std::io::Error::other)?;
        let exchange = Exchange::over(mapping).ok_or(std::io::ErrorKind::InvalidData)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let answering = Some(std::thread::spawn(move || exchange.answer(&stopped)));
        Ok(Self { path: path.to_owned(), stop, answering })
    }

    /// The value of QEMU's `-object`, whose name is `raw`.
    pub fn backend(&self) -> String {
        format!("memory-backend-file,id=raw,size=1M,share=on,mem-path={}", self.path.display())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that panicked answered nobody, which the guest has told.
        let _ = self.answering.take().map(JoinHandle::join);
    }
}

/// A further archive behind the first one, as the kernel takes them.
fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    let trailer = ("TRAILER!!!", &b""[..]);
    for (inode, (name, bytes)) in files.iter().chain([&trailer]).enumerate() {
        let fields = [inode + 1, 0o100_755, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len() + 1, 0];
        archive.extend(b"070701");
        fields.iter().for_each(|field| archive.extend(format!("{field:08x}").bytes()));
        archive.extend(name.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(*bytes);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}
