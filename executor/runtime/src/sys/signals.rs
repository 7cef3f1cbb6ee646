//! Signals: faults of machine code become traps, and a running call can be interrupted.
//!
//! Invariant: a signal is handled here only if the thread is inside an activation, the stack pointer
//! on its stack, and the program counter in machine code (or in a marked part of the stubs), or if it is
//! of a page that we mapped from a file and that is lost; any other goes to the handler that was installed
//! before, so a host's own faults, and signals that somebody sends, behave as they would without us. The
//! handlers allocate nothing and take no lock.

use super::lost;
use crate::vm::{self, Fault, Met};
use executor_model::TrapCode;
use nix::sys::signal::Signal;
use std::{
    cell::Cell,
    io,
    mem::MaybeUninit,
    ptr::{null, null_mut},
    sync::OnceLock,
};

/// The signal that interrupts a thread. Its default action is to be ignored, so a late one harms
/// nobody; Go uses it for the same purpose.
const INTERRUPT: libc::c_int = libc::SIGURG;
const HANDLED: [libc::c_int; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, INTERRUPT];
/// The smallest alternate stack that the handlers are content with.
const ALTERNATE_STACK: usize = 64 << 10;

static PREVIOUS: OnceLock<[libc::sigaction; HANDLED.len()]> = OnceLock::new();

/// A thread as the kernel numbers it.
pub(crate) type ThreadId = i32;

/// The calling thread.
pub(crate) fn current_thread() -> ThreadId {
    thread_local!(static ID: Cell<ThreadId> = const { Cell::new(0) });
    ID.with(|id| {
        if id.get() == 0 {
            // SAFETY: gettid has no preconditions.
            id.set(unsafe { libc::gettid() });
        }
        id.get()
    })
}

/// Sends the interrupting signal to a thread of this process; a thread that is gone is ignored.
pub(crate) fn interrupt_thread(thread: ThreadId) {
    // SAFETY: tgkill takes plain numbers; an unknown thread is an error that changes nothing.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, INTERRUPT) };
}

/// Makes a write beyond the limit on the size of files (`ulimit -f`) fail, with "File too large", instead
/// of killing the process. For programs to call when they start: how a process takes its signals is not
/// for a library to say.
pub fn ignore_file_size_signal() {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Ignores what ends or reloads a process from its terminal or service manager: for a program whose parent is told the
/// same, and says when it ends. For programs to call when they start.
pub fn ignore_ending_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Keeps every descriptor but the standard streams from programs that are started from here, those too that this
/// process was started with. For programs to call when they start.
pub fn keep_descriptors_from_children() {
    // SAFETY: it sets a flag of descriptors, and closes none. A kernel that does not know it answers with an error.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
}

/// Installs the handlers, once per process.
pub(crate) fn install() {
    PREVIOUS.get_or_init(|| {
        HANDLED.map(|signal| {
            // SAFETY: both structures are valid for the call, all-zero is a valid `sigaction`, and
            // the handler is async-signal-safe (see the module's invariant). It runs on the
            // alternate stack, because the wasm stack may be exhausted.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handle as *const () as usize;
                // Without SA_RESTART: an interrupted guest must leave a blocking system call.
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&mut action.sa_mask);
                let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
                let result = libc::sigaction(signal, &action, previous.as_mut_ptr());
                // It fails only for signal numbers that cannot be handled, which these are not.
                assert_eq!(result, 0, "sigaction({signal})");
                previous.assume_init()
            }
        })
    });
}

/// An alternate signal stack, for as long as its thread lives.
struct AlternateStack {
    memory: *mut libc::c_void,
    previous: libc::stack_t,
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // SAFETY: `previous` is what the kernel reported for this thread; our stack is not in use,
        // since a destructor does not run inside a signal handler, and is unmapped only after.
        unsafe {
            libc::sigaltstack(&self.previous, null_mut());
            libc::munmap(self.memory, ALTERNATE_STACK);
        }
    }
}

