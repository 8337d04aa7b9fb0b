//! Real images from nvcc, and what becomes of them when bytes change.

use super::*;
use ringbar_vocabulary::{Draw, Param};

const CUBIN: &[u8] = include_bytes!("../fixtures/kernels.cubin");
const FAT: &[u8] = include_bytes!("../fixtures/kernels.fatbin");
const PTX: &[u8] = include_bytes!("../fixtures/kernels.ptx");
const SM: u32 = 90;

/// Measures as a program's library does, reading no byte before it was asked for.
fn length(image: &[u8]) -> Result<usize, ImageError> {
    let mut known = HEAD_BYTES;
    for _ in 0..8 {
        match measure(&image[..known.min(image.len())])? {
            Need::More(more) if more > known && more <= image.len() => known = more,
            Need::More(_) => return Err(ImageError::Truncated { part: "the image" }),
            Need::Whole(bytes) => return Ok(bytes),
            Need::Text => {
                return Ok(image.iter().position(|&b| b == 0).map_or(image.len(), |n| n + 1));
            }
            Need::Elsewhere(_) => return Ok(24),
        }
    }
    panic!("measuring does not end");
}

fn params(list: &[(u16, u16)]) -> Vec<Param> {
    list.iter().map(|&(offset, size)| Param { offset, size }).collect()
}

fn check(image: &Image) {
    let kernel = |name: &str| image.kernel(name).unwrap_or_else(|| panic!("kernel {name}"));
    assert_eq!(image.kernels.len(), 4);
    let fill = kernel("fill_u32");
    assert_eq!(fill.params, params(&[(0, 8), (8, 4), (16, 8)]));
    assert_eq!((fill.param_bytes, fill.max_threads), (24, Some(256)));
    let say = kernel("_Z3sayic3Oddd");
    assert_eq!(say.params, params(&[(0, 4), (4, 1), (5, 24), (32, 8)]));
    assert_eq!((say.param_bytes, say.max_threads), (40, None));
    let huge = kernel("_Z4huge4HugePi");
    assert_eq!(huge.params, params(&[(0, 20_000), (20_000, 8)]));
    assert_eq!(huge.cluster, Some([2, 1, 1]));
    assert_eq!(kernel("_Z5storeIfEvT_PS0_").params, params(&[(0, 4), (8, 8)]));
    check_variables(image);
    assert!(image.prints);
    assert_eq!(image.sm, SM);
}

fn check_variables(image: &Image) {
    let variable = |name: &str| image.variable(name).unwrap_or_else(|| panic!("variable {name}"));
    let coefficients = variable("coefficients");
    let floats: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|f| f.to_le_bytes()).collect();
    assert_eq!(coefficients.initial.as_deref(), Some(&floats[..]));
    assert_eq!((coefficients.bytes, coefficients.kind), (16, VariableKind::Constant));
    let counter = variable("counter");
    assert_eq!(counter.initial.as_deref(), Some(&7u32.to_le_bytes()[..]));
    assert_eq!(counter.kind, VariableKind::Global);
    assert_eq!((variable("zeroed").bytes, variable("zeroed").initial.as_ref()), (100, None));
    assert_eq!(variable("shared_with_host").kind, VariableKind::Managed);
}

#[test]
fn a_cubin_of_nvcc_says_its_kernels_and_variables() {
    let image = Image::parse(CUBIN, SM).unwrap();
    check(&image);
    assert!(!image.is_ptx);
    assert_eq!(image.kernel("_Z3sayic3Oddd").unwrap().shared_bytes, 256);
    assert!(image.kernels.iter().all(|kernel| kernel.registers.is_some_and(|n| n > 0)));
}

#[test]
fn ptx_of_nvcc_says_the_same() {
    let image = Image::parse(PTX, SM).unwrap();
    check(&image);
    assert!(image.is_ptx);
}

#[test]
fn a_fat_binary_gives_machine_code_where_it_fits_and_else_ptx() {
    assert!(!Image::parse(FAT, 90).unwrap().is_ptx);
    assert!(Image::parse(FAT, 100).unwrap().is_ptx);
    let refused = Image::parse(FAT, 80).unwrap_err();
    let found = "sm_90, compute_90".to_owned();
    assert_eq!(refused, ImageError::NoCode { wanted: 80, found });
    check(&Image::parse(FAT, 100).unwrap());
}

