//! Reads rows and functions from Rust sources, as tokens: a row is not Rust until its macro has made it so.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// An argument: name, type without lifetimes and paths, and the argument that says how many.
pub(super) type ArgumentText = (String, String, Option<String>);

/// A row: `class fn name(arguments) {body}`, or `= function of the library below;` for a body. One with two names,
/// `fn name | other[variable]`, is two of these.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) class: String,
    /// The module that it is in.
    pub(super) module: String,
    pub(super) arguments: Vec<ArgumentText>,
    pub(super) calls: Vec<Call>,
}

/// Something that a body calls or names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A function of the library below.
    Below(String),
    /// `name(..)`
    Plain(String),
    /// `parent::name`
    Path(String, String),
    /// `.name(..)`
    Method(String),
}

/// A function that is no row.
pub(super) struct Function {
    pub(super) module: String,
    /// The type that it belongs to.
    pub(super) owner: Option<String>,
    pub(super) name: String,
    /// Whether it is marked `#[cold]`.
    pub(super) cold: bool,
    pub(super) calls: Vec<Call>,
}

/// What was read.
#[derive(Default)]
pub(super) struct Source {
    pub(super) rows: Vec<Row>,
    pub(super) functions: Vec<Function>,
}

fn word(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, c: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == c)
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

/// Whether a name is one of CUDA's: `cuInit`, `cudaMalloc`, `__cudaInitModule`.
fn is_cuda(name: &str) -> bool {
    let plain = name.trim_start_matches('_');
    let rest = plain.strip_prefix("cuda").or_else(|| plain.strip_prefix("cu"));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

impl Source {
    /// Reads the text of a module.
    pub(super) fn read(&mut self, text: &str, module: &str) {
        let tokens: TokenStream =
            text.parse().unwrap_or_else(|error| panic!("{module} is no Rust: {error}"));
        self.items(tokens, module, None);
    }

    /// Rows and functions among tokens; `owner` is the type whose functions they are.
    fn items(&mut self, tokens: TokenStream, module: &str, owner: Option<&str>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let (mut at, mut cold, mut own) = (0, false, None);
        while at < tokens.len() {
            let here = &tokens[at];
            at += 1;
            if let TokenTree::Group(group) = here {
                cold |=
                    group.delimiter() == Delimiter::Bracket && group.stream().to_string() == "cold";
                self.items(group.stream(), module, own.take().as_deref().or(owner));
                continue;
            }
            match word(Some(here)).as_deref() {
                // Tests are no part of the library.
                Some("mod") if word(tokens.get(at)).as_deref() == Some("tests") => at += 2,
                Some("impl") => own = owner_of(&tokens[at..]),
                Some("fn") => {
                    let class = at.checked_sub(2).and_then(|before| word(tokens.get(before)));
                    at += self.function(&tokens[at..], class, module, owner, cold);
                    cold = false;
                }
                _ => {}
            }
        }
    }

    /// Takes what follows `fn`; answers how many tokens that were.
    fn function(
        &mut self,
        tokens: &[TokenTree],
        class: Option<String>,
        module: &str,
        owner: Option<&str>,
        cold: bool,
    ) -> usize {
        // In a macro's pattern there is no name.
        let Some(name) = word(tokens.first()) else { return 0 };
        let arguments =
            tokens.iter().position(|one| group(Some(one), Delimiter::Parenthesis).is_some());
        let Some(arguments_at) = arguments else { return 0 };
        let behind = &tokens[arguments_at + 1..];
        let end = behind.iter().position(|one| {
            group(Some(one), Delimiter::Brace).is_some() || is_punct(Some(one), ';')
        });
        let Some(end) = end else { return 0 };
        let body: TokenStream = behind[..=end].iter().cloned().collect();
        let mut calls = Vec::new();
        calls_of(body, &mut calls);
        let classes = ["free", "local", "post", "sync"];
        match class.filter(|class| is_cuda(&name) && classes.contains(&class.as_str())) {
            Some(class) => {
                let arguments = group(tokens.get(arguments_at), Delimiter::Parenthesis);
                let arguments = arguments.map(|group| arguments_of(group.stream()));
                let other = is_punct(tokens.get(1), '|').then(|| word(tokens.get(2))).flatten();
                for name in [Some(name), other].into_iter().flatten() {
                    self.rows.push(Row {
                        name,
                        class: class.clone(),
                        module: module.to_owned(),
                        arguments: arguments.clone().unwrap_or_default(),
                        calls: calls.clone(),
                    });
                }
            }
            None => self.functions.push(Function {
                module: module.to_owned(),
                owner: owner.map(str::to_owned),
                name,
                cold,
                calls,
            }),
        }
        arguments_at + 1 + end + 1
    }
}

/// The type of an `impl`: what stands behind `for`, or else first, as far as the braces.
fn owner_of(tokens: &[TokenTree]) -> Option<String> {
    let end = tokens.iter().position(|one| group(Some(one), Delimiter::Brace).is_some());
    let head = &tokens[..end?];
    let behind = head.iter().position(|one| word(Some(one)).as_deref() == Some("for"));
    let head = &head[behind.map_or(0, |at| at + 1)..];
    let named =
        |one| word(Some(one)).filter(|word| word.len() > 1 && word.starts_with(char::is_uppercase));
    head.iter().find_map(named)
}

fn arguments_of(tokens: TokenStream) -> Vec<ArgumentText> {
    let (mut all, mut one, mut depth) = (Vec::new(), Vec::new(), 0);
    for token in tokens {
        depth += i32::from(is_punct(Some(&token), '<')) - i32::from(is_punct(Some(&token), '>'));
        if depth == 0 && is_punct(Some(&token), ',') {
            all.extend(argument(&std::mem::take(&mut one)));
        } else {
            one.push(token);
        }
    }
    all.extend(argument(&one));
    all
}

fn argument(tokens: &[TokenTree]) -> Option<ArgumentText> {
    let name = word(tokens.first())?;
    let size = group(tokens.get(1), Delimiter::Bracket).map(|group| group.stream().to_string());
    let colon = tokens.iter().position(|one| is_punct(Some(one), ':'))?;
    Some((name, type_text(&tokens[colon + 1..]), size))
}

/// A type as people write it, without lifetimes and without the path before its name.
fn type_text(tokens: &[TokenTree]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            // A lifetime, and the comma behind it.
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                at += 1 + usize::from(is_punct(tokens.get(at + 1), ','));
            }
            TokenTree::Ident(_) if is_punct(tokens.get(at), ':') => at += 2,
            TokenTree::Group(group) => text += &group.to_string().replace(" ;", ";"),
            TokenTree::Ident(ident) => {
                let follows = matches!(tokens.get(at), Some(TokenTree::Ident(_)))
                    || is_punct(tokens.get(at), '*');
                text += &format!("{ident}{}", if follows { " " } else { "" });
            }
            other => text += &other.to_string(),
        }
    }
    text.replace(',', ", ")
}

