//! `executor snapshot inspect --html`: a page that needs nothing but itself.

use crate::{
    inspect::{SEEN, WAITS},
    sandbox::Sandbox,
};
use std::fs;

fn page(sandbox: &Sandbox, target: &str) -> String {
    sandbox.run(&["snapshot", "inspect", "--html", "page.html", target]).succeeded("");
    fs::read_to_string(sandbox.path().join("page.html")).unwrap()
}

/// The elements of a page are closed in the order in which they were opened, and attributes are quoted.
fn check(page: &str) {
    let void = ["!doctype", "meta"];
    let (mut open, mut rest) = (Vec::new(), page);
    while let Some((text, tag)) = rest.split_once('<') {
        assert!(!text.contains('>') || open.last() == Some(&"style"), "{text}");
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        rest = after;
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{tag}"),
            None if void.contains(&name) => {}
            None => {
                assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{tag}");
                assert!(tag.matches('"').count() % 2 == 0, "{tag}");
                open.push(name);
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for outside in ["http", "src=", "href=", "url(", "<script", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn a_page_has_a_map_of_each_memory_and_the_lists() {
    let sandbox = Sandbox::new();
    sandbox.file("seen.wat", SEEN);
    sandbox.ok(&["snapshot", "create", "--name", "seen", "seen.wat"]);
    let page = page(&sandbox, "seen");
    check(&page);
    for text in [
        "<li class=\"zero\">zero <b>45</b></li>",
        "<li class=\"own\">in this file <b>3</b></li>",
        // Pages 2, and 24 and 25, in a row of 32.
        "<rect class=\"own\" x=\"20\" y=\"0\" width=\"10\" height=\"10\"><title>0x2000..0x3000",
        "<rect class=\"own\" x=\"240\" y=\"0\" width=\"20\" height=\"10\"><title>0x18000..0x1a000",
        "Memory 0 heap",
        "app::init",
        "counter",
        "Creation",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn what_the_first_call_writes_and_the_frames_of_a_call_are_shown() {
    let sandbox = Sandbox::new();
    sandbox.file("waits.wat", WAITS);
    let fill = "(i32.add (local.get $n)";
    let fills = format!("(memory.fill (i32.const 4096) (i32.const 1) (i32.const 20480)) {fill}");
    sandbox.file("fills.wat", WAITS.replace(fill, &fills));
    sandbox.file("input", "");
    sandbox.ok(&[
        "snapshot",
        "create",
        "--name",
        "f",
        "--at",
        "stdin",
        "--record",
        "input",
        "fills.wat",
    ]);
    let page = page(&sandbox, "f");
    check(&page);
    assert!(page.contains("<li class=\"first\">written by the first call <b>"), "{page}");
    assert!(page.contains("local 1 (sum)") && page.contains("5000000000"), "{page}");
}

#[test]
fn names_of_guests_are_text_on_the_page() {
    let sandbox = Sandbox::new();
    let hostile = "</style></title><script>alert(1)</script>\\\"'&amp;\\u{202e}";
    let module = SEEN
        .replace("$seen", &format!("(@name \"{hostile}\")"))
        .replace("$heap", &format!("(@name \"{hostile}\")"))
        .replace("(global (export \"ratio\")", &format!("(global (export \"{hostile}\")"));
    sandbox.file("hostile.wat", module);
    sandbox.ok(&["snapshot", "create", "--name", "f", "hostile.wat"]);
    let page = page(&sandbox, "f");
    check(&page);
    assert_eq!(page.matches("&lt;script&gt;alert(1)").count(), 3, "{page}");
    assert!(!page.contains('\u{202e}') && page.contains("&amp;amp;"), "{page}");
}

#[test]
fn a_page_does_not_take_the_place_of_its_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.file("seen.wat", SEEN);
    sandbox.ok(&["snapshot", "create", "-o", "seen.snap", "seen.wat"]);
    let run = sandbox.run(&["snapshot", "inspect", "--html", "seen.snap", "seen.snap"]);
    run.failed(2, &["--html seen.snap would overwrite seen.snap"]);
    sandbox.ok(&["snapshot", "inspect", "seen.snap"]);
}

#[test]
fn pages_of_a_base_are_told_from_the_files_own() {
    let sandbox = Sandbox::new();
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/0.1.0/layered.snap");
    let page = page(&sandbox, corpus);
    check(&page);
    for text in ["zero <b>12</b>", "in a base <b>3</b>", "in this file <b>1</b>", "base.snap"] {
        assert!(page.contains(text), "{text}: {page}");
    }
}
