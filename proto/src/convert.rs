//! Conversions of the shared words. `UNSPECIFIED` and unknown numbers become `None`.

use farrier_common::{
    hardware as words,
    webhook::{Given, Invalid, Webhook},
};

use crate::v1;

/// Joins one wire enum to one closed set of words, both ways.
macro_rules! joined {
    ($($to:ident, $from:ident: $wire:ident <=> $word:ident { $($w:ident = $v:ident),* $(,)? })*) => { $(
        /// The word for a number on the wire; `None` for UNSPECIFIED and numbers unknown here.
        #[must_use]
        pub fn $from(number: i32) -> Option<words::$word> {
            match v1::$wire::try_from(number).ok()? {
                v1::$wire::Unspecified => None,
                $(v1::$wire::$w => Some(words::$word::$v),)*
            }
        }

        /// The wire's spelling of a word.
        #[must_use]
        pub const fn $to(word: words::$word) -> v1::$wire {
            match word { $(words::$word::$v => v1::$wire::$w,)* }
        }
    )* };
}

joined! {
    architecture_to_wire, architecture_from_wire: Architecture <=> Architecture { Amd64 = Amd64, Arm64 = Arm64 }
    firmware_to_wire, firmware_from_wire: Firmware <=> Firmware { Bios = Bios, Uefi = Uefi }
    power_to_wire, power_from_wire: PowerState <=> PowerState { Off = Off, On = On }
    protocol_to_wire, protocol_from_wire: BmcProtocol <=> BmcProtocol { Ipmi = Ipmi, Redfish = Redfish, Webhook = Webhook }
    severity_to_wire, severity_from_wire: EventSeverity <=> EventSeverity { Ok = Ok, Warning = Warning, Critical = Critical }
    compression_to_wire, compression_from_wire: Compression <=> Compression { None = None, Gzip = Gzip, Zstd = Zstd }
}

/// Checks what is to be asked of a webhook.
///
/// # Errors
/// Names the field that is wrong.
pub fn webhook_from_wire(hook: v1::Webhook) -> Result<Webhook, Invalid> {
    let v1::Webhook { on_url, off_url, query_url, on_regex, off_regex, insecure } = hook;
    Given { on_url, off_url, query_url, on_regex, off_regex, insecure }.try_into()
}

/// What is asked of a webhook, for the wire.
#[must_use]
pub fn webhook_to_wire(hook: Webhook) -> v1::Webhook {
    let Given { on_url, off_url, query_url, on_regex, off_regex, insecure } = hook.into();
    v1::Webhook { on_url, off_url, query_url, on_regex, off_regex, insecure }
}
