//! PTX text: just enough of its grammar to find kernels, their parameters, and variables.

use crate::ImageError;
use crate::image::{Image, Kernel, Variable, VariableKind};
use ringbar_vocabulary::{PARAM_BLOCK_MAX_BYTES, Param};
use std::iter::Peekable;

/// Initial bytes of all variables together, at most, in bytes of memory a byte of text.
const INITIAL_RATIO_MAX: usize = 8;

/// Whether the bytes begin like PTX: printable, and with a version somewhere near the start.
pub(crate) fn is_ptx(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(4096)];
    head.windows(8).any(|window| window == b".version")
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Image, ImageError> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    let tokens = Tokens { rest: &text };
    let prints = tokens.clone().any(|token| token == "vprintf");
    let mut parser = Parser { tokens: tokens.peekable(), left: text.len() * INITIAL_RATIO_MAX };
    let mut image = Image { is_ptx: true, prints, ..Image::default() };
    while let Some(token) = parser.next() {
        match token {
            ".target" => image.sm = parser.target().unwrap_or(image.sm),
            ".entry" => image.kernels.push(parser.entry()?),
            ".global" => image.variables.extend(parser.variable(VariableKind::Global)?),
            ".const" => image.variables.extend(parser.variable(VariableKind::Constant)?),
            // An external one is another image's.
            ".extern" => parser.skip_to(";"),
            "{" => parser.skip_block(),
            _ => {}
        }
    }
    Ok(image)
}

/// Words, numbers and punctuation, one after the other: all together would take many times the text. Comments and white space
/// are left out.
#[derive(Clone)]
pub(crate) struct Tokens<'t> {
    pub(crate) rest: &'t str,
}

impl<'t> Iterator for Tokens<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        loop {
            let first = self.rest.chars().next()?;
            if let Some(behind) = self.rest.strip_prefix("//") {
                self.rest = behind.split_once('\n').map_or("", |(_, behind)| behind);
            } else if let Some(behind) = self.rest.strip_prefix("/*") {
                self.rest = behind.split_once("*/").map_or("", |(_, behind)| behind);
            } else {
                let word = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
                let (token, behind) = self.rest.split_at(word.max(first.len_utf8()));
                self.rest = behind;
                if !first.is_whitespace() {
                    return Some(token);
                }
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.' | '-')
}

struct Parser<'t> {
    tokens: Peekable<Tokens<'t>>,
    /// Initial bytes that may still be made.
    left: usize,
}

