//! One transfer: a file to a client, in windows of blocks.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use tftpd::{OptionType, Packet, TransferOption};
use thiserror::Error;
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

/// What fits an Ethernet without fragments.
const LARGEST_BLOCK: usize = 1468;
const DEFAULT_BLOCK: usize = 512;
const SMALLEST_BLOCK: usize = 8;
const LARGEST_WINDOW: usize = 64;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// Times that the same window is sent, each twice as long apart as the one before, up to eight-fold: half a minute in all
/// at the default timeout.
const TRIES: u32 = 6;

/// Larger than an acknowledgement or a reasonable error.
const RECEIVE: usize = 516;

/// Why a transfer ended before its end.
#[derive(Debug, Error)]
pub(super) enum TransferError {
    #[error("the client broke it off: {0}")]
    Aborted(String),
    #[error("the client fell silent")]
    Silent,
    #[error("the network failed")]
    Io(#[from] io::Error),
}

/// What was agreed on.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    block: usize,
    window: usize,
    timeout: Duration,
    /// What we say to it; empty: the client asked for nothing, so data comes at once.
    accepted: Vec<TransferOption>,
}

/// A transfer under way.
pub(super) struct Transfer {
    socket: UdpSocket,
    file: Bytes,
    options: Options,
    /// Blocks that the client has.
    acked: usize,
}

/// What a client said to a window.
enum Heard {
    /// It has this many blocks more.
    Progress(usize),
    /// It lacks the first block of the window.
    Gap,
    Nothing,
}

// === impl Options ===

impl Options {
    /// Takes what the client asks for as far as we go along; options that cannot be are left unanswered, which means no.
    pub(super) fn negotiate(asked: &[TransferOption], size: usize) -> Self {
        let mut agreed = Self {
            block: DEFAULT_BLOCK,
            window: 1,
            timeout: DEFAULT_TIMEOUT,
            accepted: Vec::with_capacity(asked.len()),
        };
        for TransferOption { option, value } in asked {
            let value = usize::try_from(*value).unwrap_or(usize::MAX);
            let answer = match option {
                OptionType::BlockSize if value >= SMALLEST_BLOCK => {
                    agreed.block = value.min(LARGEST_BLOCK);
                    agreed.block
                }
                OptionType::WindowSize if value >= 1 => {
                    agreed.window = value.min(LARGEST_WINDOW);
                    agreed.window
                }
                OptionType::Timeout if (1..=255).contains(&value) => {
                    agreed.timeout = Duration::from_secs(value as u64);
                    value
                }
                OptionType::TransferSize => size,
                OptionType::BlockSize
                | OptionType::WindowSize
                | OptionType::Timeout
                | OptionType::UTimeout
                | OptionType::WindowWait => continue,
            };
            agreed.accepted.push(TransferOption { option: *option, value: answer as u64 });
        }
        agreed
    }
}

// === impl Transfer ===

impl Transfer {
    /// Sends `file` from a new port of `local` to `client`, to the end.
    pub(super) async fn begin(
        local: IpAddr,
        client: SocketAddr,
        file: Bytes,
        options: Options,
    ) -> Result<(), TransferError> {
        let socket = UdpSocket::bind((local, 0)).await?;
        // Packets from anywhere else do not reach the socket.
        socket.connect(client).await?;
        Self { socket, file, options, acked: 0 }.run().await
    }

    async fn run(mut self) -> Result<(), TransferError> {
        if !self.options.accepted.is_empty() {
            self.agree().await?;
        }
        let blocks = self.file.len() / self.options.block + 1;
        let mut tries = 0;
        while self.acked < blocks {
            let end = blocks.min(self.acked + self.options.window);
            for block in self.acked..end {
                let data = Packet::Data { block_num: number(block + 1), data: self.block(block).to_vec() };
                self.send(&data).await?;
            }
            match self.listen(end - self.acked, self.patience(tries)).await? {
                Heard::Progress(more) => {
                    self.acked += more;
                    tries = 0;
                }
                Heard::Gap | Heard::Nothing => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(TransferError::Silent);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends the options until the client acknowledges them.
    async fn agree(&self) -> Result<(), TransferError> {
        let options = Packet::Oack(self.options.accepted.clone());
        for tries in 0..TRIES {
            self.send(&options).await?;
            let deadline = Instant::now() + self.patience(tries);
            while let Some(packet) = self.receive(deadline).await? {
                if matches!(packet, Packet::Ack(0)) {
                    return Ok(());
                }
            }
        }
        Err(TransferError::Silent)
    }

    /// Waits for what the client says to a window of `sent` blocks.
    async fn listen(&self, sent: usize, patience: Duration) -> Result<Heard, TransferError> {
        let deadline = Instant::now() + patience;
        while let Some(packet) = self.receive(deadline).await? {
            let Packet::Ack(block) = packet else { continue };
            match usize::from(block.wrapping_sub(number(self.acked))) {
                // In lock-step a repeated acknowledgement is an echo; to answer it would double all packets that follow.
                0 if self.options.window > 1 => return Ok(Heard::Gap),
                more if (1..=sent).contains(&more) => return Ok(Heard::Progress(more)),
                _ => {}
            }
        }
        Ok(Heard::Nothing)
    }

    /// The next packet that makes sense; `None` at the deadline.
    async fn receive(&self, deadline: Instant) -> Result<Option<Packet>, TransferError> {
        let mut buffer = [0; RECEIVE];
        loop {
            let Ok(received) = timeout_at(deadline, self.socket.recv(&mut buffer)).await else { return Ok(None) };
            match Packet::deserialize(&buffer[..received?]) {
                Ok(Packet::Error { code, msg }) => return Err(TransferError::Aborted(format!("{code}: {msg}"))),
                Ok(packet) => return Ok(Some(packet)),
                Err(_) => {}
            }
        }
    }

    async fn send(&self, packet: &Packet) -> Result<(), TransferError> {
        let bytes = packet.serialize().map_err(io::Error::other)?;
        self.socket.send(&bytes).await?;
        Ok(())
    }

    fn patience(&self, tries: u32) -> Duration {
        self.options.timeout * (1 << tries.min(3))
    }

    fn block(&self, index: usize) -> &[u8] {
        let start = index * self.options.block;
        &self.file[start..self.file.len().min(start + self.options.block)]
    }
}

/// Block numbers begin again at 0 after 65,535.
#[expect(clippy::cast_possible_truncation, reason = "that is what a block number is")]
const fn number(block: usize) -> u16 {
    block as u16
}

#[cfg(test)]
mod tests;
