use std::io::Write as _;

use bytes::Bytes;
use farrier_common::{hardware::Compression, secret::sha256_hex};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;

fn compress(compression: Compression, content: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => content.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(content, 1).unwrap(),
    }
}

fn blob(compression: Compression, content: &[u8], stream: &[u8]) -> Blob {
    Blob {
        sha256: sha256_hex(stream),
        size_bytes: stream.len() as u64,
        compression,
        content_sha256: sha256_hex(content),
        content_size_bytes: content.len() as u64,
    }
}

/// Pours `stream` cut into pieces of `piece` bytes into a disk of `disk` bytes full of 0xee; the outcome and the disk.
fn pour_it(blob: &Blob, stream: &[u8], piece: usize, disk: usize) -> (Result<(), TaskError>, Vec<u8>) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![0xee; disk]).unwrap();
    let (to, from) = mpsc::channel(stream.len() / piece + 1);
    for chunk in stream.chunks(piece) {
        to.try_send(Bytes::copy_from_slice(chunk)).unwrap();
    }
    drop(to);
    let outcome = pour(Incoming::new(from), &file, blob, &Progress::default());
    let mut after = vec![0; usize::try_from(capacity(&file).unwrap()).unwrap()];
    file.read_exact_at(&mut after, 0).unwrap();
    (outcome, after)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn content_reaches_the_disk_whatever_the_compression_and_the_chunks(
        content in proptest::collection::vec(any::<u8>(), 1..70_000),
        piece in 1_usize..9_000,
        way in 0_usize..3,
    ) {
        let compression = Compression::ALL[way];
        let stream = compress(compression, &content);
        let (outcome, disk) = pour_it(&blob(compression, &content, &stream), &stream, piece, 80_000);
        prop_assert!(outcome.is_ok(), "{outcome:?}");
        prop_assert_eq!(&disk[..content.len()], &content[..]);
        prop_assert!(disk[content.len()..].iter().all(|b| *b == 0xee));
    }
}

#[test]
fn several_frames_and_more_than_one_chunk_are_one_content() {
    let content: Vec<u8> = (0..9_u32 << 20).map(|i| (i >> 8) as u8).collect();
    let (first, second) = content.split_at(5_000_001);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let stream = [compress(compression, first), compress(compression, second)].concat();
        let (outcome, disk) = pour_it(&blob(compression, &content, &stream), &stream, 65_536, content.len());
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(disk == content);
    }
}

#[test]
fn what_is_not_as_announced_is_refused() {
    let content = vec![7; 10_000];
    let stream = compress(Compression::Zstd, &content);
    let good = blob(Compression::Zstd, &content, &stream);
    let check = |bad: Blob, stream: &[u8], expected: &str| {
        let error = pour_it(&bad, stream, 100, 20_000).0.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(Blob { sha256: "0".repeat(64), ..good.clone() }, &stream, "the image's digest");
    check(Blob { content_sha256: "0".repeat(64), ..good.clone() }, &stream, "the content's digest");
    check(Blob { size_bytes: 1, ..good.clone() }, &stream, "the image's size");
    check(Blob { content_size_bytes: 10_001, ..good.clone() }, &stream, "has 10000 bytes, expected 10001");
    check(Blob { content_size_bytes: 9_999, ..good.clone() }, &stream, "longer than 9999");
    check(good.clone(), &stream[..stream.len() - 1], "decoding the image");
    check(good, b"no zstd at all", "decoding the image");
}

#[test]
fn content_that_is_too_long_stops_before_it_is_written() {
    let content = vec![7; CHUNK + 4096];
    let short = Blob { content_size_bytes: CHUNK as u64, ..blob(Compression::None, &content, &content) };
    let (outcome, disk) = pour_it(&short, &content, 65_536, CHUNK + 8192);
    assert!(outcome.unwrap_err().to_string().contains("longer than"));
    assert!(disk[CHUNK..].iter().all(|b| *b == 0xee));
}

#[test]
fn a_stopped_task_writes_no_more() {
    let content = vec![7; 100];
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0xee; 100]).unwrap();
    let progress = Progress::default();
    progress.stop();
    let (to, from) = mpsc::channel(1);
    to.try_send(Bytes::copy_from_slice(&content)).unwrap();
    drop(to);
    let blob = blob(Compression::None, &content, &content);
    assert!(matches!(pour(Incoming::new(from), &file, &blob, &progress), Err(TaskError::Stopped)));
    assert!(matches!(digest(&file, 100, &progress), Err(TaskError::Stopped)));
}

#[test]
fn the_digest_is_of_the_written_range_only() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"abcdef").unwrap();
    assert_eq!(digest(&file, 3, &Progress::default()).unwrap(), sha256_hex(b"abc"));
    assert!(digest(&file, 7, &Progress::default()).is_err());
}

#[test]
fn the_end_is_cleared_but_never_the_content() {
    let check = |content: u64, size: usize, blank_from: usize| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0xee; size]).unwrap();
        blank_end(&file, content, size as u64).unwrap();
        let mut after = vec![0; size];
        file.read_exact_at(&mut after, 0).unwrap();
        assert_eq!(after.iter().position(|b| *b == 0).unwrap_or(size), blank_from);
    };
    let mib = 1 << 20;
    check(1000, 3 * mib, 2 * mib);
    check(3 * mib as u64 - 512, 3 * mib, 3 * mib - 512);
    check(3 * mib as u64, 3 * mib, 3 * mib);
    check(10, 4096, 10);
}
