//! Modules, functions, variables, occupancy.

use crate::api::Raw;
use crate::compile::{Ask, Compile};
use crate::live::{Function, Live, Owned};
use cudarc::driver::sys::CUlaunchConfig;
use ringbar_backend::Context;
use ringbar_images::{IMAGE_MAX_BYTES, Need, measure};
use ringbar_vocabulary::*;
use std::ffi::{CStr, CString};

/// Zeros behind an image: PTX text ends with one, and a parser that reads ahead finds no foreign bytes.
const IMAGE_PADDING: usize = 64;
/// The longest name of a function or variable, in bytes.
const NAME_MAX_BYTES: usize = 64 << 10;
/// The most parameters of a function that are asked for.
const PARAMS_MAX: usize = PARAM_BLOCK_MAX_BYTES / 4;

/// Whether the bytes hold the whole image that they begin with: the driver is only told where it begins.
pub fn check_image(image: &[u8]) -> Result<(), Status> {
    let mut known = 0;
    loop {
        let seen = image.get(..known).ok_or(Status::INVALID_IMAGE)?;
        match measure(seen) {
            Ok(Need::Whole(bytes)) if bytes <= image.len() => return Ok(()),
            Ok(Need::Text) if image.contains(&0) => return Ok(()),
            Ok(Need::More(bytes)) if bytes > known => known = bytes,
            _ => return Err(Status::INVALID_IMAGE),
        }
    }
}

/// A copy with zeros behind it, for what the driver reads without being told where it ends.
pub fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut copy = Vec::with_capacity(bytes.len() + IMAGE_PADDING);
    copy.extend_from_slice(bytes);
    copy.resize(bytes.len() + IMAGE_PADDING, 0);
    copy
}

/// An image in private memory, where the client cannot change it under the driver's parser, with zeros behind it.
fn private(cx: &mut Context<'_>, image: Tail<'_>) -> Result<Vec<u8>, Status> {
    let mut scratch = Vec::new();
    let bytes = cx.tail(image, &mut scratch, IMAGE_MAX_BYTES as usize)?;
    let image = padded(bytes);
    check_image(&image[..bytes.len() + 1])?;
    Ok(image)
}

/// A name for the driver.
fn name_of(bytes: &[u8]) -> Result<CString, Status> {
    CString::new(bytes).map_err(|_| Status::NOT_FOUND)
}

impl Live {
    pub fn module_load(
        &mut self,
        cx: &mut Context<'_>,
        c: ModuleLoad<'_>,
    ) -> Result<ModuleLoadReply, Status> {
        let image = private(cx, c.image)?;
        self.load_as(c.context, c.module, &image, &mut Compile::default())?;
        let name = ringbar_images::hash(&image[..image.len() - IMAGE_PADDING]);
        self.images.keep(name, image.into());
        Ok(ModuleLoadReply {})
    }

    pub fn module_compile(
        &mut self,
        cx: &mut Context<'_>,
        c: ModuleCompile<'_>,
    ) -> Result<ModuleCompileReply, Status> {
        let ask = Ask::from(&c);
        let mut compile = Compile::of(cx, &ask)?;
        let image = private(cx, c.image)?;
        let done = self.load_as(c.context, c.module, &image, &mut compile);
        compile.answer(cx, &ask, done)
    }

    pub fn module_load_known(
        &mut self,
        _cx: &mut Context<'_>,
        c: ModuleLoadKnown,
    ) -> Result<ModuleLoadKnownReply, Status> {
        let Some(image) = self.images.get(&c.hash) else {
            return Ok(ModuleLoadKnownReply { known: 0 });
        };
        self.load_as(c.context, c.module, &image, &mut Compile::default())?;
        Ok(ModuleLoadKnownReply { known: 1 })
    }

    fn load_as(
        &mut self,
        context: ContextId,
        module: ModuleId,
        image: &[u8],
        compile: &mut Compile,
    ) -> Result<(), Status> {
        self.modules.check_new(module.0)?;
        self.enter(context)?;
        let raw = self.load(image, compile)?;
        self.modules.insert(module.0, Owned { raw, context });
        Ok(())
    }

    fn load(&self, image: &[u8], compile: &mut Compile) -> Result<Raw, Status> {
        let mut raw = 0;
        let loaded = compile.with(|options, values| {
            // SAFETY: a whole image with zeros behind it, and options with the values that they take.
            unsafe {
                self.api.cuModuleLoadDataEx(
                    &mut raw,
                    image.as_ptr().cast(),
                    options.len() as u32,
                    options.as_mut_ptr(),
                    values.as_mut_ptr(),
                )
            }
        });
        loaded.inspect_err(|status| {
            let text = compile.errors();
            tracing::info!(%status, %text, "the driver refused an image");
        })?;
        Ok(raw)
    }

