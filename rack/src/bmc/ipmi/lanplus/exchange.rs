//! Send, wait, send again: one message and its answer over UDP.

use std::{io, net::SocketAddrV4, time::Duration};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::{Pace, SessionError};

/// The largest datagram worth reading; RMCP+ messages are far smaller.
const DATAGRAM: usize = 2048;
/// "Port unreachable" answers in a row after which waiting is pointless.
const REFUSALS: u32 = 4;

/// A UDP socket connected to one BMC.
#[derive(Debug)]
pub(super) struct Line {
    socket: UdpSocket,
    pub(super) pace: Pace,
    /// Has anything been sent twice since this was last set to false?
    pub(super) repeated: bool,
    /// Number of the last transmission. Never begins anew, so that a late answer to an earlier message is known for what it is.
    last: u8,
}

/// Numbers of the transmissions of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    first: u8,
    pub(super) last: u8,
}

impl Sent {
    /// Is it the number of one of them?
    pub(super) const fn contains(self, number: u8) -> bool {
        number.wrapping_sub(self.first) <= self.last.wrapping_sub(self.first)
    }
}

impl Line {
    pub(super) async fn open(address: SocketAddrV4, pace: Pace) -> Result<Self, SessionError> {
        let socket = UdpSocket::bind("0.0.0.0:0").await.map_err(SessionError::Socket)?;
        socket.connect(address).await.map_err(SessionError::Socket)?;
        Ok(Self { socket, pace, repeated: false, last: 0 })
    }

    /// Sends what `make` makes until `accept` accepts an answer or the deadline passes. The former is given the number
    /// of the transmission, the latter the numbers of all that were made.
    pub(super) async fn exchange<T>(
        &mut self,
        what: &'static str,
        mut make: impl FnMut(u8) -> Vec<u8>,
        mut accept: impl FnMut(&[u8], Sent) -> Option<T>,
    ) -> Result<T, SessionError> {
        let started = Instant::now();
        let deadline = started + self.pace.deadline;
        let (mut wait, mut sent, mut refusals) = (self.pace.first, 0, 0);
        let first = self.last.wrapping_add(1);
        while Instant::now() < deadline && refusals < REFUSALS {
            sent += 1;
            self.last = self.last.wrapping_add(1);
            let numbers = Sent { first, last: self.last };
            self.repeated |= sent > 1;
            let until = (Instant::now() + wait).min(deadline);
            wait = wait.saturating_mul(2).min(self.pace.most);
            // An error here is one that ICMP reported about an earlier datagram; this one may get through.
            if self.socket.send(&make(numbers.last)).await.is_err() {
                refusals += 1;
            }
            match self.listen(until, |datagram| accept(datagram, numbers)).await {
                Heard::Answer(answer) => return Ok(answer),
                Heard::Nothing => {}
                Heard::Refusal => {
                    refusals += 1;
                    tokio::time::sleep_until(until.min(Instant::now() + Duration::from_millis(200))).await;
                }
            }
        }
        let hint = if refusals > 0 { " (the host says that the port is closed or not reachable)" } else { "" };
        Err(SessionError::Silent { what, sent, waited: started.elapsed(), hint })
    }

    async fn listen<T>(&self, until: Instant, mut accept: impl FnMut(&[u8]) -> Option<T>) -> Heard<T> {
        let mut buffer = [0; DATAGRAM];
        loop {
            let received: io::Result<usize> = match timeout_at(until, self.socket.recv(&mut buffer)).await {
                Ok(received) => received,
                Err(_) => return Heard::Nothing,
            };
            let Ok(length) = received else { return Heard::Refusal };
            if let Some(answer) = buffer.get(..length).and_then(&mut accept) {
                return Heard::Answer(answer);
            }
            // A flood of datagrams that do not verify must not outlast the deadline, which recv would be ready before.
            if Instant::now() >= until {
                return Heard::Nothing;
            }
        }
    }
}

enum Heard<T> {
    Answer(T),
    Nothing,
    Refusal,
}
