//! Kernels as Rust functions, their layouts, and what they may do.

use crate::config::MockError;
use crate::pool::Pool;
use crate::space::{Access, Place, Space};
use ringbar_backend::HostMemory;
use ringbar_vocabulary::{
    ArenaRef, DevicePtr, Draw, PARAM_BLOCK_MAX_BYTES, Param, Status, StreamId,
};
use std::collections::HashMap;
use std::sync::Arc;
use thiserror::Error;

/// A kernel's body: called once a launch, not once a thread.
pub type KernelFn = fn(&mut KernelArgs<'_>) -> Result<(), KernelFault>;

/// A kernel to register.
#[derive(Clone, Debug)]
pub struct KernelSpec {
    /// The name by which modules and lookups know it.
    pub name: String,
    /// The size of each parameter in bytes, in the order in which the body numbers them.
    pub param_bytes: Vec<u16>,
    /// The body.
    pub run: KernelFn,
}

/// Why a kernel failed. Any of these makes the device unusable, as on a real one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum KernelFault {
    /// It touched memory that is not allocated.
    #[error("a kernel touched {bytes} bytes at {at:?}: expected them inside one live allocation")]
    IllegalAddress {
        /// The address.
        at: DevicePtr,
        /// How many bytes.
        bytes: u64,
    },
    /// It asked for a parameter that it does not have, or by another size.
    #[error("a kernel asked for parameter {index} as {expected} bytes: it has {found}")]
    Parameter {
        /// The parameter's number.
        index: usize,
        /// The parameter's size in bytes, 0 if there is none.
        found: usize,
        /// The size that was asked for.
        expected: usize,
    },
    /// It asked for a variable that its module does not have.
    #[error("a kernel asked for a variable that its module does not have: {0}")]
    Variable(&'static str),
    /// It failed by itself.
    #[error("a kernel failed: {0}")]
    Failed(&'static str),
}

impl KernelFault {
    /// CUDA's code for it.
    pub fn status(self) -> Status {
        match self {
            KernelFault::IllegalAddress { .. } => Status::ILLEGAL_ADDRESS,
            _ => Status::LAUNCH_FAILED,
        }
    }
}

/// Where a module's variables are, and their bytes.
pub(crate) type Variables = HashMap<String, (DevicePtr, u64)>;

/// What an image says about a kernel beside its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelFacts {
    pub(crate) registers: u32,
    pub(crate) shared_bytes: u32,
    pub(crate) local_bytes: u32,
    pub(crate) max_threads: u32,
    pub(crate) cluster: Option<[u32; 3]>,
    /// Compute capability, major times 10 plus minor: of the machine code, of the PTX.
    pub(crate) binary: u32,
    pub(crate) ptx: u32,
}

impl Default for KernelFacts {
    fn default() -> Self {
        let (shared_bytes, local_bytes, cluster) = (0, 0, None);
        let (registers, max_threads, binary, ptx) = (32, 1024, 90, 90);
        Self { registers, shared_bytes, local_bytes, max_threads, cluster, binary, ptx }
    }
}

/// A kernel with its layout.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) layout: Box<[Param]>,
    pub(crate) param_bytes: usize,
    pub(crate) run: KernelFn,
    pub(crate) facts: KernelFacts,
    pub(crate) variables: Arc<Variables>,
}

impl Kernel {
    /// A kernel whose layout is drawn from `draw`: any order, gaps of up to 24 bytes. Without one
    /// it is the order of the parameters, naturally aligned.
    pub(crate) fn new(spec: &KernelSpec, draw: Option<&mut Draw>) -> Result<Self, MockError> {
        let (layout, param_bytes) = lay_out(&spec.param_bytes, draw);
        if param_bytes > PARAM_BLOCK_MAX_BYTES || spec.param_bytes.contains(&0) {
            let expected = PARAM_BLOCK_MAX_BYTES;
            return Err(MockError::Parameters {
                name: spec.name.clone(),
                found: param_bytes,
                expected,
            });
        }
        let (facts, variables) = (KernelFacts::default(), Arc::default());
        Ok(Self { name: spec.name.clone(), layout, param_bytes, run: spec.run, facts, variables })
    }
}

fn lay_out(sizes: &[u16], mut draw: Option<&mut Draw>) -> (Box<[Param]>, usize) {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    if let Some(draw) = &mut draw {
        for i in (1..order.len()).rev() {
            order.swap(i, draw.below(i as u64 + 1) as usize);
        }
    }
    let mut layout = vec![Param { offset: 0, size: 0 }; sizes.len()].into_boxed_slice();
    let mut end = 0usize;
    for index in order {
        let size = sizes[index];
        let gap = draw.as_mut().map_or(0, |draw| draw.below(4) as usize * 8);
        end = (end + gap).next_multiple_of(usize::from(size.next_power_of_two().clamp(1, 8)));
        layout[index] = Param { offset: end.min(usize::from(u16::MAX)) as u16, size };
        end += usize::from(size);
    }
    (layout, end)
}

