//! The token of the administration.
//!
//! Invariant: it is in no log and no message, and comparing it takes as long whatever it is compared with.

use rustix::rand::{GetRandomFlags, getrandom};
use std::{
    fmt,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The file of the store that a token is made in where none is named.
const FILE: &str = "admin-token";
/// The least length of a token, in bytes.
const SHORTEST: usize = 16;

/// What a client shows.
pub(crate) struct Token(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// Its file cannot be read or made.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// It could be guessed.
    #[error("{}: a token of the administration has {SHORTEST} printable characters or more", .0.display())]
    Weak(PathBuf),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// That of a file.
    ///
    /// # Errors
    /// When it cannot be read, or is too short.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File { path: path.to_owned(), source };
        let token = fs::read_to_string(path).map_err(failed)?.trim().to_owned();
        match token.len() >= SHORTEST && token.bytes().all(|c| c.is_ascii_graphic()) {
            true => Ok(Self(token)),
            false => Err(TokenError::Weak(path.to_owned())),
        }
    }

    /// That of a store, which is made if there is none; and where it is.
    ///
    /// # Errors
    /// As [`Self::read`], and when it cannot be made.
    pub(crate) fn of_store(store: &Path) -> Result<(Self, PathBuf), TokenError> {
        let path = store.join(FILE);
        let failed = |source| TokenError::File { path: path.clone(), source };
        match File::options().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let mut bytes = [0; 32];
                getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| failed(e.into()))?;
                let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(file, "{token}").map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        Ok((Self::read(&path)?, path))
    }

    /// Whether this is it.
    pub(crate) fn is(&self, shown: &str) -> bool {
        let (own, shown) = (self.0.as_bytes(), shown.as_bytes());
        let differ = own.iter().zip(shown).fold(0, |differ, (a, b)| differ | (a ^ b));
        std::hint::black_box(differ) == 0 && own.len() == shown.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_s_token_is_made_once_and_is_the_users_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (token, path) = Token::of_store(dir.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let (again, _) = Token::of_store(dir.path()).unwrap();
        assert!(token.is(text.trim()) && again.is(text.trim()));
        for other in ["", &text.trim()[1..], &format!("{}0", text.trim()), &"0".repeat(64)] {
            assert!(!token.is(other), "{other}");
        }
        assert!(!format!("{token:?}").contains(text.trim()));
        fs::write(&path, "short").unwrap();
        assert!(matches!(Token::of_store(dir.path()), Err(TokenError::Weak(_))));
    }
}
