// An index of words and an algebra of expressions: collections, strings, exceptions, classes and closures of Kotlin's
// library. As a command it prints what it finds. Of its exports `prepare` makes the state that `query` asks.
@file:OptIn(ExperimentalWasmInterop::class)

import kotlin.wasm.ExperimentalWasmInterop
import kotlin.wasm.WasmExport

sealed interface Expression
data class Number(val value: Long) : Expression
data class Variable(val name: String) : Expression
data class Sum(val left: Expression, val right: Expression) : Expression
data class Product(val left: Expression, val right: Expression) : Expression

fun derive(of: Expression, by: String): Expression = when (of) {
    is Number -> Number(0)
    is Variable -> Number(if (of.name == by) 1 else 0)
    is Sum -> Sum(derive(of.left, by), derive(of.right, by))
    is Product -> Sum(Product(derive(of.left, by), of.right), Product(of.left, derive(of.right, by)))
}

fun simplify(expression: Expression): Expression = when (expression) {
    is Sum -> {
        val left = simplify(expression.left)
        val right = simplify(expression.right)
        when {
            left is Number && right is Number -> Number(left.value + right.value)
            left == Number(0) -> right
            right == Number(0) -> left
            left == right -> Product(Number(2), left)
            else -> Sum(left, right)
        }
    }
    is Product -> {
        val left = simplify(expression.left)
        val right = simplify(expression.right)
        when {
            left is Number && right is Number -> Number(left.value * right.value)
            left == Number(0) || right == Number(0) -> Number(0)
            left == Number(1) -> right
            right == Number(1) -> left
            else -> Product(left, right)
        }
    }
    else -> expression
}

fun show(expression: Expression): String = when (expression) {
    is Number -> expression.value.toString()
    is Variable -> expression.name
    is Sum -> "(${show(expression.left)} + ${show(expression.right)})"
    is Product -> "${show(expression.left)} * ${show(expression.right)}"
}

class UnknownVariable(val name: String) : Exception("$name has no value")

fun evaluate(expression: Expression, values: Map<String, Long>): Long = when (expression) {
    is Number -> expression.value
    is Variable -> values[expression.name] ?: throw UnknownVariable(expression.name)
    is Sum -> evaluate(expression.left, values) + evaluate(expression.right, values)
    is Product -> evaluate(expression.left, values) * evaluate(expression.right, values)
}

/** Numbers that look random and are the same each time. */
class Numbers(private var state: Int) {
    fun below(bound: Int): Int {
        state = state * 1_103_515_245 + 12_345
        return (state ushr 16) % bound
    }
}

class Index {
    private val places = HashMap<String, MutableList<Int>>()
    private var count = 0

    fun add(word: String) {
        places.getOrPut(word) { mutableListOf() }.add(count)
        count += 1
    }

    fun frequent(count: Int): List<Pair<String, Int>> =
        places.map { (word, at) -> word to at.size }.sortedWith(compareBy({ -it.second }, { it.first })).take(count)

    fun checksum(): Long = places.entries.sumOf { (word, at) ->
        at.fold(word.hashCode().toLong()) { sum, place -> sum * 31 + place }
    }
}

var index = Index()

@WasmExport
fun build(words: Int) {
    index = Index()
    val numbers = Numbers(7)
    repeat(words) {
        // Most words are short, so that some are found often.
        val length = 1 + minOf(numbers.below(4), numbers.below(4))
        index.add((1..length).map { 'a' + numbers.below(6) }.joinToString(""))
    }
}

@WasmExport
fun prepare() = build(20_000)

@WasmExport
fun query(rounds: Int): Long {
    var sum = 0L
    repeat(rounds) { round ->
        val x: Expression = Variable("x")
        val power = (1..round % 7 + 2).fold<Int, Expression>(Number(1)) { product, _ -> Product(product, x) }
        val slope = simplify(derive(Sum(power, Number(round.toLong())), "x"))
        sum = sum * 17 + evaluate(slope, mapOf("x" to 3L)) + show(slope).length
    }
    return sum xor index.checksum()
}

fun main() {
    prepare()
    for ((word, times) in index.frequent(5)) println("$word: $times")
    val cube = Product(Variable("x"), Product(Variable("x"), Variable("x")))
    println("the derivative of ${show(cube)} is ${show(simplify(derive(cube, "x")))}")
    try {
        evaluate(cube, mapOf("y" to 1L))
    } catch (unknown: UnknownVariable) {
        println(unknown.message)
    }
    println("${query(1_000)}")
}