/// A launch's geometry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared_bytes: u32,
    pub(crate) stream: StreamId,
}

/// What a kernel's body works with: its parameters and device memory.
pub struct KernelArgs<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) params: &'a [u8],
    pub(crate) geometry: Geometry,
    pub(crate) pool: &'a mut Pool,
    pub(crate) space: &'a mut Space,
    pub(crate) arena: &'a dyn HostMemory,
    pub(crate) borrowed: Option<Borrowed>,
}

/// Bytes of a pinned block while the kernel looks at them: they are copied, as the client may
/// change the block at any time.
pub(crate) struct Borrowed {
    block: ArenaRef,
    bytes: Vec<u8>,
    changed: bool,
}

impl<'a> KernelArgs<'a> {
    /// How many parameters there are.
    pub fn count(&self) -> usize {
        self.kernel.layout.len()
    }

    /// The whole parameter block, gaps included.
    pub fn block_bytes(&self) -> &'a [u8] {
        self.params
    }

    /// The bytes of parameter `index`.
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn bytes(&self, index: usize) -> Result<&'a [u8], KernelFault> {
        let param = self.kernel.layout.get(index);
        let found = param.and_then(|p| self.params.get(usize::from(p.offset)..p.end()));
        found.ok_or(KernelFault::Parameter { index, found: 0, expected: 1 })
    }

    fn fixed<const N: usize>(&self, index: usize) -> Result<[u8; N], KernelFault> {
        let found = self.bytes(index)?;
        let fault = KernelFault::Parameter { index, found: found.len(), expected: N };
        found.try_into().map_err(|_| fault)
    }

    /// Parameter `index` as a `u32`.
    ///
    /// # Errors
    /// If there is no such parameter of 4 bytes.
    pub fn u32(&self, index: usize) -> Result<u32, KernelFault> {
        self.fixed(index).map(u32::from_le_bytes)
    }

    /// Parameter `index` as a `u64`.
    ///
    /// # Errors
    /// If there is no such parameter of 8 bytes.
    pub fn u64(&self, index: usize) -> Result<u64, KernelFault> {
        self.fixed(index).map(u64::from_le_bytes)
    }

    /// Parameter `index` as an `i32`.
    ///
    /// # Errors
    /// If there is no such parameter of 4 bytes.
    pub fn i32(&self, index: usize) -> Result<i32, KernelFault> {
        self.fixed(index).map(i32::from_le_bytes)
    }

    /// Parameter `index` as an `f64`.
    ///
    /// # Errors
    /// If there is no such parameter of 8 bytes.
    pub fn f64(&self, index: usize) -> Result<f64, KernelFault> {
        self.fixed(index).map(f64::from_le_bytes)
    }

    /// Parameter `index` as an `f32`.
    ///
    /// # Errors
    /// If there is no such parameter of 4 bytes.
    pub fn f32(&self, index: usize) -> Result<f32, KernelFault> {
        self.fixed(index).map(f32::from_le_bytes)
    }

    /// Parameter `index` as a device pointer.
    ///
    /// # Errors
    /// If there is no such parameter of 8 bytes.
    pub fn ptr(&self, index: usize) -> Result<DevicePtr, KernelFault> {
        self.u64(index).map(DevicePtr)
    }

    /// Blocks of the launch in x, y, z.
    pub fn grid(&self) -> [u32; 3] {
        self.geometry.grid
    }

    /// Threads of a block in x, y, z.
    pub fn block(&self) -> [u32; 3] {
        self.geometry.block
    }

    /// Dynamic shared memory in bytes.
    pub fn shared_bytes(&self) -> u32 {
        self.geometry.shared_bytes
    }

    /// A device-side variable of the kernel's module, by the linker's name.
    ///
    /// # Errors
    /// If the module has no such variable.
    pub fn variable(&self, name: &'static str) -> Result<DevicePtr, KernelFault> {
        let found = self.kernel.variables.get(name);
        found.map(|&(at, _)| at).ok_or(KernelFault::Variable(name))
    }

    /// Prints as the device's `printf` does; a client takes the text later.
    pub fn print(&mut self, text: &str) {
        self.space.print(text);
    }

    fn place(&mut self, at: DevicePtr, bytes: u64, access: Access) -> Result<Place, KernelFault> {
        self.give_back()?;
        if bytes == 0 {
            return Ok(Place::Device(0..0));
        }
        let fault = KernelFault::IllegalAddress { at, bytes };
        self.space.kernel(at, bytes, access).ok_or(fault)
    }

    /// Copies bytes of a pinned block.
    fn borrow(&mut self, block: ArenaRef, changed: bool) -> Result<&mut Vec<u8>, KernelFault> {
        let mut bytes = vec![0; block.len as usize];
        let read = self.arena.read(block, &mut bytes);
        read.map_err(|_| KernelFault::Failed("a pinned block left the arena"))?;
        Ok(&mut self.borrowed.insert(Borrowed { block, bytes, changed }).bytes)
    }

    /// Writes changed bytes of a pinned block back.
    pub(crate) fn give_back(&mut self) -> Result<(), KernelFault> {
        match self.borrowed.take() {
            Some(Borrowed { block, bytes, changed: true }) => {
                let written = self.arena.write(block, &bytes);
                written.map_err(|_| KernelFault::Failed("a pinned block left the arena"))
            }
            _ => Ok(()),
        }
    }

    /// Device memory to read, or a pinned block.
    ///
    /// # Errors
    /// If the range is not inside one live allocation.
    pub fn memory(&mut self, at: DevicePtr, bytes: u64) -> Result<&[u8], KernelFault> {
        match self.place(at, bytes, Access::Read)? {
            Place::Device(range) => Ok(self.pool.get(range)),
            Place::Host(block) => self.borrow(block, false).map(|bytes| &bytes[..]),
        }
    }

    /// Device memory to change, or a pinned block.
    ///
    /// # Errors
    /// As [`KernelArgs::memory`].
    pub fn memory_mut(&mut self, at: DevicePtr, bytes: u64) -> Result<&mut [u8], KernelFault> {
        match self.place(at, bytes, Access::Write)? {
            Place::Device(range) => Ok(self.pool.get_mut(range)),
            Place::Host(block) => self.borrow(block, true).map(|bytes| &mut bytes[..]),
        }
    }

    /// `N` bytes of device memory.
    ///
    /// # Errors
    /// As [`KernelArgs::memory`].
    pub fn load<const N: usize>(&mut self, at: DevicePtr) -> Result<[u8; N], KernelFault> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.memory(at, N as u64)?);
        Ok(bytes)
    }

    /// Changes device memory.
    ///
    /// # Errors
    /// As [`KernelArgs::memory`].
    pub fn store(&mut self, at: DevicePtr, bytes: &[u8]) -> Result<(), KernelFault> {
        self.memory_mut(at, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Copies inside device memory; the ranges may overlap.
    ///
    /// # Errors
    /// As [`KernelArgs::memory`], for either range; then nothing was copied.
    pub fn copy(&mut self, dst: DevicePtr, src: DevicePtr, bytes: u64) -> Result<(), KernelFault> {
        let to = self.place(dst, bytes, Access::Write)?;
        let from = self.place(src, bytes, Access::Read)?;
        match (to, from) {
            (Place::Device(to), Place::Device(from)) => self.pool.copy_within(from, to.start),
            _ => {
                let copied = self.memory(src, bytes)?.to_vec();
                self.store(dst, &copied)?;
            }
        }
        Ok(())
    }

    /// Folds bytes into the chain that the device keeps for the launch's stream.
    pub(crate) fn fold_into_chain(&mut self, bytes: &[u8]) {
        self.pool.fold_into_chain(self.geometry.stream.0, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
        Ok(())
    }

    fn spec(param_bytes: &[u16]) -> KernelSpec {
        KernelSpec { name: "k".into(), param_bytes: param_bytes.into(), run: nothing }
    }

    #[test]
    fn parameters_never_overlap_and_are_aligned_in_any_layout() {
        for seed in 0..200 {
            let kernel = Kernel::new(&spec(&[8, 4, 1, 2, 24, 8, 12]), Some(&mut Draw::new(seed)));
            let kernel = kernel.unwrap();
            let mut used = vec![false; kernel.param_bytes];
            for param in &kernel.layout {
                let align = param.size.next_power_of_two().min(8);
                assert_eq!(param.offset % align, 0);
                for byte in &mut used[usize::from(param.offset)..param.end()] {
                    assert!(!std::mem::replace(byte, true));
                }
            }
        }
    }

    #[test]
    fn layouts_differ_between_seeds_and_are_natural_without_one() {
        let layout = |seed: Option<u64>| {
            Kernel::new(&spec(&[8, 4, 8]), seed.map(Draw::new).as_mut()).unwrap().layout
        };
        let natural = [(0, 8), (8, 4), (16, 8)].map(|(offset, size)| Param { offset, size });
        assert_eq!(*layout(None), natural);
        assert!((0..20).any(|seed| layout(Some(seed)) != layout(Some(seed + 1))));
        assert_eq!(layout(Some(3)), layout(Some(3)));
    }

    #[test]
    fn parameters_that_fit_no_block_are_refused() {
        assert!(Kernel::new(&spec(&[32_764]), None).is_ok());
        assert!(Kernel::new(&spec(&[32_764, 1]), None).is_err());
        assert!(Kernel::new(&spec(&[0]), None).is_err());
    }
}
