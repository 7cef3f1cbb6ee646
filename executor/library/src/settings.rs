//! How a function is served: what a server is told of it, by its configuration or by whoever deployed it.
//!
//! Invariant: what is not said is `None`, so that settings can be laid over others ([`Settings::over`]).

use crate::{DirAccess, units};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

/// How a function is served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Settings {
    /// The module or snapshot that a server deploys under the function's name when it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<PathBuf>,
    /// The path that it answers at, and all paths below it; `/NAME` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// How a request becomes a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Of the protocol `stdio`: whether a line of JSON that describes the request comes before its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_line: Option<bool>,
    /// The media type of the response where the protocol has no place for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Arguments after argument 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Variables of the environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Directories, `HOST[::GUEST][:ro]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<Directory>,
    /// How long a call may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// The most memory of a call ([`Limits::memory`](crate::Limits::memory)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// The most elements of each table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u64>,
    /// The most bytes of a request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Size>,
    /// The most bytes that a call may write to its standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Size>,
    /// How many calls may run at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many requests may wait for one of them to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// How long a request may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_deadline: Option<Time>,
}

impl Settings {
    /// These, and what only `base` says.
    #[must_use]
    pub fn over(self, base: &Self) -> Self {
        let mut dirs = self.dirs;
        let said = dirs.len();
        for dir in &base.dirs {
            if dirs[..said].iter().all(|over| over.guest != dir.guest) {
                dirs.push(dir.clone());
            }
        }
        Self {
            module: self.module.or_else(|| base.module.clone()),
            route: self.route.or_else(|| base.route.clone()),
            protocol: self.protocol.or_else(|| base.protocol.clone()),
            request_line: self.request_line.or(base.request_line),
            content_type: self.content_type.or_else(|| base.content_type.clone()),
            args: self.args.or_else(|| base.args.clone()),
            env: base.env.clone().into_iter().chain(self.env).collect(),
            dirs,
            deadline: self.deadline.or(base.deadline),
            memory: self.memory.or(base.memory),
            table: self.table.or(base.table),
            body: self.body.or(base.body),
            output: self.output.or(base.output),
            concurrency: self.concurrency.or(base.concurrency),
            queue: self.queue.or(base.queue),
            queue_deadline: self.queue_deadline.or(base.queue_deadline),
        }
    }
}

/// How a request becomes a call, and a call's output a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// The request is in the environment and in standard input, the response with its headers in standard
    /// output (RFC 3875).
    Cgi,
    /// The request's body is standard input, and standard output the response's.
    Stdio,
    /// The request's body is given to an export by pointer and length, and the response's is what it returns.
    Export(String),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgi => f.write_str("cgi"),
            Self::Stdio => f.write_str("stdio"),
            Self::Export(name) => write!(f, "export:{name}"),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cgi" => Ok(Self::Cgi),
            "stdio" => Ok(Self::Stdio),
            _ => match text.strip_prefix("export:") {
                Some(name) if !name.is_empty() => Ok(Self::Export(name.to_owned())),
                _ => Err("expected cgi, stdio or export:NAME".to_owned()),
            },
        }
    }
}

/// A path prefix of URLs: it begins with a slash, and ends with none but where it is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route(String);

impl Route {
    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0
    }

    /// What of a request's path lies below this route, beginning with a slash or empty; nothing if the path does not
    /// belong to it.
    #[must_use]
    pub fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.0.as_str() {
            "/" => path.starts_with('/').then_some(path),
            route => {
                path.strip_prefix(route).filter(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl std::borrow::Borrow<str> for Route {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let segment = |segment: &str| {
            !segment.is_empty()
                && ![".", ".."].contains(&segment)
                && segment.bytes().all(|c| c.is_ascii_alphanumeric() || b"._~-@".contains(&c))
        };
        match text.strip_prefix('/') {
            Some("") => Ok(Self("/".to_owned())),
            Some(rest) if rest.split('/').all(segment) => Ok(Self(text.to_owned())),
            _ => Err("expected a path such as /users/avatar, of letters, digits, `.`, `_`, `~`, `-` and `@`"
                .to_owned()),
        }
    }
}

/// A directory that a guest is given: `HOST`, `HOST::GUEST`, and then perhaps `:ro`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where it is.
    pub host: PathBuf,
    /// What the guest calls it.
    pub guest: String,
    /// What the guest may do with it.
    pub access: DirAccess,
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.host.display(), self.guest)?;
        if self.access == DirAccess::ReadOnly { f.write_str(":ro") } else { Ok(()) }
    }
}

