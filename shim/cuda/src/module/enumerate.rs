//! Which kernels a module has.

use super::{Module, resolve};
use crate::arg::Out;
use crate::failure::Outcome;
use crate::session::live;
use crate::types::{CUfunction, CUmodule};
use ringbar_vocabulary::{ArenaRef, ModuleFunctions};

/// Room for names that is asked for at first.
const NAMES_BYTES: u64 = 4096;

impl Module {
    /// The names of its kernels.
    pub fn names(&self) -> Outcome<Vec<Vec<u8>>> {
        let live = live()?;
        let mut room = NAMES_BYTES;
        loop {
            let block = live.session.answer_block(room)?;
            let names = block.place();
            let found = u64::from(live.call(&ModuleFunctions { module: self.id, names })?.bytes);
            if found <= room {
                let mut bytes = vec![0; found as usize];
                block.read(&mut bytes)?;
                let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
                return Ok(names.map(<[u8]>::to_vec).collect());
            }
            room = found;
        }
    }

    /// How many kernels it has.
    pub fn count(&self) -> Outcome<u32> {
        let names = ArenaRef::default();
        Ok(live()?.call(&ModuleFunctions { module: self.id, names })?.count)
    }
}

entry! {
    /// How many kernels a module has.
    sync fn cuModuleGetFunctionCount(count: Out<u32>, module: CUmodule) {
        let count = count.required()?;
        count.set(resolve(module)?.count()?)
    }

    /// The first kernels of a module.
    sync fn cuModuleEnumerateFunctions(functions[count]: Out<CUfunction>, count: u32, module: CUmodule) {
        let functions = functions.required()?;
        let module = resolve(module)?;
        let names = module.names()?;
        let found: Outcome<Vec<CUfunction>> =
            names.iter().take(count as usize).map(|name| Ok(module.function(name)?.handle)).collect();
        functions.set_all(found?)
    }
}
