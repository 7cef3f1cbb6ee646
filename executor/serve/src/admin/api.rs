//! Functions by HTTP: listed, deployed, taken back, removed.
//!
//! Invariant: a change is answered once it is served, or with why it is not. Modules are compiled and initialised in
//! a process of their own, which ends with its client.

use super::{Admin, Reply};
use crate::{functions::Served, server};
use bytes::Bytes;
use executor::{
    Error, Version,
    settings::{Protocol, Route},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    sync::Arc,
    time::Duration,
};
use tokio::{process::Command, task::spawn_blocking, time::timeout};

/// The most bytes of a module.
const MODULE: usize = 256 << 20;
/// How long deploying may take.
const DEPLOY: Duration = Duration::from_secs(15 * 60);

/// Why a request of the administration is not done.
struct Refused(StatusCode, String);

impl Refused {
    fn user(text: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, text.to_string())
    }
}

/// Does what a request asks for.
pub(super) async fn answer(admin: &Admin, request: Request<Incoming>) -> Reply {
    match dispatch(admin, request).await {
        Ok(reply) => reply,
        Err(Refused(status, text)) => error(status, &text),
    }
}

async fn dispatch(admin: &Admin, request: Request<Incoming>) -> Result<Reply, Refused> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let mut segments = path.strip_prefix('/').unwrap_or_default().split('/');
    let not_found = || Refused(StatusCode::NOT_FOUND, "there is nothing here".to_owned());
    if segments.next() != Some("functions") {
        return Err(not_found());
    }
    let rest: Vec<&str> = segments.collect();
    let mut query = query(parts.uri.query().unwrap_or_default())?;
    let reply = match (&parts.method, &rest[..]) {
        (&Method::GET, []) => {
            let table = admin.state.table.get();
            let all: Vec<Arc<Served>> = table.iter().cloned().collect();
            let mut functions = Vec::new();
            for served in all {
                functions.push(described(admin, served).await?);
            }
            json(StatusCode::OK, &json!({ "functions": functions }))
        }
        (&Method::GET, [name]) => {
            let served = admin.state.table.get().get(name).cloned();
            let unknown =
                || Refused(StatusCode::NOT_FOUND, format!("no function `{name}` is served"));
            json(StatusCode::OK, &described(admin, served.ok_or_else(unknown)?).await?)
        }
        (&Method::PUT, [name]) => deploy(admin, name, &mut query, body).await?,
        (&Method::DELETE, [name]) => {
            let (runtime, removed) = (admin.loader.runtime.clone(), (*name).to_owned());
            blocking(move || runtime.remove(&removed).map(drop)).await?;
            update(admin, name).await;
            json(StatusCode::OK, &json!({ "removed": name }))
        }
        (&Method::POST, [name, "rollback"]) => {
            let to = number(&mut query, "to")?;
            let (runtime, function) = (admin.loader.runtime.clone(), (*name).to_owned());
            let version = blocking(move || runtime.rollback(&function, to)).await?;
            changed(admin, name, Some(version), StatusCode::OK).await?
        }
        (&Method::PUT, [name, "aliases", alias]) => {
            let version = number(&mut query, "version")?;
            let version =
                version.ok_or_else(|| Refused::user("say which `version` the alias leads to"))?;
            let (runtime, function) = (admin.loader.runtime.clone(), (*name).to_owned());
            let tag = (*alias).to_owned();
            blocking(move || runtime.set_alias(&function, &tag, version)).await?;
            json(StatusCode::OK, &json!({ "alias": format!("{name}@{alias}"), "version": version }))
        }
        (&Method::DELETE, [name, "aliases", alias]) => {
            let (runtime, function) = (admin.loader.runtime.clone(), (*name).to_owned());
            let tag = (*alias).to_owned();
            blocking(move || runtime.remove_alias(&function, &tag)).await?;
            json(StatusCode::OK, &json!({ "removed": format!("{name}@{alias}") }))
        }
        _ => return Err(not_found()),
    };
    match query.keys().next() {
        Some(name) => Err(Refused::user(format!("there is no parameter `{name}` here"))),
        None => Ok(reply),
    }
}

