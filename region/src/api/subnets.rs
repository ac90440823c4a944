//! `farrier.v1.Subnets`.

use farrier_common::net::Ipv4Range;
use farrier_proto::v1::{self, subnets_server::Subnets};
use ipnet::Ipv4Net;
use tonic::Request;

use super::{
    Api,
    calls::{Answer, SHORT},
    parse,
};
use crate::{
    app::subnets::{NewSubnet, SubnetView},
    domain::{Error, Result},
};

const LEASE_SECONDS: u32 = 600;
const MOST_RESOLVERS: usize = 8;

#[tonic::async_trait]
impl Subnets for Api {
    async fn get_subnet(&self, request: Request<v1::GetSubnetRequest>) -> Answer<v1::Subnet> {
        self.read(request, |app, _, q| async move { Ok(render(&app.subnet_get(&q.subnet).await?)) }).await
    }

    async fn list_subnets(&self, request: Request<v1::ListSubnetsRequest>) -> Answer<v1::ListSubnetsResponse> {
        self.read(request, |app, _, q| async move {
            let listed = app.subnet_list(&parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListSubnetsResponse { subnets: listed.items.iter().map(render).collect(), next_page_token })
        })
        .await
    }

    async fn create_subnet(&self, request: Request<v1::CreateSubnetRequest>) -> Answer<v1::Subnet> {
        self.mutate(("CreateSubnet", SHORT), request, render, |app, ask, q| async move {
            app.subnet_create(&ask, new(q)?).await
        })
        .await
    }
}

fn new(q: v1::CreateSubnetRequest) -> Result<NewSubnet> {
    let spec = q.spec.ok_or_else(|| Error::invalid("spec", "is required"))?;
    let cidr: Ipv4Net = spec
        .cidr
        .parse()
        .map_err(|_| Error::invalid("spec.cidr", format!("{:?} is not a network such as 10.77.0.0/24", spec.cidr)))?;
    let start = parse::ipv4("spec.dynamic_start", &spec.dynamic_start)?;
    let end = parse::ipv4("spec.dynamic_end", &spec.dynamic_end)?;
    if spec.dns_servers.len() > MOST_RESOLVERS {
        return Err(Error::invalid("spec.dns_servers", format!("at most {MOST_RESOLVERS} are told to machines")));
    }
    let dns =
        spec.dns_servers.iter().enumerate().map(|(place, a)| parse::ipv4(&format!("spec.dns_servers[{place}]"), a));
    Ok(NewSubnet {
        name: parse::optional("name", &q.name)?,
        cidr,
        rack: spec.rack,
        gateway: parse::optional_ipv4("spec.gateway", &spec.gateway)?,
        dns: dns.collect::<Result<_>>()?,
        dynamic: Ipv4Range::new(start, end)
            .ok_or_else(|| Error::invalid("spec.dynamic_end", format!("comes before dynamic_start, {start}")))?,
        lease_seconds: if spec.lease_seconds == 0 { LEASE_SECONDS } else { spec.lease_seconds },
    })
}

fn render(view: &SubnetView) -> v1::Subnet {
    let s = &view.subnet;
    v1::Subnet {
        id: s.id.to_string(),
        name: s.name.to_string(),
        spec: Some(v1::SubnetSpec {
            cidr: s.cidr.to_string(),
            rack: view.rack.to_string(),
            gateway: s.gateway.map(|a| a.to_string()).unwrap_or_default(),
            dns_servers: s.dns.iter().map(ToString::to_string).collect(),
            dynamic_start: s.dynamic.start().to_string(),
            dynamic_end: s.dynamic.end().to_string(),
            lease_seconds: s.lease_seconds,
        }),
        // Subnets do not change yet.
        etag: "1".to_owned(),
    }
}
