;; Calls by reference: `run(n)` n times makes a list of 1,000 numbers, maps, filters and folds it with closures, each a
;; structure with a function and what that captured. The answer is a checksum of the sums.
(module
  (rec
    (type $function (func (param (ref $closure) i32 i32) (result i32)))
    (type $closure (sub (struct (field $code (ref $function))))))
  (type $adding (sub final $closure (struct (field $code (ref $function)) (field $number i32))))
  (type $list (struct (field $head i32) (field $tail (ref null $list))))
  (elem declare func $plus $is_odd $sum)

  (func $plus (type $function)
    (i32.add (struct.get $adding $number (ref.cast (ref $adding) (local.get 0))) (local.get 1)))
  (func $is_odd (type $function) (i32.and (local.get 1) (i32.const 1)))
  (func $sum (type $function) (i32.add (i32.mul (local.get 1) (i32.const 3)) (local.get 2)))

  (func $call (param $closure (ref $closure)) (param $a i32) (param $b i32) (result i32)
    (call_ref $function (local.get $closure) (local.get $a) (local.get $b)
      (struct.get $closure $code (local.get $closure))))

  (func $range (param $n i32) (result (ref null $list))
    (local $list (ref null $list))
    (loop $each
      (local.set $list (struct.new $list (local.get $n) (local.get $list)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $each (local.get $n)))
    (local.get $list))

  (func $map (param $list (ref null $list)) (param $f (ref $closure)) (result (ref null $list))
    (local $result (ref null $list))
    (block $end
      (loop $each
        (br_if $end (ref.is_null (local.get $list)))
        (local.set $result
          (struct.new $list
            (call $call (local.get $f) (struct.get $list $head (local.get $list)) (i32.const 0))
            (local.get $result)))
        (local.set $list (struct.get $list $tail (local.get $list)))
        (br $each)))
    (local.get $result))

  (func $filter (param $list (ref null $list)) (param $f (ref $closure)) (result (ref null $list))
    (local $result (ref null $list))
    (block $end
      (loop $each
        (br_if $end (ref.is_null (local.get $list)))
        (if (call $call (local.get $f) (struct.get $list $head (local.get $list)) (i32.const 0))
          (then
            (local.set $result
              (struct.new $list (struct.get $list $head (local.get $list)) (local.get $result)))))
        (local.set $list (struct.get $list $tail (local.get $list)))
        (br $each)))
    (local.get $result))

  (func $fold (param $list (ref null $list)) (param $f (ref $closure)) (result i32)
    (local $result i32)
    (block $end
      (loop $each
        (br_if $end (ref.is_null (local.get $list)))
        (local.set $result
          (call $call (local.get $f) (local.get $result) (struct.get $list $head (local.get $list))))
        (local.set $list (struct.get $list $tail (local.get $list)))
        (br $each)))
    (local.get $result))

  (func (export "run") (param $n i32) (result i32)
    (local $sum i32)
    (loop $round
      (local.set $sum
        (i32.add (i32.rotl (local.get $sum) (i32.const 1))
          (call $fold
            (call $filter
              (call $map (call $range (i32.const 1000)) (struct.new $adding (ref.func $plus) (local.get $n)))
              (struct.new $closure (ref.func $is_odd)))
            (struct.new $closure (ref.func $sum)))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $round (local.get $n)))
    (local.get $sum)))
