//! Farrier's own account on the machine's BMC, made from inside: the kernel's IPMI device asks for no login.
//!
//! Invariant: the only slot that is ever written is one that was free, or one that carries our name and holds our password (an
//! earlier run got that far), gives no access to anybody, or is to be taken over because an admin has said so.

mod kernel;
#[cfg(test)]
mod tests;

use std::{fmt, net::Ipv4Addr, time::Duration};

use farrier_common::secret::Secret;
use farrier_ipmi::{
    Carrier,
    commands::{PasswordOperation, SetUserAccess, SetUserName, SetUserPassword},
    users::{ADMINISTRATOR, Holds, User, clear, free_slot, holds, unchanged, users},
};
use tokio::{runtime::Handle, time::sleep};

use self::kernel::Kernel;
use crate::{error::TaskError, host::Host, machine::bmc};

/// Some BMCs take a moment until a new password is in force.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(800);

/// The account to have.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name, at most 16 bytes.
    pub username: String,
    /// Its password, at most 20 bytes.
    pub password: Secret<String>,
    /// An account of that name with another password gets this one; otherwise it is left alone.
    pub take_over: bool,
}

/// Makes the account exist, as an administrator who may log in over LAN; answers where the BMC is there. Blocks for seconds;
/// to be called beside the event loop.
///
/// # Errors
/// There is no BMC, it has no address, it refuses, or the name is somebody else's. A slot that was written is cleared again.
pub fn ensure(host: &Host, wanted: &Wanted) -> Result<Ipv4Addr, TaskError> {
    let lacks = || TaskError::failed("this machine offers no IPMI device in band: give an account of its BMC instead");
    let mut device = bmc::open(host).ok_or_else(lacks)?.map_err(TaskError::io("opening the IPMI device"))?;
    let nowhere = || TaskError::failed("its BMC has no address on any LAN: set one, by DHCP or in the firmware's menu");
    let (channel, address) = bmc::lan(&mut device).ok_or_else(nowhere)?;
    let mut kernel = Kernel::new(device.inner_mut());
    Handle::current().block_on(make(&mut kernel, channel.value(), wanted))?;
    Ok(address)
}

/// Makes the account by commands; answers its slot.
async fn make<C: Carrier<Error: fmt::Display>>(bmc: &mut C, channel: u8, wanted: &Wanted) -> Result<u8, TaskError> {
    let before = users(bmc, channel).await.map_err(refused)?;
    let (slot, ours) = match before.iter().find(|user| user.name == wanted.username) {
        None => {
            let full = |slots| TaskError::failed(format!("the BMC has no free user slot: {slots}"));
            (free_slot(&before).map_err(full)?, true)
        }
        Some(user) if !user.has_access() => (user.slot, true),
        Some(user) => {
            let held = holds(bmc, user.slot, &wanted.password).await.map_err(refused)?;
            let known = held == Holds::This;
            if known && user.is_administrator(&wanted.username) {
                return Ok(user.slot);
            }
            if !known && !wanted.take_over {
                return Err(taken(user, held));
            }
            (user.slot, known)
        }
    };
    let outcome = match write(bmc, channel, slot, wanted).await {
        Ok(()) => match told(bmc, (channel, slot), &before, wanted).await {
            Ok(()) => proven(bmc, slot, wanted).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(refused(error)),
    };
    match outcome {
        Ok(()) => Ok(slot),
        Err(error) if ours => Err(match clear(bmc, channel, slot).await {
            Ok(()) => TaskError::failed(format!("{error}; user slot {slot} was cleared again")),
            Err(why) => TaskError::failed(format!("{error}; user slot {slot} could not be cleared ({why})")),
        }),
        Err(error) => Err(TaskError::failed(format!("{error}; the account in user slot {slot} was there before"))),
    }
}

/// In the order that every BMC takes.
async fn write<C: Carrier>(bmc: &mut C, channel: u8, slot: u8, wanted: &Wanted) -> Result<(), C::Error> {
    let password = |operation| SetUserPassword { slot, operation };
    bmc.run(SetUserName { slot, name: wanted.username.clone() }).await?;
    bmc.run(password(PasswordOperation::Set(wanted.password.clone()))).await?;
    bmc.run(SetUserAccess { channel, slot, messaging: true, privilege: ADMINISTRATOR }).await?;
    bmc.run(password(PasswordOperation::Enable)).await
}

/// Does the BMC tell what was written, and nothing else changed?
async fn told<C: Carrier<Error: fmt::Display>>(
    bmc: &mut C,
    (channel, slot): (u8, u8),
    before: &[User],
    wanted: &Wanted,
) -> Result<(), TaskError> {
    let after = users(bmc, channel).await.map_err(refused)?;
    let others = |what| TaskError::failed(format!("other users of the BMC changed: {what}"));
    unchanged(before, &after, slot).map_err(others)?;
    let ours = after.iter().find(|user| user.slot == slot);
    if ours.is_some_and(|user| user.is_administrator(&wanted.username)) {
        return Ok(());
    }
    Err(TaskError::failed(format!("the BMC took the account, but user slot {slot} reads {ours:?}")))
}

/// Does it hold the password? A BMC that cannot tell is believed: the rack logs in over LAN next.
async fn proven<C: Carrier<Error: fmt::Display>>(bmc: &mut C, slot: u8, wanted: &Wanted) -> Result<(), TaskError> {
    for look in 1.. {
        match holds(bmc, slot, &wanted.password).await.map_err(refused)? {
            Holds::This | Holds::Untold => break,
            Holds::Another if look < LOOKS => sleep(BETWEEN_LOOKS).await,
            Holds::Another => {
                let what = format!("the BMC said yes to the password of user slot {slot}, and still holds another one");
                return Err(TaskError::failed(what));
            }
        }
    }
    Ok(())
}

fn taken(user: &User, held: Holds) -> TaskError {
    let password = match held {
        Holds::This | Holds::Another => "with another password",
        Holds::Untold => "and the BMC cannot tell whether with our password",
    };
    TaskError::failed(format!(
        "user {:?} in slot {} of the BMC has access {password}; remove or rename it on the BMC, or say that it is to be taken over",
        user.name, user.slot
    ))
}

fn refused(error: impl fmt::Display) -> TaskError {
    TaskError::failed(format!("the BMC, asked in band: {error}"))
}
