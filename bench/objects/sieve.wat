;; Arrays of i8: `run(n)` n times makes a sieve of the numbers below 100,000. The answer is how many of them are prime, each time.
(module
  (type $flags (array (mut i8)))
  (func (export "run") (param $n i32) (result i32)
    (local $flags (ref $flags)) (local $i i32) (local $multiple i32) (local $count i32)
    (loop $round
      (local.set $flags (array.new $flags (i32.const 1) (i32.const 100000)))
      (local.set $i (i32.const 2))
      (loop $each
        (if (array.get_u $flags (local.get $flags) (local.get $i))
          (then
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (local.set $multiple (i32.add (local.get $i) (local.get $i)))
            (block $done
              (loop $strike
                (br_if $done (i32.ge_u (local.get $multiple) (i32.const 100000)))
                (array.set $flags (local.get $flags) (local.get $multiple) (i32.const 0))
                (local.set $multiple (i32.add (local.get $multiple) (local.get $i)))
                (br $strike)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $each (i32.lt_u (local.get $i) (i32.const 100000))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $round (local.get $n)))
    (local.get $count)))
