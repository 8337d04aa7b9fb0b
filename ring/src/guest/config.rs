//! What a program of a virtual machine may say about the region it wants.

use super::GuestError;
use crate::client::Limits;
use crate::park::HEARTBEAT_LIMIT;
use core::time::Duration;
use std::path::{Path, PathBuf};

/// How the bulk memory of a PCI function is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Bulk {
    /// Write-combining if the kernel offers that, else uncached.
    #[default]
    Auto,
    /// `resource2_wc`, or an error.
    WriteCombining,
    /// `resource2`.
    Uncached,
}

/// How a program waits where the function is bound to vfio-pci, whose group has one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Waiting {
    /// By the interrupts that the owner hands to all programs, which is [`hold`](super::hold); by polling if none runs.
    #[default]
    Held,
    /// The same; if none runs, by interrupts as the group's only owner. The kernel refuses the function's memory to all other
    /// programs meanwhile.
    Alone,
    /// By polling.
    Polling,
}

/// Which region, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestConfig {
    /// The PCI function (`0000:00:03.0`), a folder of sysfs, or a DAX device or file without any function; `None`: the
    /// only function that holds a region.
    pub device: Option<String>,
    /// A DAX device or file over the same memory as the function's BAR, to be mapped instead of it.
    pub memory: Option<PathBuf>,
    /// How the function's bulk memory is mapped.
    pub bulk: Bulk,
    /// How to wait where the function is bound to vfio-pci.
    pub waiting: Waiting,
    /// How long to wait for a channel.
    pub patience: Duration,
    /// How long the hearts of worker and daemon may rest together: then both count as dead, since nothing else tells of that.
    /// Host processes that are stopped together for longer (a frozen cgroup, a machine that swaps) end the channel.
    pub silence: Duration,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
    /// Where device files are.
    pub dev: PathBuf,
    /// Where the sockets of `ringbar vm hold` are.
    pub run: PathBuf,
}

impl Default for GuestConfig {
    /// The only function there is, interrupts if somebody hands them out, 10 s of patience, 2 s of silence.
    fn default() -> Self {
        Self {
            device: None,
            memory: None,
            bulk: Bulk::Auto,
            waiting: Waiting::Held,
            patience: Duration::from_secs(10),
            silence: HEARTBEAT_LIMIT,
            sysfs: "/sys".into(),
            dev: "/dev".into(),
            run: "/run/ringbar".into(),
        }
    }
}

/// The variable that names a region.
pub const VARIABLE: &str = "RINGBAR_VM";

impl GuestConfig {
    /// As `RINGBAR_VM` says; the default without it.
    ///
    /// # Errors
    /// [`GuestError::Setting`] for one that makes no sense.
    pub fn from_env() -> Result<Self, GuestError> {
        match std::env::var_os(VARIABLE) {
            Some(text) => Self::parse(&text.to_string_lossy()),
            None => Ok(Self::default()),
        }
    }

    /// As a text of the form `[ADDRESS or PATH or auto][,memory=PATH][,bulk=wc|uc][,interrupts=yes|alone|no][,patience=TIME]
    /// [,silence=TIME]` says; a time is a number with `ms`, `s` or `min`.
    ///
    /// # Errors
    /// [`GuestError::Setting`] with the part that makes no sense.
    pub fn parse(text: &str) -> Result<Self, GuestError> {
        let setting = |part: &str| GuestError::Setting { found: part.to_owned() };
        let mut config = Self::default();
        for (index, part) in text.split(',').map(str::trim).enumerate() {
            match part.split_once('=') {
                _ if part.is_empty() => {}
                Some(("memory", path)) => config.memory = Some(path.into()),
                Some(("bulk", "wc")) => config.bulk = Bulk::WriteCombining,
                Some(("bulk", "uc")) => config.bulk = Bulk::Uncached,
                Some(("interrupts", "no")) => config.waiting = Waiting::Polling,
                Some(("interrupts", "yes")) => config.waiting = Waiting::Held,
                Some(("interrupts", "alone")) => config.waiting = Waiting::Alone,
                Some(("patience", time)) => {
                    config.patience = duration(time).ok_or_else(|| setting(part))?
                }
                Some(("silence", time)) => {
                    config.silence = duration(time).ok_or_else(|| setting(part))?.max(Limits::LEAST)
                }
                None if index == 0 && part == "auto" => {}
                None if index == 0 => config.device = Some(part.to_owned()),
                _ => return Err(setting(part)),
            }
        }
        Ok(config)
    }

    /// The DAX device or file that is all there is, if the device that was asked for is one.
    pub(super) fn bare_file(&self) -> Option<&Path> {
        let path = Path::new(self.device.as_ref()?);
        (path.is_absolute() && !path.is_dir()).then_some(path)
    }
}

/// A whole number of milliseconds, seconds or minutes.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(unit);
    let count: u64 = count.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        _ => return None,
    };
    count.checked_mul(ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_function_memory_and_ways() {
        let config = GuestConfig::parse("0000:00:03.0,memory=/dev/dax0.0,interrupts=no").unwrap();
        assert_eq!(config.device.as_deref(), Some("0000:00:03.0"));
        assert_eq!(config.memory.as_deref(), Some(Path::new("/dev/dax0.0")));
        assert_eq!(config.waiting, Waiting::Polling);
        assert_eq!(GuestConfig::parse("auto,interrupts=alone").unwrap().waiting, Waiting::Alone);
        assert_eq!(GuestConfig::parse("patience=30s").unwrap().patience, Duration::from_secs(30));
        assert_eq!(GuestConfig::parse("silence=1min").unwrap().silence, Duration::from_secs(60));
        assert_eq!(GuestConfig::parse("bulk=uc").unwrap().bulk, Bulk::Uncached);
        assert_eq!(GuestConfig::parse("auto,bulk=wc").unwrap().device, None);
        assert_eq!(GuestConfig::parse("").unwrap(), GuestConfig::default());
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        for text in
            ["a,b", "bulk=wb", "0000:00:03.0,interrupts=maybe", "patience=soon", "patience=s"]
        {
            let said = GuestConfig::parse(text).expect_err("nonsense").to_string();
            let part = text.rsplit(',').next().unwrap();
            assert!(said.contains(&format!("found {part:?}")) && said.contains("try: "), "{said}");
        }
        assert!(GuestConfig::parse("memory").is_ok(), "the first part may be any device");
    }

    #[test]
    fn a_file_alone_is_told_from_a_function() {
        assert_eq!(
            GuestConfig::parse("/dev/dax0.0").unwrap().bare_file(),
            Some(Path::new("/dev/dax0.0"))
        );
        assert_eq!(GuestConfig::parse("0000:00:03.0").unwrap().bare_file(), None);
        assert_eq!(GuestConfig::parse("/").unwrap().bare_file(), None, "a folder is a function's");
    }
}
