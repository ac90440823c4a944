//! Reserved addresses for machines that come to be. Many come at a time: an address that is promised to one of them is not
//! promised to another before the first is written. Other processes don't see these promises; the database refuses the
//! second of two such machines, and whoever is refused tries again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use farrier_common::id::{RackId, SubnetId};

use super::super::App;
use crate::domain::{Result, network::Subnet};

/// So many candidates are looked up at once.
const LOOK: usize = 64;

/// What was promised by this process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Promises(Arc<Mutex<Promised>>);

#[derive(Debug, Default)]
struct Promised {
    addresses: BTreeSet<Ipv4Addr>,
    /// Where the search goes on: an address that was given back rests until all others have had their turn.
    last: BTreeMap<SubnetId, Ipv4Addr>,
}

/// An address that nobody else is promised until this is dropped.
#[derive(Debug)]
pub(in crate::app) struct Promise {
    promises: Promises,
    address: Ipv4Addr,
}

impl Promises {
    fn lock(&self) -> MutexGuard<'_, Promised> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self, subnet: SubnetId) -> Option<Ipv4Addr> {
        self.lock().last.get(&subnet).copied()
    }

    /// The first of `candidates` that nobody is promised.
    fn make(&self, subnet: SubnetId, mut candidates: impl Iterator<Item = Ipv4Addr>) -> Option<Promise> {
        let mut promised = self.lock();
        let address = candidates.find(|a| !promised.addresses.contains(a))?;
        promised.addresses.insert(address);
        promised.last.insert(subnet, address);
        Some(Promise { promises: self.clone(), address })
    }
}

impl Promise {
    pub(in crate::app) const fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.promises.lock().addresses.remove(&self.address);
    }
}

impl App {
    /// An address for the boot interface of a machine of this rack, preferably in the subnet that holds `near`; `None` if
    /// the rack serves no subnet, or it is full: the machine then gets a dynamic lease.
    pub(in crate::app) async fn reserve(&self, rack: RackId, near: Option<Ipv4Addr>) -> Result<Option<Promise>> {
        let subnets = nearest_first(self.store.subnets_of_rack(rack).await?, near);
        let own = self.rack_address(rack).await?;
        for subnet in &subnets {
            let last = self.promises.last(subnet.id);
            let mut left = subnet.reservable(last).filter(|a| Some(*a) != near && Some(*a) != own);
            loop {
                let some: Vec<_> = left.by_ref().take(LOOK).collect();
                if some.is_empty() {
                    break;
                }
                let taken = self.store.addresses_taken(&some).await?;
                let free = some.into_iter().filter(|a| !taken.contains(a));
                if let Some(promise) = self.promises.make(subnet.id, free) {
                    return Ok(Some(promise));
                }
            }
        }
        Ok(None)
    }

    /// A rack's own address, if it is told as one.
    async fn rack_address(&self, rack: RackId) -> Result<Option<Ipv4Addr>> {
        let found = self.store.rack_get(rack).await?;
        Ok(found.and_then(|r| r.address.rsplit_once(':').and_then(|(host, _)| host.parse().ok())))
    }
}

fn nearest_first(mut subnets: Vec<Subnet>, near: Option<Ipv4Addr>) -> Vec<Subnet> {
    subnets.sort_by_key(|s| (!near.is_some_and(|a| s.cidr.contains(&a)), s.id));
    subnets
}

#[cfg(test)]
mod tests {
    use farrier_common::net::Ipv4Range;

    use super::*;

    fn subnet(net: u8) -> Subnet {
        let at = |host| Ipv4Addr::new(10, net, 0, host);
        Subnet {
            id: SubnetId::generate(),
            name: "s".parse().unwrap(),
            cidr: format!("10.{net}.0.0/29").parse().unwrap(),
            rack: RackId::generate(),
            gateway: Some(at(1)),
            dns: vec![],
            dynamic: Ipv4Range::new(at(4), at(6)).unwrap(),
            lease_seconds: 600,
        }
    }

    #[test]
    fn the_subnet_near_the_bmc_comes_first() {
        let subnets = vec![subnet(1), subnet(2)];
        let order = |near| nearest_first(subnets.clone(), near).iter().map(|s| s.cidr.to_string()).collect::<Vec<_>>();
        assert_eq!(order(Some([10, 2, 0, 6].into())), ["10.2.0.0/29", "10.1.0.0/29"]);
        assert_eq!(order(None), ["10.1.0.0/29", "10.2.0.0/29"]);
    }

    #[test]
    fn an_address_is_promised_once_until_the_promise_ends() {
        let (promises, s) = (Promises::default(), subnet(1));
        let next = || promises.make(s.id, s.reservable(promises.last(s.id)));
        let (first, second) = (next().unwrap(), next().unwrap());
        assert_eq!((first.address(), second.address()), ([10, 1, 0, 2].into(), [10, 1, 0, 3].into()));
        assert!(next().is_none(), "there are two");
        drop(first);
        assert_eq!(next().unwrap().address(), Ipv4Addr::from([10, 1, 0, 2]));
    }
}
