//! Module images and the kernels that are registered.

use crate::builtin::{MIX, kernels, mix_kernel};
use crate::config::{MockConfig, MockError};
use crate::kernel::{Kernel, KernelSpec};
use ringbar_vocabulary::{Draw, Status};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How a mock module image begins.
pub const IMAGE_MAGIC: &[u8; 8] = b"RBMOCK1\0";
/// The most bytes of a mock image.
pub(crate) const IMAGE_MAX_BYTES: usize = 1 << 20;
/// The most bytes of a kernel's name.
pub(crate) const NAME_MAX_BYTES: usize = 4096;

/// A module image with those kernels. `mix` stands for all of `mix_<bytes>`.
pub fn image(names: &[&str]) -> Vec<u8> {
    let lines = names.iter().flat_map(|name| [name.as_bytes(), b"\n"].concat());
    IMAGE_MAGIC.iter().copied().chain(lines).collect()
}

/// The names in an image; empty lines count for nothing.
fn names(image: &[u8]) -> Result<BTreeSet<String>, Status> {
    let text = image.strip_prefix(IMAGE_MAGIC).ok_or(Status::INVALID_IMAGE)?;
    let text = std::str::from_utf8(text).map_err(|_| Status::INVALID_IMAGE)?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// A loaded module: the names it has, and the numbers of the functions looked up in it.
#[derive(Default)]
pub(crate) struct Module {
    names: BTreeSet<String>,
    pub(crate) functions: Vec<u32>,
}

/// All kernels that a device knows, with their layouts.
pub(crate) struct Registry {
    kernels: HashMap<String, Arc<Kernel>>,
    seed: Option<u64>,
}

impl Registry {
    pub(crate) fn new(config: &MockConfig) -> Result<Self, MockError> {
        let seed = config.random_layouts.then_some(config.seed);
        let mut registry = Self { kernels: HashMap::new(), seed };
        for spec in kernels().iter().chain(&config.kernels) {
            registry.add(spec)?;
        }
        Ok(registry)
    }

    fn add(&mut self, spec: &KernelSpec) -> Result<(), MockError> {
        let kernel = Kernel::new(spec, self.draw(&spec.name).as_mut())?;
        self.kernels.insert(spec.name.clone(), Arc::new(kernel));
        Ok(())
    }

    /// What decides a kernel's layout: the device's seed and the kernel's name.
    fn draw(&self, name: &str) -> Option<Draw> {
        self.seed.map(|seed| Draw::new(xxh3_64_with_seed(name.as_bytes(), seed)))
    }

    /// Loads an image; every kernel it names must be registered.
    pub(crate) fn load(&self, image: &[u8]) -> Result<Module, Status> {
        let names = names(image)?;
        match names.iter().find(|name| *name != MIX && !self.kernels.contains_key(*name)) {
            None => Ok(Module { names, functions: Vec::new() }),
            Some(unknown) => Err(refuse(unknown)),
        }
    }

    /// Finds a kernel of a module by name.
    pub(crate) fn find(&self, module: &Module, name: &[u8]) -> Result<Arc<Kernel>, Status> {
        let name = std::str::from_utf8(name).map_err(|_| Status::NOT_FOUND)?;
        if module.names.contains(name)
            && let Some(kernel) = self.kernels.get(name)
        {
            return Ok(kernel.clone());
        }
        let mixes = module.names.contains(MIX);
        let mix = mixes.then(|| mix_kernel(name, self.draw(name).as_mut())).flatten();
        mix.map(Arc::new).ok_or_else(|| refuse(name))
    }
}

fn refuse(name: &str) -> Status {
    tracing::debug!(kernel = name, "the mock has no such kernel");
    Status::NOT_FOUND
}
