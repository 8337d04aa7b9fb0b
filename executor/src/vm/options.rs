//! The options of `ringbar serve` that belong to VMs: `--vm NAME` begins one, what follows is its own.

use super::device_socket::Access;
use super::{BYTES_DEFAULT, CHANNELS_DEFAULT, VmConfig};
use crate::units;
use clap::{ArgMatches, Args};
use nix::unistd::{Group, User};
use std::collections::HashSet;
use std::path::PathBuf;

/// Sockets and VMs, as they are written: what comes before the first `--vm` is the daemon's.
#[derive(Debug, Default, Args)]
pub struct PlaceArgs {
    /// The daemon's socket [default: $RINGBAR_SOCKET, else $XDG_RUNTIME_DIR/ringbar.sock]. After a --vm: where the monitor of
    /// that VM connects.
    #[arg(long, value_name = "PATH")]
    socket: Vec<PathBuf>,
    /// Serve a VM as well, by an ivshmem-doorbell device; --socket, --size and --channels after it are that VM's. Without a
    /// --socket before the first --vm only VMs are served, and `ringbar status --socket` takes the first VM's.
    #[arg(long, value_name = "NAME")]
    vm: Vec<String>,
    /// Memory of the VM's device, a power of two [default: 256MiB].
    #[arg(long, value_name = "BYTES", value_parser = units::bytes, requires = "vm")]
    size: Vec<u64>,
    /// Programs that the VM may run at once [default: 3]. With more, some share an interrupt, and one's sleep may last 50 ms
    /// longer since another took it.
    #[arg(long, value_name = "N", requires = "vm")]
    channels: Vec<usize>,
    /// The VM's monitor maps the memory of the device as a file and never connects to its socket (cloud-hypervisor): there are no
    /// doorbells, both sides poll.
    #[arg(long, requires = "vm", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    polled: Vec<bool>,
    /// User of the VM's socket, a name or a number: who may connect as the VM's monitor [default: who serves].
    #[arg(long, value_name = "USER", requires = "vm", value_parser = user)]
    socket_owner: Vec<u32>,
    /// Group of the VM's socket, a name or a number [default: that of who serves].
    #[arg(long, value_name = "GROUP", requires = "vm", value_parser = group)]
    socket_group: Vec<u32>,
    /// Permissions of the VM's socket [default: 0660 with --socket-group, else 0600].
    #[arg(long, value_name = "MODE", requires = "vm", value_parser = mode)]
    socket_mode: Vec<u32>,
}

/// What was written, sorted out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The daemon's own socket.
    pub socket: Option<PathBuf>,
    /// The VMs.
    pub vms: Vec<VmConfig>,
}

impl PlaceArgs {
    /// Gives each option to the VM that it follows; `matches` are those of `serve`.
    ///
    /// # Errors
    /// If one is given twice, or a VM has no socket.
    pub fn places(&self, matches: &ArgMatches) -> Result<Places, String> {
        let at = |name: &str| matches.indices_of(name).map_or(Vec::new(), Iterator::collect);
        let begins: Vec<usize> = at("vm");
        let owner = |index: &usize| begins.iter().filter(|begin| *begin < index).count();
        let (sockets, sizes, channels) = (at("socket"), at("size"), at("channels"));
        let polled = at("polled");
        let (owners, groups) = (at("socket_owner"), at("socket_group"));
        let modes = at("socket_mode");
        let socket =
            only("socket", &sockets, &self.socket, |index| owner(index) == 0, "the daemon")?;
        let of_vms = [&sizes, &channels, &polled, &owners, &groups, &modes];
        if of_vms.into_iter().flatten().any(|index| owner(index) == 0) {
            return Err("found --size, --channels, --polled, --socket-owner, --socket-group or --socket-mode before any --vm, \
                 expected them behind the --vm that they belong to"
                .into());
        }
        let mut vms = Vec::with_capacity(self.vm.len());
        for (number, name) in self.vm.iter().enumerate() {
            let mine = |index: &usize| owner(index) == number + 1;
            let socket = only("socket", &sockets, &self.socket, mine, name)?;
            let socket = socket.ok_or_else(|| {
                format!("found no --socket behind --vm {name}, expected the path that its monitor connects to; try: --vm {name} --socket /run/ringbar-{name}.sock")
            })?;
            let bytes = only("size", &sizes, &self.size, mine, name)?.unwrap_or(BYTES_DEFAULT);
            let channels = only("channels", &channels, &self.channels, mine, name)?;
            let channels = channels.unwrap_or(CHANNELS_DEFAULT);
            let polled = only("polled", &polled, &self.polled, mine, name)?.unwrap_or(false);
            let access = Access {
                owner: only("socket-owner", &owners, &self.socket_owner, mine, name)?,
                group: only("socket-group", &groups, &self.socket_group, mine, name)?,
                mode: only("socket-mode", &modes, &self.socket_mode, mine, name)?,
            };
            vms.push(VmConfig { name: name.clone(), socket, bytes, channels, polled, access });
        }
        check_distinct(socket.as_ref(), &vms)?;
        Ok(Places { socket, vms })
    }
}

