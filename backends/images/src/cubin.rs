//! Machine code: ELF files with sections of NVIDIA's own.

use crate::image::{Image, Kernel, Variable, VariableKind};
use crate::{ImageError, info};
use object::LittleEndian as LE;
use object::elf::{
    FileHeader64, SHN_UNDEF, SHT_NOBITS, SHT_SYMTAB, STT_FUNC, STT_OBJECT, SectionHeader64,
};
use object::read::elf::{FileHeader, SectionHeader, SectionTable, Sym, SymbolTable};
use std::collections::HashMap;

type Header = FileHeader64<LE>;
type Section = SectionHeader64<LE>;

/// In a symbol's `st_other`: it is a kernel.
const ENTRY: u8 = 0x10;
/// In a symbol's `st_other`: it is managed memory.
const MANAGED: u8 = 0x04;
/// What the system takes of each block's shared memory from compute capability 9.0 on; sections
/// there include it.
const RESERVED_SHARED_BYTES: u64 = 1024;
/// The ABI version in the ELF header from which on the flags hold the capability in their second
/// byte and not in their first.
const ABI_WIDE_FLAGS: u8 = 8;

/// Kernels and their parameters, of one image at most.
const PARAMS_MAX: usize = 1 << 22;
/// Bytes of names that are looked at, for each byte of the file: the names of a kernel's sections end with its own.
const NAMES_RATIO_MAX: usize = 8;

/// What may still be looked at or copied. In a file that was made to exhaust memory or time, sections and names overlap, so
/// that all together are far longer than the file.
struct Budget(usize);

impl Budget {
    fn take(&mut self, bytes: usize) -> Result<(), ImageError> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(())
    }
}

struct File<'a> {
    data: &'a [u8],
    sections: SectionTable<'a, Header>,
    symbols: SymbolTable<'a, Header>,
    by_name: HashMap<&'a [u8], &'a Section>,
    sm: u32,
}

fn too_much() -> ImageError {
    ImageError::malformed("a cubin", "its names, kernels or variables overlap")
}

fn malformed(error: object::Error) -> ImageError {
    ImageError::malformed("a cubin", error)
}

pub(crate) fn parse(data: &[u8]) -> Result<Image, ImageError> {
    let header = Header::parse(data).map_err(malformed)?;
    let sections = header.sections(LE, data).map_err(malformed)?;
    let symbols = sections.symbols(LE, data, SHT_SYMTAB).map_err(malformed)?;
    let mut names = Budget(data.len().saturating_mul(NAMES_RATIO_MAX));
    for symbol in symbols.iter() {
        names.take(symbol.name(LE, symbols.strings()).map_or(0, <[u8]>::len))?;
    }
    let mut by_name = HashMap::new();
    for section in sections.iter() {
        if let Ok(name) = sections.section_name(LE, section) {
            names.take(name.len())?;
            by_name.entry(name).or_insert(section);
        }
    }
    let flags = header.e_flags(LE).0;
    let wide = header.e_ident().abi_version >= ABI_WIDE_FLAGS;
    let sm = if wide { flags >> 8 } else { flags } & 0xff;
    let file = File { data, sections, symbols, by_name, sm };
    let prints = file.symbols.iter().any(|s| file.symbol_name(s) == Some("vprintf"));
    let (kernels, variables) = (file.kernels()?, file.variables()?);
    Ok(Image { kernels, variables, prints, sm, is_ptx: false })
}

