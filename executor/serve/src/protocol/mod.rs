//! How a request becomes a call, and what a call writes a response.
//!
//! Invariant: what a guest writes decides about the status, the headers and the body of its own response, and about
//! nothing else of the connection.

pub(crate) mod cgi;
mod stdio;

pub(crate) use stdio::request_line;

use executor::Environment;
use hyper::{
    HeaderMap, Method, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};
use std::{borrow::Cow, net::SocketAddr};

/// What a guest may know of a request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    /// The route of the function, empty for `/`.
    pub(crate) route: &'a str,
    /// What of the path lies below the route, as it was sent.
    pub(crate) below: &'a str,
    pub(crate) query: &'a str,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
    /// The name that the client knows the server by.
    pub(crate) host: &'a str,
    pub(crate) client: SocketAddr,
    /// The variables of its connection ([`cgi::of_connection`]).
    pub(crate) connection: &'a Environment,
    /// The length of the body, if it is known.
    pub(crate) body_len: Option<u64>,
}

/// Headers of a connection, and not of what is sent through it.
pub(crate) fn is_of_connection(name: &HeaderName) -> bool {
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION]
        .contains(name)
        || ["keep-alive", "proxy-connection"].contains(&name.as_str())
}

/// Headers of a guest's response that the server sets itself.
pub(crate) fn is_the_servers(name: &HeaderName) -> bool {
    is_of_connection(name) || *name == CONTENT_LENGTH
}

/// A path without percent-encoding; nothing where that is not text, or has a NUL.
pub(crate) fn decoded(path: &str) -> Option<Cow<'_, str>> {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'%') {
        return Some(Cow::Borrowed(path));
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
            // `from_str_radix` would take a sign.
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok().filter(|text| !text.contains('\0')).map(Cow::Owned)
}

/// The values of a header, joined as its definition has it.
pub(crate) fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let mut values = headers.get_all(name).iter();
    let mut text = |value: &'a HeaderValue| String::from_utf8_lossy(value.as_bytes());
    let first = values.next().map(&mut text).unwrap_or_default();
    let separator = if *name == hyper::header::COOKIE { "; " } else { ", " };
    values.map(text).fold(first, |joined, value| joined + separator + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_to_text_or_not_at_all() {
        for (path, expected) in [
            ("/a/b", Some("/a/b")),
            ("/a%20b%2F%c3%bC", Some("/a b/ü")),
            ("/%", None),
            ("/%4", None),
            ("/%zz", None),
            ("/%+1", None),
            ("/%ff", None),
            ("/%00", None),
        ] {
            assert_eq!(decoded(path).as_deref(), expected, "{path}");
        }
    }
}
