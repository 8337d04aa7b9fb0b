//! Short texts that cross the wire: a fixed field, valid UTF-8, nothing that could confuse a log or a terminal.

use std::fmt;

/// At most `N` bytes of UTF-8 (`N` up to 255) without control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Text<const N: usize>(Box<str>);

/// Why bytes are no [`Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Longer than its field.
    #[error("found a length of {found}, expected at most {max}")]
    Length {
        /// The length given.
        found: usize,
        /// Bytes in the field.
        max: usize,
    },
    /// Not UTF-8.
    #[error("found bytes that are not UTF-8 after the first {valid}")]
    Encoding {
        /// Bytes that are valid.
        valid: usize,
    },
    /// A line break, an escape sequence or the like.
    #[error("found the control character {found:#x}, expected printable text")]
    Control {
        /// The character.
        found: u32,
    },
    /// Bytes behind the end of the text.
    #[error("found bytes behind the end of the text, expected zeros")]
    Padding,
}

impl<const N: usize> Text<N> {
    /// Bytes that fit.
    const MAX: usize = if N < 255 { N } else { 255 };

    /// As much of `text` as fits, cut between characters, with control characters replaced by `?`.
    pub fn new(text: &str) -> Self {
        let mut result = String::with_capacity(text.len().min(Self::MAX));
        for character in text.chars().map(|c| if c.is_control() { '?' } else { c }) {
            if result.len() + character.len_utf8() > Self::MAX {
                break;
            }
            result.push(character);
        }
        Self(result.into())
    }

    /// Takes a field from the wire, or says what is wrong with it.
    pub fn from_wire(len: usize, bytes: [u8; N]) -> Result<Self, TextError> {
        if len > Self::MAX {
            return Err(TextError::Length { found: len, max: Self::MAX });
        }
        let (used, padding) = bytes.split_at(len);
        let text = std::str::from_utf8(used)
            .map_err(|e| TextError::Encoding { valid: e.valid_up_to() })?;
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(TextError::Control { found: found.into() });
        }
        if padding.iter().any(|&byte| byte != 0) {
            return Err(TextError::Padding);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The field as it goes over the wire: length and bytes.
    pub fn to_wire(&self) -> (u8, [u8; N]) {
        let mut bytes = [0; N];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        (self.0.len() as u8, bytes)
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl<const N: usize> From<&str> for Text<N> {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(Text::<5>::new("aäöü").as_str(), "aäö");
        assert_eq!(Text::<4>::new("aäöü").as_str(), "aä");
        assert_eq!(Text::<255>::new(&"x".repeat(999)).as_str().len(), 255);
    }

    #[test]
    fn control_characters_are_replaced_when_made_and_refused_when_received() {
        assert_eq!(Text::<16>::new("a\nb\u{1b}[31m").as_str(), "a?b?[31m");
        let error = Text::<4>::from_wire(3, *b"a\nb\0").unwrap_err();
        assert_eq!(error, TextError::Control { found: 10 });
    }

    #[test]
    fn every_text_survives_the_wire() {
        for text in ["", "a", "grün", "exactly8", "much longer than the field"] {
            let made = Text::<8>::new(text);
            let (len, bytes) = made.to_wire();
            assert_eq!(Text::from_wire(len.into(), bytes), Ok(made));
        }
    }

    #[test]
    fn lengths_encodings_and_padding_that_do_not_fit_are_refused() {
        let refused = |len, bytes| Text::<4>::from_wire(len, bytes).unwrap_err();
        assert_eq!(refused(5, *b"abcd"), TextError::Length { found: 5, max: 4 });
        assert_eq!(refused(usize::MAX, [0; 4]), TextError::Length { found: usize::MAX, max: 4 });
        assert_eq!(refused(2, [b'a', 0xff, 0, 0]), TextError::Encoding { valid: 1 });
        assert_eq!(refused(1, *b"ab\0\0"), TextError::Padding);
    }
}
