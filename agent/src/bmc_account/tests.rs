use std::future::ready;

use ipmi_rs_core::connection::{IpmiCommand, Message};

use super::*;

/// What a BMC holds in a slot: name, password, enabled, messaging, privilege.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    name: String,
    password: Vec<u8>,
    enabled: bool,
    messaging: bool,
    privilege: u8,
}

/// A small BMC that does as the specification says, but for what it refuses and what it only pretends to do.
struct Bmc {
    slots: Vec<Held>,
    /// Commands (IPMI 2.0 table G-1) that it refuses.
    refuses: Vec<u8>,
    /// Commands that it takes and forgets.
    forgets: Vec<u8>,
    /// What it answers to every test of a password, instead of comparing.
    tests: Option<u8>,
}

fn held(name: &str, password: &str, privilege: u8) -> Held {
    let access = !name.is_empty();
    Held { name: name.into(), password: password.into(), enabled: access, messaging: access, privilege }
}

fn bmc() -> Bmc {
    let slots = vec![held("", "", 15), held("root", "calvin", 4), held("", "", 15), held("auditor", "x", 2)];
    Bmc { slots, refuses: Vec::new(), forgets: Vec::new(), tests: None }
}

fn wanted(take_over: bool) -> Wanted {
    Wanted { username: "maas".to_owned(), password: Secret::new("0123456789abcdef".to_owned()), take_over }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take_while(|b| *b != 0).collect()
}

impl Bmc {
    /// Completion code and data.
    fn answer(&mut self, cmd: u8, data: &[u8]) -> (u8, Vec<u8>) {
        if self.refuses.contains(&cmd) {
            return (0xcc, Vec::new());
        }
        let forgets = self.forgets.contains(&cmd);
        let count = u8::try_from(self.slots.len()).unwrap();
        let slot = |byte: u8| usize::from(byte & 0x3f) - 1;
        let mut forgotten = self.slots.clone();
        let slots = if forgets { &mut forgotten } else { &mut self.slots };
        match (cmd, data) {
            (0x44, [_, number]) => {
                let user = &slots[slot(*number)];
                let raw = user.privilege | if user.messaging { 0x10 } else { 0 };
                (0, vec![count, if user.enabled { 0x40 } else { 0x80 }, 0, raw])
            }
            (0x46, [number]) => {
                let mut name = slots[slot(*number)].name.clone().into_bytes();
                name.resize(16, 0);
                (0, name)
            }
            (0x45, [number, name @ ..]) => {
                slots[slot(*number)].name = String::from_utf8(text(name)).unwrap();
                (0, Vec::new())
            }
            (0x43, [flags, number, privilege, _]) => {
                let user = &mut slots[slot(*number)];
                (user.messaging, user.privilege) = (flags & 0x10 != 0, *privilege);
                (0, Vec::new())
            }
            (0x47, [number, operation, password @ ..]) => {
                let user = &mut slots[slot(*number)];
                match operation {
                    0 | 1 => user.enabled = *operation == 1,
                    2 => user.password = text(password),
                    _ if self.tests.is_some() => return (self.tests.unwrap_or_default(), Vec::new()),
                    _ if user.password == text(password) => {}
                    _ => return (0x80, Vec::new()),
                }
                (0, Vec::new())
            }
            _ => (0xc1, Vec::new()),
        }
    }
}

impl Carrier for Bmc {
    type Error = u8;

    fn run<C>(&mut self, command: C) -> impl Future<Output = Result<C::Output, u8>> + Send
    where
        C: IpmiCommand<Output: Send> + Send,
    {
        let message: Message = command.into();
        ready(match self.answer(message.cmd(), message.data()) {
            (0, data) => C::parse_success_response(&data).map_err(|_| 0xff),
            (code, _) => Err(code),
        })
    }

    fn completion(error: &u8) -> Option<u8> {
        Some(*error)
    }
}

