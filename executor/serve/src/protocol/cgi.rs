//! The Common Gateway Interface (RFC 3875): a request in the environment and standard input, a response with its
//! headers in standard output.
//!
//! Differences, all of them on the safe side: a query is never made into arguments; a header whose name has an
//! underscore is left out, as it could pass for another's, and so is `Proxy`, as `HTTP_PROXY` means something else
//! to programs; a `Location` is always sent to the client.

use super::{Request, decoded, is_of_connection, is_the_servers, joined};
use executor::Environment;
use hyper::{
    HeaderMap, StatusCode, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION},
};
use std::net::SocketAddr;

/// The most bytes of the headers of a response.
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// The most headers of a response.
const MAX_HEADERS: usize = 128;

/// The variables that are the same for all requests of a connection.
pub(crate) fn of_connection(client: SocketAddr, server: SocketAddr, tls: bool) -> Environment {
    let address = client.ip().to_string();
    let variables = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", concat!("executor/", env!("CARGO_PKG_VERSION"))),
        ("SERVER_PORT", &server.port().to_string()),
        ("REMOTE_ADDR", &address),
        ("REMOTE_HOST", &address),
        ("REMOTE_PORT", &client.port().to_string()),
        ("HTTPS", "on"),
    ];
    let https = variables.len() - usize::from(!tls);
    // They are short, and have no zero byte.
    Environment::of(variables[..https].iter().copied()).unwrap_or_default()
}

/// A function's own variables and, stronger than those, the ones that describe a request; nothing when its path is not
/// text.
pub(crate) fn environment(request: &Request<'_>, own: &Environment) -> Option<Environment> {
    let path = decoded(request.below)?;
    let mut env = Environment::with_capacity(32, 1024);
    env.set_all(own).ok()?;
    env.set_all(request.connection).ok()?;
    // No part of a request has a zero byte.
    let mut set = |name: &str, value: &str| env.set(name, value).ok();
    let version = match request.version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    set("SERVER_PROTOCOL", version)?;
    set("SERVER_NAME", request.host)?;
    set("REQUEST_METHOD", request.method.as_str())?;
    set("SCRIPT_NAME", request.route)?;
    set("PATH_INFO", &path)?;
    set("QUERY_STRING", request.query)?;
    if let Some(len) = request.body_len.filter(|len| *len > 0) {
        set("CONTENT_LENGTH", &len.to_string())?;
    }
    if request.headers.contains_key(CONTENT_TYPE) {
        set("CONTENT_TYPE", &joined(request.headers, &CONTENT_TYPE))?;
    }
    let mut variable = String::from("HTTP_");
    for name in request.headers.keys().filter(|name| is_passed(name)) {
        variable.truncate("HTTP_".len());
        variable.extend(name.as_str().bytes().map(variable_char));
        set(&variable, &joined(request.headers, name))?;
    }
    Some(env)
}

/// Whether a header is told to the guest.
fn is_passed(name: &HeaderName) -> bool {
    let odd = name.as_str().bytes().any(|c| !(c.is_ascii_alphanumeric() || c == b'-'));
    !(odd
        || name.as_str() == "proxy"
        || *name == CONTENT_LENGTH
        || *name == CONTENT_TYPE
        || is_of_connection(name))
}

fn variable_char(c: u8) -> char {
    char::from(if c == b'-' { b'_' } else { c.to_ascii_uppercase() })
}

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// How many bytes of the output it was.
    pub(crate) len: usize,
}

