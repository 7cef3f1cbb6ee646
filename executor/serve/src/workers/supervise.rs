//! Keeping a place filled: a worker that ends is replaced.

use super::{
    Workers, lock,
    worker::{self, Started},
};
use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::time::{self, Instant};

/// How often it is looked for calls that do not end.
const LOOK: Duration = Duration::from_millis(500);
/// A worker that ends within this time is not replaced at once.
const SOON: Duration = Duration::from_secs(5);
/// The longest that a place stays empty.
const LONGEST: Duration = Duration::from_secs(5);

/// Keeps a worker in a place until the workers are retired.
pub(super) async fn keep(workers: Workers, place: usize, first: Started) {
    let inner = Arc::clone(&workers.0);
    drop(workers);
    let mut retired = inner.retired.subscribe();
    let mut started = first;
    let mut pause = Duration::ZERO;
    loop {
        let begun = Instant::now();
        let Started { worker, mut child } = started;
        *lock(&inner.places[place]) = Some(Arc::clone(&worker));
        let look = async {
            while !worker.is_overdue(Instant::now()) {
                time::sleep(LOOK).await;
            }
        };
        let idle = async {
            // The sender lives as long as `inner`.
            let _ = retired.wait_for(|retired| *retired).await;
            *lock(&inner.places[place]) = None;
            worker.give_up(u64::MAX);
            while !worker.close_if_idle() {
                time::sleep(Duration::from_millis(20)).await;
            }
        };
        let end = tokio::select! {
            () = worker.listen() => None,
            () = look => Some("a call does not end"),
            () = idle => Some("retired"),
            never = worker.give_up_what_is_wanted() => match never {},
        };
        *lock(&inner.places[place]) = None;
        let is_retired = *inner.retired.borrow();
        if let (Some(reason), false) = (end, is_retired) {
            tracing::error!(worker = worker.process, "killed: {reason}");
        }
        // One that says what is no reply is there still; what has ended by itself keeps its status.
        let _ = child.start_kill();
        // Its calls have to be told of.
        worker.listen().await;
        let status = child.wait().await;
        if is_retired {
            return;
        }
        inner.deaths.fetch_add(1, Relaxed);
        match status {
            Ok(status) => tracing::error!(worker = worker.process, "ended: {status}"),
            Err(error) => tracing::error!(worker = worker.process, "ended: {error}"),
        }
        pause = match begun.elapsed() < SOON {
            true => (pause * 2).clamp(Duration::from_millis(50), LONGEST),
            false => Duration::ZERO,
        };
        started = loop {
            tokio::select! {
                () = time::sleep(pause) => {}
                _ = retired.wait_for(|retired| *retired) => return,
            }
            match worker::start(&inner.hello, inner.required, inner.memory.clone()).await {
                Ok(started) => break started,
                Err(error) => {
                    tracing::error!("cannot start a worker: {error}");
                    pause = (pause * 2).clamp(Duration::from_millis(50), LONGEST);
                }
            }
        };
    }
}
