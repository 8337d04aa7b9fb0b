//! Fat binaries of the program with their kernels and variables. Registered at start, loaded when first used.

use crate::driver;
use crate::error::{Error, Outcome};
use crate::pointer::{In, Out};
use crate::table::Table;
use ringbar::sync::{AtomicUsize, Mutex, Ordering};

/// A fat binary that the program registered. Lives for ever: launches may still hold it when it is unregistered.
pub(crate) struct Binary {
    /// Where the program has its image.
    image: usize,
    /// The driver's library, 0 until it is first needed.
    library: AtomicUsize,
    /// Held while it is loaded or changed.
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    functions: Vec<usize>,
    variables: Vec<usize>,
    managed: Vec<Managed>,
}

/// A managed variable: the program reads its address from a place of its own.
#[derive(Clone, Copy)]
struct Managed {
    name: usize,
    place: usize,
}

/// A kernel, known by its host function.
pub(crate) struct Function {
    binary: &'static Binary,
    /// The program's own string.
    pub(crate) name: usize,
    /// The driver's kernel, 0 until it is first needed.
    kernel: AtomicUsize,
}

/// A variable on the device, known by its host copy.
pub(crate) struct Variable {
    binary: &'static Binary,
    name: usize,
    pub(crate) bytes: usize,
}

/// Kernels by host functions.
static FUNCTIONS: Table<Function> = Table::new();
/// Variables by host copies.
static VARIABLES: Table<Variable> = Table::new();
/// Kernels by the driver's handles: what a graph's node is about is told as the program named it.
static HOST_FUNCTIONS: Table<usize> = Table::new();

impl Binary {
    /// Notes an image.
    pub(crate) fn register(image: usize) -> &'static Self {
        let (library, names) = (AtomicUsize::new(0), Mutex::default());
        Box::leak(Box::new(Self { image, library, names }))
    }

    /// Notes a kernel.
    pub(crate) fn add_function(&'static self, host: usize, name: usize) {
        let Ok(mut names) = self.names.lock() else { return };
        names.functions.push(host);
        let function = Function { binary: self, name, kernel: AtomicUsize::new(0) };
        FUNCTIONS.insert(host, Box::leak(Box::new(function)));
    }

    /// Notes a variable.
    pub(crate) fn add_variable(&'static self, host: usize, name: usize, bytes: usize) {
        let Ok(mut names) = self.names.lock() else { return };
        names.variables.push(host);
        VARIABLES.insert(host, Box::leak(Box::new(Variable { binary: self, name, bytes })));
    }

    /// Notes a managed variable whose address goes to `place`.
    pub(crate) fn add_managed(&'static self, place: usize, name: usize, bytes: usize) {
        self.add_variable(place, name, bytes);
        let Ok(mut names) = self.names.lock() else { return };
        names.managed.push(Managed { name, place });
    }

    /// The driver's library, loaded if it is not yet.
    fn library(&self) -> Outcome<usize> {
        match self.library.load(Ordering::Acquire) {
            0 => self.load(),
            library => Ok(library),
        }
    }

    #[cold]
    fn load(&self) -> Outcome<usize> {
        let driver = driver::bind()?;
        let _names = self.names.lock().map_err(|_| Error::UNKNOWN)?;
        let mut library = self.library.load(Ordering::Acquire);
        if library == 0 {
            let (none, values) = (In::none(), In::none());
            let (jit, place) = (Out::none(), Out::to(&mut library));
            driver.cuLibraryLoadData(place, self.image, none, jit, 0, none, values, 0)?;
            self.library.store(library, Ordering::Release);
        }
        Ok(library)
    }

    /// Gives the program the addresses of its managed variables.
    pub(crate) fn place_managed(&self) -> Outcome {
        let names = self.names.lock().map_err(|_| Error::UNKNOWN)?;
        let managed = names.managed.clone();
        drop(names);
        for variable in managed {
            let (mut at, library) = (0, self.library()?);
            driver::bind()?.cuLibraryGetManaged(
                Out::to(&mut at),
                Out::none(),
                library,
                variable.name,
            )?;
            let place = std::ptr::with_exposed_provenance_mut::<u64>(variable.place);
            // SAFETY: the place where the program, by its compiler, keeps this variable's address.
            unsafe { place.write(at) };
        }
        Ok(())
    }

    /// Forgets everything that was noted, and unloads the library unless the program is ending.
    pub(crate) fn unregister(&self) {
        if driver::is_ending() {
            return;
        }
        let Ok(mut names) = self.names.lock() else { return };
        let names = std::mem::take(&mut *names);
        names.functions.into_iter().for_each(|host| FUNCTIONS.remove(host));
        names.variables.into_iter().for_each(|host| VARIABLES.remove(host));
        let library = self.library.swap(0, Ordering::AcqRel);
        if let (true, Ok(driver)) = (library != 0, driver::started()) {
            // Nobody could be told that it failed.
            let _ = driver.cuLibraryUnload(library);
        }
    }
}

