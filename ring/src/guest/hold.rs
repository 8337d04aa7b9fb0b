//! One process that has the function's VFIO group for all programs of the machine, and hands its interrupts on.
//!
//! A group has one owner, and when that ends, the kernel turns the function's memory off for a moment: what others write
//! meanwhile is lost. So an owner is either alone, or one that does nothing else and stays.

use super::discovery::Function;
use super::vfio::{Interrupts, Vfio};
use super::{GuestConfig, GuestError, device, look};
use crate::handshake::transport::{Deadline, connect_until, wait_until};
use crate::os::doorbell::EventFd;
use crate::os::liveness::poll_now;
use crate::os::map_error::MapError;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::fs::Permissions;
use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Eventfds in one message.
const BELLS_MAX: usize = 32;
/// Connections that wait to be answered; each takes microseconds.
const BACKLOG: i32 = 64;
/// Time for a holder to answer, at most: it does nothing else.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Pause before another accept, where one failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time between two looks at who has channels.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What a holder says with its descriptors: another byte if their meaning changes.
const VERSION: u8 = 2;

fn socket_path(address: &str, config: &GuestConfig) -> PathBuf {
    config.run.join(address)
}

fn socket(more: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | more;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The interrupts that a holder gives; `None` if none runs. Waits for half of the patience at most.
pub(super) fn from_holder(
    address: &str,
    config: &GuestConfig,
) -> Result<Option<Interrupts>, GuestError> {
    let path = socket_path(address, config);
    let limit = ANSWER_MAX.min(config.patience / 2);
    let (begun, deadline) = (Instant::now(), Deadline::after(limit));
    let failed = |action| {
        let path = path.clone();
        move |e: Errno| match e {
            Errno::TIMEDOUT => {
                let found = format!("no answer within {:?}", begun.elapsed());
                GuestError::Holder { path, found }
            }
            e => GuestError::Map(MapError::system(path.display().to_string(), action, e)),
        }
    };
    let socket = match connect(&path, deadline) {
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        other => other.map_err(failed("connect"))?,
    };
    match wait_until(socket.as_fd(), PollFlags::IN, deadline) {
        Ok(true) => {}
        Ok(false) => return Err(failed("poll")(Errno::TIMEDOUT)),
        Err(e) => return Err(failed("poll")(e)),
    }
    let said = receive(&socket).map_err(failed("receiving eventfds"))?;
    let mut fds = said.fds.into_iter();
    match (said.version, fds.next()) {
        // A holder that is just ending gives nothing.
        (None, _) => Ok(None),
        (Some(VERSION), None) => Err(GuestError::LostDescriptors { path }),
        (Some(VERSION), _) if said.incomplete => Err(GuestError::LostDescriptors { path }),
        (Some(VERSION), Some(life)) => {
            let bells = fds.map(EventFd::from_fd).collect::<io::Result<Vec<_>>>();
            let bells =
                bells.map_err(|e| GuestError::Map(MapError::system("eventfd", "fcntl", e)))?;
            Ok(Some(Interrupts::of_holder(bells, life)))
        }
        (Some(version), _) => {
            let found = format!("found version {version}, expected {VERSION}");
            Err(GuestError::Holder { path, found })
        }
    }
}

/// A connection that never blocks; `TIMEDOUT` if the holder takes none until the deadline.
fn connect(path: &Path, deadline: Deadline) -> rustix::io::Result<OwnedFd> {
    let name = SocketAddrUnix::new(path)?;
    let socket = socket(SocketFlags::NONBLOCK)?;
    let late = |e| if e == Errno::AGAIN { Errno::TIMEDOUT } else { e };
    connect_until(&socket, &name, deadline).map_err(late)?;
    Ok(socket)
}

/// A holder's message.
struct Said {
    /// Nothing if it hung up.
    version: Option<u8>,
    fds: Vec<OwnedFd>,
    /// This process could not take all of them.
    incomplete: bool,
}

fn receive(socket: &OwnedFd) -> rustix::io::Result<Said> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BELLS_MAX + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    let got = rustix::net::recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    let incomplete = got.flags.contains(ReturnFlags::CTRUNC);
    Ok(Said { version: (got.bytes > 0).then_some(byte[0]), fds, incomplete })
}

