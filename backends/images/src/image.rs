//! What an image offers: kernels and variables.

use crate::fat_binary::{Entry, EntryKind, entries};
use crate::measure::FAT_MAGIC;
use crate::{ImageError, cubin, number, ptx};
use ringbar_vocabulary::Param;

/// The code for one device, taken from a fat binary, a cubin or PTX.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// The kernels, in the image's order.
    pub kernels: Vec<Kernel>,
    /// The variables, in the image's order.
    pub variables: Vec<Variable>,
    /// Whether its code calls the device's `vprintf`, which is what `printf` becomes.
    pub prints: bool,
    /// The compute capability it is for: major times 10 plus minor.
    pub sm: u32,
    /// Whether it is PTX.
    pub is_ptx: bool,
}

/// A kernel of an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kernel {
    /// Its name as the linker knows it.
    pub name: String,
    /// Where its parameters lie, in their order.
    pub params: Vec<Param>,
    /// Bytes of a whole parameter block.
    pub param_bytes: usize,
    /// Registers of a thread, where the image says so.
    pub registers: Option<u32>,
    /// Static shared memory of a block in bytes, without what the system reserves.
    pub shared_bytes: u32,
    /// Local memory of a thread in bytes.
    pub local_bytes: u32,
    /// Threads of a block at most, where the image limits them.
    pub max_threads: Option<u32>,
    /// The cluster it must be launched with, where the image says so.
    pub cluster: Option<[u32; 3]>,
}

/// Where a variable lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VariableKind {
    /// Device memory.
    Global,
    /// Constant memory.
    Constant,
    /// Managed memory.
    Managed,
}

/// A variable of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    /// Its name as the linker knows it.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where it lives.
    pub kind: VariableKind,
    /// Its initial bytes, as many as its size; none if it starts as zeros.
    pub initial: Option<Vec<u8>>,
}

impl Image {
    /// Reads the image that a device of compute capability `sm` (major times 10 plus minor)
    /// would load. `bytes` may go on behind the image.
    ///
    /// # Errors
    /// [`ImageError`] if the bytes are no image, or one without code for that device.
    pub fn parse(bytes: &[u8], sm: u32) -> Result<Self, ImageError> {
        match number::<4>(bytes, 0).unwrap_or(0) as u32 {
            FAT_MAGIC => Self::parse_fat(bytes, sm),
            magic if magic == u32::from_le_bytes(*b"\x7fELF") => {
                let image = cubin::parse(bytes)?;
                let found = [(EntryKind::Cubin, image.sm)];
                if runs(EntryKind::Cubin, image.sm, sm) { Ok(image) } else { no_code(sm, &found) }
            }
            _ if ptx::is_ptx(bytes) => {
                let image = ptx::parse(bytes)?;
                let found = [(EntryKind::Ptx, image.sm)];
                if runs(EntryKind::Ptx, image.sm, sm) { Ok(image) } else { no_code(sm, &found) }
            }
            found => Err(ImageError::Unknown { found }),
        }
    }

    fn parse_fat(bytes: &[u8], sm: u32) -> Result<Self, ImageError> {
        let all = entries(bytes)?;
        let rank = |entry: &&Entry<'_>| (entry.kind == EntryKind::Cubin, entry.sm);
        let best = all.iter().filter(|e| runs(e.kind, e.sm, sm)).max_by_key(rank);
        let Some(best) = best else {
            let found: Vec<_> = all.iter().map(|entry| (entry.kind, entry.sm)).collect();
            return no_code(sm, &found);
        };
        let unpacked = best.unpack()?;
        if best.kind == EntryKind::Cubin { cubin::parse(&unpacked) } else { ptx::parse(&unpacked) }
    }

    /// The kernel of that name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }

    /// The variable of that name.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }
}

/// Machine code runs on later devices of the same generation, PTX on all later ones.
fn runs(kind: EntryKind, code: u32, device: u32) -> bool {
    match kind {
        EntryKind::Cubin => code / 10 == device / 10 && code <= device,
        EntryKind::Ptx => code <= device,
        EntryKind::Other(_) => false,
    }
}

fn no_code(wanted: u32, found: &[(EntryKind, u32)]) -> Result<Image, ImageError> {
    let name = |&(kind, sm): &(EntryKind, u32)| match kind {
        EntryKind::Cubin => format!("sm_{sm}"),
        EntryKind::Ptx => format!("compute_{sm}"),
        EntryKind::Other(kind) => format!("kind {kind} for {sm}"),
    };
    let found = found.iter().map(name).collect::<Vec<_>>().join(", ");
    Err(ImageError::NoCode { wanted, found })
}