impl Function {
    /// The driver's kernel.
    #[inline]
    pub(crate) fn kernel(&self, host: usize) -> Outcome<usize> {
        match self.kernel.load(Ordering::Acquire) {
            0 => self.find(host),
            kernel => Ok(kernel),
        }
    }

    #[cold]
    fn find(&self, host: usize) -> Outcome<usize> {
        let mut kernel = 0;
        let library = self.binary.library()?;
        let found = driver::bind()?.cuLibraryGetKernel(Out::to(&mut kernel), library, self.name);
        found.map_err(|e| e.becomes(Error::NOT_FOUND, Error::INVALID_DEVICE_FUNCTION))?;
        HOST_FUNCTIONS.insert(kernel, Box::leak(Box::new(host)));
        self.kernel.store(kernel, Ordering::Release);
        Ok(kernel)
    }
}

impl Variable {
    /// Where it is in the thread's context.
    pub(crate) fn locate(&self) -> Outcome<u64> {
        let (mut at, library) = (0, self.binary.library()?);
        let driver = driver::bind()?;
        let found = driver.cuLibraryGetGlobal(Out::to(&mut at), Out::none(), library, self.name);
        found.map_err(|e| e.becomes(Error::NOT_FOUND, Error::INVALID_SYMBOL))?;
        Ok(at)
    }
}

/// The kernel that a program knows by a host function.
#[inline]
pub(crate) fn function(host: usize) -> Option<&'static Function> {
    FUNCTIONS.get(host)
}

/// The driver's kernel for what a program launches: a host function, or a kernel that the driver gave it.
#[inline]
pub(crate) fn kernel(host: usize) -> Outcome<usize> {
    match FUNCTIONS.get(host) {
        Some(function) => function.kernel(host),
        None if host == 0 => Err(Error::INVALID_DEVICE_FUNCTION),
        None => Ok(host),
    }
}

/// The host function of a kernel of the driver's; INVALID_DEVICE_FUNCTION for one that the program did not register.
pub(crate) fn host_function(kernel: usize) -> Outcome<usize> {
    HOST_FUNCTIONS.get(kernel).copied().ok_or(Error::INVALID_DEVICE_FUNCTION)
}

/// The variable that a program knows by its host copy.
pub(crate) fn variable(host: usize) -> Outcome<&'static Variable> {
    VARIABLES.get(host).ok_or(Error::INVALID_SYMBOL)
}

/// `__fatBinC_Wrapper_t`: what the compiler registers.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Wrapper {
    magic: u32,
    version: u32,
    data: usize,
    more: usize,
}

impl Wrapper {
    const MAGIC: u32 = 0x4662_43b1;

    /// The address of the image, or the wrapper's own if it is something else: the driver will say what it is.
    pub(crate) fn image(wrapper: In<'_, Wrapper>) -> usize {
        match wrapper.get() {
            Ok(found) if found.magic == Self::MAGIC => found.data,
            _ => wrapper.address(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_registered_is_known_until_it_is_unregistered() {
        let binary = Binary::register(0);
        binary.add_function(0x1010, 0x5000);
        binary.add_variable(0x2020, 0x6000, 12);
        assert_eq!(function(0x1010).map(|function| function.name), Some(0x5000));
        assert_eq!(variable(0x2020).map(|variable| variable.bytes), Ok(12));
        binary.unregister();
        assert!(function(0x1010).is_none());
        assert_eq!(variable(0x2020).err(), Some(Error::INVALID_SYMBOL));
    }

    #[test]
    fn a_kernel_of_the_drivers_stands_for_itself_and_null_for_none() {
        assert_eq!(kernel(0x3030), Ok(0x3030));
        assert_eq!(kernel(0), Err(Error::INVALID_DEVICE_FUNCTION));
    }

    #[test]
    fn a_wrapper_names_its_image() {
        let mut wrapper = Wrapper { magic: Wrapper::MAGIC, version: 1, data: 0x4000, more: 0 };
        assert_eq!(Wrapper::image(In::to(&wrapper)), 0x4000);
        wrapper.magic = 1;
        let own = std::ptr::from_ref(&wrapper) as usize;
        assert_eq!(Wrapper::image(In::to(&wrapper)), own);
    }
}
