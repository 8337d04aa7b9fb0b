//! A VM's monitor and its guest's programs, played by the test: the device's socket, memory and doorbells without a VM.

use super::{PATIENCE, RINGBAR, eventually};
use ringbar::arena::Arena;
use ringbar::client::{Client, ClientConfig};
use ringbar::directory::{self, Nonce};
use ringbar::lines::SharedLines;
use ringbar::link::Options;
use ringbar::os::{EventFd, EventFdDoorbell, Mapping};
use ringbar::park::PolledPark;
use ringbar::region::{self, Channel, Expect, State};
use ringbar::spin::SpinBudget;
use ringbar::wake::WakeMode;
use ringbar_executor::attach::{AttachError, encoded};
use ringbar_executor::status::{self, ClientStatus, Status, VmStatus};
use ringbar_executor::vm::ivshmem::REFUSAL;
use ringbar_vocabulary::{ReplyBody, SyncCommand, VOCABULARY_HASH};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// A `ringbar serve --vm` process, which may be killed and started again.
pub struct VmServer {
    pub child: Child,
    folder: TempDir,
    options: String,
}

impl VmServer {
    /// Serves the VM `vm` with further options, separated by blanks; `@` in them is the server's folder.
    pub fn start(options: &str) -> Self {
        Self::start_with("--device-memory 64MiB --size 16MiB", options)
    }

    /// As [`start`](Self::start), with other sizes than the small ones.
    pub fn start_with(sizes: &str, options: &str) -> Self {
        let server = Self::try_start(sizes, options);
        server.wait_until_up();
        server
    }

    /// As [`start_with`](Self::start_with), and does not wait until it answers: it may never do so.
    pub fn try_start(sizes: &str, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("{sizes} {}", options.replace('@', folder.path().to_str().unwrap()));
        Self { child: Self::spawn(&folder, &options), folder, options }
    }

    /// As [`start`](Self::start), with the log as it is unless somebody asks for more.
    pub fn start_quietly(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("--device-memory 64MiB --size 16MiB {options}");
        let mut command = Self::command(&folder, &options);
        let child = command.env_remove("RUST_LOG").spawn().unwrap();
        let server = Self { child, folder, options };
        server.wait_until_up();
        server
    }

    fn spawn(folder: &TempDir, options: &str) -> Child {
        Self::command(folder, options).spawn().unwrap()
    }

    fn command(folder: &TempDir, options: &str) -> Command {
        let log =
            File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut command = Command::new(RINGBAR);
        command
            .args(["serve", "--backend", "mock", "--vm", "vm", "--socket"])
            .arg(folder.path().join("vm"));
        command.args(options.split_whitespace());
        // A group of its own, which a test may kill as a whole.
        command.process_group(0).env("RUST_LOG", "info").stdin(Stdio::null());
        command.stderr(log);
        command
    }

    fn wait_until_up(&self) {
        let up = || status::query(&self.socket()).is_ok();
        assert!(eventually(up), "the daemon does not start: {}", self.log());
    }

    /// Kills the daemon as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again with the same options, and again where it ends because its predecessor is not quite gone yet.
    pub fn restart(&mut self) {
        let (folder, options, socket) = (&self.folder, &self.options, self.socket());
        let log = folder.path().join("log");
        super::start_again(&mut self.child, || Self::spawn(folder, options), &log, &socket);
    }

    /// Starts it again with only these of its options.
    pub fn restart_with(&mut self, options: &str) {
        self.options = options.into();
        self.restart();
    }

    /// The daemon, its holders and its workers, as far as they live, and those of daemons before it.
    pub fn processes(&self) -> Vec<u32> {
        let all = super::processes(&self.folder.path().join("log")).into_iter();
        all.filter(|&pid| super::is_running(pid)).collect()
    }

    /// Asks it to end, and waits for that.
    pub fn end(&mut self) {
        super::send_signal(self.child.id(), "TERM");
        assert!(eventually(|| self.child.try_wait().unwrap().is_some()), "{}", self.log());
    }

    pub fn socket(&self) -> PathBuf {
        self.socket_of("vm")
    }

    /// The device socket of that VM.
    pub fn socket_of(&self, vm: &str) -> PathBuf {
        self.folder.path().join(vm)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn status(&self) -> Status {
        status::query(&self.socket()).unwrap()
    }

    pub fn vm(&self) -> VmStatus {
        self.status().daemon.vms.remove(0)
    }

    /// The client of that channel, if somebody has it.
    pub fn client(&self, channel: usize) -> Option<ClientStatus> {
        self.client_of("vm", channel)
    }

    /// The client of that VM's channel, if somebody has it.
    pub fn client_of(&self, vm: &str, channel: usize) -> Option<ClientStatus> {
        let is_it = |client: &ClientStatus| {
            client.vm.as_deref() == Some(vm) && client.channel == Some(channel)
        };
        self.status().clients.into_iter().find(is_it)
    }

    /// Commands that the worker of that VM's first channel has executed, as it last said.
    pub fn executed(&self, vm: &str) -> u64 {
        self.client_of(vm, 0).map_or(0, |client| client.counters.commands_executed)
    }
}

impl Drop for VmServer {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            super::send_signal(self.child.id(), "TERM");
            if !eventually(|| self.child.try_wait().unwrap().is_some()) {
                self.kill();
            }
        }
        // What a killed daemon, or one that was told to, left in place.
        for vm in ["vm", "other"] {
            let mut end = Command::new(RINGBAR);
            let _ = end.args(["vm", "end", "--force", "--socket"]).arg(self.socket_of(vm)).output();
        }
    }
}

