//! The handshake against a BMC in this process: suites, fall-back, hostility. (`ipmi_sim`, in the integration tests, is not
//! ours but knows suite 3 only.)

mod fuzz;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use farrier_common::hardware::PowerState;
use farrier_ipmi::commands::GetChassisStatus;
use proptest::prelude::*;
use tokio::{net::UdpSocket, task::JoinHandle};

use super::{suite::Keys, *};

const PASSWORD: &[u8] = b"calvin";
const GUID: [u8; 16] = [0xa5; 16];
const RANDOM: [u8; 16] = [7; 16];
const BMC_ID: u32 = 0x0102_0304;
const QUICK: Pace =
    Pace { first: Duration::from_millis(60), most: Duration::from_millis(100), deadline: Duration::from_millis(500) };

/// What the BMC does with algorithms that it does not take.
#[derive(Clone, Copy)]
enum Otherwise {
    Refuse,
    Ignore,
}

/// A BMC with one suite whose power is on.
struct Bmc {
    suite: Suite,
    otherwise: Otherwise,
    console_id: [u8; 4],
    console_random: [u8; 16],
    who: Vec<u8>,
    sealer: Option<Sealer>,
    sent: u32,
}

impl Bmc {
    const fn new(suite: Suite, otherwise: Otherwise) -> Self {
        Self { suite, otherwise, console_id: [0; 4], console_random: [0; 16], who: Vec::new(), sealer: None, sent: 0 }
    }

    fn answer(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        if let Some(message) = packet::open_sessionless(datagram) {
            return Some(packet::sessionless(&ipmb(message, &[0, 1, 0x80, 0, 2, 0, 0, 0, 0])));
        }
        if let Some(opened) = self.sealer.as_ref().and_then(|sealer| sealer.open(datagram)) {
            let answer: &[u8] = match opened.payload[5] {
                0x3b => &[0, 4],
                0x01 => &[0, 1, 0, 0],
                _ => &[0],
            };
            self.sent += 1;
            let (id, inner) = (u32::from_le_bytes(self.console_id), ipmb(&opened.payload, answer));
            return self.sealer.as_ref().map(|sealer| sealer.seal(packet::IPMI, id, self.sent, &inner));
        }
        let opened = packet::open_plain(datagram)?;
        self.shake(opened.kind, &opened.payload)
    }

    fn shake(&mut self, kind: u8, request: &[u8]) -> Option<Vec<u8>> {
        let tag = request[0];
        let answer = match kind {
            0x10 => {
                self.console_id = request[4..8].try_into().ok()?;
                if [request[12], request[20], request[28]] != self.suite.algorithms() {
                    return match self.otherwise {
                        Otherwise::Refuse => {
                            Some(packet::plain(0x11, &[&[tag, 0x11, 0, 0], &self.console_id[..]].concat()))
                        }
                        Otherwise::Ignore => None,
                    };
                }
                [&[tag, 0, 4, 0], &self.console_id[..], &BMC_ID.to_le_bytes(), &request[8..32]].concat()
            }
            0x12 => {
                self.console_random = request[8..24].try_into().ok()?;
                self.who = [&request[24..25], &request[27..]].concat();
                let (own, id) = (&self.console_random[..], BMC_ID.to_le_bytes());
                let proof = self.suite.hmac(PASSWORD, &[&self.console_id, &id, own, &RANDOM, &GUID, &self.who]);
                [&[tag, 0, 0, 0], &self.console_id[..], &RANDOM, &GUID, &proof].concat()
            }
            0x14 => {
                let wanted = self.suite.hmac(PASSWORD, &[&RANDOM, &self.console_id, &self.who]);
                if request[8..] != wanted {
                    return Some(packet::plain(0x15, &[&[tag, 0x0f, 0, 0], &self.console_id[..]].concat()));
                }
                let keys = Keys::derive(self.suite, PASSWORD, &self.console_random, &RANDOM, &self.who);
                let check = self.suite.hmac(&keys.session, &[&self.console_random, &BMC_ID.to_le_bytes(), &GUID]);
                self.sealer = Some(Sealer(keys));
                [&[tag, 0, 0, 0], &self.console_id[..], &check[..self.suite.check_length()]].concat()
            }
            _ => return None,
        };
        Some(packet::plain(kind | 1, &answer))
    }
}

