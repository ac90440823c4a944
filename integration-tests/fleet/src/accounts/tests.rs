use std::time::Duration;

use super::*;

const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const GOOD: &str = "Abcdefg12345";

fn accounts(vendor: &str) -> Accounts {
    Accounts::new(Personality::shipped(vendor).unwrap(), Arc::default())
}

#[test]
fn a_created_user_logs_in_and_is_counted() {
    for vendor in Personality::names() {
        let mut accounts = accounts(vendor);
        let slot = accounts.create("farrier", GOOD, Privilege::Administrator).unwrap();
        assert!(!accounts.rules().fixed_slots.contains(&slot));
        let now = Instant::now();
        assert_eq!(accounts.login("farrier", GOOD, FROM, now), Ok(slot));
        assert_eq!(accounts.login("farrier", "wrong", FROM, now), Err(AccountError::Wrong));
        accounts.remove(slot).unwrap();
        assert_eq!(accounts.login("farrier", GOOD, FROM, now), Err(AccountError::Wrong));
        for fact in [Fact::AccountMade, Fact::AccountRemoved, Fact::PasswordSet, Fact::Login] {
            assert_eq!(accounts.truth.of(fact), 1, "{vendor} {fact}");
        }
        assert_eq!(accounts.truth.of(Fact::LoginRefused), 2);
    }
}

#[test]
fn order_of_writes_is_the_vendors() {
    let access = Access { privilege: Privilege::NoAccess, messaging: true, link: true, callback_only: false };
    let set = |vendor: &str, write: fn(&mut Accounts, Access) -> Result<(), AccountError>| {
        write(&mut accounts(vendor), access)
    };
    assert_eq!(set("dell", |a, _| a.enable(5, true)), Err(AccountError::NotYet("name and password")));
    assert_eq!(set("dell", |a, _| a.set_password(5, b"x", PasswordForm::Twenty)), Ok(()));
    assert_eq!(set("hpe", |a, _| a.enable(5, true)), Ok(()));
    assert_eq!(
        set("hpe", |a, _| a.set_password(5, b"long enough", PasswordForm::Twenty)),
        Err(AccountError::NotYet("name"))
    );
    assert_eq!(set("supermicro", |a, access| a.set_access(5, access)), Err(AccountError::NotYet("privilege limit")));
    assert_eq!(set("lenovo", |a, access| a.set_access(5, access)), Ok(()));
    assert_eq!(set("lenovo", |a, _| a.rename(1, "x")), Err(AccountError::FixedSlot(1)));
    assert_eq!(set("openbmc", |a, _| a.rename(16, "x")), Err(AccountError::NoSuchSlot(16)));
    assert_eq!(set("openbmc", |a, _| a.rename(0, "x")), Err(AccountError::NoSuchSlot(0)));
    assert_eq!(set("openbmc", |a, _| a.rename(2, "root")), Err(AccountError::NameTaken));
    assert_eq!(set("supermicro", |a, _| a.rename(3, "ADMIN")), Ok(()));
    assert_eq!(set("supermicro", |a, _| a.rename(3, "a b")), Err(AccountError::BadName));
}

#[test]
fn wrong_passwords_lock_the_user_for_the_penalty() {
    let mut accounts = accounts("hpe");
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(accounts.login("Administrator", "wrong", FROM, start), Err(AccountError::Wrong));
    }
    let login = |accounts: &mut Accounts, after| {
        accounts.login("Administrator", "H9PKT4WX", FROM, start + Duration::from_secs(after))
    };
    assert_eq!(login(&mut accounts, 9), Err(AccountError::LockedOut));
    assert_eq!(login(&mut accounts, 10), Ok(1));
    assert_eq!(accounts.truth.of(Fact::Lockout), 1);
}

#[test]
fn dell_blocks_the_address_whichever_user_it_tries() {
    let mut accounts = accounts("dell");
    let start = Instant::now();
    for name in ["a", "b", "c", "d", "root"] {
        assert_eq!(accounts.login(name, "wrong", FROM, start), Err(AccountError::Wrong));
    }
    assert_eq!(accounts.login("root", "calvin", FROM, start), Err(AccountError::LockedOut));
    let other = IpAddr::from([127, 0, 0, 9]);
    assert_eq!(accounts.login("root", "calvin", other, start), Ok(2));
}

#[test]
fn a_password_is_tested_in_the_form_it_was_set_in() {
    let mut accounts = accounts("dell");
    accounts.rename(3, "maas").unwrap();
    accounts.set_password(3, b"secret", PasswordForm::Sixteen).unwrap();
    assert_eq!(accounts.test_password(3, b"secret", PasswordForm::Sixteen), Ok(()));
    assert_eq!(accounts.test_password(3, b"secret", PasswordForm::Twenty), Err(AccountError::WrongForm));
    assert_eq!(accounts.test_password(3, b"other", PasswordForm::Sixteen), Err(AccountError::Wrong));
    assert_eq!(accounts.test_password(4, b"", PasswordForm::Sixteen), Err(AccountError::Wrong));
}
