//! The configuration file, and what stands where it says nothing.
//!
//! Invariant: a name that means nothing is an error, and every error says where in the file it is.

use executor::settings::{Settings, Size, Time};
use hyper::Uri;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// What a server is configured to do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Where requests are answered.
    pub(crate) addr: SocketAddr,
    /// Where the administration is; nowhere if this is not said.
    pub(crate) admin: Option<Address>,
    /// A file with the token that the administration asks for.
    pub(crate) admin_token: Option<PathBuf>,
    /// How many processes guests run in; none is one for each core.
    pub(crate) workers: Option<NonZeroUsize>,
    /// Whether workers are confined.
    pub(crate) sandbox: Sandbox,
    /// How many calls run at a time, of all functions.
    pub(crate) concurrency: NonZeroUsize,
    /// The most memory of calls and kept slots, of all functions; no limit if it is not said.
    pub(crate) memory: Option<Size>,
    /// The most memory of output that clients have not taken yet, of all functions; no limit if it is not said.
    pub(crate) output: Option<Size>,
    /// How many connections are served at a time.
    pub(crate) connections: usize,
    /// How many threads the server itself has.
    pub(crate) threads: Option<usize>,
    /// How many functions each worker keeps open.
    pub(crate) open_functions: usize,
    /// How many stores wait between calls in each worker.
    pub(crate) slots: usize,
    /// How long a client may take for the head of a request.
    pub(crate) header_timeout: Time,
    /// How long a client may take between two parts of a body, or to read what it is sent.
    pub(crate) stall_timeout: Time,
    /// The most bytes of the head of a request.
    pub(crate) header_size: Size,
    /// How long requests have when the server is to end.
    pub(crate) drain: Time,
    /// The certificate and key for TLS.
    pub(crate) tls: Option<Tls>,
    /// Where the spans of requests are sent; none are made if this is not said.
    pub(crate) otlp: Option<Collector>,
    /// What holds for every function that says nothing else.
    pub(crate) defaults: Settings,
    /// The functions.
    pub(crate) functions: BTreeMap<String, Settings>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: None,
            admin_token: None,
            workers: None,
            sandbox: Sandbox::Auto,
            concurrency: const { NonZeroUsize::new(128).unwrap() },
            memory: None,
            output: None,
            connections: 4096,
            threads: None,
            open_functions: 256,
            slots: 256,
            header_timeout: Time(Duration::from_secs(10)),
            stall_timeout: Time(Duration::from_secs(30)),
            header_size: Size(32 << 10),
            drain: Time(Duration::from_secs(30)),
            tls: None,
            otlp: None,
            defaults: Settings::default(),
            functions: BTreeMap::new(),
        }
    }
}

/// Whether workers are confined by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sandbox {
    /// Or there is no server
    Require,
    /// As far as the kernel can, with a warning where it cannot
    Auto,
    /// They are not
    Off,
}

/// The files that TLS needs, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The certificate, and those that it was issued with.
    pub(crate) cert: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// Where something can be listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("expected unix:PATH".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "expected ADDRESS:PORT or unix:PATH".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What takes spans as OTLP over HTTP: the address that `/v1/traces` is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collector(Uri);

impl Collector {
    /// Where spans are posted to.
    pub(crate) fn traces(&self) -> String {
        format!("{}/v1/traces", self.0.to_string().trim_end_matches('/'))
    }
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |uri: &Uri| {
            uri.scheme_str() == Some("http")
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.query().is_none()
        };
        let expected = "expected http://HOST:PORT; where TLS is needed, a collector on this machine passes spans on";
        text.parse().ok().filter(is_plain).map(Self).ok_or_else(|| expected.to_owned())
    }
}

impl<'de> Deserialize<'de> for Collector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It says what means nothing.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid { path: PathBuf, line: usize, column: usize, message: String },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no configuration.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(read)?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = &text.as_bytes()[..at];
            let line_start =
                before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            ConfigError::Invalid {
                path: path.to_owned(),
                line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
                column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
                message: error.message().replace('\n', " "),
            }
        })
    }

    /// The settings of a function: its own, laid over what was kept with it, and that over what holds for all. A
    /// version or an alias has those of its function, but for the route.
    pub(crate) fn settings(&self, name: &str, kept: &Settings) -> Settings {
        let own = |name: &str| self.functions.get(name).cloned().unwrap_or_default();
        match name.split_once('@') {
            None => own(name).over(&kept.clone().over(&self.defaults)),
            Some((of, _)) => {
                let settings = self.settings(of, kept);
                own(name).over(&Settings { route: None, ..settings })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("serve.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_says_what_holds_anyhow() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/serve.toml");
        let config = Config::read(&path).unwrap();
        assert_eq!(Config { functions: BTreeMap::new(), ..config }, Config::default());
    }

    #[test]
    fn errors_say_where_they_are() {
        for (text, expected) in [
            ("addr = 1", "serve.toml:1:8: "),
            ("\nadress = \"a\"", "serve.toml:2:1: unknown field `adress`, expected one of "),
            (
                "[functions.f]\nroute = \"r\"",
                "serve.toml:2:9: expected a path such as /users/avatar",
            ),
            ("[functions.f]\n\n  deadline = \"5\"", "serve.toml:3:14: expected a duration"),
            ("[tls]\ncert = \"c\"", "serve.toml:1:1: missing field `key`"),
            ("x", "serve.toml:1:2: "),
            ("otlp = \"https://host:4318\"", "serve.toml:1:8: expected http://HOST:PORT; "),
            ("otlp = \"host:4318\"", "serve.toml:1:8: expected http://HOST:PORT; "),
            ("otlp = \"http://u:p@host\"", "serve.toml:1:8: expected http://HOST:PORT; "),
            ("otlp = \"http://host?q\"", "serve.toml:1:8: expected http://HOST:PORT; "),
            ("otlp = \"http://\"", "serve.toml:1:8: expected http://HOST:PORT; "),
            ("workers = 0", "serve.toml:1:11: invalid value: integer `0`, expected a nonzero"),
            ("concurrency = 0", "serve.toml:1:15: invalid value: integer `0`, expected a nonzero"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn traces_are_below_what_is_said_of_a_collector() {
        for (said, traces) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            ("http://collector/otlp/", "http://collector/otlp/v1/traces"),
        ] {
            assert_eq!(said.parse::<Collector>().unwrap().traces(), traces);
        }
    }

    #[test]
    fn a_function_has_its_own_settings_then_kept_ones_then_everyones() {
        let text = "[defaults]\nqueue = 1\nmemory = \"1MiB\"\ntable = 7\n[functions.f]\nqueue = 3";
        let config = parse(text).unwrap();
        let kept = Settings { queue: Some(2), table: Some(8), ..Settings::default() };
        let settings = config.settings("f", &kept);
        assert_eq!((settings.queue, settings.table), (Some(3), Some(8)));
        assert_eq!(settings.memory, Some(Size(1 << 20)));
        assert_eq!(config.settings("g", &Settings::default()).queue, Some(1));
        let kept = Settings { route: "/r".parse().ok(), ..kept };
        let alias = config.settings("f@prod", &kept);
        assert_eq!((alias.queue, alias.table, alias.route), (Some(3), Some(8), None));
    }
}