/// The answer to a request.
fn ipmb(request: &[u8], data: &[u8]) -> Vec<u8> {
    let mut answer = packet::ipmb_request(request[1] >> 2 | 1, request[5], request[4] >> 2, data);
    (answer[0], answer[3]) = (0x81, 0x20);
    answer[2] = 0_u8.wrapping_sub(answer[0]).wrapping_sub(answer[1]);
    answer
}

/// Answers datagrams until dropped.
struct Peer(SocketAddrV4, JoinHandle<()>);

impl Peer {
    async fn start(mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("an IPv4 socket") };
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                for packet in answer(&buffer[..length]) {
                    let _ = socket.send_to(&packet, from).await;
                }
            }
        });
        Self(address, task)
    }

    async fn bmc(suite: Suite, otherwise: Otherwise) -> Self {
        let mut bmc = Bmc::new(suite, otherwise);
        // Every answer comes twice.
        Self::start(move |datagram| {
            bmc.answer(datagram).into_iter().flat_map(|packet| [packet.clone(), packet]).collect()
        })
        .await
    }

    fn login(&self, password: &str) -> Login {
        Login {
            address: self.0,
            username: "root".into(),
            password: password.to_owned().into(),
            face: crate::bmc::Face::Ipmi,
            suites: KnownSuites::default(),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.1.abort();
    }
}

#[tokio::test]
async fn the_best_suite_that_the_bmc_takes_is_used() {
    for (suite, otherwise) in
        [(Suite::Seventeen, Otherwise::Refuse), (Suite::Three, Otherwise::Refuse), (Suite::Three, Otherwise::Ignore)]
    {
        let peer = Peer::bmc(suite, otherwise).await;
        let mut session = Session::open(&peer.login("calvin"), QUICK).await.unwrap();
        assert_eq!(session.suite(), suite);
        for _ in 0..100 {
            assert_eq!(session.run(GetChassisStatus).await.unwrap(), PowerState::On);
        }
        session.close().await;
        let wrong = Session::open(&peer.login("hobbes"), QUICK).await.unwrap_err();
        assert!(matches!(wrong, SessionError::BadLogin(_)), "{wrong}");
    }
}

#[tokio::test]
async fn a_suite_that_is_not_answered_costs_little_and_is_not_asked_for_again() {
    let peer = Peer::bmc(Suite::Three, Otherwise::Ignore).await;
    let (login, pace) = (peer.login("calvin"), Pace { deadline: Duration::from_secs(60), ..QUICK });
    Session::open(&login, pace).await.unwrap().close().await;
    assert!(login.suites.is_three(login.address));
    let start = tokio::time::Instant::now();
    Session::open(&login, pace).await.unwrap().close().await;
    assert!(start.elapsed() < QUICK.first * 3, "{:?}", start.elapsed());
}

/// A peer that answers each message with the right kind and tag, a status and then noise.
async fn against_noise(status: u8, noise: Vec<u8>) -> SessionError {
    let peer = Peer::start(move |datagram| {
        if let Some(message) = packet::open_sessionless(datagram) {
            return vec![packet::sessionless(&ipmb(message, &[&[status], &noise[..]].concat()))];
        }
        let Some(opened) = packet::open_plain(datagram) else { return Vec::new() };
        let console_id = opened.payload.get(4..8).unwrap_or_default();
        vec![packet::plain(opened.kind | 1, &[&[opened.payload[0], status, 0, 0], console_id, &noise[..]].concat())]
    })
    .await;
    let pace = Pace { deadline: Duration::from_millis(120), ..QUICK };
    Session::open(&peer.login("calvin"), pace).await.unwrap_err()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_hostile_handshake_ends_with_an_error(status in 0_u8..20, noise in proptest::collection::vec(any::<u8>(), 0..90)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(against_noise(status, noise));
        prop_assert!(!error.to_string().is_empty());
    }
}
