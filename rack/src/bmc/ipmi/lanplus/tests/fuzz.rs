//! A million random and mutated replies: none makes the client panic or hang, and none is taken that the BMC's keys did not
//! sign. The dice are the same in each run.

use std::collections::HashSet;

use proptest::test_runner::{RngAlgorithm, TestRng};

use super::{
    super::rakp::{Console, Ids},
    *,
};

/// Replies to an open session, for each suite.
const SEALED: usize = 400_000;
/// RAKP 2 and 4, for each suite.
const PROOFS: usize = 100_000;
/// On the wire, for each suite: so many before the answer to each of so many commands.
const FLOOD: usize = 100;
const COMMANDS: usize = 250;

/// Makes hostile bytes out of honest ones.
struct Twister(TestRng);

impl Twister {
    fn new() -> Self {
        Self(TestRng::deterministic_rng(RngAlgorithm::XorShift))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.below(most + 1)];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// One of the texts, changed; now and then not at all, or not one of them.
    fn twist(&mut self, honest: &[Vec<u8>]) -> Vec<u8> {
        let mut text = honest[self.below(honest.len())].clone();
        for _ in 0..=self.below(3) {
            let at = self.below(text.len().max(1));
            match self.below(9) {
                0 => return self.bytes(300),
                1 | 2 => text.get_mut(at).into_iter().for_each(|byte| *byte ^= 1_u8 << self.below(8)),
                3 => text.get_mut(at).into_iter().for_each(|byte| *byte = self.below(256) as u8),
                4 => text.truncate(at),
                5 => text.extend(self.bytes(40)),
                6 => text.splice(at..at, self.bytes(8)).for_each(drop),
                // The end of another: a right check at the wrong place.
                7 => {
                    let other = &honest[self.below(honest.len())];
                    let tail = &other[self.below(other.len())..];
                    text.truncate(text.len().saturating_sub(tail.len()));
                    text.extend(tail);
                }
                _ => {}
            }
        }
        text
    }
}

/// A login that names nobody's address.
fn login() -> Login {
    Login {
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9),
        username: "root".into(),
        password: String::from_utf8_lossy(PASSWORD).into_owned().into(),
        face: crate::bmc::Face::Ipmi,
        suites: KnownSuites::default(),
    }
}

/// The answers that a session may see, of several lengths.
fn answers(sealer: &Sealer, session: u32) -> Vec<Vec<u8>> {
    let request = packet::ipmb_request(6, 1, 3, &[]);
    (0..48_u32)
        .map(|n| {
            let data: Vec<u8> = (0..=n).map(|byte| byte.to_le_bytes()[0]).collect();
            sealer.seal(packet::IPMI, session, n + 1, &ipmb(&request, &data))
        })
        .collect()
}

#[test]
fn no_reply_is_taken_that_is_not_signed_with_the_sessions_keys() {
    let mut twister = Twister::new();
    for suite in [Suite::Seventeen, Suite::Three] {
        let keys = |password| Sealer(Keys::derive(suite, password, &[1; 16], &RANDOM, b"\x14\x04root"));
        let (sealer, stranger) = (keys(PASSWORD), keys(b"hobbes"));
        let honest = answers(&sealer, BMC_ID);
        // What the RMCP header says apart from its class is not signed, and says nothing to us.
        let signed: HashSet<&[u8]> = honest.iter().map(|packet| &packet[4..]).collect();
        let mut material = honest.clone();
        material.extend(answers(&stranger, BMC_ID));
        material.push(packet::plain(0x11, &[0; 36]));
        material.push(packet::sessionless(&ipmb(&packet::ipmb_request(6, 0x38, 0, &[]), &[0; 9])));
        let mut taken = 0;
        for _ in 0..SEALED {
            let reply = twister.twist(&material);
            if let Some(opened) = sealer.open(&reply) {
                taken += 1;
                assert!(signed.contains(&reply[4..]), "{suite:?} took {reply:02x?}");
                let _ = packet::ipmb_answer(&opened.payload, 6, 1, 3);
            }
            let _ = packet::open_plain(&reply);
            let _ = packet::open_sessionless(&reply).and_then(|inner| packet::ipmb_answer(inner, 6, 0x38, 0));
        }
        assert!(
            (SEALED / 100..SEALED / 2).contains(&taken),
            "{taken} were left as they were: the rest is put to the test"
        );
    }
}

#[test]
fn no_proof_is_taken_that_is_not_made_with_the_password() {
    let (mut twister, login) = (Twister::new(), login());
    for suite in [Suite::Seventeen, Suite::Three] {
        let mut bmc = Bmc::new(suite, Otherwise::Refuse);
        let own = 0x0a0b_0c0d_u32;
        let open: Vec<u8> = [&[0; 4], &own.to_le_bytes()[..]].concat();
        let algorithms = suite.algorithms().map(|algorithm| [0, 0, 0, 8, algorithm, 0, 0, 0]).concat();
        bmc.shake(0x10, &[open, algorithms].concat()).unwrap();
        let ids = Ids { suite, own, bmc: BMC_ID };
        let console = Console::new(&login, &ids).unwrap();
        let payload = |packet: Option<Vec<u8>>| packet::open_plain(&packet.unwrap()).unwrap().payload;
        let second = payload(bmc.shake(0x12, &console.first()));
        let proven = console.second(&second).unwrap();
        let fourth = payload(bmc.shake(0x14, &proven.third));
        console.fourth(&proven, &fourth).unwrap();

        // Tag, status and two reserved bytes are not part of what is proved, and neither is what follows the proof.
        let (second_end, fourth_end) = (40 + suite.digest_length(), 8 + suite.check_length());
        let honest = [second.clone(), fourth.clone()];
        for _ in 0..PROOFS {
            let reply = twister.twist(&honest);
            if console.second(&reply).is_ok() {
                assert_eq!(reply[4..second_end], second[4..second_end], "{suite:?}");
            }
            if console.fourth(&proven, &reply).is_ok() {
                assert_eq!(reply[4..fourth_end], fourth[4..fourth_end], "{suite:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_session_finds_the_answer_in_a_flood() {
    for suite in [Suite::Seventeen, Suite::Three] {
        let mut bmc = Bmc::new(suite, Otherwise::Refuse);
        let mut twister = Twister::new();
        let peer = Peer::start(move |datagram| {
            let in_session = bmc.sealer.is_some();
            let Some(honest) = bmc.answer(datagram) else { return Vec::new() };
            let material = [honest];
            let mut replies = Vec::new();
            if in_session {
                // An answer that is left as it is would end the flood.
                replies.extend((0..FLOOD).map(|_| twister.twist(&material)).filter(|reply| *reply != material[0]));
            }
            replies.extend(material);
            replies
        })
        .await;
        let mut session = Session::open(&peer.login("calvin"), Pace::default()).await.unwrap();
        for _ in 0..COMMANDS {
            assert_eq!(session.run(GetChassisStatus).await.unwrap(), PowerState::On);
        }
        session.close().await;
    }
}
