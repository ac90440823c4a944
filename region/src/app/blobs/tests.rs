use std::io::Write as _;

use farrier_common::secret::sha256_hex;
use futures_util::TryStreamExt as _;

use super::*;

async fn put(blobs: &Blobs, bytes: &[u8]) -> String {
    let sha256 = sha256_hex(bytes);
    let Begun::Upload(mut upload) = blobs.begin(&sha256, bytes.len() as u64).await.unwrap() else { panic!("is there") };
    for chunk in bytes.chunks(7) {
        upload.write(chunk.to_vec()).await.unwrap();
    }
    upload.finish().await.unwrap();
    sha256
}

#[tokio::test]
async fn a_blob_comes_in_whole_and_goes_out_from_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let sha256 = put(&blobs, b"some bytes of an image").await;
    assert_eq!(blobs.size(&sha256).unwrap(), Some(22));
    assert!(matches!(blobs.begin(&sha256, 22).await.unwrap(), Begun::There));
    assert!(blobs.begin(&sha256, 23).await.is_err());
    for (offset, rest) in [(0, "some bytes of an image"), (17, "image"), (22, "")] {
        let (size, stream) = blobs.read(&sha256, offset).await.unwrap();
        let read: Vec<Vec<u8>> = stream.try_collect().await.unwrap();
        assert_eq!((size, read.concat().as_slice()), (22, rest.as_bytes()));
    }
    assert!(blobs.read(&sha256, 23).await.is_err());
    assert!(matches!(blobs.read(&"0".repeat(64), 0).await, Err(Error::NotFound { .. })));
    assert!(blobs.size("../../etc/passwd").is_err());
}

#[tokio::test]
async fn what_is_not_as_announced_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let upload = async |announced: &[u8], size: u64, sent: &[u8]| {
        let Begun::Upload(mut upload) = blobs.begin(&sha256_hex(announced), size).await.unwrap() else {
            panic!("is there")
        };
        upload.write(sent.to_vec()).await?;
        upload.finish().await
    };
    assert!(upload(b"abc", 3, b"abd").await.unwrap_err().to_string().contains("digest"));
    assert!(upload(b"abc", 3, b"ab").await.unwrap_err().to_string().contains("2 bytes came, 3 were announced"));
    assert!(upload(b"abc", 3, b"abcd").await.unwrap_err().to_string().contains("more came"));
    let Begun::Upload(dropped) = blobs.begin(&sha256_hex(b"abc"), 3).await.unwrap() else { panic!("is there") };
    drop(dropped);
    assert_eq!(fs::read_dir(dir.path().join("blobs/tmp")).unwrap().count(), 0);
    assert_eq!(blobs.size(&sha256_hex(b"abc")).unwrap(), None);
    assert!(blobs.begin(&sha256_hex(b""), 0).await.is_err());
}

#[tokio::test]
async fn compressed_content_is_digested() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let plain = b"the disk ".repeat(100_000);
    let want = Content { sha256: sha256_hex(&plain), size: plain.len() as u64 };
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let packed = fs_put(dir.path(), &zstd);
    assert_eq!(blobs.content(&packed, Compression::Zstd).await.unwrap(), want);
    let gzipped = fs_put(dir.path(), &gzip);
    assert_eq!(blobs.content(&gzipped, Compression::Gzip).await.unwrap(), want);
    assert!(blobs.content(&gzipped, Compression::Zstd).await.is_err());
    let cut = fs_put(dir.path(), &zstd[..zstd.len() / 2]);
    assert!(blobs.content(&cut, Compression::Zstd).await.is_err());
    // Remembered: the file may go.
    fs::remove_file(dir.path().join("blobs").join(&packed)).unwrap();
    assert_eq!(blobs.content(&packed, Compression::Zstd).await.unwrap(), want);
}

fn fs_put(data_dir: &Path, bytes: &[u8]) -> String {
    let sha256 = sha256_hex(bytes);
    fs::write(data_dir.join("blobs").join(&sha256), bytes).unwrap();
    sha256
}