impl FromStr for Directory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, access) = match text.strip_suffix(":ro") {
            Some(text) => (text, DirAccess::ReadOnly),
            None => (text, DirAccess::ReadWrite),
        };
        let (host, guest) = text.split_once("::").unwrap_or((text, text));
        match host.is_empty() || guest.is_empty() {
            true => Err("expected HOST or HOST::GUEST, and then perhaps :ro".to_owned()),
            false => Ok(Self { host: host.into(), guest: guest.to_owned(), access }),
        }
    }
}

/// A duration, written as `100ms` or `5s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() {
            us if us % 1_000_000 == 0 => write!(f, "{}s", us / 1_000_000),
            us if us % 1000 == 0 => write!(f, "{}ms", us / 1000),
            us => write!(f, "{us}us"),
        }
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        units::duration(text).map(Self)
    }
}

/// A number of bytes, written as `65536`, `64KiB` or `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(each, _)| self.0 != 0 && self.0 % each == 0) {
            Some((each, unit)) => write!(f, "{}{unit}", self.0 / each),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        units::size(text).map(Self)
    }
}

/// What is written as text, where it is written at all.
macro_rules! as_text {
    ($($ty:ty),*) => {$(
        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_text!(Protocol, Route, Directory, Time, Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_what_is_below_it_and_nothing_beside_it() {
        let route: Route = "/a/b".parse().unwrap();
        for (path, below) in [
            ("/a/b", Some("")),
            ("/a/b/", Some("/")),
            ("/a/b/c", Some("/c")),
            ("/a/bc", None),
            ("/a", None),
        ] {
            assert_eq!(route.below(path), below, "{path}");
        }
        let root: Route = "/".parse().unwrap();
        assert_eq!(root.below("/x"), Some("/x"));
        assert_eq!(root.below("*"), None, "that is no path");
        for bad in ["", "a", "//", "/a/", "/a//b", "/../b", "/a b", "/a?b", "/%61"] {
            assert!(bad.parse::<Route>().is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_read_as_they_are_written() {
        let settings = Settings {
            route: Some("/r".parse().unwrap()),
            protocol: Some(Protocol::Export("handle".to_owned())),
            dirs: vec!["/h::/g:ro".parse().unwrap(), "/x".parse().unwrap()],
            env: [("A".to_owned(), "1".to_owned())].into(),
            deadline: Some(Time(Duration::from_millis(1500))),
            memory: Some(Size(3 << 20)),
            body: Some(Size(1000)),
            queue: Some(0),
            ..Settings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings, "{text}");
        assert!(
            text.contains(r#""deadline":"1500ms""#) && text.contains(r#""memory":"3MiB""#),
            "{text}"
        );
        assert!(serde_json::from_str::<Settings>(r#"{"routes":"/r"}"#).is_err(), "a name misspelt");
    }

    #[test]
    fn what_is_said_goes_before_what_was_said() {
        let of = |env: &[(&str, &str)], dirs: &[&str], queue| Settings {
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            dirs: dirs.iter().map(|dir| dir.parse().unwrap()).collect(),
            queue,
            ..Settings::default()
        };
        let base = of(&[("A", "1"), ("B", "2")], &["/h::/g", "/i::/j"], Some(3));
        let over = of(&[("A", "4")], &["/k::/g:ro"], None);
        let both = of(&[("A", "4"), ("B", "2")], &["/k::/g:ro", "/i::/j"], Some(3));
        assert_eq!(over.over(&base), both);
    }

    #[test]
    fn directories_have_a_name_for_the_guest_and_may_be_read_only() {
        let dir = |host: &str, guest: &str, access| {
            Ok(Directory { host: host.into(), guest: guest.to_owned(), access })
        };
        let parse = |text: &str| text.parse::<Directory>();
        assert_eq!(parse("a::/b"), dir("a", "/b", DirAccess::ReadWrite));
        assert_eq!(parse("a"), dir("a", "a", DirAccess::ReadWrite));
        assert_eq!(parse("a::/b:ro"), dir("a", "/b", DirAccess::ReadOnly));
        assert_eq!(parse("a:ro"), dir("a", "a", DirAccess::ReadOnly));
        assert_eq!(parse("a:ro::b"), dir("a:ro", "b", DirAccess::ReadWrite));
        for bad in ["", "::b", "a::", ":ro", "a:::ro"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
