//! Sends requests to a server of HTTP/1.1 on as many connections as are asked for, each the next as soon as it has its
//! response, and prints one line of JSON: how many responses of each status there were, and how long they took.
//!
//!     load ADDRESS PATH [CONNECTIONS [SECONDS [WARM_UP [BODY [FUNCTIONS]]]]]
//!
//! BODY is a file that is sent with POST, `-` for none. With FUNCTIONS a `{}` in PATH is a number below it, drawn by
//! Zipf's law. What begins within WARM_UP seconds is not counted. Every request that was counted has a response or is an
//! error: none is sent again.

use serde_json::{Map, json};
use std::{
    env,
    error::Error,
    fs,
    net::SocketAddr,
    rc::Rc,
    str,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::LocalSet,
};

type Failed = Box<dyn Error>;

/// What all connections do.
struct Plan {
    address: SocketAddr,
    /// The request to each function.
    requests: Vec<Vec<u8>>,
    /// The probability of each, with those of all before it.
    law: Vec<f64>,
    counted: Instant,
    end: Instant,
}

/// What a connection saw: statuses, and the time that each took. A request without a response has status 0.
type Seen = Vec<(u16, Duration)>;

fn main() -> Result<(), Failed> {
    let args: Vec<String> = env::args().skip(1).collect();
    let get = |at: usize, default: &'static str| args.get(at).map_or(default, String::as_str);
    let [address, path, ..] = &args[..] else {
        return Err("load ADDRESS PATH [CONNECTIONS [SECONDS [WARM_UP [BODY [FUNCTIONS]]]]]".into());
    };
    let (connections, seconds): (u64, f64) = (get(2, "1").parse()?, get(3, "5").parse()?);
    let body = match get(5, "-") {
        "-" => None,
        file => Some(fs::read(file)?),
    };
    let functions: usize = get(6, "1").parse()?;
    let counted = Instant::now() + Duration::from_secs_f64(get(4, "1").parse()?);
    let plan = Rc::new(Plan {
        address: address.parse()?,
        requests: (0..functions)
            .map(|n| request(address, &path.replace("{}", &n.to_string()), body.as_deref()))
            .collect(),
        law: zipf(functions),
        counted,
        end: counted + Duration::from_secs_f64(seconds),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = LocalSet::new().block_on(&runtime, async {
        let connect = |seed| tokio::task::spawn_local(connection(Rc::clone(&plan), seed));
        let tasks: Vec<_> = (0..connections).map(connect).collect();
        let mut seen = Seen::new();
        for task in tasks {
            seen.extend(task.await?);
        }
        Ok::<_, Failed>(seen)
    })?;
    println!("{}", summary(seen, seconds));
    Ok(())
}

fn request(address: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n").into_bytes();
    if let Some(body) = body {
        request.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    }
    request.extend(b"\r\n");
    request.extend(body.unwrap_or_default());
    request
}

/// How probable each of so many is, the first most: its sums.
fn zipf(count: usize) -> Vec<f64> {
    let sums: Vec<f64> = (1..=count)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    let all = sums.last().copied().unwrap_or(1.0);
    sums.into_iter().map(|sum| sum / all).collect()
}

/// Sends requests until the end; connects again where the server closes.
async fn connection(plan: Rc<Plan>, seed: u64) -> Seen {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut seen = Seen::new();
    let mut open = None;
    let mut buffer = Vec::with_capacity(64 << 10);
    while Instant::now() < plan.end {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let drawn = (random >> 11) as f64 / (1u64 << 53) as f64;
        let function = plan.law.partition_point(|sum| *sum <= drawn);
        let begun = Instant::now();
        let status = match exchange(&plan, &mut open, &plan.requests[function], &mut buffer).await {
            Ok(status) => status,
            Err(_) => {
                open = None;
                0
            }
        };
        if begun >= plan.counted {
            seen.push((status, begun.elapsed()));
        }
    }
    seen
}

/// Sends a request and reads its response.
async fn exchange(
    plan: &Plan,
    open: &mut Option<TcpStream>,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<u16, Failed> {
    let mut stream = match open.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(plan.address).await?;
            stream.set_nodelay(true)?;
            stream
        }
    };
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server closed the connection before the response's end".into());
        }
        if let Some((status, keep)) = response(buffer)? {
            *open = Some(stream).filter(|_| keep);
            return Ok(status);
        }
    }
}

/// The status of a response, and whether the connection goes on, once all of it is there.
fn response(bytes: &[u8]) -> Result<Option<(u16, bool)>, Failed> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(at) = head.parse(bytes)? else { return Ok(None) };
    let value = |wanted: &str| {
        let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(wanted));
        header.map(|header| str::from_utf8(header.value)).transpose()
    };
    let body = &bytes[at..];
    let whole = match (value("content-length")?, value("transfer-encoding")?) {
        (Some(len), _) => body.len() >= len.trim().parse()?,
        (None, Some("chunked")) => chunks_end(body)?,
        _ => return Err("a response says nothing of its length".into()),
    };
    let keep = value("connection")?.is_none_or(|value| !value.eq_ignore_ascii_case("close"));
    Ok(whole.then(|| (head.code.unwrap_or_default(), keep)))
}

/// Whether a body in chunks is there to its end.
fn chunks_end(mut body: &[u8]) -> Result<bool, Failed> {
    loop {
        let size = httparse::parse_chunk_size(body).map_err(|_| "a chunk's size is none")?;
        let httparse::Status::Complete((at, len)) = size else { return Ok(false) };
        match body.get(at + len as usize + 2..) {
            Some(_) if len == 0 => return Ok(true),
            Some(rest) => body = rest,
            None => return Ok(false),
        }
    }
}

fn summary(mut seen: Seen, seconds: f64) -> serde_json::Value {
    seen.sort_unstable();
    let statuses: Map<_, _> = seen
        .chunk_by(|(a, _), (b, _)| a == b)
        .map(|same| {
            // The times of a status are in order.
            let ms = |share: f64| {
                let at = ((same.len() - 1) as f64 * share) as usize;
                same[at].1.as_secs_f64() * 1e3
            };
            let times = json!({
                "count": same.len(), "p50_ms": ms(0.5), "p99_ms": ms(0.99), "max_ms": ms(1.0),
            });
            (same[0].0.to_string(), times)
        })
        .collect();
    json!({ "per_second": seen.len() as f64 / seconds, "statuses": statuses })
}
