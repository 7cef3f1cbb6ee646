//! `executor snapshot inspect --html`: a snapshot as a page for a browser.
//!
//! Invariant: the page needs nothing but itself: no script, no other file, no address. Whatever comes from a guest
//! or a file goes through [`Html`], so it is text and nothing else.

mod map;

use crate::units;
use executor::{
    Escaped,
    inspection::{InspectedFrame, InspectedInstance, InspectedMemory, InspectedTable, Inspection},
};
use std::{
    fmt::{self, Display, Write},
    time::Duration,
};

/// How many rows of a list are on the page.
const MOST_ROWS: usize = 1000;
const STYLE: &str = include_str!("style.css");

/// Text for a page.
struct Html<T>(T);

impl<T: Display> Display for Html<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in Escaped(&self.0.to_string()).to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Adds to a page. Writing to a string cannot fail.
macro_rules! add {
    ($page:expr, $($arg:tt)*) => {{
        let _ = write!($page, $($arg)*);
    }};
}
use add;

/// The page of a snapshot, of which all detail is known.
pub fn page(name: &str, inspection: &Inspection) -> String {
    let mut page = String::new();
    add!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name} - snapshot</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{name}</h1>\n",
        name = Html(name)
    );
    facts(&mut page, inspection);
    timeline(&mut page, inspection);
    if !inspection.stack.is_empty() {
        stack(&mut page, &inspection.stack);
    }
    let many = inspection.instances.len() > 1;
    for instance in &inspection.instances {
        self::instance(&mut page, instance, many);
    }
    page += "</main>\n</body>\n</html>\n";
    page
}

fn facts(page: &mut String, inspection: &Inspection) {
    let Inspection { snapshot, file_bytes, created_unix, engine, kind, at, .. } = inspection;
    let at = at.as_ref().map(|at| format!(", before {at}")).unwrap_or_default();
    *page += "<dl>\n";
    let mut fact = |name: &str, value: &dyn Display| {
        add!(page, "<div><dt>{}</dt><dd>{}</dd></div>\n", name, Html(value));
    };
    fact("Snapshot", snapshot);
    fact("File", &format!("{} ({})", inspection.path, units::show_size(*file_bytes)));
    fact("Created", &format!("{} by {engine}", units::show_time(*created_unix)));
    fact("Kind", &format!("{kind}{at}"));
    let lists = [
        ("Initialised by", &inspection.init),
        ("After each restore", &inspection.after_restore),
        ("Observed", &inspection.observations),
        ("Warnings", &inspection.warnings),
    ];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        fact(name, &list.join("; "));
    }
    if let Some(wasi) = &inspection.wasi {
        let text = |list: &Option<Vec<String>>| match list.as_deref()? {
            [] => Some("none".to_owned()),
            list => Some(list.join(" ")),
        };
        if let Some(arguments) = text(&wasi.arguments_read) {
            fact("Arguments read", &arguments);
        }
        if let Some(environment) = text(&wasi.environment_read) {
            fact("Environment read", &environment);
        }
        if !wasi.directories.is_empty() {
            fact("Directories", &wasi.directories.join(" "));
        }
        let draws = wasi.entropy.len() as u64 + wasi.more_draws;
        if draws > 0 {
            fact("Random bytes drawn", &format!("{draws} times"));
        }
    }
    for base in &inspection.bases {
        let file = base.file_name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        fact("Base", &format!("{}{file}", base.snapshot));
    }
    *page += "</dl>\n";
}

/// What the making of the snapshot took.
fn timeline(page: &mut String, inspection: &Inspection) {
    let total: f64 = inspection.timeline.iter().map(|phase| phase.seconds).sum();
    if total <= 0.0 {
        return;
    }
    let duration = |seconds: f64| match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time < Duration::from_secs(1) => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    };
    add!(page, "<h2>Creation <small>{}</small></h2>\n<table class=\"times\">\n", duration(total));
    for phase in &inspection.timeline {
        let percent = phase.seconds * 100.0 / total;
        add!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"bar\"><span style=\"width:{percent:.1}%\"></span></td>\
             <td class=\"number\">{}</td></tr>\n",
            Html(&phase.phase),
            duration(phase.seconds)
        );
    }
    *page += "</table>\n";
}

