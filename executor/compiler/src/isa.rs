//! The target: Cranelift's settings, and which of the processor's features code may use.
//!
//! Invariant: every feature enabled here is one that [`CpuFeatures`] can name, so the code file's
//! header and key say all that its code needs.

use cranelift_codegen::{
    isa::{self, OwnedTargetIsa, TargetFrontendConfig, TargetIsa},
    settings::{self, Configurable},
};
use executor_code::{CompileError, CpuFeatures, OptLevel};

/// With these, rounding is an instruction and no code needs a library call.
const REQUIRED: &[&str] = &["has_sse3", "has_ssse3", "has_sse41"];

/// What differs from Cranelift's defaults for every function.
const SETTINGS: &[(&str, &str)] = &[
    // The text is mapped anywhere, but everything it refers to lies within it or right after it:
    // references are relative to the program counter, without a global offset table.
    ("is_pic", "false"),
    // Backtraces walk the chain of frame pointers and need no unwind tables.
    ("preserve_frame_pointers", "true"),
    ("unwind_info", "false"),
    // Results beyond the registers travel through memory that the caller reserves.
    ("enable_multi_ret_implicit_sret", "true"),
    ("enable_table_access_spectre_mitigation", "true"),
    // A frame touches its stack every 64 KiB, which is less than the stack's guard region, so no
    // frame can step over it. There are no other checks for stack overflow.
    ("enable_probestack", "true"),
    ("probestack_strategy", "inline"),
    ("probestack_size_log2", "16"),
    // Where loops are, for `place`.
    ("machine_code_cfg_info", "true"),
    ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
];

/// For nearly all functions: what was asked for.
fn usual(level: OptLevel) -> &'static [(&'static str, &'static str)] {
    match level {
        OptLevel::None => &[("opt_level", "none"), ("regalloc_algorithm", "single_pass")],
        OptLevel::Less => &[("opt_level", "none"), ("regalloc_algorithm", "backtracking")],
        OptLevel::Speed => &[("opt_level", "speed"), ("regalloc_algorithm", "backtracking")],
        OptLevel::Size => {
            &[("opt_level", "speed_and_size"), ("regalloc_algorithm", "backtracking")]
        }
    }
}

/// For the rest: nothing whose time grows with more than a function's size.
const LARGE: &[(&str, &str)] = &[
    ("opt_level", "none"),
    ("regalloc_algorithm", "single_pass"),
    // Where blocks are is found again after each branch that is left out.
    ("machine_code_cfg_info", "false"),
];

/// What decides how a function is compiled.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    /// The bytes of its body.
    pub(crate) body: usize,
    /// How deep its loops are nested.
    pub(crate) loops: usize,
    /// How many values its IR has.
    pub(crate) values: usize,
    /// [`crate::weight::passed_together`].
    pub(crate) together: u64,
}

impl Extent {
    /// The backtracking register allocator can take the square of a body's length.
    const MAX_BODY: usize = 256 << 10;
    /// The optimiser, moving code out of loops, takes the cube of their depth.
    const MAX_LOOPS: usize = 128;
    /// What is large without being long. The largest functions of CPython have 76,000 values.
    const MAX_VALUES: usize = 1 << 19;
    /// The register allocator takes longer and longer for each. In CPython at most 1.7 million do.
    const MAX_TOGETHER: u64 = 3_000_000;

    /// Whether the best code would cost too much.
    pub(crate) fn is_large(self) -> bool {
        self.body > Self::MAX_BODY
            || self.loops > Self::MAX_LOOPS
            || self.values > Self::MAX_VALUES
            || self.together > Self::MAX_TOGETHER
    }
}

/// The target, with the settings for nearly all functions and with those for the rest.
pub(crate) struct Target {
    usual: OwnedTargetIsa,
    large: OwnedTargetIsa,
}

impl Target {
    /// The target for a processor with `features`.
    ///
    /// # Errors
    /// When the processor lacks a feature that is required.
    pub(crate) fn new(features: CpuFeatures, level: OptLevel) -> Result<Self, CompileError> {
        check(features)?;
        Ok(Self { usual: build(features, usual(level))?, large: build(features, LARGE)? })
    }

    /// The target for a function.
    pub(crate) fn for_function(&self, extent: Extent) -> &dyn TargetIsa {
        if extent.is_large() { &*self.large } else { &*self.usual }
    }

    /// What the making of IR must know of it.
    pub(crate) fn frontend_config(&self) -> TargetFrontendConfig {
        self.usual.frontend_config()
    }
}

/// Refuses a processor that lacks a required feature.
pub(crate) fn check(features: CpuFeatures) -> Result<(), CompileError> {
    for name in REQUIRED {
        if !features.has(name) {
            let name = name.trim_start_matches("has_");
            return Err(CompileError::Host(format!("the processor lacks {name}")));
        }
    }
    Ok(())
}

fn build(features: CpuFeatures, settings: &[(&str, &str)]) -> Result<OwnedTargetIsa, CompileError> {
    let host = |error: &dyn std::fmt::Display| CompileError::Host(error.to_string());
    let mut flags = settings::builder();
    for (name, value) in SETTINGS.iter().chain(settings) {
        flags.set(name, value).map_err(|e| host(&e))?;
    }
    // The features are not inferred: Cranelift may come to use one that `CpuFeatures` lacks.
    let mut target = cranelift_native::builder_with_options(false).map_err(|e| host(&e))?;
    for (_, name) in CpuFeatures::NAMES.iter().filter(|(_, name)| features.has(name)) {
        target.enable(name).map_err(|e| host(&e))?;
    }
    let isa: OwnedTargetIsa =
        isa::Builder::finish(&target, settings::Flags::new(flags)).map_err(|e| host(&e))?;
    Ok(isa)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_version_names_this_cranelift() {
        let version = format!("+cranelift-{}", cranelift_codegen::VERSION);
        assert!(executor_code::ENGINE_VERSION.ends_with(&version), "{version}");
    }

    #[test]
    fn exactly_the_features_of_the_processor_are_enabled() {
        let host = CpuFeatures::host();
        let target = Target::new(host, OptLevel::Speed).expect("this machine is supported");
        for flag in target.usual.isa_flags() {
            if flag.name.starts_with("has_") {
                assert_eq!(flag.as_bool(), Some(host.has(flag.name)), "{}", flag.name);
            }
        }
    }

    #[test]
    fn a_processor_without_sse41_is_refused() {
        let error =
            Target::new(CpuFeatures::from_bits(0b111), OptLevel::Speed).err().expect("refused");
        assert_eq!(error.to_string(), "the processor lacks sse41");
    }
}
