//! The contract of the `Engine` and `ModuleEngine` traits, as checks that any implementation can be
//! run through: the native engine, the native engine with a code cache, and a small mock.
//!
//! Invariant: a check knows an engine only by its traits, so what it holds of one it holds of all.
//! The mock is there to show that: it shares no code with the native engine.
#![forbid(unsafe_code)]

mod instances;
mod lifecycle;
mod linking;
mod listeners;
mod mock;
mod world;

use executor_code::{CodeCache, Compiler};
use executor_compiler::NativeCompiler;
use executor_runtime::{EngineConfig, NativeEngine};
use mock::MockEngine;
use std::sync::Arc;
use tempfile::TempDir;

fn make_native(cache: Option<CodeCache>) -> Arc<NativeEngine> {
    let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
    Arc::new(
        NativeEngine::new(EngineConfig {
            compiler: Some(compiler),
            cache,
            ..EngineConfig::default()
        })
        .unwrap(),
    )
}

/// An engine and what must stay as long as it.
type Subject<E> = (Arc<E>, Option<TempDir>);

fn native() -> Subject<NativeEngine> {
    (make_native(None), None)
}

fn cached() -> Subject<NativeEngine> {
    let dir = tempfile::tempdir().unwrap();
    (make_native(Some(CodeCache::new(dir.path().join("code")))), Some(dir))
}

fn mock() -> Subject<MockEngine> {
    (Arc::default(), None)
}

/// Makes a test of each check for one engine.
macro_rules! tests {
    ($subject:path; $($group:ident: $($check:ident),* $(,)?;)*) => {$($(
        #[test]
        fn $check() {
            let (engine, _dir) = $subject();
            crate::$group::$check(&engine);
        }
    )*)*};
}

/// The contract, for one engine.
macro_rules! contract {
    ($name:ident, $subject:path) => {
        mod $name {
            tests! { $subject;
                lifecycle:
                    compiling_counts_each_module_once,
                    deleting_forgets_one_module_and_no_other,
                    a_deleted_module_is_compiled_again,
                    a_module_that_is_not_compiled_has_no_instances,
                    an_instance_outlives_its_deleted_module,
                    a_call_finishes_when_its_module_is_deleted_under_it,
                    a_call_finishes_when_another_thread_deletes_its_module,
                    a_call_finishes_when_its_engine_is_closed_under_it,
                    a_closed_engine_refuses_all_but_the_instances_that_exist,
                    ensure_termination_changes_no_answer,
                    instances_are_numbered_in_order_and_found_again,
                    a_module_has_many_instances_with_state_of_their_own;
                listeners:
                    a_listener_sees_every_call_with_its_values,
                    a_listener_sees_a_trap_innermost_first,
                    a_listener_does_not_see_imported_functions,
                    the_listeners_of_the_last_compilation_hold;
                linking:
                    a_function_is_called_across_instances,
                    a_function_of_another_type_is_refused,
                    a_memory_is_shared,
                    a_memory_of_other_limits_is_refused,
                    a_table_is_shared,
                    a_table_of_another_type_is_refused,
                    a_global_is_shared,
                    a_global_of_another_type_is_refused,
                    indices_and_instances_that_do_not_exist_are_refused,
                    what_is_imported_is_passed_on,
                    imports_are_not_resolved_again_once_instantiated;
                instances:
                    nothing_runs_before_done_instantiation,
                    no_function_is_called_before_done_instantiation,
                    done_instantiation_fills_everything_then_runs_the_start_function,
                    done_instantiation_happens_once,
                    every_kind_of_unresolved_import_is_refused,
                    a_trap_in_the_start_function_is_reported,
                    a_segment_that_does_not_fit_is_a_trap,
                    a_function_has_its_type_and_answers,
                    arguments_that_do_not_fit_are_refused,
                    traps_have_their_codes_and_leave_the_instance_usable,
                    an_element_is_looked_up_as_call_indirect_would,
                    a_function_reference_is_the_one_that_tables_hold,
                    globals_are_read_as_halves,
                    globals_are_set_where_they_may_be,
                    memory_grows_for_the_host_as_for_the_guest;
            }
        }
    };
}

contract!(native_engine, crate::native);
contract!(native_engine_with_code_cache, crate::cached);
contract!(mock_engine, crate::mock);
