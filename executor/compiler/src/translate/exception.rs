//! Exceptions: throwing them, catching them, and the calls that they may come out of.
//!
//! Invariant: a call in the body of a `try_table` or `try` names the clauses that may catch what
//! comes out of it, innermost first, up to the first that catches all. That is a table beside the
//! code: a call that returns does no more than any other.
//!
//! The older `try` says what it catches after its body. The translation is in one pass, so the first
//! `try` of a function makes it look through the rest for what each of them catches.

use super::{Translator, control::Kind};
use crate::{emit::block_args, signature::WORD};
use cranelift_codegen::{
    ir::{
        Block, BlockArg, ExceptionTableData, ExceptionTableItem, ExceptionTag, FuncRef,
        InstBuilder, SigRef, Value,
    },
    isa::CallConv,
};
use executor_code::{CompileError, abi::Builtin, file::HandlerRecord};
use executor_model::{FuncIndex, TagIndex, TrapCode, ValType};
use wasmparser::{Catch, FunctionBody, Operator};

/// How many handlers the calls of one function may name in all. Each is an edge in Cranelift's graph;
/// compilers make a few per call.
const MAX_HANDLERS: usize = 1 << 20;

/// One of the ways in which a `try_table` or `try` catches.
#[derive(Debug)]
pub(super) struct Clause {
    /// What it catches; `None` is everything.
    tag: Option<TagIndex>,
    /// Whether it needs a reference to the exception.
    reference: bool,
    /// The label to go to, for a `try_table`; a `try` has handlers of its own.
    label: u32,
    /// Where calls go that throw what it catches, once there is one.
    landing: Option<Block>,
}

impl Clause {
    fn new(tag: Option<TagIndex>, reference: bool, label: u32) -> Self {
        Self { tag, reference, label, landing: None }
    }
}

/// What a `try` does with exceptions.
#[derive(Debug)]
enum Try {
    Catches(Vec<Clause>),
    Delegates(u32),
}

/// What is known of the `try` blocks of a function, and how many handlers its calls name.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Those that have not begun yet, once the first is met.
    ahead: Option<std::vec::IntoIter<Try>>,
    handlers: usize,
}

impl Tries {
    /// At the first `try` of a function, finds what each of them catches.
    pub(super) fn look_ahead(
        &mut self,
        operator: &Operator<'_>,
        body: &FunctionBody<'_>,
    ) -> Result<(), wasmparser::Error> {
        if self.ahead.is_some() || !matches!(operator, Operator::Try { .. }) {
            return Ok(());
        }
        let mut tries: Vec<Try> = Vec::new();
        // The open blocks; of those that are a `try`, its place above.
        let mut open: Vec<Option<usize>> = vec![None];
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let innermost = open.last().copied().flatten();
            let mut add = |clause| match innermost.map(|at| &mut tries[at]) {
                Some(Try::Catches(clauses)) => clauses.push(clause),
                _ => unreachable!("validated code"),
            };
            match operators.read()? {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::TryTable { .. } => open.push(None),
                Operator::Try { .. } => {
                    open.push(Some(tries.len()));
                    tries.push(Try::Catches(Vec::new()));
                }
                Operator::Catch { tag_index } => add(Clause::new(Some(tag_index), false, 0)),
                Operator::CatchAll => add(Clause::new(None, false, 0)),
                Operator::Rethrow { relative_depth } => {
                    let at = open[open.len() - 1 - relative_depth as usize];
                    if let Some(Try::Catches(clauses)) = at.map(|at| &mut tries[at])
                        && let Some(clause) = clauses.last_mut()
                    {
                        clause.reference = true;
                    }
                }
                Operator::Delegate { relative_depth } => {
                    if let Some(at) = innermost {
                        tries[at] = Try::Delegates(relative_depth);
                    }
                    open.pop();
                }
                Operator::End => {
                    open.pop();
                }
                _ => {}
            }
        }
        self.ahead = Some(tries.into_iter());
        Ok(())
    }

    /// What the `try` that begins does.
    fn begin(&mut self) -> Try {
        self.ahead.as_mut().and_then(Iterator::next).expect("looked ahead")
    }

    /// Passes over a `try` in code that cannot be reached.
    pub(super) fn next(&mut self) {
        self.begin();
    }

    /// How many handlers the calls so far name.
    pub(super) fn handlers(&self) -> u64 {
        self.handlers as u64
    }

    /// Refuses a function whose handlers are beyond measure.
    pub(super) fn check(&self, func: FuncIndex) -> Result<(), CompileError> {
        match self.handlers > MAX_HANDLERS {
            true => Err(CompileError::Unsupported(format!(
                "the calls of function {func} have more than {MAX_HANDLERS} exception handlers"
            ))),
            false => Ok(()),
        }
    }
}

