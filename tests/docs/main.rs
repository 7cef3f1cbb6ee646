//! Documentation that names things: what it names has to be there.
//!
//! Invariant: a test that `docs/security.md` names exists, and a relative link of any page leads to a file.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above")
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    docs.chain(top).filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// The names of the functions in the sources below a directory.
fn functions(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            functions(&path, names);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let named =
                |line: &str| Some(line.trim().strip_prefix("fn ")?.split_once('(')?.0.to_owned());
            names.extend(text.lines().filter_map(named));
        }
    }
}

#[test]
fn every_test_that_the_page_on_security_names_exists() {
    let mut known = BTreeSet::new();
    for folder in ["executor", "snapshot", "tests"] {
        functions(&root().join(folder), &mut known);
    }
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (_, section) = text.split_once("\n## Who is trusted for what\n").expect("the section");
    // The last column of the tables has the names, in backquotes.
    let cells = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_end_matches('|').rsplit_once('|').map(|(_, cell)| cell));
    let mut named = Vec::new();
    for cell in cells {
        named.extend(cell.split('`').skip(1).step_by(2));
    }
    assert!(named.len() > 20, "the tables name {} tests", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
    assert!(missing.is_empty(), "no test is called {missing:?}");
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut links = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let (path, _) = link.0.split_once('#').unwrap_or((link.0, ""));
            if path.is_empty() || path.contains("://") {
                continue;
            }
            links += 1;
            let target = page.parent().unwrap().join(path);
            assert!(target.exists(), "{}: `{path}` leads nowhere", page.display());
        }
    }
    assert!(links > 10, "{links} links");
}
