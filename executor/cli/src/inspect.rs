//! What `executor snapshot inspect` shows of a snapshot, as text.

use crate::units;
use executor::{
    Escaped,
    inspection::{
        InspectedDefaults, InspectedFrame, InspectedInstance, InspectedOpen, InspectedWasi,
        Inspection,
    },
};

/// How many globals are shown where not all are asked for.
const FEW: usize = 8;

/// A snapshot as lines of text; in full, with the values of frames and all globals and elements of tables.
pub fn text(inspection: &Inspection, full: bool) -> String {
    let mut text = format!(
        "snapshot     {}\nfile         {} ({})\ncreated      {} by {}\nkind         {}\n\
         main         instance {}\ninit         {}\nobservations {}\nwarnings     {}\n",
        inspection.snapshot,
        Escaped(&inspection.path),
        units::show_size(inspection.file_bytes),
        units::show_time(inspection.created_unix),
        Escaped(&inspection.engine),
        inspection.kind.clone()
            + &inspection
                .at
                .as_ref()
                .map(|at| format!(", before {}", Escaped(at)))
                .unwrap_or_default(),
        inspection.main,
        list(&inspection.init),
        list(&inspection.observations),
        list(&inspection.warnings),
    );
    text += &format!("defaults     {}\n", list(&defaults(&inspection.defaults)));
    if !inspection.after_restore.is_empty() {
        text += &format!("restore      calls {}\n", list(&inspection.after_restore));
    }
    if let Some(wasi) = &inspection.wasi {
        text += &wasi_text(wasi);
    }
    if inspection.frames > 0 {
        let size = units::show_size(inspection.frame_bytes);
        text += &format!(
            "call         {} frames ({size})\n{}\n",
            inspection.frames, inspection.backtrace
        );
        if full {
            text += &inspection.stack.iter().map(frame).collect::<String>();
        }
    }
    for instance in &inspection.instances {
        let name =
            instance.module_name.as_ref().map(|n| format!(" ({})", Escaped(n))).unwrap_or_default();
        let registered = instance
            .registered_as
            .as_ref()
            .map(|n| format!(", imported as `{}`", Escaped(n)))
            .unwrap_or_default();
        let failed = if instance.instantiated { "" } else { ", not instantiated" };
        text += &format!(
            "instance {:<3} module {}{name}{registered}{failed}\n",
            instance.id, instance.module
        );
        text += &items(instance, full);
    }
    text
}

/// The items of an instance.
fn items(instance: &InspectedInstance, full: bool) -> String {
    let named = |name: &Option<String>| match name {
        Some(name) => format!(" ({})", Escaped(name)),
        None => String::new(),
    };
    let in_bases = |bytes: u64| match bytes {
        0 => String::new(),
        bytes => format!(" and {} in those of its bases", units::show_size(bytes)),
    };
    let mut text = String::new();
    for memory in &instance.memories {
        let (bytes, stored) =
            (units::show_size(memory.bytes), units::show_size(memory.stored_bytes));
        let filled = memory.pages - memory.zero_pages.min(memory.pages);
        let which = match memory.objects {
            true => "objects".to_owned(),
            false => format!("memory {}{}", memory.index, named(&memory.name)),
        };
        text += &format!(
            "  {which}: {bytes}, of which {stored} in the file{}; {filled} of {} pages are not zero\n",
            in_bases(memory.base_bytes),
            memory.pages
        );
    }
    for table in &instance.tables {
        let stored = units::show_size(table.stored_bytes);
        text += &format!(
            "  table {}{}: {} elements, of which {} are not null; {stored} in the file{}\n",
            table.index,
            named(&table.name),
            table.elements,
            table.non_null,
            in_bases(table.base_bytes)
        );
        for element in table.entries.iter().flatten() {
            text += &format!("    {}: {}\n", element.index, Escaped(&element.value));
        }
    }
    let shown = if full { instance.globals.len() } else { FEW };
    for global in instance.globals.iter().take(shown) {
        text += &format!(
            "  global {}{}: {} = {}\n",
            global.index,
            named(&global.name),
            global.ty,
            Escaped(&global.value)
        );
    }
    if instance.globals.len() > shown {
        let more = instance.globals.len() - shown;
        text += &format!("  and {more} more globals (to see them: --full)\n");
    }
    if !instance.module_found {
        text += "  neither its module nor code of it is in the store: globals and names are not known\n";
    }
    text
}

