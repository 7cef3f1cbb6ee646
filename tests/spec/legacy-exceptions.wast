;; The older encoding of exception handling, which no script of the specification covers any more:
;; `try`, `catch`, `catch_all`, `delegate` and `rethrow`.

(module $legacy
  (tag $i (param i32)) (tag $pair (param i64 f32)) (tag $none)

  (func $throw (param i32)
    (block $none (block $pair (block $i (block $ok
      (br_table $ok $i $pair $none (local.get 0)))
      (return))
      (throw $i (i32.const 40)))
      (throw $pair (i64.const 50) (f32.const 60)))
    (throw $none))

  ;; Clauses are tried in order.
  (func (export "clauses") (param i32) (result i32) (local $f i32)
    try (result i32)
      (call $throw (local.get 0)) (i32.const 1)
    catch $i
      (i32.add (i32.const 2))
    catch $pair
      (local.set $f (i32.trunc_f32_s))
      (i32.add (i32.wrap_i64) (local.get $f))
    catch_all
      (i32.const 4)
    end)

  ;; What the clauses do not name goes on.
  (func (export "outer") (param i32) (result i32)
    try (result i32)
      try (result i32)
        (call $throw (local.get 0)) (i32.const 1)
      catch $i
        (drop) (i32.const 2)
      end
    catch_all
      (i32.const 3)
    end)

  ;; A throw in a handler is not caught by the other handlers of its `try`.
  (func (export "in-handler") (param i32) (result i32)
    try (result i32)
      try (result i32)
        (call $throw (local.get 0)) (i32.const 1)
      catch $i
        (drop) (call $throw (i32.const 3)) (i32.const -1)
      catch_all
        (i32.const 2)
      end
    catch $none
      (i32.const 3)
    end)

  ;; A `try` takes parameters, keeps the operands below it, and can be left by branches.
  (func (export "operands") (param i32) (result i32)
    (i32.const 1000)
    (i32.const 100)
    try $t (param i32) (result i32)
      (call $throw (local.get 0))
      (br_if $t (i32.eqz (local.get 0)))
    catch $i
      (br $t)
    catch_all
      (i32.const 7)
    end
    i32.add)

  ;; Locals have the values that they had at the throw.
  (func (export "locals") (param i32) (result i32) (local $n i32)
    try
      (local.set $n (i32.const 1))
      (call $throw (local.get 0))
      (local.set $n (i32.const 2))
      (call $throw (i32.add (local.get 0) (i32.const 1)))
      (local.set $n (i32.const 3))
    catch_all
      (local.set $n (i32.add (local.get $n) (i32.const 10)))
    end
    (local.get $n))

  ;; A handler rethrows what it caught, also from the handler of another, with its payload.
  (func (export "rethrow-nested") (param i32) (result i32)
    try (result i32)
      try (result i32)
        (throw $i (i32.const 5))
      catch $i
        try (result i32)
          (throw $none)
        catch $none
          (if (local.get 0) (then rethrow 2))
          rethrow 0
        end
        (i32.add)
      end
    catch $i
      (i32.add (i32.const 100))
    catch $none
      (i32.const 200)
    end)

  ;; Rethrowing to the caller.
  (func $again (param i32)
    try (call $throw (local.get 0)) catch_all rethrow 0 end)
  (func (export "rethrow-out") (param i32) (result i32)
    try (result i32)
      (call $again (local.get 0)) (i32.const 1)
    catch $i
    catch_all
      (i32.const 2)
    end)
  (func (export "again") (param i32) (call $again (local.get 0)))

  ;; Delegating passes over what lies between: a `try`, and a block that is none.
  (func (export "delegate") (param i32) (result i32)
    try $outer (result i32)
      (block (result i32)
        try (result i32)
          (block (result i32)
            try (result i32)
              (call $throw (local.get 0)) (i32.const 1)
            delegate 3)
        catch_all
          (i32.const -1)
        end)
    catch $i
    catch_all
      (i32.const 2)
    end)
  (func (export "delegate-block") (param i32) (result i32)
    try (result i32)
      (block $b (result i32)
        try (result i32)
          try (result i32)
            (call $throw (local.get 0)) (i32.const 1)
          delegate $b
        catch_all
          (i32.const -1)
        end)
    catch_all
      (i32.const 2)
    end)
  ;; Delegating to a `try` whose handler is running goes to those around it.
  (func (export "delegate-handler") (param i32) (result i32)
    try (result i32)
      try $t (result i32)
        (throw $none)
      catch $none
        try (result i32)
          (call $throw (local.get 0)) (i32.const 1)
        delegate $t
      catch_all
        (i32.const -1)
      end
    catch_all
      (i32.const 2)
    end)
  (func (export "delegate-out") (param i32)
    try
      try (call $throw (local.get 0)) delegate 1
    catch_all
    end)

  ;; In a loop, with a handler that branches back.
  (func (export "loop") (param i32) (result i32) (local $sum i32)
    (loop $l
      try
        (throw $i (local.get 0))
      catch $i
        (local.set $sum (i32.add (local.get $sum)))
        (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))
      end)
    (local.get $sum))

  ;; Both encodings in one function.
  (func (export "both") (param i32) (result i32)
    try (result i32)
      (block $h (result i32)
        (try_table (catch $i $h) (call $throw (local.get 0)))
        (i32.const 1))
    catch $none
      (i32.const 3)
    catch_all
      (i32.const 2)
    end)

  ;; Traps go through.
  (func (export "trap") try unreachable catch_all end)
  (func (export "trap-call") (param i32) (result i32)
    try (result i32) (i32.div_u (i32.const 1) (local.get 0)) catch_all (i32.const 0) end)
)

