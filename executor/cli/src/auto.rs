//! Automatic snapshots: when one may be used, and when one may be taken.
//!
//! Invariant: with the policy `auto` a run answers the same with and without its snapshot. What
//! initialisation observed is either a condition that is checked before the snapshot is used, or
//! keeps it from being taken. With `always` there are no conditions, and its snapshots have keys of
//! their own, so that `auto` never meets them.

use crate::{
    args::{CaptureArgs, GuestArgs, SnapshotPolicy},
    world::World,
};
use executor_model::ModuleHash;
use executor_snapshot::catalogue::{AutoKey, Conditions, Digest, digest};
use executor_wasi::{Entropy, GuestPath, Observations, WasiCtx, WasiCtxBuilder};

/// What a module is initialised with: everything but what it looks at by itself. `call` is what
/// `--invoke` and the arguments after it say, which matters to a snapshot inside the call.
pub fn key<'a>(
    policy: SnapshotPolicy,
    module: ModuleHash,
    preloads: &[(String, ModuleHash)],
    guest: &GuestArgs,
    capture: &CaptureArgs,
    call: impl IntoIterator<Item = &'a str>,
) -> AutoKey {
    // Every option must be named here: a new field does not compile until it is.
    let GuestArgs {
        dirs,
        env: _,
        inherit_env: _,
        listen,
        deterministic,
        init,
        preload: _,
        argv0: _,
        timeout: _,
        max_memory,
        max_stack,
        verbose: _,
    } = guest;
    let CaptureArgs { strict, entropy, at } = capture;
    let limit = |limit: &Option<u64>| limit.map_or([0xff; 8], u64::to_le_bytes);
    let mut options = vec![u8::from(policy == SnapshotPolicy::Always)];
    options.extend(limit(max_memory));
    options.extend(limit(max_stack));
    // The directories' names are the guest's from the beginning; their contents it has to look at.
    options.extend(digest(dirs.iter().map(|dir| format!("{}\0{}", dir.guest, dir.read_only))));
    options.extend((listen.len() as u64).to_le_bytes());
    options.extend([*deterministic, *strict].map(u8::from));
    options.extend(match entropy {
        Entropy::Keep => digest(["keep"]),
        Entropy::Deny => digest(["deny"]),
        Entropy::Refill(None) => digest(["refill"]),
        Entropy::Refill(Some(addresses)) => digest(addresses.iter().map(|at| at.to_le_bytes())),
    });
    // What is called is part of the state only where that is inside the call.
    if let Some(at) = at {
        let call = call.into_iter().map(str::to_owned);
        options.extend(digest(std::iter::once(at.to_string()).chain(call)));
    }
    AutoKey::new(module, init, preloads, &options)
}

impl World {
    /// Why a snapshot taken under `conditions` may not stand for an initialisation in this world,
    /// with these directories; `None` when it may.
    pub fn differs(&self, conditions: &Conditions, dirs: &WasiCtxBuilder) -> Option<String> {
        let Conditions { args, env, files } = conditions;
        if args.is_some_and(|seen| seen != digest(&self.args)) {
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
    /// The reasons why there are no such conditions.
    pub fn conditions(
        &self,
        wasi: &WasiCtx,
        observations: &Observations,
    ) -> Result<Conditions, Vec<String>> {
        let blockers = observations.blockers();
        if !blockers.is_empty() {
            return Err(blockers);
        }
        self.seen(wasi, observations)
    }

    /// Those conditions, whatever else was observed.
    ///
    /// # Errors
    /// When a file is not as the guest found it, or cannot be read.
    pub fn seen(
        &self,
        wasi: &WasiCtx,
        observations: &Observations,
    ) -> Result<Conditions, Vec<String>> {
        let files = wasi.file_digests(observations).map_err(|e| vec![e.to_string()])?;
        Ok(Conditions {
            args: observations.args.then(|| digest(&self.args)),
            env: observations.env.then(|| env_digest(&self.env)),
            files: files.into_iter().map(|(path, digest)| (encode(&path), digest)).collect(),
        })
    }
}

fn env_digest(env: &[(String, String)]) -> Digest {
    digest(env.iter().flat_map(|(name, value)| [name, value]))
}

/// A guest path as one string. Names of directories come from a command line and hold no zero byte.
fn encode(path: &GuestPath) -> String {
    format!("{}\0{}", path.preopen, path.path)
}

fn decode(text: &str) -> Option<GuestPath> {
    let (preopen, path) = text.split_once('\0')?;
    Some(GuestPath { preopen: preopen.to_owned(), path: path.to_owned() })
}

/// All that initialisation observed, in words.
pub fn describe(observations: &Observations) -> Vec<String> {
    let Observations { args, env, preopens, files_read, .. } = observations;
    let mut words = Vec::new();
    let named = [
        (*args, "the arguments were read"),
        (*env, "the environment was read"),
        (*preopens, "the preopened directories were listed"),
    ];
    words.extend(named.into_iter().filter(|(seen, _)| *seen).map(|(_, word)| word.to_owned()));
    words.extend(files_read.iter().map(|file| format!("file `{}` was read", file.path)));
    words.extend(observations.blockers());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_paths_read_back_from_their_text() {
        let path = GuestPath { preopen: "/".to_owned(), path: "a\0b".to_owned() };
        assert_eq!(decode(&encode(&path)), Some(path));
        assert_eq!(decode("none"), None);
    }

    #[test]
    fn a_snapshot_is_for_the_arguments_and_environment_that_were_seen() {
        let dirs = WasiCtxBuilder::new();
        let (args, env) = (vec!["a".to_owned()], vec![("A".to_owned(), "1".to_owned())]);
        let world = World { args: args.clone(), env: env.clone(), ..World::default() };
        assert_eq!(world.differs(&Conditions::default(), &dirs), None);
        let seen = Conditions {
            args: Some(digest(&args)),
            env: Some(env_digest(&env)),
            files: Vec::new(),
        };
        assert_eq!(world.differs(&seen, &dirs), None);
        let other = World { env, ..World::default() };
        assert!(other.differs(&seen, &dirs).unwrap().contains("arguments"));
        let other = World { args, ..World::default() };
        assert!(other.differs(&seen, &dirs).unwrap().contains("environment"));
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_is_another_file() {
        let world = World::default();
        let files = vec![("/\0x".to_owned(), None)];
        let seen = Conditions { files, ..Conditions::default() };
        assert_eq!(world.differs(&seen, &WasiCtxBuilder::new()).unwrap(), "file `/x` differs");
    }
}