    pub fn module_unload(&mut self, _cx: &mut Context<'_>, c: ModuleUnload) -> Result<(), Status> {
        let module = *self.modules.get(c.module.0)?;
        self.enter(module.context)?;
        self.api.cuModuleUnload(module.raw)?;
        self.modules.remove(c.module.0)?;
        self.functions.retain(|function| function.module != c.module);
        let functions = &self.functions;
        self.function_ids.retain(|_, id| functions.get(*id).is_ok());
        Ok(())
    }

    pub fn function_lookup(
        &mut self,
        cx: &mut Context<'_>,
        c: FunctionLookup<'_>,
    ) -> Result<FunctionLookupReply, Status> {
        let module = *self.modules.get(c.module.0)?;
        self.functions.check_new(c.function.0)?;
        cx.check_arena(c.layout)?;
        self.enter(module.context)?;
        let mut scratch = Vec::new();
        let name = name_of(cx.tail(c.name, &mut scratch, NAME_MAX_BYTES)?)?;
        let mut raw = 0;
        // SAFETY: a name with a terminating zero.
        unsafe { self.api.cuModuleGetFunction(&mut raw, module.raw, name.as_ptr()) }?;
        let layout = self.layout_of(raw)?;
        let inline = Param::inline(&layout);
        let param_bytes = layout.iter().map(|param| param.end()).max().unwrap_or(0) as u32;
        let reply = FunctionLookupReply { params: layout.len() as u32, param_bytes, inline };
        if layout.len() > INLINE_PARAMS {
            let words: Vec<u8> =
                layout.iter().flat_map(|param| param.to_word().to_le_bytes()).collect();
            let Some(place) = c.layout.part(0, words.len() as u64) else { return Ok(reply) };
            cx.write_arena(place, &words)?;
        }
        let (module, context) = (c.module, module.context);
        self.functions.insert(
            c.function.0,
            Function { raw, module, context, param_bytes, layout: layout.into() },
        );
        self.function_ids.insert(raw, c.function.0);
        Ok(reply)
    }

    /// The driver's own word for where each parameter lies.
    pub fn layout_of(&self, function: Raw) -> Result<Vec<Param>, Status> {
        let mut layout = Vec::new();
        while layout.len() < PARAMS_MAX {
            let (mut offset, mut size) = (0, 0);
            match self.api.cuFuncGetParamInfo(function, layout.len(), &mut offset, &mut size) {
                Ok(()) => layout.push(Param { offset: offset as u16, size: size as u16 }),
                Err(Status::INVALID_VALUE) => break,
                Err(other) => return Err(other),
            }
        }
        Ok(layout)
    }

    pub fn module_global(
        &mut self,
        cx: &mut Context<'_>,
        c: ModuleGlobal<'_>,
    ) -> Result<ModuleGlobalReply, Status> {
        let module = *self.modules.get(c.module.0)?;
        self.enter(module.context)?;
        let mut scratch = Vec::new();
        let name = name_of(cx.tail(c.name, &mut scratch, NAME_MAX_BYTES)?)?;
        let (mut at, mut bytes) = (0, 0);
        // SAFETY: a name with a terminating zero, and two numbers of this frame.
        unsafe { self.api.cuModuleGetGlobal_v2(&mut at, &mut bytes, module.raw, name.as_ptr()) }?;
        Ok(ModuleGlobalReply { at: DevicePtr(at), bytes: bytes as u64 })
    }

    pub fn module_functions(
        &mut self,
        cx: &mut Context<'_>,
        c: ModuleFunctions,
    ) -> Result<ModuleFunctionsReply, Status> {
        let module = *self.modules.get(c.module.0)?;
        cx.check_arena(c.names)?;
        self.enter(module.context)?;
        let mut count = 0;
        self.api.cuModuleGetFunctionCount(&mut count, module.raw)?;
        let mut functions = vec![0; count as usize];
        // SAFETY: room for as many handles as there are.
        unsafe { self.api.cuModuleEnumerateFunctions(functions.as_mut_ptr(), count, module.raw) }?;
        let mut names = Vec::new();
        for function in functions {
            names.extend_from_slice(self.name_of_function(function)?.to_bytes_with_nul());
        }
        if let Some(place) = c.names.part(0, names.len() as u64) {
            cx.write_arena(place, &names)?;
        }
        Ok(ModuleFunctionsReply { count, bytes: names.len() as u32 })
    }

    fn name_of_function(&self, function: Raw) -> Result<CString, Status> {
        let mut name = std::ptr::null();
        // SAFETY: a place for a pointer.
        unsafe { self.api.cuFuncGetName(&mut name, function) }?;
        if name.is_null() {
            return Err(Status::NOT_FOUND);
        }
        // SAFETY: the driver's string, which lives as long as the function; copied at once.
        Ok(unsafe { CStr::from_ptr(name) }.to_owned())
    }

