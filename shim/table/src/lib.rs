//! The tables of the functions that the libraries for programs export: what is in a row, how rows are read from the sources
//! (`build`, with the feature of that name), and the page that shows them ([`page`]).
//!
//! A library has a `functions.tsv`, which says what no source of ours decides: every name that it exports, which function
//! that is a version of, since when, whose default stream it means. All else about a function stands in its row in the
//! sources: class, arguments with direction and size, behaviour. A build script joins the two and writes the library's
//! table, a stub for each name without a row, and an index by name.

#![forbid(unsafe_code)]

#[cfg(feature = "build")]
pub mod build;
pub mod page;

/// What a function costs, and when it may be called. From cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Answers always, also before the library is started and after the executor is lost.
    Free,
    /// Answers without a command.
    Local,
    /// Sends commands and waits for none.
    Post,
    /// Waits for an answer.
    Sync,
}

impl Class {
    /// The class of that name in a row.
    ///
    /// # Panics
    /// If it is none: in a build script or in a constant, where it stops the build.
    pub const fn of(name: &str) -> Self {
        match name.as_bytes() {
            b"free" => Self::Free,
            b"local" => Self::Local,
            b"post" => Self::Post,
            b"sync" => Self::Sync,
            _ => panic!("a class is free, local, post or sync"),
        }
    }

    /// The class that is this number, as one library tells another; `None` for a number that is none.
    pub fn numbered(number: u8) -> Option<Self> {
        [Self::Free, Self::Local, Self::Post, Self::Sync].get(usize::from(number)).copied()
    }

    /// The word in statistics and recordings, which tell `local` and `free` not apart.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free | Self::Local => "local",
            Self::Post => "post",
            Self::Sync => "sync",
        }
    }
}

/// One exported function: a row of `functions.tsv`, and the row of the sources that implements it.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// Its symbol.
    pub name: &'static str,
    /// The function that it is a version or a spelling of, by which it is asked for; `None` for what no public header names.
    pub function: Option<&'static str>,
    /// The version of CUDA that brought this symbol: 12,040 is 12.4.
    pub since: i32,
    /// Whether a null stream is the thread's own in this spelling.
    pub per_thread: bool,
    /// Whether the sources have a row for it, as opposed to a stub that answers "not supported" always.
    pub implemented: bool,
    /// What it costs; [`Class::Local`] for one that is not implemented.
    pub class: Class,
    /// Its arguments; none for one that is not implemented.
    pub arguments: &'static [Argument],
    /// The functions of the library below that it calls, itself or by its helpers; none for the lowest library.
    pub calls: &'static [&'static str],
}

/// One argument of a C function, as its row has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// Its type without lifetimes, by which it is read, written, both, or a value.
    pub ty: &'static str,
    /// The argument that says how many of `T` there are; `None` for one.
    pub size: Option<&'static str>,
}

impl Argument {
    /// In which direction it goes (`in`, `out`, `in and out`; nothing for a value), and the type of what it refers to.
    pub fn direction(&self) -> (&'static str, &'static str) {
        let wrappers = [
            ("In<", "in"),
            ("Out<", "out"),
            ("InOut<", "in and out"),
            ("*const ", "in"),
            ("*mut ", "out"),
        ];
        let found = wrappers.iter().find_map(|(outer, direction)| {
            let inner = self.ty.strip_prefix(outer)?;
            Some((*direction, inner.strip_suffix('>').unwrap_or(inner)))
        });
        found.unwrap_or(match self.ty {
            "Text" => ("in", "text"),
            "Image" => ("in", "image"),
            "InBytes" => ("in", "bytes"),
            "OutBytes" => ("out", "bytes"),
            value => ("", value),
        })
    }

    /// Direction, name, type and size in one: `out nodes: CUgraphNode[count]`.
    pub fn text(&self) -> String {
        let size = self.size.map_or_else(String::new, |size| format!("[{size}]"));
        let (direction, ty) = self.direction();
        let space = if direction.is_empty() { "" } else { " " };
        format!("{direction}{space}{}: {ty}{size}", self.name)
    }
}

/// How often a function of one library was called, as the other library asks for it: the layout that both must have.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CallCount {
    /// The function's name, without a terminating zero; it stays as long as the process.
    pub name: *const u8,
    /// Bytes of the name.
    pub name_bytes: usize,
    /// A [`Class`] by its number.
    pub class: u8,
    /// Calls so far.
    pub calls: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_says_its_direction_and_size() {
        let text = |name: &'static str, ty, size| Argument { name, ty, size }.text();
        assert_eq!(text("flags", "u32", None), "flags: u32");
        assert_eq!(text("name", "Text", None), "in name: text");
        assert_eq!(
            text("nodes", "Out<CUgraphNode>", Some("count")),
            "out nodes: CUgraphNode[count]"
        );
        assert_eq!(text("count", "InOut<usize>", None), "in and out count: usize");
        assert_eq!(text("src", "InBytes", Some("bytes")), "in src: bytes[bytes]");
        assert_eq!(text("place", "*mut c_void", Some("attribute")), "out place: c_void[attribute]");
    }

    #[test]
    fn classes_are_ordered_by_cost_and_known_by_their_words() {
        let words = ["free", "local", "post", "sync"];
        assert!(words.map(Class::of).is_sorted_by(|a, b| a < b));
        for class in words.map(Class::of) {
            assert_eq!(Class::numbered(class as u8), Some(class));
        }
        assert_eq!(Class::numbered(4), None);
        assert_eq!(words.map(|word| Class::of(word).name()), ["local", "local", "post", "sync"]);
    }
}
