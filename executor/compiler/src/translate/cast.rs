//! Tests and casts of references, small integers, and what leads from one hierarchy to another.
//!
//! Invariant: an object of this instance's types is told by one comparison with constants (see
//! `executor_code::objects`); only for one of another instance is the host asked.

use super::Translator;
use crate::{emit::block_args, signature::WORD};
use cranelift_codegen::ir::{Block, InstBuilder, Value, condcodes::IntCC, types};
use executor_code::{abi::Builtin, objects};
use executor_model::{
    FuncRef, HeapType, Hierarchy, InstanceId, ModuleInfo, RefType, TrapCode, TypeIndex,
};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn reference_cast(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::RefTestNonNull { hty } => self.ref_test(self.target_type(false, hty)),
            Operator::RefTestNullable { hty } => self.ref_test(self.target_type(true, hty)),
            Operator::RefCastNonNull { hty } => self.ref_cast(self.target_type(false, hty)),
            Operator::RefCastNullable { hty } => self.ref_cast(self.target_type(true, hty)),
            Operator::BrOnCast { relative_depth, to_ref_type, .. } => {
                self.br_on_cast(relative_depth, to_ref_type, true);
            }
            Operator::BrOnCastFail { relative_depth, to_ref_type, .. } => {
                self.br_on_cast(relative_depth, to_ref_type, false);
            }
            Operator::RefEq => {
                let [first, second] = self.pop2();
                let equal = self.ins().icmp(IntCC::Equal, first, second);
                self.push_bool(equal);
            }
            Operator::RefI31 => {
                let value = self.pop();
                let value = self.ins().ishl_imm_u(value, 1);
                let value = self.ins().bor_imm_u(value, 1);
                let reference = self.emitter.extend(value);
                self.push(reference);
            }
            Operator::I31GetS => {
                let value = self.pop_i31();
                let value = self.ins().sshr_imm_u(value, 1);
                self.push(value);
            }
            Operator::I31GetU => {
                let value = self.pop_i31();
                let value = self.ins().ushr_imm_u(value, 1);
                self.push(value);
            }
            // Both hierarchies are held alike.
            Operator::AnyConvertExtern | Operator::ExternConvertAny => {}
            _ => return false,
        }
        true
    }

    fn pop_i31(&mut self) -> Value {
        let reference = self.pop();
        if self.reference_type(0, Hierarchy::Any).nullable {
            self.trap_if_null(reference, TrapCode::NullI31Reference);
        }
        self.ins().ireduce(types::I32, reference)
    }

    fn target_type(&self, nullable: bool, heap: wasmparser::HeapType) -> RefType {
        let info = self.emitter.context.info();
        let heap = crate::decode::heap_type(heap, &|index| info.concrete(index));
        RefType { nullable, heap }
    }

    fn ref_test(&mut self, to: RefType) {
        let from = self.reference_type(0, to.heap.hierarchy());
        let reference = self.pop();
        let builder = &mut self.emitter.builder;
        let (yes, no, done) =
            (builder.create_block(), builder.create_block(), builder.create_block());
        let result = builder.append_block_param(done, types::I32);
        self.branch_on_type(reference, (from, to), yes, no);
        for (block, value) in [(yes, 1), (no, 0)] {
            self.switch_to(block);
            let value = self.ins().iconst(types::I32, value);
            self.ins().jump(done, &[value.into()]);
        }
        self.switch_to(done);
        self.push(result);
    }

    fn ref_cast(&mut self, to: RefType) {
        let from = self.reference_type(0, to.heap.hierarchy());
        let reference = self.top(1)[0];
        let builder = &mut self.emitter.builder;
        let (yes, no) = (builder.create_block(), builder.create_block());
        builder.set_cold_block(no);
        self.branch_on_type(reference, (from, to), yes, no);
        self.switch_to(no);
        self.emitter.trap(TrapCode::CastFailure);
        self.switch_to(yes);
    }

    fn br_on_cast(&mut self, depth: u32, to: wasmparser::RefType, if_it_is: bool) {
        let to = self.target_type(to.is_nullable(), to.heap_type());
        let from = self.reference_type(0, to.heap.hierarchy());
        let reference = self.top(1)[0];
        self.assign_operands();
        let (label, arity) = self.target(depth);
        let args = block_args(self.top(arity));
        let builder = &mut self.emitter.builder;
        let (leave, stay) = (builder.create_block(), builder.create_block());
        let (yes, no) = if if_it_is { (leave, stay) } else { (stay, leave) };
        self.branch_on_type(reference, (from, to), yes, no);
        self.switch_to(leave);
        self.ins().jump(label, &args);
        self.switch_to(stay);
    }

    /// Goes on at `yes` if a reference of one type is of another, or else at `no`.
    fn branch_on_type(
        &mut self,
        reference: Value,
        (from, to): (RefType, RefType),
        yes: Block,
        no: Block,
    ) {
        let info = self.emitter.context.info();
        let is_known = is_subtype(info, from.heap, to.heap);
        if from.nullable {
            let if_null = if to.nullable { yes } else { no };
            if is_known {
                self.ins().brif(reference, yes, &[], if_null, &[]);
                return;
            }
            let not_null = self.emitter.builder.create_block();
            self.ins().brif(reference, not_null, &[], if_null, &[]);
            self.switch_to(not_null);
        } else if is_known {
            self.ins().jump(yes, &[]);
            return;
        }
        match to.heap {
            HeapType::NoFunc | HeapType::NoExtern | HeapType::NoExn | HeapType::None => {
                self.ins().jump(no, &[]);
            }
            HeapType::Func | HeapType::Extern | HeapType::Exn | HeapType::Any => {
                self.ins().jump(yes, &[]);
            }
            HeapType::I31 => {
                let low = self.ins().band_imm_u(reference, 1);
                self.ins().brif(low, yes, &[], no, &[]);
            }
            HeapType::Eq => {
                // Only host values are none.
                let low = self.ins().band_imm_u(reference, 0b111);
                let host = self.ins().icmp_imm_u(IntCC::Equal, low, 0b010);
                self.ins().brif(host, no, &[], yes, &[]);
            }
            HeapType::Struct | HeapType::Array => {
                let word = self.word_of_object(reference, from.heap, no);
                let array = self.ins().band_imm_u(word, objects::ARRAY.cast_signed());
                let (if_array, otherwise) =
                    if to.heap == HeapType::Array { (yes, no) } else { (no, yes) };
                self.ins().brif(array, if_array, &[], otherwise, &[]);
            }
            HeapType::ConcreteStruct(ty) | HeapType::ConcreteArray(ty) => {
                let word = self.word_of_object(reference, from.heap, no);
                let of = self.object_type(ty);
                let first = u64::from(of.number) << objects::NUMBER_SHIFT;
                let span = u64::from(of.last - of.number + 1) << objects::NUMBER_SHIFT;
                self.branch_on_number(reference, word, (first, span), ty, yes, no);
            }
            HeapType::ConcreteFunc(ty) => {
                // As in a call; a subtype has another number.
                let first = u64::from(ty) << FuncRef::TYPE_SHIFT;
                let span = 1 << FuncRef::TYPE_SHIFT;
                let (key, number) = (self.emitter.instance_key(), first);
                let expected = self.ins().iadd_imm_u(key, number.cast_signed());
                let rest = self.ins().isub(reference, expected);
                let is = self.ins().icmp_imm_u(IntCC::UnsignedLessThan, rest, span);
                let ask = self.emitter.builder.create_block();
                self.emitter.builder.set_cold_block(ask);
                self.ins().brif(is, yes, &[], ask, &[]);
                self.switch_to(ask);
                self.ask(reference, ty, yes, no);
            }
        }
    }

    /// The first word of what a reference other than null refers to; goes on at `no` if that is no object.
    fn word_of_object(&mut self, reference: Value, from: HeapType, no: Block) -> Value {
        if !matches!(
            from,
            HeapType::Struct
                | HeapType::Array
                | HeapType::ConcreteStruct(_)
                | HeapType::ConcreteArray(_)
        ) {
            let low = self.ins().band_imm_u(reference, 0b111);
            let object = self.emitter.builder.create_block();
            self.ins().brif(low, no, &[], object, &[]);
            self.switch_to(object);
        }
        let address = self.address_of(reference);
        let access = self.emitter.access.heap;
        self.ins().load(WORD, access, address, 0)
    }

    /// Goes on at `yes` if the word of an object says that its number is one of `span` from `first` on, of this
    /// instance; where it is another instance's, asks the host.
    fn branch_on_number(
        &mut self,
        reference: Value,
        word: Value,
        (first, span): (u64, u64),
        ty: TypeIndex,
        yes: Block,
        no: Block,
    ) {
        let key = self.emitter.instance_key();
        let expected = self.ins().iadd_imm_u(key, first.cast_signed());
        let rest = self.ins().isub(word, expected);
        let is = self.ins().icmp_imm_u(IntCC::UnsignedLessThan, rest, span.cast_signed());
        let builder = &mut self.emitter.builder;
        let (other, ask) = (builder.create_block(), builder.create_block());
        builder.set_cold_block(ask);
        self.ins().brif(is, yes, &[], other, &[]);
        self.switch_to(other);
        let difference = self.ins().bxor(word, key);
        let instance = self.ins().ushr_imm_u(difference, i64::from(FuncRef::INSTANCE_SHIFT));
        self.ins().brif(instance, ask, &[], no, &[]);
        self.switch_to(ask);
        self.ask(reference, ty, yes, no);
    }

    /// Asks the host whether a reference other than null is of a type.
    fn ask(&mut self, reference: Value, ty: TypeIndex, yes: Block, no: Block) {
        let ty = self.emitter.word(u64::from(ty));
        let is = self.emitter.call_builtin(Builtin::ObjectIs, &[reference, ty]);
        self.ins().brif(is, yes, &[], no, &[]);
    }
}

/// A reference's instance begins where an object's does.
const _: () = assert!(FuncRef::INSTANCE_SHIFT == 40 && InstanceId::MAX < 1 << 24);

/// Whether every reference to one type of a module, but null, is one to another.
fn is_subtype(info: &ModuleInfo, from: HeapType, to: HeapType) -> bool {
    if from == to {
        return true;
    }
    match (from, to) {
        (HeapType::NoFunc | HeapType::NoExtern | HeapType::NoExn | HeapType::None, _)
        | (_, HeapType::Func | HeapType::Extern | HeapType::Exn | HeapType::Any) => {
            from.hierarchy() == to.hierarchy()
        }
        (_, HeapType::Eq) => from.hierarchy() == Hierarchy::Any && from != HeapType::Any,
        (HeapType::ConcreteStruct(_), HeapType::Struct)
        | (HeapType::ConcreteArray(_), HeapType::Array) => true,
        _ => match (from.index(), to.index()) {
            (Some(from), Some(to)) => {
                let supertype = |ty: &TypeIndex| info.declarations[*ty as usize].supertype;
                std::iter::successors(Some(from), supertype).any(|ty| ty == to)
            }
            _ => false,
        },
    }
}
