//! The stubs in assembly: entering machine code, and calling the host from it.
//!
//! Invariant: between `executor_stubs_start` and `executor_stubs_end` there is nothing else, so a
//! program counter tells whether a thread is in a stub. `enter` leaves the host's callee-saved
//! registers on the host's stack, and both ways out (return, landing pad) restore them from there.
//!
//! The interrupt flag is read after machine code's stack pointer is back in place. From there to
//! the jump into machine code (`check` to `done` labels) the signal handler may divert the thread
//! itself, so an interrupt is never missed between the reading and the jump.

use super::activation::Frame;
use executor_code::abi::{Activation, Builtin, StoreHeader, VmHeader};
use std::{arch::global_asm, mem::offset_of};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("the runtime supports x86_64 Linux; another target needs its own entry stubs");

/// What `enter` returns when the call returned.
pub(super) const RETURNED: u64 = 0;
/// The call ended at the landing pad; the frame says why.
pub(super) const LANDED: u64 = 1;
/// The call was interrupted before or between machine code.
pub(super) const INTERRUPTED: u64 = 2;
/// What a builtin answers whose exception is caught in machine code; the frame says where.
pub(super) const RESUMED: u64 = 3;

/// How far below its frame pointer a stub leaves machine code's stack pointer.
pub(super) const STUB_FRAME: usize = 40;

global_asm!(
    ".text",
    ".p2align 4",
    ".globl executor_stubs_start",
    ".hidden executor_stubs_start",
    "executor_stubs_start:",
    // u64 enter(frame: rdi, trampoline: rsi, code: rdx, vmctx: rcx, values: r8)
    ".globl executor_enter",
    ".hidden executor_enter",
    "executor_enter:",
    "    push rbp",
    "    mov rbp, rsp",
    "    push rbx",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    sub rsp, 8",
    "    mov rbx, rdi",
    "    mov rax, rsi",
    "    mov [rbx + {host_sp}], rsp",
    "    mov rsp, [rbx + {wasm_sp}]",
    "    mov r10, [rbx + {interrupt}]",
    ".globl executor_enter_check",
    ".hidden executor_enter_check",
    "executor_enter_check:",
    "    cmp byte ptr [r10], 0",
    "    jne 2f",
    "    mov rdi, rdx",
    "    mov rsi, rcx",
    "    mov rdx, r8",
    "    call rax",
    ".globl executor_enter_done",
    ".hidden executor_enter_done",
    "executor_enter_done:",
    "    xor eax, eax",
    "    jmp 3f",
    // The landing pad: rbx is the frame.
    ".globl executor_landing",
    ".hidden executor_landing",
    "executor_landing:",
    "    mov eax, {landed}",
    "    jmp 3f",
    "2:  mov eax, {interrupted}",
    "3:  mov rsp, [rbx + {host_sp}]",
    "    add rsp, 8",
    "    pop r15",
    "    pop r14",
    "    pop r13",
    "    pop r12",
    "    pop rbx",
    "    pop rbp",
    "    ret",
    // The common part of all builtins' stubs: rax is the builtin's number.
    "    .p2align 4",
    "4:  push rbp",
    "    mov rbp, rsp",
    // Of the registers that machine code may hold something in across calls, rbx is changed here; the
    // others are saved for those who look for references.
    "    push rbx",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    mov r10, [rdi + {store}]",
    "    mov rbx, [r10 + {activation}]",
    "    mov [rbx + {wasm_sp}], rsp",
    "    mov rsp, [rbx + {host_sp}]",
    "    mov r10, [rbx + {handlers}]",
    "    call [r10 + rax * 8]",
    "    mov rsp, [rbx + {wasm_sp}]",
    "    mov r10, [rbx + {interrupt}]",
    "    test rdx, rdx",
    "    jnz 5f",
    ".globl executor_stub_check",
    ".hidden executor_stub_check",
    "executor_stub_check:",
    "    cmp byte ptr [r10], 0",
    "    jne 2b",
    "    add rsp, 32",
    "    pop rbx",
    "    pop rbp",
    "    ret",
    ".globl executor_stub_done",
    ".hidden executor_stub_done",
    "executor_stub_done:",
    // The builtin does not return: it ends the activation, or machine code goes on at a handler. That
    // may be of this call, for which the callee-saved registers are as they were.
    "5:  cmp edx, {resumed}",
    "    jne executor_landing",
    "    mov rcx, [rsp + 32]",
    "    mov rsp, [rbx + {resume_sp}]",
    "    mov rbp, [rbx + {resume_fp}]",
    ".globl executor_resume_check",
    ".hidden executor_resume_check",
    "executor_resume_check:",
    "    cmp byte ptr [r10], 0",
    "    jne 2b",
    "    mov r10, [rbx + {resume_pc}]",
    "    mov rax, [rbx + {resume_exception}]",
    "    mov rdx, [rbx + {resume_payload}]",
    "    mov rbx, rcx",
    "    jmp r10",
    ".globl executor_resume_done",
    ".hidden executor_resume_done",
    "executor_resume_done:",
    // One stub per builtin, 16 bytes apart.
    "    .p2align 4",
    ".globl executor_builtin_stubs",
    ".hidden executor_builtin_stubs",
    "executor_builtin_stubs:",
    ".set .Lbuiltin, 0",
    ".rept {count}",
    "    .p2align 4",
    "    mov eax, offset .Lbuiltin",
    "    jmp 4b",
    "    .set .Lbuiltin, .Lbuiltin + 1",
    ".endr",
    ".globl executor_stubs_end",
    ".hidden executor_stubs_end",
    "executor_stubs_end:",
    host_sp = const offset_of!(Activation, host_sp),
    wasm_sp = const offset_of!(Activation, wasm_sp),
    interrupt = const offset_of!(Frame, interrupt),
    store = const offset_of!(VmHeader, store),
    activation = const offset_of!(StoreHeader, activation),
    handlers = const offset_of!(Frame, handlers),
    landed = const LANDED,
    resumed = const RESUMED,
    resume_pc = const offset_of!(Frame, resume.pc),
    resume_sp = const offset_of!(Frame, resume.sp),
    resume_fp = const offset_of!(Frame, resume.fp),
    resume_exception = const offset_of!(Frame, resume.exception),
    resume_payload = const offset_of!(Frame, resume.payload),
    interrupted = const INTERRUPTED,
    count = const Builtin::ALL.len(),
);

