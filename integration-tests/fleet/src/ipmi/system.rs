//! The system interface: what the machine itself asks of its BMC, as QEMU's `ipmi-bmc-extern` brings it over TCP.
//!
//! QEMU shows its guest a KCS interface (IPMI 2.0 chapter 9) and passes on whole messages, in the protocol that OpenIPMI's
//! simulator calls "VM": frames that end with a mark, with marks inside of them escaped. Nobody logs in here.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::wire::checksum;

const MESSAGE_END: u8 = 0xa0;
const COMMAND_END: u8 = 0xa1;
const ESCAPE: u8 = 0xaa;
/// An escaped byte has this bit, which it had not before.
const ESCAPED: u8 = 0x10;

/// Commands to QEMU: the version of the protocol; may the interface interrupt?
const VERSION: [u8; 2] = [0xff, 1];
const ENABLE_INTERRUPTS: u8 = 0x05;
const DISABLE_INTERRUPTS: u8 = 0x06;

/// No message between QEMU and a BMC is longer.
const LONGEST: usize = 300;
/// QEMU answers its guest itself after a little more.
const ANSWER: Duration = Duration::from_secs(4);
/// Between two attempts to take a connection, after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// A message from the machine: network function with LUN, command, data.
#[derive(Debug)]
pub struct Asked {
    pub(super) message: Vec<u8>,
    pub(super) answer: oneshot::Sender<Told>,
}

/// What the BMC answers: network function with LUN, command, completion code, data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) message: Vec<u8>,
    /// Has the machine's driver asked for interrupts?
    pub(super) interrupts: bool,
}

/// A frame from QEMU.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// Sequence number, message, checksum.
    Message(Vec<u8>),
    /// What QEMU itself tells, such as that the machine was reset.
    Command(Vec<u8>),
}

/// Takes a stream of bytes apart.
#[derive(Debug, Default)]
struct Frames {
    frame: Vec<u8>,
    escaped: bool,
    too_long: bool,
}

impl Frames {
    /// The frame that ends with this byte. One that is too long is nobody's.
    fn push(&mut self, byte: u8) -> Option<Frame> {
        match byte {
            MESSAGE_END | COMMAND_END => {
                let Self { frame, escaped, too_long } = std::mem::take(self);
                let whole = !escaped && !too_long;
                whole.then_some(if byte == MESSAGE_END { Frame::Message(frame) } else { Frame::Command(frame) })
            }
            ESCAPE => {
                self.escaped = true;
                None
            }
            byte if self.frame.len() < LONGEST => {
                let was_escaped = std::mem::take(&mut self.escaped);
                self.frame.push(if was_escaped { byte & !ESCAPED } else { byte });
                None
            }
            _ => {
                self.too_long = true;
                None
            }
        }
    }
}

/// A frame as it is sent.
fn framed(bytes: &[u8], end: u8) -> Vec<u8> {
    let escape = |byte: &u8| match *byte {
        MESSAGE_END | COMMAND_END | ESCAPE => vec![ESCAPE, byte | ESCAPED],
        plain => vec![plain],
    };
    bytes.iter().flat_map(escape).chain([end]).collect()
}

/// Sequence number and message, if the checksum is right.
fn opened(frame: &[u8]) -> Option<(u8, &[u8])> {
    let (_, body) = frame.split_last()?;
    let (sequence, message) = body.split_first()?;
    (message.len() >= 2 && checksum(frame) == 0).then_some((*sequence, message))
}

/// The frame of an answer to the message with this sequence number.
fn closed(sequence: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = [&[sequence], message].concat();
    bytes.push(checksum(&bytes));
    framed(&bytes, MESSAGE_END)
}

/// Takes QEMU in, one after the other, until `stop`; what its guest asks goes to `bmc`.
pub async fn serve(listener: TcpListener, bmc: mpsc::Sender<Asked>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let ended = match accepted {
            Ok((stream, _)) => tokio::select! {
                () = stop.cancelled() => return,
                ended = connection(stream, &bmc) => ended,
            },
            Err(error) => {
                sleep(PAUSE).await;
                Err(error)
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "the machine's way to its BMC ended");
        }
    }
}

/// One emulator, from its start to its end.
async fn connection(mut stream: TcpStream, bmc: &mpsc::Sender<Asked>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&framed(&VERSION, COMMAND_END)).await?;
    let (mut frames, mut interrupts) = (Frames::default(), None);
    let mut buffer = [0; LONGEST];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        for byte in &buffer[..length] {
            let Some(Frame::Message(frame)) = frames.push(*byte) else { continue };
            let Some((sequence, message)) = opened(&frame) else { continue };
            let Some(told) = ask(bmc, message).await else { continue };
            if interrupts.replace(told.interrupts) != Some(told.interrupts) {
                let command = if told.interrupts { ENABLE_INTERRUPTS } else { DISABLE_INTERRUPTS };
                stream.write_all(&framed(&[command], COMMAND_END)).await?;
            }
            stream.write_all(&closed(sequence, &told.message)).await?;
        }
    }
}

async fn ask(bmc: &mpsc::Sender<Asked>, message: &[u8]) -> Option<Told> {
    let (answer, told) = oneshot::channel();
    let asked = Asked { message: message.to_vec(), answer };
    timeout(ANSWER, async {
        bmc.send(asked).await.ok()?;
        told.await.ok()
    })
    .await
    .ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Frames::default();
        bytes.iter().filter_map(|byte| frames.push(*byte)).collect()
    }

    #[test]
    fn every_byte_gets_through() {
        let all: Vec<u8> = (0..=255).collect();
        let sent = framed(&all, MESSAGE_END);
        assert_eq!(sent.len(), 256 + 3 + 1, "three are escaped, and the mark");
        assert_eq!(frames(&sent), [Frame::Message(all)]);
        assert_eq!(frames(&[0x08, 0x3f, COMMAND_END]), [Frame::Command(vec![0x08, 0x3f])]);
    }

    #[test]
    fn what_is_no_message_is_passed_over() {
        let right = closed(7, &[0x18, 0x01]);
        let mut wrong = right.clone();
        wrong[1] ^= 1;
        let endless = vec![0; 2 * LONGEST];
        let cut_off = [1, ESCAPE, MESSAGE_END];
        let read = frames(&[&wrong[..], &endless, &[MESSAGE_END], &cut_off, &right].concat());
        let messages: Vec<_> = read
            .iter()
            .filter_map(|frame| match frame {
                Frame::Message(bytes) => opened(bytes),
                Frame::Command(_) => None,
            })
            .collect();
        assert_eq!(messages, [(7, &[0x18, 0x01][..])]);
        assert_eq!(opened(&[]), None);
        assert_eq!(opened(&[1, 255]), None);
    }
}
