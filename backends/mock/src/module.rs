//! Modules: mock images and real ones, the kernels that are registered, variables.

use crate::builtin::{self, MIX, mix_kernel};
use crate::config::{MockConfig, MockError};
use crate::gpu::MockGpu;
use crate::heap::Owner;
use crate::kernel::{Kernel, KernelFacts, KernelSpec, Variables};
use crate::pool::{DEVICE_BASE, Pool};
use crate::space::Space;
use crate::{facts, programs};
use ringbar_backend::Context;
use ringbar_images::{Image, ImageError};
use ringbar_vocabulary::*;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How a mock module image begins.
pub const IMAGE_MAGIC: &[u8; 8] = b"RBMOCK1\0";
/// The most bytes of a kernel's or variable's name.
const NAME_MAX_BYTES: usize = 4096;

/// A module image with those kernels. `mix` stands for all of `mix_<bytes>`.
pub fn image(names: &[&str]) -> Vec<u8> {
    let lines = names.iter().flat_map(|name| [name.as_bytes(), b"\n"].concat());
    IMAGE_MAGIC.iter().copied().chain(lines).collect()
}

/// The names in a mock image; empty lines count for nothing.
fn names(text: &[u8]) -> Result<BTreeSet<String>, Refusal> {
    let text = std::str::from_utf8(text).map_err(|error| Refusal {
        status: Status::INVALID_IMAGE,
        why: format!("the names of its kernels are no text: {error}"),
    })?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Why an image is not loaded, as the log of a compiler would say.
pub(crate) struct Refusal {
    pub(crate) status: Status,
    pub(crate) why: String,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.status
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, why: status.to_string() }
    }
}

/// What kernels a module has.
pub(crate) enum Code {
    Mock(BTreeSet<String>),
    Real(Box<Image>),
}

/// A loaded module.
pub(crate) struct Module {
    code: Code,
    pub(crate) context: u32,
    /// Numbers of the functions looked up in it.
    pub(crate) functions: Vec<u32>,
    pub(crate) variables: Arc<Variables>,
}

/// A function that was looked up, with what the client set.
pub(crate) struct Function {
    pub(crate) kernel: Arc<Kernel>,
    /// Dynamic shared memory that a launch may ask for, in bytes.
    pub(crate) shared_max: u32,
    pub(crate) settings: Settings,
}

/// Attributes of a function that only the client sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) carveout: i32,
    pub(crate) cluster: [i32; 3],
    pub(crate) large_clusters: i32,
    pub(crate) cluster_policy: i32,
}

/// All kernels that a device knows, with their layouts.
pub(crate) struct Registry {
    kernels: HashMap<String, (Arc<Kernel>, Vec<u16>)>,
    seed: Option<u64>,
}

impl Registry {
    pub(crate) fn new(config: &MockConfig) -> Result<Self, MockError> {
        let seed = config.random_layouts.then_some(config.seed);
        let mut registry = Self { kernels: HashMap::new(), seed };
        for spec in builtin::kernels().iter().chain(&programs::kernels()).chain(&config.kernels) {
            registry.add(spec)?;
        }
        Ok(registry)
    }

    fn add(&mut self, spec: &KernelSpec) -> Result<(), MockError> {
        let kernel = Kernel::new(spec, self.draw(&spec.name).as_mut())?;
        let known = (Arc::new(kernel), spec.param_bytes.clone());
        self.kernels.insert(spec.name.clone(), known);
        Ok(())
    }

    /// What decides a kernel's layout: the device's seed and the kernel's name.
    fn draw(&self, name: &str) -> Option<Draw> {
        self.seed.map(|seed| Draw::new(xxh3_64_with_seed(name.as_bytes(), seed)))
    }