(assert_return (invoke "clauses" (i32.const 0)) (i32.const 1))
(assert_return (invoke "clauses" (i32.const 1)) (i32.const 42))
(assert_return (invoke "clauses" (i32.const 2)) (i32.const 110))
(assert_return (invoke "clauses" (i32.const 3)) (i32.const 4))
(assert_return (invoke "outer" (i32.const 0)) (i32.const 1))
(assert_return (invoke "outer" (i32.const 1)) (i32.const 2))
(assert_return (invoke "outer" (i32.const 2)) (i32.const 3))
(assert_return (invoke "outer" (i32.const 3)) (i32.const 3))
(assert_return (invoke "in-handler" (i32.const 0)) (i32.const 1))
(assert_return (invoke "in-handler" (i32.const 1)) (i32.const 3))
(assert_return (invoke "in-handler" (i32.const 2)) (i32.const 2))
(assert_return (invoke "in-handler" (i32.const 3)) (i32.const 2))
(assert_return (invoke "operands" (i32.const 0)) (i32.const 1100))
(assert_return (invoke "operands" (i32.const 1)) (i32.const 1040))
(assert_return (invoke "operands" (i32.const 2)) (i32.const 1007))
(assert_return (invoke "operands" (i32.const 3)) (i32.const 1007))
(assert_return (invoke "locals" (i32.const 0)) (i32.const 12))
(assert_return (invoke "locals" (i32.const 1)) (i32.const 11))
(assert_return (invoke "locals" (i32.const 3)) (i32.const 11))
(assert_return (invoke "rethrow-nested" (i32.const 0)) (i32.const 200))
(assert_return (invoke "rethrow-nested" (i32.const 1)) (i32.const 105))
(assert_return (invoke "rethrow-out" (i32.const 0)) (i32.const 1))
(assert_return (invoke "rethrow-out" (i32.const 1)) (i32.const 40))
(assert_return (invoke "rethrow-out" (i32.const 2)) (i32.const 2))
(assert_return (invoke "rethrow-out" (i32.const 3)) (i32.const 2))
(assert_return (invoke "again" (i32.const 0)))
(assert_exception (invoke "again" (i32.const 2)))
(assert_return (invoke "delegate" (i32.const 0)) (i32.const 1))
(assert_return (invoke "delegate" (i32.const 1)) (i32.const 40))
(assert_return (invoke "delegate" (i32.const 2)) (i32.const 2))
(assert_return (invoke "delegate-block" (i32.const 0)) (i32.const 1))
(assert_return (invoke "delegate-block" (i32.const 1)) (i32.const 2))
(assert_return (invoke "delegate-handler" (i32.const 0)) (i32.const 1))
(assert_return (invoke "delegate-handler" (i32.const 1)) (i32.const 2))
(assert_return (invoke "delegate-out" (i32.const 0)))
(assert_exception (invoke "delegate-out" (i32.const 1)))
(assert_return (invoke "loop" (i32.const 1)) (i32.const 1))
(assert_return (invoke "loop" (i32.const 4)) (i32.const 10))
(assert_return (invoke "both" (i32.const 0)) (i32.const 1))
(assert_return (invoke "both" (i32.const 1)) (i32.const 40))
(assert_return (invoke "both" (i32.const 2)) (i32.const 2))
(assert_return (invoke "both" (i32.const 3)) (i32.const 3))
(assert_trap (invoke "trap") "unreachable")
(assert_return (invoke "trap-call" (i32.const 1)) (i32.const 1))
(assert_trap (invoke "trap-call" (i32.const 0)) "integer divide by zero")

;; A delegate takes no handler, and only a handler is rethrown from.
(assert_invalid
  (module (func try rethrow 0 catch_all end))
  "invalid rethrow label")
(assert_invalid
  (module (tag $t (param i32)) (func try catch $t end))
  "type mismatch")
