use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn at(day: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + day * 86_400, 0).unwrap()
}

fn csr(name: &str) -> String {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.subject_alt_names.push(uri(tls::REGION_IDENTITY).unwrap());
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn names(pem: &str) -> Vec<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let cert = pem.parse_x509().unwrap();
    let names = cert.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn the_authority_is_made_once_and_its_key_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let first = Ca::open(dir.path()).unwrap();
    let again = Ca::open(dir.path()).unwrap();
    assert_eq!(first.ca_pem(), again.ca_pem());
    let mode = fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_crash_between_the_two_files_is_mended_and_a_lost_key_is_told() {
    let dir = tempfile::tempdir().unwrap();
    Ca::open(dir.path()).unwrap();
    fs::remove_file(dir.path().join("ca.pem")).unwrap();
    Ca::open(dir.path()).unwrap();
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    assert!(matches!(Ca::open(dir.path()), Err(PkiError::KeyLost(_))));
}

#[test]
fn a_rack_gets_the_names_of_its_id_and_none_that_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::open(dir.path()).unwrap();
    let rack = RackId::generate();
    let (pem, expires) = ca.sign_rack(&csr(tls::SERVER_NAME), rack, at(0)).unwrap();
    assert_eq!(expires, at(90));
    assert_eq!(
        names(&pem),
        [format!("DNSName({rack}.rack.farrier.internal)"), format!("URI(spiffe://farrier/rack/{rack})")]
    );
    let (_, parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    assert_eq!(rack_of(&parsed.contents), Some(rack));
    assert!(ca.sign_rack("nonsense", rack, at(0)).is_err());
}

#[test]
fn the_region_is_no_rack() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::open(dir.path()).unwrap();
    let identity = ca.server_identity(&["127.0.0.1".to_owned(), "region.example".to_owned()], at(0)).unwrap();
    assert_eq!(names(&identity.cert_pem).len(), 4);
    let (_, parsed) = x509_parser::pem::parse_x509_pem(identity.cert_pem.as_bytes()).unwrap();
    assert_eq!(rack_of(&parsed.contents), None);
    assert!(matches!(ca.server_identity(&["no name".to_owned()], at(0)), Err(PkiError::Name(_))));
    assert!(rack_of(b"nonsense").is_none());
}