    /// Reads an image. Every kernel that a mock image names must be registered; of a real one
    /// only those that are looked up.
    pub(crate) fn read(&self, image: &[u8]) -> Result<Code, Refusal> {
        if let Some(text) = image.strip_prefix(IMAGE_MAGIC) {
            let names = names(text)?;
            return match names.iter().find(|n| *n != MIX && !self.kernels.contains_key(*n)) {
                None => Ok(Code::Mock(names)),
                Some(unknown) => {
                    let why = format!("the mock has no kernel {unknown}");
                    Err(Refusal { status: refuse(unknown), why })
                }
            };
        }
        let image = Image::parse(image, facts::CAPABILITY);
        image.map(|image| Code::Real(Box::new(image))).map_err(|error| {
            tracing::warn!(%error, "a module image was refused");
            let status = if matches!(error, ImageError::NoCode { .. }) {
                Status::NO_BINARY_FOR_GPU
            } else {
                Status::INVALID_IMAGE
            };
            Refusal { status, why: error.to_string() }
        })
    }

    /// Finds a kernel of a module by name.
    fn find(&self, module: &Module, name: &[u8]) -> Result<Arc<Kernel>, Status> {
        let name = std::str::from_utf8(name).map_err(|_| Status::NOT_FOUND)?;
        let names = match &module.code {
            Code::Real(image) => return self.find_real(image, &module.variables, name),
            Code::Mock(names) => names,
        };
        if names.contains(name)
            && let Some((kernel, _)) = self.kernels.get(name)
        {
            return Ok(kernel.clone());
        }
        let mixes = names.contains(MIX);
        let mix = mixes.then(|| mix_kernel(name, self.draw(name).as_mut())).flatten();
        mix.map(Arc::new).ok_or_else(|| refuse(name))
    }

    /// A kernel of a real image: the image's layout, the body that is registered.
    fn find_real(
        &self,
        image: &Image,
        variables: &Arc<Variables>,
        name: &str,
    ) -> Result<Arc<Kernel>, Status> {
        let found = image.kernel(name).ok_or(Status::NOT_FOUND)?;
        let (known, sizes) = self.kernels.get(name).ok_or_else(|| refuse(name))?;
        if found.params.iter().map(|param| param.size).ne(sizes.iter().copied()) {
            tracing::warn!(
                kernel = name,
                expected = ?sizes,
                found = ?found.params,
                "the mock knows this kernel with other parameters"
            );
            return Err(Status::NOT_FOUND);
        }
        let default = KernelFacts::default();
        let facts = KernelFacts {
            registers: found.registers.unwrap_or(default.registers),
            shared_bytes: found.shared_bytes,
            local_bytes: found.local_bytes,
            max_threads: found.max_threads.unwrap_or(default.max_threads).min(default.max_threads),
            cluster: found.cluster,
            binary: if image.is_ptx { facts::CAPABILITY } else { image.sm },
            ptx: image.sm,
        };
        Ok(Arc::new(Kernel {
            name: name.into(),
            layout: found.params.clone().into(),
            param_bytes: found.param_bytes,
            run: known.run,
            facts,
            variables: variables.clone(),
        }))
    }
}

fn refuse(name: &str) -> Status {
    tracing::warn!(kernel = name, "the mock has no such kernel");
    Status::NOT_FOUND
}

/// Puts an image's variables into device memory, with their initial bytes.
fn place_variables(
    image: &Image,
    device: u32,
    pool: &mut Pool,
    space: &mut Space,
) -> Result<Variables, Status> {
    let mut placed = Variables::new();
    let heap = space.heap(device)?;
    for variable in &image.variables {
        match heap.alloc(variable.bytes.max(1), Owner::Module) {
            Ok(at) => {
                placed.insert(variable.name.clone(), (at, variable.bytes));
                let start = (at.0 - DEVICE_BASE) as usize;
                let place = pool.get_mut(start..start + variable.bytes as usize);
                match &variable.initial {
                    Some(initial) => place.copy_from_slice(initial),
                    None => place.fill(0),
                }
            }
            Err(status) => {
                for (at, _) in placed.into_values() {
                    let offset = heap.doom(at)?;
                    heap.retire(offset);
                }
                return Err(status);
            }
        }
    }
    Ok(placed)
}

impl MockGpu {
    pub(crate) fn module_load(
        &mut self,
        cx: &mut Context<'_>,
        command: ModuleLoad<'_>,
    ) -> Result<ModuleLoadReply, Status> {
        let mut long = Vec::new();
        let image = cx.tail(command.image, &mut long, ringbar_images::IMAGE_MAX_BYTES as usize)?;
        self.load_as(command.context, command.module, image)?;
        self.images.keep(ringbar_images::hash(image), image.into());
        Ok(ModuleLoadReply {})
    }