/// The file that the memory of a holder's device is.
pub fn region_file(holder: u32) -> PathBuf {
    let files = std::fs::read_dir(format!("/proc/{holder}/fd")).unwrap().flatten();
    let is_region = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("ringbar-vm-"))
    };
    files.map(|file| file.path()).find(is_region).unwrap()
}

/// A monitor's connection.
pub struct Monitor {
    pub connection: UnixStream,
    pub memory: OwnedFd,
    pub to_host: Vec<EventFd>,
    pub to_guest: Vec<EventFd>,
    pub mapping: Arc<Mapping>,
    pub directory: SharedLines,
}

fn receive(socket: &UnixStream) -> Option<(i64, Option<OwnedFd>)> {
    let mut bytes = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(socket, &mut buffers, &mut control, flags).ok()?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (received.bytes == 8).then(|| (i64::from_le_bytes(bytes), fd))
}

impl Monitor {
    /// Connects as QEMU does; `None` if it is refused.
    pub fn connect(server: &VmServer) -> Option<Self> {
        Self::connect_at(&server.socket())
    }

    /// The same at a device's socket.
    pub fn connect_at(socket: &Path) -> Option<Self> {
        let connection = UnixStream::connect(socket).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        match receive(&connection)?.0 {
            0 => {}
            REFUSAL => return None,
            other => panic!("found version {other}"),
        }
        assert_eq!(receive(&connection)?.0, 1, "the guest's number");
        let (memory, fd) = receive(&connection)?;
        assert_eq!(memory, -1);
        let memory = fd.unwrap();
        let bells = |peer: i64| -> Vec<EventFd> {
            let bell = |_| {
                let (found, fd) = receive(&connection).unwrap();
                assert_eq!(found, peer);
                EventFd::from_fd(fd.unwrap()).unwrap()
            };
            (0..4).map(bell).collect()
        };
        let (to_host, to_guest) = (bells(0), bells(1));
        let mapping = Arc::new(Mapping::memfd_attach(&memory).unwrap());
        let directory = region::directory_lines(&mapping).unwrap();
        Some(Self { connection, memory, to_host, to_guest, mapping, directory })
    }

    /// The same once the monitor before is gone.
    pub fn connect_patiently(server: &VmServer) -> Self {
        let mut monitor = None;
        assert!(eventually(|| {
            monitor = Self::connect(server);
            monitor.is_some()
        }));
        monitor.unwrap()
    }

    /// A guest program that asks for the first free channel until it is answered.
    pub fn claim(&self, nonce: u64) -> Program {
        let nonce = Nonce::new(nonce).unwrap();
        let mut channel = None;
        let claimed = eventually(|| {
            channel = channel.or_else(|| directory::seems_free(&self.directory, 3));
            let Some(index) = channel else { return false };
            directory::claim(&self.directory, index, nonce);
            self.to_host[0].signal().unwrap();
            let assigned = || directory::is_assigned(&self.directory, index, nonce);
            let refused = || directory::refusal(&self.directory, index, nonce).is_some();
            eventually(|| assigned() || refused()) && assigned()
        });
        assert!(claimed, "no channel");
        self.attach(channel.unwrap(), nonce)
    }

    /// A channel's state, as the host says.
    pub fn host_state(&self, index: usize) -> State {
        let want = Expect { vocabulary_hash: VOCABULARY_HASH, ..Expect::default() };
        let place = region::inspect(&self.mapping, index, want).unwrap();
        Channel::open(&self.mapping, place).unwrap().host_state().0
    }

    /// The program that has `channel`.
    pub fn attach(&self, index: usize, nonce: Nonce) -> Program {
        let want = Expect { vocabulary_hash: VOCABULARY_HASH, ..Expect::default() };
        let bell = self.to_host[usize::from(directory::vector(index, 4))].clone();
        let place = region::inspect(&self.mapping, index, want).unwrap();
        let channel = Channel::open(&self.mapping, place).unwrap();
        // Anywhere: several tests of one process cannot all have the address that a guest program has.
        let (offset, bytes) =
            (place.offset + place.identity.arena_offset, place.identity.arena_bytes);
        let arena = self.mapping.subrange(offset as usize, bytes as usize).unwrap();
        let generation = channel.host_state().1;
        let options = Options::default();
        let client = Client::attach(ClientConfig {
            channel: channel.clone(),
            generation,
            arena: Arc::new(Arena::new(arena)),
            plan: options.plan,
            doorbell: Arc::new(EventFdDoorbell(bell)),
            park: Box::new(PolledPark::default()),
            wake: WakeMode::Fence,
            spin: SpinBudget::default(),
            limits: options.limits,
            heartbeat: Some(|| ()),
        });
        Program { client: client.unwrap(), channel, index, generation, nonce }
    }
}

/// A program in the guest.
pub struct Program {
    pub client: Client,
    pub channel: Channel,
    pub index: usize,
    pub generation: u32,
    pub nonce: Nonce,
}

impl Program {
    pub fn call<C: SyncCommand>(&self, command: C) -> Result<C::Reply, AttachError> {
        let mut caller = self.client.caller()?;
        Ok(C::Reply::decode(caller.call(&encoded(command))?)??)
    }

    pub fn host_state(&self) -> State {
        self.channel.host_state().0
    }

    /// Leaves in order.
    pub fn leave(self, monitor: &Monitor) {
        self.client.close();
        drop(self.client);
        directory::give_back(&monitor.directory, self.index, self.nonce);
        monitor.to_host[0].signal().unwrap();
    }
}