/// A frame of a suspended call, with its values.
fn frame(frame: &InspectedFrame) -> String {
    let mut text = format!("  frame of {}\n", Escaped(&frame.name));
    for value in &frame.values {
        let name = value.name.as_ref().map(|name| format!(" ({})", Escaped(name)));
        let (name, shown) = (name.unwrap_or_default(), Escaped(&value.value));
        text += &format!("    {}{name}: {} = {shown}\n", value.place, value.ty);
    }
    text
}

/// What a run is given, as the options that would give it.
fn defaults(defaults: &InspectedDefaults) -> Vec<String> {
    let InspectedDefaults { invoke, arg0, arguments, environment, directories, .. } = defaults;
    let mut options = Vec::new();
    options.extend(invoke.iter().map(|export| format!("--invoke {export}")));
    options.extend(arg0.iter().map(|name| format!("--argv0 {name}")));
    options.extend(directories.iter().map(|dir| format!("--dir {dir}")));
    options.extend(environment.iter().map(|variable| format!("--env {variable}")));
    options.extend(defaults.inherit_environment.then(|| "--inherit-env".to_owned()));
    options.extend(defaults.deterministic.then(|| "--deterministic".to_owned()));
    let size = |option: &str, bytes: Option<u64>| bytes.map(|n| format!("{option} {n}"));
    options.extend(size("--max-memory", defaults.max_memory));
    options.extend(size("--max-gc-heap", defaults.max_heap));
    options.extend(size("--max-stack", defaults.max_stack));
    options.extend(defaults.timeout_seconds.map(|seconds| format!("--timeout {seconds} s")));
    let arguments = arguments.iter().flatten().map(|arg| format!("{arg:?}"));
    let arguments: Vec<String> = arguments.collect();
    options.extend((!arguments.is_empty()).then(|| format!("arguments {}", arguments.join(" "))));
    options
}

/// Items as one line.
fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| Escaped(item).to_string()).collect();
    match &*items {
        [] => "none".to_owned(),
        items => items.join("; "),
    }
}

fn wasi_text(wasi: &InspectedWasi) -> String {
    let read = |items: &Option<Vec<String>>| match items {
        None => "not read".to_owned(),
        Some(items) => format!("read: {}", list(items)),
    };
    let open = |InspectedOpen { descriptor, path, offset, readable, writable }: &InspectedOpen| {
        let offset = offset.map(|at| format!(" at {at}")).unwrap_or_default();
        let access = match (readable, writable) {
            (true, true) => "reading and writing",
            (_, true) => "writing",
            _ => "reading",
        };
        format!("`{}`{offset} for {access} (descriptor {descriptor})", Escaped(path))
    };
    let mut text = format!(
        "arguments    {}\nenvironment  {}\ndirectories  {}\nopen         {}\nlisteners    {}\n",
        read(&wasi.arguments_read),
        read(&wasi.environment_read),
        list(&wasi.directories),
        list(&wasi.open.iter().map(open).collect::<Vec<_>>()),
        wasi.listeners,
    );
    let draws = wasi.entropy.len() as u64 + wasi.more_draws;
    text += &match draws {
        0 => "entropy      none drawn\n".to_owned(),
        1 => "entropy      drawn once\n".to_owned(),
        n => format!("entropy      drawn {n} times\n"),
    };
    for draw in &wasi.entropy {
        let fate = match (draw.refilled, draw.unchanged) {
            (true, _) => "drawn anew at each restore",
            (_, true) => "unchanged, the same in every restore",
            _ => "no longer there as they were drawn",
        };
        text += &format!(
            "  {} bytes at {:#x} of instance {}, {fate}\n{}\n",
            draw.bytes, draw.address, draw.instance, draw.backtrace
        );
    }
    if wasi.more_draws > 0 {
        text += &format!("  and {} more times, which were not noted\n", wasi.more_draws);
    }
    text
}