/// The frames of the call, innermost first as a backtrace has them.
fn stack(page: &mut String, stack: &[InspectedFrame]) {
    add!(page, "<h2>The call <small>{} frames, innermost first</small></h2>\n", stack.len());
    *page += "<ol class=\"stack\">\n";
    for frame in stack.iter().rev().take(MOST_ROWS) {
        let at = frame.offset.map(|at| format!(" at {at:#x}")).unwrap_or_default();
        add!(page, "<li><details><summary>{}<small>{at}</small></summary>\n", Html(&frame.name));
        *page += "<table>\n";
        for value in &frame.values {
            let name = value.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            add!(
                page,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"number\">{}</td></tr>\n",
                Html(format!("{}{name}", value.place)),
                Html(&value.ty),
                Html(&value.value)
            );
        }
        *page += "</table></details></li>\n";
    }
    *page += "</ol>\n";
    rest(page, stack.len(), "frames");
}

/// Says how many rows of a list are not on the page.
fn rest(page: &mut String, of: usize, what: &str) {
    if of > MOST_ROWS {
        add!(page, "<p>and {} more {what}</p>\n", of - MOST_ROWS);
    }
}

fn instance(page: &mut String, instance: &InspectedInstance, many: bool) {
    if many {
        let registered = instance.registered_as.as_ref();
        let registered = registered.map(|name| format!(", imported as {name}")).unwrap_or_default();
        add!(page, "<h2>Instance {}<small>{}</small></h2>\n", instance.id, Html(registered));
    }
    let name = instance.module_name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    add!(page, "<p class=\"module\">Module {}</p>\n", Html(format!("{}{name}", instance.module)));
    if !instance.module_found {
        *page += "<p>Neither the module nor its code is in the store: globals and names are not known.</p>\n";
    }
    instance.memories.iter().for_each(|memory| self::memory(page, memory));
    instance.tables.iter().for_each(|table| self::table(page, table));
    if !instance.globals.is_empty() {
        globals(page, instance);
    }
}

/// The heading of an item.
fn heading(page: &mut String, what: &str, index: u32, name: Option<&String>, about: &str) {
    let name = name.map(|name| format!(" {name}")).unwrap_or_default();
    add!(page, "<h3>{what} {index}{} <small>{about}</small></h3>\n", Html(name));
}

fn memory(page: &mut String, memory: &InspectedMemory) {
    let about = format!(
        "{}, of which {} in the file",
        units::show_size(memory.bytes),
        units::show_size(memory.stored_bytes)
    );
    heading(page, "Memory", memory.index, memory.name.as_ref(), &about);
    map::map(page, memory);
}

fn table(page: &mut String, table: &InspectedTable) {
    let about = format!("{} elements, of which {} are not null", table.elements, table.non_null);
    heading(page, "Table", table.index, table.name.as_ref(), &about);
    let entries = table.entries.as_deref().unwrap_or_default();
    if entries.is_empty() {
        return;
    }
    *page += "<details><summary>Elements</summary>\n<table>\n";
    for entry in entries.iter().take(MOST_ROWS) {
        add!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n",
            entry.index,
            Html(&entry.value)
        );
    }
    *page += "</table>\n";
    rest(page, entries.len(), "elements");
    *page += "</details>\n";
}

fn globals(page: &mut String, instance: &InspectedInstance) {
    add!(page, "<h3>Globals <small>{}</small></h3>\n<table>\n", instance.globals.len());
    for global in instance.globals.iter().take(MOST_ROWS) {
        let name = global.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let mutable = if global.mutable { "mut " } else { "" };
        add!(
            page,
            "<tr><th scope=\"row\">{}{}</th><td>{mutable}{}</td><td class=\"number\">{}</td></tr>\n",
            global.index,
            Html(name),
            Html(&global.ty),
            Html(&global.value)
        );
    }
    *page += "</table>\n";
    rest(page, instance.globals.len(), "globals");
}

#[cfg(test)]
mod tests {
    use super::Html;

    #[test]
    fn nothing_of_a_name_is_markup() {
        assert_eq!(
            Html("</td><script src='x'>&amp;\"\n\u{202e}").to_string(),
            "&lt;/td&gt;&lt;script src=&#39;x&#39;&gt;&amp;amp;&quot;\\n\\u{202e}"
        );
    }
}
