//! A bare virtual machine monitor over real KVM, for machines where `/dev/kvm` answers but no kernel boots.
//!
//! The guest has no kernel. Its one virtual processor runs in user mode and sees the memory of this process at its own
//! addresses; so it runs the code of the ring that is linked here, on the channel that this process has attached to. A
//! closure is started on it ([`Bare::run`]), on a stack of its own, with the thread-local data of the thread that waits for
//! it meanwhile. Two pages of addresses are no memory but registers:
//!
//! | page | access | becomes |
//! |---|---|---|
//! | BAR 0 of the device | a doorbell's store | a signal of the eventfd, in the kernel, by ioeventfd |
//! | trap | a load of word 0 | an exit: the old way, one call through the monitor |
//! | trap | a store to word 1 | an exit: the closure is through |
//!
//! The closure must make no system call, map no memory, and not panic: whatever needs a kernel ends the machine, which is an
//! error. Reading the clock needs none.

#![allow(dead_code, reason = "tests and figures use their own parts")]

pub mod figures;
pub mod function;
pub mod mediator;
pub mod memory;
pub mod program;
mod raw;

use function::{Function, trap};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use memmap2::MmapMut;
use memory::Memory;
use ringbar::os::Doorbell;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use thiserror::Error;

/// Why there is no guest, or none any more.
#[derive(Debug, Error)]
pub enum BareError {
    /// No KVM, or none that can be used.
    #[error(
        "{what}: {source}; likely cause: no KVM on this machine, or no right to open /dev/kvm; try: another machine, or root"
    )]
    Unusable { what: &'static str, source: kvm_ioctls::Error },
    /// The kernel refused something later.
    #[error("{what}: {source}")]
    Kvm { what: &'static str, source: kvm_ioctls::Error },
    /// A file or a socket.
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    /// The guest did what cannot be done without a kernel.
    #[error(
        "found the exit {exit}; likely cause: a system call, a panic, or memory that was mapped after the start"
    )]
    Ended { exit: String },
}

impl BareError {
    /// What a probe says: nothing where a program runs on KVM, why where there is no KVM that can be used.
    ///
    /// # Errors
    /// Everything else: a machine that has KVM and on which this monitor fails.
    pub fn lacking(probed: Result<(), Self>) -> Result<Option<Self>, Self> {
        match probed {
            Ok(()) => Ok(None),
            Err(why @ Self::Unusable { .. }) => Ok(Some(why)),
            Err(error) => Err(error),
        }
    }

    pub fn system(what: impl Into<String>, source: io::Error) -> Self {
        Self::System { what: what.into(), source }
    }

    fn kvm(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |source| Self::Kvm { what, source }
    }
}

/// What the monitor had to do while a closure ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// Loads of the trap page.
    pub loads: u64,
    /// Stores that no eventfd stood for.
    pub stores: u64,
}

/// The other end of the trap page: given the number of a call, answers it.
pub type Mediator<'m> = dyn FnMut(u64) -> io::Result<u64> + 'm;

/// A machine that has not run yet.
pub struct Bare<'f> {
    kvm: Kvm,
    vm: VmFd,
    vcpu: VcpuFd,
    function: &'f Function,
}

/// What the virtual processor runs.
type Work = Box<dyn FnOnce()>;

thread_local! {
    static WORK: Cell<Option<Work>> = const { Cell::new(None) };
}

/// Where the virtual processor starts.
extern "C" fn entry() -> ! {
    if let Some(work) = WORK.take() {
        work();
    }
    loop {
        // Ends here; it cannot fail, since the register lies inside of its page.
        let _ = trap().exit.ring();
    }
}

/// Bytes of the guest's stack.
const STACK_BYTES: usize = 1 << 20;
/// Bytes of heap that a closure may take in small pieces.
const HEAP_BYTES: usize = 96 << 10;
/// Extended state that the guest may use: x87, SSE, AVX, AVX-512.
const STATE: u64 = 0xe7;

impl<'f> Bare<'f> {
    /// A machine whose doorbell register signals the function's eventfds.
    ///
    /// # Errors
    /// [`BareError::Unusable`] where there is no KVM.
    pub fn new(function: &'f Function) -> Result<Self, BareError> {
        let unusable = |what| move |source| BareError::Unusable { what, source };
        let kvm = Kvm::new().map_err(unusable("opening /dev/kvm"))?;
        let vm = kvm.create_vm().map_err(unusable("making a virtual machine"))?;
        if !vm.check_extension(Cap::Ioeventfd) {
            let source = kvm_ioctls::Error::new(rustix::io::Errno::NOSYS.raw_os_error());
            return Err(BareError::Unusable { what: "asking for ioeventfd", source });
        }
        let vcpu = vm.create_vcpu(0).map_err(unusable("making a virtual processor"))?;
        let bare = Self { kvm, vm, vcpu, function };
        bare.connect_doorbells()?;
        Ok(bare)
    }

    /// As QEMU does for its ivshmem device: peer 0 is the host.
    fn connect_doorbells(&self) -> Result<(), BareError> {
        for (vector, bell) in self.function.bells().iter().enumerate() {
            raw::doorbell(&self.vm, bell, function::DOORBELL, vector as u32)?;
        }
        Ok(())
    }

