//! The kernels that every mock GPU has.

use crate::kernel::{Kernel, KernelArgs, KernelFacts, KernelFault, KernelFn, KernelSpec};
use crate::mixing;
use ringbar_vocabulary::{Draw, PARAM_BLOCK_MAX_BYTES, Param};
use std::sync::Arc;

/// `fill_u32(dst, value: u32, count: u64)`, `axpy_f32(x, y, a: f32, count: u64)` (y += a x) and
/// `copy(dst, src, bytes: u64)`.
pub(crate) fn kernels() -> [KernelSpec; 3] {
    let spec = |name: &str, param_bytes: &[u16], run: KernelFn| KernelSpec {
        name: name.into(),
        param_bytes: param_bytes.into(),
        run,
    };
    [
        spec("fill_u32", &[8, 4, 8], fill_u32),
        spec("axpy_f32", &[8, 8, 4, 8], axpy_f32),
        spec("copy", &[8, 8, 8], copy),
    ]
}

fn bytes_of(count: u64) -> Result<u64, KernelFault> {
    count.checked_mul(4).ok_or(KernelFault::Failed("the count overflows"))
}

fn fill_u32(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (dst, value, count) = (args.ptr(0)?, args.u32(1)?.to_le_bytes(), args.u64(2)?);
    let place = args.memory_mut(dst, bytes_of(count)?)?;
    place.chunks_exact_mut(4).for_each(|word| word.copy_from_slice(&value));
    Ok(())
}

fn axpy_f32(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    const PIECE: u64 = 1024;
    let (x, y, a) = (args.ptr(0)?, args.ptr(1)?, args.f32(2)?);
    let bytes = bytes_of(args.u64(3)?)?;
    args.memory(x, bytes)?;
    args.memory(y, bytes)?;
    let mut piece = [0; PIECE as usize];
    for start in (0..bytes).step_by(PIECE as usize) {
        let len = PIECE.min(bytes - start);
        let piece = &mut piece[..len as usize];
        piece.copy_from_slice(args.memory(x.offset(start), len)?);
        let sums = args.memory_mut(y.offset(start), len)?;
        add_scaled(sums, piece, a);
    }
    Ok(())
}

fn add_scaled(sums: &mut [u8], terms: &[u8], a: f32) {
    let (sums, _) = sums.as_chunks_mut::<4>();
    let (terms, _) = terms.as_chunks::<4>();
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum = (f32::from_le_bytes(*sum) + a * f32::from_le_bytes(*term)).to_le_bytes();
    }
}

fn copy(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (dst, src, bytes) = (args.ptr(0)?, args.ptr(1)?, args.u64(2)?);
    args.copy(dst, src, bytes)
}

/// The name of the family `mix_<bytes>` in module images.
pub(crate) const MIX: &str = "mix";
/// What `mix_<bytes>` needs for its pointer.
const POINTER_BYTES: usize = 8;
/// What it changes at that pointer.
const STATE_BYTES: u64 = 32;

/// The kernel `mix_<bytes>`: folds its whole parameter block, in order, into 32 bytes of device
/// memory at its parameter 0, a pointer that the layout puts anywhere (aligned to 8). Below 8
/// bytes there is no pointer, and the block is folded into what the device keeps for the stream.
pub(crate) fn mix_kernel(name: &str, draw: Option<&mut Draw>) -> Option<Kernel> {
    let digits = name.strip_prefix("mix_")?;
    let param_bytes: usize = digits.parse().ok()?;
    // One spelling a kernel: no sign, no leading zeros.
    if param_bytes > PARAM_BLOCK_MAX_BYTES || param_bytes.to_string() != digits {
        return None;
    }
    let places = param_bytes / POINTER_BYTES;
    let place = draw.map_or(0, |draw| draw.below(places.max(1) as u64) as usize);
    let layout = mix_layout(param_bytes, place * POINTER_BYTES);
    let (facts, variables) = (KernelFacts::default(), Arc::default());
    Some(Kernel { name: name.into(), layout, param_bytes, run: mix, facts, variables })
}

/// The pointer first, then whatever lies before and behind it.
fn mix_layout(param_bytes: usize, pointer: usize) -> Box<[Param]> {
    let param = |from: usize, to: usize| {
        (from < to).then(|| Param { offset: from as u16, size: (to - from) as u16 })
    };
    if param_bytes < POINTER_BYTES {
        return param(0, param_bytes).into_iter().collect();
    }
    let behind = pointer + POINTER_BYTES;
    let all = [param(pointer, behind), param(0, pointer), param(behind, param_bytes)];
    all.into_iter().flatten().collect()
}

fn mix(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let block = args.block_bytes();
    if block.len() < POINTER_BYTES {
        args.fold_into_chain(block);
        return Ok(());
    }
    let at = args.ptr(0)?;
    let place = args.memory_mut(at, STATE_BYTES)?;
    let (words, _) = place.as_chunks_mut::<8>();
    let mut state = std::array::from_fn(|i| u64::from_le_bytes(words[i]));
    mixing::fold(&mut state, block);
    words.iter_mut().zip(state).for_each(|(word, lane)| *word = lane.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_kernel_has_exactly_the_bytes_of_its_name() {
        for bytes in [0, 1, 7, 8, 9, 44, 3440, 32_764] {
            for seed in 0..10 {
                let mut draw = Draw::new(seed);
                let kernel = mix_kernel(&format!("mix_{bytes}"), Some(&mut draw)).unwrap();
                let covered: usize = kernel.layout.iter().map(|p| usize::from(p.size)).sum();
                assert_eq!((kernel.param_bytes, covered), (bytes, bytes));
                let first = kernel.layout.first().map_or(0, |p| p.offset);
                assert_eq!(first % 8, 0);
            }
        }
    }

    #[test]
    fn other_spellings_are_no_mix_kernels() {
        for name in ["mix", "mix_", "mix_+8", "mix_08", "mix_-1", "mix_32765", "mix_8 ", "max_8"] {
            assert!(mix_kernel(name, None).is_none(), "{name}");
        }
    }
}
