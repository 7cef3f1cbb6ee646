//! An environment, laid out once and as guests take it.
//!
//! Invariant: each variable is `NAME=VALUE` and ended by a zero byte, which is nowhere else; no name is empty, has a `=`
//! or is there twice. All of it fits into a guest's memory.

use crate::WasiError;
use std::collections::HashMap;

/// The variables of a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    text: String,
    /// Where each variable begins.
    starts: Vec<u32>,
}

impl Environment {
    /// Without variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Without variables, and with room for so many of so many bytes in all.
    #[must_use]
    pub fn with_capacity(variables: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), starts: Vec::with_capacity(variables) }
    }

    /// Variables by name and value; the last of a name holds.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn of(
        variables: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self, WasiError> {
        let variables: Vec<_> = variables.into_iter().collect();
        let names = variables.iter().map(|(name, _)| name.as_ref());
        let last: HashMap<&str, usize> = names.zip(0..).collect();
        let mut all = Self::new();
        for ((name, value), at) in variables.iter().zip(0..) {
            if last.get(name.as_ref()) == Some(&at) {
                all.push(name.as_ref(), value.as_ref())?;
            }
        }
        Ok(all)
    }

    /// Takes what [`Self::as_str`] gave.
    ///
    /// # Errors
    /// When it is no environment.
    pub fn parse(text: String) -> Result<Self, WasiError> {
        if u32::try_from(text.len()).is_err() || !(text.is_empty() || text.ends_with('\0')) {
            return Err(NO_VARIABLE);
        }
        let mut all = Self { text, starts: Vec::with_capacity(16) };
        // Where the variable begins, and how long its name is.
        let (mut start, mut name) = (0, None);
        for at in 0..all.text.len() {
            match (all.text.as_bytes()[at], name) {
                (b'=', None) => name = Some(at - start),
                (0, Some(len @ 1..)) if all.find(&all.text[start..start + len]).is_none() => {
                    all.starts.push(start as u32);
                    (start, name) = (at + 1, None);
                }
                (0, _) => return Err(WasiError::VariableName(all.text[start..at].to_owned())),
                _ => {}
            }
        }
        Ok(all)
    }

    /// Sets a variable, as the last one; an earlier one of that name is replaced.
    ///
    /// # Errors
    /// When it cannot be told to a guest: its name is empty or has a `=`, it has a zero byte, or it is too long.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), WasiError> {
        let earlier = self.find(name);
        self.push(name, value)?;
        if let Some(earlier) = earlier {
            self.remove(earlier);
        }
        Ok(())
    }

    /// Adds a variable of another name than those that are there.
    fn push(&mut self, name: &str, value: &str) -> Result<(), WasiError> {
        if name.is_empty() || name.contains('=') {
            return Err(WasiError::VariableName(name.to_owned()));
        }
        let len = self.text.len() + name.len() + value.len() + 2;
        if u32::try_from(len).is_err() || name.contains('\0') || value.contains('\0') {
            return Err(NO_VARIABLE);
        }
        self.starts.push(self.text.len() as u32);
        for part in [name, "=", value, "\0"] {
            self.text.push_str(part);
        }
        Ok(())
    }

    /// Sets all variables of another environment.
    ///
    /// # Errors
    /// When all are too long together.
    pub fn set_all(&mut self, others: &Self) -> Result<(), WasiError> {
        if self.is_empty() {
            self.text.push_str(&others.text);
            self.starts.extend_from_slice(&others.starts);
            return Ok(());
        }
        others.iter().try_for_each(|(name, value)| self.set(name, value))
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (start, end) = self.range(self.find(name)?);
        Some(&self.text[start + name.len() + 1..end - 1])
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables().filter_map(|variable| variable.split_once('='))
    }

    /// Each variable as `NAME=VALUE`.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.text.split_terminator('\0')
    }

    /// Whether there is no variable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The variables as they are laid out: `NAME=VALUE`, each ended by a zero byte.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The layout, and where in it each variable begins.
    pub(crate) fn into_parts(self) -> (String, Vec<u32>) {
        (self.text, self.starts)
    }

    fn find(&self, name: &str) -> Option<usize> {
        let name = name.as_bytes();
        self.starts.iter().position(|start| {
            let rest = &self.text.as_bytes()[*start as usize..];
            rest.get(name.len()) == Some(&b'=') && rest.starts_with(name)
        })
    }

    fn range(&self, variable: usize) -> (usize, usize) {
        let end = self.starts.get(variable + 1).map_or(self.text.len(), |next| *next as usize);
        (self.starts[variable] as usize, end)
    }

    fn remove(&mut self, variable: usize) {
        let (start, end) = self.range(variable);
        self.text.replace_range(start..end, "");
        self.starts.remove(variable);
        for later in &mut self.starts[variable..] {
            *later -= (end - start) as u32;
        }
    }
}

const NO_VARIABLE: WasiError = WasiError::Strings("an environment variable");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_there_once_and_the_last_value_holds() {
        let mut env = Environment::new();
        for (name, value) in [("A", "1"), ("AB", "2"), ("C", ""), ("A", "b=c"), ("AB", "")] {
            env.set(name, value).unwrap();
        }
        assert_eq!(env.iter().collect::<Vec<_>>(), [("C", ""), ("A", "b=c"), ("AB", "")]);
        assert_eq!(env.as_str(), "C=\0A=b=c\0AB=\0");
        assert_eq!(env.starts, [0, 3, 9]);
        assert_eq!(
            ["A", "AB", "C", "B"].map(|name| env.get(name)),
            [Some("b=c"), Some(""), Some(""), None]
        );
        assert_eq!(Environment::parse(env.as_str().to_owned()).unwrap(), env);
        let mut all = Environment::with_capacity(4, 100);
        all.set_all(&env).unwrap();
        let again = [("A", "1"), ("C", ""), ("A", "b=c"), ("AB", "")];
        assert_eq!(Environment::of(again).unwrap(), env);
        assert_eq!(all, env);
        all.set_all(&Environment::of([("D", "1"), ("C", "2")]).unwrap()).unwrap();
        assert_eq!(all.as_str(), "A=b=c\0AB=\0D=1\0C=2\0");
    }

    #[test]
    fn what_cannot_be_told_is_an_error_and_changes_nothing() {
        let mut env = Environment::new();
        env.set("A", "1").unwrap();
        for name in ["", "A=B", "="] {
            assert!(matches!(env.set(name, "x"), Err(WasiError::VariableName(n)) if n == name));
        }
        for (name, value) in [("B", "\0"), ("B\0", "x")] {
            assert!(matches!(env.set(name, value), Err(WasiError::Strings(_))));
        }
        assert_eq!(env.as_str(), "A=1\0");
        for text in ["A=1", "A=1\0B\0", "A\0", "\0", "=\0", "A=1\0A=1\0", "A=1\0\0", "A=1\0B"] {
            assert!(Environment::parse(text.to_owned()).is_err(), "{text:?}");
        }
        assert!(Environment::parse(String::new()).unwrap().is_empty());
    }
}
