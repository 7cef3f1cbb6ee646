;; Arrays of arrays of f64: `run(n)` n times multiplies two matrices of 100 rows. The answer is a checksum of the product.
(module
  (type $row (array (mut f64)))
  (type $matrix (array (mut (ref null $row))))
  (func $make (param $seed i32) (result (ref $matrix))
    (local $m (ref $matrix)) (local $row (ref $row)) (local $i i32) (local $j i32)
    (local.set $m (array.new_default $matrix (i32.const 100)))
    (loop $rows
      (local.set $row (array.new_default $row (i32.const 100)))
      (array.set $matrix (local.get $m) (local.get $i) (local.get $row))
      (local.set $j (i32.const 0))
      (loop $columns
        (array.set $row (local.get $row) (local.get $j)
          (f64.convert_i32_s
            (i32.rem_s (i32.mul (local.get $seed) (i32.add (local.get $i) (i32.mul (local.get $j) (i32.const 7))))
              (i32.const 13))))
        (local.set $j (i32.add (local.get $j) (i32.const 1)))
        (br_if $columns (i32.lt_u (local.get $j) (i32.const 100))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $rows (i32.lt_u (local.get $i) (i32.const 100))))
    (local.get $m))

  (func $multiply (param $a (ref $matrix)) (param $b (ref $matrix)) (result (ref $matrix))
    (local $c (ref $matrix)) (local $from (ref $row)) (local $to (ref $row))
    (local $i i32) (local $j i32) (local $k i32) (local $sum f64)
    (local.set $c (array.new_default $matrix (i32.const 100)))
    (loop $rows
      (local.set $from (ref.as_non_null (array.get $matrix (local.get $a) (local.get $i))))
      (local.set $to (array.new_default $row (i32.const 100)))
      (array.set $matrix (local.get $c) (local.get $i) (local.get $to))
      (local.set $j (i32.const 0))
      (loop $columns
        (local.set $sum (f64.const 0))
        (local.set $k (i32.const 0))
        (loop $terms
          (local.set $sum
            (f64.add (local.get $sum)
              (f64.mul (array.get $row (local.get $from) (local.get $k))
                (array.get $row (array.get $matrix (local.get $b) (local.get $k)) (local.get $j)))))
          (local.set $k (i32.add (local.get $k) (i32.const 1)))
          (br_if $terms (i32.lt_u (local.get $k) (i32.const 100))))
        (array.set $row (local.get $to) (local.get $j) (local.get $sum))
        (local.set $j (i32.add (local.get $j) (i32.const 1)))
        (br_if $columns (i32.lt_u (local.get $j) (i32.const 100))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $rows (i32.lt_u (local.get $i) (i32.const 100))))
    (local.get $c))

  (func (export "run") (param $n i32) (result i32)
    (local $c (ref $matrix)) (local $sum f64)
    (loop $round
      (local.set $c (call $multiply (call $make (local.get $n)) (call $make (i32.const 5))))
      (local.set $sum
        (f64.add (local.get $sum)
          (f64.add
            (array.get $row (array.get $matrix (local.get $c) (i32.const 17)) (i32.const 71))
            (array.get $row (array.get $matrix (local.get $c) (i32.const 99)) (i32.const 3)))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $round (local.get $n)))
    (i32.trunc_sat_f64_s (local.get $sum))))
