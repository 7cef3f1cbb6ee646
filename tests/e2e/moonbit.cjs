// Compiles a MoonBit program to a module whose objects are the engine's.
//
//     node moonbit.cjs PACKAGE CACHE PROGRAM MODULE EXPORT...
//
// PACKAGE is npm's @moonbit/moonpad-monaco, an editor for browsers: it holds the compiler as a worker's script, and the
// library's sources. Of the library there is `builtin`, which is compiled once and kept in CACHE.
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const [editor, cache, program, module_, ...exportedFunctions] = process.argv.slice(2);
const TARGET = "wasm-gc";
const LIBRARY = "moonbitlang/core";
const pkgSources = [`${LIBRARY}:moonbit-core:/lib/core`, "main:/main"];

// What a worker's script finds.
globalThis.require = require;
globalThis.addEventListener = (_, listener) => { globalThis.onmessage = listener; };
globalThis.removeEventListener = () => {};
globalThis.postMessage = ({ id, type, value }) => {
  if (type !== "RAW") fail(JSON.stringify(value));
  asked.get(id)(value);
};

/** Those who wait for the worker's answers. */
const asked = new Map();

const worker = path.join(editor, "dist/moonc-worker.js");
vm.runInThisContext(fs.readFileSync(worker, "utf8"), { filename: worker });

/** Calls a function of the compiler. */
const call = (name, params) => new Promise((resolve) => {
  const id = `${asked.size}`;
  asked.set(id, resolve);
  const argumentList = [{ type: "RAW", value: { ...params, target: TARGET, pkgSources } }];
  globalThis.onmessage({ origin: "*", data: { id, type: "APPLY", path: [name], argumentList } });
});

function fail(why) {
  console.error(why);
  process.exit(1);
}

/** The library's files, by path: texts are variables' values there, and a table names the variables. */
function library() {
  const text = fs.readFileSync(path.join(editor, "dist/moonpad-monaco.js"), "utf8");
  const values = new Map();
  for (const [, name, value] of text.matchAll(/([\w$]+) = [\w$]+\("([A-Za-z0-9+/=]*)"\)/g)) values.set(name, value);
  const files = new Map();
  for (const [, file, name] of text.matchAll(/\["\/lib\/core\/([^"]+)"\] = ([\w$]+);/g)) {
    files.set(file, () => Buffer.from(values.get(name), "base64").toString());
  }
  return files;
}

/** Compiles a package of these files, [name, text], with these others in sight. */
async function build(pkg, mbtFiles, { imports = [], std = [], isMain = false }) {
  const options = { indirectImportMiFiles: [], errorFormat: "human", enableValueTracing: false, noOpt: false };
  const interfaces = (where) => ([name, { mi }]) => [`/lib/core/${name}${where}:${name}`, mi];
  const files = { mbtFiles, miFiles: imports.map(interfaces(".mi")), stdMiFiles: std.map(interfaces("")) };
  const built = await call("buildPackage", { pkg, isMain, ...files, ...options });
  if (!built.core || (isMain && built.diagnostics.length > 0)) fail(built.diagnostics.join("\n"));
  return built;
}

/** What compiling the library makes: [name, built], each with those before it in sight. */
async function standard() {
  const kept = path.join(cache, `${path.basename(editor).replace(/\W/g, "_")}.json`);
  if (fs.existsSync(kept)) {
    const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
    return JSON.parse(fs.readFileSync(kept)).map(([name, mi, core]) => [name, { mi: bytes(mi), core: bytes(core) }]);
  }
  const files = library();
  const { packages } = JSON.parse(files.get("_build/packages.json")());
  const sources = (name) => Object.entries(packages.find(({ rel }) => rel === name).files)
    .filter(([, { backend, optlevel }]) => backend.includes("WasmGC") && optlevel.includes("Release"))
    .map(([file]) => [file, files.get(file.replace("moonbit-core:/lib/core/", ""))()]);
  // Of what programs see without asking, what `builtin` has.
  const [prelude] = files.get("prelude/prelude.mbt")().match(/(?:#.*\n)?pub using @builtin \{[^}]*\}/);
  const all = [["abort", sources("abort")], ["builtin", sources("builtin")], ["prelude", [["prelude.mbt", prelude]]]];
  const done = [];
  for (const [name, texts] of all) done.push([name, await build(`${LIBRARY}/${name}`, texts, { imports: [...done] })]);
  const text = (bytes) => Buffer.from(bytes).toString("base64");
  // Whole, whoever else does so meanwhile.
  fs.writeFileSync(`${kept}.${process.pid}`, JSON.stringify(done.map(([name, b]) => [name, text(b.mi), text(b.core)])));
  fs.renameSync(`${kept}.${process.pid}`, kept);
  return done;
}

async function main() {
  const std = await standard();
  const main = await build("main", [["main.mbt", fs.readFileSync(program, "utf8")]], { std, isMain: true });
  const coreFiles = [...std, ["main", main]].map(([, { core }]) => core);
  const options = { testMode: false, debug: false, noOpt: false, sourceMap: false, sources: {}, stopOnMain: false };
  const linked = await call("linkCore", { coreFiles, main: "main", exportedFunctions, outputFormat: "wasm", ...options });
  fs.writeFileSync(module_, linked.result);
}

main().catch(fail);
