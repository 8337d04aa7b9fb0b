//! The kernels of the programs in `shim/programs`, by the names that NVIDIA's compiler gives them: what each does is said
//! by its source there. A body here stands for all threads of a launch at once.

mod textures;

use crate::kernel::{KernelArgs, KernelFault, KernelFn, KernelSpec};
use ringbar_vocabulary::DevicePtr;

/// Every kernel of the programs.
pub(crate) fn kernels() -> Vec<KernelSpec> {
    let fixed: [(&str, &[u16], KernelFn); 23] = [
        ("_Z10vector_addPKfS0_Pfi", &[8, 8, 8, 4], vector_add),
        ("_Z5saxpyfPKfPfi", &[4, 8, 8, 4], saxpy),
        ("_Z10reduce_sumPKjPyi", &[8, 8, 4], reduce_sum),
        ("_Z12matmul_tiledILi16EEvPKfS1_Pf5Shape", &[8, 8, 8, 12], matmul),
        ("_Z12matmul_tiledILi8EEvPKfS1_Pf5Shape", &[8, 8, 8, 12], matmul),
        ("_Z10add_to_allPiii", &[8, 4, 4], add_to_all),
        ("_Z10double_allPii", &[8, 4], double_all),
        ("_Z9fill_withPiii", &[8, 4, 4], fill_with),
        ("_Z11add_pitchedPcmiii", &[8, 8, 4, 4, 4], add_pitched),
        ("_Z10polynomialPKfPfi", &[8, 8, 4], polynomial),
        ("_Z13add_to_totalsi", &[4], add_to_totals),
        ("_Z5storePii", &[8, 4], store),
        ("_Z13grid_wide_sumPKiPiS1_i", &[8, 8, 8, 4], grid_wide_sum),
        ("_Z5greetid", &[4, 8], greet),
        ("_Z9sum_table5TablePi", &[2800, 8], sum_table),
        ("_Z9mix_typescsixfdPd", &[1, 2, 4, 8, 4, 8, 8], mix_types),
        ("eight_arguments", &[8, 4, 4, 4, 4, 4, 4, 4], eight_arguments),
        ("_Z12sample_planeyPfiiffff", &[8, 8, 4, 4, 4, 4, 4, 4], textures::sample_plane),
        ("_Z14sample_coloursyP6float4ii", &[8, 8, 4, 4], textures::sample_colours),
        ("_Z12sample_spaceyPfi", &[8, 8, 4], textures::sample_space),
        ("_Z12sample_layeryPiiii", &[8, 8, 4, 4, 4], textures::sample_layer),
        ("_Z9fetch_rowyP4int2ii", &[8, 8, 4, 4], textures::fetch_row),
        ("_Z5paintyiii", &[8, 4, 4, 4], textures::paint),
    ];
    let spec = |(name, bytes, run): (&str, &[u16], KernelFn)| KernelSpec {
        name: name.into(),
        param_bytes: bytes.into(),
        run,
    };
    let mut all: Vec<KernelSpec> = fixed.into_iter().map(spec).collect();
    all.extend(TAGS.iter().enumerate().map(|(n, run)| KernelSpec {
        name: format!("_Z3tagILi{n}EEvPi"),
        param_bytes: vec![8],
        run: *run,
    }));
    all
}

/// Bytes of so many values of four.
fn bytes_of(count: usize) -> u64 {
    (count as u64).saturating_mul(4)
}

/// Values of four bytes, from `at` on.
fn words(
    args: &mut KernelArgs<'_>,
    at: DevicePtr,
    count: usize,
) -> Result<Vec<[u8; 4]>, KernelFault> {
    let bytes = args.memory(at, bytes_of(count))?;
    Ok(bytes.as_chunks::<4>().0.to_vec())
}

fn floats(args: &mut KernelArgs<'_>, at: DevicePtr, count: usize) -> Result<Vec<f32>, KernelFault> {
    Ok(words(args, at, count)?.into_iter().map(f32::from_le_bytes).collect())
}

fn ints(args: &mut KernelArgs<'_>, at: DevicePtr, count: usize) -> Result<Vec<i32>, KernelFault> {
    Ok(words(args, at, count)?.into_iter().map(i32::from_le_bytes).collect())
}

/// How many of the values that parameter `index` counts the launch has threads for, in x.
fn covered(args: &KernelArgs<'_>, index: usize) -> Result<usize, KernelFault> {
    let threads = u64::from(args.grid()[0]) * u64::from(args.block()[0]);
    let count = u64::try_from(args.i32(index)?).unwrap_or(0);
    Ok(threads.min(count) as usize)
}

