;; Texts in arrays of i8: `run(n)` makes the decimal names of n numbers, joins each with a prefix, and counts them in a hash
;; table of 4,096 buckets. The answer is a checksum of the table.
(module
  (type $text (array (mut i8)))
  (type $entry (struct (field $name (ref $text)) (field $count (mut i32)) (field $next (ref null $entry))))
  (type $table (array (mut (ref null $entry))))
  (data $prefix "name/of/number/")
  (global $table (mut (ref null $table)) (ref.null $table))

  (func $decimal (param $n i32) (result (ref $text))
    (local $digits i32) (local $rest i32) (local $text (ref $text))
    (local.set $rest (local.get $n))
    (loop $count
      (local.set $digits (i32.add (local.get $digits) (i32.const 1)))
      (local.set $rest (i32.div_u (local.get $rest) (i32.const 10)))
      (br_if $count (local.get $rest)))
    (local.set $text (array.new_default $text (local.get $digits)))
    (loop $write
      (local.set $digits (i32.sub (local.get $digits) (i32.const 1)))
      (array.set $text (local.get $text) (local.get $digits)
        (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
      (br_if $write (local.get $digits)))
    (local.get $text))

  (func $join (param $a (ref $text)) (param $b (ref $text)) (result (ref $text))
    (local $text (ref $text))
    (local.set $text
      (array.new_default $text (i32.add (array.len (local.get $a)) (array.len (local.get $b)))))
    (array.copy $text $text (local.get $text) (i32.const 0) (local.get $a) (i32.const 0) (array.len (local.get $a)))
    (array.copy $text $text (local.get $text) (array.len (local.get $a)) (local.get $b) (i32.const 0)
      (array.len (local.get $b)))
    (local.get $text))

  (func $hash (param $text (ref $text)) (result i32)
    (local $hash i32) (local $i i32)
    (local.set $hash (i32.const 0x811c9dc5))
    (block $done
      (loop $each
        (br_if $done (i32.ge_u (local.get $i) (array.len (local.get $text))))
        (local.set $hash
          (i32.mul (i32.xor (local.get $hash) (array.get_u $text (local.get $text) (local.get $i))) (i32.const 0x01000193)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $each)))
    (local.get $hash))

  (func $equal (param $a (ref $text)) (param $b (ref $text)) (result i32)
    (local $i i32)
    (if (i32.ne (array.len (local.get $a)) (array.len (local.get $b))) (then (return (i32.const 0))))
    (loop $each
      (if (i32.ge_u (local.get $i) (array.len (local.get $a))) (then (return (i32.const 1))))
      (if (i32.ne (array.get_u $text (local.get $a) (local.get $i)) (array.get_u $text (local.get $b) (local.get $i)))
        (then (return (i32.const 0))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $each))
    (unreachable))

  (func $add (param $name (ref $text))
    (local $bucket i32) (local $entry (ref null $entry))
    (local.set $bucket (i32.and (call $hash (local.get $name)) (i32.const 4095)))
    (local.set $entry (array.get $table (global.get $table) (local.get $bucket)))
    (block $absent
      (loop $chain
        (br_if $absent (ref.is_null (local.get $entry)))
        (if (call $equal (struct.get $entry $name (local.get $entry)) (local.get $name))
          (then
            (struct.set $entry $count (local.get $entry)
              (i32.add (struct.get $entry $count (local.get $entry)) (i32.const 1)))
            (return)))
        (local.set $entry (struct.get $entry $next (local.get $entry)))
        (br $chain)))
    (array.set $table (global.get $table) (local.get $bucket)
      (struct.new $entry (local.get $name) (i32.const 1)
        (array.get $table (global.get $table) (local.get $bucket)))))

  (func (export "run") (param $n i32) (result i32)
    (local $prefix (ref $text)) (local $i i32) (local $sum i32) (local $entry (ref null $entry)) (local $random i32)
    (global.set $table (array.new_default $table (i32.const 4096)))
    (local.set $prefix (array.new_data $text $prefix (i32.const 0) (i32.const 15)))
    (loop $each
      (local.set $random (i32.add (i32.mul (local.get $random) (i32.const 1664525)) (i32.const 1013904223)))
      (call $add
        (call $join (local.get $prefix) (call $decimal (i32.rem_u (i32.shr_u (local.get $random) (i32.const 8)) (i32.const 9973)))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $each (local.get $n)))
    (loop $bucket
      (local.set $entry (array.get $table (global.get $table) (local.get $i)))
      (block $end
        (loop $chain
          (br_if $end (ref.is_null (local.get $entry)))
          (local.set $sum
            (i32.add (i32.mul (local.get $sum) (i32.const 31))
              (i32.xor (call $hash (struct.get $entry $name (local.get $entry)))
                (struct.get $entry $count (local.get $entry)))))
          (local.set $entry (struct.get $entry $next (local.get $entry)))
          (br $chain)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $bucket (i32.lt_u (local.get $i) (i32.const 4096))))
    (local.get $sum)))
