//! Subnets.

use std::net::Ipv4Addr;

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::{
    id::{RackId, SubnetId},
    net::Ipv4Range,
};

use crate::domain::{Error, Result, event::NewEvent, network::Subnet};

use super::{
    Once, Request, Store, Tx,
    convert::{limit as rows, parse, parse_option, unsigned},
    dialect,
    error::{Outcome, StoreError, unique},
    schema::{racks, subnets},
};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = subnets)]
struct Row {
    id: String,
    name: String,
    cidr: String,
    rack: String,
    gateway: Option<String>,
    /// Separated by spaces.
    dns: String,
    dynamic_start: String,
    dynamic_end: String,
    lease_seconds: i64,
}

impl TryFrom<Row> for Subnet {
    type Error = StoreError;

    fn try_from(row: Row) -> Outcome<Self> {
        let start: Ipv4Addr = parse("subnets.dynamic_start", &row.dynamic_start)?;
        let end: Ipv4Addr = parse("subnets.dynamic_end", &row.dynamic_end)?;
        let backwards = || StoreError::Corrupt {
            column: "subnets.dynamic_end",
            value: row.dynamic_end.clone(),
            why: format!("comes before {start}"),
        };
        Ok(Self {
            id: parse("subnets.id", &row.id)?,
            name: parse("subnets.name", &row.name)?,
            cidr: parse("subnets.cidr", &row.cidr)?,
            rack: parse("subnets.rack", &row.rack)?,
            gateway: parse_option("subnets.gateway", row.gateway.as_deref())?,
            dns: row.dns.split_whitespace().map(|a| parse("subnets.dns", a)).collect::<Outcome<_>>()?,
            dynamic: Ipv4Range::new(start, end).ok_or_else(backwards)?,
            lease_seconds: unsigned("subnets.lease_seconds", row.lease_seconds)?,
        })
    }
}

impl From<&Subnet> for Row {
    fn from(s: &Subnet) -> Self {
        Self {
            id: s.id.to_string(),
            name: s.name.to_string(),
            cidr: s.cidr.to_string(),
            rack: s.rack.to_string(),
            gateway: s.gateway.map(|a| a.to_string()),
            dns: s.dns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            dynamic_start: s.dynamic.start().to_string(),
            dynamic_end: s.dynamic.end().to_string(),
            lease_seconds: s.lease_seconds.into(),
        }
    }
}

impl Store {
    /// Adds a subnet, after [`Subnet::check`] against those that exist at that moment.
    ///
    /// # Errors
    /// The name is taken, the rack does not exist, or what `check` says.
    pub async fn subnet_insert<R>(
        &self,
        request: Option<&Request>,
        subnet: Subnet,
        event: NewEvent,
        render: R,
    ) -> Result<Once<Subnet>>
    where
        R: FnOnce(&Subnet) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            dialect::lock_subnets(tx)?;
            let rack = racks::table.find(subnet.rack.to_string()).select(racks::id);
            let rack: Option<String> = rack.first(tx.conn).optional()?;
            rack.ok_or_else(|| Error::not_found("rack", subnet.rack))?;
            let all: Vec<Row> = subnets::table.select(Row::as_select()).load(tx.conn)?;
            let others: Vec<Subnet> = all.into_iter().map(TryInto::try_into).collect::<Outcome<_>>()?;
            if others.iter().any(|o| o.name == subnet.name) {
                return Err(Error::Exists { kind: "subnet", name: subnet.name.to_string() }.into());
            }
            subnet.check(&others)?;
            let inserted = diesel::insert_into(subnets::table).values(Row::from(&subnet)).execute(tx.conn);
            unique(inserted, "subnet", &subnet.name)?;
            tx.log(event);
            Ok(subnet)
        })
        .await
    }

    /// The subnet of that id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn subnet_find(&self, id_or_name: &str) -> Result<Option<Subnet>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            if let Ok(id) = text.parse()
                && let Some(found) = get(tx, id)?
            {
                return Ok(Some(found));
            }
            let named = subnets::table.filter(subnets::name.eq(text));
            let row = named.select(Row::as_select()).first(tx.conn).optional()?;
            row.map(TryInto::try_into).transpose()
        })
        .await
    }

    /// A page of subnets in order of id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn subnet_list(&self, after: Option<SubnetId>, limit: usize) -> Result<Vec<Subnet>> {
        self.read(move |tx| {
            let mut page = subnets::table.order(subnets::id.asc()).limit(rows(limit)).into_boxed();
            if let Some(after) = after {
                page = page.filter(subnets::id.gt(after.to_string()));
            }
            page.select(Row::as_select()).load(tx.conn)?.into_iter().map(TryInto::try_into).collect()
        })
        .await
    }

    /// The subnets that a rack serves, in order of id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn subnets_of_rack(&self, rack: RackId) -> Result<Vec<Subnet>> {
        self.read(move |tx| {
            let of = subnets::table.filter(subnets::rack.eq(rack.to_string())).order(subnets::id.asc());
            of.select(Row::as_select()).load(tx.conn)?.into_iter().map(TryInto::try_into).collect()
        })
        .await
    }
}

fn get(tx: &mut Tx<'_>, id: SubnetId) -> Outcome<Option<Subnet>> {
    let row = subnets::table.find(id.to_string()).select(Row::as_select()).first(tx.conn).optional()?;
    row.map(TryInto::try_into).transpose()
}
