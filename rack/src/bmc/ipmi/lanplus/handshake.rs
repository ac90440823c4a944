//! Opening a session: capabilities, Open Session, RAKP 1 to 4 (IPMI 2.0 13.15 to 13.24).

use std::net::SocketAddrV4;

use farrier_common::secret::random_bytes;
use farrier_ipmi::users::ADMINISTRATOR;
use tokio::time::Instant;

use super::{
    super::super::Login,
    Pace, Session, SessionError, Suite, Window,
    exchange::Line,
    packet::{self, Sealer},
    rakp::{Console, FIRST, Ids, THIRD},
    suite::Keys,
};

const OPEN_SESSION: u8 = 0x10;
const RAKP_1: u8 = 0x12;
const RAKP_3: u8 = 0x14;
/// IPMI 2.0 table 13-15: insufficient resources for a session.
const NO_ROOM: u8 = 0x01;
/// Handshakes that may be begun anew because a retransmission had confused the BMC.
const FRESH_STARTS: u32 = 8;

/// The first suite is given up after the first wait so many times over, where another may do.
const FIRST_SUITE: u32 = 3;

const CAPABILITIES: &str = "Get Channel Authentication Capabilities";
const OPEN: &str = "Open Session";

/// Opens a session with the first of our suites that the BMC accepts. A BMC whose sessions are all taken is asked again for as
/// long as one message is waited for: those that others use end by and by, and so do our own of which the end was lost.
pub(super) async fn open(login: &Login, pace: Pace) -> Result<Session, SessionError> {
    let until = Instant::now() + pace.deadline;
    loop {
        match shake(login, pace).await {
            Err(SessionError::Status { code: NO_ROOM, .. }) if Instant::now() + pace.most < until => {
                tokio::time::sleep(pace.most).await;
            }
            other => return other,
        }
    }
}

async fn shake(login: &Login, pace: Pace) -> Result<Session, SessionError> {
    let mut starts = 0;
    loop {
        let mut line = Line::open(login.address, pace).await?;
        let ids = begin(&mut line, login).await?;
        let error = match authenticate(&mut line, login, ids).await {
            Ok(ready) => {
                login.suites.learn(login.address, ready.ids.suite);
                return Ok(ready.session(line));
            }
            Err(error) => error,
        };
        starts += 1;
        // When RAKP 1 or 3 was sent twice, the BMC may hold other numbers than we do, so that a right password looks wrong,
        // or hold the session open already and answer no more. Only a handshake without repetition tells. The network may
        // have repeated it, too: a BMC that has just agreed on a session and does not know it has ended it at the first copy.
        let confused = line.repeated || matches!(error, SessionError::Status { code: 0x02 | 0x08, .. });
        if !confused || is_about_the_user(&error) || starts >= FRESH_STARTS {
            return Err(error);
        }
        tracing::debug!(address = %login.address, %error, "handshake begun anew after a retransmission");
    }
}

/// Is a BMC there that speaks IPMI 2.0? Nobody's name is told.
pub(super) async fn greet(address: SocketAddrV4, pace: Pace) -> Result<(), SessionError> {
    capabilities(&mut Line::open(address, pace).await?).await
}

/// Up to where repetition confuses nothing.
async fn begin(line: &mut Line, login: &Login) -> Result<Ids, SessionError> {
    capabilities(line).await?;
    if login.suites.is_three(login.address) {
        match negotiate(line, Suite::Three).await {
            // Its firmware may be another by now.
            Err(error) if is_refusal(&error) => {}
            other => return other,
        }
    }
    // Old BMCs do not answer to algorithms that they do not know, and this one answered a moment ago.
    let pace = line.pace;
    line.pace.deadline = pace.deadline.min(pace.first.saturating_mul(FIRST_SUITE));
    let best = negotiate(line, Suite::Seventeen).await;
    line.pace = pace;
    let silent = matches!(best, Err(SessionError::Silent { .. }));
    if !silent && !best.as_ref().is_err_and(is_refusal) {
        return best;
    }
    match negotiate(line, Suite::Three).await {
        // It knows better ones: the packets were lost.
        Err(error) if silent && is_refusal(&error) => negotiate(line, Suite::Seventeen).await,
        Err(error) if is_refusal(&error) => Err(SessionError::NoSuite(error.to_string())),
        other => other,
    }
}

/// Is the suite refused? IPMI 2.0 table 13-15: invalid authentication, integrity or confidentiality algorithm, no matching
/// suite, illegal parameter.
const fn is_refusal(error: &SessionError) -> bool {
    matches!(error, SessionError::Status { code: 0x04 | 0x05 | 0x10..=0x12, .. })
}

/// Is it the user who is refused? No repetition makes a BMC say that. IPMI 2.0 table 13-15: invalid role, unauthorised role or
/// privilege level, invalid name length, unauthorised name.
const fn is_about_the_user(error: &SessionError) -> bool {
    matches!(error, SessionError::Status { code, .. } if names_the_user(*code))
}

const fn names_the_user(code: u8) -> bool {
    matches!(code, 0x09 | 0x0a | 0x0c | 0x0d)
}

