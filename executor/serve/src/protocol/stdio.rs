//! A body in, a body out; and a line before it that tells of the rest of the request.

use super::{Request, is_of_connection, joined};
use serde_json::{Map, Value, json};

/// The line of JSON that describes a request, with its end.
///
/// `headers` has the values of each header joined, as one string.
pub(crate) fn request_line(request: &Request<'_>) -> Vec<u8> {
    let headers: Map<String, Value> = request
        .headers
        .keys()
        .filter(|name| !is_of_connection(name))
        .map(|name| (name.to_string(), joined(request.headers, name).into()))
        .collect();
    let line = json!({
        "method": request.method.as_str(),
        "route": request.route,
        "path": request.below,
        "query": request.query,
        "host": request.host,
        "remote": request.client.to_string(),
        "headers": headers,
    });
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    line
}
