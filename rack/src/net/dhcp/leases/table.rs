//! The decisions about addresses, without disk or wire.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
};

use chrono::TimeDelta;
use farrier_common::{clock::Timestamp, net::MacAddr, words};

use crate::boot::{intent::Subnet, state::BootState};

/// How long an offered address waits for its client. UEFI takes up to 5 s, iPXE 2 s, on slow machines more.
const OFFER_HOLD: TimeDelta = TimeDelta::seconds(60);

/// How long an address rests that a client found in use.
const DECLINE_REST: TimeDelta = TimeDelta::minutes(10);

words! {
    /// What became of an address.
    Hold {
        /// Offered; the client has yet to ask for it.
        Offered = "offered",
        /// Leased.
        Bound = "bound",
        /// Given back.
        Free = "free",
        /// In use by somebody whom we do not know.
        Declined = "declined",
    }
}

/// The last use of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::dhcp) struct Lease {
    /// Who.
    pub(in crate::net::dhcp) mac: MacAddr,
    /// What.
    pub(in crate::net::dhcp) hold: Hold,
    /// Until when; of a free address: since when.
    pub(in crate::net::dhcp) until: Timestamp,
}

/// Who wants an address, and where.
#[derive(Clone, Copy, Debug)]
pub(in crate::net::dhcp) struct Asker<'a> {
    /// Its hardware address.
    pub(in crate::net::dhcp) mac: MacAddr,
    /// The subnet it is on.
    pub(in crate::net::dhcp) subnet: &'a Subnet,
    /// Our own address.
    pub(in crate::net::dhcp) server: Ipv4Addr,
    /// Knows the reservations.
    pub(in crate::net::dhcp) boot: &'a BootState,
}

/// All leases.
#[derive(Debug, Default)]
pub(in crate::net::dhcp) struct Table {
    leases: HashMap<Ipv4Addr, Lease>,
    macs: HashMap<MacAddr, Ipv4Addr>,
    /// Addresses whose lease on disk is out of date.
    changed: BTreeSet<Ipv4Addr>,
}

// === impl Asker ===

impl Asker<'_> {
    /// The address reserved for the client on this subnet.
    #[must_use]
    pub(in crate::net::dhcp) fn reservation(&self) -> Option<Ipv4Addr> {
        self.boot.reservation(self.mac).filter(|a| self.is_host(*a))
    }

    fn is_host(&self, address: Ipv4Addr) -> bool {
        let cidr = &self.subnet.cidr;
        cidr.contains(&address)
            && address != self.server
            && Some(address) != self.subnet.gateway
            && (cidr.prefix_len() > 30 || (address != cidr.network() && address != cidr.broadcast()))
    }

    fn is_reserved_for_other(&self, address: Ipv4Addr) -> bool {
        self.boot.reserved_for(address).is_some_and(|mac| mac != self.mac)
    }

    /// May the client have the address, if nobody else does?
    fn admits(&self, address: Ipv4Addr) -> bool {
        self.is_host(address)
            && !self.is_reserved_for_other(address)
            && (self.subnet.dynamic.contains(address) || self.reservation() == Some(address))
    }
}

// === impl Table ===

impl Table {
    /// Finds an address for the client and holds it until the client asks for it. In order of preference: the reserved
    /// one, the one it had, the one it wishes, one that nobody ever had, the one that has been unused for longest.
    pub(in crate::net::dhcp) fn offer(
        &mut self,
        asker: &Asker<'_>,
        wish: Option<Ipv4Addr>,
        now: Timestamp,
    ) -> Option<Ipv4Addr> {
        let had = self.macs.get(&asker.mac).copied();
        let address = [asker.reservation(), had, wish]
            .into_iter()
            .flatten()
            .find(|a| self.may_have(asker, *a, now))
            .or_else(|| self.unused(asker))
            .or_else(|| self.longest_free(asker, now))?;
        let leased = self.leases.get(&address).is_some_and(|l| l.hold == Hold::Bound && l.until > now);
        if !leased {
            self.hold(address, Lease { mac: asker.mac, hold: Hold::Offered, until: now + OFFER_HOLD }, now);
        }
        Some(address)
    }

    /// May the client have this address now?
    #[must_use]
    pub(in crate::net::dhcp) fn may_have(&self, asker: &Asker<'_>, address: Ipv4Addr, now: Timestamp) -> bool {
        asker.admits(address)
            && self.leases.get(&address).is_none_or(|lease| match lease.hold {
                Hold::Offered | Hold::Bound => lease.mac == asker.mac || lease.until <= now,
                Hold::Declined => lease.until <= now,
                Hold::Free => true,
            })
    }

    /// May the client go on with the address that it uses? Unlike [`Table::may_have`] this does not heed a change of the
    /// range or of the client's reservation: a running system keeps its address until it asks for a new one.
    #[must_use]
    pub(in crate::net::dhcp) fn may_keep(&self, asker: &Asker<'_>, address: Ipv4Addr, now: Timestamp) -> bool {
        let has = self.leases.get(&address).is_some_and(|lease| match lease.hold {
            Hold::Offered | Hold::Bound => lease.mac == asker.mac && lease.until > now,
            Hold::Declined | Hold::Free => false,
        });
        has && asker.is_host(address) && !asker.is_reserved_for_other(address)
    }

