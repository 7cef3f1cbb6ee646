//! Runs the directives of a script, and those of its thread blocks on threads of their own.
//!
//! Invariant: every thread that a script begins has ended, and its report is part of the script's,
//! when the script ends, whether the script waits for it or not.
//!
//! A thread is a script of its own, with its own store. The named module of the outer script is
//! there in so far as a thread can have it: `register` gives the memories that it exports, which
//! must be shared.

use crate::{Miss, Runner, ScriptReport, Snapshot, failure, script::Script};
use std::{
    collections::HashMap,
    thread::{self, Scope, ScopedJoinHandle},
};
use wast::{WastDirective, WastThread};

/// The threads of a script that it has not waited for.
type Threads<'scope> = HashMap<String, ScopedJoinHandle<'scope, ScriptReport>>;

impl Runner {
    /// Runs directives of the script `text` one after another.
    pub(crate) fn run_directives(
        &self,
        text: &str,
        directives: Vec<WastDirective<'_>>,
        script: &mut Script,
        report: &mut ScriptReport,
    ) {
        thread::scope(|scope| {
            let mut threads = Threads::new();
            for directive in directives {
                let span = directive.span();
                let line = || span.linecol_in(text).0 + 1;
                let ended = match directive {
                    WastDirective::Thread(block) => {
                        self.begin(text, block, script, scope, &mut threads)
                    }
                    WastDirective::Wait { thread, .. } => match threads.remove(thread.name()) {
                        Some(handle) => {
                            join(handle, report);
                            Ok(Snapshot::NotTaken)
                        }
                        None => {
                            Err(Miss::Failed(format!("there is no thread `${}`", thread.name())))
                        }
                    },
                    other => script.run(other),
                };
                match ended {
                    Ok(snapshot) => {
                        report.passed += 1;
                        match snapshot {
                            Snapshot::NotTaken => {}
                            Snapshot::Restored => report.restored += 1,
                            Snapshot::Refused(reason) => report.not_captured.push((line(), reason)),
                        }
                    }
                    Err(Miss::Failed(message)) => report.failed.push(failure(text, span, message)),
                    Err(Miss::Skipped(reason)) => report.skipped.push((line(), reason)),
                }
            }
            for (_, handle) in threads {
                join(handle, report);
            }
        });
    }

    /// Begins a thread.
    fn begin<'scope, 'env>(
        &'env self,
        text: &'env str,
        block: WastThread<'env>,
        outer: &mut Script,
        scope: &'scope Scope<'scope, 'env>,
        threads: &mut Threads<'scope>,
    ) -> Result<Snapshot, Miss> {
        let mut script = self.script()?;
        if let Some(module) = block.shared_module {
            script.lend(module.name(), outer.shared_memories(module)?);
        }
        let directives = block.directives;
        let handle = scope.spawn(move || {
            let mut report = ScriptReport::default();
            self.run_directives(text, directives, &mut script, &mut report);
            report
        });
        threads.insert(block.name.name().to_owned(), handle);
        Ok(Snapshot::NotTaken)
    }
}

/// Waits for a thread and adds its report.
fn join(handle: ScopedJoinHandle<'_, ScriptReport>, report: &mut ScriptReport) {
    match handle.join() {
        Ok(of_thread) => report.add(of_thread),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
