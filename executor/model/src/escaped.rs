//! Names of guests in messages.
//!
//! Invariant: what is printed of a name stays on its line and does nothing to a terminal, whatever
//! the name holds.

use std::fmt;

/// A name as messages and lists print it: control characters, format characters (which turn the
/// direction of text, or are not seen) and the like are escaped, `\n` or `\u{1b}`. The rest, quotes and backslashes
/// too, stays as it is, so that escaping what is escaped already changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KEPT: [char; 3] = ['\'', '"', '\\'];
        for piece in self.0.split_inclusive(KEPT) {
            let text = piece.strip_suffix(KEPT).unwrap_or(piece);
            write!(f, "{}{}", text.escape_debug(), &piece[text.len()..])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        let show = |name| Escaped(name).to_string();
        assert_eq!(show("a\nb\r\0\t"), r"a\nb\r\0\t");
        // Escape, bell, delete, a C1 control; directions, a zero width space, a soft hyphen, a tag.
        assert_eq!(
            show("\u{1b}\u{7}\u{7f}\u{9b}\u{202e}\u{2066}\u{200b}\u{ad}\u{e0041}"),
            r"\u{1b}\u{7}\u{7f}\u{9b}\u{202e}\u{2066}\u{200b}\u{ad}\u{e0041}"
        );
        assert_eq!(show("\u{2028}\u{2029}\u{feff}"), r"\u{2028}\u{2029}\u{feff}");
    }

    #[test]
    fn text_stays_as_it_is() {
        for name in ["", "it's", "a\"b\\c", "größe", "e\u{301}", "名前", "🦀", "<T as U>::f$x"]
        {
            assert_eq!(Escaped(name).to_string(), name);
        }
    }

    #[test]
    fn escaping_twice_is_escaping_once() {
        let once = Escaped("\u{1b}\"\n").to_string();
        assert_eq!(Escaped(&once).to_string(), once);
    }
}
