//! What must hold of the bytes that clients, guests, workers and users give a server, whatever they are. For fuzzers
//! and for the tests of `executor-oracles`.
//!
//! Invariant: it panics where a property does not hold, and nowhere else.

use crate::{
    config::Config,
    protocol::{self, Request, cgi},
    wire::{self, MAX_PACKET},
};
use executor::{Environment, settings::Settings};
use hyper::{
    HeaderMap, Method, Version,
    header::{HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Takes bytes for what their first one says.
pub fn bytes(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    match kind % 4 {
        0 => configuration(&String::from_utf8_lossy(rest)),
        1 => response_head(rest),
        2 => packet(rest),
        _ => request(rest),
    }
}

/// A configuration is one, or the error says in one line where it is not.
fn configuration(text: &str) {
    match Config::parse(text, Path::new("c")) {
        Ok(config) => _ = config.settings("f", &Settings::default()),
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains('\n'), "{error}");
            let mut parts = error.splitn(4, ':').skip(1).map(str::parse::<usize>);
            let (line, column) = (parts.next(), parts.next());
            let lines = text.split('\n').count();
            assert!(matches!(line, Some(Ok(line)) if (1..=lines).contains(&line)), "{error}");
            assert!(matches!(column, Some(Ok(1..))), "{error}");
        }
    }
}

/// The head of a response is all of it or none, says nothing of the connection, and is the same whatever follows.
fn response_head(output: &[u8]) {
    let head = cgi::head(output);
    match &head {
        Ok(None) => assert!(output.len() <= cgi::MAX_HEAD),
        Ok(Some(head)) => {
            assert!(head.len <= output.len() && head.status.as_u16() >= 200);
            assert!(!head.headers.keys().any(protocol::is_the_servers));
            assert_eq!(
                cgi::head(&[output, b"more\n\nof it"].concat()),
                Ok(cgi::head(output).unwrap())
            );
        }
        Err(error) => assert!(!error.chars().any(|c| c.is_control()), "{error:?}"),
    }
}

/// A packet is a message that can be sent on as it is, or an error.
fn packet(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_PACKET)];
    sent_on(bytes, |packet| again::<wire::Reply>(packet));
    sent_on(bytes, |packet| again::<wire::Order>(packet));
    sent_on(bytes, |packet| again::<wire::Call<'_>>(packet));
    sent_on(bytes, |packet| again::<wire::Callee>(packet));
    sent_on(bytes, |packet| again::<wire::Hello>(packet));
}

/// A message that was read and sent on is the same to whoever reads it then.
fn sent_on(packet: &[u8], again: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    if let Some(once) = again(packet) {
        assert_eq!(again(&once).as_ref(), Some(&once));
    }
}

/// The message of a packet, as a packet again.
fn again<'a, T: Serialize + Deserialize<'a>>(packet: &'a [u8]) -> Option<Vec<u8>> {
    let message: T = wire::decode(packet).ok()?;
    let mut again = Vec::new();
    wire::encode(&message, &mut again).unwrap();
    Some(again)
}

/// A request is described by variables that each are one.
fn request(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (below, query, host) = (text(), text(), text());
    let mut headers = HeaderMap::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let client = ([127, 0, 0, 1], 1).into();
    let request = Request {
        method: &Method::GET,
        route: "/f",
        below: &below,
        query: &query,
        version: Version::HTTP_11,
        headers: &headers,
        host: &host,
        client,
        connection: &cgi::of_connection(client, ([127, 0, 0, 1], 2).into(), false),
        body_len: None,
    };
    if let Some(env) = cgi::environment(&request, &Environment::new()) {
        let mut names: Vec<_> = env.iter().map(|(name, _)| name).collect();
        assert!(names.iter().all(|name| !name.is_empty() && !name.contains(['=', '\0'])));
        assert!(!names.contains(&"HTTP_PROXY"));
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
    let line = protocol::request_line(&request);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(line["path"], below);
}