/// Nothing else tells VMs, or the sockets of this daemon, apart.
fn check_distinct(socket: Option<&PathBuf>, vms: &[VmConfig]) -> Result<(), String> {
    let mut names = HashSet::new();
    let mut sockets: HashSet<_> = socket.into_iter().collect();
    for vm in vms {
        if !names.insert(&vm.name) {
            return Err(format!("found --vm {} twice, expected a name for each VM", vm.name));
        }
        if !sockets.insert(&vm.socket) {
            let (path, name) = (vm.socket.display(), &vm.name);
            return Err(format!(
                "found --socket {path} of VM {name} a second time, expected a socket for each VM and the daemon; try: --vm {name} --socket /run/ringbar-{name}.sock"
            ));
        }
    }
    Ok(())
}

fn user(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => {
            Err("found no such user here; try: its name in /etc/passwd, or a number".into())
        }
        Err(error) => Err(format!("looking up the user: {error}")),
    }
}

fn group(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => {
            Err("found no such group here; try: its name in /etc/group, or a number".into())
        }
        Err(error) => Err(format!("looking up the group: {error}")),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("expected permissions in octal, up to 0777; try: 0660".into()),
    }
}

/// The one value whose index is `mine`.
fn only<T: Clone>(
    option: &str,
    indices: &[usize],
    values: &[T],
    mine: impl Fn(&usize) -> bool,
    whose: &str,
) -> Result<Option<T>, String> {
    let mut found = indices.iter().zip(values).filter(|(index, _)| mine(index));
    let first = found.next().map(|(_, value)| value.clone());
    match found.next() {
        None => Ok(first),
        Some(_) => Err(format!("found --{option} of {whose} twice, expected it once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches, Parser};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        places: PlaceArgs,
    }

    fn places(line: &str) -> Result<Places, String> {
        let words = std::iter::once("serve").chain(line.split_whitespace());
        let matches = Line::command().try_get_matches_from(words).map_err(|e| e.to_string())?;
        Line::from_arg_matches(&matches).unwrap().places.places(&matches)
    }

    fn vm(name: &str, socket: &str, bytes: u64, channels: usize) -> VmConfig {
        VmConfig {
            name: name.into(),
            socket: socket.into(),
            bytes,
            channels,
            ..VmConfig::default()
        }
    }

    #[test]
    fn each_vm_has_the_options_behind_it() {
        let found =
            places("--vm a --socket /a --size 64MiB --vm b --channels 5 --socket /b").unwrap();
        let vms = vec![vm("a", "/a", 64 << 20, 3), vm("b", "/b", 256 << 20, 5)];
        assert_eq!(found, Places { socket: None, vms });
    }

    #[test]
    fn a_socket_before_the_first_vm_is_the_daemons() {
        let found = places("--socket /d --vm a --socket /a").unwrap();
        let vms = vec![vm("a", "/a", 256 << 20, 3)];
        assert_eq!(found, Places { socket: Some("/d".into()), vms });
        assert_eq!(places("--socket /d").unwrap().socket, Some("/d".into()));
    }

    #[test]
    fn a_vm_that_never_connects_is_told_from_the_one_beside_it() {
        let found = places("--vm a --socket /a --polled --vm b --socket /b").unwrap();
        assert_eq!(found.vms.iter().map(|vm| vm.polled).collect::<Vec<_>>(), [true, false]);
        assert!(places("--vm a --socket /a --polled --polled").unwrap_err().contains("twice"));
    }

    #[test]
    fn a_vms_socket_has_the_user_the_group_and_the_permissions_behind_it() {
        let found = places(
            "--vm a --socket /a --socket-owner root --socket-group 36 --socket-mode 0640 \
             --vm b --socket /b",
        );
        let access: Vec<_> = found.unwrap().vms.iter().map(|vm| vm.access).collect();
        let a = Access { owner: Some(0), group: Some(36), mode: Some(0o640) };
        assert_eq!(access, [a, Access::default()]);
        let cases = [
            ("--socket-owner no-such-user-here", "no such user"),
            ("--socket-group no-such-group-here", "no such group"),
            ("--socket-mode 999", "in octal"),
            ("--socket-mode 1777", "in octal"),
        ];
        for (options, part) in cases {
            let error = places(&format!("--vm a --socket /a {options}")).unwrap_err();
            assert!(error.contains(part), "{options}: {error}");
        }
        assert!(places("--socket-mode 600 --vm a --socket /a").unwrap_err().contains("before any"));
    }

    #[test]
    fn what_belongs_to_nobody_or_comes_twice_is_refused_with_what_to_try() {
        let cases = [
            ("--vm a", "no --socket behind --vm a"),
            ("--vm a --socket /a --socket /b", "twice"),
            ("--socket /a --socket /b", "twice"),
            ("--vm a --socket /a --vm a --socket /b", "a name for each VM"),
            ("--vm a --socket /a --vm b --socket /a", "a socket for each VM"),
            ("--socket /a --vm a --socket /a", "a socket for each VM"),
            ("--size 1MiB --vm a --socket /a", "before any --vm"),
            ("--size 1MiB", "--vm"),
        ];
        for (line, part) in cases {
            let error = places(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
