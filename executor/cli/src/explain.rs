//! `executor snapshot explain`: which functions wrote the pages that a snapshot holds.
//!
//! Invariant: nothing is kept, and what a guest prints to standard output is thrown away: there the explanation
//! goes.

use crate::{
    args::ExplainArgs,
    engine::{self, Talk},
    error::Failure,
    given::{Given, give, plan},
    out, print, target, units,
};
use executor::{
    Base, Escaped, Explanation, Stdout,
    explanation::{ExplainedFunction, ExplainedRun},
};

/// How many functions are shown where not all are asked for.
const FEW: usize = 20;
/// How many callers of a page's writer are shown.
const CALLERS: usize = 4;

/// Explains a snapshot.
///
/// # Errors
/// When it cannot be made, or made again.
pub fn explain(args: &ExplainArgs) -> Result<i32, Failure> {
    let ExplainArgs { json, pages, full, invoke, guest, code, capture, store, .. } = args;
    let (target, rest) = args.split()?;
    let talk = Talk { verbose: guest.verbose, report: None };
    let explanation = match target::named(target, |name| engine::has_function(store, name))? {
        Base::Function(_) if !rest.is_empty() => {
            return Err(Failure::usage(
                "a stored function is made again with the arguments that it was made with",
            ));
        }
        Base::Function(name) => engine::with_store(store, code, &talk)?.explain(&name)?,
        base => {
            let runtime = engine::with_store_if_usable(store, code, &talk)?;
            let given = Given::of(guest, &rest)?;
            let creation = plan!(runtime.snapshot(base), guest, capture, invoke, rest.iter());
            give!(creation, given).stdout(Stdout::Discard).explain()?
        }
    };
    match json {
        true => print::json(&explanation)?,
        false => out(format_args!("{}", text(&explanation, *pages, *full)))?,
    }
    Ok(0)
}

fn text(explanation: &Explanation, pages: bool, full: bool) -> String {
    let Explanation { functions, runs, .. } = explanation;
    let mut text = format!(
        "{} pages are not zero ({}); who wrote to each of them first:\n",
        explanation.pages,
        units::show_size(explanation.bytes)
    );
    text += "    SELF          TOTAL          FUNCTION\n";
    let shown = if full { functions.len() } else { FEW };
    text.extend(functions.iter().take(shown).map(function));
    if functions.len() > shown {
        let more = functions.len() - shown;
        text += &format!("and {more} more functions (to see them: --full)\n");
    }
    if explanation.zero_again > 0 {
        text += &format!("{} more pages were written to and are zero\n", explanation.zero_again);
    }
    if pages {
        text.extend(runs.iter().map(run));
    }
    text
}

fn function(function: &ExplainedFunction) -> String {
    let module = function.module.as_ref().map(|name| format!("{}!", Escaped(name)));
    format!(
        "{:>8} {:>5.1}% {:>8} {:>5.1}%  {}{}\n",
        function.self_pages,
        function.self_percent,
        function.total_pages,
        function.total_percent,
        module.unwrap_or_default(),
        Escaped(&function.name)
    )
}

fn run(run: &ExplainedRun) -> String {
    let end = run.at + run.pages * 4096;
    let memory = match (run.instance, run.memory) {
        _ if run.objects => "objects, ".to_owned(),
        (1, 0) => String::new(),
        (instance, memory) => format!("memory {memory} of instance {instance}, "),
    };
    let from: Vec<String> =
        run.from.iter().take(CALLERS).map(|name| Escaped(name).to_string()).collect();
    let from = match &*from {
        [] => String::new(),
        from => format!(", from {}", from.join(" < ")),
    };
    let offset = run.offset.map(|offset| format!(" at {offset:#x}")).unwrap_or_default();
    format!("{memory}{:#x}..{end:#x} {}{offset}{from}\n", run.at, Escaped(&run.by))
}
