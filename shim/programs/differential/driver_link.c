// The linker: texts that need each other become one image.
#include "driver.h"

#define HEAD ".version 7.8\n.target sm_75\n.address_size 64\n"

// values[i] = plus(values[i], summand), for i < count; `plus` is another text's.
static const char caller[] =
    HEAD
    ".extern .func (.param .b32 sum) plus(.param .b32 a, .param .b32 b);\n"
    ".visible .entry _Z10add_to_allPiii(\n"
    ".param .u64 p0, .param .u32 p1, .param .u32 p2)\n"
    "{\n.reg .pred %p<2>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<5>;\n"
    "ld.param.u64 %rd1, [p0];\nld.param.u32 %r1, [p1];\nld.param.u32 %r2, [p2];\n"
    "mov.u32 %r3, %ctaid.x;\nmov.u32 %r4, %ntid.x;\nmov.u32 %r5, %tid.x;\n"
    "mad.lo.s32 %r6, %r3, %r4, %r5;\nsetp.ge.s32 %p1, %r6, %r2;\n@%p1 bra $done;\n"
    "cvta.to.global.u64 %rd2, %rd1;\nmul.wide.s32 %rd3, %r6, 4;\nadd.s64 %rd4, %rd2, %rd3;\n"
    "ld.global.u32 %r7, [%rd4];\n"
    "{\n.param .b32 a;\n.param .b32 b;\n.param .b32 sum;\n"
    "st.param.b32 [a], %r7;\nst.param.b32 [b], %r1;\ncall.uni (sum), plus, (a, b);\nld.param.b32 %r8, [sum];\n}\n"
    "st.global.u32 [%rd4], %r8;\n"
    "$done:\nret;\n}\n";
static const char called[] =
    HEAD
    ".visible .global .align 4 .u32 counter = 7;\n"
    ".visible .func (.param .b32 sum) plus(.param .b32 a, .param .b32 b)\n"
    "{\n.reg .b32 %r<4>;\nld.param.b32 %r1, [a];\nld.param.b32 %r2, [b];\nadd.s32 %r3, %r1, %r2;\n"
    "st.param.b32 [sum], %r3;\nret;\n}\n";
static const char broken[] = HEAD ".visible .entry some_kernel()\n{\nno_such_instruction;\nret;\n}\n";

#define ADD(state, kind, text, name) \
    CALL(cuLinkAddData, state, kind, (void *)text, sizeof text, name, 0, NULL, NULL)

// What a linked image does. The image is copied: it belongs to the linker.
static void use(const void *image) {
    CUmodule module = NULL;
    CUfunction function = NULL;
    CUdeviceptr block = 0, variable = 0;
    size_t bytes = 0;
    int summand = 5, length = 16, back[16], value = 0;
    void *arguments[] = {&block, &summand, &length};
    CALL(cuModuleLoadData, &module, image);
    CALL(cuModuleGetFunction, &function, module, "_Z10add_to_allPiii");
    CALL(cuModuleGetFunction, &function, module, "no_such_kernel");
    CALL(cuModuleGetGlobal, &variable, &bytes, module, "counter");
    SHOW("%zu", bytes);
    CALL(cuMemcpyDtoH, &value, variable, sizeof value);
    SHOW("%d", value);
    CALL(cuModuleGetFunction, &function, module, "_Z10add_to_allPiii");
    CALL(cuMemAlloc, &block, sizeof back);
    CALL(cuMemsetD32, block, 37, 16);
    CALL(cuLaunchKernel, function, 1, 1, 1, 32, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuMemcpyDtoH, back, block, sizeof back);
    SHOW("%d %d", back[0], back[15]);
    CALL(cuModuleUnload, module);
}

static void linked(void) {
    CUlinkState state = NULL;
    void *image = NULL;
    size_t bytes = 0;
    begin();
    CALL(cuLinkCreate, 0, NULL, NULL, &state);
    ADD(state, CU_JIT_INPUT_PTX, caller, "caller.ptx");
    ADD(state, CU_JIT_INPUT_PTX, called, NULL);
    CALL(cuLinkComplete, state, &image, &bytes);
    SHOW("%d", image != NULL && bytes > 64);
    use(image);
    CALL(cuLinkDestroy, state);
}

static void files(void) {
    CUlinkState state = NULL;
    void *image = NULL;
    char path[] = "/tmp/linkXXXXXX";
    int file = mkstemp(path);
    begin();
    if (write(file, called, sizeof called - 1) != sizeof called - 1) printf("\nthe file is not written");
    close(file);
    CALL(cuLinkCreate, 0, NULL, NULL, &state);
    CALL(cuLinkAddFile, state, CU_JIT_INPUT_PTX, path, 0, NULL, NULL);
    unlink(path);
    CALL(cuLinkAddFile, state, CU_JIT_INPUT_PTX, "/no/such/file", 0, NULL, NULL);
    CALL(cuLinkAddFile, state, CU_JIT_INPUT_PTX, NULL, 0, NULL, NULL);
    ADD(state, CU_JIT_INPUT_PTX, caller, "");
    CALL(cuLinkComplete, state, &image, NULL);
    use(image);
    CALL(cuLinkDestroy, state);
}