async fn made(bmc: &mut Bmc, take_over: bool) -> Result<u8, String> {
    make(bmc, 1, &wanted(take_over)).await.map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn an_account_is_made_once_and_no_other_is_touched() {
    let mut bmc = bmc();
    let before = bmc.slots.clone();
    assert_eq!(made(&mut bmc, false).await, Ok(3));
    assert_eq!(bmc.slots[2], held("maas", "0123456789abcdef", 4));
    let after = bmc.slots.clone();
    assert_eq!(made(&mut bmc, false).await, Ok(3), "again, and it is there");
    assert_eq!(bmc.slots, after);
    bmc.slots[2] = held("", "", 15);
    assert_eq!(bmc.slots, before);
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_is_finished() {
    for held_then in [
        Held { enabled: false, messaging: false, ..held("maas", "", 15) },
        Held { enabled: false, ..held("maas", "0123456789abcdef", 15) },
        held("maas", "0123456789abcdef", 3),
    ] {
        let mut bmc = bmc();
        bmc.slots[2] = held_then.clone();
        assert_eq!(made(&mut bmc, false).await, Ok(3), "{held_then:?}");
        assert_eq!(bmc.slots[2], held("maas", "0123456789abcdef", 4));
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_account_is_taken_over_only_if_that_is_asked_for() {
    let mut bmc = bmc();
    bmc.slots[3] = held("maas", "theirs", 4);
    let before = bmc.slots.clone();
    let why = made(&mut bmc, false).await.unwrap_err();
    assert!(why.contains("slot 4") && why.contains("taken over"), "{why}");
    assert_eq!(bmc.slots, before);
    assert_eq!(made(&mut bmc, true).await, Ok(4));
    assert_eq!(bmc.slots[3], held("maas", "0123456789abcdef", 4));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_half_done() {
    // Set User Password, Set User Access.
    for refused in [0x47, 0x43] {
        let mut bmc = bmc();
        bmc.refuses.push(refused);
        let why = made(&mut bmc, false).await.unwrap_err();
        assert!(why.contains("user slot 3 could not be cleared"), "{why}");
        assert_eq!(bmc.slots[2].name, "", "whichever step works takes the access away");
    }
    let mut forgetful = bmc();
    forgetful.forgets.push(0x43);
    let why = made(&mut forgetful, false).await.unwrap_err();
    assert!(why.contains("reads") && why.ends_with("user slot 3 was cleared again"), "{why}");
    assert!(!why.contains("0123456789abcdef"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_taken_and_not_kept_is_found_out() {
    let mut forgetful = bmc();
    forgetful.forgets.push(0x47);
    forgetful.slots[2].enabled = true;
    forgetful.slots[2].privilege = 0;
    let why = made(&mut forgetful, false).await.unwrap_err();
    assert!(why.contains("still holds another one") && why.ends_with("user slot 3 was cleared again"), "{why}");
    assert!(forgetful.slots[2].name.is_empty() && !forgetful.slots[2].messaging);
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_cannot_compare_passwords_is_believed_of_a_new_account_only() {
    // Invalid command, and yes to everything.
    for tests in [0xc1, 0x00] {
        let mut bmc = bmc();
        bmc.tests = Some(tests);
        assert_eq!(made(&mut bmc, false).await, Ok(3), "{tests:#x}");
        let why = made(&mut bmc, false).await.unwrap_err();
        assert!(why.contains("cannot tell") && why.contains("taken over"), "{why}");
        assert_eq!(made(&mut bmc, true).await, Ok(3), "{tests:#x}");
        assert_eq!(bmc.slots[2], held("maas", "0123456789abcdef", 4));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_bmc_is_told_of() {
    let mut bmc = bmc();
    bmc.slots[2] = held("third", "x", 2);
    let why = made(&mut bmc, false).await.unwrap_err();
    assert!(why.starts_with("the BMC has no free user slot"), "{why}");
}

#[test]
fn a_machine_without_a_device_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let why = ensure(&Host::below(dir.path()), &wanted(false)).unwrap_err().to_string();
    assert!(why.contains("no IPMI device"), "{why}");
}
