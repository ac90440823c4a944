//! What a driver of the system interface asks (IPMI 2.0 sections 22.1 to 22.8). The BMC has nothing to tell by itself: no
//! messages from elsewhere, no events.

use super::{Answer, Call, Panel, code};
use crate::ipmi::server::Server;

/// Interrupt when a message is there.
const MESSAGE_INTERRUPT: u8 = 0x01;

impl Panel {
    /// May the BMC interrupt its machine?
    pub(in crate::ipmi) const fn interrupts(&self) -> bool {
        self.enables & MESSAGE_INTERRUPT != 0
    }
}

/// Set BMC Global Enables.
pub(super) fn set_enables(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[enables, ..] = call.data else { return Err(code::LENGTH) };
    server.panel.enables = enables;
    Ok(Vec::new())
}

/// Get BMC Global Enables.
pub(super) fn get_enables(server: &mut Server, _: &Call<'_>) -> Answer {
    Ok(vec![server.panel.enables])
}

/// Clear Message Flags.
pub(super) fn clear_flags(_: &mut Server, call: &Call<'_>) -> Answer {
    if call.data.is_empty() { Err(code::LENGTH) } else { Ok(Vec::new()) }
}

/// Get Message Flags: none is set.
pub(super) fn get_flags(_: &mut Server, _: &Call<'_>) -> Answer {
    Ok(vec![0])
}

/// Get Message and Read Event Message Buffer.
pub(super) fn no_data(_: &mut Server, _: &Call<'_>) -> Answer {
    Err(code::NO_DATA)
}