/// Deploys the module in a request's body.
async fn deploy(
    admin: &Admin,
    name: &str,
    query: &mut BTreeMap<String, String>,
    body: Incoming,
) -> Result<Reply, Refused> {
    let mut words = vec!["deploy".to_owned(), "--name".to_owned(), name.to_owned()];
    // They are read here too, so that an error says which it is.
    if let Some(route) = query.remove("route") {
        let route: Route = route.parse().map_err(|e| Refused::user(format!("route: {e}")))?;
        words.extend(["--route".to_owned(), route.to_string()]);
    }
    if let Some(protocol) = query.remove("protocol") {
        let protocol: Protocol =
            protocol.parse().map_err(|e| Refused::user(format!("protocol: {e}")))?;
        words.extend(["--protocol".to_owned(), protocol.to_string()]);
    }
    if let Some(at) = query.remove("at") {
        words.push(format!("--at={at}"));
    }
    if let Some(init) = query.remove("init") {
        words.push(format!("--init={init}"));
    }
    if let Some(name) = query.keys().next() {
        return Err(Refused::user(format!("there is no parameter `{name}` here")));
    }
    let failed = |e: std::io::Error| {
        Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("the module cannot be kept: {e}"))
    };
    let mut file = tempfile::Builder::new().suffix(".wasm").tempfile().map_err(failed)?;
    let mut body = Limited::new(body, MODULE);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| match e.is::<http_body_util::LengthLimitError>() {
            true => Refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a module has at most {MODULE} bytes"),
            ),
            false => Refused::user("the module cannot be read"),
        })?;
        if let Ok(part) = frame.into_data() {
            file.write_all(&part).map_err(failed)?;
        }
    }
    let mut command = Command::from(admin.loader.executor());
    // An uninterested client has nothing deployed.
    command.args(words).arg(file.path()).kill_on_drop(true);
    let output = timeout(DEPLOY, command.output()).await.map_err(|_| {
        Refused(StatusCode::GATEWAY_TIMEOUT, format!("deploying took longer than {DEPLOY:?}"))
    })?;
    let output = output.map_err(failed)?;
    let said = crate::load::said(&output).map_err(|text| {
        let path = file.path().display().to_string();
        Refused::user(text.replace(&path, "the module"))
    })?;
    // NAME@VERSION ID, and whether it is as it was.
    let version = said.split(['@', ' ']).nth(1).and_then(|version| version.parse().ok());
    let status = if said.ends_with("(unchanged)") { StatusCode::OK } else { StatusCode::CREATED };
    changed(admin, name, version, status).await
}

/// Serves what has changed, and says so.
async fn changed(
    admin: &Admin,
    name: &str,
    version: Option<u32>,
    status: StatusCode,
) -> Result<Reply, Refused> {
    let said = update(admin, name).await;
    let served = admin.state.table.get().get(name).cloned();
    let Some(served) = served else {
        let text = said.into_iter().find(|text| text.contains(&format!("`{name}`")));
        let text =
            text.unwrap_or_else(|| format!("`{name}` is stored, and not among what is served"));
        return Err(Refused(StatusCode::CONFLICT, text));
    };
    let mut described = described(admin, served).await?;
    described["version"] = version.into();
    Ok(json(status, &described))
}

async fn update(admin: &Admin, name: &str) -> Vec<String> {
    let changed = BTreeSet::from([name.to_owned()]);
    server::update(&admin.loader, &admin.state, Some(changed)).await
}

/// What is told of a function.
async fn described(admin: &Admin, served: Arc<Served>) -> Result<Value, Refused> {
    let (runtime, name) = (admin.loader.runtime.clone(), served.name.to_string());
    let versions = blocking(move || match runtime.versions(&name) {
        // It is stored without versions.
        Err(_) => Ok(Vec::new()),
        versions => versions,
    });
    let versions: Vec<Value> = versions
        .await?
        .into_iter()
        .map(|Version { number, snapshot, created, current, aliases }| {
            json!({
                "version": number,
                "snapshot": snapshot.to_string(),
                "created_unix": created,
                "current": current,
                "aliases": aliases,
            })
        })
        .collect();
    let stats = &served.stats;
    let [ok, redirected, refused, failed] = stats.responses();
    Ok(json!({
        "name": &*served.name,
        "route": served.route,
        "protocol": served.protocol,
        "snapshot": executor::SnapshotId(served.snapshot).to_string(),
        "versions": versions,
        "running": served.admission.running(),
        "waiting": served.admission.waiting(),
        "responses": { "2xx": ok, "3xx": redirected, "4xx": refused, "5xx": failed },
    }))
}

/// Does what waits for files on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Refused> {
    match spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let unknown =
                matches!(error, Error::Store(executor::CatalogueError::UnknownFunction { .. }));
            let status = if unknown { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
            Err(Refused(status, error.to_string()))
        }
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The parameters of a query.
fn query(text: &str) -> Result<BTreeMap<String, String>, Refused> {
    let parameter = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let decoded =
            |text: &str| crate::protocol::decoded(&text.replace('+', " ")).map(String::from);
        let invalid = || Refused::user(format!("the parameter `{part}` is not text"));
        Ok((decoded(name).ok_or_else(invalid)?, decoded(value).ok_or_else(invalid)?))
    };
    text.split('&').filter(|part| !part.is_empty()).map(parameter).collect()
}

fn number(query: &mut BTreeMap<String, String>, name: &str) -> Result<Option<u32>, Refused> {
    let number =
        query.remove(name).map(|text| text.parse::<u32>().ok().filter(|number| *number > 0));
    match number {
        Some(None) => Err(Refused::user(format!("`{name}` is to be the number of a version"))),
        Some(number) => Ok(number),
        None => Ok(None),
    }
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
    let mut text = value.to_string();
    text.push('\n');
    let mut reply = Reply::new(Full::new(Bytes::from(text)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// An error.
pub(super) fn error(status: StatusCode, text: &str) -> Reply {
    json(status, &json!({ "error": executor::Escaped(text).to_string() }))
}
