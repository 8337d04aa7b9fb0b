//! Linking of PTX texts, as far as names go: what one text needs another defines. There is no code here to be made of it.

use crate::ptx::Tokens;
use std::collections::BTreeSet;
use thiserror::Error;

/// Why texts cannot be linked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// No text defines what another needs.
    #[error("{name} is undefined; likely cause: the text that defines it was not added")]
    Undefined {
        /// The function or variable.
        name: String,
    },
    /// Two texts define the same name.
    #[error("{name} is defined twice; likely cause: a text was added twice, or lacks .weak")]
    Twice {
        /// The function or variable.
        name: String,
    },
}

/// Lines of which a text has one each.
const HEADS: [&str; 3] = [".version", ".target", ".address_size"];
/// What a definition or a declaration is of.
const KINDS: [&str; 4] = [".func", ".entry", ".global", ".const"];

/// The names of a text.
#[derive(Default)]
struct Names<'t> {
    /// Seen by other texts, and no other may define them.
    strong: Vec<&'t str>,
    weak: Vec<&'t str>,
    wanted: Vec<&'t str>,
}

impl<'t> Names<'t> {
    fn of(text: &'t str) -> Self {
        let (mut names, mut statement, mut depth) = (Self::default(), Vec::new(), 0_u32);
        for token in (Tokens { rest: text }) {
            match token {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                _ if depth == 0 && token != ";" => statement.push(token),
                _ => {}
            }
            // A body, initial values, or nothing ends what is declared.
            if depth == 0 && matches!(token, ";" | "}") {
                names.add(&statement, token == "}");
                statement.clear();
            }
        }
        names
    }

    fn add(&mut self, statement: &[&'t str], has_body: bool) {
        let Some(kind) = statement.iter().position(|token| KINDS.contains(token)) else { return };
        let Some(name) = name_of(&statement[kind + 1..]) else { return };
        let has = |word| statement[..kind].contains(&word);
        let is_code = [".func", ".entry"].contains(&statement[kind]);
        if has(".extern") {
            self.wanted.push(name);
        } else if is_code && !has_body {
            // A declaration of what the same text defines.
        } else if has(".weak") || has(".common") {
            self.weak.push(name);
        } else if has(".visible") {
            self.strong.push(name);
        }
    }
}

/// The first word outside parentheses that is neither a directive nor a number.
fn name_of<'t>(tokens: &[&'t str]) -> Option<&'t str> {
    let mut depth = 0_i32;
    tokens.iter().copied().find(|token| {
        depth += i32::from(*token == "(") - i32::from(*token == ")");
        depth == 0 && token.starts_with(|c: char| c.is_ascii_alphabetic() || "_$%".contains(c))
    })
}

/// One text of several, with the head of the first. A text ends with its first zero byte.
///
/// # Errors
/// [`LinkError`] if a name is defined by none of them, or by two.
pub fn link_texts(texts: &[&[u8]]) -> Result<String, LinkError> {
    let texts = texts.iter().map(|text| {
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        String::from_utf8_lossy(&text[..end])
    });
    let texts: Vec<_> = texts.collect();
    let names: Vec<Names<'_>> = texts.iter().map(|text| Names::of(text)).collect();
    let mut defined = BTreeSet::new();
    for name in names.iter().flat_map(|names| &names.strong) {
        if !defined.insert(*name) {
            return Err(LinkError::Twice { name: (*name).to_owned() });
        }
    }
    defined.extend(names.iter().flat_map(|names| &names.weak));
    let mut wanted = names.iter().flat_map(|names| &names.wanted);
    if let Some(name) = wanted.find(|name| !defined.contains(*name)) {
        return Err(LinkError::Undefined { name: (*name).to_owned() });
    }
    let is_head = |line: &&str| HEADS.iter().any(|head| line.trim_start().starts_with(head));
    let heads = texts.first().into_iter().flat_map(|text| text.lines()).filter(is_head);
    let bodies = texts.iter().flat_map(|text| text.lines()).filter(|line| !is_head(line));
    Ok(heads.chain(bodies).flat_map(|line| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    const HEAD: &str = ".version 7.8\n.target sm_75\n.address_size 64\n";
    const CALLER: &str = ".extern .func (.param .b32 sum) plus(.param .b32 a);\n.extern .global .align 4 .u32 counter;\n\
        .extern .shared .align 16 .b8 room[];\n.visible .entry run(.param .u64 p0)\n{\n{ .param .b32 a; }\nret;\n}\n";
    const CALLED: &str = ".visible .global .align 4 .u32 counter = 7;\n.global .u32 tables[2] = {1, 2};\n\
        .visible .func (.param .b32 sum) plus(.param .b32 a);\n\
        .visible .func (.param .b32 sum) plus(.param .b32 a)\n{\nret;\n}\n";

    fn linked(bodies: &[&str]) -> Result<String, LinkError> {
        let texts: Vec<String> = bodies.iter().map(|body| format!("{HEAD}{body}\0")).collect();
        let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        link_texts(&texts)
    }

    #[test]
    fn texts_that_need_each_other_are_one_image_with_all_that_they_have() {
        let text = linked(&[CALLER, CALLED]).unwrap();
        assert_eq!(text.matches(".version").count(), 1);
        let image = Image::parse(text.as_bytes(), 90).unwrap();
        assert_eq!(image.kernel("run").map(|kernel| kernel.params.len()), Some(1));
        assert_eq!(image.variable("counter").map(|variable| variable.bytes), Some(4));
    }

    #[test]
    fn what_nobody_defines_and_what_two_define_is_told_by_name() {
        let undefined = LinkError::Undefined { name: "plus".to_owned() };
        assert_eq!(linked(&[CALLER]), Err(undefined));
        let twice = LinkError::Twice { name: "counter".to_owned() };
        assert_eq!(linked(&[CALLED, CALLED]), Err(twice));
    }

    #[test]
    fn names_of_one_text_alone_and_weak_ones_may_be_defined_twice() {
        let body = ".global .u32 own;\n.weak .func shared()\n{\nret;\n}\n";
        assert!(linked(&[body, body]).is_ok());
    }
}
