//! Modules, libraries, and the kernels in them.

pub mod calls;
pub mod enumerate;
pub mod jit;
pub mod library;
pub mod library_calls;
pub mod link;
mod sent;

pub use calls::*;
pub use enumerate::*;
pub use jit::*;
pub use library::*;
pub use library_calls::*;
pub use link::*;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::function::{FUNCTIONS, Function};
use crate::handles::{Handle, Kind, Table};
use crate::output;
use crate::session::live;
use ringbar_vocabulary::{
    ArenaRef, FunctionLookup, INLINE_PARAMS, ModuleGlobal, ModuleId, ModuleUnload, Param, Status,
    Tail,
};
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A loaded module of one context. Never freed: functions refer to it.
#[derive(Debug)]
pub struct Module {
    /// Its handle.
    pub handle: Handle,
    /// Its number for the executor.
    pub id: ModuleId,
    /// The context it was loaded into.
    pub context: &'static Context,
    /// Functions that were asked for, by name.
    functions: Mutex<HashMap<Box<[u8]>, &'static Function>>,
}

/// All modules by handle.
pub static MODULES: Table<Module> = Table::new(Kind::Module);

/// The module that a handle names; INVALID_HANDLE if it names none.
pub fn resolve(module: Handle) -> Outcome<&'static Module> {
    MODULES.get(module).ok_or(Failure(Status::INVALID_HANDLE))
}

/// A context is destroyed with everything in it. Libraries load their modules anew when it is used again, as a primary one
/// can be.
pub fn forget_context(context: &Context) {
    for (_, library) in LIBRARIES.alive() {
        library.forget_context(context);
    }
    for (handle, module) in MODULES.alive() {
        if std::ptr::eq(module.context, context) && MODULES.remove(handle).is_some() {
            module.forget_contents();
        }
    }
}

impl Module {
    /// Loads an image into a context, as the options want it.
    pub fn load(
        context: &'static Context,
        image: &[u8],
        options: &Options,
    ) -> Outcome<&'static Module> {
        let live = live()?;
        let id = live.session.module_id()?;
        if options.is_empty() {
            sent::load(live, context.id, id, image)?;
        } else {
            options.load(live, context.id, id, image)?;
        }
        output::image_loaded(image);
        let functions = Mutex::default();
        let made = MODULES.insert(|handle| Module { handle, id, context, functions })?;
        Ok(made.1)
    }

    fn functions(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, &'static Function>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function of that name; NOT_FOUND if there is none. The same function each time.
    pub fn function(&'static self, name: &[u8]) -> Outcome<&'static Function> {
        if let Some(function) = self.functions().get(name) {
            return Ok(function);
        }
        let function = self.look_up(name)?;
        Ok(self.functions().entry(name.into()).or_insert(function))
    }

    fn look_up(&'static self, name: &[u8]) -> Outcome<&'static Function> {
        let live = live()?;
        let id = live.session.function_id()?;
        let lookup = |layout| FunctionLookup {
            module: self.id,
            function: id,
            layout,
            name: Tail::Inline(name),
        };
        let reply = live.call(&lookup(ArenaRef::default()))?;
        let count = reply.params as usize;
        let params = if count <= INLINE_PARAMS {
            reply.inline[..count].iter().map(|&word| Param::from_word(word)).collect()
        } else {
            let block = live.session.answer_block(4 * count as u64)?;
            live.call(&lookup(block.place()))?;
            let mut bytes = vec![0; 4 * count];
            block.read(&mut bytes)?;
            let words = bytes
                .chunks_exact(4)
                .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            words.map(Param::from_word).collect()
        };
        let name = CString::new(name).map_err(|_| Failure(Status::INVALID_VALUE))?;
        let param_bytes = reply.param_bytes;
        let made = FUNCTIONS
            .insert(|handle| Function::new(handle, id, self, name, params, param_bytes))?;
        Ok(made.1)
    }

    /// A variable's first byte and size; NOT_FOUND if there is none of that name.
    pub fn global(&self, name: &[u8]) -> Outcome<(u64, u64)> {
        let reply = live()?.call(&ModuleGlobal { module: self.id, name: Tail::Inline(name) })?;
        crate::memory::remember_global(reply.at.0, reply.bytes, self.handle, self.context)?;
        Ok((reply.at.0, reply.bytes))
    }

    /// A managed variable's first byte and size, for host and device the same; NOT_FOUND if there is none of that name.
    pub fn managed(&self, name: &[u8]) -> Outcome<(u64, u64)> {
        let reply = live()?.call(&ModuleGlobal { module: self.id, name: Tail::Inline(name) })?;
        crate::memory::managed::place(reply.at.0, reply.bytes, self.handle, self.context)?;
        Ok((reply.at.0, reply.bytes))
    }

    /// Handles of its functions name nothing any more.
    fn forget_contents(&self) {
        for function in self.functions().values() {
            FUNCTIONS.remove(function.handle);
        }
        crate::memory::forget_module(self.handle);
    }

    /// Unloads it: its handle and those of its functions name nothing any more. Answers with the command's position.
    pub fn unload(&'static self) -> Outcome<u64> {
        MODULES.remove(self.handle).ok_or(Failure(Status::INVALID_HANDLE))?;
        self.forget_contents();
        live()?.post(&ModuleUnload { module: self.id })
    }
}
