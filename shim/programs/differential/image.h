// A module for the driver programs, as PTX: kernels that the software GPU knows by these names.
#pragma once

static const char image[] =
    ".version 7.8\n.target sm_75\n.address_size 64\n"
    ".visible .global .align 4 .u32 counter = 7;\n"
    ".visible .const .align 4 .f32 coefficients[4] = {0f3F800000, 0f40000000, 0f00000000, 0f00000000};\n"
    // values[i] += summand, for i < count
    ".visible .entry _Z10add_to_allPiii(\n"
    ".param .u64 p0, .param .u32 p1, .param .u32 p2)\n"
    "{\n.reg .pred %p<2>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<5>;\n"
    "ld.param.u64 %rd1, [p0];\nld.param.u32 %r1, [p1];\nld.param.u32 %r2, [p2];\n"
    "mov.u32 %r3, %ctaid.x;\nmov.u32 %r4, %ntid.x;\nmov.u32 %r5, %tid.x;\n"
    "mad.lo.s32 %r6, %r3, %r4, %r5;\nsetp.ge.s32 %p1, %r6, %r2;\n@%p1 bra $done;\n"
    "cvta.to.global.u64 %rd2, %rd1;\nmul.wide.s32 %rd3, %r6, 4;\nadd.s64 %rd4, %rd2, %rd3;\n"
    "ld.global.u32 %r7, [%rd4];\nadd.s32 %r8, %r7, %r1;\nst.global.u32 [%rd4], %r8;\n"
    "$done:\nret;\n}\n"
    // values[i] = value, for i < count
    ".visible .entry _Z9fill_withPiii(\n"
    ".param .u64 p0, .param .u32 p1, .param .u32 p2)\n"
    ".maxntid 256, 1, 1\n"
    "{\n.reg .pred %p<2>;\n.reg .b32 %r<7>;\n.reg .b64 %rd<5>;\n"
    "ld.param.u64 %rd1, [p0];\nld.param.u32 %r1, [p1];\nld.param.u32 %r2, [p2];\n"
    "mov.u32 %r3, %ctaid.x;\nmov.u32 %r4, %ntid.x;\nmov.u32 %r5, %tid.x;\n"
    "mad.lo.s32 %r6, %r3, %r4, %r5;\nsetp.ge.s32 %p1, %r6, %r2;\n@%p1 bra $done;\n"
    "cvta.to.global.u64 %rd2, %rd1;\nmul.wide.s32 %rd3, %r6, 4;\nadd.s64 %rd4, %rd2, %rd3;\n"
    "st.global.u32 [%rd4], %r1;\n"
    "$done:\nret;\n}\n";
