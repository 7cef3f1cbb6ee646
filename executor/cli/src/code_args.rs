//! What modules may use and how they are compiled: `-W` and `-O`, as users of Wasmtime know them.
//!
//! Invariant: a switch that is not known is refused, with what there is.

use crate::units;
use clap::Args;
use executor::{Features, OptLevel};
use std::time::Duration;

/// The switches of every command that may compile.
#[derive(Debug, Clone, Default, Args)]
pub struct CodeArgs {
    /// Switch a WebAssembly feature on, or off with `=n`; `all-proposals` is all of them
    #[arg(short = 'W', long = "wasm", value_name = "FEATURE[=y|n],...", value_delimiter = ',')]
    #[arg(value_parser = parse_switch)]
    pub wasm: Vec<Switch>,
    /// How much work goes into machine code: 0, 1, 2 or s for small (what is cached is taken as it
    /// is where left out, and 2 otherwise)
    #[arg(short = 'O', long = "opt-level", value_name = "0|1|2|s", value_parser = parse_level)]
    pub opt_level: Option<OptLevel>,
    /// The most memory that compiling may take [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub max_compile_memory: Option<u64>,
    /// The longest that compiling a module may take [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub max_compile_time: Option<Duration>,
}

/// What Wasmtime has a switch for and this engine has not: always off.
const UNSUPPORTED: &[&str] = &["component-model", "shared-everything-threads", "stack-switching"];

/// Features, and whether they are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    features: Features,
    on: bool,
}

impl CodeArgs {
    /// `features` as the switches change them; later switches are stronger.
    pub fn features(&self, features: Features) -> Features {
        self.wasm.iter().fold(features, |features, switch| match switch.on {
            true => features.with(switch.features),
            false => features.without(switch.features),
        })
    }
}

fn parse_switch(text: &str) -> Result<Switch, String> {
    let (name, value) = text.split_once('=').unwrap_or((text, "y"));
    let on = match value {
        "y" | "yes" | "true" => true,
        "n" | "no" | "false" => false,
        other => return Err(format!("{name}={other}: say y or n")),
    };
    if UNSUPPORTED.contains(&name) {
        return match on {
            true => Err(format!("{name} is not supported")),
            false => Ok(Switch { features: Features::NONE, on }),
        };
    }
    if name == "all-proposals" {
        return Ok(Switch { features: Features::ALL, on });
    }
    let features = Features::named(name).ok_or_else(|| {
        let known: Vec<_> = Features::NAMED.iter().map(|(name, _)| *name).collect();
        format!("no feature is named `{name}`; there are all-proposals, {}", known.join(", "))
    })?;
    Ok(Switch { features, on })
}

fn parse_level(text: &str) -> Result<OptLevel, String> {
    match text {
        "0" => Ok(OptLevel::None),
        "1" => Ok(OptLevel::Less),
        "2" => Ok(OptLevel::Speed),
        "s" => Ok(OptLevel::Size),
        _ => Err("say 0, 1, 2 or s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(switches: &[&str]) -> Features {
        let wasm = switches.iter().map(|text| parse_switch(text).unwrap()).collect();
        CodeArgs { wasm, ..CodeArgs::default() }.features(Features::default())
    }

    #[test]
    fn later_switches_are_stronger() {
        assert_eq!(features(&[]), Features::default());
        assert_eq!(features(&["simd=n"]), Features::default().without(Features::SIMD));
        assert_eq!(features(&["all-proposals"]), Features::ALL);
        assert_eq!(features(&["all-proposals=n", "simd"]), Features::SIMD);
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_there_is() {
        assert!(parse_switch("smid").unwrap_err().contains("relaxed-simd"));
        assert_eq!(
            parse_switch("stack-switching").unwrap_err(),
            "stack-switching is not supported"
        );
        assert_eq!(features(&["gc=n"]), Features::default().without(Features::GC));
        assert!(parse_switch("simd=maybe").unwrap_err().contains("y or n"));
        assert!(parse_level("3").is_err());
        assert_eq!(parse_level("s"), Ok(OptLevel::Size));
    }
}
