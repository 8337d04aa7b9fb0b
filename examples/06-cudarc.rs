//! A program written for the crate `cudarc` and an NVIDIA GPU, which knows nothing of ringbar.
//!
//! `cargo build && target/debug/ringbar run -- target/debug/examples/06-cudarc` prints
//!
//! ```text
//! saxpy over 100000 values: y[0] = 1, y[99999] = 200000
//! two streams and an event agree: sum of 1000 values is 1500
//! ```

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use std::error::Error;

/// `y[i] += a * x[i]`, and `values[i] = value`, as nvcc names them.
const KERNELS: &str = "
.version 7.8
.target sm_75
.address_size 64
.visible .entry _Z5saxpyfPKfPfi(.param .f32 p0, .param .u64 p1, .param .u64 p2, .param .u32 p3)
{
    .reg .pred %p<2>;
    .reg .f32 %f<5>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<8>;
    ld.param.f32 %f1, [p0];
    ld.param.u64 %rd1, [p1];
    ld.param.u64 %rd2, [p2];
    ld.param.u32 %r1, [p3];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.s32 %p1, %r5, %r1;
    @%p1 bra $done;
    cvta.to.global.u64 %rd3, %rd1;
    cvta.to.global.u64 %rd4, %rd2;
    mul.wide.s32 %rd5, %r5, 4;
    add.s64 %rd6, %rd3, %rd5;
    add.s64 %rd7, %rd4, %rd5;
    ld.global.f32 %f2, [%rd6];
    ld.global.f32 %f3, [%rd7];
    fma.rn.f32 %f4, %f1, %f2, %f3;
    st.global.f32 [%rd7], %f4;
$done:
    ret;
}
.visible .entry _Z9fill_withPiii(.param .u64 p0, .param .u32 p1, .param .u32 p2)
{
    .reg .pred %p<2>;
    .reg .b32 %r<7>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [p0];
    ld.param.u32 %r1, [p1];
    ld.param.u32 %r2, [p2];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r6, %r3, %r4, %r5;
    setp.ge.s32 %p1, %r6, %r2;
    @%p1 bra $done;
    cvta.to.global.u64 %rd2, %rd1;
    mul.wide.s32 %rd3, %r6, 4;
    add.s64 %rd4, %rd2, %rd3;
    st.global.u32 [%rd4], %r1;
$done:
    ret;
}
";

fn main() -> Result<(), Box<dyn Error>> {
    let context = CudaContext::new(0)?;
    let stream = context.default_stream();
    let module = context.load_module(Ptx::from_src(KERNELS))?;

    let saxpy = module.load_function("_Z5saxpyfPKfPfi")?;
    let (a, count) = (2.0_f32, 100_000_i32);
    let host: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let x = stream.clone_htod(&host)?;
    let mut y = stream.clone_htod(
        &host.iter().map(|i| if *i == 0.0 { 1.0 } else { 2.0 }).collect::<Vec<f32>>(),
    )?;
    let mut launch = stream.launch_builder(&saxpy);
    launch.arg(&a).arg(&x).arg(&mut y).arg(&count);
    // SAFETY: the arguments are those of the kernel, and both slices have `count` values.
    unsafe { launch.launch(LaunchConfig::for_num_elems(count as u32)) }?;
    let y = stream.clone_dtoh(&y)?;
    println!(
        "saxpy over {count} values: y[0] = {}, y[{}] = {}",
        y[0],
        count - 1,
        y[count as usize - 1]
    );

    let fill = module.load_function("_Z9fill_withPiii")?;
    let (one, two) = (context.new_stream()?, context.new_stream()?);
    let mut values = stream.alloc_zeros::<i32>(1000)?;
    one.join(&stream)?;
    for (stream, value, count) in [(&one, 2, 1000_i32), (&two, 1, 500)] {
        // The second fill comes after the first, on another stream.
        stream.join(&one)?;
        let mut launch = stream.launch_builder(&fill);
        launch.arg(&mut values).arg(&value).arg(&count);
        // SAFETY: the arguments are those of the kernel, and the slice has at least `count` values.
        unsafe { launch.launch(LaunchConfig::for_num_elems(count as u32)) }?;
    }
    let sum: i32 = two.clone_dtoh(&values)?.iter().sum();
    println!("two streams and an event agree: sum of 1000 values is {sum}");
    Ok(())
}
