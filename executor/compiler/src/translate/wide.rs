//! Wide arithmetic: 128-bit numbers as pairs of `i64`, the low half first.

use super::Translator;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FuncInstBuilder;
use wasmparser::Operator;

impl<'a> Translator<'a> {
    pub(super) fn wide(&mut self, operator: &Operator<'_>) -> bool {
        match operator {
            Operator::I64Add128 => self.wide_binary(|i, x, y| i.iadd(x, y)),
            Operator::I64Sub128 => self.wide_binary(|i, x, y| i.isub(x, y)),
            Operator::I64MulWideS => self.mul_wide(|i, x| i.sextend(types::I128, x)),
            Operator::I64MulWideU => self.mul_wide(|i, x| i.uextend(types::I128, x)),
            _ => return false,
        }
        true
    }

    /// Replaces the two topmost pairs by a function of them.
    fn wide_binary(&mut self, f: impl FnOnce(FuncInstBuilder<'_, 'a>, Value, Value) -> Value) {
        let y = self.pop_pair();
        let x = self.pop_pair();
        let result = f(self.ins(), x, y);
        self.push_pair(result);
    }

    /// Replaces the two topmost operands by their whole product.
    fn mul_wide(&mut self, extend: impl Fn(FuncInstBuilder<'_, 'a>, Value) -> Value) {
        let [x, y] = self.pop2();
        let x = extend(self.ins(), x);
        let y = extend(self.ins(), y);
        let product = self.ins().imul(x, y);
        self.push_pair(product);
    }

    fn pop_pair(&mut self) -> Value {
        let [low, high] = self.pop2();
        self.ins().iconcat(low, high)
    }

    fn push_pair(&mut self, value: Value) {
        let (low, high) = self.ins().isplit(value);
        self.push(low);
        self.push(high);
    }
}