/// Reads the head of a response from the beginning of the output. None where it goes on.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn head(output: &[u8]) -> Result<Option<Head>, String> {
    let mut space = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let (len, parsed) = match httparse::parse_headers(output, &mut space) {
        Ok(httparse::Status::Complete(complete)) => complete,
        Ok(httparse::Status::Partial) if output.len() <= MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(format!("no empty line ends its headers within {MAX_HEAD} bytes"));
        }
        Err(error) => return Err(format!("its headers are none: {error}")),
    };
    let mut status = None;
    // With room for those of the server.
    let mut headers = HeaderMap::with_capacity(parsed.len() + 2);
    for httparse::Header { name, value } in parsed {
        if name.eq_ignore_ascii_case("status") {
            // A number, and perhaps a reason.
            let code = value.split(|byte| *byte == b' ').next().unwrap_or_default();
            let code = StatusCode::from_bytes(code).ok().filter(|code| code.as_u16() >= 200);
            status = Some(code.ok_or_else(|| {
                format!("`{}` is no status", String::from_utf8_lossy(value).escape_debug())
            })?);
            continue;
        }
        let invalid = || format!("its header `{}` is invalid", name.escape_debug());
        let name: HeaderName = name.parse().map_err(|_| invalid())?;
        if !is_the_servers(&name) {
            headers.append(name, HeaderValue::from_bytes(value).map_err(|_| invalid())?);
        }
    }
    let status = status.unwrap_or(match headers.contains_key(LOCATION) {
        true => StatusCode::FOUND,
        false => StatusCode::OK,
    });
    Ok(Some(Head { status, headers, len }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Method;

    fn variables(headers: &[(&str, &str)], below: &str) -> Option<Environment> {
        let parsed = headers.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        });
        let (client, server) = (([192, 0, 2, 1], 5000).into(), ([127, 0, 0, 1], 8080).into());
        let request = Request {
            method: &Method::POST,
            route: "/f",
            below,
            query: "a=1&b",
            version: Version::HTTP_11,
            headers: &parsed.collect(),
            host: "example.org",
            client,
            connection: &of_connection(client, server, true),
            body_len: Some(5),
        };
        environment(&request, &Environment::of([("OWN", "1"), ("HTTP_X_A", "own")]).unwrap())
    }

    #[test]
    fn a_request_is_described_by_variables() {
        let headers = [
            ("content-type", "text/plain"),
            ("content-length", "5"),
            ("x-a", "1"),
            ("cookie", "c=d"),
            ("x_a", "2"),
            ("proxy", "http://evil"),
            ("connection", "close"),
        ];
        let env = variables(&headers, "/x%20y").unwrap();
        for (name, value) in [
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_NAME", "/f"),
            ("PATH_INFO", "/x y"),
            ("QUERY_STRING", "a=1&b"),
            ("CONTENT_LENGTH", "5"),
            ("CONTENT_TYPE", "text/plain"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8080"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("OWN", "1"),
            ("HTTPS", "on"),
            ("HTTP_X_A", "1"),
            ("HTTP_COOKIE", "c=d"),
        ] {
            assert_eq!(env.get(name), Some(value), "{name}");
        }
        for name in ["HTTP_PROXY", "HTTP_CONNECTION", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"] {
            assert_eq!(env.get(name), None, "{name}");
        }
        assert_eq!(variables(&[], "/%ff"), None);
    }

    #[test]
    fn headers_come_before_an_empty_line() {
        let read = |text: &str| head(text.as_bytes());
        assert_eq!(read("Content-Type: text/pl"), Ok(None));
        assert_eq!(read("Content-Type: text/plain\n"), Ok(None));
        let plain = read("Content-Type: text/plain\n\nbody").unwrap().unwrap();
        assert_eq!((plain.status, plain.len), (StatusCode::OK, 26));
        assert_eq!(plain.headers[CONTENT_TYPE], "text/plain");
        let found = read("Status: 404 Not Found\r\nX: 1\r\nX: 2\r\n\r\n").unwrap().unwrap();
        assert_eq!(found.status, StatusCode::NOT_FOUND);
        assert_eq!(found.headers.get_all("x").iter().count(), 2);
        assert_eq!(read("Location: /x\n\n").unwrap().unwrap().status, StatusCode::FOUND);
        assert_eq!(read("\nbody").unwrap().unwrap().len, 1, "no headers at all");
    }

    #[test]
    fn a_guest_says_nothing_of_the_connection() {
        let text = "Connection: close\nTransfer-Encoding: chunked\nContent-Length: 3\nUpgrade: x\nA: b\n\n";
        let head = head(text.as_bytes()).unwrap().unwrap();
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_is_no_head_is_said_to_be_none() {
        for (text, expected) in [
            ("no header\n\n", "its headers are none: "),
            ("Status: 99\n\n", "`99` is no status"),
            ("Status: 101\n\n", "`101` is no status"),
            ("Status: x\n\n", "`x` is no status"),
            ("A\u{1b}: b\n\n", "its headers are none: "),
            (&"a: b\n".repeat(200), "its headers are none: "),
            (&format!("a: {}", "b".repeat(MAX_HEAD)), "no empty line ends its headers"),
        ] {
            let error = head(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
