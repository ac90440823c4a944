//! `farrier audit`.

use farrier_proto::v1::{ListAuditEntriesRequest, PageRequest, audit_client::AuditClient};

use super::App;
use crate::{client::SHORT, error::Error, render::people as render};

/// Which entries.
#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    /// Only of this user.
    #[arg(long, default_value = "", hide_default_value = true)]
    user: String,
    /// Only of this call, such as ReleaseMachine.
    #[arg(long, default_value = "", hide_default_value = true)]
    method: String,
    /// Only about this, as the caller named it.
    #[arg(long, default_value = "", hide_default_value = true)]
    target: String,
    /// At most so many, the newest first.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
    limit: i32,
}

/// Shows who changed what, when, why and from where.
pub(crate) async fn run(app: &App, args: AuditArgs) -> Result<(), Error> {
    let page = Some(PageRequest { page_size: args.limit, page_token: String::new() });
    let request = ListAuditEntriesRequest { page, user: args.user, method: args.method, target: args.target };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| AuditClient::new(c).list_audit_entries(r).await);
    let entries = call.await?.entries;
    app.out.answer(|| render::audit_json(&entries), || render::audit_table(&entries, app.out.width()))
}