/// What tells all programs of a holder's end, without a word between them: a pipe whose reading end each of them has.
/// It hangs up when the holder ends, however that ends, and holds a byte if the function is to be unplugged.
struct Life {
    theirs: PipeReader,
    own: PipeWriter,
}

impl Life {
    fn new() -> io::Result<Self> {
        let (theirs, own) = io::pipe()?;
        Ok(Self { theirs, own })
    }

    fn unplugged(&mut self) -> io::Result<()> {
        self.own.write_all(&[1])
    }
}

/// What became of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HolderEnd {
    /// It ended, or was ended.
    Gone,
    /// It gives the function back, which is unplugged.
    Unplugged,
}

/// What the reading end of a [`Life`] tells, at once; `None` while its holder lives.
pub(super) fn end_of(life: &OwnedFd) -> Option<HolderEnd> {
    match poll_now(life.as_fd(), PollFlags::IN) {
        Ok(found) if found.contains(PollFlags::IN) => Some(HolderEnd::Unplugged),
        Ok(found) if !found.is_empty() => Some(HolderEnd::Gone),
        _ => None,
    }
}

fn send(socket: &OwnedFd, life: &Life, bells: &[EventFd]) -> rustix::io::Result<()> {
    let bells = bells.iter().take(BELLS_MAX).map(AsFd::as_fd);
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(life.theirs.as_fd()).chain(bells).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BELLS_MAX + 1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::MSGSIZE);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(&[VERSION])], &mut control, flags).map(drop)
}

/// Has the function that `config` names (or the only one that holds a region) and hands its interrupts to whoever
/// connects, until the function is to be unplugged or `stop` is readable. `ready` is called with the socket's path. With
/// `bind` the function is enabled and bound to vfio-pci first, unless a driver has it.
///
/// Waits for the patience of `config` at most until no program has a channel of the function.
///
/// # Errors
/// If there is no such function or several, it is not bound to vfio-pci, programs have channels of it
/// ([`GuestError::ProgramsRun`]), another process has its group, or the socket cannot be made.
pub fn hold(
    config: &GuestConfig,
    bind: bool,
    stop: BorrowedFd<'_>,
    ready: impl FnOnce(&Path),
) -> Result<(), GuestError> {
    let function = look::the_one(config)?;
    until_nobody_has(&function, config)?;
    let function = &bound(function, bind, config)?;
    let vfio = Vfio::open(function, config)?;
    let path = socket_path(&function.address, config);
    let subject = path.display().to_string();
    let failed = |action| {
        let subject = subject.clone();
        move |e: io::Error| GuestError::Map(MapError::system(subject, action, e))
    };
    let listener = listen(&path, config).map_err(failed("listening"))?;
    let mut life = Life::new().map_err(failed("making a pipe"))?;
    share(&path, &function.folder.join("resource2")).map_err(failed("sharing"))?;
    ready(&path);
    let accept = || rustix::net::accept_with(&listener, SocketFlags::CLOEXEC);
    let served = serve(listener.as_fd(), accept, &vfio.interrupts, &mut life, stop);
    let served = served.map_err(failed("serving"));
    // A successor makes its own.
    let _ = std::fs::remove_file(&path);
    served
}

