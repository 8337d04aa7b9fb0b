//! Shared memory as an attacker would have it.

use ringbar::lines::{LINE_WORDS, Lines};
use ringbar::sync::Ordering;
use std::cell::RefCell;
use std::rc::Rc;

/// What decides the value of a load: line (not masked), word, how often this word was loaded before.
pub trait Peer {
    /// A control word.
    fn control(&mut self, line: usize, word: usize, loads_before: u32) -> u64;
    /// A payload word.
    fn payload(&mut self, line: usize, word: usize, loads_before: u32) -> u64;
    /// This side stored a control word.
    fn stored(&mut self, _line: usize, _word: usize, _value: u64) {}
    /// This side stored a payload word.
    fn stored_payload(&mut self, line: usize, word: usize, value: u64) {
        self.stored(line, word, value);
    }
}

/// Lines whose every load is answered by a [`Peer`], and counted for each word.
pub struct FreshLines<P>(Rc<RefCell<Inner<P>>>);

struct Inner<P> {
    mask: usize,
    peer: P,
    loads: Vec<u32>,
    /// Words of which `loads` is not 0.
    touched: Vec<usize>,
}

impl<P> Clone for FreshLines<P> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<P> FreshLines<P> {
    /// `count` lines, a power of two.
    pub fn new(count: usize, peer: P) -> Self {
        assert!(count.is_power_of_two());
        let inner = Inner {
            mask: count - 1,
            peer,
            loads: vec![0; count * LINE_WORDS],
            touched: Vec::new(),
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Looks at the peer, or changes it.
    pub fn with<T>(&self, act: impl FnOnce(&mut P) -> T) -> T {
        act(&mut self.0.borrow_mut().peer)
    }

    /// Each word that was loaded, as (line in memory, word, loads), and forgets them.
    pub fn take_loads(&self) -> Vec<(usize, usize, u32)> {
        let inner = &mut *self.0.borrow_mut();
        let loads = &mut inner.loads;
        let taken = inner
            .touched
            .drain(..)
            .map(|at| (at / LINE_WORDS, at % LINE_WORDS, core::mem::take(&mut loads[at])));
        taken.collect()
    }
}

impl<P> Inner<P> {
    fn count(&mut self, line: usize, word: usize) -> u32 {
        assert!(word < LINE_WORDS, "word {word} of a line");
        let at = (line & self.mask) * LINE_WORDS + word;
        if self.loads[at] == 0 {
            self.touched.push(at);
        }
        self.loads[at] += 1;
        self.loads[at] - 1
    }
}

impl<P: Peer> Lines for FreshLines<P> {
    fn mask(&self) -> usize {
        self.0.borrow().mask
    }

    fn load(&self, line: usize, word: usize, _: Ordering) -> u64 {
        let inner = &mut *self.0.borrow_mut();
        let before = inner.count(line, word);
        inner.peer.control(line, word, before)
    }

    fn store(&self, line: usize, word: usize, value: u64, _: Ordering) {
        assert!(word < LINE_WORDS, "word {word} of a line");
        self.0.borrow_mut().peer.stored(line, word, value);
    }

    fn payload(&self, line: usize, word: usize) -> u64 {
        let inner = &mut *self.0.borrow_mut();
        let before = inner.count(line, word);
        inner.peer.payload(line, word, before)
    }

    fn set_payload(&self, line: usize, word: usize, value: u64) {
        assert!(word < LINE_WORDS, "word {word} of a line");
        self.0.borrow_mut().peer.stored_payload(line, word, value);
    }
}

/// Lines of any kind: a ring and its header are given to one side as one type.
#[derive(Clone)]
pub struct AnyLines(Rc<dyn Lines>);

impl AnyLines {
    /// Shares `lines`.
    pub fn of<P: Peer + 'static>(lines: &FreshLines<P>) -> Self {
        Self(Rc::new(lines.clone()))
    }
}

impl Lines for AnyLines {
    fn mask(&self) -> usize {
        self.0.mask()
    }

    fn load(&self, line: usize, word: usize, order: Ordering) -> u64 {
        self.0.load(line, word, order)
    }

    fn store(&self, line: usize, word: usize, value: u64, order: Ordering) {
        self.0.store(line, word, value, order);
    }

    fn payload(&self, line: usize, word: usize) -> u64 {
        self.0.payload(line, word)
    }

    fn set_payload(&self, line: usize, word: usize, value: u64) {
        self.0.set_payload(line, word, value);
    }
}

/// A header that is only written, values that never go back: any load of it is a mistake. Remembers the last store.
#[derive(Default)]
pub struct WriteOnly {
    /// The last store: line, word, value.
    pub last: Option<(usize, usize, u64)>,
}

impl Peer for WriteOnly {
    fn control(&mut self, line: usize, word: usize, _: u32) -> u64 {
        panic!("word {word} of header line {line} was loaded")
    }

    fn payload(&mut self, line: usize, word: usize, _: u32) -> u64 {
        panic!("word {word} of header line {line} was loaded")
    }

    fn stored(&mut self, line: usize, word: usize, value: u64) {
        assert!(self.last.is_none_or(|(_, _, last)| last <= value), "a position went back");
        self.last = Some((line, word, value));
    }
}

/// Plain memory: what is loaded is what was stored.
pub struct Plain {
    words: Vec<u64>,
    mask: usize,
}

impl Plain {
    /// `count` zeroed lines.
    pub fn new(count: usize) -> Self {
        Self { words: vec![0; count * LINE_WORDS], mask: count - 1 }
    }

    /// A word.
    pub fn word(&mut self, line: usize, word: usize) -> &mut u64 {
        &mut self.words[(line & self.mask) * LINE_WORDS + word]
    }
}

impl Peer for Plain {
    fn control(&mut self, line: usize, word: usize, _: u32) -> u64 {
        *self.word(line, word)
    }

    fn payload(&mut self, line: usize, word: usize, _: u32) -> u64 {
        *self.word(line, word)
    }

    fn stored(&mut self, line: usize, word: usize, value: u64) {
        *self.word(line, word) = value;
    }
}
