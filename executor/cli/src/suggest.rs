//! What a user may have meant by a word that names nothing.
//!
//! Invariant: one name at most is suggested, and only where it is much like the word.

/// How like two words are that one is suggested for the other; 1 is the same.
const ALIKE: f64 = 0.75;

/// The most alike of `names`, as the end of a sentence: `; did you mean `x`?`, or nothing.
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let alike = |name: &'a str| (strsim::jaro_winkler(word, name), name);
    let best = names.into_iter().map(alike).max_by(|(a, _), (b, _)| a.total_cmp(b));
    match best {
        Some((alike, name)) if alike >= ALIKE => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_is_suggested_if_it_is_alike_at_all() {
        let names = ["resize", "render", "fetch"];
        assert_eq!(did_you_mean("rezise", names), "; did you mean `resize`?");
        assert_eq!(did_you_mean("fetsh", names), "; did you mean `fetch`?");
        assert_eq!(did_you_mean("quux", names), "");
        assert_eq!(did_you_mean("quux", []), "");
    }
}