/// What is called.
#[derive(Clone, Copy)]
pub(super) enum Callee {
    Direct(FuncRef),
    Indirect(SigRef, Value),
}

impl<'a> Translator<'a> {
    pub(super) fn exception(&mut self, operator: &Operator<'_>) -> bool {
        match operator {
            Operator::TryTable { try_table } => {
                let (params, results) = self.block_type(try_table.ty);
                let label = self.block(results);
                let clauses = try_table.catches.iter().map(|catch| match *catch {
                    Catch::One { tag, label } => Clause::new(Some(tag), false, label),
                    Catch::OneRef { tag, label } => Clause::new(Some(tag), true, label),
                    Catch::All { label } => Clause::new(None, false, label),
                    Catch::AllRef { label } => Clause::new(None, true, label),
                });
                let kind = Kind::TryTable(clauses.collect());
                self.enter(kind, label, results.len(), params.len());
            }
            Operator::Try { blockty } => {
                let (params, results) = self.block_type(*blockty);
                let label = self.block(results);
                let kind = match self.tries.begin() {
                    Try::Catches(clauses) => Kind::Try(clauses),
                    Try::Delegates(depth) => Kind::Delegate(depth),
                };
                self.enter(kind, label, results.len(), params.len());
            }
            Operator::Catch { .. } | Operator::CatchAll => self.next_handler(),
            Operator::Delegate { .. } => self.end(),
            Operator::Throw { tag_index } => {
                let params = self.tag_params(*tag_index).len();
                let payload = self.stack.split_off(self.stack.len() - params);
                let values = self.emitter.reserve_values(params);
                self.emitter.store_values(&payload, values);
                let tag = self.emitter.word(u64::from(*tag_index));
                self.throw(Builtin::Throw, &[tag, values]);
            }
            Operator::ThrowRef => {
                let exception = self.pop();
                self.throw(Builtin::ThrowRef, &[exception]);
            }
            Operator::Rethrow { relative_depth } => {
                let at = self.frames.len() - 1 - *relative_depth as usize;
                let Kind::Catch { exception: Some(exception), .. } = self.frames[at].kind else {
                    unreachable!("validated code")
                };
                let exception = self.read(exception);
                self.throw(Builtin::ThrowRef, &[exception]);
            }
            _ => return false,
        }
        true
    }

    /// Calls a function, inside the bodies of the blocks that may catch what it throws.
    pub(super) fn invoke(&mut self, callee: Callee, args: &[Value]) -> Vec<Value> {
        if let Some(offset) = self.site {
            self.save_frame(offset);
        }
        self.emitter.calls += 1;
        let handlers = self.handlers();
        if !handlers.is_empty() {
            self.assign_operands();
        }
        let builder = &mut self.emitter.builder;
        if handlers.is_empty() {
            let call = match callee {
                Callee::Direct(function) => builder.ins().call(function, args),
                Callee::Indirect(signature, code) => {
                    builder.ins().call_indirect(signature, code, args)
                }
            };
            return builder.inst_results(call).to_vec();
        }
        let signature = match callee {
            Callee::Direct(function) => builder.func.dfg.ext_funcs[function].signature,
            Callee::Indirect(signature, _) => signature,
        };
        let returned = builder.create_block();
        let of = &builder.func.dfg.signatures[signature];
        let (convention, results) = (of.call_conv, of.returns.clone());
        for result in &results {
            builder.append_block_param(returned, result.value_type);
        }
        let mut items = Vec::with_capacity(handlers.len() + 1);
        // A tag index means something in this instance only. Whoever looks for a handler of a
        // builtin's call knows the instance, since it was told.
        if convention == CallConv::Tail && handlers.iter().any(|(tagged, ..)| *tagged) {
            items.push(ExceptionTableItem::Context(self.emitter.vmctx));
        }
        let dfg = &mut builder.func.dfg;
        for (_, clause, landing) in handlers {
            let args = [BlockArg::TryCallExn(0), BlockArg::TryCallExn(1)];
            let to = dfg.block_call(landing, &args);
            items.push(ExceptionTableItem::Tag(ExceptionTag::from_u32(clause), to));
        }
        let values: Vec<_> = (0..results.len() as u32).map(BlockArg::TryCallRet).collect();
        let to = dfg.block_call(returned, &values);
        let table = ExceptionTableData::new(signature, to, items);
        let table = dfg.exception_tables.push(table);
        match callee {
            Callee::Direct(function) => builder.ins().try_call(function, args, table),
            Callee::Indirect(_, code) => builder.ins().try_call_indirect(code, args, table),
        };
        self.switch_to(returned);
        self.emitter.builder.block_params(returned).to_vec()
    }