/// What a body calls.
fn calls_of(tokens: TokenStream, calls: &mut Vec<Call>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            calls_of(group.stream(), calls);
        }
        let Some(name) = word(Some(token)) else { continue };
        let called = group(tokens.get(at + 1), Delimiter::Parenthesis).is_some();
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        let ends = is_punct(tokens.get(at + 1), ';');
        if (is_punct(before, '.') && called || is_punct(before, '=') && ends) && is_cuda(&name) {
            calls.push(Call::Below(name));
        } else if is_punct(before, '.') && called {
            calls.push(Call::Method(name));
        } else if is_punct(before, ':') {
            let parent = at.checked_sub(3).and_then(|parent| word(tokens.get(parent)));
            calls.extend(parent.map(|parent| Call::Path(parent, name)));
        } else if called {
            calls.push(Call::Plain(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Source {
        let mut source = Source::default();
        source.read(text, "crate::a");
        source
    }

    #[test]
    fn a_row_with_two_names_is_two_with_the_same_arguments() {
        let source = read(
            "streamed! { #[doc = \"x\"] post fn cudaA | cudaA_ptsz[stream](to[count]: Out<'_, [u64; 4]>, count: usize, \
             place: crate::types::Place, name: *const *mut c_char) = cuA_v2; }",
        );
        let names: Vec<_> = source.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["cudaA", "cudaA_ptsz"]);
        let text = |name: &str, ty: &str| (name.to_owned(), ty.to_owned(), None);
        let to = ("to".to_owned(), "Out<[u64; 4]>".to_owned(), Some("count".to_owned()));
        let rest =
            [text("count", "usize"), text("place", "Place"), text("name", "*const *mut c_char")];
        assert_eq!(source.rows[1].arguments, [vec![to], rest.to_vec()].concat());
        assert_eq!(source.rows[0].calls, [Call::Below("cuA_v2".into())]);
    }

    #[test]
    fn a_function_has_its_owner_its_mark_and_what_it_calls_also_in_closures_and_macros() {
        let source = read(
            "impl<T> From<u8> for Thing<T> { #[cold] fn find(&self) -> Option<()> { \
             self.driver.cuFind(|| other(vec![module::third(1)])); let x = cuThis; } } fn plain() {}",
        );
        let found = &source.functions[0];
        assert_eq!(
            (found.owner.as_deref(), found.name.as_str(), found.cold),
            (Some("Thing"), "find", true)
        );
        let calls = [
            Call::Below("cuFind".into()),
            Call::Below("cuThis".into()),
            Call::Path("module".into(), "third".into()),
            Call::Plain("other".into()),
        ];
        assert!(calls.iter().all(|call| found.calls.contains(call)), "{:?}", found.calls);
        assert!(!source.functions[1].cold && source.functions[1].owner.is_none());
    }

    #[test]
    fn patterns_of_macros_and_tests_are_no_rows() {
        let source = read(
            "macro_rules! entry { ($($class:ident fn $name:ident($($arg:ident: $Type:ty),*) $body:block)+) => {} } \
             mod tests { entry! { local fn cuTest() {} } }",
        );
        assert!(source.rows.is_empty() && source.functions.is_empty());
    }
}
