//! Users' public keys: whose they are, who sees them, and which are taken.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use farrier_proto::v1::{self, Role};
use farrier_region::{app::events::Bounds, domain::ssh_key::MOST_KEYS};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    held::Held,
    postgres,
    site::{Site, Users, by, options, refused},
};

/// Strings as SSH writes them.
fn blob(parts: &[&[u8]]) -> String {
    let string = |part: &&[u8]| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    STANDARD.encode(parts.iter().map(string).collect::<Vec<_>>().concat())
}

/// A key that nobody has the other half of.
fn key(n: u8) -> String {
    format!("ssh-ed25519 {} laptop {n}", blob(&[b"ssh-ed25519", &[n; 32]]))
}

fn add(user: &str, public_key: &str) -> v1::AddSshKeyRequest {
    v1::AddSshKeyRequest { options: options(), user: user.to_owned(), public_key: public_key.to_owned() }
}

fn delete(id: &str) -> v1::DeleteSshKeyRequest {
    v1::DeleteSshKeyRequest { options: options(), ssh_key: id.to_owned() }
}

fn list(user: &str) -> v1::ListSshKeysRequest {
    v1::ListSshKeysRequest { user: user.to_owned(), page: None }
}

/// The keys that somebody sees of a user (empty: of himself).
async fn seen(site: &Site, token: &str, user: &str) -> Vec<v1::SshKey> {
    let answer = Users::new(site.channel.clone()).list_ssh_keys(by(token, list(user))).await.unwrap().into_inner();
    assert_eq!(answer.next_page_token, "");
    answer.ssh_keys
}

#[tokio::test]
async fn a_user_has_his_keys_and_only_admins_see_those_of_others() {
    let site = Site::start().await;
    let (ulf, vera) = (site.user("ulf", Role::User).await, site.user("vera", Role::Viewer).await);
    let mut users = Users::new(site.channel.clone());
    let first = users.add_ssh_key(by(&ulf, add("", &format!("  {}\n", key(1))))).await.unwrap().into_inner();
    assert_eq!((first.user.as_str(), first.public_key.as_str()), ("ulf", key(1).as_str()));
    assert_eq!(first.fingerprint, fingerprint(&key(1)));
    assert!(first.created_at.is_some());
    // For another one may be added by an admin; it is the other's then.
    let second = users.add_ssh_key(by(&site.admin, add("ulf", &key(2)))).await.unwrap().into_inner();
    assert_eq!(second.user, "ulf");
    let hers = users.add_ssh_key(by(&vera, add("vera", &key(1)))).await.unwrap().into_inner();
    assert_eq!((hers.user.as_str(), &hers.fingerprint), ("vera", &first.fingerprint), "two may have the same key");

    let of_ulf = vec![first.clone(), second.clone()];
    assert_eq!(seen(&site, &ulf, "").await, of_ulf);
    assert_eq!(seen(&site, &ulf, "ulf").await, of_ulf);
    assert_eq!(seen(&site, &site.admin, "ulf").await, of_ulf);
    assert_eq!(seen(&site, &site.admin, "").await, []);
    for other in ["ulf", "admin", "nobody"] {
        let status = refused(users.list_ssh_keys(by(&vera, list(other))).await, Code::PermissionDenied);
        assert!(status.message().starts_with("to see or change other users' SSH keys one needs the role admin"));
        refused(users.add_ssh_key(by(&vera, add(other, &key(3)))).await, Code::PermissionDenied);
    }
    refused(users.list_ssh_keys(by(&site.admin, list("nobody"))).await, Code::NotFound);
    refused(users.add_ssh_key(by(&site.admin, add("nobody", &key(3)))).await, Code::NotFound);

    // Who may not see a key does not learn that there is one.
    let theirs = refused(users.delete_ssh_key(by(&vera, delete(&first.id))).await, Code::NotFound);
    assert_eq!(theirs.message(), format!("there is no SSH key {:?}", first.id));
    let request = delete(&first.id);
    assert_eq!(users.delete_ssh_key(by(&ulf, request.clone())).await.unwrap().into_inner(), first);
    assert_eq!(users.delete_ssh_key(by(&ulf, request)).await.unwrap().into_inner(), first, "the same request");
    refused(users.delete_ssh_key(by(&ulf, delete(&first.id))).await, Code::NotFound);
    users.delete_ssh_key(by(&site.admin, delete(&second.id))).await.unwrap();
    assert_eq!((seen(&site, &ulf, "").await, seen(&site, &vera, "").await), (vec![], vec![hers]));
}

