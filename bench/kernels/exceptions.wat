;; Throws and catches, again and again: `run` throws `rounds` times through `depth` frames that do not catch.
(module
  (tag $thrown (param i32))
  (func $throw (param $depth i32) (param $value i32)
    (if (i32.eqz (local.get $depth)) (then (throw $thrown (local.get $value))))
    (call $throw (i32.sub (local.get $depth) (i32.const 1)) (local.get $value)))
  (func (export "run") (param $rounds i32) (param $depth i32) (result i32)
    (local $sum i32)
    (loop $again
      (if (local.get $rounds)
        (then
          (block $caught (result i32)
            (try_table (catch $thrown $caught) (call $throw (local.get $depth) (local.get $rounds)))
            unreachable)
          (local.set $sum (i32.add (local.get $sum)))
          (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
          (br $again))))
    (local.get $sum)))
