//! WebAssembly backtraces, from frame pointers and the tables of code files.

use crate::{
    state::CallState,
    store::StoreInner,
    sys::WasmStack,
    vm::{self, CodeMap, Outcome},
};
use executor_code::file::CallSite;
use executor_model::{CallError, Frame, ListenerContext, WasmBacktrace};
use std::ops::ControlFlow;

/// How many frames a backtrace keeps.
const KEPT: usize = 32;

/// The machine code addresses at the end of an activation, innermost first.
pub(crate) struct Frames {
    /// Those of the activation that ended, then those of the activations it was nested in.
    addresses: Vec<usize>,
    /// How many belong to the activation that ended.
    ended: usize,
}

/// Walks the wasm stack of an activation that just ended, before anything else runs on it.
pub(crate) fn collect(store: &StoreInner, outcome: Outcome, stack: &WasmStack) -> Frames {
    let mut addresses = Vec::new();
    let start = match outcome {
        Outcome::Returned | Outcome::Interrupted { fp: None } | Outcome::Lost { fp: None } => None,
        Outcome::Faulted(fault) => {
            if store.header.code.find(fault.pc).is_some() {
                addresses.push(fault.pc);
            }
            Some(fault.fp)
        }
        Outcome::Raised { fp }
        | Outcome::Interrupted { fp: Some(fp) }
        | Outcome::Lost { fp: Some(fp) } => Some(fp),
    };
    if let Some(fp) = start {
        walk(&store.header.code, stack, fp, &mut addresses);
    }
    let ended = addresses.len();
    for fp in store.header.outer_stub_frames() {
        walk(&store.header.code, stack, fp, &mut addresses);
    }
    Frames { addresses, ended }
}

fn walk(code: &CodeMap, stack: &WasmStack, fp: usize, addresses: &mut Vec<usize>) {
    vm::walk_frames(code, stack, fp, |call| {
        addresses.push(call.address());
        ControlFlow::Continue(())
    });
}

/// The backtrace of the host call that is in progress.
pub(crate) fn current(store: &StoreInner) -> WasmBacktrace {
    match &store.calls.stack {
        Some(stack) => collect(store, Outcome::Returned, stack).backtrace(&store.header.code),
        None => WasmBacktrace::default(),
    }
}

/// Where a suspended call is.
pub(crate) fn suspended(store: &StoreInner, call: &CallState) -> WasmBacktrace {
    let mut backtrace = WasmBacktrace::default();
    for frame in call.frames.iter().rev() {
        if backtrace.frames.len() == KEPT {
            backtrace.omitted += 1;
            continue;
        }
        let Some(instance) = store.instance(frame.instance) else { continue };
        let code = instance.vm.module().code();
        let CallSite { func, offset } = frame.site;
        let imported = || code.import(func).map(|(module, name)| format!("{module}.{name}"));
        let name = code.function_name(func).map(str::to_owned);
        backtrace.frames.push(Frame {
            module: code.module_name().map(str::to_owned),
            func,
            name: if offset == CallSite::IMPORT { imported() } else { name },
            offset: Some(offset).filter(|offset| *offset != CallSite::IMPORT),
        });
    }
    backtrace
}

impl Frames {
    /// The frames that an exception leaves on its way to a handler.
    pub(crate) fn left(addresses: Vec<usize>) -> Self {
        Self { ended: addresses.len(), addresses }
    }

    /// The backtrace that users see.
    pub(crate) fn backtrace(&self, code: &CodeMap) -> WasmBacktrace {
        let mut backtrace = WasmBacktrace::default();
        for (i, address) in self.addresses.iter().enumerate() {
            if backtrace.frames.len() == KEPT {
                backtrace.omitted = self.addresses.len() - i;
                break;
            }
            backtrace.frames.extend(frame(code, *address, i == 0));
        }
        backtrace
    }

    /// Tells the listeners of the functions that ended.
    pub(crate) fn tell_listeners(&self, store: &StoreInner, error: &CallError) {
        if store.instances.iter().all(|i| i.listener().is_none()) {
            return;
        }
        for address in &self.addresses[..self.ended] {
            let Some(entry) = store.header.code.find(*address) else { continue };
            let at = (address - entry.text.start) as u32;
            // A listener's wrapper is the one frame per call that belongs to no operator.
            let Some(func) = entry.file.function_at(at) else { continue };
            if entry.file.wasm_offset_at(at).is_some()
                || func < entry.file.counts().imported_functions
            {
                continue;
            }
            let modules = store.instances.iter().map(|i| i.vm.module());
            let module = modules.chain(&store.continuations).find(|m| {
                std::ptr::eq(
                    m.code().bytes().as_ref().as_ptr(),
                    entry.file.bytes().as_ref().as_ptr(),
                )
            });
            if let Some(listener) = module.and_then(|m| m.listener()) {
                let context = ListenerContext { func, name: entry.file.function_name(func) };
                listener.abort(&context, error);
            }
        }
    }
}

/// The frame of an address; none for a listener's wrapper and for an enter trampoline.
pub(crate) fn frame(code: &CodeMap, address: usize, innermost: bool) -> Option<Frame> {
    let entry = code.find(address)?;
    let at = (address - entry.text.start) as u32;
    let func = entry.file.function_at(at)?;
    let offset = entry.file.wasm_offset_at(at);
    let import = func < entry.file.counts().imported_functions;
    if offset.is_none() && !innermost && !import {
        return None;
    }
    let imported = || entry.file.import(func).map(|(module, name)| format!("{module}.{name}"));
    let name = entry.file.function_name(func).map(str::to_owned);
    Some(Frame {
        module: entry.file.module_name().map(str::to_owned),
        func,
        name: if import { name.or_else(imported) } else { name },
        offset,
    })
}
