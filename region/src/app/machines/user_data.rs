//! User data: kept sealed, passed on as it is, and refused where it would silence the installed system.

use farrier_common::id::MachineId;

use crate::domain::{Error, Result};

/// The longest that is taken.
pub const MOST_USER_DATA: usize = 1 << 20;

/// Where the vault keeps it.
pub(in crate::app) fn purpose(machine: MachineId) -> String {
    format!("user-data/{machine}")
}

/// Is it short enough, and does it leave our `phone_home` alone? (User data wins over vendor data, key by key.)
///
/// # Errors
/// It is too long or replaces `phone_home`.
pub(super) fn check(data: &[u8]) -> Result<()> {
    if data.len() > MOST_USER_DATA {
        let have = data.len();
        return Err(Error::invalid("user_data", format!("has {have} bytes; at most {MOST_USER_DATA} are taken")));
    }
    if replaces_phone_home(data) {
        let why = "has a top-level phone_home key, which would replace the one that tells Farrier that the system is up; \
                   remove it, and use runcmd to call another address";
        return Err(Error::invalid("user_data", why));
    }
    Ok(())
}

fn replaces_phone_home(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let text = text.trim_start_matches('\u{feff}');
    let config = text.starts_with("#cloud-config")
        || text.starts_with("## template:")
        || text.contains("text/cloud-config")
        || text.contains("\n#cloud-config");
    config && (text.lines().any(is_key) || flow_has_key(text))
}

fn is_key(line: &str) -> bool {
    ["phone_home", "\"phone_home\"", "'phone_home'"]
        .iter()
        .any(|key| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':')))
}

/// A document that is one JSON object below its comment lines.
fn flow_has_key(text: &str) -> bool {
    let body: String = text.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n");
    let object: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&body).ok();
    object.is_some_and(|o| o.contains_key("phone_home"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_phone_home_is_not_replaced() {
        for bad in [
            "#cloud-config\nphone_home:\n  url: http://x/\n",
            "#cloud-config\nusers: []\nphone_home : {url: x}\n",
            "#cloud-config\n\"phone_home\": {}\n",
            "\u{feff}#cloud-config\nphone_home: {}",
            "## template: jinja\n#cloud-config\nphone_home: {}",
            "#cloud-config\n{\"phone_home\": {\"url\": \"x\"}}",
            "Content-Type: multipart/mixed; boundary=\"x\"\n\n--x\nContent-Type: text/cloud-config\n\nphone_home:\n",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
        for good in [
            "",
            "#!/bin/sh\nphone_home: no\n",
            "#cloud-config\nruncmd:\n  - phone_home: x\n",
            "#cloud-config\n# phone_home: {}\n",
            "#cloud-config\nphone_home_later: 1\n",
            "#cloud-config\n{\"runcmd\": [\"phone_home\"]}",
        ] {
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
        assert!(check(&[0x1f, 0x8b, 8, 0, 255]).is_ok());
        assert!(check(&vec![b'#'; MOST_USER_DATA]).is_ok());
        assert!(check(&vec![b'#'; MOST_USER_DATA + 1]).is_err());
    }
}
