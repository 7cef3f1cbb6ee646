// What QuickJS does of its own, and what its modules `std` and `os` ask of WASI.
import * as std from "qjs:std";
import * as os from "qjs:os";

const root = scriptArgs[1];
print("arguments", JSON.stringify(scriptArgs.slice(1)));
print("environment", std.getenv("GREETING"), std.getenv("MISSING"));

// The language: closures, regular expressions, big integers, maps, generators, exceptions.
const factorial = n => (n < 2n ? 1n : n * factorial(n - 1n));
print(factorial(40n));
print("2001-02-03".replace(/(\d+)-(\d+)-(\d+)/, "$3.$2.$1"));
function* squares() { for (let i = 0; i < 5; i++) yield i * i; }
print([...squares()].join(" "), [3, 1, 2].toSorted(), new Map([[1, "a"]]).get(1));
try { null.x } catch (e) { print(e instanceof TypeError) }
print(JSON.stringify({ b: [1, 2.5, null, "é"], a: { c: true } }), Math.sqrt(2), 0.1 + 0.2);
print(Date.now() > 1e12, new Date(0).toISOString());

// Files and directories.
const name = `${root}/notes.txt`;
const file = std.open(name, "w+");
file.puts("one\ntwo\nthree\n");
file.seek(4, std.SEEK_SET);
print("line", file.getline(), "at", file.tell());
file.close();
print("whole", JSON.stringify(std.loadFile(name)));
print("mkdir", os.mkdir(`${root}/made`), os.mkdir(`${root}/made`));
print("rename", os.rename(name, `${root}/made/moved.txt`));
const [stat, error] = os.stat(`${root}/made/moved.txt`);
print("stat", stat.size, error, os.stat(name)[1]);
const [names] = os.readdir(root);
print("readdir", names.sort());
print("remove", os.remove(`${root}/made/moved.txt`), os.remove(`${root}/made`), os.remove(name));
print("outside", std.loadFile("/etc/passwd"));

// Time passes while the guest sleeps. The reactor runs no event loop.
const begun = Date.now();
os.sleep(20);
print("slept", Date.now() - begun >= 20);
std.err.puts("done\n");
std.exit(5);
