//! The coverage page, generated from the table.

use crate::{Class, FieldRow, ROWS, Row};
use std::fmt::Write;

/// The coverage page as Markdown: which functions there are, how they travel, what they carry.
pub fn coverage_markdown() -> String {
    let count = |class| ROWS.iter().filter(|row| row.class == class).count();
    let names: usize = ROWS.iter().map(|row| row.cuda.len()).sum();
    let mut page = format!(
        "# Coverage\n\nGenerated from the table in `src/rows/` by `coverage_markdown()`; a test \
         compares this page with it.\n\n{} rows carry {names} CUDA functions: {} local, {} posted, \
         {} synchronous.\n\n| opcode | command | class | CUDA functions | since | carries | \
         answers |\n|---|---|---|---|---|---|---|\n",
        ROWS.len(),
        count(Class::Local),
        count(Class::Post),
        count(Class::Sync),
    );
    for row in ROWS {
        page.push_str(&line(row));
    }
    page
}

fn line(row: &Row) -> String {
    format!(
        "| {} | `{}` | {} | {} | {} | {} | {} |\n",
        row.opcode,
        row.method,
        row.class.name(),
        row.cuda.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        since(row.since),
        carries(row),
        fields(row.reply, false),
    )
}

fn since(version: u32) -> String {
    if version == 0 { "-".into() } else { format!("{}.{}", version / 1000, version % 1000 / 10) }
}

fn carries(row: &Row) -> String {
    let mut text = fields(row.fields, true);
    if let Some(tail) = row.tail {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}`{tail}`: bytes");
    }
    text
}

fn fields(fields: &[FieldRow], with_direction: bool) -> String {
    let one = |field: &FieldRow| {
        let direction = if with_direction && field.direction.name() == "out" { "out " } else { "" };
        format!("{direction}`{}: {}`", field.name, field.ty)
    };
    fields.iter().map(one).collect::<Vec<_>>().join(", ")
}