/// Finds out whether a BMC is there and speaks IPMI 2.0. It also wakes slow ones.
async fn capabilities(line: &mut Line) -> Result<(), SessionError> {
    const NETFN: u8 = 6;
    const CMD: u8 = 0x38;
    let message = packet::ipmb_request(NETFN, CMD, 0, &[0x8e, ADMINISTRATOR]);
    let answer = line
        .exchange(
            CAPABILITIES,
            |_| packet::sessionless(&message),
            |datagram, _| {
                packet::open_sessionless(datagram)
                    .and_then(|inner| packet::ipmb_answer(inner, NETFN, CMD, 0))
                    .map(<[u8]>::to_vec)
            },
        )
        .await?;
    match *answer {
        [0, _channel, types, _status, extended, ..] if types & 0x80 != 0 && extended & 0x02 == 0 => {
            Err(SessionError::NoSuite("it speaks IPMI 1.5 only".into()))
        }
        [0, ..] => Ok(()),
        [code, ..] => Err(SessionError::Completion { netfn: NETFN, cmd: CMD, code }),
        [] => Err(SessionError::Malformed { what: CAPABILITIES, detail: "no completion code" }),
    }
}

async fn negotiate(line: &mut Line, suite: Suite) -> Result<Ids, SessionError> {
    let own = u32::from_le_bytes(random_bytes::<4>()).max(1);
    let mut request = vec![0, 0, 0, 0];
    request.extend(own.to_le_bytes());
    for (kind, algorithm) in (0_u8..).zip(suite.algorithms()) {
        request.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    let answer = step(line, OPEN, OPEN_SESSION, request).await?;
    let malformed = |detail| SessionError::Malformed { what: OPEN, detail };
    let answer: &[u8; 36] = answer.first_chunk().ok_or_else(|| malformed("the answer is too short"))?;
    let [_, _, _, _, o0, o1, o2, o3, b0, b1, b2, b3, algorithms @ ..] = *answer;
    if [o0, o1, o2, o3] != own.to_le_bytes() {
        return Err(malformed("the answer is for another session"));
    }
    let chosen: Vec<u8> = algorithms.chunks(8).filter_map(|record| record.get(4).map(|a| a & 0x3f)).collect();
    if chosen != suite.algorithms() {
        return Err(malformed("the answer names other algorithms than were asked for"));
    }
    Ok(Ids { suite, own, bmc: u32::from_le_bytes([b0, b1, b2, b3]) })
}

/// A handshake that succeeded.
struct Ready {
    ids: Ids,
    keys: Keys,
}

impl Ready {
    fn session(self, line: Line) -> Session {
        Session {
            line,
            sealer: Sealer(self.keys),
            suite: self.ids.suite,
            bmc_id: self.ids.bmc,
            own_id: self.ids.own,
            sent: 0,
            seen: Window::default(),
            request: 0,
        }
    }
}

async fn authenticate(line: &mut Line, login: &Login, ids: Ids) -> Result<Ready, SessionError> {
    // From here on a fresh start helps more than patience.
    line.repeated = false;
    let pace = line.pace;
    line.pace.deadline = pace.deadline.min(pace.first.saturating_mul(8));
    let outcome = prove_passwords(line, login, ids).await;
    line.pace = pace;
    outcome
}

async fn prove_passwords(line: &mut Line, login: &Login, ids: Ids) -> Result<Ready, SessionError> {
    let console = Console::new(login, &ids)?;
    let answer = step(line, FIRST, RAKP_1, console.first()).await?;
    let proven = console.second(&answer)?;
    let answer = step(line, THIRD, RAKP_3, proven.third.clone()).await?;
    console.fourth(&proven, &answer)?;
    Ok(Ready { keys: proven.keys, ids })
}

/// One message of the handshake and its answer, whose status must be success. The first byte of the message is its tag: a
/// new one with each transmission. Only the answer to the last one counts, for it is that one which the BMC goes on with;
/// but the first RAKP 3 that arrives ends the handshake for the BMC, and so does the first message from a user whom it does not
/// know, so an answer to any of those counts.
async fn step(line: &mut Line, what: &'static str, kind: u8, mut request: Vec<u8>) -> Result<Vec<u8>, SessionError> {
    let answer = line
        .exchange(
            what,
            |tag| {
                if let Some(first) = request.first_mut() {
                    *first = tag;
                }
                packet::plain(kind, &request)
            },
            |datagram, sent| {
                let opened = packet::open_plain(datagram)?;
                let answered = *opened.payload.first()?;
                let ends = kind == RAKP_3 || opened.payload.get(1).is_some_and(|code| names_the_user(*code));
                let counts = answered == sent.last || ends && sent.contains(answered);
                (opened.kind == kind | 1 && counts).then_some(opened.payload)
            },
        )
        .await?;
    match answer.get(1) {
        Some(0) => Ok(answer),
        Some(&code) => Err(SessionError::Status { what, code }),
        None => Err(SessionError::Malformed { what, detail: "the answer has no status" }),
    }
}

/// IPMI 2.0 table 13-15.
pub(super) const fn status_text(code: u8) -> &'static str {
    match code {
        NO_ROOM => "insufficient resources for a session",
        0x02 => "invalid session id",
        0x03 => "invalid payload type",
        0x04 => "invalid authentication algorithm",
        0x05 => "invalid integrity algorithm",
        0x06 => "no matching authentication payload",
        0x07 => "no matching integrity payload",
        0x08 => "inactive session id",
        0x09 => "invalid role",
        0x0a => "unauthorised role or privilege level",
        0x0b => "insufficient resources for the role",
        0x0c => "invalid name length",
        0x0d => "unauthorised name",
        0x0e => "unauthorised GUID",
        0x0f => "invalid integrity check value: wrong password",
        0x10 => "invalid confidentiality algorithm",
        0x11 => "no cipher suite matches",
        0x12 => "illegal parameter",
        _ => "unknown status",
    }
}
