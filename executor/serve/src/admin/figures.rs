//! The figures as JSON, for the page.

use super::Admin;
use crate::{
    functions::Served,
    observe::{Failed, Heat, Histogram, PAGES, TIMES},
    wire::Kept,
};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

/// The figures as they are now, and the last calls that failed.
pub(super) async fn figures(admin: &Admin) -> Value {
    let (table, workers) = (admin.state.table.get(), admin.state.workers.get());
    let kept = workers.kept().await;
    let of = |served: &Served| of(served, kept.get(&served.snapshot));
    let functions: Vec<Value> = table.iter().map(|served| of(served)).collect();
    json!({
        "draining": admin.state.is_draining(),
        "workers": workers.running(),
        "worker_deaths": workers.deaths(),
        "permits_free": admin.state.all.free(),
        "permits": admin.state.all.concurrency(),
        "memory": admin.state.all.memory().map(|memory| json!({
            "limit_bytes": memory.limit(), "free_bytes": memory.free(),
        })),
        "output": admin.state.all.output().map(|output| json!({
            "limit_bytes": output.limit(), "free_bytes": output.free(),
        })),
        "bounds_us": TIMES.map(|ns| ns / 1000),
        "bounds_pages": PAGES,
        "functions": functions,
    })
}

fn of(served: &Served, kept: Option<&Kept>) -> Value {
    let stats = &served.stats;
    let failures: Vec<Value> = stats.failures.latest().into_iter().map(failure).collect();
    json!({
        "name": &*served.name,
        "running": served.admission.running(),
        "limit": served.admission.limit(),
        "waiting": served.admission.waiting(),
        "responses": stats.responses(),
        "page_faults": stats.faults(),
        "write_faults": stats.write_faults(),
        "restores": stats.restores(),
        "acquires": stats.acquires(),
        "resets": stats.resets(),
        "slots_kept": kept.map_or(0, |kept| kept.slots),
        "slots_kept_bytes": kept.map_or(0, |kept| kept.bytes),
        "pages_written": { "counts": counts(&stats.written), "sum": stats.written.sum() },
        "map": map(&stats.pages.latest()),
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

/// How many there were in each class.
fn counts(histogram: &Histogram) -> Vec<u64> {
    let cumulative = histogram.cumulative();
    let before = std::iter::once(&0).chain(&cumulative);
    cumulative.iter().zip(before).map(|(to, from)| to - from).collect()
}

/// How many there were in each class, and their time together in seconds.
fn histogram(histogram: &Histogram) -> Value {
    let seconds = Duration::from_nanos(histogram.sum()).as_secs_f64();
    json!({ "counts": counts(histogram), "sum_seconds": seconds })
}

/// The pages that calls write to. Of each cell a digit from 0 to f: how many of the last calls wrote to one of its
/// pages, none to all; 0 is for none alone.
fn map(heat: &Heat) -> Value {
    let digit = |part: &f32| char::from_digit((part * 15.0).ceil() as u32, 16).unwrap_or('f');
    json!({
        "calls": heat.calls,
        "pages": heat.pages,
        "pages_per_cell": heat.pages_per_cell(),
        "cells": heat.cells.iter().map(digit).collect::<String>(),
    })
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