    /// The handlers of a call here, innermost first: whether each names a tag, its clause as the code
    /// file has it, and where it begins.
    fn handlers(&mut self) -> Vec<(bool, u32, Block)> {
        let mut handlers = Vec::new();
        let mut at = self.frames.len();
        while at > 0 && self.frames[at - 1].tries > 0 && self.tries.handlers <= MAX_HANDLERS {
            at -= 1;
            let clauses = match &mut self.frames[at].kind {
                Kind::TryTable(clauses) | Kind::Try(clauses) => clauses,
                Kind::Delegate(depth) => {
                    at -= *depth as usize;
                    continue;
                }
                _ => continue,
            };
            for clause in clauses {
                let landing = *clause.landing.get_or_insert_with(|| {
                    let landing = self.emitter.builder.create_block();
                    self.emitter.builder.set_cold_block(landing);
                    self.emitter.builder.append_block_param(landing, WORD);
                    self.emitter.builder.append_block_param(landing, WORD);
                    landing
                });
                let word = HandlerRecord::clause(clause.tag, clause.reference);
                handlers.push((clause.tag.is_some(), word, landing));
                self.tries.handlers += 1;
                if clause.tag.is_none() {
                    return handlers;
                }
            }
        }
        handlers
    }

    /// Throws, which ends the code that can be reached.
    fn throw(&mut self, builtin: Builtin, args: &[Value]) {
        let (signature, code) = self.emitter.builtin(builtin);
        let mut all = vec![self.emitter.vmctx];
        all.extend_from_slice(args);
        self.invoke(Callee::Indirect(signature, code), &all);
        self.emitter.trap(TrapCode::Unreachable);
        self.reachable = false;
    }

    /// Goes from where the clauses of a `try_table` land to their labels, seen from outside it.
    pub(super) fn land(&mut self, clauses: Vec<Clause>) {
        for clause in clauses {
            let Some(landing) = clause.landing else { continue };
            let (mut values, exception) = self.caught(&clause, landing);
            values.extend(clause.reference.then_some(exception));
            let (label, _) = self.target(clause.label);
            self.assign_operands();
            self.ins().jump(label, &block_args(&values));
        }
    }

    /// Ends the body of a `try`, or a handler, and begins the next handler.
    pub(super) fn next_handler(&mut self) {
        self.leave();
        let frame = self.frames.last_mut().expect("validated code");
        let mut rest = match std::mem::replace(&mut frame.kind, Kind::Block) {
            Kind::Try(clauses) => {
                frame.tries -= 1;
                clauses.into_iter()
            }
            Kind::Catch { rest, .. } => rest,
            _ => unreachable!("validated code"),
        };
        let height = frame.height;
        self.stack.truncate(height);
        let clause = rest.next().expect("looked ahead");
        // Without a landing, nothing in the body throws.
        self.reachable = clause.landing.is_some();
        let exception = clause.landing.map(|landing| {
            let (values, exception) = self.caught(&clause, landing);
            self.stack.extend(values);
            // Only those that something throws again have a value worth keeping.
            clause.reference.then(|| {
                let variable = self.declare(WORD);
                self.write(variable, exception);
                variable
            })
        });
        let frame = self.frames.last_mut().expect("validated code");
        frame.kind = Kind::Catch { exception: exception.flatten(), rest };
    }

    /// The types of the values that exceptions of a tag carry.
    fn tag_params(&self, tag: TagIndex) -> &'a [ValType] {
        let info = self.emitter.context.info();
        &info.func_type_at(info.tags[tag as usize]).params
    }

    /// Begins where a clause lands: the values that it caught, and the exception.
    fn caught(&mut self, clause: &Clause, landing: Block) -> (Vec<Value>, Value) {
        self.switch_to(landing);
        let params = self.emitter.builder.block_params(landing);
        let (exception, payload) = (params[0], params[1]);
        self.read_operands();
        let types = clause.tag.map_or(&[][..], |tag| self.tag_params(tag));
        (self.emitter.load_values(types, payload), exception)
    }
}
