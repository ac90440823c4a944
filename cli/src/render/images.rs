//! Images.

use chrono::{DateTime, Utc};
use farrier_proto::v1::{Blob, Image};
use serde_json::{Value, json};

use super::{
    table::{Fit, Page, cell, table},
    words::{self, filled, rfc3339},
};

/// One image for programs.
pub(crate) fn json(image: &Image) -> Value {
    json!({
        "id": image.id,
        "name": image.name,
        "kind": words::image_kind(image.kind),
        "architecture": words::architecture(image.architecture),
        "blobs": image.blobs.iter().map(|b| json!({
            "role": words::blob_role(b.role),
            "sha256": b.sha256,
            "size_bytes": b.size_bytes,
            "compression": words::compression(b.compression),
            "content_sha256": filled(&b.content_sha256),
            "content_size_bytes": (b.content_size_bytes > 0).then_some(b.content_size_bytes),
        })).collect::<Vec<_>>(),
        "created_at": rfc3339(image.created_at.as_ref()),
        "etag": image.etag,
    })
}

/// A list for programs.
pub(crate) fn list_json(images: &[Image]) -> Value {
    json!({ "images": images.iter().map(json).collect::<Vec<_>>() })
}

/// A list for people.
pub(crate) fn list_table(images: &[Image], width: Option<u16>) -> String {
    let columns = [
        ("NAME", Fit::Whole),
        ("KIND", Fit::Whole),
        ("ARCH", Fit::Whole),
        ("SIZE", Fit::Whole),
        ("CREATED", Fit::Whole),
        ("ID", Fit::Wraps),
    ];
    let rows = images.iter().map(|i| {
        vec![
            cell(i.name.clone()),
            cell(words::image_kind(i.kind)),
            cell(words::architecture(i.architecture)),
            words::size(i.blobs.iter().map(|b| b.size_bytes).sum()),
            cell(words::seconds(i.created_at.as_ref())),
            cell(i.id.clone()),
        ]
    });
    table(width, &columns, rows.collect())
}

/// Everything about an image, for people.
pub(crate) fn page(image: &Image, now: DateTime<Utc>, width: Option<u16>) -> String {
    let inner = width.map(|w| w.saturating_sub(2));
    Page::default()
        .pair("Name", image.name.clone())
        .pair("Id", image.id.clone())
        .pair("Kind", words::image_kind(image.kind))
        .pair("Architecture", words::architecture(image.architecture))
        .pair("Created", words::with_age(image.created_at.as_ref(), now))
        .section("Files", &blobs_table(&image.blobs, inner))
        .text()
}

fn blobs_table(blobs: &[Blob], width: Option<u16>) -> String {
    let columns = [
        ("ROLE", Fit::Whole),
        ("SIZE", Fit::Whole),
        ("COMPRESSION", Fit::Whole),
        ("CONTENT", Fit::Whole),
        ("SHA-256", Fit::Whole),
    ];
    let rows = blobs.iter().map(|b| {
        let content = (b.content_size_bytes > 0).then(|| words::size(b.content_size_bytes));
        vec![
            cell(words::blob_role(b.role)),
            words::size(b.size_bytes),
            cell(words::compression(b.compression)),
            cell(content),
            cell(b.sha256.clone()),
        ]
    });
    table(width, &columns, rows.collect())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::{Architecture, BlobRole, Compression, ImageKind};
    use prost_types::Timestamp;

    use super::*;

    fn sample() -> Image {
        Image {
            id: "0199".to_owned(),
            name: "debian-13".to_owned(),
            kind: ImageKind::Disk.into(),
            architecture: Architecture::Amd64.into(),
            blobs: vec![Blob {
                role: BlobRole::Disk.into(),
                sha256: "5f".repeat(32),
                size_bytes: 300 << 20,
                compression: Compression::Zstd.into(),
                content_sha256: "6e".repeat(32),
                content_size_bytes: 3 << 30,
            }],
            created_at: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            etag: "7".to_owned(),
        }
    }

    #[test]
    fn for_people() {
        expect![[r#"
            NAME       KIND  ARCH   SIZE        CREATED               ID
            debian-13  disk  amd64  300.00 MiB  2027-01-15T08:00:00Z  0199"#]]
        .assert_eq(&list_table(&[sample()], None));
        let now = DateTime::from_timestamp(1_800_000_090, 0).unwrap();
        expect![[r#"
            Name:          debian-13
            Id:            0199
            Kind:          disk
            Architecture:  amd64
            Created:       2027-01-15T08:00:00Z (1m30s ago)

            Files
              ROLE  SIZE        COMPRESSION  CONTENT   SHA-256
              disk  300.00 MiB  zstd         3.00 GiB  5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f"#]].assert_eq(&page(&sample(), now, None));
    }

    #[test]
    fn for_programs() {
        expect![[r#"
            {
              "images": [
                {
                  "architecture": "amd64",
                  "blobs": [
                    {
                      "compression": "zstd",
                      "content_sha256": "6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e",
                      "content_size_bytes": 3221225472,
                      "role": "disk",
                      "sha256": "5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f",
                      "size_bytes": 314572800
                    }
                  ],
                  "created_at": "2027-01-15T08:00:00Z",
                  "etag": "7",
                  "id": "0199",
                  "kind": "disk",
                  "name": "debian-13"
                }
              ]
            }"#]]
        .assert_eq(&format!("{:#}", list_json(&[sample()])));
    }
}
