//! What requests have in common, made into types that cannot be wrong. Errors name the field.

use std::{collections::BTreeSet, fmt::Display, net::Ipv4Addr, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use farrier_common::{
    hardware::{Architecture, Compression},
    name::Name,
    net::MacAddr,
};
use farrier_proto::{convert, v1};

use super::words::unknown;
use crate::{
    app::context::{Listed, Page},
    domain::{Error, Result},
};

const PAGE: usize = 50;
const MOST_PAGE: usize = 1000;
const MOST_MACS: usize = 64;
const MOST_COMMENT: usize = 500;
const MOST_QUOTA: u32 = 1_000_000;
const MOST_TARGET: usize = 200;

/// A required text that some type parses.
pub(super) fn text<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T> {
    text.parse().map_err(|e| Error::invalid(field, e))
}

/// The same, where the empty text means none.
pub(super) fn optional<T: FromStr<Err: Display>>(field: &str, given: &str) -> Result<Option<T>> {
    if given.is_empty() { Ok(None) } else { text(field, given).map(Some) }
}

pub(super) fn name(field: &str, given: &str) -> Result<Name> {
    text(field, given)
}

/// std's parser says only "invalid IPv4 address syntax".
pub(super) fn ipv4(field: &str, given: &str) -> Result<Ipv4Addr> {
    given.parse().map_err(|_| Error::invalid(field, format!("{given:?} is not an IPv4 address")))
}

pub(super) fn optional_ipv4(field: &str, given: &str) -> Result<Option<Ipv4Addr>> {
    if given.is_empty() { Ok(None) } else { ipv4(field, given).map(Some) }
}

pub(super) fn architecture(field: &str, number: i32) -> Result<Architecture> {
    convert::architecture_from_wire(number).ok_or_else(|| unknown(field, Architecture::ALL.iter().map(|a| a.as_str())))
}

pub(super) fn compression(field: &str, number: i32) -> Result<Compression> {
    convert::compression_from_wire(number).ok_or_else(|| unknown(field, Compression::ALL.iter().map(|c| c.as_str())))
}

/// The addresses of a machine's interfaces: at least one, each once, none that many have.
pub(super) fn macs(field: &str, given: &[String]) -> Result<Vec<MacAddr>> {
    if given.is_empty() || given.len() > MOST_MACS {
        return Err(Error::invalid(field, format!("must be 1 to {MOST_MACS} addresses")));
    }
    let mut macs = Vec::with_capacity(given.len());
    for (place, one) in given.iter().enumerate() {
        let field = format!("{field}[{place}]");
        let mac: MacAddr = text(&field, one)?;
        let [first, ..] = mac.0;
        if first & 1 == 1 || mac.0 == [0; 6] {
            return Err(Error::invalid(field, format!("{mac} is not the address of one interface")));
        }
        if macs.contains(&mac) {
            return Err(Error::invalid(field, format!("{mac} is given twice")));
        }
        macs.push(mac);
    }
    Ok(macs)
}

/// Why somebody wants something.
pub(super) fn comment(field: &str, text: &str) -> Result<String> {
    if text.chars().count() > MOST_COMMENT || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            field,
            format!("has at most {MOST_COMMENT} characters, none of them control characters"),
        ));
    }
    Ok(text.to_owned())
}

/// What something is for.
pub(super) fn description(text: &str) -> Result<String> {
    comment("description", text)
}

/// How many machines somebody may hold; 0 means any number.
pub(super) fn quota(most: u32) -> Result<Option<u32>> {
    if most > MOST_QUOTA {
        return Err(Error::invalid("max_machines", format!("must be 0 (no limit) to {MOST_QUOTA}")));
    }
    Ok(Some(most).filter(|most| *most != 0))
}

/// Which fields are to be set.
pub(super) fn mask(given: Option<prost_types::FieldMask>, allowed: &[&'static str]) -> Result<BTreeSet<&'static str>> {
    let paths = given.unwrap_or_default().paths;
    let all = allowed.join(", ");
    if paths.is_empty() {
        return Err(Error::invalid("update_mask", format!("required: name what to set, of {all}")));
    }
    let each = paths.iter().map(|path| {
        let unfit = || Error::invalid("update_mask", format!("{path:?} cannot be set; allowed are {all}"));
        allowed.iter().copied().find(|a| a == path).ok_or_else(unfit)
    });
    each.collect()
}

/// What a caller named, cut for the audit; whether there is such a thing is not looked at.
pub(super) fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST_TARGET).collect()
}

/// A page of a list.
pub(super) fn page(asked: Option<v1::PageRequest>) -> Result<Page> {
    let asked = asked.unwrap_or_default();
    let size = match usize::try_from(asked.page_size) {
        Ok(0) => PAGE,
        Ok(size) if size <= MOST_PAGE => size,
        Ok(_) | Err(_) => return Err(Error::invalid("page.page_size", format!("must be 0 to {MOST_PAGE}"))),
    };
    let token = asked.page_token;
    let decoded = URL_SAFE_NO_PAD.decode(&token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let after = match decoded {
        _ if token.is_empty() => None,
        Some(after) if !after.is_empty() => Some(after),
        Some(_) | None => return Err(Error::invalid("page.page_token", "is not one that a list has answered")),
    };
    Ok(Page { after, size })
}

/// The token of the next page.
pub(super) fn next_token<T>(listed: &Listed<T>) -> String {
    listed.next.as_ref().map(|next| URL_SAFE_NO_PAD.encode(next)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_bounds_and_their_tokens_are_checked() {
        let ask =
            |page_size, page_token: &str| page(Some(v1::PageRequest { page_size, page_token: page_token.to_owned() }));
        assert_eq!(page(None).unwrap(), Page { after: None, size: 50 });
        assert_eq!(ask(1000, "").unwrap().size, 1000);
        for bad in [-1, 1001] {
            assert!(ask(bad, "").unwrap_err().to_string().starts_with("page.page_size: "));
        }
        for bad in ["*", "AA==", "_w"] {
            assert!(ask(0, bad).unwrap_err().to_string().starts_with("page.page_token: "), "{bad}");
        }
        let token = next_token(&Listed::<()> { items: vec![], next: Some("x1".to_owned()) });
        assert_eq!(ask(0, &token).unwrap().after.as_deref(), Some("x1"));
    }

    #[test]
    fn macs_are_of_one_interface_each() {
        let told = |given: &[&str]| macs("macs", &given.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>());
        assert_eq!(told(&["52-54-00-AB-00-01"]).unwrap(), [MacAddr([0x52, 0x54, 0, 0xab, 0, 1])]);
        for bad in [&[][..], &["x"], &["ff:ff:ff:ff:ff:ff"], &["00:00:00:00:00:00"], &["02:00:00:00:00:01"; 2]] {
            assert!(told(bad).is_err(), "{bad:?}");
        }
    }
}
