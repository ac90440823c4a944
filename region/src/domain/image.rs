//! Images: content-addressed files with a name.

use farrier_common::{
    clock::Timestamp,
    hardware::{Architecture, Compression},
    id::ImageId,
    name::Name,
    words,
};

words! {
    /// What an image is for.
    ImageKind {
        /// A whole disk to deploy.
        Disk = "disk",
        /// Kernel and initrd that the agent runs in.
        Ephemeral = "ephemeral",
    }
}

words! {
    /// What a blob of an image is.
    BlobRole {
        /// The disk.
        Disk = "disk",
        /// The kernel.
        Kernel = "kernel",
        /// The initial RAM disk.
        Initrd = "initrd",
    }
}

/// A named set of blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Never changes.
    pub id: ImageId,
    /// Unique.
    pub name: Name,
    /// What it is for.
    pub kind: ImageKind,
    /// Of the machines it fits.
    pub architecture: Architecture,
    /// Its files.
    pub blobs: Vec<Blob>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What it is.
    pub role: BlobRole,
    /// Of the file as stored, lower-case hex.
    pub sha256: String,
    /// Of the file as stored.
    pub size: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// Of the content after decompression.
    pub content_sha256: String,
    /// Of the content after decompression.
    pub content_size: u64,
}

impl Image {
    /// Its blob of that role.
    #[must_use]
    pub fn blob(&self, role: BlobRole) -> Option<&Blob> {
        self.blobs.iter().find(|b| b.role == role)
    }

    /// The roles that an image of a kind must have, each once.
    #[must_use]
    pub const fn roles(kind: ImageKind) -> &'static [BlobRole] {
        match kind {
            ImageKind::Disk => &[BlobRole::Disk],
            ImageKind::Ephemeral => &[BlobRole::Kernel, BlobRole::Initrd],
        }
    }
}
