//! Commands by way of the kernel.

use std::{
    io,
    time::{Duration, Instant},
};

use farrier_ipmi::{
    Carrier,
    commands::{completion, name},
};
use ipmi_rs_core::connection::{
    IpmiCommand, IpmiConnection, LogicalUnit, Message, Request, RequestTargetAddress, Response,
};
use thiserror::Error;

/// All commands together; each has a bound of its own.
const ALTOGETHER: Duration = Duration::from_secs(60);
/// So much more, once, to take back what was begun.
const TAKING_BACK: Duration = Duration::from_secs(10);
/// How long answers to commands that were given up are passed over, before one is waited for again.
const EARLIER: Duration = Duration::from_secs(3);

/// Why a command did not succeed.
#[derive(Debug, Error)]
pub(super) enum KernelError {
    /// The BMC refuses it.
    #[error("{} was answered with completion code {code:#04x} ({})", name(*.netfn, *.cmd), completion(*.code))]
    Completion {
        /// Network function.
        netfn: u8,
        /// Command.
        cmd: u8,
        /// IPMI 2.0 table 5-2.
        code: u8,
    },
    /// No answer.
    #[error("no answer from the IPMI device: {0}")]
    Device(io::Error),
    /// What came is not the answer.
    #[error("{0} was answered with what the specification does not allow")]
    Malformed(&'static str),
    /// It took too long.
    #[error("it took longer than {ALTOGETHER:?}")]
    Late,
}

/// The time that all commands have together.
struct Bound {
    until: Instant,
    late: bool,
}

impl Bound {
    fn new(now: Instant) -> Self {
        Self { until: now + ALTOGETHER, late: false }
    }

    /// Is there time for another command? The first "no" ends the work, and leaves time to take back what was begun.
    fn allows(&mut self, now: Instant) -> bool {
        let allowed = now < self.until;
        if !allowed && !self.late {
            *self = Self { until: now + TAKING_BACK, late: true };
        }
        allowed
    }
}

/// The kernel's IPMI device, for as long as one task may take.
pub(super) struct Kernel<'a, L> {
    line: &'a mut L,
    bound: Bound,
}

impl<'a, L: IpmiConnection<SendError = io::Error, RecvError = io::Error>> Kernel<'a, L> {
    pub(super) fn new(line: &'a mut L) -> Self {
        Self { line, bound: Bound::new(Instant::now()) }
    }

    fn ask<C: IpmiCommand>(&mut self, command: C) -> Result<C::Output, KernelError> {
        if !self.bound.allows(Instant::now()) {
            return Err(KernelError::Late);
        }
        let message: Message = command.into();
        let (netfn, cmd) = (message.netfn_raw(), message.cmd());
        let mut request = Request::new(message, RequestTargetAddress::Bmc(LogicalUnit::Zero));
        self.line.send(&mut request).map_err(KernelError::Device)?;
        let answer = self.hear().map_err(KernelError::Device)?;
        match answer.cc() {
            0 => C::parse_success_response(answer.data()).map_err(|_| KernelError::Malformed(name(netfn, cmd))),
            code => Err(KernelError::Completion { netfn, cmd, code }),
        }
    }

    /// The answer to what was sent last. The kernel keeps the answer to a command that was given up, and the library takes it for
    /// a fault of this one: left there, each command that follows would hear the answer to the one before.
    fn hear(&mut self) -> io::Result<Response> {
        let until = Instant::now() + EARLIER;
        loop {
            match self.line.recv() {
                Err(error) if error.kind() == io::ErrorKind::Other && Instant::now() < until => {}
                heard => return heard,
            }
        }
    }
}

impl<L: IpmiConnection<SendError = io::Error, RecvError = io::Error> + Send> Carrier for Kernel<'_, L> {
    type Error = KernelError;

    fn run<C>(&mut self, command: C) -> impl Future<Output = Result<C::Output, KernelError>> + Send
    where
        C: IpmiCommand<Output: Send> + Send,
    {
        std::future::ready(self.ask(command))
    }

    fn completion(error: &KernelError) -> Option<u8> {
        if let KernelError::Completion { code, .. } = error { Some(*code) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use farrier_ipmi::commands::GetUserName;
    use ipmi_rs_core::connection::NetFn;

    use super::*;

    /// A device that answers what it is given.
    struct Line(VecDeque<io::Result<Response>>);

    impl IpmiConnection for Line {
        type SendError = io::Error;
        type RecvError = io::Error;
        type Error = io::Error;

        fn send(&mut self, _: &mut Request) -> io::Result<()> {
            Ok(())
        }

        fn recv(&mut self) -> io::Result<Response> {
            self.0.pop_front().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
        }

        fn send_recv(&mut self, request: &mut Request) -> io::Result<Response> {
            self.send(request)?;
            self.recv()
        }
    }

    fn answer(data: &[u8]) -> io::Result<Response> {
        Ok(Response::new(Message::new_response(NetFn::App, 0x46, data.to_vec()), 0).unwrap())
    }

    #[test]
    fn an_answer_to_a_command_that_was_given_up_is_passed_over() {
        let mut name = [0; 17];
        name[1..5].copy_from_slice(b"root");
        let mut line = Line([Err(io::Error::other("another sequence number")), answer(&name)].into());
        let mut kernel = Kernel::new(&mut line);
        assert_eq!(kernel.ask(GetUserName(2)).unwrap(), "root");
        assert!(matches!(kernel.ask(GetUserName(2)), Err(KernelError::Device(_))), "nothing came");
    }

    #[test]
    fn a_refusal_names_the_command_and_the_code() {
        let mut line = Line([answer(&[0xd4])].into());
        let why = Kernel::new(&mut line).ask(GetUserName(2)).unwrap_err();
        assert_eq!(why.to_string(), "Get User Name was answered with completion code 0xd4 (insufficient privilege)");
        assert_eq!(Kernel::<Line>::completion(&why), Some(0xd4));
    }

    #[test]
    fn what_takes_too_long_ends_but_for_taking_it_back() {
        let start = Instant::now();
        let mut bound = Bound::new(start);
        assert!(bound.allows(start));
        let late = start + ALTOGETHER;
        assert!(!bound.allows(late), "the work ends");
        assert!(bound.allows(late) && bound.allows(late + TAKING_BACK / 2), "it is taken back");
        assert!(!bound.allows(late + TAKING_BACK) && !bound.allows(late + TAKING_BACK), "once");
    }
}
