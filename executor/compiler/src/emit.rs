//! One function under construction: what translated functions and thunks alike emit.
//!
//! Invariant: everything outside the function is reached through `vmctx` at distances that
//! `executor_code` defines, or by a [`Symbol`].

use crate::{
    context::ModuleContext,
    ranges::RangeFunction,
    signature::{self, WORD, clif_type},
};
use cranelift_codegen::ir::{
    self, AliasRegionData, BlockArg, ExtFuncData, ExternalName, FuncRef, Function, GlobalValue,
    GlobalValueData, InstBuilder, MemFlagsData, SigRef, Signature, StackSlotData, StackSlotKind,
    Type, UserExternalName, UserFuncName, Value,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use executor_code::{
    abi::{Builtin, VmHeader},
    layout::Counts,
};
use executor_model::{FuncIndex, RawValue, TrapCode, TypeIndex, ValType};
use std::{
    collections::HashMap,
    mem::{offset_of, size_of},
};

/// What code refers to by a distance that linking fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    /// What stands at a function's index.
    Function(FuncIndex),
    /// What stands behind that: the body of a defined function, the rest of a thunk; among
    /// continuations, the one at this place.
    Body(u32),
    /// The function table (`Section::Functions` of the code file).
    FunctionTable,
    /// What copies or fills a range.
    Range(RangeFunction),
}

impl Symbol {
    /// Its name in Cranelift.
    fn name(self) -> UserExternalName {
        let (namespace, index) = match self {
            Self::Function(func) => (0, func),
            Self::Body(func) => (1, func),
            Self::FunctionTable => (2, 0),
            Self::Range(function) => (3, function as u32),
        };
        UserExternalName { namespace, index }
    }

    /// The symbol of a name.
    pub(crate) fn from_name(name: &UserExternalName) -> Option<Self> {
        Some(match (name.namespace, name.index) {
            (0, func) => Self::Function(func),
            (1, func) => Self::Body(func),
            (2, 0) => Self::FunctionTable,
            (3, index) => Self::Range(*RangeFunction::ALL.get(index as usize)?),
            _ => return None,
        })
    }
}

/// The kinds of memory access. Memories, tables, objects and the state block never overlap, so each is
/// an alias region of its own.
#[derive(Clone, Copy)]
pub(crate) struct Access {
    /// A linear memory: unaligned, may trap.
    pub(crate) memory: MemFlagsData,
    /// An element of a table, its index checked.
    pub(crate) table: MemFlagsData,
    /// A word or global of a state block.
    pub(crate) state: MemFlagsData,
    /// An object.
    pub(crate) heap: MemFlagsData,
    /// What the heap of objects begins with.
    pub(crate) heap_header: MemFlagsData,
    /// What never changes while an instance's code runs.
    pub(crate) fixed: MemFlagsData,
    /// Anything else that is always there.
    pub(crate) other: MemFlagsData,
}

impl Access {
    fn new(function: &mut Function) -> Self {
        let mut region = |user_id, description: &'static str| {
            let data = AliasRegionData { user_id, description: description.into() };
            Some(function.dfg.alias_regions.insert(data))
        };
        let trap = Some(clif_trap(TrapCode::MemoryOutOfBounds));
        let little = MemFlagsData::new().with_endianness(ir::Endianness::Little);
        let trusted = little.with_notrap().with_aligned();
        Self {
            memory: little.with_trap_code(trap).with_alias_region(region(0, "memory")),
            table: trusted.with_alias_region(region(1, "table")),
            state: trusted.with_alias_region(region(2, "state")),
            // Vectors lie at multiples of 8.
            heap: little.with_notrap().with_alias_region(region(3, "heap")),
            heap_header: trusted.with_alias_region(region(4, "heap header")),
            fixed: trusted.with_readonly().with_can_move(),
            other: trusted,
        }
    }
}

/// Cranelift's trap code for ours.
fn clif_trap(code: TrapCode) -> ir::TrapCode {
    ir::TrapCode::unwrap_user(code as u8)
}

/// A function being built.
pub(crate) struct Emitter<'a> {
    pub(crate) context: ModuleContext<'a>,
    pub(crate) builder: FunctionBuilder<'a>,
    pub(crate) access: Access,
    /// This instance's `vmctx`.
    pub(crate) vmctx: Value,
    /// Whether the base of owned memory 0 is loaded, to be in a register of its own, or `vmctx`
    /// with a distance. A load is worth it where there are loops, for the accesses in them are
    /// shorter; and where there are calls, since the register allocator does not keep in one
    /// register what is an argument of each.
    pub(crate) loads_base: bool,
    /// How many calls that return there are.
    pub(crate) calls: u64,
    functions: HashMap<FuncIndex, FuncRef>,
    ranges: Vec<(RangeFunction, FuncRef)>,
    types: HashMap<TypeIndex, SigRef>,
    builtins: [Option<SigRef>; Builtin::ALL.len()],
    function_table: Option<GlobalValue>,
}

