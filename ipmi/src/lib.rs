//! What is said to a BMC in IPMI 2.0, whichever way it goes: over LAN from a rack, or through the kernel from the machine itself.

pub mod commands;
pub mod sel;
pub mod users;

use ipmi_rs_core::connection::IpmiCommand;

/// Carries commands to a BMC.
pub trait Carrier: Send {
    /// Why a command did not succeed.
    type Error: Send;

    /// Runs one command.
    fn run<C>(&mut self, command: C) -> impl Future<Output = Result<C::Output, Self::Error>> + Send
    where
        C: IpmiCommand<Output: Send> + Send;

    /// The completion code, if the BMC has refused the command with one (IPMI 2.0 table 5-2).
    fn completion(error: &Self::Error) -> Option<u8>;
}
