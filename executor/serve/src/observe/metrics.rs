//! The figures as text for Prometheus.
//!
//! Invariant: each name has its type and meaning once, before its samples, and its unit in it.

use super::stats::{BOUNDS, Histogram};
use crate::{functions::Served, state::State};
use std::{fmt::Write, sync::Arc};

/// The figures as they are now.
pub(crate) fn text(state: &State) -> String {
    let mut text = Text(String::new());
    let (table, workers) = (state.table.get(), state.workers.get());
    let served: Vec<&Arc<Served>> = table.iter().collect();
    text.gauge("executor_functions", "Functions that are served.", served.len());
    text.gauge("executor_workers", "Worker processes that run.", workers.running());
    text.counter(
        "executor_worker_deaths_total",
        "Workers that ended by themselves.",
        workers.deaths(),
    );
    if let Some(spans) = &state.spans {
        let (made, sent) = (spans.made(), spans.sent());
        text.counter("executor_spans_total", "Spans that were made of requests.", made);
        text.counter("executor_spans_sent_total", "Spans that the collector took.", sent);
    }
    let free = state.permits.available_permits();
    text.gauge("executor_permits_free", "Calls that could begin now, of all functions.", free);

    text.head(
        "executor_requests_total",
        "counter",
        "Requests that were answered, by the class of their status.",
    );
    for served in &served {
        for (class, count) in (2..).zip(served.stats.responses()) {
            let labels = format!("function=\"{}\",status=\"{class}xx\"", served.name);
            text.sample("executor_requests_total", &labels, count);
        }
    }
    text.each("executor_calls_running", "gauge", "Calls that run.", &served, |served| {
        served.admission.running() as u64
    });
    text.each(
        "executor_requests_waiting",
        "gauge",
        "Requests that wait for a permit.",
        &served,
        |served| served.admission.waiting() as u64,
    );
    let faults = "Page faults of calls.";
    text.each("executor_page_faults_total", "counter", faults, &served, |served| {
        served.stats.faults()
    });

    let name = "executor_phase_seconds";
    text.head(
        name,
        "histogram",
        "Time of each part of a request: waiting, getting an instance, the guest, giving it back.",
    );
    for served in &served {
        let stats = &served.stats;
        for (phase, histogram) in [
            ("queue", &stats.queue),
            ("acquire", &stats.acquire),
            ("run", &stats.run),
            ("release", &stats.release),
        ] {
            let labels = format!("function=\"{}\",phase=\"{phase}\"", served.name);
            text.histogram(name, &labels, histogram);
        }
    }
    let name = "executor_request_seconds";
    text.head(name, "histogram", "Time from a request's head to the end of its response.");
    for served in &served {
        text.histogram(name, &format!("function=\"{}\"", served.name), &served.stats.total);
    }
    text.0
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Names of functions have no character that is to be escaped.
    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn each(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        served: &[&Arc<Served>],
        value: impl Fn(&Served) -> u64,
    ) {
        self.head(name, kind, help);
        for served in served {
            self.sample(name, &format!("function=\"{}\"", served.name), value(served));
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let cumulative = histogram.cumulative();
        for (bound, count) in BOUNDS.iter().zip(cumulative) {
            let seconds = *bound as f64 / 1e6;
            let _ = writeln!(self.0, "{name}_bucket{{{labels},le=\"{seconds}\"}} {count}");
        }
        let all = cumulative[BOUNDS.len()];
        let _ = writeln!(self.0, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}");
        let _ = writeln!(self.0, "{name}_sum{{{labels}}} {}", histogram.sum().as_secs_f64());
        let _ = writeln!(self.0, "{name}_count{{{labels}}} {all}");
    }
}
