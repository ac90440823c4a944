//! `farrier subnet`.

use std::{net::Ipv4Addr, str::FromStr};

use farrier_common::net::Ipv4Range;
use farrier_proto::v1::{
    CreateSubnetRequest, GetSubnetRequest, ListSubnetsRequest, SubnetSpec, subnets_client::SubnetsClient,
};
use ipnet::Ipv4Net;

use super::App;
use crate::{
    client::{SHORT, options},
    error::Error,
    render::subnets as render,
};

/// Subnets on which a rack answers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List subnets.
    List,
    /// Show a subnet.
    Show {
        /// Id or name.
        subnet: String,
    },
    /// Make a rack answer on a subnet.
    Create(CreateArgs),
}

/// A subnet to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Name, an RFC 1123 label [default: made from the CIDR].
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// IPv4 network, such as 10.77.0.0/24.
    #[arg(long)]
    cidr: Ipv4Net,
    /// Name of the rack that serves it.
    #[arg(long)]
    rack: String,
    /// Addresses for unknown machines, both ends included; managed machines get theirs from the rest.
    #[arg(long, value_name = "START-END")]
    dynamic: Dynamic,
    /// Default gateway that machines are told.
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// DNS server that machines are told; may be repeated.
    #[arg(long = "dns", value_name = "ADDRESS")]
    dns: Vec<Ipv4Addr>,
    /// How long a lease lasts [default: the region's, 600].
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..))]
    lease_seconds: Option<u32>,
}

/// A range of addresses as the command line gives it.
#[derive(Clone, Copy, Debug)]
struct Dynamic(Ipv4Range);

impl FromStr for Dynamic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not START-END, such as 10.77.0.200-10.77.0.250");
        let (start, end) = text.split_once('-').ok_or_else(bad)?;
        let address = |t: &str| t.trim().parse::<Ipv4Addr>().map_err(|_| bad());
        let range = Ipv4Range::new(address(start)?, address(end)?);
        range.map(Self).ok_or_else(|| format!("{text:?} ends before it starts"))
    }
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::List => list(app).await,
        Command::Show { subnet } => show(app, subnet).await,
        Command::Create(args) => create(app, args).await,
    }
}

async fn list(app: &App) -> Result<(), Error> {
    let client = app.client()?;
    let subnets = client
        .pages(async |page| {
            let request = ListSubnetsRequest { page: Some(page) };
            let list = client.call(SHORT, request, async |c, r| SubnetsClient::new(c).list_subnets(r).await).await?;
            Ok((list.subnets, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::list_json(&subnets), || render::list_table(&subnets, app.out.width()))
}

async fn show(app: &App, subnet: String) -> Result<(), Error> {
    let request = GetSubnetRequest { subnet };
    let subnet = app.client()?.call(SHORT, request, async |c, r| SubnetsClient::new(c).get_subnet(r).await).await?;
    app.out.answer(|| render::json(&subnet), || render::page(&subnet))
}

async fn create(app: &App, args: CreateArgs) -> Result<(), Error> {
    let Dynamic(dynamic) = args.dynamic;
    let spec = SubnetSpec {
        cidr: args.cidr.to_string(),
        rack: args.rack,
        gateway: args.gateway.map(|a| a.to_string()).unwrap_or_default(),
        dns_servers: args.dns.iter().map(ToString::to_string).collect(),
        dynamic_start: dynamic.start().to_string(),
        dynamic_end: dynamic.end().to_string(),
        lease_seconds: args.lease_seconds.unwrap_or_default(),
    };
    let request = CreateSubnetRequest { options: options(), name: args.name, spec: Some(spec) };
    let client = app.client()?;
    let subnet = client.call(SHORT, request, async |c, r| SubnetsClient::new(c).create_subnet(r).await).await?;
    app.out.answer(|| render::json(&subnet), || render::page(&subnet))
}
