//! When an automatic snapshot may stand for an initialisation.
//!
//! Invariant: with [`SnapshotPolicy::Auto`] a guest answers the same with and without its snapshot. What
//! initialisation observed is either a condition that is checked before the snapshot is used, or keeps it
//! from being taken. With [`SnapshotPolicy::Always`] there are no conditions, and its snapshots have keys
//! of their own, so that the other policy never meets them.

use super::SnapshotPolicy;
use crate::{
    DirAccess,
    function::{Plan, WasmModules},
    given::{Dir, Given},
};
use executor_model::ModuleHash;
use executor_snapshot::catalogue::{AutoKey, Conditions, Digest, digest};
use executor_wasi::{
    CaptureOptions, Entropy, Environment, GuestPath, Observations, WasiCtx, WasiCtxBuilder,
};

/// What a module is initialised with: everything but what it looks at by itself.
pub(super) fn key(
    policy: SnapshotPolicy,
    modules: &WasmModules,
    given: &Given,
    plan: &Plan,
) -> AutoKey {
    // Everything must be named here: a new field does not compile until it is.
    let Given {
        args: _,
        args_given: _,
        env: _,
        env_given: _,
        dirs,
        listeners,
        deterministic,
        stdin: _,
        stdout: _,
        stderr: _,
        limits,
        timeout: _,
        cancellation: _,
        attribute: _,
    } = given;
    let Plan {
        preload: _,
        init,
        after_restore,
        call,
        at,
        options: CaptureOptions { strict, entropy },
    } = plan;
    let mut options = vec![u8::from(policy == SnapshotPolicy::Always)];
    options.extend(
        [limits.memory, limits.table, limits.stack as u64].map(u64::to_le_bytes).as_flattened(),
    );
    // The directories' names are the guest's from the beginning; their contents it has to look at.
    let directory =
        |Dir { guest, access, .. }: &Dir| format!("{guest}\0{}", *access == DirAccess::ReadOnly);
    options.extend(digest(dirs.iter().map(directory)));
    options.extend(digest(after_restore));
    options.extend((listeners.len() as u64).to_le_bytes());
    options.extend([*deterministic, *strict].map(u8::from));
    options.extend(match entropy {
        Entropy::Keep => digest(["keep"]),
        Entropy::Deny => digest(["deny"]),
        Entropy::Refill(None) => digest(["refill"]),
        Entropy::Refill(Some(addresses)) => digest(addresses.iter().map(|at| at.to_le_bytes())),
    });
    // What is called is part of the state only where that is inside the call.
    if let Some(at) = at {
        let call = call
            .iter()
            .flat_map(|call| [call.export.clone()].into_iter().chain(call.args.to_text()));
        options.extend(digest([at.to_string()].into_iter().chain(call)));
    }
    let preload = modules.names.iter().zip(&modules.modules);
    let preload: Vec<(String, ModuleHash)> =
        preload.map(|(name, module)| (name.clone(), module.hash)).collect();
    AutoKey::new(modules.main().hash, init, &preload, &options)
}

impl Given {
    /// Why a snapshot taken under `conditions` may not stand for an initialisation that is given this,
    /// with these directories; `None` when it may.
    pub(super) fn differs(&self, conditions: &Conditions, dirs: &WasiCtxBuilder) -> Option<String> {
        let Conditions { args, env, files } = conditions;
        if args.is_some_and(|seen| seen != digest(self.args.iter())) {
            return Some("the arguments differ".to_owned());
        }
        if env.is_some_and(|seen| seen != env_digest(&self.env)) {
            return Some("the environment differs".to_owned());
        }
        let changed = |(path, seen): &&(String, Option<Digest>)| {
            let path = decode(path);
            !path.is_some_and(|path| dirs.digest(&path).is_ok_and(|now| now == *seen))
        };
        let (path, _) = files.iter().find(changed)?;
        Some(format!("file `{}` differs", decode(path).map_or(path.clone(), |p| p.to_string())))
    }

    /// The conditions under which a snapshot may be used whose initialisation saw `observations`.
    ///
    /// # Errors
    /// When a file is not as the guest found it, or cannot be read.
    pub(super) fn conditions(
        &self,
        wasi: &WasiCtx,
        observations: &Observations,
    ) -> Result<Conditions, Vec<String>> {
        let files = wasi.file_digests(observations).map_err(|e| vec![e.to_string()])?;
        Ok(Conditions {
            args: observations.args.then(|| digest(self.args.iter())),
            env: observations.env.then(|| env_digest(&self.env)),
            files: files.into_iter().map(|(path, digest)| (encode(&path), digest)).collect(),
        })
    }
}

fn env_digest(env: &Environment) -> Digest {
    digest(env.iter().flat_map(|(name, value)| [name, value]))
}

/// A guest path as one string. The names that directories are given by hold no zero byte.
fn encode(path: &GuestPath) -> String {
    format!("{}\0{}", path.preopen, path.path)
}

fn decode(text: &str) -> Option<GuestPath> {
    let (preopen, path) = text.split_once('\0')?;
    Some(GuestPath { preopen: preopen.to_owned(), path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, event::Listener, given::GivenOptions};
    use executor_snapshot::Defaults;

    fn given(name: &str, env: &[(&str, &str)]) -> Given {
        let mut given = GivenOptions::default();
        let pairs = env.iter().map(|(name, value)| ((*name).into(), Some((*value).into())));
        pairs.for_each(|(name, value)| given.set_env(name, value));
        let (none, listener) = (Defaults::default(), Listener::default());
        given.settle(name, &none, Limits::default(), &listener).unwrap()
    }

    #[test]
    fn guest_paths_read_back_from_their_text() {
        let path = GuestPath { preopen: "/".to_owned(), path: "a\0b".to_owned() };
        assert_eq!(decode(&encode(&path)), Some(path));
        assert_eq!(decode("none"), None);
    }

    #[test]
    fn a_snapshot_is_for_the_arguments_and_environment_that_were_seen() {
        let dirs = WasiCtxBuilder::new();
        let first = given("a", &[("A", "1")]);
        assert_eq!(first.differs(&Conditions::default(), &dirs), None);
        let seen = Conditions {
            args: Some(digest(first.args.iter())),
            env: Some(env_digest(&first.env)),
            files: Vec::new(),
        };
        assert_eq!(first.differs(&seen, &dirs), None);
        let other = given("b", &[("A", "1")]);
        assert!(other.differs(&seen, &dirs).unwrap().contains("arguments"));
        let other = given("a", &[]);
        assert!(other.differs(&seen, &dirs).unwrap().contains("environment"));
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_is_another_file() {
        let files = vec![("/\0x".to_owned(), None)];
        let seen = Conditions { files, ..Conditions::default() };
        let differs = given("a", &[]).differs(&seen, &WasiCtxBuilder::new());
        assert_eq!(differs.unwrap(), "file `/x` differs");
    }
}
