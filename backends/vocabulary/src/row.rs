//! What the table says about each function, as data.

use crate::{Class, Direction, rows::ROWS};

/// One function of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The command's number on the wire; never reused, never changed.
    pub opcode: u16,
    /// The command's type in this crate, such as `LaunchKernel`.
    pub name: &'static str,
    /// The handler's method, such as `launch_kernel`; also the name in traces and metrics.
    pub method: &'static str,
    /// The CUDA functions it carries, the main one first; empty for ringbar's own commands.
    pub cuda: &'static [&'static str],
    /// How the call reaches the executor.
    pub class: Class,
    /// The CUDA version that brought the main function, as CUDA numbers it (12,040 is 12.4).
    pub since: u32,
    /// The fixed fields in wire order.
    pub fields: &'static [FieldRow],
    /// The name of the variable-length end, if the row has one.
    pub tail: Option<&'static str>,
    /// The reply's fields in wire order, offsets counted after its status word.
    pub reply: &'static [FieldRow],
    /// What the function does.
    pub doc: &'static str,
}

/// One field of a command or reply.
#[derive(Clone, Copy, Debug)]
pub struct FieldRow {
    /// The field's name.
    pub name: &'static str,
    /// The Rust type, as the table spells it.
    pub ty: &'static str,
    /// Who reads what it refers to.
    pub direction: Direction,
    /// Offset in bytes, from the end of the header (a command) or of the status word (a reply).
    pub offset: usize,
    /// Bytes on the wire.
    pub bytes: usize,
}

impl Row {
    /// The row of an opcode; `None` if there is none.
    #[inline]
    pub fn by_opcode(opcode: u16) -> Option<&'static Row> {
        ROWS.get(usize::from(opcode).checked_sub(1)?)
    }

    /// The row that carries the CUDA function of that name.
    pub fn by_cuda_name(name: &str) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.cuda.contains(&name))
    }

    /// Bytes of the fixed part, padding included, header not.
    pub fn fixed_bytes(&self) -> usize {
        self.fields.last().map_or(0, |last| (last.offset + last.bytes).next_multiple_of(8))
    }
}

/// The row of an opcode that the table itself wrote.
pub(crate) const fn row_of(opcode: u16) -> &'static Row {
    &ROWS[opcode as usize - 1]
}

/// A fingerprint of the whole table: both sides of a channel compare it before the first command.
///
/// It covers everything that decides what bytes mean (and the names), but not the documentation.
pub const VOCABULARY_HASH: u64 = hash_rows(ROWS);

/// FNV-1a over everything in `rows` but the documentation.
pub const fn hash_rows(rows: &[Row]) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    let mut i = 0;
    while i < rows.len() {
        hash = hash.row(&rows[i]);
        i += 1;
    }
    hash.0
}

#[derive(Clone, Copy)]
struct Fnv(u64);

impl Fnv {
    const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }

    const fn number(mut self, number: u64) -> Self {
        let bytes = number.to_le_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self = self.byte(bytes[i]);
            i += 1;
        }
        self
    }

    const fn text(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        self = self.number(bytes.len() as u64);
        let mut i = 0;
        while i < bytes.len() {
            self = self.byte(bytes[i]);
            i += 1;
        }
        self
    }

    const fn fields(mut self, fields: &[FieldRow]) -> Self {
        self = self.number(fields.len() as u64);
        let mut i = 0;
        while i < fields.len() {
            let field = &fields[i];
            self = self.text(field.name).text(field.ty).text(field.direction.name());
            self = self.number(field.offset as u64).number(field.bytes as u64);
            i += 1;
        }
        self
    }

    const fn row(mut self, row: &Row) -> Self {
        self = self.number(row.opcode as u64).text(row.name).text(row.class.name());
        self = self.text(row.method).number(row.since as u64);
        self = self.number(row.cuda.len() as u64);
        let mut i = 0;
        while i < row.cuda.len() {
            self = self.text(row.cuda[i]);
            i += 1;
        }
        let tail = match row.tail {
            Some(tail) => tail,
            None => "",
        };
        self.fields(row.fields).text(tail).fields(row.reply)
    }
}

const _: () = {
    let mut i = 0;
    while i < ROWS.len() {
        assert!(ROWS[i].opcode as usize == i + 1, "opcodes count up from 1 without gaps");
        i += 1;
    }
};
