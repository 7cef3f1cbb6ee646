//! The figures as JSON, for the page.

use super::Admin;
use crate::{
    functions::Served,
    observe::{BOUNDS, Failed, Histogram},
};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

/// The figures as they are now, and the last calls that failed.
pub(super) fn figures(admin: &Admin) -> Value {
    let (table, workers) = (admin.state.table.get(), admin.state.workers.get());
    let functions: Vec<Value> = table.iter().map(|served| of(served)).collect();
    json!({
        "draining": admin.state.is_draining(),
        "workers": workers.running(),
        "worker_deaths": workers.deaths(),
        "permits_free": admin.state.permits.available_permits(),
        "bounds_us": BOUNDS,
        "functions": functions,
    })
}

fn of(served: &Served) -> Value {
    let stats = &served.stats;
    let failures: Vec<Value> = stats.failures.latest().into_iter().map(failure).collect();
    json!({
        "name": &*served.name,
        "running": served.admission.running(),
        "waiting": served.admission.waiting(),
        "responses": stats.responses(),
        "page_faults": stats.faults(),
        "phases": {
            "queue": histogram(&stats.queue),
            "acquire": histogram(&stats.acquire),
            "run": histogram(&stats.run),
            "release": histogram(&stats.release),
            "total": histogram(&stats.total),
        },
        "failures": failures,
    })
}

/// How many there were in each class, and their time together in seconds.
fn histogram(histogram: &Histogram) -> Value {
    let cumulative = histogram.cumulative();
    let before = std::iter::once(&0).chain(&cumulative);
    let counts: Vec<u64> = cumulative.iter().zip(before).map(|(to, from)| to - from).collect();
    json!({ "counts": counts, "sum_seconds": histogram.sum().as_secs_f64() })
}

fn failure(Failed { at, request, failure, text }: Failed) -> Value {
    let at: Duration = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "at_unix_ms": at.as_millis() as u64,
        "request": &*request,
        "failure": format!("{failure:?}"),
        "text": text,
    })
}
