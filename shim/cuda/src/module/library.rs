//! Libraries and kernels: modules that belong to no context until one uses them.

use super::{Module, Options};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::function::{FUNCTIONS, Function};
use crate::handles::{Handle, Kind, Table};
use crate::{device, image, tls};
use ringbar_images::VariableKind;
use ringbar_vocabulary::Status;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A library. Never freed: kernels refer to it.
#[derive(Debug)]
pub struct Library {
    /// Its handle.
    pub handle: Handle,
    image: Mutex<Option<Image>>,
    /// How it is compiled in each context.
    options: Options,
    /// Its module in each context that used it.
    modules: Mutex<Vec<(&'static Context, &'static Module)>>,
    kernels: Mutex<HashMap<Box<[u8]>, &'static Kernel>>,
    /// The context whose managed variables the program uses.
    managed_in: Mutex<Option<&'static Context>>,
}

/// Where a library's image is while it is loaded.
#[derive(Debug)]
enum Image {
    Copied(Box<[u8]>),
    /// The program keeps it, as it promised.
    AtAddress(usize),
}

/// A kernel of a library: a function in each context that uses it.
#[derive(Debug)]
pub struct Kernel {
    /// Its handle.
    pub handle: Handle,
    /// The library it is of.
    pub library: &'static Library,
    /// Its name.
    pub name: CString,
    /// The function in the context that used it first: mostly the only one.
    first: OnceLock<(&'static Context, &'static Function)>,
}

/// All libraries by handle.
pub static LIBRARIES: Table<Library> = Table::new(Kind::Library);
/// All kernels by handle.
pub static KERNELS: Table<Kernel> = Table::new(Kind::Kernel);

/// The library that a handle names; INVALID_HANDLE if it names none.
pub fn resolve_library(library: Handle) -> Outcome<&'static Library> {
    LIBRARIES.get(library).ok_or(Failure(Status::INVALID_HANDLE))
}

