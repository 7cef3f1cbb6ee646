// Richards' benchmark: the scheduler of a small operating system, whose tasks send packets to one another. Of its exports
// `boot` makes the system that `richards` runs: abstract classes, queues, and calls whose targets change all the time.
@file:OptIn(ExperimentalWasmInterop::class)

package richards

import kotlin.wasm.ExperimentalWasmInterop
import kotlin.wasm.WasmExport

enum class Kind { DEVICE, WORK }

/** What is sent: characters, and how many of them have been dealt with. */
class Packet(var to: Name, val kind: Kind) {
    val characters = CharArray(4)
    var done = 0
}

/** The tasks; later ones go first. */
enum class Name { IDLE, WORKER, HANDLER_A, HANDLER_B, DEVICE_A, DEVICE_B }

abstract class Task(val name: Name, private val system: System) {
    private val queue = ArrayDeque<Packet>()
    private var waiting = false
    private var held = false

    val ready get() = !held && (!waiting || queue.isNotEmpty())

    /** Deals with a packet, or goes on where there is none. It ends by telling the system who is next. */
    protected abstract fun step(packet: Packet?): Task?

    fun begin(vararg packets: Packet) {
        queue.addAll(packets)
        waiting = true
    }

    fun run(): Task? {
        val packet = if (waiting) queue.removeFirstOrNull() else null
        waiting = false
        return step(packet)
    }

    protected fun waits(): Task {
        waiting = true
        return this
    }

    protected fun holds(): Task? {
        held = true
        system.held += 1
        return system.below(this)
    }

    protected fun releases(name: Name): Task {
        val other = system[name]
        other.held = false
        return if (other.name > this.name) other else this
    }

    protected fun sends(packet: Packet): Task {
        val other = system[packet.to]
        system.sent += 1
        packet.to = name
        val first = other.queue.isEmpty()
        other.queue.addLast(packet)
        return if (first && other.name > name) other else this
    }
}

/** Releases the devices, as chance will have it. */
class Idle(system: System, private var left: Int) : Task(Name.IDLE, system) {
    private var chance = 1

    override fun step(packet: Packet?): Task? {
        left -= 1
        if (left == 0) return holds()
        val odd = chance and 1 == 1
        chance = chance ushr 1
        if (!odd) return releases(Name.DEVICE_A)
        chance = chance xor 0xd008
        return releases(Name.DEVICE_B)
    }
}

/** Fills packets with the alphabet, for the one and for the other handler. */
class Worker(system: System) : Task(Name.WORKER, system) {
    private val handlers = generateSequence(Name.HANDLER_B) { last ->
        if (last == Name.HANDLER_A) Name.HANDLER_B else Name.HANDLER_A
    }.iterator()
    private var letter = 0

    override fun step(packet: Packet?): Task {
        if (packet == null) return waits()
        packet.to = handlers.next()
        packet.done = 0
        for (i in packet.characters.indices) {
            packet.characters[i] = 'A' + letter % 26
            letter += 1
        }
        return sends(packet)
    }
}

/** Hands characters of work on, each in a packet of the device. */
class Handler(name: Name, system: System) : Task(name, system) {
    private val works = ArrayDeque<Packet>()
    private val empty = ArrayDeque<Packet>()

    override fun step(packet: Packet?): Task {
        when (packet?.kind) {
            Kind.WORK -> works.addLast(packet)
            Kind.DEVICE -> empty.addLast(packet)
            null -> {}
        }
        val work = works.firstOrNull() ?: return waits()
        if (work.done == work.characters.size) return sends(works.removeFirst())
        val outward = empty.removeFirstOrNull() ?: return waits()
        outward.characters[0] = work.characters[work.done]
        work.done += 1
        return sends(outward)
    }
}

/** Takes its time for each packet. */
class Device(name: Name, system: System) : Task(name, system) {
    private var pending: Packet? = null

    override fun step(packet: Packet?): Task? {
        if (packet != null) {
            pending = packet
            return holds()
        }
        val sent = pending ?: return waits()
        pending = null
        return sends(sent)
    }
}

class System(rounds: Int) {
    var sent = 0
    var held = 0
    private val tasks = Name.entries.map { name ->
        when (name) {
            Name.IDLE -> Idle(this, rounds)
            Name.WORKER -> Worker(this).apply { begin(*packets(2, name, Kind.WORK)) }
            Name.HANDLER_A -> Handler(name, this).apply { begin(*packets(3, Name.DEVICE_A, Kind.DEVICE)) }
            Name.HANDLER_B -> Handler(name, this).apply { begin(*packets(3, Name.DEVICE_B, Kind.DEVICE)) }
            Name.DEVICE_A, Name.DEVICE_B -> Device(name, this).apply { begin() }
        }
    }

    private fun packets(count: Int, to: Name, kind: Kind) = Array(count) { Packet(to, kind) }

    operator fun get(name: Name) = tasks[name.ordinal]

    fun below(task: Task) = tasks.getOrNull(task.name.ordinal - 1)

    fun run() {
        var task: Task? = tasks.last()
        while (task != null) task = if (task.ready) task.run() else below(task)
    }
}

/** As many rounds as the benchmark has. */
const val ROUNDS = 10_000

var booted: System? = null

@WasmExport
fun boot() {
    booted = System(ROUNDS)
}

/** How many packets were sent, and how often a task was held: 23246 and 9297, as is well known. */
@WasmExport
fun richards(): Long {
    val system = booted ?: System(ROUNDS)
    system.run()
    return system.sent * 100_000L + system.held
}
