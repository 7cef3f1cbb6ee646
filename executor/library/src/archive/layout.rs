//! The documents of an OCI image layout, as far as archives of functions have them.
//!
//! Invariant: the names and types are those of the OCI image specification, 1.1.

use super::ArchiveError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

/// The file that says that a directory is an image layout.
pub(super) const LAYOUT_FILE: &str = "oci-layout";
/// The file that leads to all others.
pub(super) const INDEX_FILE: &str = "index.json";
/// Where blobs are.
pub(super) const BLOBS: &str = "blobs/sha256/";
/// The version of the layout.
pub(super) const LAYOUT_VERSION: &str = "1.0.0";
/// No document is longer.
pub(super) const MAX_DOCUMENT: u64 = 1 << 20;

/// The type of the index.
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The type of a manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The type of a configuration that says nothing.
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Its bytes.
pub(super) const EMPTY_BYTES: &[u8] = b"{}";
/// What the artifact is.
pub(super) const FUNCTION: &str = "application/vnd.executor.function.v1";
/// A snapshot file.
pub(super) const SNAPSHOT: &str = "application/vnd.executor.snapshot.v1";
/// The file of a snapshot that the other has pages of.
pub(super) const BASE: &str = "application/vnd.executor.snapshot.base.v1";
/// A module.
pub(super) const MODULE: &str = "application/wasm";

/// The code file of a module.
pub(super) const CODE: &str = "application/vnd.executor.code.v1";

/// The annotation with the name of the function.
pub(super) const NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with the name that a blob has as a file.
pub(super) const TITLE: &str = "org.opencontainers.image.title";
/// The annotation with the identity of the snapshot.
pub(super) const SNAPSHOT_ID: &str = "vnd.executor.snapshot.id";
/// The annotation with the key that a code file is found by.
pub(super) const CODE_KEY: &str = "vnd.executor.code.key";

/// The SHA-256 of a blob, as text: `sha256:` and 64 digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Digest(String);

impl Digest {
    const PREFIX: &str = "sha256:";

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::end(Sha256::new_with_prefix(bytes))
    }

    /// What a hasher has come to.
    pub(super) fn end(hasher: Sha256) -> Self {
        let mut text = Self::PREFIX.to_owned();
        for byte in hasher.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The digest of the blob at a path.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        let digits = path.strip_prefix(BLOBS)?;
        let hexadecimal = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        let whole = digits.len() == 64 && digits.bytes().all(hexadecimal);
        whole.then(|| Self(format!("{}{digits}", Self::PREFIX)))
    }

    /// The path of its blob.
    pub(super) fn path(&self) -> String {
        format!("{BLOBS}{}", self.0.strip_prefix(Self::PREFIX).unwrap_or_default())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `oci-layout` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layout {
    pub(super) image_layout_version: String,
}

/// What `index.json` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) schema_version: u32,
    pub(super) media_type: Option<String>,
    pub(super) manifests: Vec<Descriptor>,
}

/// What a blob is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// What the artifact is made of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    pub(super) media_type: Option<String>,
    pub(super) artifact_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    pub(super) fn annotated(mut self, key: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }
}

/// A document, as it is written.
pub(super) fn write(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("strings and numbers can always be written")
}

/// A document that was read; `what` it is.
pub(super) fn read<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|error| ArchiveError::Layout(format!("{what}: {error}")))
}
