use proptest::prelude::*;

use super::*;

fn option(option: OptionType, value: u64) -> TransferOption {
    TransferOption { option, value }
}

#[test]
fn options_are_clamped_or_left_out() {
    let asked = [
        option(OptionType::TransferSize, 0),
        option(OptionType::BlockSize, 65_464),
        option(OptionType::WindowSize, 65_535),
        option(OptionType::Timeout, 3),
        option(OptionType::UTimeout, 5),
    ];
    let agreed = Options::negotiate(&asked, 1000);
    let answers: Vec<_> = agreed.accepted.iter().map(|o| o.value).collect();
    assert_eq!(answers, [1000, 1468, 64, 3]);
    assert_eq!((agreed.block, agreed.window, agreed.timeout), (1468, 64, Duration::from_secs(3)));
    let asked = [option(OptionType::BlockSize, 7), option(OptionType::WindowSize, 0), option(OptionType::Timeout, 256)];
    let agreed = Options::negotiate(&asked, 1000);
    assert_eq!(agreed, Options { block: 512, window: 1, timeout: DEFAULT_TIMEOUT, accepted: vec![] });
}

proptest! {
    #[test]
    fn negotiation_is_bounded(asked in prop::collection::vec((0..6_usize, any::<u64>()), 0..20), size: usize) {
        use OptionType::{BlockSize, Timeout, TransferSize, UTimeout, WindowSize, WindowWait};
        let types = [BlockSize, Timeout, TransferSize, UTimeout, WindowSize, WindowWait];
        let asked: Vec<_> = asked.into_iter().map(|(t, v)| option(types[t], v)).collect();
        let agreed = Options::negotiate(&asked, size);
        prop_assert!((8..=1468).contains(&agreed.block) && (1..=64).contains(&agreed.window));
    }
}

/// A client on loopback that decides which blocks it claims to have got.
struct Peer {
    socket: UdpSocket,
    got: Vec<u8>,
    server: Option<SocketAddr>,
}

impl Peer {
    async fn new() -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(), got: Vec::new(), server: None }
    }

    async fn receive(&mut self) -> Packet {
        let mut buffer = [0; 2048];
        let wait = tokio::time::timeout(Duration::from_secs(20), self.socket.recv_from(&mut buffer));
        let (length, server) = wait.await.unwrap().unwrap();
        self.server = Some(server);
        Packet::deserialize(&buffer[..length]).unwrap()
    }

    async fn data(&mut self) -> (u16, Vec<u8>) {
        let Packet::Data { block_num, data } = self.receive().await else { panic!("no data") };
        (block_num, data)
    }

    async fn ack(&self, block: u16) {
        self.socket.send_to(&Packet::Ack(block).serialize().unwrap(), self.server.unwrap()).await.unwrap();
    }
}

fn file(length: usize) -> Bytes {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

async fn transfer(
    peer: &Peer,
    file: &Bytes,
    asked: &[TransferOption],
) -> tokio::task::JoinHandle<Result<(), TransferError>> {
    let options = Options { timeout: Duration::from_millis(40), ..Options::negotiate(asked, file.len()) };
    let client = peer.socket.local_addr().unwrap();
    tokio::spawn(Transfer::begin(client.ip(), client, file.clone(), options))
}

#[tokio::test]
async fn lost_and_repeated_packets_do_no_harm_in_lock_step() {
    let (mut peer, file) = (Peer::new().await, file(1024));
    let running = transfer(&peer, &file, &[]).await;
    for expected in 1..=3 {
        let (block, _) = peer.data().await;
        assert_eq!(block, expected);
        // As if lost: it comes again.
        let (block, data) = peer.data().await;
        assert_eq!(block, expected);
        peer.got.extend(data);
        peer.ack(block - 1).await;
        peer.ack(block).await;
        peer.ack(block).await;
    }
    running.await.unwrap().unwrap();
    assert_eq!(peer.got, file);
}

#[tokio::test]
async fn a_gap_in_a_window_is_sent_again() {
    let (mut peer, file) = (Peer::new().await, file(512 * 5 + 7));
    let running = transfer(&peer, &file, &[option(OptionType::WindowSize, 4)]).await;
    assert!(matches!(peer.receive().await, Packet::Oack(options) if options.len() == 1));
    peer.ack(0).await;
    for _ in 0..4 {
        peer.data().await;
    }
    // The first was lost, then the third.
    peer.ack(0).await;
    for _ in 0..4 {
        let (block, data) = peer.data().await;
        if block <= 2 {
            peer.got.extend(data);
        }
    }
    peer.ack(2).await;
    for expected in 3..=6 {
        let (block, data) = peer.data().await;
        assert_eq!(block, expected);
        peer.got.extend(data);
    }
    peer.ack(6).await;
    running.await.unwrap().unwrap();
    assert_eq!(peer.got, file);
}

#[tokio::test]
async fn block_numbers_roll_over() {
    let (mut peer, file) = (Peer::new().await, file(8 * 66_000));
    let asked = [option(OptionType::BlockSize, 8), option(OptionType::WindowSize, 64)];
    let running = transfer(&peer, &file, &asked).await;
    peer.receive().await;
    peer.ack(0).await;
    let mut last = 0_u16;
    loop {
        let (block, data) = peer.data().await;
        if block == last.wrapping_add(1) {
            last = block;
            peer.got.extend(&data);
            if data.len() < 8 {
                break;
            }
        }
        if peer.got.len().is_multiple_of(8 * 64) {
            peer.ack(last).await;
        }
    }
    peer.ack(last).await;
    running.await.unwrap().unwrap();
    assert_eq!(peer.got, file);
}

#[tokio::test]
async fn clients_that_vanish_or_abort_are_let_go() {
    let (mut peer, file) = (Peer::new().await, file(600));
    let silent = transfer(&peer, &file, &[]).await;
    assert!(matches!(silent.await.unwrap(), Err(TransferError::Silent)));
    while tokio::time::timeout(Duration::from_millis(20), peer.receive()).await.is_ok() {}
    let aborted = transfer(&peer, &file, &[option(OptionType::TransferSize, 0)]).await;
    peer.receive().await;
    let error = Packet::Error { code: tftpd::ErrorCode::NotDefined, msg: "only wanted the size".to_owned() };
    peer.socket.send_to(&error.serialize().unwrap(), peer.server.unwrap()).await.unwrap();
    assert!(matches!(aborted.await.unwrap(), Err(TransferError::Aborted(_))));
}