    /// A function's handle; its context becomes current.
    pub fn function(&mut self, function: FunctionId) -> Result<Raw, Status> {
        let found = self.functions.get(function.0)?;
        let (raw, context) = (found.raw, found.context);
        self.enter(context)?;
        Ok(raw)
    }

    pub fn function_get_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        c: FunctionGetAttribute,
    ) -> Result<FunctionGetAttributeReply, Status> {
        let function = self.function(c.function)?;
        let mut value = 0;
        self.api.cuFuncGetAttribute(&mut value, c.attribute, function)?;
        Ok(FunctionGetAttributeReply { value })
    }

    pub fn function_set_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        c: FunctionSetAttribute,
    ) -> Result<FunctionSetAttributeReply, Status> {
        let function = self.function(c.function)?;
        self.api.cuFuncSetAttribute(function, c.attribute, c.value)?;
        Ok(FunctionSetAttributeReply {})
    }

    pub fn function_set_cache_config(
        &mut self,
        _cx: &mut Context<'_>,
        c: FunctionSetCacheConfig,
    ) -> Result<(), Status> {
        let function = self.function(c.function)?;
        self.api.cuFuncSetCacheConfig(function, c.config)
    }

    pub fn occupancy_blocks(
        &mut self,
        _cx: &mut Context<'_>,
        c: OccupancyBlocks,
    ) -> Result<OccupancyBlocksReply, Status> {
        let function = self.function(c.function)?;
        let mut blocks = 0;
        self.api.cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
            &mut blocks,
            function,
            c.block_threads as i32,
            c.shared_bytes as usize,
            c.flags,
        )?;
        Ok(OccupancyBlocksReply { blocks: blocks as u32 })
    }

    pub fn occupancy_block_size(
        &mut self,
        _cx: &mut Context<'_>,
        c: OccupancyBlockSize,
    ) -> Result<OccupancyBlockSizeReply, Status> {
        let function = self.function(c.function)?;
        let (mut grid, mut block) = (0, 0);
        // SAFETY: two numbers of this frame, and no callback.
        unsafe {
            self.api.cuOccupancyMaxPotentialBlockSizeWithFlags(
                &mut grid,
                &mut block,
                function,
                std::ptr::null(),
                c.shared_bytes as usize,
                c.limit as i32,
                c.flags,
            )
        }?;
        Ok(OccupancyBlockSizeReply { min_grid: grid as u32, block: block as u32 })
    }

    pub fn occupancy_shared_bytes(
        &mut self,
        _cx: &mut Context<'_>,
        c: OccupancySharedBytes,
    ) -> Result<OccupancySharedBytesReply, Status> {
        let function = self.function(c.function)?;
        let (mut bytes, threads) = (0, c.block_threads as i32);
        let blocks = c.blocks as i32;
        self.api.cuOccupancyAvailableDynamicSMemPerBlock(&mut bytes, function, blocks, threads)?;
        Ok(OccupancySharedBytesReply { bytes: bytes as u64 })
    }

    pub fn occupancy_clusters(
        &mut self,
        _cx: &mut Context<'_>,
        c: OccupancyClusters,
    ) -> Result<OccupancyClustersReply, Status> {
        let function = self.function(c.function)?;
        let stream = self.stream(c.stream)?;
        let mut attributes = crate::launch::cluster_attribute(c.cluster);
        let config = crate::launch::config(
            (c.grid, c.block),
            c.shared_bytes,
            stream,
            attributes.as_mut_slice(),
        );
        let mut value = 0;
        let config: *const CUlaunchConfig = &config;
        let asked = if c.largest != 0 {
            // SAFETY: a configuration of this frame with its attributes.
            unsafe { self.api.cuOccupancyMaxPotentialClusterSize(&mut value, function, config) }
        } else {
            // SAFETY: as above.
            unsafe { self.api.cuOccupancyMaxActiveClusters(&mut value, function, config) }
        };
        asked?;
        Ok(OccupancyClustersReply { value: value as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_claims_more_bytes_than_came_is_refused() {
        let mut fat = vec![0_u8; 64];
        fat[..4].copy_from_slice(&0xBA55_ED50_u32.to_le_bytes());
        fat[4] = 1;
        fat[6] = 16;
        fat[8..16].copy_from_slice(&48_u64.to_le_bytes());
        assert_eq!(check_image(&fat), Ok(()));
        fat[8..16].copy_from_slice(&49_u64.to_le_bytes());
        assert_eq!(check_image(&fat), Err(Status::INVALID_IMAGE));
    }

    #[test]
    fn text_needs_its_end_and_other_bytes_are_no_image() {
        assert_eq!(check_image(b".version 8.0\n.target sm_90\n\0"), Ok(()));
        assert_eq!(check_image(b"\x01\x02\x03\x04\x05\x06\x07\x08"), Err(Status::INVALID_IMAGE));
        assert_eq!(check_image(b""), Err(Status::INVALID_IMAGE));
    }
}