impl<'a> File<'a> {
    fn symbol_name(&self, symbol: &<Header as FileHeader>::Sym) -> Option<&'a str> {
        std::str::from_utf8(symbol.name(LE, self.symbols.strings()).ok()?).ok()
    }

    fn section(&self, prefix: &str, name: &str) -> Option<&'a Section> {
        self.by_name.get(format!("{prefix}{name}").as_bytes()).copied()
    }

    /// A section's bytes; none if it takes no room in the file.
    fn bytes(&self, section: Option<&Section>) -> &'a [u8] {
        section.and_then(|section| section.data(LE, self.data).ok()).unwrap_or_default()
    }

    fn kernels(&self) -> Result<Vec<Kernel>, ImageError> {
        let mut kernels: Vec<Kernel> = Vec::new();
        let mut places = HashMap::new();
        let (mut params, mut bytes) = (Budget(PARAMS_MAX), Budget(self.data.len()));
        for (index, symbol) in self.symbols.enumerate() {
            let defined = symbol.st_shndx(LE) != SHN_UNDEF;
            if symbol.st_type() == STT_FUNC
                && symbol.st_other().0 & ENTRY != 0
                && defined
                && let Some(name) = self.symbol_name(symbol)
            {
                places.insert(index.0 as u64, kernels.len());
                let own = self.bytes(self.section(".nv.info.", name));
                bytes.take(own.len() + name.len())?;
                let kernel = self.kernel(name, own);
                params.take(kernel.params.len() + 1)?;
                kernels.push(kernel);
            }
        }
        let common = info::shared(self.bytes(self.section(".nv.info", "")));
        for fact in common {
            let (info::Shared::Registers { symbol, .. } | info::Shared::Frame { symbol, .. }) =
                fact;
            let Some(kernel) = places.get(&symbol).and_then(|&at| kernels.get_mut(at)) else {
                continue;
            };
            match fact {
                info::Shared::Registers { count, .. } => kernel.registers = Some(count),
                info::Shared::Frame { bytes, .. } => kernel.local_bytes = bytes,
            }
        }
        Ok(kernels)
    }

    fn kernel(&self, name: &str, own: &[u8]) -> Kernel {
        let own = info::own(own);
        let shared = self.section(".nv.shared.", name).map_or(0, |section| section.sh_size(LE));
        let reserved = if self.sm >= 90 { RESERVED_SHARED_BYTES } else { 0 };
        Kernel {
            name: name.into(),
            params: own.params,
            param_bytes: own.param_bytes,
            registers: None,
            shared_bytes: u32::try_from(shared.saturating_sub(reserved)).unwrap_or(u32::MAX),
            local_bytes: 0,
            max_threads: own.max_threads,
            cluster: own.cluster,
        }
    }

    fn variables(&self) -> Result<Vec<Variable>, ImageError> {
        let objects = self.symbols.iter().filter(|symbol| symbol.st_type() == STT_OBJECT);
        // Each byte of the file belongs to one variable.
        let mut left = Budget(self.data.len());
        let mut variables = Vec::new();
        for variable in objects.filter_map(|symbol| self.variable(symbol)) {
            left.take(variable.name.len() + variable.initial.as_ref().map_or(0, Vec::len))?;
            variables.push(variable);
        }
        Ok(variables)
    }

    fn variable(&self, symbol: &<Header as FileHeader>::Sym) -> Option<Variable> {
        let name = self.symbol_name(symbol)?;
        let index = object::SectionIndex(usize::from(symbol.st_shndx(LE).0));
        let section = self.sections.section(index).ok()?;
        let kind = match self.sections.section_name(LE, section).ok()? {
            b".nv.constant3" => VariableKind::Constant,
            b".nv.global" | b".nv.global.init" if symbol.st_other().0 & MANAGED != 0 => {
                VariableKind::Managed
            }
            b".nv.global" | b".nv.global.init" => VariableKind::Global,
            _ => return None,
        };
        // The compiler's own, such as the text of formats.
        if name.is_empty() || name.starts_with('$') {
            return None;
        }
        let bytes = symbol.st_size(LE);
        let initial = (section.sh_type(LE) != SHT_NOBITS).then(|| {
            let start = symbol.st_value(LE).checked_sub(section.sh_addr(LE))?;
            let end = start.checked_add(bytes)?;
            self.bytes(Some(section)).get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        });
        let initial = initial.flatten().map(<[u8]>::to_vec);
        Some(Variable { name: name.into(), bytes, kind, initial })
    }
}