/// The threads of a launch in x.
fn covered_threads(args: &KernelArgs<'_>) -> Result<usize, KernelFault> {
    let threads = u64::from(args.grid()[0]) * u64::from(args.block()[0]);
    match usize::try_from(threads) {
        Ok(threads) if threads > 0 => Ok(threads),
        _ => Err(KernelFault::Failed("a launch without threads")),
    }
}

/// All that parameter `index` counts: each thread goes on until there are none left.
fn counted(args: &KernelArgs<'_>, index: usize) -> Result<usize, KernelFault> {
    Ok(usize::try_from(args.i32(index)?).unwrap_or(0))
}

/// Changes each of `count` values at `at`.
fn change(
    args: &mut KernelArgs<'_>,
    at: DevicePtr,
    count: usize,
    change: impl Fn(usize, i32) -> i32,
) -> Result<(), KernelFault> {
    let place = args.memory_mut(at, bytes_of(count))?;
    for (i, word) in place.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *word = change(i, i32::from_le_bytes(*word)).to_le_bytes();
    }
    Ok(())
}

/// Stores floats from `at` on.
fn put(
    args: &mut KernelArgs<'_>,
    at: DevicePtr,
    values: impl ExactSizeIterator<Item = f32>,
) -> Result<(), KernelFault> {
    let place = args.memory_mut(at, bytes_of(values.len()))?;
    for (word, value) in place.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *word = value.to_le_bytes();
    }
    Ok(())
}

fn vector_add(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let count = covered(args, 3)?;
    let (a, b, sum) = (args.ptr(0)?, args.ptr(1)?, args.ptr(2)?);
    let (a, b) = (floats(args, a, count)?, floats(args, b, count)?);
    put(args, sum, a.iter().zip(&b).map(|(a, b)| a + b))
}

fn saxpy(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let count = covered(args, 3)?;
    let (a, x, y) = (args.f32(0)?, args.ptr(1)?, args.ptr(2)?);
    let (x, old) = (floats(args, x, count)?, floats(args, y, count)?);
    put(args, y, x.iter().zip(&old).map(|(x, y)| a * x + y))
}

fn reduce_sum(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let count = counted(args, 2)?;
    let (values, out) = (args.ptr(0)?, args.ptr(1)?);
    let values = words(args, values, count)?;
    let sum: u64 = values.into_iter().map(|word| u64::from(u32::from_le_bytes(word))).sum();
    let old = u64::from_le_bytes(args.load::<8>(out)?);
    args.store(out, &old.wrapping_add(sum).to_le_bytes())
}

fn matmul(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let shape = args.bytes(3)?;
    let shape = shape.as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word));
    let shape: Vec<usize> = shape.map(|size| usize::try_from(size).unwrap_or(0)).collect();
    let &[rows, inner, columns] = shape.as_slice() else {
        return Err(KernelFault::Failed("a shape has three sizes"));
    };
    let (a, b, c) = (args.ptr(0)?, args.ptr(1)?, args.ptr(2)?);
    let (a, b) = (floats(args, a, rows * inner)?, floats(args, b, inner * columns)?);
    let product = |at: usize| {
        let (row, column) = (at / columns, at % columns);
        (0..inner).fold(0.0, |sum, k| sum + a[row * inner + k] * b[k * columns + column])
    };
    put(args, c, (0..rows * columns).map(product))
}

fn add_to_all(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (values, summand, count) = (args.ptr(0)?, args.i32(1)?, covered(args, 2)?);
    change(args, values, count, |_, value| value.wrapping_add(summand))
}

fn double_all(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (values, count) = (args.ptr(0)?, covered(args, 1)?);
    change(args, values, count, |_, value| value.wrapping_mul(2))
}

fn fill_with(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (values, value, count) = (args.ptr(0)?, args.i32(1)?, covered(args, 2)?);
    change(args, values, count, |_, _| value)
}

fn add_pitched(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (base, pitch, summand) = (args.ptr(0)?, args.u64(1)?, args.i32(4)?);
    let width = covered(args, 2)?;
    let rows = u64::from(args.grid()[1]) * u64::from(args.block()[1]);
    for row in 0..rows.min(counted(args, 3)? as u64) {
        let at = base.offset(row.wrapping_mul(pitch));
        change(args, at, width, |_, value| value.wrapping_add(summand))?;
    }
    Ok(())
}

fn polynomial(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (x, y, count) = (args.ptr(0)?, args.ptr(1)?, covered(args, 2)?);
    let coefficients = args.variable("coefficients")?;
    let evaluations = args.variable("evaluations")?;
    let span = args.variable("span")?;
    let c = floats(args, coefficients, 4)?;
    let x = floats(args, x, count)?;
    put(args, y, x.iter().map(|x| ((c[3] * x + c[2]) * x + c[1]) * x + c[0]))?;
    change(args, evaluations, 1, |_, value| value.wrapping_add(count as i32))?;
    let all = args.i32(2)?;
    change(args, span, if count > 0 { 2 } else { 0 }, |i, _| if i == 0 { 0 } else { all })
}

