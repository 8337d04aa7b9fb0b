//! Which functions of the library below a body calls, through the functions of its own library.

use super::source::{Call, Function};
use std::collections::{BTreeMap, BTreeSet};

/// The functions of a library by name.
pub(super) struct Calls {
    by_name: BTreeMap<String, Vec<Function>>,
}

impl Calls {
    /// What the functions named in `on_the_way` do is left out, and what those do that are marked `#[cold]`.
    pub(super) fn new(functions: Vec<Function>, on_the_way: &[&str]) -> Self {
        let mut by_name = BTreeMap::<String, Vec<Function>>::new();
        for mut function in functions {
            let path = format!("{}::{}", last(&function.module), function.name);
            if function.cold || on_the_way.contains(&path.as_str()) {
                function.calls.clear();
            }
            by_name.entry(function.name.clone()).or_default().push(function);
        }
        Self { by_name }
    }

    /// The functions below that calls of a module lead to, sorted.
    pub(super) fn of(&self, module: &str, calls: &[Call]) -> Vec<String> {
        let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
        self.follow(module, calls, &mut found, &mut seen);
        found.into_iter().collect()
    }

    fn follow(
        &self,
        module: &str,
        calls: &[Call],
        found: &mut BTreeSet<String>,
        seen: &mut BTreeSet<*const Function>,
    ) {
        for call in calls {
            if let Call::Below(name) = call {
                found.insert(name.clone());
            }
            for function in self.meant(module, call) {
                if seen.insert(std::ptr::from_ref(function)) {
                    self.follow(&function.module, &function.calls, found, seen);
                }
            }
        }
    }

    /// The functions that a call may mean. Types are not known: a method is every method of the name.
    fn meant(&self, module: &str, call: &Call) -> Vec<&Function> {
        let named = |name: &str| self.by_name.get(name).into_iter().flatten();
        match call {
            Call::Below(_) => Vec::new(),
            Call::Method(name) => named(name).filter(|one| one.owner.is_some()).collect(),
            Call::Path(parent, name) if parent == "Self" => {
                named(name).filter(|one| one.module == module && one.owner.is_some()).collect()
            }
            Call::Path(parent, name) => named(name)
                .filter(|one| match &one.owner {
                    Some(owner) => owner == parent,
                    None => last(&one.module) == parent,
                })
                .collect(),
            Call::Plain(name) => {
                let free = || named(name).filter(|one| one.owner.is_none());
                let own: Vec<_> = free().filter(|one| one.module == module).collect();
                if own.is_empty() { free().collect() } else { own }
            }
        }
    }
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;

    fn calls(on_the_way: &[&str]) -> Vec<String> {
        let mut source = Source::default();
        source.read(
            "entry! { local fn cudaA() { bind()?; b::help(|driver| driver.cuGiven()); Thing::new().go(); } }
             fn bind() { driver.cuBind(); }",
            "crate::a",
        );
        source.read(
            "fn help() { bind(); recurse(); first(); }
             fn recurse() { recurse(); driver.cuHelped(); }
             #[cold] fn first() { driver.cuFirst(); }
             impl Thing { fn new() {} fn go(&self) { Self::inner() } fn inner() { driver.cuInner() } }
             impl Other { fn new() { driver.cuOther() } }",
            "crate::b",
        );
        let calls = source.rows[0].calls.clone();
        super::Calls::new(source.functions, on_the_way).of("crate::a", &calls)
    }

    #[test]
    fn calls_are_followed_through_functions_closures_and_methods_but_not_to_what_happens_once() {
        assert_eq!(calls(&[]), ["cuBind", "cuGiven", "cuHelped", "cuInner"]);
    }

    #[test]
    fn what_every_function_does_on_the_way_is_left_out() {
        assert_eq!(calls(&["a::bind"]), ["cuGiven", "cuHelped", "cuInner"]);
    }
}