    /// Leases the address.
    pub(in crate::net::dhcp) fn bind(&mut self, mac: MacAddr, address: Ipv4Addr, now: Timestamp, until: Timestamp) {
        self.hold(address, Lease { mac, hold: Hold::Bound, until }, now);
    }

    /// Somebody else uses the address.
    pub(in crate::net::dhcp) fn decline(&mut self, mac: MacAddr, address: Ipv4Addr, now: Timestamp) -> bool {
        let held = self.holder(address) == Some(mac);
        if held {
            self.macs.remove(&mac);
            self.leases.insert(address, Lease { mac, hold: Hold::Declined, until: now + DECLINE_REST });
            self.changed.insert(address);
        }
        held
    }

    /// The client gives its address back; should it come again it gets the same, if still free.
    pub(in crate::net::dhcp) fn release(&mut self, mac: MacAddr, address: Ipv4Addr, now: Timestamp) -> bool {
        let held = self.holder(address) == Some(mac);
        if held {
            self.free(address, now);
        }
        held
    }

    /// The client took another server's offer.
    pub(in crate::net::dhcp) fn withdraw(&mut self, mac: MacAddr, now: Timestamp) {
        if let Some(address) = self.macs.get(&mac).copied()
            && self.leases.get(&address).is_some_and(|l| l.hold == Hold::Offered)
        {
            self.free(address, now);
        }
    }

    /// Who was last offered or leased the address.
    #[must_use]
    pub(in crate::net::dhcp) fn holder(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.leases.get(&address).filter(|l| matches!(l.hold, Hold::Offered | Hold::Bound)).map(|l| l.mac)
    }

    /// Takes over a stored lease; call in the order of storing.
    pub(super) fn load(&mut self, address: Ipv4Addr, lease: Lease) {
        self.own(address, lease);
    }

    /// Everything worth storing.
    pub(super) fn all(&self) -> Vec<(Ipv4Addr, Lease)> {
        let mut all: Vec<_> =
            self.leases.iter().filter(|(_, l)| l.hold != Hold::Offered).map(|(a, l)| (*a, *l)).collect();
        // The last line for a hardware address tells which address it gets again.
        all.sort_by_key(|(address, lease)| (lease.until, *address));
        all
    }

    /// What has changed since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<(Ipv4Addr, Lease)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .filter_map(|a| self.leases.get(&a).map(|l| (a, *l)))
            .filter(|(_, lease)| lease.hold != Hold::Offered)
            .collect()
    }

    /// These could not be stored.
    pub(super) fn restore_changes(&mut self, changes: &[(Ipv4Addr, Lease)]) {
        self.changed.extend(changes.iter().map(|(address, _)| *address));
    }

    fn hold(&mut self, address: Ipv4Addr, lease: Lease, now: Timestamp) {
        if let Some(former) = self.macs.get(&lease.mac).copied().filter(|former| *former != address) {
            self.free(former, now);
        }
        if lease.hold == Hold::Bound {
            self.changed.insert(address);
        }
        self.own(address, lease);
    }

    fn own(&mut self, address: Ipv4Addr, lease: Lease) {
        if let Some(former) = self.leases.insert(address, lease)
            && former.mac != lease.mac
            && self.macs.get(&former.mac) == Some(&address)
        {
            self.macs.remove(&former.mac);
        }
        match lease.hold {
            Hold::Offered | Hold::Bound | Hold::Free => self.macs.insert(lease.mac, address),
            Hold::Declined => self.macs.remove(&lease.mac),
        };
    }

    fn free(&mut self, address: Ipv4Addr, now: Timestamp) {
        let Some(lease) = self.leases.get_mut(&address) else { return };
        if lease.hold == Hold::Bound {
            self.changed.insert(address);
        }
        *lease = Lease { hold: Hold::Free, until: now, ..*lease };
    }

    /// An address of the range that nobody ever had. The search starts where the hardware address says, so a machine
    /// gets the same address even after the leases were lost.
    fn unused(&self, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        let range = asker.subnet.dynamic;
        let (first, count) = (range.start().to_bits(), u64::from(range.end().to_bits() - range.start().to_bits()) + 1);
        let start = spread(asker.mac) % count;
        (0..count)
            .filter_map(|i| u32::try_from((start + i) % count).ok())
            .map(|offset| Ipv4Addr::from_bits(first + offset))
            .find(|a| !self.leases.contains_key(a) && asker.admits(*a))
    }

    fn longest_free(&self, asker: &Asker<'_>, now: Timestamp) -> Option<Ipv4Addr> {
        self.leases
            .iter()
            .filter(|(address, lease)| {
                asker.subnet.dynamic.contains(**address)
                    && (lease.hold == Hold::Free || lease.until <= now)
                    && asker.admits(**address)
            })
            .min_by_key(|(address, lease)| (lease.until, **address))
            .map(|(address, _)| *address)
    }
}

/// FNV-1a: hardware addresses of one make differ in few bits.
fn spread(mac: MacAddr) -> u64 {
    mac.0.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