    /// Runs `work` on the virtual processor, to its end; `mediator` answers loads of the trap page.
    ///
    /// # Errors
    /// [`BareError`] if the machine cannot be set up, ends early, or the mediator fails.
    pub fn run<T: 'static>(
        mut self,
        mediator: &mut Mediator<'_>,
        work: impl FnOnce() -> T + 'static,
    ) -> Result<(T, Exits), BareError> {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        trap();
        WORK.set(Some(Box::new(move || {
            *slot.borrow_mut() = Some(work());
        })));
        let anonymous =
            |bytes| MmapMut::map_anon(bytes).map_err(|e| BareError::system("memory", e));
        let stack = anonymous(STACK_BYTES)?;
        // Taken and given back: the allocator keeps it, and asks the system for nothing while the guest runs.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(HEAP_BYTES)));
        let memory = Memory::of_process(&self.function.registers())?;
        let bytes = memory.tables();
        let mut tables = anonymous(bytes.len())?;
        tables.copy_from_slice(&bytes);
        raw::add_memory(&self.vm, &memory, &tables)?;
        self.start_at(&memory, &stack)?;
        let exits = self.until_through(mediator);
        // What was not started must not wait for the next machine of this thread.
        WORK.take();
        let exits = exits?;
        let value = result.borrow_mut().take();
        let early = || BareError::Ended { exit: "store, without a result".to_owned() };
        Ok((value.ok_or_else(early)?, exits))
    }

    fn start_at(&self, memory: &Memory, stack: &MmapMut) -> Result<(), BareError> {
        let cpuid = self.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        let cpuid = cpuid.map_err(BareError::kvm("asking for processor features"))?;
        let vcpu = &self.vcpu;
        vcpu.set_cpuid2(&cpuid).map_err(BareError::kvm("setting processor features"))?;
        let mut special = vcpu.get_sregs().map_err(BareError::kvm("reading registers"))?;
        user_mode(&mut special, memory.root(), raw::thread_pointer());
        vcpu.set_sregs(&special).map_err(BareError::kvm("entering user mode"))?;
        let mut state = vcpu.get_xcrs().map_err(BareError::kvm("reading extended state"))?;
        let leaf = cpuid.as_slice().iter().find(|leaf| (leaf.function, leaf.index) == (0xd, 0));
        state.nr_xcrs = 1;
        state.xcrs[0].xcr = 0;
        state.xcrs[0].value = STATE & u64::from(leaf.map_or(3, |leaf| leaf.eax));
        vcpu.set_xcrs(&state).map_err(BareError::kvm("allowing extended state"))?;
        // As behind a call: the return address, which nobody uses, at the end of a 16-byte block.
        let top = (stack.as_ptr().addr() + stack.len() - 64) & !15;
        let registers = kvm_regs {
            rip: entry as extern "C" fn() -> ! as usize as u64,
            rsp: top as u64 - 8,
            rflags: 2,
            ..kvm_regs::default()
        };
        vcpu.set_regs(&registers).map_err(BareError::kvm("setting registers"))
    }

    fn until_through(&mut self, mediator: &mut Mediator<'_>) -> Result<Exits, BareError> {
        let mut exits = Exits::default();
        loop {
            let exit = match self.vcpu.run() {
                Ok(VcpuExit::MmioWrite(function::EXIT, _)) => return Ok(exits),
                Ok(VcpuExit::MmioWrite(..)) => {
                    exits.stores += 1;
                    continue;
                }
                Ok(VcpuExit::MmioRead(function::TRAP, into)) => {
                    let answer = mediator(exits.loads);
                    let answer = answer.map_err(|e| BareError::system("asking the mediator", e))?;
                    let bytes = answer.to_le_bytes();
                    into.copy_from_slice(&bytes[..into.len().min(bytes.len())]);
                    exits.loads += 1;
                    continue;
                }
                Err(error) if error.errno() == rustix::io::Errno::INTR.raw_os_error() => continue,
                other => format!("{other:?}"),
            };
            // After a shutdown KVM has forgotten it.
            let at = self.vcpu.get_regs().map_or(0, |registers| registers.rip);
            let exit = if at == 0 { exit } else { format!("{exit} at {at:#x}") };
            return Err(BareError::Ended { exit });
        }
    }
}

/// Long mode with paging, at the lowest privilege.
fn user_mode(special: &mut kvm_sregs, root: u64, thread_pointer: u64) {
    /// Protection, coprocessor and its errors, write protection, paging.
    const CR0: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
    /// Physical address extension, SSE and its errors, extended state.
    const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 18;
    /// Long mode, enabled and active; no-execute pages.
    const EFER: u64 = 1 << 8 | 1 << 10 | 1 << 11;
    let segment = |selector, kind, long| kvm_segment {
        limit: u32::MAX,
        selector,
        type_: kind,
        present: 1,
        dpl: 3,
        db: 1 - long,
        s: 1,
        l: long,
        g: 1,
        ..kvm_segment::default()
    };
    (special.cr0, special.cr3, special.cr4, special.efer) = (CR0, root, CR4, EFER);
    special.cs = segment(0x33, 0xb, 1);
    let data = segment(0x2b, 3, 0);
    (special.ss, special.ds, special.es, special.gs) = (data, data, data, data);
    special.fs = kvm_segment { base: thread_pointer, ..data };
    special.tr = kvm_segment {
        selector: 0x40,
        limit: 0x67,
        type_: 0xb,
        present: 1,
        ..kvm_segment::default()
    };
}
