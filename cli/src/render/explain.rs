//! What an explanation holds besides machine and timeline: the reason's page, the last exchanges, the stages of the boot.

use farrier_proto::v1::{BootStage, Exchange, Explanation};
use serde_json::{Value, json};

use super::{
    table::{Fit, cell, table},
    words::{self, filled, rfc3339},
};

/// For programs; goes into the explanation's object.
pub(crate) fn json(explanation: &Explanation) -> Value {
    json!({
        "reason_code": filled(&explanation.reason_code),
        "meaning": filled(&explanation.meaning),
        "remedy": filled(&explanation.remedy),
        "trouble_since": rfc3339(explanation.trouble_since.as_ref()),
        "exchanges": explanation.exchanges.iter().map(|e| json!({
            "with": e.with,
            "at": rfc3339(e.at.as_ref()),
            "text": e.text,
        })).collect::<Vec<_>>(),
        "boot_stages": explanation.boot_stages.iter().map(|s| json!({
            "stage": s.stage,
            "began_at": rfc3339(s.began_at.as_ref()),
            "lasted_ms": if s.lasted_ms == 0 { Value::Null } else { s.lasted_ms.into() },
        })).collect::<Vec<_>>(),
    })
}

/// The last exchange with each party.
pub(crate) fn exchanges(all: &[Exchange], width: Option<u16>) -> String {
    let columns = [("WITH", Fit::Whole), ("TIME", Fit::Whole), ("WHAT", Fit::Wraps)];
    let rows =
        all.iter().map(|e| vec![cell(e.with.clone()), cell(words::seconds(e.at.as_ref())), cell(e.text.clone())]);
    table(width, &columns, rows.collect())
}

/// The stages of a boot.
pub(crate) fn stages(all: &[BootStage], width: Option<u16>) -> String {
    let columns = [("STAGE", Fit::Whole), ("BEGAN", Fit::Whole), ("SECONDS", Fit::Whole)];
    let rows = all.iter().map(|s| {
        let lasted = (s.lasted_ms > 0).then(|| format!("{}.{}", s.lasted_ms / 1000, s.lasted_ms % 1000 / 100));
        vec![
            cell(s.stage.clone()),
            cell(words::seconds(s.began_at.as_ref())),
            lasted.unwrap_or_else(|| "goes on".to_owned()),
        ]
    });
    table(width, &columns, rows.collect())
}