#[test]
fn an_entry_compressed_with_lz4_is_unpacked() {
    let packed = lz4_flex::block::compress(CUBIN);
    let entry = Entry {
        kind: EntryKind::Cubin,
        sm: SM,
        flags: 0x2000,
        payload: &packed,
        unpacked_bytes: CUBIN.len() as u64,
    };
    assert!(entry.unpack().unwrap() == CUBIN);
    assert!(Entry { unpacked_bytes: 1 << 29, ..entry.clone() }.unpack().is_err());
    assert!(Entry { unpacked_bytes: 100, ..entry }.unpack().is_err());
}

#[test]
fn each_kind_of_image_is_measured_exactly_whatever_lies_behind_it() {
    for (image, end) in [(CUBIN, CUBIN.len()), (FAT, FAT.len()), (PTX, PTX.len() + 1)] {
        let behind = [image, &[0; 100], CUBIN].concat();
        assert_eq!(length(&behind), Ok(end));
        assert_eq!(Image::parse(&behind, SM), Image::parse(image, SM));
    }
}

#[test]
fn the_wrapper_of_nvcc_leads_to_its_fat_binary() {
    let mut wrapper = [0; 24];
    wrapper[..4].copy_from_slice(&0x4662_43b1u32.to_le_bytes());
    wrapper[8..16].copy_from_slice(&0x1234_5678u64.to_le_bytes());
    assert_eq!(measure(&wrapper[..4]), Ok(Need::More(24)));
    assert_eq!(measure(&wrapper), Ok(Need::Elsewhere(0x1234_5678)));
}

#[test]
fn sizes_beyond_the_limit_are_refused() {
    let mut fat = FAT.to_vec();
    fat[8..16].fill(0xff);
    assert!(matches!(length(&fat), Err(ImageError::TooLong { .. })));
    let mut cubin = CUBIN.to_vec();
    cubin[40..48].fill(0xff);
    assert!(matches!(length(&cubin), Err(ImageError::TooLong { .. })));
    assert_eq!(measure(&[0, 1, 2, 3]), Err(ImageError::Unknown { found: 0x0302_0100 }));
}

#[test]
fn no_truncation_and_no_changed_bytes_make_the_parsers_panic() {
    let mut draw = Draw::new(7);
    for image in [CUBIN, FAT, PTX] {
        for round in 0..600 {
            let mut bytes = image.to_vec();
            if round % 4 == 0 {
                bytes.truncate(draw.below(image.len() as u64) as usize);
            }
            for _ in 0..=draw.below(12) {
                let at = draw.below(bytes.len().max(1) as u64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [draw.next() as u8, 0, 0xff, 0x7f][draw.below(4) as usize];
                }
            }
            let _ = length(&bytes);
            let _ = Image::parse(&bytes, SM);
        }
    }
}

#[test]
fn names_that_all_lie_over_one_another_are_refused_and_not_copied() {
    // Symbols are 24 bytes with the name's place first; the last section but others is their table, the strings its link.
    let mut cubin = CUBIN.to_vec();
    let field = |at: usize, len: usize| {
        cubin[at..at + len].iter().rev().fold(0usize, |all, &byte| all << 8 | usize::from(byte))
    };
    let (sections, count) = (field(40, 8), field(60, 2));
    let symbols = (0..count).map(|i| sections + 64 * i).find(|&at| field(at + 4, 4) == 2).unwrap();
    let strings = sections + 64 * field(symbols + 40, 4);
    // One name of 1 MB, at the end of the file, which each of 10,000 functions has.
    let name = cubin.len();
    cubin.extend(std::iter::repeat_n(b'n', 1 << 20));
    cubin.push(0);
    let table = cubin.len();
    for _ in 0..10_000 {
        cubin.extend([0, 0, 0, 0, 2, 0x10, 1, 0]);
        cubin.extend([0; 16]);
    }
    let mut set = |at: usize, value: usize| {
        cubin[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
    };
    set(symbols + 24, table);
    set(symbols + 32, 240_000);
    set(strings + 24, name);
    set(strings + 32, (1 << 20) + 1);
    let refused = Image::parse(&cubin, SM).unwrap_err();
    assert!(refused.to_string().contains("overlap"), "{refused}");
}

#[test]
fn damaged_headers_never_lead_outside_the_bytes() {
    let mut draw = Draw::new(8);
    for image in [CUBIN, FAT] {
        for _ in 0..2000 {
            let mut bytes = image.to_vec();
            let at = draw.below(0x60) as usize;
            bytes[at] = draw.next() as u8;
            let _ = length(&bytes);
            let _ = Image::parse(&bytes, SM);
        }
    }
}
