// The tokens of a source file that the compiler of Rust sees, for `build.rs` and for the tests.

use proc_macro2::{Delimiter, LexError, Spacing, TokenStream, TokenTree};

/// The tokens of a file, without comments and documentation.
pub fn tokens(source: &str) -> Result<Vec<String>, LexError> {
    let mut tokens = Vec::new();
    push(source.parse()?, &mut tokens);
    Ok(tokens)
}

fn push(stream: TokenStream, tokens: &mut Vec<String>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    let mut rest = trees.as_slice();
    while let [tree, after @ ..] = rest {
        if let Some(after) = skip_documentation(rest) {
            rest = after;
            continue;
        }
        rest = after;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(open.to_owned());
                push(group.stream(), tokens);
                tokens.push(close.to_owned());
            }
            TokenTree::Punct(punct) => {
                tokens.push(punct.as_char().to_string());
                // `==` is not `= =`.
                if punct.spacing() == Spacing::Joint {
                    tokens.push(String::new());
                }
            }
            token => tokens.push(token.to_string()),
        }
    }
}

/// What follows on `#[doc ...]` or `#![doc ...]`, which doc comments have become, if it stands here.
fn skip_documentation(trees: &[TokenTree]) -> Option<&[TokenTree]> {
    let is = |tree: &TokenTree, c| matches!(tree, TokenTree::Punct(p) if p.as_char() == c);
    let (sign, rest) = trees.split_first()?;
    let rest = match rest {
        [inner, rest @ ..] if is(inner, '!') => rest,
        rest => rest,
    };
    let (TokenTree::Group(attribute), rest) = rest.split_first()? else { return None };
    let first = attribute.stream().into_iter().next()?;
    let doc = matches!(first, TokenTree::Ident(name) if name == "doc");
    (is(sign, '#') && doc).then_some(rest)
}
