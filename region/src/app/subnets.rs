//! Subnets on which racks answer DHCP.

use std::net::Ipv4Addr;

use farrier_common::{id::SubnetId, name::Name, net::Ipv4Range};
use ipnet::Ipv4Net;

use super::{
    App,
    context::{Ask, Listed, Page, needs, noted},
};
use crate::{
    domain::{Error, Result, event::EventKind, network::Subnet, rack::Rack, user::Role},
    store::Once,
};

/// A subnet and the rack that serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetView {
    /// The subnet.
    pub subnet: Subnet,
    /// Name of its rack.
    pub rack: Name,
}

/// A subnet to make.
#[derive(Clone, Debug)]
pub struct NewSubnet {
    /// `None`: made from the network.
    pub name: Option<Name>,
    /// The network.
    pub cidr: Ipv4Net,
    /// Id or name of the rack that serves it.
    pub rack: String,
    /// Default router for the machines.
    pub gateway: Option<Ipv4Addr>,
    /// Resolvers for the machines.
    pub dns: Vec<Ipv4Addr>,
    /// For machines without a reservation.
    pub dynamic: Ipv4Range,
    /// How long a lease lasts.
    pub lease_seconds: u32,
}

impl App {
    /// A subnet, by id or name.
    ///
    /// # Errors
    /// There is none.
    pub async fn subnet_get(&self, which: &str) -> Result<SubnetView> {
        let found = self.store.subnet_find(which).await?;
        self.subnet_view(found.ok_or_else(|| Error::not_found("subnet", which))?).await
    }

    /// A page of the subnets.
    ///
    /// # Errors
    /// The page token is foreign.
    pub async fn subnet_list(&self, page: &Page) -> Result<Listed<SubnetView>> {
        let items = self.store.subnet_list(page.after()?, page.size + 1).await?;
        let cut = page.cut(items, |s| s.id.to_string());
        let mut views = Vec::with_capacity(cut.items.len());
        for subnet in cut.items {
            views.push(self.subnet_view(subnet).await?);
        }
        Ok(Listed { items: views, next: cut.next })
    }

    /// Makes a subnet; its rack is told at once.
    ///
    /// # Errors
    /// Not an admin; the parts do not fit each other or the subnets that exist.
    pub async fn subnet_create(&self, ask: &Ask<SubnetView>, new: NewSubnet) -> Result<Once<SubnetView>> {
        needs(&ask.user, Role::Admin, "make subnets")?;
        let rack = self.rack_named(&new.rack, "spec.rack").await?;
        let subnet = Subnet {
            id: SubnetId::generate(),
            name: new.name.map_or_else(|| name_of(new.cidr), Ok)?,
            cidr: new.cidr,
            rack: rack.id,
            gateway: new.gateway,
            dns: new.dns,
            dynamic: new.dynamic,
            lease_seconds: new.lease_seconds,
        };
        let event = noted(EventKind::Subnet, ask.actor(), format!("subnet {} ({}) was made", subnet.name, subnet.cidr));
        let (render, name) = (ask.renderer(), rack.name.clone());
        let view = move |subnet: &Subnet| SubnetView { subnet: subnet.clone(), rack: name.clone() };
        let rendered = view.clone();
        let made = self.store.subnet_insert(Some(&ask.request), subnet, event, move |s| render(&rendered(s))).await?;
        self.racks.request_sync(rack.id);
        Ok(made.map(|s| view(&s)))
    }

    pub(super) async fn rack_named(&self, which: &str, field: &str) -> Result<Rack> {
        let found = self.store.rack_find(which).await?;
        found.ok_or_else(|| Error::invalid(field, format!("there is no rack {which:?}")))
    }

    async fn subnet_view(&self, subnet: Subnet) -> Result<SubnetView> {
        let rack = self.store.rack_get(subnet.rack).await?;
        let lost = || Error::Internal(format!("subnet {} is of rack {}, which is not there", subnet.name, subnet.rack));
        Ok(SubnetView { rack: rack.ok_or_else(lost)?.name, subnet })
    }
}

/// `net-10-77-0-0-24`.
fn name_of(cidr: Ipv4Net) -> Result<Name> {
    let text = format!("net-{}-{}", cidr.network().to_string().replace('.', "-"), cidr.prefix_len());
    text.parse().map_err(|e| Error::Internal(format!("{text}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_named_after_its_network() {
        assert_eq!(name_of("10.77.0.0/24".parse().unwrap()).unwrap().as_str(), "net-10-77-0-0-24");
    }
}
