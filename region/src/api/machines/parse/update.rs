//! What people say about a machine, as it comes in: only what the mask names counts.

use std::collections::BTreeSet;

use farrier_common::name::Name;
use farrier_proto::v1;

use super::labels;
use crate::{
    api::parse,
    app::machines::Wishes,
    domain::{Error, Result, pool, verbs::Field},
};

const MOST_TAGS: usize = 64;
const MOST_NOTES: usize = 4096;

/// What is to be set. A field that is named and left empty is emptied; an empty pool or zone means the default one.
pub(in crate::api::machines) fn wishes(q: &v1::UpdateMachineRequest) -> Result<Wishes> {
    let mut wishes = Wishes::default();
    for field in mask(q.update_mask.as_ref().map_or(&[], |mask| &mask.paths))? {
        match field {
            Field::Name => wishes.name = Some(parse::name("name", &q.name)?),
            Field::Pool => wishes.pool = Some(q.pool.clone()),
            Field::Zone => {
                wishes.zone = Some(parse::optional("zone", &q.zone)?.unwrap_or_else(pool::default_zone));
            }
            Field::Tags => wishes.tags = Some(tags(&q.tags)?),
            Field::Labels => wishes.labels = Some(labels("labels", q.labels.clone())?),
            Field::Notes => wishes.notes = Some(notes(q.notes.clone())?),
        }
    }
    Ok(wishes)
}

fn mask(paths: &[String]) -> Result<BTreeSet<Field>> {
    let all = || Field::ALL.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(", ");
    if paths.is_empty() {
        return Err(Error::invalid("update_mask", format!("required: name what to set, of {}", all())));
    }
    let each = paths.iter().map(|path| {
        let unfit = || format!("{path:?} cannot be set; allowed are {}", all());
        path.parse().map_err(|_| Error::invalid("update_mask", unfit()))
    });
    each.collect()
}

/// Each tag counts once.
pub(super) fn tags(given: &[String]) -> Result<BTreeSet<Name>> {
    let each = given.iter().enumerate().map(|(place, tag)| parse::name(&format!("tags[{place}]"), tag));
    let tags = each.collect::<Result<BTreeSet<Name>>>()?;
    if tags.len() > MOST_TAGS {
        return Err(Error::invalid("tags", format!("at most {MOST_TAGS} are kept; {} are given", tags.len())));
    }
    Ok(tags)
}

/// Text of any number of lines.
pub(super) fn notes(given: String) -> Result<String> {
    let unfit = given.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    if given.len() > MOST_NOTES || unfit {
        let why = format!("has at most {MOST_NOTES} bytes, and no control characters but line feeds and tabs");
        return Err(Error::invalid("notes", why));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(paths: &[&str]) -> v1::UpdateMachineRequest {
        let paths = paths.iter().map(|p| (*p).to_owned()).collect();
        v1::UpdateMachineRequest { update_mask: Some(prost_types::FieldMask { paths }), ..Default::default() }
    }

    fn wrong(q: &v1::UpdateMachineRequest) -> String {
        wishes(q).unwrap_err().to_string()
    }

    #[test]
    fn a_mask_names_what_there_is_to_set() {
        let missing = "update_mask: required: name what to set, of name, pool, zone, tags, labels, notes";
        assert_eq!(wrong(&v1::UpdateMachineRequest::default()), missing);
        assert_eq!(wrong(&ask(&[])), missing);
        for bad in ["*", "", "state", "intent.notes", "Name"] {
            let told = format!("update_mask: {bad:?} cannot be set; allowed are name, pool, zone, tags, labels, notes");
            assert_eq!(wrong(&ask(&["notes", bad])), told);
        }
    }

    #[test]
    fn only_what_the_mask_names_is_set() {
        let given = v1::UpdateMachineRequest {
            name: "NOT A NAME".to_owned(),
            notes: "loud".to_owned(),
            ..ask(&["notes", "zone", "tags", "notes"])
        };
        let wishes = wishes(&given).unwrap();
        assert_eq!(wishes.notes.as_deref(), Some("loud"));
        assert_eq!(wishes.zone, Some(pool::default_zone()), "an empty zone is the default one");
        assert_eq!(wishes.tags, Some(BTreeSet::new()));
        assert!(wishes.name.is_none() && wishes.pool.is_none() && wishes.labels.is_none());
        assert!(wrong(&ask(&["name"])).starts_with("name: "), "a machine has a name");
    }

    #[test]
    fn tags_and_notes_are_bounded() {
        let many: Vec<String> = (0..65).map(|n| format!("t{n}")).collect();
        assert_eq!(tags(&many).unwrap_err().to_string(), "tags: at most 64 are kept; 65 are given");
        assert_eq!(tags(&many[..64]).unwrap().len(), 64);
        assert!(tags(&["a".to_owned(), "B!".to_owned()]).unwrap_err().to_string().starts_with("tags[1]: "));
        assert_eq!(notes("x".repeat(4096)).unwrap().len(), 4096);
        for bad in ["x".repeat(4097), "a\u{1b}[31m".to_owned(), "a\r".to_owned()] {
            assert!(notes(bad).unwrap_err().to_string().starts_with("notes: has at most 4096 bytes"));
        }
        assert!(notes("line\n\tline".to_owned()).is_ok());
    }
}
