//! What VM.md says, as far as tests do it: a block stands behind a comment `<!-- block: NAME -->`, which no reader sees.

/// The page.
pub const PAGE: &str = include_str!("../../VM.md");

/// The lines of that block, without the indentation of a block.
///
/// # Panics
/// If the page has none of that name.
pub fn block(name: &str) -> String {
    let behind = PAGE.split(&format!("<!-- block: {name} -->\n\n")).nth(1);
    let behind = behind.unwrap_or_else(|| panic!("VM.md has no block {name}"));
    let lines = behind.lines().map_while(|line| line.strip_prefix("    "));
    lines.flat_map(|line| [line, "\n"]).collect()
}
