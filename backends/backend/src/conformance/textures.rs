//! Texture and surface objects. What kernels read and write by them is tested by programs.

use super::rig::{DEFAULT, Rig};
use ringbar_vocabulary::resource::{ARRAY, LINEAR, PITCHED};
use ringbar_vocabulary::*;

/// `CU_AD_FORMAT_FLOAT`.
const FLOAT: u32 = 0x20;
/// `CU_TR_ADDRESS_MODE_CLAMP`.
const CLAMP: u32 = 1;
/// `CUDA_ARRAY3D_SURFACE_LDST`.
const SURFACE: u32 = 2;

fn texture(array: ArrayId) -> TextureCreate {
    let address_modes = [CLAMP; 3];
    TextureCreate { array, address_modes, ..TextureCreate::of(ContextId::FIRST, ARRAY) }
}

fn array(rig: &mut Rig, flags: u32) -> ArrayId {
    let array = ArrayId(rig.id());
    let (context, extent, channels) = (ContextId::FIRST, [32, 16, 0], 1);
    rig.call(ArrayCreate { context, array, extent, format: FLOAT, channels, flags })
        .expect("an array");
    array
}

pub(super) fn textures_of_arrays_and_memory_have_values_of_their_own(rig: &mut Rig) {
    rig.init();
    let array = array(rig, 0);
    let at = rig.alloc(64 << 10);
    let memory = TextureCreate { at, format: FLOAT, channels: 1, ..texture(ArrayId::NONE) };
    let all = [
        texture(array),
        TextureCreate { filter: 1, ..texture(array) },
        TextureCreate { kind: LINEAR, size: [4096, 0, 0], ..memory },
        TextureCreate { kind: PITCHED, size: [64, 32, 512], ..memory },
    ];
    let made = all.map(|one| rig.call(one).expect("a texture object").texture);
    assert!((1..made.len()).all(|i| !made[..i].contains(&made[i])), "{made:x?}");
    for texture in made {
        rig.post(TextureDestroy { context: ContextId::FIRST, texture });
    }
    rig.wait(DEFAULT);
    rig.no_failure();
    let again = TextureDestroy { context: ContextId::FIRST, texture: made[0] };
    rig.post_fails(again, Status::INVALID_VALUE);
}

pub(super) fn textures_that_cannot_be_are_refused(rig: &mut Rig) {
    rig.init();
    let good = texture(array(rig, 0));
    let at = rig.alloc(4096);
    let memory = TextureCreate { at, format: FLOAT, channels: 1, ..texture(ArrayId::NONE) };
    rig.refused(TextureCreate { context: ContextId(900), ..good });
    rig.refused(TextureCreate { array: ArrayId(4711), ..good });
    rig.refused(TextureCreate { kind: 1, ..good });
    rig.refused(TextureCreate { kind: 9, ..good });
    rig.refused(TextureCreate { kind: LINEAR, size: [64, 0, 0], channels: 3, ..memory });
    rig.refused(TextureCreate { kind: PITCHED, size: [64, 4, 300], ..memory });
    rig.no_failure();
    rig.call(good).expect("a texture object");
}

pub(super) fn a_surface_is_of_an_array_and_ends_once(rig: &mut Rig) {
    rig.init();
    let (context, array) = (ContextId::FIRST, array(rig, SURFACE));
    let surface = rig.call(SurfaceCreate { context, array }).expect("a surface").surface;
    rig.refused(SurfaceCreate { context, array: ArrayId(4711) });
    rig.post(SurfaceDestroy { context, surface });
    rig.no_failure();
    rig.post_fails(SurfaceDestroy { context, surface }, Status::INVALID_VALUE);
}