/// `.type name[dimensions]`, with what stands before the name.
struct Declaration<'t> {
    name: &'t str,
    bytes: u64,
    align: u64,
    element: &'t str,
    managed: bool,
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Option<&'t str> {
        self.tokens.next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.tokens.next_if(|next| *next == token).is_some()
    }

    fn skip_to(&mut self, end: &str) {
        while self.next().is_some_and(|token| token != end) {}
    }

    /// Skips a block whose brace was taken.
    fn skip_block(&mut self) {
        let mut depth = 1u32;
        while depth > 0 {
            match self.next() {
                Some("{") => depth += 1,
                Some("}") => depth -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    /// The number of `sm_90` or `sm_90a`.
    fn target(&mut self) -> Option<u32> {
        let digits = self.next()?.strip_prefix("sm_")?;
        digits.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
    }

    /// A kernel, from its name to its body.
    fn entry(&mut self) -> Result<Kernel, ImageError> {
        let name = self.next().unwrap_or_default();
        let mut kernel = Kernel { name: name.into(), ..Kernel::default() };
        if self.take("(") {
            self.parameters(&mut kernel)?;
        }
        loop {
            match self.next() {
                Some(".maxntid" | ".reqntid") => kernel.max_threads = self.product(),
                Some(".reqnctapercluster") => kernel.cluster = self.triple(),
                Some("{") => {
                    self.skip_block();
                    break;
                }
                Some(";") | None => break,
                Some(_) => {}
            }
        }
        Ok(kernel)
    }

    fn parameters(&mut self, kernel: &mut Kernel) -> Result<(), ImageError> {
        let mut end = 0u64;
        while let Some(token) = self.next() {
            match token {
                ")" => break,
                ".param" => {
                    let found = self.declaration()?;
                    let offset = end.next_multiple_of(found.align);
                    end = offset.saturating_add(found.bytes);
                    if end > PARAM_BLOCK_MAX_BYTES as u64 {
                        return Err(malformed("its parameters are too long", &kernel.name));
                    }
                    kernel.params.push(Param { offset: offset as u16, size: found.bytes as u16 });
                }
                _ => {}
            }
        }
        kernel.param_bytes = end as usize;
        Ok(())
    }

    /// One variable of a module; none for an array without a size, which is another image's.
    fn variable(&mut self, kind: VariableKind) -> Result<Option<Variable>, ImageError> {
        let found = self.declaration()?;
        let initial = if self.take("=") { self.initial(&found)? } else { None };
        self.skip_to(";");
        let kind = if found.managed { VariableKind::Managed } else { kind };
        let bytes = found.bytes;
        Ok((bytes > 0).then(|| Variable { name: found.name.into(), bytes, kind, initial }))
    }

    fn declaration(&mut self) -> Result<Declaration<'t>, ImageError> {
        let (mut align, mut element, mut managed) = (None, "", false);
        let (mut vector, mut pointer) = (1, false);
        let name = loop {
            match self.next() {
                // Behind `.ptr` an alignment is that of what the pointer points to.
                Some(".ptr") => pointer = true,
                Some(".align") => {
                    let found = self.next().and_then(|token| token.parse::<u64>().ok());
                    let found = found.filter(|n| n.is_power_of_two() && *n <= 1 << 20);
                    let found = found.ok_or_else(|| malformed("an alignment", "no power of 2"))?;
                    align = if pointer { align } else { Some(found) };
                }
                Some(".attribute") => managed |= self.attribute_is_managed(),
                Some(".v2") => vector = 2,
                Some(".v4") => vector = 4,
                Some(word) if word.starts_with('.') => {
                    element = if size_of_type(word).is_some() { word } else { element };
                }
                Some(word) => break word,
                None => return Err(malformed("a declaration", "it ends early")),
            }
        };
        let one = size_of_type(element).ok_or_else(|| malformed("a type", element))? * vector;
        let mut bytes = one;
        while self.take("[") {
            let count = self.next().and_then(|token| token.parse::<u64>().ok());
            bytes = bytes.saturating_mul(count.unwrap_or(0));
            if count.is_some() {
                self.take("]");
            }
        }
        Ok(Declaration { name, bytes, align: align.unwrap_or(one), element, managed })
    }

    fn attribute_is_managed(&mut self) -> bool {
        let mut managed = false;
        while let Some(token) = self.next() {
            managed |= token == ".managed";
            if token == ")" {
                break;
            }
        }
        managed
    }

    /// The bytes of an initialiser; none if it is not made of numbers alone.
    fn initial(&mut self, of: &Declaration<'_>) -> Result<Option<Vec<u8>>, ImageError> {
        let width = size_of_type(of.element).unwrap_or(1) as usize;
        let total = of.bytes as usize;
        self.left = self.left.checked_sub(total).ok_or_else(|| {
            malformed("an initial value", "far larger than the text that gives it")
        })?;
        let mut bytes = Vec::new();
        while let Some(token) = self.tokens.next_if(|token| *token != ";") {
            match token {
                "{" | "}" | "," => {}
                _ => match constant(token) {
                    Some(value) => bytes.extend_from_slice(&value.to_le_bytes()[..width.min(8)]),
                    None => return Ok(None),
                },
            }
        }
        bytes.resize(total, 0);
        Ok(Some(bytes))
    }

    fn triple(&mut self) -> Option<[u32; 3]> {
        let mut all = [1; 3];
        for place in &mut all {
            *place = self.next()?.parse().ok()?;
            if !self.take(",") {
                break;
            }
        }
        Some(all)
    }

    fn product(&mut self) -> Option<u32> {
        Some(self.triple()?.iter().fold(1u32, |all, &n| all.saturating_mul(n)))
    }
}

fn malformed(what: &str, detail: &str) -> ImageError {
    ImageError::malformed("PTX", format_args!("{what}: {detail}"))
}

fn size_of_type(name: &str) -> Option<u64> {
    Some(match name {
        ".b8" | ".u8" | ".s8" | ".pred" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" | ".tf32" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" | ".texref" | ".samplerref" | ".surfref" => 8,
        ".b128" => 16,
        _ => return None,
    })
}

/// A number as its bits: decimal, octal, hexadecimal, `0f` and `0d` floats.
fn constant(token: &str) -> Option<u64> {
    let (negative, digits) = match token.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, token),
    };
    let lower = digits.to_ascii_lowercase();
    let lower = lower.trim_end_matches('u');
    let radix = |prefix: &str, radix| {
        lower.strip_prefix(prefix).map(|digits| u64::from_str_radix(digits, radix).ok())
    };
    let value = radix("0x", 16)
        .or_else(|| radix("0f", 16))
        .or_else(|| radix("0d", 16))
        .or_else(|| radix("0b", 2))
        .unwrap_or_else(|| lower.parse().ok())?;
    Some(if negative { value.wrapping_neg() } else { value })
}
