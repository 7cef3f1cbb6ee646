//! The figures as text for Prometheus.
//!
//! Invariant: each name has its type and meaning once, before its samples, and its unit in it.

use super::stats::Histogram;
use crate::{functions::Served, state::State, wire::Kept};
use std::{collections::HashMap, fmt::Write, sync::Arc};

/// The figures as they are now. `kept` are the slots that workers keep, by snapshot.
pub(crate) fn text(state: &State, kept: &HashMap<[u8; 32], Kept>) -> String {
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
    let free = state.all.free();
    text.gauge("executor_permits_free", "Calls that could begin now, of all functions.", free);
    let limit = state.all.concurrency();
    text.gauge("executor_permits_limit", "Calls that may run at a time, of all functions.", limit);
    if let Some(memory) = state.all.memory() {
        let (limit, free) = (memory.limit(), memory.free());
        let help = "Memory that calls and kept slots may take.";
        text.gauge("executor_memory_limit_bytes", help, limit as usize);
        let help = "Memory that is reserved for calls and kept slots.";
        text.gauge("executor_memory_reserved_bytes", help, limit.saturating_sub(free) as usize);
    }

    if let Some(output) = state.all.output() {
        let (limit, free) = (output.limit(), output.free());
        let help = "Memory that output may take on its way to clients.";
        text.gauge("executor_output_limit_bytes", help, limit as usize);
        let help = "Memory that is reserved for output on its way to clients.";
        text.gauge("executor_output_reserved_bytes", help, limit.saturating_sub(free) as usize);
    }
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
        "executor_calls_limit",
        "gauge",
        "Calls that may run at a time.",
        &served,
        |served| served.admission.limit() as u64,
    );
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

    let restores = "Calls whose instance was mapped for them.";
    text.each("executor_restores_total", "counter", restores, &served, |served| {
        served.stats.restores()
    });
    let acquires = "Calls whose instance was in a slot that an earlier call had.";
    text.each("executor_acquires_total", "counter", acquires, &served, |served| {
        served.stats.acquires()
    });
    let resets = "Slots that were reset after a call.";
    text.each("executor_resets_total", "counter", resets, &served, |served| served.stats.resets());
    let faults = "Page faults that opened a page for writes, of calls whose slot was reset.";
    text.each("executor_write_faults_total", "counter", faults, &served, |served| {
        served.stats.write_faults()
    });
    let of = |served: &Served| kept.get(&served.snapshot);
    let slots =
        "Slots that workers keep for calls to come. Functions of the same snapshot share them.";
    text.each("executor_slots_kept", "gauge", slots, &served, |served| {
        of(served).map_or(0, |kept| kept.slots)
    });
    let bytes = "Memory that those slots take for themselves.";
    text.each("executor_slots_kept_bytes", "gauge", bytes, &served, |served| {
        of(served).map_or(0, |kept| kept.bytes)
    });
    let name = "executor_pages_written";
    text.head(name, "histogram", "Pages of 4 KiB that the reset after a call put back.");
    for served in &served {
        text.histogram(name, &format!("function=\"{}\"", served.name), &served.stats.written, 1.0);
    }

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
            text.histogram(name, &labels, histogram, 1e9);
        }
    }
    let name = "executor_request_seconds";
    text.head(name, "histogram", "Time from a request's head to the end of its response.");
    for served in &served {
        text.histogram(name, &format!("function=\"{}\"", served.name), &served.stats.total, 1e9);
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

    /// `unit` is how many of the histogram's make one of those in the name.
    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram, unit: f64) {
        let cumulative = histogram.cumulative();
        for (bound, count) in histogram.bounds.iter().zip(cumulative) {
            let bound = *bound as f64 / unit;
            let _ = writeln!(self.0, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let all = cumulative[histogram.bounds.len()];
        let _ = writeln!(self.0, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}");
        let _ = writeln!(self.0, "{name}_sum{{{labels}}} {}", histogram.sum() as f64 / unit);
        let _ = writeln!(self.0, "{name}_count{{{labels}}} {all}");
    }
}