    pub(crate) fn module_load_known(
        &mut self,
        _cx: &mut Context<'_>,
        command: ModuleLoadKnown,
    ) -> Result<ModuleLoadKnownReply, Status> {
        let Some(image) = self.images.get(&command.hash) else {
            return Ok(ModuleLoadKnownReply { known: 0 });
        };
        self.load_as(command.context, command.module, &image)?;
        Ok(ModuleLoadKnownReply { known: 1 })
    }

    /// There is nothing to compile here, so the options change nothing; what is refused is told in the log of errors.
    pub(crate) fn module_compile(
        &mut self,
        cx: &mut Context<'_>,
        command: ModuleCompile<'_>,
    ) -> Result<ModuleCompileReply, Status> {
        let ModuleCompile { count, info_bytes, error_bytes, block, .. } = command;
        let (places, _) = self.compile_places(cx, count, [info_bytes, error_bytes], block)?;
        let mut long = Vec::new();
        let image = cx.tail(command.image, &mut long, ringbar_images::IMAGE_MAX_BYTES as usize)?;
        let done = self.load_as(command.context, command.module, image);
        let refusal = done.err().unwrap_or(Refusal { status: Status::SUCCESS, why: String::new() });
        let [info_bytes, error_bytes] = Self::write_logs(cx, places, ["", &refusal.why])?;
        Ok(ModuleCompileReply {
            status: refusal.status.0,
            info_bytes,
            error_bytes,
            wall_time_bits: 0,
            block_threads: facts::BLOCK_THREADS_MAX,
        })
    }

    /// Writes logs into their places; answers how many bytes of each.
    pub(crate) fn write_logs(
        cx: &mut Context<'_>,
        places: [ArenaRef; 2],
        texts: [&str; 2],
    ) -> Result<[u32; 2], Status> {
        let mut written = [0; 2];
        for ((place, text), written) in places.into_iter().zip(texts).zip(&mut written) {
            let Some(room) = place.len.checked_sub(1) else { continue };
            let mut bytes = text.as_bytes().to_vec();
            bytes.truncate(room as usize);
            *written = bytes.len() as u32;
            bytes.push(0);
            let part = place.part(0, bytes.len() as u64).ok_or(Status::INVALID_VALUE)?;
            cx.write_arena(part, &bytes)?;
        }
        Ok(written)
    }

    /// Checks the options; answers where the logs go, and what is behind them.
    pub(crate) fn compile_places(
        &self,
        cx: &mut Context<'_>,
        count: u32,
        logs: [u32; 2],
        block: ArenaRef,
    ) -> Result<([ArenaRef; 2], ArenaRef), Status> {
        const PAIR_BYTES: usize = 16;
        self.ready()?;
        let (count, [info_bytes, error_bytes]) = (count as usize, logs.map(u64::from));
        if count > JIT_OPTIONS_MAX || logs.iter().any(|bytes| *bytes > JIT_LOG_MAX_BYTES) {
            return Err(Status::INVALID_VALUE);
        }
        cx.check_arena(block)?;
        let mut pairs = vec![0; PAIR_BYTES * count];
        let end = pairs.len() as u64;
        let part = |start, len| block.part(start, len).ok_or(Status::INVALID_VALUE);
        cx.read_arena(part(0, end)?, &mut pairs)?;
        let known =
            |pair: &[u8]| JIT_OPTIONS.iter().any(|o| pair[..8] == u64::from(*o).to_le_bytes());
        if !pairs.chunks_exact(PAIR_BYTES).all(known) {
            return Err(Status::INVALID_VALUE);
        }
        let places = [part(end, info_bytes)?, part(end + info_bytes, error_bytes)?];
        let behind = end + info_bytes + error_bytes;
        Ok((places, part(behind, block.len.saturating_sub(behind))?))
    }

    fn load_as(
        &mut self,
        context: ContextId,
        module: ModuleId,
        image: &[u8],
    ) -> Result<(), Refusal> {
        let device = self.context(context)?.device;
        self.modules.check_new(module.0)?;
        let code = self.registry.read(image)?;
        let variables = match &code {
            Code::Mock(_) => Variables::new(),
            Code::Real(image) => self
                .engine
                .with_memory(|pool, space| place_variables(image, device, pool, space))?,
        };
        let (context, variables) = (context.0, Arc::new(variables));
        let made = Module { code, context, functions: Vec::new(), variables };
        Ok(self.modules.add(module.0, made)?)
    }