fn add_to_totals(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (totals, scale) = (args.variable("totals")?, args.variable("scale")?);
    let summand = args.i32(0)?.wrapping_mul(ints(args, scale, 1)?[0]);
    let threads = covered_threads(args)?.min(4);
    change(args, totals, threads, |i, value| value.wrapping_add(summand).wrapping_add(i as i32))
}

fn store(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (place, value) = (args.ptr(0)?, args.i32(1)?);
    args.store(place, &value.to_le_bytes())
}

fn grid_wide_sum(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (values, partial, out) = (args.ptr(0)?, args.ptr(1)?, args.ptr(2)?);
    let values = ints(args, values, counted(args, 3)?)?;
    let threads = covered_threads(args)?;
    // Room for them all is known to be there before as much is taken here.
    args.memory(partial, bytes_of(threads))?;
    let mut sums = vec![0i32; threads];
    for (i, value) in values.into_iter().enumerate() {
        sums[i % threads] = sums[i % threads].wrapping_add(value);
    }
    change(args, partial, threads, |i, _| sums[i])?;
    let sum = sums.iter().fold(0i32, |sum, value| sum.wrapping_add(*value));
    args.store(out, &sum.to_le_bytes())
}

/// As many threads as CUDA's own buffer for their output has room for, about.
const GREETINGS_MAX: usize = 16_384;

fn greet(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (number, share) = (args.i32(0)?, args.f64(1)?);
    let threads = args.block()[0].max(1) as usize;
    for thread in 0..covered_threads(args)?.min(GREETINGS_MAX) {
        let block = thread / threads;
        args.print(&format!("kernel {number}: block {block}, {share:.2} of all\n"));
    }
    Ok(())
}

fn sum_table(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let table = args.bytes(0)?.as_chunks::<4>().0;
    let sum = table.iter().fold(0i32, |sum, word| sum.wrapping_add(i32::from_le_bytes(*word)));
    let out = args.ptr(1)?;
    args.store(out, &sum.to_le_bytes())
}

/// Stores the sum of seven numbers.
fn eight_arguments(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let numbers: Result<Vec<i32>, _> = (1..8).map(|index| args.i32(index)).collect();
    let sum = numbers?.into_iter().fold(0, i32::wrapping_add);
    args.store(args.ptr(0)?, &sum.to_le_bytes())
}

fn mix_types(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (&[a], &[low, high]) = (args.bytes(0)?, args.bytes(1)?) else {
        return Err(KernelFault::Failed("a char and a short"));
    };
    // As C adds them: whole numbers first.
    let whole =
        i32::from(a.cast_signed()) + i32::from(i16::from_le_bytes([low, high])) + args.i32(2)?;
    let long = args.u64(3)?.cast_signed();
    let sum = f64::from(whole) + long as f64 + f64::from(args.f32(4)?) + args.f64(5)?;
    let out = args.ptr(6)?;
    args.store(out, &sum.to_le_bytes())
}

/// `tag<N>` for every N that the program launches: the number is in the name alone.
const TAGS: [KernelFn; 64] = tags();

fn tag<const N: u64>(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let out = args.ptr(0)?.offset(4 * N);
    args.store(out, &(1000 + N as u32).to_le_bytes())
}

const fn tags() -> [KernelFn; 64] {
    [
        tag::<0>, tag::<1>, tag::<2>, tag::<3>, tag::<4>, tag::<5>, tag::<6>, tag::<7>, tag::<8>,
        tag::<9>, tag::<10>, tag::<11>, tag::<12>, tag::<13>, tag::<14>, tag::<15>, tag::<16>,
        tag::<17>, tag::<18>, tag::<19>, tag::<20>, tag::<21>, tag::<22>, tag::<23>, tag::<24>,
        tag::<25>, tag::<26>, tag::<27>, tag::<28>, tag::<29>, tag::<30>, tag::<31>, tag::<32>,
        tag::<33>, tag::<34>, tag::<35>, tag::<36>, tag::<37>, tag::<38>, tag::<39>, tag::<40>,
        tag::<41>, tag::<42>, tag::<43>, tag::<44>, tag::<45>, tag::<46>, tag::<47>, tag::<48>,
        tag::<49>, tag::<50>, tag::<51>, tag::<52>, tag::<53>, tag::<54>, tag::<55>, tag::<56>,
        tag::<57>, tag::<58>, tag::<59>, tag::<60>, tag::<61>, tag::<62>, tag::<63>,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kernels_share_a_name() {
        let mut names: Vec<String> = kernels().into_iter().map(|kernel| kernel.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!((names.len(), count), (87, 87));
    }
}