/// The kernel that a handle names; INVALID_HANDLE if it names none.
pub fn resolve_kernel(kernel: Handle) -> Outcome<&'static Kernel> {
    KERNELS.get(kernel).ok_or(Failure(Status::INVALID_HANDLE))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    /// A library of the image at an address. With `preserved` the program keeps the image where it is until the library
    /// is unloaded; else it is copied.
    ///
    /// # Safety
    /// A whole image lies there.
    pub unsafe fn new(
        address: *const c_void,
        preserved: bool,
        options: Options,
    ) -> Outcome<&'static Library> {
        // SAFETY: the caller promises it.
        let bytes = unsafe { image::at(address) }?;
        let image = match preserved {
            true => Image::AtAddress(address.expose_provenance()),
            false => Image::Copied(bytes.into()),
        };
        Self::insert(image, options)
    }

    /// A library of an image that is handed over.
    pub fn of_bytes(bytes: Vec<u8>, options: Options) -> Outcome<&'static Library> {
        // SAFETY: the bytes live through the look at them, and end with a zero byte as text does.
        let length = unsafe { image::at(bytes.as_ptr().cast()) }?.len();
        if length > bytes.len() {
            return Err(Status::INVALID_IMAGE.into());
        }
        Self::insert(Image::Copied(bytes.into()), options)
    }

    fn insert(image: Image, options: Options) -> Outcome<&'static Library> {
        let made = LIBRARIES.insert(|handle| Library {
            handle,
            image: Mutex::new(Some(image)),
            options,
            modules: Mutex::default(),
            kernels: Mutex::default(),
            managed_in: Mutex::default(),
        })?;
        Ok(made.1)
    }

    /// Its module in a context: loaded there at first use.
    pub fn module_in(&'static self, context: &'static Context) -> Outcome<&'static Module> {
        self.compile_in(context, &self.options)
    }

    /// The same with other options, if it is not loaded there yet.
    pub(super) fn compile_in(
        &'static self,
        context: &'static Context,
        options: &Options,
    ) -> Outcome<&'static Module> {
        let mut modules = lock(&self.modules);
        if let Some((_, module)) = modules.iter().find(|(in_it, _)| std::ptr::eq(*in_it, context)) {
            return Ok(module);
        }
        if lock(&self.managed_in).is_some() {
            return Err(managed_elsewhere());
        }
        let module = self.with_image(|bytes| Module::load(context, bytes, options))?;
        modules.push((context, module));
        Ok(module)
    }

    fn with_image<T>(&self, body: impl FnOnce(&[u8]) -> Outcome<T>) -> Outcome<T> {
        match lock(&self.image).as_ref().ok_or(Failure(Status::INVALID_HANDLE))? {
            Image::Copied(bytes) => body(bytes),
            Image::AtAddress(address) => {
                let address: *const c_void = std::ptr::with_exposed_provenance(*address);
                // SAFETY: the program promised to keep the image while the library is loaded.
                body(unsafe { image::at(address) }?)
            }
        }
    }

    /// A managed variable's first byte and size, for host and device the same. NOT_FOUND if there is none of that name;
    /// NOT_SUPPORTED if the library is used in several contexts.
    pub fn managed(&'static self, name: &[u8]) -> Outcome<(u64, u64)> {
        let context = tls::current()?;
        let device = device::resolve(context.visible)?;
        let number = |attribute| device.attribute(attribute).unwrap_or(0).unsigned_abs();
        let sm = 10 * number(75) + number(76);
        let is_managed = self.with_image(|bytes| Ok(has_managed(bytes, sm, name)))?;
        if !is_managed {
            return Err(Status::NOT_FOUND.into());
        }
        let module = self.module_in(context)?;
        let elsewhere = lock(&self.modules).iter().any(|(known, _)| !std::ptr::eq(*known, context));
        if elsewhere {
            return Err(managed_elsewhere());
        }
        let found = module.managed(name)?;
        lock(&self.managed_in).get_or_insert(context);
        Ok(found)
    }

    /// The module in the thread's current context.
    pub fn module_here(&'static self) -> Outcome<&'static Module> {
        self.module_in(tls::current()?)
    }

    /// The kernel of that name; NOT_FOUND if there is none. The same kernel each time.
    pub fn kernel(&'static self, name: &[u8]) -> Outcome<&'static Kernel> {
        if let Some(kernel) = lock(&self.kernels).get(name) {
            return Ok(kernel);
        }
        let context = tls::current()?;
        let function = self.module_in(context)?.function(name)?;
        let text = CString::new(name).map_err(|_| Failure(Status::INVALID_VALUE))?;
        let mut kernels = lock(&self.kernels);
        if let Some(kernel) = kernels.get(name) {
            return Ok(kernel);
        }
        let made = KERNELS.insert(|handle| Kernel {
            handle,
            library: self,
            name: text,
            first: OnceLock::new(),
        })?;
        made.1.first.get_or_init(|| (context, function));
        kernels.insert(name.into(), made.1);
        Ok(made.1)
    }

    /// A context is destroyed with its module of this.
    pub(super) fn forget_context(&self, context: &Context) {
        lock(&self.modules).retain(|(in_it, _)| !std::ptr::eq(*in_it, context));
        lock(&self.managed_in).take_if(|in_it| std::ptr::eq(*in_it, context));
    }

    /// Unloads it everywhere: its handle and those of its kernels name nothing any more.
    pub fn unload(&'static self) -> Outcome {
        LIBRARIES.remove(self.handle).ok_or(Failure(Status::INVALID_HANDLE))?;
        lock(&self.image).take();
        for kernel in lock(&self.kernels).values() {
            KERNELS.remove(kernel.handle);
        }
        let modules = std::mem::take(&mut *lock(&self.modules));
        modules.into_iter().try_for_each(|(_, module)| module.unload().map(drop))
    }
}

/// Whether an image has a managed variable of that name for devices of a compute capability.
fn has_managed(image: &[u8], sm: u32, name: &[u8]) -> bool {
    let image = ringbar_images::Image::parse(image, sm).unwrap_or_default();
    let mut managed = image.variables.iter().filter(|v| v.kind == VariableKind::Managed);
    managed.any(|variable| variable.name.as_bytes() == name)
}

#[cold]
fn managed_elsewhere() -> Failure {
    tracing::warn!(
        "managed variables of one library cannot be used in several contexts here; try: one device, or cudaMallocManaged"
    );
    Status::NOT_SUPPORTED.into()
}

impl Kernel {
    /// Whether the function is this kernel in the context that asked for it first.
    pub fn is(&self, function: &Function) -> bool {
        self.first.get().is_some_and(|(_, first)| std::ptr::eq(*first, function))
    }

    /// The function that it is in a context.
    #[inline]
    pub fn function_in(&'static self, context: &'static Context) -> Outcome<&'static Function> {
        match self.first.get() {
            // It is gone if the context was reset since.
            Some((first, function))
                if std::ptr::eq(*first, context) && FUNCTIONS.get(function.handle).is_some() =>
            {
                Ok(function)
            }
            _ => self.library.module_in(context)?.function(self.name.as_bytes()),
        }
    }
}
