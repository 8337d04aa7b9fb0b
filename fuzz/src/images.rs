//! `images`: kernel images as a program hands them over: their length, their entries, and what is in them.

use crate::input::Input;
use ringbar_images::{
    Entry, HEAD_BYTES, IMAGE_MAX_BYTES, Image, ImageError, Need, entries, measure,
};

/// Real images from nvcc: the fixtures of the production code's own tests.
pub const CUBIN: &[u8] = include_bytes!("../../backends/images/fixtures/kernels.cubin");
/// As [`CUBIN`].
pub const FAT: &[u8] = include_bytes!("../../backends/images/fixtures/kernels.fatbin");
/// As [`CUBIN`].
pub const PTX: &[u8] = include_bytes!("../../backends/images/fixtures/kernels.ptx");

/// Devices that an image is taken for.
const CAPABILITIES: [u32; 3] = [80, 90, 120];
/// Entries that claim to be longer are not unpacked here: whoever asks for gigabytes gets them, which takes its time.
const UNPACKED_BYTES_MAX: u64 = 16 << 20;
/// Steps that measuring may take.
const STEPS_MAX: usize = 6;
/// Initial bytes that PTX makes for each byte of its text, at most.
const INITIAL_RATIO_MAX: usize = 8;

/// The first byte says whether the rest is an image, or what a fat binary is to be made of.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.byte() & 1 == 0 {
        look_at(input.rest());
    } else {
        look_at(&fat_binary(&mut input));
    }
}

/// Kernels found for each of the devices.
pub fn kernels(data: &[u8]) -> [usize; CAPABILITIES.len()] {
    let mut input = Input::new(data);
    let made = (input.byte() & 1 == 1).then(|| fat_binary(&mut input));
    let image = made.as_deref().unwrap_or_else(|| &data[1..]);
    CAPABILITIES.map(|sm| Image::parse(image, sm).map_or(0, |image| image.kernels.len()))
}

fn look_at(image: &[u8]) {
    // Either answer is fine, as long as it is consistent.
    let _ = length(image);
    let found = entries(image);
    let asks = found.iter().flatten().map(|entry| entry.unpacked_bytes).max().unwrap_or(0);
    found.iter().flatten().for_each(|entry| unpack(image, entry));
    if asks > UNPACKED_BYTES_MAX {
        return;
    }
    for sm in CAPABILITIES {
        if let Ok(found) = Image::parse(image, sm) {
            check(&found, image.len().max(asks as usize));
        }
    }
}

/// Measures as a program's library does, which cannot read what it was not told to be there.
pub fn length(image: &[u8]) -> Result<usize, ImageError> {
    let mut known = HEAD_BYTES;
    for _ in 0..STEPS_MAX {
        match measure(&image[..known.min(image.len())])? {
            Need::More(more) => {
                assert!(more > known.min(image.len()), "{more} bytes are no more than {known}");
                assert!(more as u64 <= IMAGE_MAX_BYTES);
                if more > image.len() {
                    return Err(ImageError::Truncated { part: "the image" });
                }
                known = more;
            }
            Need::Whole(bytes) => {
                assert!(bytes as u64 <= IMAGE_MAX_BYTES);
                // What lies behind changes nothing.
                assert_eq!(measure(image), Ok(Need::Whole(bytes)));
                return Ok(bytes);
            }
            Need::Text => {
                return Ok(image.iter().position(|&b| b == 0).map_or(image.len(), |n| n + 1));
            }
            Need::Elsewhere(_) => return Ok(known),
        }
    }
    panic!("measuring does not end");
}

fn unpack(image: &[u8], entry: &Entry<'_>) {
    assert!(image.as_ptr_range().contains(&entry.payload.as_ptr()) || entry.payload.is_empty());
    assert!(entry.payload.len() <= image.len());
    if entry.unpacked_bytes > IMAGE_MAX_BYTES {
        assert!(matches!(entry.unpack(), Err(ImageError::TooLong { .. })));
    } else if entry.unpacked_bytes <= UNPACKED_BYTES_MAX
        && let Ok(unpacked) = entry.unpack()
    {
        let as_it_is = unpacked.len() == entry.payload.len();
        assert!(as_it_is || unpacked.len() as u64 == entry.unpacked_bytes);
    }
}

/// What is made of an image is bounded by its length.
fn check(image: &Image, bytes: usize) {
    let names =
        image.kernels.iter().map(|k| &k.name).chain(image.variables.iter().map(|v| &v.name));
    assert!(names.map(String::len).sum::<usize>() <= 4 * bytes);
    let params: usize = image.kernels.iter().map(|kernel| kernel.params.len()).sum();
    assert!(params <= bytes, "{params} parameters of {bytes} bytes");
    for kernel in &image.kernels {
        assert!(kernel.params.iter().all(|param| param.end() <= kernel.param_bytes));
    }
    let mut initial = 0;
    for variable in &image.variables {
        let found = variable.initial.as_ref().map(Vec::len);
        assert!(found.is_none_or(|found| found as u64 == variable.bytes), "{}", variable.name);
        initial += found.unwrap_or(0);
    }
    assert!(initial <= INITIAL_RATIO_MAX * bytes, "{initial} initial bytes of {bytes}");
}

/// A fat binary with honest headers around payloads of the fuzzer's.
fn fat_binary(input: &mut Input<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..=input.byte() % 4 {
        let (kind, sm, packing) = (input.byte(), input.byte(), input.byte());
        let units = usize::from(input.u16());
        let image = input.bytes(units * 16);
        let packed = lz4_flex::block::compress(image);
        let (flags, payload, unpacked) = match packing % 3 {
            0 => (0_u64, image, 0),
            1 => (0x2000, &packed[..], image.len() as u64),
            _ => (0x2000, &packed[..], image.len() as u64 + u64::from(packing)),
        };
        let mut head = [0; 64];
        head[..2].copy_from_slice(&u16::from(kind % 4).to_le_bytes());
        head[4..8].copy_from_slice(&64_u32.to_le_bytes());
        head[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        head[16..20].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        head[28..32].copy_from_slice(&u32::from(sm).to_le_bytes());
        head[40..48].copy_from_slice(&flags.to_le_bytes());
        head[56..64].copy_from_slice(&unpacked.to_le_bytes());
        body.extend(head);
        body.extend(payload);
    }
    let mut image = Vec::from(0xba55_ed50_u32.to_le_bytes());
    image.extend([1, 0, 16, 0]);
    image.extend((body.len() as u64).to_le_bytes());
    image.extend(body);
    image
}
