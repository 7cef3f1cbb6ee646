//! What the command writes: results on standard output, diagnostics on standard error.
//!
//! Invariant: a diagnostic that cannot be written changes nothing, least of all the exit code. Of
//! control characters only line feeds are written, and those that a name held are escaped by then.

use crate::error::Failure;
use executor::Escaped;
use serde::Serialize;
use std::{
    fmt::{self, Display},
    io::{self, Write},
};

/// Writes lines to standard output.
///
/// # Errors
/// When they cannot be written. A reader that has gone away wants no more, which is no failure.
pub fn out(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    raw(&escaped(&text.to_string()))
}

/// Writes text in which nothing is to be escaped, such as JSON, to standard output.
///
/// # Errors
/// As [`out`].
pub fn raw(text: &str) -> Result<(), Failure> {
    succeeded(io::stdout().write_all(text.as_bytes()))
}

/// Writes a value as JSON to standard output.
///
/// # Errors
/// As [`out`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).map_err(Failure::new)?;
    raw(&(tame(&json) + "\n"))
}

/// The same JSON, with what may act on a terminal escaped in its strings: beyond ASCII's control characters, which
/// JSON has to escape, it is allowed as it is.
fn tame(json: &str) -> String {
    let mut tame = String::with_capacity(json.len());
    for c in json.chars() {
        let shown = c.is_ascii() && c != '\u{7f}' || c.escape_debug().len() == 1;
        match shown {
            true => tame.push(c),
            false => {
                let units = c.encode_utf16(&mut [0; 2]).to_vec();
                tame.extend(units.into_iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    tame
}

/// What became of writing to standard output.
///
/// # Errors
/// As [`out`].
pub fn succeeded(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format_args!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says what happens.
pub fn say(what: impl Display) {
    diagnostic(format_args!("{what}"));
}

/// Says what went wrong where that does not stop the work.
pub fn warn(what: impl Display) {
    diagnostic(format_args!("warning: {}", line(&what.to_string())));
}

/// Says what ends the command. It may be more than one line, as a trap with its backtrace is.
pub fn error(what: impl Display) {
    diagnostic(format_args!("error: {what}"));
}

/// In one piece, so that diagnostics of several processes do not mix.
fn diagnostic(text: fmt::Arguments<'_>) {
    let text = escaped(&format!("executor: {text}")) + "\n";
    // The failure could be reported nowhere.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The text, with all control and format characters but line feeds escaped.
fn escaped(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| Escaped(line).to_string()).collect();
    lines.join("\n")
}

/// A message as one line.
pub fn line(message: &str) -> String {
    let parts: Vec<&str> = message.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    match parts.is_empty() {
        true => "failed".to_owned(),
        false => parts.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(line("bad\n  --> file\n\n   | (x"), "bad --> file | (x");
        assert_eq!(line(""), "failed");
    }

    #[test]
    fn only_line_feeds_are_written_as_they_are() {
        assert_eq!(escaped("a\n\u{1b}[2J\r\u{202e}\n"), "a\n\\u{1b}[2J\\r\\u{202e}\n");
    }
}