impl<'a> Emitter<'a> {
    /// Begins a function whose parameter number `vmctx` is `vmctx`; returns its parameters too.
    pub(crate) fn new(
        context: &ModuleContext<'a>,
        signature: Signature,
        vmctx: usize,
        function: &'a mut Function,
        builder: &'a mut FunctionBuilderContext,
    ) -> (Self, Vec<Value>) {
        function.name = UserFuncName::default();
        function.signature = signature;
        let access = Access::new(function);
        let mut builder = FunctionBuilder::new(function, builder);
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let params = builder.block_params(entry).to_vec();
        let emitter = Self {
            context: *context,
            builder,
            access,
            vmctx: params[vmctx],
            loads_base: false,
            calls: 0,
            functions: HashMap::new(),
            ranges: Vec::new(),
            types: HashMap::new(),
            builtins: [None; Builtin::ALL.len()],
            function_table: None,
        };
        (emitter, params)
    }

    /// Ends the function.
    pub(crate) fn finish(self) {
        self.builder.finalize(self.context.target.frontend_config());
    }

    pub(crate) fn counts(&self) -> &'a Counts {
        &self.context.layout.counts
    }

    /// What lies `distance` bytes from `vmctx`, as a base and the offset of an access.
    pub(crate) fn at(&mut self, distance: i64) -> (Value, i32) {
        match i32::try_from(distance) {
            Ok(offset) => (self.vmctx, offset),
            Err(_) => (self.builder.ins().iadd_imm_s(self.vmctx, distance), 0),
        }
    }

    /// Loads what never changes from a distance from `vmctx`.
    pub(crate) fn load_fixed(&mut self, ty: Type, distance: i64) -> Value {
        let (base, offset) = self.at(distance);
        self.builder.ins().load(ty, self.access.fixed, base, offset)
    }

    /// Loads a word of the state block.
    pub(crate) fn load_state(&mut self, offset: u64) -> Value {
        let (base, offset) = self.at(self.counts().from_vmctx(offset));
        self.builder.ins().load(WORD, self.access.state, base, offset)
    }

    /// The address that the link at an offset of the state block leads to.
    pub(crate) fn linked(&mut self, offset: u64) -> Value {
        // Links are set before any code of the instance runs, and never again.
        let link = self.load_fixed(WORD, self.counts().from_vmctx(offset));
        self.builder.ins().iadd(self.vmctx, link)
    }

    /// This instance as references hold it.
    pub(crate) fn instance_key(&mut self) -> Value {
        self.load_fixed(WORD, offset_of!(VmHeader, instance_key) as i64)
    }

    /// A 64-bit constant.
    pub(crate) fn word(&mut self, n: u64) -> Value {
        self.builder.ins().iconst(WORD, n.cast_signed())
    }

    /// A 32-bit value, zero-extended.
    pub(crate) fn extend(&mut self, value: Value) -> Value {
        self.builder.ins().uextend(WORD, value)
    }

    /// A builtin, to be called with `vmctx` and 64-bit arguments.
    pub(crate) fn builtin(&mut self, builtin: Builtin) -> (SigRef, Value) {
        let signature = *self.builtins[builtin as usize]
            .get_or_insert_with(|| self.builder.import_signature(signature::builtin(builtin)));
        let array = self.load_fixed(WORD, offset_of!(VmHeader, builtins) as i64);
        let code = self.builder.ins().load(WORD, self.access.fixed, array, builtin.offset());
        (signature, code)
    }

    /// Calls a builtin. Arguments are 64-bit.
    pub(crate) fn call_builtin(&mut self, builtin: Builtin, args: &[Value]) -> Value {
        let (signature, code) = self.builtin(builtin);
        let mut all = vec![self.vmctx];
        all.extend_from_slice(args);
        self.calls += 1;
        let call = self.builder.ins().call_indirect(signature, code, &all);
        self.builder.inst_results(call)[0]
    }

    /// Traps.
    pub(crate) fn trap(&mut self, code: TrapCode) {
        self.builder.ins().trap(clif_trap(code));
    }

    /// Traps if `condition` is not zero.
    pub(crate) fn trap_if(&mut self, condition: Value, code: TrapCode) {
        self.builder.ins().trapnz(condition, clif_trap(code));
    }

    /// Traps if `condition` is zero.
    pub(crate) fn trap_unless(&mut self, condition: Value, code: TrapCode) {
        self.builder.ins().trapz(condition, clif_trap(code));
    }

    /// The signature of a canonical type.
    pub(crate) fn signature(&mut self, ty: TypeIndex) -> SigRef {
        let info = self.context.info();
        *self.types.entry(ty).or_insert_with(|| {
            self.builder.import_signature(signature::wasm(info.func_type_at(ty)))
        })
    }

    /// What stands at a function's index, to be called directly.
    pub(crate) fn function(&mut self, func: FuncIndex) -> FuncRef {
        if let Some(function) = self.functions.get(&func) {
            return *function;
        }
        let function = self.import(Symbol::Function(func), func);
        self.functions.insert(func, function);
        function
    }

    /// `symbol`, which has the type of `func`, to be called directly.
    pub(crate) fn import(&mut self, symbol: Symbol, func: FuncIndex) -> FuncRef {
        let signature = self.signature(self.context.info().functions[func as usize]);
        self.import_as(symbol, signature)
    }

    /// Calls what copies or fills a range; returns whether it did.
    pub(crate) fn call_range(&mut self, range: RangeFunction, args: [Value; 3]) -> Value {
        let function = match self.ranges.iter().find(|(known, _)| *known == range) {
            Some((_, function)) => *function,
            None => {
                let signature = self.builder.import_signature(signature::range());
                let function = self.import_as(Symbol::Range(range), signature);
                self.ranges.push((range, function));
                function
            }
        };
        let [dst, what, len] = args;
        self.calls += 1;
        let call = self.builder.ins().call(function, &[self.vmctx, dst, what, len]);
        self.builder.inst_results(call)[0]
    }

    /// `symbol`, to be called directly.
    pub(crate) fn import_as(&mut self, symbol: Symbol, signature: SigRef) -> FuncRef {
        let name = self.name(symbol);
        self.builder.import_function(ExtFuncData {
            name,
            signature,
            colocated: true,
            patchable: false,
        })
    }

    /// The address of the function table.
    pub(crate) fn function_table(&mut self) -> Value {
        let table = match self.function_table {
            Some(table) => table,
            None => {
                let name = self.name(Symbol::FunctionTable);
                let offset = 0.into();
                let data = GlobalValueData::Symbol { name, offset, colocated: true, tls: false };
                *self.function_table.insert(self.builder.create_global_value(data))
            }
        };
        self.builder.ins().symbol_value(WORD, table)
    }

    /// The address of the function table of the module's own code file.
    pub(crate) fn far_function_table(&mut self) -> Value {
        self.load_fixed(WORD, offset_of!(VmHeader, functions) as i64)
    }

    /// What stands at a function's index in the module's own code file: its signature and address.
    pub(crate) fn far_function(&mut self, func: FuncIndex) -> (SigRef, Value) {
        let table = self.far_function_table();
        let fixed = self.access.fixed;
        let at = i32::try_from(func * 4).expect("functions have 20-bit indices");
        let distance = self.builder.ins().load(ir::types::I32, fixed, table, at);
        let distance = self.builder.ins().sextend(WORD, distance);
        let code = self.builder.ins().iadd(table, distance);
        let ty = self.context.info().functions[func as usize];
        (self.signature(ty), code)
    }

    fn name(&mut self, symbol: Symbol) -> ExternalName {
        ExternalName::user(self.builder.func.declare_imported_user_function(symbol.name()))
    }

    /// Reserves an array of `len` [`RawValue`]s in the frame and returns its address.
    pub(crate) fn reserve_values(&mut self, len: usize) -> Value {
        let size = (len * size_of::<RawValue>()) as u32;
        let align = align_of::<RawValue>().trailing_zeros() as u8;
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, size, align);
        let slot = self.builder.create_sized_stack_slot(slot);
        self.builder.ins().stack_addr(WORD, slot, 0)
    }

    /// Stores values to an array of [`RawValue`]s.
    pub(crate) fn store_values(&mut self, values: &[Value], array: Value) {
        for (i, value) in values.iter().enumerate() {
            let offset = (i * size_of::<RawValue>()) as i32;
            self.builder.ins().store(self.access.other, *value, array, offset);
        }
    }

    /// Loads values of these types from an array of [`RawValue`]s.
    pub(crate) fn load_values(&mut self, types: &[ValType], array: Value) -> Vec<Value> {
        let access = self.access.other;
        let load = |(i, ty): (usize, &ValType)| {
            let offset = (i * size_of::<RawValue>()) as i32;
            self.builder.ins().load(clif_type(*ty), access, array, offset)
        };
        types.iter().enumerate().map(load).collect()
    }
}

/// Values as arguments of a branch.
pub(crate) fn block_args(values: &[Value]) -> Vec<BlockArg> {
    values.iter().map(|value| BlockArg::Value(*value)).collect()
}