/// As `ssh-keygen -l` tells it.
fn fingerprint(line: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.pub");
    std::fs::write(&file, line).unwrap();
    let told = std::process::Command::new("ssh-keygen").arg("-lf").arg(&file).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_key_that_is_none_names_its_field() {
    let site = Site::start().await;
    let mut users = Users::new(site.channel.clone());
    let rsa = |bits: usize| {
        let modulus = [&[0_u8][..], &vec![0xff; bits / 8]].concat();
        format!("ssh-rsa {}", blob(&[b"ssh-rsa", &[1, 0, 1], &modulus]))
    };
    let ec = format!("ecdsa-sha2-nistp256 {}", blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &[4; 65]]));
    let dss = format!("ssh-dss {}", blob(&[b"ssh-dss", &[1; 20]]));
    let bad = [
        (String::new(), "is required"),
        ("ssh-ed25519".to_owned(), "the key is not one of type ssh-ed25519, or part of it is missing"),
        ("ssh-ed25519 %%%".to_owned(), "the key is not base64"),
        (format!("ssh-ed25519 {}", blob(&[b"ssh-ed25519", &[1; 31]])), "the key is not one of type ssh-ed25519"),
        (format!("ssh-ed25519 {}", blob(&[b"ssh-ed25519", &[1; 32], b"more"])), "the key is not one of type"),
        (format!("ssh-ed25519 {}", blob(&[b"ssh-rsa", &[1; 32]])), "the key inside is not of type ssh-ed25519"),
        (format!("command=\"/bin/sh\" {}", key(1)), "options before the type are not taken; it must begin with one of"),
        (format!("{}\n{}", key(1), key(2)), "must be one line of at most 8192 bytes, without control characters"),
        (format!("{} {}", key(1), "x".repeat(200)), "the comment may have 200 characters"),
        (rsa(1024), "an RSA key must have 2048 to 16384 bits, not 1024"),
        (dss, "the type must be one of ssh-ed25519, "),
        ("-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(), "the type must be one of ssh-ed25519, "),
    ];
    for (line, why) in bad {
        let status = refused(users.add_ssh_key(by(&site.admin, add("", &line))).await, Code::InvalidArgument);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.len(), 1, "{line}");
        assert_eq!(violations[0].field, "public_key", "{line}");
        assert!(violations[0].description.starts_with(why), "{line}: {violations:?}");
    }
    assert_eq!(seen(&site, &site.admin, "").await, []);
    for good in [rsa(2048), ec, key(1)] {
        users.add_ssh_key(by(&site.admin, add("", &good))).await.unwrap();
    }
    let status = refused(users.delete_ssh_key(by(&site.admin, delete("mine"))).await, Code::InvalidArgument);
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "ssh_key");
}

#[tokio::test]
async fn a_key_is_had_once_and_lists_come_in_pages() {
    let site = Site::start().await;
    let ulf = site.user("ulf", Role::User).await;
    let mut users = Users::new(site.channel.clone());
    for n in 1..=5 {
        users.add_ssh_key(by(&ulf, add("", &key(n)))).await.unwrap();
    }
    // The comment is no part of the key.
    let same = key(1).replace("laptop", "desktop");
    refused(users.add_ssh_key(by(&ulf, add("", &same))).await, Code::AlreadyExists);
    let (mut lines, mut token) = (Vec::new(), String::new());
    loop {
        let page = Some(v1::PageRequest { page_size: 2, page_token: token });
        let asked = v1::ListSshKeysRequest { page, ..list("") };
        let answer = users.list_ssh_keys(by(&ulf, asked)).await.unwrap().into_inner();
        assert!(answer.ssh_keys.len() <= 2);
        lines.extend(answer.ssh_keys.into_iter().map(|k| k.public_key));
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(lines, (1..=5).map(key).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_more_keys_than_one_may() {
    let url = postgres::database();
    let site = Site::with(Bounds::default(), Some(url.clone())).await;
    let ulf = site.user("ulf", Role::User).await;
    let most = u8::try_from(MOST_KEYS).unwrap();
    for n in 1..most {
        Users::new(site.channel.clone()).add_ssh_key(by(&ulf, add("", &key(n)))).await.unwrap();
    }
    // One more may come; three do at once.
    let lock = Held::take(&url, "SELECT 1 FROM users WHERE name = 'ulf' FOR UPDATE");
    let mut clients = JoinSet::new();
    for n in 0..3 {
        let (mut users, token) = (Users::new(site.connect(None)), ulf.clone());
        clients.spawn(async move { users.add_ssh_key(by(&token, add("", &key(100 + n)))).await });
    }
    lock.until_wait(3).await;
    let answers = clients.join_all().await;
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 1, "{answers:?}");
    for answer in answers.into_iter().filter(Result::is_err) {
        let status = refused(answer, Code::ResourceExhausted);
        assert_eq!(status.message(), "a user has at most 20 keys; delete one first");
    }
    assert_eq!(seen(&site, &ulf, "").await.len(), MOST_KEYS);
}