/// Makes sure that this thread can take a signal while its wasm stack is exhausted.
pub(crate) fn prepare_thread() -> io::Result<()> {
    thread_local!(static STACK: Cell<Option<AlternateStack>> = const { Cell::new(None) });
    thread_local!(static READY: Cell<bool> = const { Cell::new(false) });
    if READY.get() {
        return Ok(());
    }
    // SAFETY: the structures are valid for the calls; the mapping is new and owned by the
    // destructor above.
    unsafe {
        let mut previous = MaybeUninit::<libc::stack_t>::zeroed();
        if libc::sigaltstack(null(), previous.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let previous = previous.assume_init();
        if previous.ss_flags & libc::SS_DISABLE != 0 || previous.ss_size < ALTERNATE_STACK {
            let memory = libc::mmap(
                null_mut(),
                ALTERNATE_STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if memory == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: ALTERNATE_STACK };
            let guard = AlternateStack { memory, previous };
            if libc::sigaltstack(&stack, null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            STACK.set(Some(guard));
        }
    }
    READY.set(true);
    Ok(())
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
    let cause = unsafe { (*info).si_code };
    // What a process sent, and no instruction of this thread caused.
    let sent = cause <= 0;
    if sent && signal != INTERRUPT {
        return chain(signal, info, context, sent);
    }
    // SAFETY: as above; the context is this thread's to change.
    let (registers, address) = unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        (&mut context.uc_mcontext.gregs, (*info).si_addr() as usize)
    };
    let pc = registers[libc::REG_RIP as usize] as usize;
    let met = Met { pc, sp: registers[libc::REG_RSP as usize] as usize };
    let fp = registers[libc::REG_RBP as usize] as usize;
    if signal == libc::SIGSEGV && vm::open_faulted(address, met, fp) {
        return;
    }
    let unreadable =
        signal == libc::SIGBUS && matches!(cause, libc::BUS_ADRERR | libc::BUS_MCEERR_AR);
    // Code that lost a page can't be run any more, wherever it is.
    let lost = unreadable || signal == libc::SIGSEGV && address == pc;
    let found = match signal {
        INTERRUPT => vm::interrupted_at(met).then_some(TrapCode::Interrupted),
        _ => vm::trap_at(met, address, lost),
    };
    match found {
        Some(_) if unreadable => lost::note(address),
        None if unreadable && lost::replace(address) => return vm::lost_in_host(),
        _ => {}
    }
    if let Some(code) = found
        && let Some(landing) = vm::record_fault(Fault { code, pc, fp })
    {
        // Returning from the handler continues at the landing pad with the activation in rbx.
        registers[libc::REG_RIP as usize] = landing.pad as i64;
        registers[libc::REG_RBX as usize] = landing.activation as i64;
        return;
    }
    // An interrupt that found nothing to stop here is seen when the host returns to machine code.
    chain(signal, info, context, sent);
}

/// Does what would have happened without our handler. A signal that was `sent` comes only once.
fn chain(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void, sent: bool) {
    let previous =
        PREVIOUS.get().and_then(|all| HANDLED.iter().position(|s| *s == signal).map(|at| all[at]));
    let Some(previous) = previous else { return default_action(signal, sent) };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN if signal == INTERRUPT => {}
        libc::SIG_IGN if sent => {}
        // The kernel does not let a fault be ignored either.
        libc::SIG_DFL | libc::SIG_IGN => default_action(signal, sent),
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the kernel gave us this address as an SA_SIGINFO handler, and the arguments
            // are the kernel's own.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the address is a handler of one argument.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
    // A handler may give up by restoring the default action, and trust in the instruction to fault again:
    // that of Rust's standard library does.
    if sent && signal != INTERRUPT && has_default_action(signal) {
        default_action(signal, sent);
    }
}

fn has_default_action(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the structure is valid for the call, and all-zero is a valid `sigaction`.
    unsafe {
        libc::sigaction(signal, null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_DFL
    }
}

/// Restores the default action, so that the instruction faults again, or a signal that was `sent` comes
/// again, and the process ends as the system would have ended it.
fn default_action(signal: libc::c_int, sent: bool) {
    debug_assert!(Signal::try_from(signal).is_ok());
    // SAFETY: SIG_DFL is a valid action for these signals, and `raise` is async-signal-safe. The signal is
    // blocked until the handler returns.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        if sent {
            libc::raise(signal);
        }
    }
}
