//! What a link is made of: the form in which its inputs travel.

use crate::{JIT_OPTIONS, JIT_OPTIONS_MAX, Status};

/// Inputs of one link, at most.
pub const LINK_INPUTS_MAX: usize = 4096;
/// The longest name of an input, in bytes.
pub const LINK_NAME_MAX_BYTES: usize = 4096;
/// Kind, count of options, bytes of the name, zeros; then bytes of the data.
const HEAD_BYTES: usize = 24;
const OPTION_BYTES: usize = 16;

/// One input of a link. It travels as a head (`kind: u32, options: u32, name: u32, 0: u32, data: u64`, the last three in
/// bytes), 16 bytes an option (`CUjit_option` and value, two words), name and data, each padded with zeros to a multiple of 8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInput<'a> {
    /// `CUjitInputType`.
    pub kind: u32,
    /// Options for this input alone, each one of [`JIT_OPTIONS`].
    pub options: Vec<(u32, u64)>,
    /// What the linker calls it in its logs, without a terminating zero.
    pub name: &'a [u8],
    /// Its bytes.
    pub data: &'a [u8],
}

/// Takes the first bytes, and leaves what is behind them and their padding.
fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let padded = bytes.checked_next_multiple_of(8)?;
    let (taken, behind) = rest.split_at_checked(padded)?;
    *rest = behind;
    let (taken, padding) = taken.split_at(bytes);
    padding.iter().all(|&byte| byte == 0).then_some(taken)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl<'a> LinkInput<'a> {
    /// Writes it behind what is there.
    pub fn append(&self, to: &mut Vec<u8>) {
        let head = [self.kind, self.options.len() as u32, self.name.len() as u32, 0];
        to.extend(head.iter().flat_map(|number| number.to_le_bytes()));
        to.extend((self.data.len() as u64).to_le_bytes());
        let words = self.options.iter().flat_map(|&(option, value)| [option.into(), value]);
        to.extend(words.flat_map(u64::to_le_bytes));
        for part in [self.name, self.data] {
            to.extend(part);
            to.resize(to.len().next_multiple_of(8), 0);
        }
    }

    /// The inputs that lie one behind the other.
    ///
    /// # Errors
    /// INVALID_VALUE if that is not what lies there, or if there are too many, or options that do not travel.
    pub fn all(mut bytes: &'a [u8]) -> Result<Vec<Self>, Status> {
        let mut inputs = Vec::new();
        while !bytes.is_empty() {
            let input = Self::first(&mut bytes).ok_or(Status::INVALID_VALUE)?;
            inputs.push(input);
            if inputs.len() > LINK_INPUTS_MAX {
                return Err(Status::INVALID_VALUE);
            }
        }
        Ok(inputs)
    }

    fn first(rest: &mut &'a [u8]) -> Option<Self> {
        let head = take(rest, HEAD_BYTES)?;
        let (first, second) = (word(head, 0)?, word(head, 8)?);
        let (options, name) = ((first >> 32) as usize, second as u32 as usize);
        if options > JIT_OPTIONS_MAX || name > LINK_NAME_MAX_BYTES || second >> 32 != 0 {
            return None;
        }
        let data = usize::try_from(word(head, 16)?).ok()?;
        let pairs = take(rest, options * OPTION_BYTES)?.chunks_exact(OPTION_BYTES);
        let pairs = pairs.map(|pair| {
            let option = u32::try_from(word(pair, 0)?).ok()?;
            Some((JIT_OPTIONS.contains(&option).then_some(option)?, word(pair, 8)?))
        });
        let options = pairs.collect::<Option<_>>()?;
        Some(Self { kind: first as u32, options, name: take(rest, name)?, data: take(rest, data)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Vec<u8>, [LinkInput<'static>; 2]) {
        let one = LinkInput { kind: 1, options: vec![(7, 3)], name: b"a.ptx", data: b".version" };
        let other = LinkInput { kind: 0, options: Vec::new(), name: b"", data: b"\x7fELF?" };
        let mut bytes = Vec::new();
        one.append(&mut bytes);
        other.append(&mut bytes);
        (bytes, [one, other])
    }

    #[test]
    fn inputs_come_back_as_they_were() {
        let (bytes, inputs) = two();
        assert_eq!(LinkInput::all(&bytes).unwrap(), inputs);
        assert_eq!(LinkInput::all(&[]).unwrap(), []);
    }

    #[test]
    fn no_part_of_them_and_no_changed_head_is_taken_for_more_than_there_is() {
        let (bytes, _) = two();
        let first = bytes.len() - 32;
        for len in (1..bytes.len()).filter(|len| *len != first) {
            assert_eq!(LinkInput::all(&bytes[..len]), Err(Status::INVALID_VALUE), "{len} bytes");
        }
        for at in 4..24 {
            let mut changed = bytes.clone();
            changed[at] = 0xff;
            assert_eq!(LinkInput::all(&changed), Err(Status::INVALID_VALUE), "byte {at}");
        }
    }

    #[test]
    fn an_option_that_would_be_an_address_does_not_travel() {
        let mut bytes = Vec::new();
        LinkInput { kind: 1, options: vec![(17, 0)], name: b"", data: b"" }.append(&mut bytes);
        assert_eq!(LinkInput::all(&bytes), Err(Status::INVALID_VALUE));
    }
}