/// Waits until no program has a channel of the function, unless it is held already: then nothing can be taken away.
fn until_nobody_has(function: &Function, config: &GuestConfig) -> Result<(), GuestError> {
    let begun = Instant::now();
    while device::others_run(function) && matches!(from_holder(&function.address, config), Ok(None))
    {
        let waited = begun.elapsed();
        if waited >= config.patience {
            return Err(GuestError::ProgramsRun { name: function.address.clone(), waited });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// The function, bound to vfio-pci.
fn bound(function: Function, bind: bool, config: &GuestConfig) -> Result<Function, GuestError> {
    let now = if bind && function.driver.is_none() {
        // Looking at it may have enabled it. Once a driver has it, only that can.
        function.again().as_ref().unwrap_or(&function).enable()?;
        function.bind(&config.sysfs)?.unwrap_or(function)
    } else {
        function
    };
    if now.is_vfio() {
        return Ok(now);
    }
    Err(GuestError::NotBound { name: now.address, driver: now.driver })
}

fn listen(path: &Path, config: &GuestConfig) -> io::Result<OwnedFd> {
    std::fs::create_dir_all(&config.run)?;
    // This process has the group, so a socket that is there belongs to nobody.
    let _ = std::fs::remove_file(path);
    let listener = socket(SocketFlags::empty())?;
    rustix::net::bind(&listener, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Whoever may map the function may have its interrupts: same group, same mode.
fn share(path: &Path, like: &Path) -> io::Result<()> {
    let file = std::fs::metadata(like)?;
    std::os::unix::fs::chown(path, None, Some(file.gid()))?;
    std::fs::set_permissions(path, Permissions::from_mode(file.mode() & 0o777))
}

/// Errors of one accept after which the next one may succeed: the machine, or this process, is short of something.
const fn passes(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
}

fn serve(
    listener: BorrowedFd<'_>,
    mut accept: impl FnMut() -> rustix::io::Result<OwnedFd>,
    all: &Interrupts,
    life: &mut Life,
    stop: BorrowedFd<'_>,
) -> io::Result<()> {
    loop {
        let release = all.release().map_or(stop, AsFd::as_fd);
        let watched = [listener, stop, release];
        let mut fds = watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match rustix::event::poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let [_, stopped, released] = fds.map(|fd| !fd.revents().is_empty());
        if stopped {
            return Ok(());
        }
        if released {
            return life.unplugged();
        }
        match accept() {
            // A program that hung up meanwhile hurts itself only.
            Ok(program) => drop(send(&program, life, all.bells())),
            Err(Errno::CONNABORTED | Errno::INTR | Errno::AGAIN) => {}
            // Ending here would take the memory away from every program.
            Err(error) if passes(error) => {
                tracing::warn!(%error, "a program waits for its interrupts; trying again");
                std::thread::sleep(ACCEPT_PAUSE);
            }
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Tree;
    use super::*;
    use crate::directory::{Assignments, Nonce};
    use crate::region::Directory;
    use crate::testing::small_sizes;
    use std::os::unix::fs::symlink;

    fn serve_all(
        listener: &OwnedFd,
        all: &Interrupts,
        life: &mut Life,
        stop: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let accept = || rustix::net::accept_with(listener, SocketFlags::CLOEXEC);
        serve(listener.as_fd(), accept, all, life, stop)
    }

    fn held(config: &GuestConfig, bind: bool) -> GuestError {
        let stop = EventFd::new().expect("an eventfd");
        let never = |_: &Path| panic!("there is no VFIO here");
        hold(config, bind, stop.as_fd(), never).expect_err("there is no VFIO here")
    }

    fn text_of(path: PathBuf) -> Option<String> {
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    }

    #[test]
    fn the_function_that_holds_a_region_is_bound_and_one_of_somebody_else_is_left_alone() {
        let tree = Tree::new();
        let foreign = tree.function("0000:00:03.0", 1 << 16);
        let memory_is_on = [0xf4, 0x1a, 0x10, 0x11, 2, 0, 0, 0];
        std::fs::write(foreign.join("config"), memory_is_on).expect("room");
        symlink("../../drivers/vfio-pci", foreign.join("driver")).expect("bound");
        let _host = tree.region("0000:00:04.0", &[small_sizes()]);
        let pci = tree.sysfs().join("bus/pci");
        let ours = pci.join("devices/0000:00:04.0");
        std::fs::write(ours.join("config"), memory_is_on).expect("room");
        let is_ours = |error: &GuestError| matches!(error, GuestError::NotBound { name, .. } if name == "0000:00:04.0");
        let error = held(&tree.config(None), false);
        assert!(is_ours(&error) && error.to_string().contains("--bind"), "{error}");
        assert_eq!(text_of(ours.join("enable")).as_deref(), Some("0"), "it was only to look");
        // No kernel takes the words here.
        let error = held(&tree.config(None), true);
        assert!(is_ours(&error), "{error}");
        assert_eq!(text_of(ours.join("driver_override")).as_deref(), Some("vfio-pci"));
        assert_eq!(text_of(pci.join("drivers_probe")).as_deref(), Some("0000:00:04.0"));
        assert_eq!(text_of(ours.join("enable")).as_deref(), Some("1"));
        assert_eq!(text_of(foreign.join("driver_override")), None);
        assert_eq!(text_of(foreign.join("enable")).as_deref(), Some("0"));
    }

    #[test]
    fn of_several_regions_none_is_held_and_a_named_function_is_unless_another_driver_has_it() {
        let tree = Tree::new();
        let _hosts = ["0000:00:03.0", "0000:00:04.0"].map(|address| {
            let host = tree.region(address, &[small_sizes()]);
            let folder = tree.sysfs().join("bus/pci/devices").join(address);
            std::fs::write(folder.join("enable"), "1").expect("its switch");
            host
        });
        let error = held(&tree.config(None), true);
        assert!(matches!(&error, GuestError::Several { found } if found.len() == 2), "{error}");
        let folder = tree.sysfs().join("bus/pci/devices/0000:00:04.0");
        symlink("../../drivers/uio_ivshmem", folder.join("driver")).expect("bound");
        let error = held(&tree.config(Some("0000:00:04.0")), true).to_string();
        assert!(error.contains("0000:00:04.0 is not bound") && error.contains("uio_ivshmem"));
        assert_eq!(text_of(folder.join("driver_override")), None);
    }

    #[test]
    fn the_group_stays_closed_while_a_program_has_a_channel_and_is_opened_once_none_has() {
        let tree = Tree::new();
        let (mapping, _) = tree.region("0000:00:03.0", &[small_sizes()]);
        let folder = tree.sysfs().join("bus/pci/devices/0000:00:03.0");
        symlink("../../drivers/vfio-pci", folder.join("driver")).expect("bound");
        std::fs::write(folder.join("enable"), "1").expect("its switch");
        let lines = Directory::inspect(&mapping, mapping.len() as u64).expect("one").lines;
        let mut assignments = Assignments::new(lines, 1);
        assignments.assign(0, Nonce::MIN);
        let hurried = GuestConfig { patience: Duration::from_millis(200), ..tree.config(None) };
        let error = held(&hurried, false);
        assert!(matches!(error, GuestError::ProgramsRun { .. }), "{error}");
        let patient = GuestConfig { patience: Duration::from_secs(600), ..hurried };
        std::thread::scope(|scope| {
            let holder = scope.spawn(|| held(&patient, false));
            std::thread::sleep(3 * LOOK_AGAIN);
            assert!(!holder.is_finished(), "it waits for the program");
            assignments.free(0);
            let error = holder.join().expect("no panic");
            assert!(matches!(error, GuestError::Vfio { .. }), "{error}");
        });
    }

    #[test]
    fn a_holder_outlives_an_accept_that_fails_for_want_of_descriptors_and_answers_the_next() {
        let tree = Tree::new();
        let config = tree.config(None);
        let listener = listen(&socket_path("f", &config), &config).expect("a socket");
        let (all, mut life) = (Interrupts::of(Vec::new(), None), Life::new().expect("a pipe"));
        let stop = EventFd::new().expect("an eventfd");
        let stopped = stop.clone();
        let holder = std::thread::spawn(move || {
            let mut failures = [Errno::NFILE, Errno::NOMEM].into_iter();
            let accept = || match failures.next() {
                Some(error) => Err(error),
                None => rustix::net::accept_with(&listener, SocketFlags::CLOEXEC),
            };
            serve(listener.as_fd(), accept, &all, &mut life, stopped.as_fd())
        });
        let patient = GuestConfig { patience: Duration::from_secs(60), ..config };
        assert!(from_holder("f", &patient).expect("no error").is_some(), "it goes on");
        stop.signal().expect("room");
        holder.join().expect("no panic").expect("ends in order");
        assert!(!passes(Errno::BADF) && !passes(Errno::INVAL), "these would fail for ever");
    }

    #[test]
    fn descriptors_that_were_lost_on_their_way_are_an_error_with_its_cause() {
        let tree = Tree::new();
        let config = GuestConfig { patience: Duration::from_secs(60), ..tree.config(None) };
        let listener = listen(&socket_path("f", &config), &config).expect("a socket");
        let bell = EventFd::new().expect("an eventfd");
        // More than this side has room for, as if it could open no more; and none at all.
        for count in [3 * BELLS_MAX, 0] {
            let error = std::thread::scope(|scope| {
                let program = scope.spawn(|| from_holder("f", &config));
                let socket = rustix::net::accept(&listener).expect("a program");
                let fds = vec![bell.as_fd(); count];
                let mut space = vec![MaybeUninit::uninit(); 4096];
                let mut control = SendAncillaryBuffer::new(&mut space);
                assert!(count == 0 || control.push(SendAncillaryMessage::ScmRights(&fds)));
                let said = [IoSlice::new(&[VERSION])];
                rustix::net::sendmsg(&socket, &said, &mut control, SendFlags::empty())
                    .expect("room");
                program.join().expect("no panic").expect_err("it cannot have all interrupts")
            });
            assert!(matches!(error, GuestError::LostDescriptors { .. }), "{error}");
        }
    }

    #[test]
    fn a_holder_hands_the_same_eventfds_to_everybody_until_it_is_stopped() {
        let tree = Tree::new();
        let config = tree.config(None);
        assert!(from_holder("f", &config).expect("no error").is_none(), "none runs");
        let bells: Vec<_> = (0..3).map(|_| EventFd::new().expect("an eventfd")).collect();
        let all = Interrupts::of(bells.clone(), None);
        let stop = EventFd::new().expect("an eventfd");
        let listener = listen(&socket_path("f", &config), &config).expect("a socket");
        let file = tree.function("0000:00:03.0", 4096).join("resource2");
        std::fs::set_permissions(&file, Permissions::from_mode(0o660)).expect("mine");
        share(&socket_path("f", &config), &file).expect("mine");
        let mode = std::fs::metadata(socket_path("f", &config)).expect("there").mode();
        assert_eq!(mode & 0o777, 0o660);
        let stopped = stop.clone();
        let mut life = Life::new().expect("a pipe");
        let holder =
            std::thread::spawn(move || serve_all(&listener, &all, &mut life, stopped.as_fd()));
        let programs: Vec<_> =
            (0..2).map(|_| from_holder("f", &config).unwrap().expect("it runs")).collect();
        bells[2].signal().expect("room");
        assert_eq!(programs[1].bell(2).expect("three").drain().expect("readable"), 1);
        assert_eq!(programs[0].bell(2).expect("three").drain().expect("readable"), 0, "shared");
        assert_eq!(programs[0].vectors(), 3);
        assert_eq!(programs[0].holder_end(), None);
        stop.signal().expect("room");
        holder.join().expect("no panic").expect("ends in order");
        assert!(programs.iter().all(|all| all.holder_end() == Some(HolderEnd::Gone)));
        assert!(from_holder("f", &config).expect("no error").is_none(), "it ended");
    }

    #[test]
    fn a_holder_that_gives_its_function_back_tells_every_program_that_it_is_unplugged() {
        let tree = Tree::new();
        let config = tree.config(None);
        let release = EventFd::new().expect("an eventfd");
        let all = Interrupts::releasing(release.clone());
        let stop = EventFd::new().expect("an eventfd");
        let listener = listen(&socket_path("f", &config), &config).expect("a socket");
        let mut life = Life::new().expect("a pipe");
        let holder =
            std::thread::spawn(move || serve_all(&listener, &all, &mut life, stop.as_fd()));
        let programs: Vec<_> =
            (0..2).map(|_| from_holder("f", &config).unwrap().expect("it runs")).collect();
        release.signal().expect("room");
        holder.join().expect("no panic").expect("ends in order");
        assert!(programs.iter().all(|all| all.holder_end() == Some(HolderEnd::Unplugged)));
    }

    #[test]
    fn a_holder_that_hangs_is_an_error_with_its_cause_and_no_hang() {
        let tree = Tree::new();
        let config = GuestConfig { patience: Duration::from_millis(200), ..tree.config(None) };
        let listener = listen(&socket_path("f", &config), &config).expect("a socket");
        // The first program is taken by the backlog, the second one finds that full.
        rustix::net::listen(&listener, 0).expect("a listener already");
        for _ in 0..2 {
            let error = from_holder("f", &config).expect_err("nobody accepts").to_string();
            assert!(error.contains("no answer within") && error.contains("stopped"), "{error}");
        }
    }
}
