//! RMCP+ (IPMI 2.0 chapter 13): an authenticated, encrypted session over UDP, with retransmission.
//!
//! Invariant: nothing that arrives can make this code panic or wait beyond the deadline of [`Pace`]; what does not verify
//! is passed over as if it had not come.

mod exchange;
mod handshake;
mod known;
mod packet;
mod rakp;
mod suite;
mod window;

use std::{io, net::SocketAddrV4, time::Duration};

use farrier_ipmi::{
    Carrier,
    commands::{self, CloseSession, SetSessionPrivilege},
    users::ADMINISTRATOR,
};
use ipmi_rs_core::connection::{IpmiCommand, Message};
use thiserror::Error;

use self::{
    exchange::{Line, Sent},
    packet::Sealer,
    window::Window,
};
pub use self::{known::KnownSuites, suite::Suite};
use super::super::Login;

/// Why a session did not come about or ended.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The operating system refuses.
    #[error("UDP socket")]
    Socket(#[source] io::Error),
    /// Nothing (valid) came back.
    #[error("no valid answer to {what}, sent {sent} times in {waited:?}{}", .hint)]
    Silent {
        /// What was sent.
        what: &'static str,
        /// How often.
        sent: u32,
        /// For how long.
        waited: Duration,
        /// What else is known, such as that the port is closed.
        hint: &'static str,
    },
    /// The handshake failed where user name and password decide.
    #[error("{0}")]
    BadLogin(String),
    /// The BMC speaks none of our cipher suites.
    #[error("it accepts none of the cipher suites 17 and 3: {0}")]
    NoSuite(String),
    /// It sent what the specification does not allow.
    #[error("{what}: {detail}")]
    Malformed {
        /// The message.
        what: &'static str,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The handshake was refused with an RMCP+ status code.
    #[error("{what} was refused with status {code:#04x} ({})", handshake::status_text(*.code))]
    Status {
        /// The message that was refused.
        what: &'static str,
        /// IPMI 2.0 table 13-15.
        code: u8,
    },
    /// A command was refused with a completion code.
    #[error("{} ({netfn:#04x}/{cmd:#04x}) was answered with completion code {code:#04x} ({})",
        commands::name(*.netfn, *.cmd), commands::completion(*.code))]
    Completion {
        /// Network function.
        netfn: u8,
        /// Command.
        cmd: u8,
        /// IPMI 2.0 table 5-2.
        code: u8,
    },
}

/// How often to send a message again, and when to give up.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Wait before the first retransmission; doubles with each.
    pub first: Duration,
    /// The longest such wait.
    pub most: Duration,
    /// When to give one message up.
    pub deadline: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), most: Duration::from_secs(2), deadline: Duration::from_secs(8) }
    }
}

/// An open session at administrator level. Close it: most BMCs have room for four.
#[derive(Debug)]
pub struct Session {
    line: Line,
    sealer: Sealer,
    suite: Suite,
    bmc_id: u32,
    own_id: u32,
    sent: u32,
    seen: Window,
    request: u8,
}

impl Session {
    /// Opens a session at administrator level with the best cipher suite that the BMC accepts.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn open(login: &Login, pace: Pace) -> Result<Self, SessionError> {
        let mut session = handshake::open(login, pace).await?;
        let level = session.run(SetSessionPrivilege(ADMINISTRATOR)).await;
        match level {
            Ok(level) if level >= ADMINISTRATOR => Ok(session),
            Ok(level) => {
                session.close().await;
                Err(SessionError::BadLogin(format!("the user gets privilege level {level}, not 4 (administrator)")))
            }
            // 0x80: requested level not available for this user; 0x81: exceeds the user's or channel's limit.
            Err(SessionError::Completion { code: code @ (0x80 | 0x81 | 0xd4), .. }) => {
                session.close().await;
                let why = format!("the user may not become administrator (completion code {code:#04x})");
                Err(SessionError::BadLogin(why))
            }
            Err(error) => {
                session.close().await;
                Err(error)
            }
        }
    }

    /// The cipher suite in use.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Runs one command.
    ///
    /// # Errors
    /// No valid answer came in time, the BMC refuses the command, or its answer is too short.
    pub async fn run<C: IpmiCommand>(&mut self, command: C) -> Result<C::Output, SessionError> {
        let message: Message = command.into();
        let (netfn, cmd) = (message.netfn_raw(), message.cmd());
        let answer = self.raw(&message).await?;
        let Some((&code, data)) = answer.split_first() else {
            return Err(SessionError::Malformed { what: commands::name(netfn, cmd), detail: "no completion code" });
        };
        if code != 0 {
            return Err(SessionError::Completion { netfn, cmd, code });
        }
        C::parse_success_response(data).map_err(|_| SessionError::Malformed {
            what: commands::name(netfn, cmd),
            detail: "the answer is too short",
        })
    }

    /// Tells the BMC that the session is over. Best effort, three times at most: a BMC that
    /// does not hear it ends the session by itself, a minute later.
    pub async fn close(mut self) {
        let brief = Pace { deadline: self.line.pace.first.saturating_mul(4), ..self.line.pace };
        self.line.pace = brief;
        if let Err(error) = self.run(CloseSession(self.bmc_id)).await {
            tracing::debug!(%error, "session not closed");
        }
    }

    /// Completion code and data of the answer.
    async fn raw(&mut self, message: &Message) -> Result<Vec<u8>, SessionError> {
        self.request = (self.request + 1) & 0x3f;
        let (netfn, cmd, request) = (message.netfn_raw(), message.cmd(), self.request);
        let inner = packet::ipmb_request(netfn, cmd, request, message.data());
        let Self { line, sealer, sent, seen, bmc_id, own_id, .. } = self;
        // A retransmission keeps the request's number, by which a BMC knows a duplicate, but not the session's sequence
        // number, which a BMC accepts once.
        let make = |_tag: u8| {
            *sent = sent.wrapping_add(1).max(1);
            sealer.seal(packet::IPMI, *bmc_id, *sent, &inner)
        };
        let accept = |datagram: &[u8], _sent: Sent| {
            let opened = sealer.open(datagram)?;
            if opened.kind != packet::IPMI || opened.session != *own_id || !seen.accept(opened.sequence) {
                return None;
            }
            packet::ipmb_answer(&opened.payload, netfn, cmd, request).map(<[u8]>::to_vec)
        };
        line.exchange(commands::name(netfn, cmd), make, accept).await
    }
}

impl Carrier for Session {
    type Error = SessionError;

    fn run<C>(&mut self, command: C) -> impl Future<Output = Result<C::Output, SessionError>> + Send
    where
        C: IpmiCommand<Output: Send> + Send,
    {
        Self::run(self, command)
    }

    fn completion(error: &SessionError) -> Option<u8> {
        if let SessionError::Completion { code, .. } = error { Some(*code) } else { None }
    }
}

/// Finds out whether a BMC that speaks IPMI 2.0 is there, without a login.
///
/// # Errors
/// See [`SessionError`]: nothing answers, or it speaks IPMI 1.5 only.
pub async fn greet(address: SocketAddrV4, pace: Pace) -> Result<(), SessionError> {
    handshake::greet(address, pace).await
}

#[cfg(test)]
mod tests;
