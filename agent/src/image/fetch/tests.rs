use std::{collections::VecDeque, net::SocketAddr};

use farrier_common::{hardware::Compression, secret::sha256_hex};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use super::*;

/// How the server answers one request.
#[derive(Clone, Copy)]
enum Answer {
    /// As asked, with at most so many bytes before the connection drops.
    Ranged(usize),
    /// From the start whatever was asked, as servers do that know no ranges.
    Whole,
    /// With a status and nothing else.
    Status(u16),
    /// With a range that was not asked for.
    OtherRange,
}

/// Serves `content` to one connection an answer; the last answer is repeated. Tells the `Range` headers that it saw.
async fn serve(content: Vec<u8>, answers: &[Answer]) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, ranges) = mpsc::unbounded_channel();
    let mut answers: VecDeque<_> = answers.iter().copied().collect();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            assert!(head.contains("authorization: bearer "), "{head}");
            let range = head.lines().find_map(|l| l.strip_prefix("range: bytes=")).unwrap_or_default().to_owned();
            let from: usize = range.trim_end_matches('-').parse().unwrap_or(0);
            seen.send(range).unwrap();
            let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0] };
            let (line, body) = match answer {
                Answer::Ranged(most) if from == 0 => ("200 OK".to_owned(), &content[..most.min(content.len())]),
                Answer::Ranged(most) => (
                    format!(
                        "206 Partial Content\r\ncontent-range: bytes {from}-{}/{}",
                        content.len() - 1,
                        content.len()
                    ),
                    &content[from..content.len().min(from.saturating_add(most))],
                ),
                Answer::Whole => ("200 OK".to_owned(), &content[..]),
                Answer::Status(code) => (format!("{code} No"), &[][..]),
                Answer::OtherRange => ("206 Partial Content\r\ncontent-range: bytes 1-2/9".to_owned(), &content[..2]),
            };
            let length = if line.starts_with("200") {
                content.len()
            } else if line.starts_with("206") {
                content.len() - from
            } else {
                0
            };
            let head = format!("HTTP/1.1 {line}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            socket.write_all(body).await.unwrap();
        }
    });
    (address, ranges)
}

fn patience() -> Patience {
    Patience {
        without_progress: Duration::from_millis(400),
        denied: Duration::from_millis(100),
        answer: Duration::from_secs(5),
        pauses: Backoff::new(Duration::from_millis(5), Duration::from_millis(20)),
    }
}

/// Fetches `announced` bytes; the outcome, what arrived, and the ranges asked for.
async fn fetch(content: &[u8], announced: u64, answers: &[Answer]) -> (Result<(), TaskError>, Vec<u8>, Vec<String>) {
    let (address, mut ranges) = serve(content.to_vec(), answers).await;
    let base = format!("http://{address}").parse().unwrap();
    let store = Store::new(&base, BootId::generate(), &Secret::random_token(), patience()).unwrap();
    let blob = Blob {
        sha256: sha256_hex(content),
        size_bytes: announced,
        compression: Compression::None,
        content_sha256: sha256_hex(content),
        content_size_bytes: announced,
    };
    let (to, mut from) = mpsc::channel::<Bytes>(4);
    let taking = async {
        let mut all: Vec<u8> = Vec::new();
        while let Some(chunk) = from.recv().await {
            all.extend_from_slice(&chunk);
        }
        all
    };
    let progress = Progress::default();
    let (fetched, all) = tokio::join!(store.fetch(&blob, to, &progress), taking);
    let mut seen = Vec::new();
    while let Ok(range) = ranges.try_recv() {
        seen.push(range);
    }
    (fetched, all, seen)
}

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn goes_on_where_a_broken_connection_left_off() {
    let content = content();
    let size = content.len() as u64;
    let answers = [Answer::Ranged(1000), Answer::Status(503), Answer::Ranged(100_000), Answer::Ranged(usize::MAX)];
    let (outcome, all, ranges) = fetch(&content, size, &answers).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(all == content);
    assert_eq!(ranges, ["", "1000-", "1000-", "101000-"]);
}

#[tokio::test]
async fn skips_what_it_has_when_the_server_knows_no_ranges() {
    let content = content();
    let (outcome, all, _) = fetch(&content, content.len() as u64, &[Answer::Ranged(70_001), Answer::Whole]).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(all == content);
}

#[tokio::test]
async fn a_wrong_range_never_reaches_the_disk() {
    let content = content();
    let answers = [Answer::Ranged(10), Answer::OtherRange, Answer::Ranged(usize::MAX)];
    let (outcome, all, _) = fetch(&content, content.len() as u64, &answers).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(all == content);
}

#[tokio::test]
async fn gives_up_in_time_and_says_why() {
    let check = async |answers: &[Answer], announced: u64, expected: &str| {
        let (outcome, ..) = fetch(&content(), announced, answers).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&[Answer::Status(403)], 300_000, "stopped at byte 0 of 300000: the rack answers 403").await;
    check(&[Answer::Status(404)], 300_000, "the rack answers 404").await;
    check(&[Answer::Ranged(10), Answer::Status(500)], 300_000, "stopped at byte 10").await;
    check(&[Answer::Whole], 299_999, "more than the 299999 bytes").await;
}

#[tokio::test]
async fn stops_when_it_is_told_or_nobody_listens() {
    let (address, _ranges) = serve(content(), &[Answer::Status(503)]).await;
    let base = format!("http://{address}").parse().unwrap();
    let store = Store::new(&base, BootId::generate(), &Secret::random_token(), Patience::default()).unwrap();
    let (compression, digest) = (Compression::None, "0".repeat(64));
    let blob =
        Blob { sha256: digest.clone(), size_bytes: 9, compression, content_sha256: digest, content_size_bytes: 9 };
    let (to, _from) = mpsc::channel(1);
    let progress = Progress::default();
    progress.stop();
    assert!(matches!(store.fetch(&blob, to, &progress).await, Err(TaskError::Stopped)));

    let (address, _ranges) = serve(content(), &[Answer::Whole]).await;
    let base = format!("http://{address}").parse().unwrap();
    let store = Store::new(&base, BootId::generate(), &Secret::random_token(), Patience::default()).unwrap();
    let (to, from) = mpsc::channel(1);
    drop(from);
    assert!(store.fetch(&Blob { size_bytes: 300_000, ..blob }, to, &Progress::default()).await.is_ok());
}
