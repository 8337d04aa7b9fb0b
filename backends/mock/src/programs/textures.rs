//! The kernels of `25_textures.cu`.

use super::{counted, put};
use crate::kernel::{KernelArgs, KernelFault};

/// Columns and rows that both the launch and the parameters from `index` on have.
fn plane(args: &KernelArgs<'_>, index: usize) -> Result<(usize, usize, usize), KernelFault> {
    let (width, height) = (counted(args, index)?, counted(args, index + 1)?);
    let threads = |i: usize| u64::from(args.grid()[i]) * u64::from(args.block()[i]);
    let within = |size: usize, i: usize| threads(i).min(size as u64) as usize;
    Ok((width, within(width, 0), within(height, 1)))
}

/// Rows of values that `value` makes, stored at parameter 1; each place has `width` columns.
fn rows<const N: usize>(
    args: &mut KernelArgs<'_>,
    (width, columns, rows): (usize, usize, usize),
    mut value: impl FnMut(&mut KernelArgs<'_>, usize, usize) -> Result<[u8; N], KernelFault>,
) -> Result<(), KernelFault> {
    let out = args.ptr(1)?;
    for y in 0..rows {
        for x in 0..columns {
            let bytes = value(args, x, y)?;
            let at = (y as u64).wrapping_mul(width as u64).wrapping_add(x as u64);
            args.store(out.offset(at.wrapping_mul(N as u64)), &bytes)?;
        }
    }
    Ok(())
}

pub(super) fn sample_plane(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let texture = args.u64(0)?;
    let [dx, dy, x_unit, y_unit] = [args.f32(4)?, args.f32(5)?, args.f32(6)?, args.f32(7)?];
    let plane = plane(args, 2)?;
    rows(args, plane, |args, x, y| {
        let at = [(x as f32 + 0.5 + dx) * x_unit, (y as f32 + 0.5 + dy) * y_unit, 0.0];
        Ok(args.sample(texture, at)?[0].to_le_bytes())
    })
}

pub(super) fn sample_colours(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let texture = args.u64(0)?;
    let plane = plane(args, 2)?;
    rows(args, plane, |args, x, y| {
        let colour = args.sample(texture, [x as f32 + 0.5, y as f32 + 0.5, 0.0])?;
        let mut bytes = [0; 16];
        let places = bytes.as_chunks_mut::<4>().0.iter_mut();
        places.zip(colour).for_each(|(place, number)| *place = number.to_le_bytes());
        Ok(bytes)
    })
}

pub(super) fn sample_space(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (texture, out, size) = (args.u64(0)?, args.ptr(1)?, counted(args, 2)?);
    let threads = super::covered_threads(args)?;
    let mut values = Vec::new();
    for at in 0..threads.min(size.saturating_mul(size).saturating_mul(size)) {
        let place = [at % size, at / size % size, at / size / size];
        values.push(args.sample(texture, place.map(|i| i as f32 + 1.0))?[0]);
    }
    put(args, out, values.into_iter())
}

pub(super) fn sample_layer(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (texture, layer) = (args.u64(0)?, args.i32(4)?);
    let plane = plane(args, 2)?;
    rows(args, plane, |args, x, y| {
        let found = args.sample(texture, [x as f32 + 0.5, y as f32 + 0.5, layer as f32])?;
        Ok((found[0] as i32).to_le_bytes())
    })
}

pub(super) fn fetch_row(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (texture, first) = (args.u64(0)?, args.i32(2)?);
    let count = super::covered(args, 3)?;
    rows(args, (count, count, 1), |args, x, _| {
        let [a, b, ..] = args.fetch(texture, first.wrapping_add(x as i32))?;
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&(a as i32).to_le_bytes());
        bytes[4..].copy_from_slice(&(b as i32).to_le_bytes());
        Ok(bytes)
    })
}

pub(super) fn paint(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let (surface, summand) = (args.u64(0)?, args.i32(3)?);
    let (_, columns, rows) = plane(args, 1)?;
    for y in 0..rows as u64 {
        for x in 0..columns as u64 {
            let place = [x * 4, y, 0];
            let value = i32::from_le_bytes(args.surface_read(surface, place)?);
            let painted = value.wrapping_mul(3).wrapping_add(summand).wrapping_add(x as i32);
            args.surface_write(surface, place, &painted.to_le_bytes())?;
        }
    }
    Ok(())
}