// That the compiler says something, not what, which changes from release to release.
static void logs(void) {
    CUlinkState state = NULL;
    void *image = NULL;
    size_t bytes = 0;
    char errors[4096] = "", infos[4096] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, CU_JIT_INFO_LOG_BUFFER,
                              CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, CU_JIT_LOG_VERBOSE, CU_JIT_MAX_REGISTERS};
    void *values[] = {errors, (void *)sizeof errors, infos, (void *)sizeof infos, (void *)1, (void *)32};
    CUjit_option level[] = {CU_JIT_OPTIMIZATION_LEVEL};
    void *levels[] = {(void *)1};
    begin();
    CALL(cuLinkCreate, 6, options, values, &state);
    CALL(cuLinkAddData, state, CU_JIT_INPUT_PTX, (void *)called, sizeof called, "called.ptx", 1, level, levels);
    ADD(state, CU_JIT_INPUT_PTX, caller, "caller.ptx");
    CALL(cuLinkComplete, state, &image, &bytes);
    SHOW("%d %d", image != NULL, errors[0] != 0);
    CALL(cuLinkDestroy, state);
    CALL(cuLinkCreate, 6, options, values, &state);
    ADD(state, CU_JIT_INPUT_PTX, broken, "broken.ptx");
    SHOW_ALWAYS("%d", strstr(errors, "no_such_instruction") != NULL);
    CALL(cuLinkComplete, state, &image, &bytes);
    CALL(cuLinkDestroy, state);
}

static void lacking(void) {
    CUlinkState state = NULL;
    void *image = NULL;
    size_t bytes = 0;
    begin();
    CALL(cuLinkCreate, 0, NULL, NULL, &state);
    ADD(state, CU_JIT_INPUT_PTX, caller, "caller.ptx");
    CALL(cuLinkComplete, state, &image, &bytes);
    CALL(cuLinkDestroy, state);
    CALL(cuLinkCreate, 0, NULL, NULL, &state);
    ADD(state, CU_JIT_INPUT_PTX, called, "called.ptx");
    ADD(state, CU_JIT_INPUT_PTX, called, "again.ptx");
    CALL(cuLinkComplete, state, &image, &bytes);
    CALL(cuLinkDestroy, state);
}

static void nothing(void) {
    CUlinkState state = NULL;
    void *image = NULL;
    size_t bytes = 0;
    begin();
    CALL(cuLinkCreate, 0, NULL, NULL, &state);
    CALL(cuLinkComplete, state, &image, &bytes);
    CALL(cuLinkDestroy, state);
}

static void twice(void) {
    CUlinkState state = NULL;
    void *image = NULL, *again = NULL;
    size_t bytes = 0;
    begin();
    CALL(cuLinkCreate, 0, NULL, NULL, &state);
    ADD(state, CU_JIT_INPUT_PTX, called, "called.ptx");
    CALL(cuLinkComplete, state, &image, &bytes);
    CALL(cuLinkComplete, state, &again, &bytes);
    SHOW("%d", image == again);
    ADD(state, CU_JIT_INPUT_PTX, caller, "caller.ptx");
    CALL(cuLinkDestroy, state);
}

static void refused(void) {
    CUlinkState state = NULL;
    void *image = NULL;
    size_t bytes = 0;
    CUjit_option options[] = {CU_JIT_NUM_OPTIONS};
    void *values[] = {NULL};
    static const char nonsense[64] = "nonsense";
    begin();
    CALL(cuLinkCreate, 0, NULL, NULL, NULL);
    CALL(cuLinkCreate, 1, NULL, NULL, &state);
    CALL(cuLinkCreate, 1, options, values, &state);
    CALL(cuLinkCreate, 0, NULL, NULL, &state);
    CALL(cuLinkAddData, state, CU_JIT_INPUT_PTX, NULL, 16, "null", 0, NULL, NULL);
    CALL(cuLinkAddData, state, CU_JIT_INPUT_PTX, (void *)called, 0, "empty", 0, NULL, NULL);
    CALL(cuLinkAddData, state, CU_JIT_INPUT_PTX, (void *)called, sizeof called, "options", 1, NULL, NULL);
    CALL(cuLinkAddData, state, (CUjitInputType)99, (void *)called, sizeof called, "kind", 0, NULL, NULL);
    ADD(state, CU_JIT_INPUT_PTX, nonsense, "nonsense");
    ADD(state, CU_JIT_INPUT_CUBIN, nonsense, "nonsense");
    ADD(state, CU_JIT_INPUT_FATBINARY, nonsense, "nonsense");
    ADD(state, CU_JIT_INPUT_OBJECT, nonsense, "nonsense");
    ADD(state, CU_JIT_INPUT_LIBRARY, nonsense, "nonsense");
    ADD(state, CU_JIT_INPUT_CUBIN, called, "a text");
    CALL(cuLinkComplete, state, NULL, &bytes);
    CALL(cuLinkDestroy, state);
    ADD(NULL, CU_JIT_INPUT_PTX, called, "no linker");
    CALL(cuLinkAddFile, NULL, CU_JIT_INPUT_PTX, "/no/such/file", 0, NULL, NULL);
    CALL(cuLinkComplete, NULL, &image, &bytes);
    CALL(cuLinkDestroy, NULL);
    CALL(cuCtxSetCurrent, NULL);
    CALL(cuLinkCreate, 0, NULL, NULL, &state);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"linked", linked}, {"files", files}, {"logs", logs}, {"lacking", lacking}, {"nothing", nothing}, {"twice", twice},
        {"refused", refused},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
