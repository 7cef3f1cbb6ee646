//! The key of a code file: all that changes what the machine code does, hashed.
//!
//! Invariant: two code files of one key are interchangeable on the machine that computed it. One may
//! be quicker than the other: how much work went into it stands in its header.

use crate::{abi, file::CallSite};
use executor_fingerprint::FINGERPRINT;
use executor_model::ModuleHash;
use std::fmt;

/// This release of the engine. The compiler's version stands here, and not in the compiler's
/// crate, because a build without the compiler computes keys too; a test there holds it true.
pub const ENGINE_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+cranelift-0.135.8");

/// The processor's features that compiled code may use, as a bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CpuFeatures(u64);

macro_rules! cpu_features {
    ($($bit:literal $flag:literal $detect:tt;)*) => {
        impl CpuFeatures {
            /// Cranelift's names of the features, by bit.
            pub const NAMES: &[(u32, &'static str)] = &[$(($bit, $flag)),*];

            /// What this machine has.
            #[cfg(target_arch = "x86_64")]
            #[must_use]
            pub fn host() -> Self {
                let mut bits = 0u64;
                $(if std::arch::is_x86_feature_detected!($detect) { bits |= 1 << $bit; })*
                Self(bits)
            }
        }
    };
}

cpu_features! {
    0 "has_cmpxchg16b" "cmpxchg16b";
    1 "has_sse3" "sse3";
    2 "has_ssse3" "ssse3";
    3 "has_sse41" "sse4.1";
    4 "has_sse42" "sse4.2";
    5 "has_avx" "avx";
    6 "has_avx2" "avx2";
    7 "has_fma" "fma";
    8 "has_bmi1" "bmi1";
    9 "has_bmi2" "bmi2";
    10 "has_lzcnt" "lzcnt";
    11 "has_popcnt" "popcnt";
    12 "has_avx512bitalg" "avx512bitalg";
    13 "has_avx512dq" "avx512dq";
    14 "has_avx512f" "avx512f";
    15 "has_avx512vl" "avx512vl";
    16 "has_avx512vbmi" "avx512vbmi";
}

impl CpuFeatures {
    /// The set with the given bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it has Cranelift's feature `name`.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        Self::NAMES.iter().any(|(bit, n)| *n == name && self.0 >> bit & 1 == 1)
    }

    /// Whether every feature of `other` is here too.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a code file of a module is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodeKind<'a> {
    /// Listeners are called.
    pub listeners: bool,
    /// The code has frame maps.
    pub frame_maps: bool,
    /// It goes on from these calls, ascending; `None` is the code of the module itself.
    pub continuations: Option<&'a [CallSite]>,
}

/// The key of a code file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeKey(pub [u8; 32]);

impl CodeKey {
    /// The key of a module's code for this machine and engine.
    #[must_use]
    pub fn new(module: &ModuleHash, kind: CodeKind<'_>, features: CpuFeatures) -> Self {
        let CodeKind { listeners, frame_maps, continuations } = kind;
        let mut hasher = blake3::Hasher::new_derive_key("executor code file key v2");
        hasher.update(&module.0);
        hasher.update(std::env::consts::ARCH.as_bytes());
        hasher.update(b"-");
        hasher.update(std::env::consts::OS.as_bytes());
        hasher.update(&features.bits().to_le_bytes());
        hasher.update(&abi::VERSION.to_le_bytes());
        hasher.update(&[listeners, frame_maps, continuations.is_some()].map(u8::from));
        hasher.update(&(continuations.map_or(0, <[_]>::len) as u64).to_le_bytes());
        for site in continuations.unwrap_or_default() {
            hasher.update(&site.func.to_le_bytes());
            hasher.update(&site.offset.to_le_bytes());
        }
        hasher.update(ENGINE_VERSION.as_bytes());
        // Two builds of one version may differ in the compiler.
        hasher.update(FINGERPRINT.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

impl CodeKey {
    /// A number that two keys seldom share.
    pub(crate) fn number(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
