//! What imports that nothing is defined for say of how a module was built.
//!
//! Invariant: a hint is given only where the names are those of one toolchain or interface; it says what
//! to do instead.

/// A kind of modules: what their imports are like, and what to do about it.
struct Built {
    by: fn(&str, &str) -> bool,
    hint: &'static str,
}

const KNOWN: &[Built] = &[
    Built {
        by: |module, _| module.starts_with("wasi:"),
        hint: "it is built for WASI 0.2, of components: build it for WASI preview 1 (wasm32-wasip1)",
    },
    Built {
        by: |module, name| (module, name) == ("wasi", "thread-spawn"),
        hint: "it is built for WASI's threads, which are not supported: build it without \
               (wasm32-wasip1, not wasm32-wasip1-threads)",
    },
    Built {
        by: |module, _| {
            matches!(module, "wbg" | "__wbindgen_placeholder__" | "__wbindgen_externref_xform__")
                || (module.starts_with("./") && module.ends_with("_bg.js"))
        },
        hint: "it is built for JavaScript by wasm-bindgen: build it for WASI (wasm32-wasip1)",
    },
    Built {
        by: |module, name| {
            matches!(module, "go" | "gojs")
                && (name.starts_with("runtime.") || name.starts_with("syscall/js."))
        },
        hint: "it is built for JavaScript by Go: build it with GOOS=wasip1",
    },
    Built {
        by: |module, name| {
            matches!(module, "env" | "wasi_snapshot_preview1")
                && ["emscripten_", "_emscripten_", "__syscall_", "invoke_", "__cxa_"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        },
        hint: "it is built for JavaScript by Emscripten: build it with -sSTANDALONE_WASM, or with \
               the WASI SDK",
    },
    Built {
        by: |module, name| {
            module == "GOT.mem"
                || module == "GOT.func"
                || (module, name) == ("env", "__memory_base")
        },
        hint: "it is a shared library, which has to be linked into a program",
    },
];

/// A clause for the end of a message about imports that are not defined, or nothing.
pub(crate) fn hint(imports: &[(String, String)]) -> String {
    let known = KNOWN.iter().find(|known| imports.iter().any(|(m, n)| (known.by)(m, n)));
    known.map(|known| format!("; {}", known.hint)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn toolchains_are_known_by_their_imports() {
        for (module, name, words) in [
            ("wasi:cli/environment@0.2.0", "get-arguments", "preview 1"),
            ("wasi", "thread-spawn", "threads"),
            ("wbg", "__wbg_log_1", "wasm-bindgen"),
            ("./crate_bg.js", "__wbindgen_throw", "wasm-bindgen"),
            ("gojs", "runtime.wasmExit", "GOOS=wasip1"),
            ("env", "emscripten_resize_heap", "Emscripten"),
            ("env", "__memory_base", "shared library"),
        ] {
            let other = ("env".to_owned(), "f".to_owned());
            assert!(hint(&[other, (module.to_owned(), name.to_owned())]).contains(words), "{name}");
        }
        assert_eq!(hint(&[("env".to_owned(), "f".to_owned())]), "");
        assert_eq!(hint(&[]), "");
    }
}