    pub(crate) fn module_unload(
        &mut self,
        _cx: &mut Context<'_>,
        command: ModuleUnload,
    ) -> Result<(), Status> {
        self.ready()?;
        self.remove_module(command.module.0)
    }

    pub(crate) fn remove_module(&mut self, module: u32) -> Result<(), Status> {
        let module = self.modules.remove(module)?;
        for function in module.functions {
            // Each was put there when it was added to the table.
            let _ = self.functions.remove(function);
        }
        module.variables.values().try_for_each(|&(at, _)| self.engine.free(at))
    }

    pub(crate) fn function_lookup(
        &mut self,
        cx: &mut Context<'_>,
        command: FunctionLookup<'_>,
    ) -> Result<FunctionLookupReply, Status> {
        self.ready()?;
        self.functions.check_new(command.function.0)?;
        let module = self.modules.get_mut(command.module.0)?;
        let name = cx.tail(command.name, &mut self.scratch, NAME_MAX_BYTES)?;
        let kernel = self.registry.find(module, name)?;
        let reply = FunctionLookupReply {
            params: kernel.layout.len() as u32,
            param_bytes: kernel.param_bytes as u32,
            inline: Param::inline(&kernel.layout),
        };
        if write_layout(cx, &kernel, command.layout)? {
            let shared_max = match module.code {
                // Recorded launches come without the attributes that were set before.
                Code::Mock(_) => facts::SHARED_BYTES_MAX,
                Code::Real(_) => facts::SHARED_BYTES.saturating_sub(kernel.facts.shared_bytes),
            };
            let settings =
                Settings { carveout: -1, cluster: [0; 3], large_clusters: 0, cluster_policy: 0 };
            let function = Function { kernel, shared_max, settings };
            self.functions.add(command.function.0, function)?;
            module.functions.push(command.function.0);
        }
        Ok(reply)
    }

    pub(crate) fn module_global(
        &mut self,
        cx: &mut Context<'_>,
        command: ModuleGlobal<'_>,
    ) -> Result<ModuleGlobalReply, Status> {
        self.ready()?;
        let module = self.modules.get(command.module.0)?;
        let name = cx.tail(command.name, &mut self.scratch, NAME_MAX_BYTES)?;
        let name = std::str::from_utf8(name).map_err(|_| Status::NOT_FOUND)?;
        let &(at, bytes) = module.variables.get(name).ok_or(Status::NOT_FOUND)?;
        Ok(ModuleGlobalReply { at, bytes })
    }

    pub(crate) fn module_functions(
        &mut self,
        cx: &mut Context<'_>,
        command: ModuleFunctions,
    ) -> Result<ModuleFunctionsReply, Status> {
        self.ready()?;
        cx.check_arena(command.names)?;
        let names: Vec<&str> = match &self.modules.get(command.module.0)?.code {
            Code::Mock(names) => names.iter().map(String::as_str).collect(),
            Code::Real(image) => image.kernels.iter().map(|kernel| &*kernel.name).collect(),
        };
        let text: Vec<u8> =
            names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
        if let Some(place) = command.names.part(0, text.len() as u64) {
            cx.write_arena(place, &text)?;
        }
        Ok(ModuleFunctionsReply { count: names.len() as u32, bytes: text.len() as u32 })
    }
}

/// Writes a layout that does not fit into the reply; `false` if the block is too small for it.
fn write_layout(
    cx: &mut Context<'_>,
    kernel: &Arc<Kernel>,
    block: ArenaRef,
) -> Result<bool, Status> {
    if kernel.layout.len() <= INLINE_PARAMS {
        return Ok(true);
    }
    let bytes: Vec<u8> =
        kernel.layout.iter().flat_map(|param| param.to_word().to_le_bytes()).collect();
    let Some(place) = block.part(0, bytes.len() as u64) else {
        return Ok(false);
    };
    cx.write_arena(place, &bytes)?;
    Ok(true)
}