unsafe extern "C" {
    pub(super) fn executor_enter(
        frame: *mut Activation,
        trampoline: usize,
        code: usize,
        vmctx: *mut VmHeader,
        values: *mut executor_model::RawValue,
    ) -> u64;
    fn executor_stubs_start();
    fn executor_stubs_end();
    fn executor_enter_check();
    fn executor_enter_done();
    fn executor_stub_check();
    fn executor_stub_done();
    fn executor_resume_check();
    fn executor_resume_done();
    fn executor_landing();
    fn executor_builtin_stubs();
}

fn between(pc: usize, start: unsafe extern "C" fn(), end: unsafe extern "C" fn()) -> bool {
    (start as *const () as usize..end as *const () as usize).contains(&pc)
}

/// Whether a program counter is in a stub.
pub(super) fn in_stub(pc: usize) -> bool {
    between(pc, executor_stubs_start, executor_stubs_end)
}

/// Whether a program counter is where a stub may be diverted to the landing pad: the interrupt
/// flag has been or is being read, and machine code comes next.
pub(super) fn in_window(pc: usize) -> bool {
    between(pc, executor_enter_check, executor_enter_done)
        || between(pc, executor_stub_check, executor_stub_done)
        || between(pc, executor_resume_check, executor_resume_done)
}

/// The address of the landing pad.
pub(super) fn landing_pad() -> usize {
    executor_landing as *const () as usize
}

/// The address of a builtin's stub.
pub(super) fn builtin_stub(builtin: Builtin) -> usize {
    executor_builtin_stubs as *const () as usize + builtin as usize * 16
}
