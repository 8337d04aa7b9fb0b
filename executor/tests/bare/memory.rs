//! What the virtual processor sees: this process's memory at its own addresses, and device registers in between.

use super::BareError;
use std::path::PathBuf;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Guest-physical addresses of this process's memory and of the page tables.
const MEMORY: u64 = 1 << 32;
const TABLES: u64 = 1 << 37;

/// Bits of a page-table entry: present, writable, for user mode, accessed, dirty, not executable.
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const TOUCHED: u64 = 1 << 5 | 1 << 6;
const NO_EXECUTE: u64 = 1 << 63;
/// Entries of a table.
const ENTRIES: usize = 512;

/// A file that this process has mapped, and that stands for registers of the guest.
pub struct RegisterFile {
    /// Its path as `/proc/self/maps` shows it.
    pub path: PathBuf,
    /// Where the guest's accesses go.
    pub guest: u64,
}

/// A piece of this process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its address here, and in the guest.
    pub host: u64,
    /// Its guest-physical address.
    pub guest: u64,
    /// Its size.
    pub bytes: u64,
}

/// The memory of a machine: slots, and the page tables over them.
pub struct Memory {
    pub slots: Vec<Slot>,
    tables: Tables,
}

impl Memory {
    /// All that this process has mapped now, with these files as registers.
    pub fn of_process(registers: &[RegisterFile]) -> Result<Self, BareError> {
        let path = "/proc/self/maps";
        let maps = std::fs::read_to_string(path).map_err(|e| BareError::system(path, e))?;
        Ok(Self::of_maps(&maps, registers))
    }

    /// The same of mappings in the form of `/proc/self/maps`.
    pub fn of_maps(maps: &str, registers: &[RegisterFile]) -> Self {
        let (mut slots, mut tables, mut next) = (Vec::new(), Tables::default(), MEMORY);
        for mapped in maps.lines().filter_map(Mapped::parse) {
            let file = registers.iter().find(|file| file.path.as_os_str() == mapped.path);
            let guest = file.map_or(next, |file| file.guest);
            tables.map(&mapped, guest);
            if file.is_none() {
                let bytes = mapped.end - mapped.start;
                slots.push(Slot { host: mapped.start, guest, bytes });
                // A page that belongs to nothing, so that slots that touch are not taken for one.
                next += bytes + PAGE;
            }
        }
        Self { slots, tables }
    }

    /// The page tables as bytes; the first page is the root.
    pub fn tables(&self) -> Vec<u8> {
        self.tables.0.iter().flatten().flat_map(|entry| entry.to_le_bytes()).collect()
    }

    /// Where an address leads, and whether it may be written there.
    pub fn translate(&self, address: u64) -> Option<(u64, bool)> {
        self.tables.translate(address)
    }

    /// Guest-physical address of the root.
    pub fn root(&self) -> u64 {
        TABLES
    }
}

/// A line of `/proc/self/maps`.
struct Mapped<'m> {
    start: u64,
    end: u64,
    writable: bool,
    executable: bool,
    path: &'m str,
}

impl<'m> Mapped<'m> {
    /// `None` for what is no memory of the program's: reserved addresses, the kernel's page for old system calls, and what
    /// KVM tells the monitor.
    fn parse(line: &'m str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let rights = words.next()?;
        let path = words.nth(3).unwrap_or_default();
        let number = |text| u64::from_str_radix(text, 16).ok();
        let found = Self {
            start: number(start)?,
            end: number(end)?,
            writable: rights.contains('w'),
            executable: rights.contains('x'),
            path,
        };
        let kernel = path == "[vsyscall]" || path.starts_with("anon_inode:kvm");
        (rights.starts_with('r') && !kernel).then_some(found)
    }
}

/// Four levels of page tables, the root first.
struct Tables(Vec<[u64; ENTRIES]>);

impl Default for Tables {
    fn default() -> Self {
        Self(vec![[0; ENTRIES]])
    }
}

/// The entry of `address` in a table of that level; 0 is the last.
fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize % ENTRIES
}

impl Tables {
    fn map(&mut self, mapped: &Mapped<'_>, guest: u64) {
        let mut rights = PRESENT | USER | TOUCHED;
        if mapped.writable {
            rights |= WRITABLE;
        }
        if !mapped.executable {
            rights |= NO_EXECUTE;
        }
        for offset in (0..mapped.end - mapped.start).step_by(PAGE as usize) {
            let address = mapped.start + offset;
            let last =
                (1..4).rev().fold(0, |table, level| self.below(table, index(address, level)));
            self.0[last][index(address, 0)] = (guest + offset) | rights;
        }
    }

    /// The table that this entry leads to, made if there is none.
    fn below(&mut self, table: usize, entry: usize) -> usize {
        if self.0[table][entry] == 0 {
            let address = TABLES + self.0.len() as u64 * PAGE;
            self.0[table][entry] = address | PRESENT | WRITABLE | USER | TOUCHED;
            self.0.push([0; ENTRIES]);
        }
        ((self.0[table][entry] & !(PAGE - 1)) - TABLES) as usize / PAGE as usize
    }

    fn translate(&self, address: u64) -> Option<(u64, bool)> {
        let mut table = 0;
        for level in (1..4).rev() {
            let entry = self.0[table][index(address, level)];
            table = (entry & !(PAGE - 1)).checked_sub(TABLES)? as usize / PAGE as usize;
        }
        let entry = self.0[table][index(address, 0)];
        let place = entry & !NO_EXECUTE & !(PAGE - 1);
        (entry & PRESENT != 0).then_some((place + address % PAGE, entry & WRITABLE != 0))
    }
}
