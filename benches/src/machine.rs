//! Where and when a record was made.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// The facts of a machine that figures depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model name.
    pub cpu: String,
    /// Family, model and stepping, which a virtual machine's model name often hides.
    pub cpu_id: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Operating system, release and architecture.
    pub kernel: String,
    /// Whether the processor says that it runs under a hypervisor.
    pub virtual_machine: bool,
    /// The compiler.
    pub rustc: String,
    /// The day, in UTC: `YYYY-MM-DD`.
    pub date: String,
}

impl Machine {
    /// Looks at this machine.
    pub fn here() -> Self {
        let facts = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let uname = uname();
        let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Self {
            cpu: fact(&facts, "model name"),
            cpu_id: ["cpu family", "model", "stepping"].map(|key| fact(&facts, key)).join("/"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: [uname.sysname(), uname.release(), uname.machine()].map(part).join(" "),
            virtual_machine: fact(&facts, "flags").split(' ').any(|flag| flag == "hypervisor"),
            rustc: env!("RINGBAR_BENCHES_RUSTC").into(),
            date: date_of(SystemTime::now()),
        }
    }

    /// A file name for records: model, family, cores and date.
    pub fn slug(&self) -> String {
        self.slug_of("")
    }

    /// The same for records of a kind of their own, which is named before the date.
    pub fn slug_of(&self, kind: &str) -> String {
        let text = format!("{} {} {}c {kind} {}", self.cpu, self.cpu_id, self.cores, self.date);
        let words: Vec<String> = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        words.join("-")
    }
}

fn fact(cpuinfo: &str, key: &str) -> String {
    let value = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let mut value = value.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim());
    value.next().unwrap_or("unknown").into()
}

fn date_of(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a day counted from 1970-01-01, by years of 365 or 366 days.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_become_dates_across_leap_years() {
        let on_day = |days: u64| date_of(UNIX_EPOCH + Duration::from_secs(days * 86_400 + 1));
        let expected = [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (19_723, "2024-01-01"),
            (20_088, "2024-12-31"),
            (20_089, "2025-01-01"),
        ];
        for (days, date) in expected {
            assert_eq!(on_day(days), date);
        }
    }

    #[test]
    fn facts_are_read_by_whole_key() {
        let cpuinfo = "model\t\t: 17\nmodel name\t: Some CPU\nflags : fpu hypervisor\n";
        assert_eq!(fact(cpuinfo, "model"), "17");
        assert_eq!(fact(cpuinfo, "model name"), "Some CPU");
        assert_eq!(fact(cpuinfo, "stepping"), "unknown");
    }

    #[test]
    fn a_slug_is_a_plain_file_name() {
        let slug = Machine::here().slug();
        assert!(
            slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
            "{slug}"
        );
        assert!(slug.ends_with(&Machine::here().date));
    }
}
