//! A client that sends what it is told, byte by byte, and reads what comes.

use crate::server::DEADLINE;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body was all there.
    pub complete: bool,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A connection.
pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// The response to one request, on a connection of its own.
#[track_caller]
pub fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut stream = connect(addr);
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has answered before may have closed the connection.
    let _ = stream.write_all(body);
    read(&mut stream)
}

/// What is answered to some bytes.
#[track_caller]
pub fn raw(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(addr);
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    // A connection that is broken ends as well.
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Reads a response.
#[track_caller]
pub fn read(stream: &mut impl Read) -> Response {
    let mut bytes = Vec::new();
    let mut part = [0; 1 << 16];
    // The connection may be kept: what is there is enough as soon as it is whole.
    loop {
        if let Some(response) = parse(&bytes, false) {
            return response;
        }
        match stream.read(&mut part) {
            // A read with a time limit ends so when the process was stopped for a moment.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(len) => bytes.extend_from_slice(&part[..len]),
        }
    }
    parse(&bytes, true)
        .unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(&bytes)))
}

/// Reads a response that the connection ends with.
#[track_caller]
pub fn read_to_end(stream: &mut impl Read) -> Response {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    parse(&bytes, true).unwrap_or_else(|| panic!("no response: {ended:?}"))
}

/// The response that some bytes are, if it is whole, or nothing more will come.
fn parse(bytes: &[u8], ended: bool) -> Option<Response> {
    let head_len = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_len]).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_owned(), value.trim().to_owned())
    };
    let headers: Vec<_> = lines.map(header).collect();
    let mut response = Response { status, headers, body: Vec::new(), complete: true };
    let mut rest = &bytes[head_len..];
    if response.header("transfer-encoding") == Some("chunked") {
        loop {
            let Some(line) = rest.windows(2).position(|w| w == b"\r\n") else {
                response.complete = false;
                break;
            };
            let len =
                usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            let Some(chunk) = rest.get(line + 2..line + 2 + len) else {
                response.complete = false;
                break;
            };
            response.body.extend_from_slice(chunk);
            if len == 0 {
                break;
            }
            let Some(after) = rest.get(line + 2 + len + 2..) else {
                response.complete = false;
                break;
            };
            rest = after;
        }
    } else if let Some(len) =
        response.header("content-length").map(|len| len.parse::<usize>().unwrap())
    {
        response.complete = rest.len() >= len;
        response.body = rest[..len.min(rest.len())].to_vec();
    } else {
        response.complete = ended;
        response.body = rest.to_vec();
    }
    (response.complete || ended).then_some(response)
}
