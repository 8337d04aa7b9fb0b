//! Parameter layouts of kernels, as `function_lookup` answers them.

/// Where one parameter lies in a kernel's parameter block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Param {
    /// Offset in bytes from the start of the block.
    pub offset: u16,
    /// Size in bytes.
    pub size: u16,
}

/// The most bytes of a kernel's parameter block.
pub const PARAM_BLOCK_MAX_BYTES: usize = 32_764;
/// How many parameters a lookup's reply holds itself; more travel in the arena.
pub const INLINE_PARAMS: usize = 10;

impl Param {
    /// Both numbers in one word: offset in the low half, size in the high.
    #[inline]
    pub const fn to_word(self) -> u32 {
        self.offset as u32 | (self.size as u32) << 16
    }

    /// The reverse of [`Param::to_word`].
    #[inline]
    pub const fn from_word(word: u32) -> Self {
        Self { offset: word as u16, size: (word >> 16) as u16 }
    }

    /// The first byte after the parameter.
    #[inline]
    pub const fn end(self) -> usize {
        self.offset as usize + self.size as usize
    }

    /// The first parameters as a reply holds them, zeros behind them.
    pub fn inline(params: &[Param]) -> [u32; INLINE_PARAMS] {
        std::array::from_fn(|i| params.get(i).map_or(0, |param| param.to_word()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_survives_its_word() {
        let param = Param { offset: 32_756, size: 8 };
        assert_eq!(Param::from_word(param.to_word()), param);
        assert_eq!(param.end(), PARAM_BLOCK_MAX_BYTES);
    }
}
