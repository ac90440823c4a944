use proptest::prelude::*;

use super::*;
use crate::{
    accounts::{Access, Accounts, PasswordForm},
    chassis::{BootOverride, BootTarget, Cause},
    ipmi::{
        Action, Fault, Faults, Selector,
        crypto::{self, Suite},
    },
    truth::Fact,
};

const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 50_000);
const ADMINISTRATOR: u8 = 0x14;

/// A console of our own, so that a test can say what no real one does.
struct Console {
    server: Server,
    now: Instant,
    suite: Suite,
    id: u32,
    sequence: u32,
    keys: (Vec<u8>, [u8; 16]),
}

impl Console {
    fn new(vendor: &str) -> Self {
        let personality = Personality::shipped(vendor).unwrap();
        let chassis = Chassis::new(Arc::default());
        let accounts = Accounts::shared(Arc::clone(&personality), Arc::clone(chassis.truth()));
        let identity = Identity {
            address: Ipv4Addr::LOCALHOST,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            guid: [7; 16],
            serial: "S1".to_owned(),
        };
        let server = Server::new(identity, personality, chassis, accounts, Faults::shared(), Dice::new(1));
        let suite = Suite::Seventeen;
        Self { server, now: Instant::now(), suite, id: 0, sequence: 0, keys: (vec![], [0; 16]) }
    }

    fn logged_in(vendor: &str) -> Self {
        let mut console = Self::new(vendor);
        let factory = console.server.personality.accounts.factory.clone();
        console.login(&factory.name, &factory.password, ADMINISTRATOR).unwrap();
        console
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn fault(&self, fault: Fault) {
        assert!(self.server.faults.lock().unwrap().add(fault).is_some());
    }

    fn send(&mut self, bytes: &[u8]) -> Vec<Datagram> {
        self.server.on_datagram(PEER.into(), bytes, self.now)
    }

    /// A payload outside of a session and the payload of its answer.
    fn bare(&mut self, kind: u8, payload: &[u8]) -> Option<Vec<u8>> {
        let answers = self.send(&wire::plus(kind, 0, 0, payload));
        answers.first().map(|answer| answer.bytes[16..].to_vec())
    }

    fn open(&mut self) -> Result<u32, u8> {
        let [a, i, c] = self.suite.algorithms();
        let mut payload = vec![0, 0, 0, 0, 1, 2, 3, 4];
        for (kind, algorithm) in [(0, a), (1, i), (2, c)] {
            payload.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        // Another port's request: a repeated one would get the same answer.
        payload[7] = self.server.dice.bytes::<1>()[0];
        let answer = self.bare(0x10, &payload).ok_or(0xff_u8)?;
        match answer[1] {
            0 => Ok(u32::from_le_bytes(answer[8..12].try_into().unwrap())),
            status => Err(status),
        }
    }

    /// The whole handshake; the status that refused it, 0xff for silence.
    fn login(&mut self, name: &str, password: &str, role: u8) -> Result<(), u8> {
        let id = self.open()?;
        let about = [&[role, u8::try_from(name.len()).unwrap()][..], name.as_bytes()].concat();
        let random = [9; 16];
        let rakp1 = [&[1, 0, 0, 0][..], &id.to_le_bytes(), &random, &[role, 0, 0], &about[1..]].concat();
        let answer = self.bare(0x12, &rakp1).ok_or(0xff_u8)?;
        if answer[1] != 0 {
            return Err(answer[1]);
        }
        let (console, theirs) = (answer[4..8].to_vec(), answer[8..24].to_vec());
        let key = password.as_bytes();
        let proof = self.suite.hmac(key, &[&theirs, &console, &about]);
        let rakp3 = [&[2, 0, 0, 0][..], &id.to_le_bytes(), &proof].concat();
        let answer = self.bare(0x14, &rakp3).ok_or(0xff_u8)?;
        if answer[1] != 0 {
            return Err(answer[1]);
        }
        let session_key = self.suite.hmac(key, &[&random, &theirs, &about]);
        let check = self.suite.code(&session_key, &[&random, &id.to_le_bytes(), &self.server.identity.guid]);
        assert_eq!(answer[8..], check);
        let additional = |n| crypto::additional_key(self.suite, &session_key, n);
        self.keys = (additional(1), additional(2)[..16].try_into().unwrap());
        (self.id, self.sequence) = (id, 0);
        if role & 0x0f > 2 {
            assert_eq!(self.run(0x06, 0x3b, &[role & 0x0f]), Some((0, vec![role & 0x0f])));
        }
        Ok(())
    }

    /// A command as a packet of the session.
    fn packet(&mut self, netfn: u8, command: u8, data: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |s, b| s.wrapping_add(*b)).wrapping_neg();
        let mut message = vec![0x20, netfn << 2, sum(&[0x20, netfn << 2]), 0x81, 0x04, command];
        message.extend_from_slice(data);
        message.push(sum(&message[3..]));
        let payload = crypto::encrypt(&self.keys.1, [5; 16], &message);
        let mut packet = wire::plus(0xc0, self.id, self.sequence, &payload);
        wire::trailer(&mut packet);
        let code = self.suite.code(&self.keys.0, &[&packet[wire::SIGNED_FROM..]]);
        packet.extend(code);
        packet
    }

    fn read(&self, packet: &[u8]) -> (u8, Vec<u8>) {
        let Some(Packet::Plus(plus)) = Packet::parse(packet) else { panic!("no answer: {packet:02x?}") };
        let (signed, code) = plus.code(self.suite.code_length()).unwrap();
        assert_eq!(self.suite.code(&self.keys.0, &[signed]), code);
        let message = crypto::decrypt(&self.keys.1, plus.payload).unwrap();
        (message[6], message[7..message.len() - 1].to_vec())
    }

    /// Completion code and data; `None` for silence.
    fn run(&mut self, netfn: u8, command: u8, data: &[u8]) -> Option<(u8, Vec<u8>)> {
        let packet = self.packet(netfn, command, data);
        let answers = self.send(&packet);
        answers.first().map(|answer| self.read(&answer.bytes))
    }

    fn code(&mut self, netfn: u8, command: u8, data: &[u8]) -> Option<u8> {
        self.run(netfn, command, data).map(|(code, _)| code)
    }
}

#[test]
fn every_level_gets_its_commands_only() {
    let mut console = Console::logged_in("supermicro");
    let check = |console: &mut Console, level: u8, expected: [u8; 3]| {
        assert_eq!(console.code(0x06, 0x3b, &[level]), Some(0));
        let codes = [(0x00, 0x01, &[][..]), (0x00, 0x02, &[1][..]), (0x06, 0x45, &[9][..])]
            .map(|(netfn, command, data)| console.code(netfn, command, data).unwrap());
        assert_eq!(codes, expected, "at level {level}");
    };
    // The last is too short, which is only told to whom it is open.
    check(&mut console, 2, [0, code::PRIVILEGE, code::PRIVILEGE]);
    check(&mut console, 3, [0, 0, code::PRIVILEGE]);
    check(&mut console, 4, [0, 0, code::LENGTH]);
    assert_eq!(console.code(0x06, 0x3b, &[5]), Some(code::LEVEL_OF_CHANNEL));
    assert_eq!(console.code(0x06, 0x99, &[]), Some(code::INVALID_COMMAND));
    assert_eq!(console.code(0x2c, 0x00, &[]), Some(code::INVALID_COMMAND));
}

#[test]
fn each_wrong_handshake_gets_its_status() {
    let mut console = Console::new("openbmc");
    let check = |console: &mut Console, name, password, role, expected| {
        assert_eq!(console.login(name, password, role), expected, "{name} {password} {role:x}");
    };
    check(&mut console, "nobody", "0penBmc", ADMINISTRATOR, Err(0x0d));
    check(&mut console, "root", "wrong", ADMINISTRATOR, Err(0x0f));
    check(&mut console, "root", "0penBmc", 0x15, Err(0x0a));
    check(&mut console, "root", "0penBmc", ADMINISTRATOR, Ok(()));
    check(&mut console, "root", "0penBmc", 0x10, Ok(()));
    console.suite = Suite::Three;
    check(&mut console, "root", "0penBmc", ADMINISTRATOR, Err(0x04));
    let truth = console.server.chassis.truth();
    assert_eq!((truth.of(Fact::Login), truth.of(Fact::LoginRefused)), (2, 2));
}

#[test]
fn a_user_is_found_by_name_and_privilege_as_the_vendor_reads_it() {
    let lookup = |vendor: &str, role: u8| {
        let mut console = Console::new(vendor);
        let privilege = Privilege::Operator;
        let slot = console.server.users().create("op", "Abcdefg12345", privilege).unwrap();
        assert!(slot > 1);
        console.login("op", "Abcdefg12345", role)
    };
    assert_eq!(lookup("supermicro", 0x03), Ok(()), "exact: the limit");
    assert_eq!(lookup("supermicro", 0x02), Err(0x0d), "exact: less than the limit");
    assert_eq!(lookup("dell", 0x02), Ok(()), "at least");
    assert_eq!(lookup("dell", 0x04), Err(0x0d), "more than the limit, by name and privilege");
    assert_eq!(lookup("dell", 0x14), Err(0x0a), "more than the limit, by name");
}

#[test]
fn the_table_fills_and_silence_empties_it() {
    let mut console = Console::logged_in("supermicro");
    for _ in 1..6 {
        console.login("ADMIN", "ADMIN", ADMINISTRATOR).unwrap();
    }
    assert_eq!(console.open(), Err(0x01));
    assert_eq!(console.server.session_count(), 6);
    console.wait(59);
    assert_eq!(console.code(0x06, 0x01, &[]), Some(0));
    console.wait(1);
    console.open().unwrap();
    assert_eq!(console.server.session_count(), 1, "the one that spoke");
    let id = console.id.to_le_bytes();
    assert_eq!(console.code(0x06, 0x3c, &[9, 9, 9, 9]), Some(code::NO_SESSION));
    assert_eq!(console.code(0x06, 0x3c, &id), Some(0));
    assert_eq!(console.code(0x06, 0x01, &[]), None, "it is closed");
}

#[test]
fn a_message_of_the_handshake_that_comes_again_gets_the_same_answer() {
    let mut console = Console::new("dell");
    let request = [&[0, 0, 0, 0, 1, 2, 3, 4][..], &[0, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
    let request = [&request[..], &[2, 0, 0, 0, 0, 0, 0, 0]].concat();
    let first = console.bare(0x10, &request).unwrap();
    assert_eq!((first[1], first[16], first[24], first[32]), (0, 1, 1, 1), "its first suite if ours to choose");
    assert_eq!(console.bare(0x10, &request), Some(first));
}

#[test]
fn replayed_and_forged_packets_are_ignored() {
    let mut console = Console::logged_in("dell");
    let on = console.packet(0x00, 0x02, &[1]);
    assert_eq!(console.send(&on).len(), 1);
    assert_eq!(console.send(&on).len(), 0);
    let mut forged = console.packet(0x00, 0x02, &[0]);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(console.send(&forged).len(), 0);
    assert!(console.server.chassis.is_on());
}

#[test]
fn wrong_passwords_lock_out_as_the_vendor_does() {
    let mut console = Console::new("lenovo");
    for _ in 0..5 {
        assert_eq!(console.login("USERID", "wrong", ADMINISTRATOR), Err(0x0f));
    }
    assert_eq!(console.login("USERID", "PASSW0RD", ADMINISTRATOR), Err(0x0d));
    console.wait(60);
    assert_eq!(console.login("USERID", "PASSW0RD", ADMINISTRATOR), Ok(()));
    let mut console = Console::new("dell");
    for _ in 0..5 {
        assert_eq!(console.login("root", "wrong", ADMINISTRATOR), Err(0x0f));
    }
    assert_eq!(console.login("root", "calvin", ADMINISTRATOR), Err(0xff), "a blocked address hears nothing");
    console.wait(60);
    assert_eq!(console.login("root", "calvin", ADMINISTRATOR), Ok(()));
}

#[test]
fn boot_flags_stay_until_used_or_until_the_vendor_forgets_them() {
    let network_by_efi = [5, 0xa0, 0x04, 0, 0, 0];
    let flags = |console: &mut Console| console.run(0x00, 0x09, &[5, 0, 0]).unwrap().1[2..].to_vec();
    let mut console = Console::logged_in("dell");
    assert_eq!(console.code(0x00, 0x08, &network_by_efi), Some(0));
    console.wait(59);
    assert_eq!(flags(&mut console), network_by_efi[1..]);
    assert_eq!(console.code(0x00, 0x02, &[1]), Some(0));
    assert_eq!(flags(&mut console), [0; 5], "used");
    let used = console.server.chassis.power().boot.unwrap();
    assert_eq!((used.target, used.uefi, used.persistent), (BootTarget::Network, true, false));

    let mut console = Console::logged_in("hpe");
    let set = |console: &mut Console, data: &[u8]| assert_eq!(console.code(0x00, 0x08, data), Some(0));
    set(&mut console, &network_by_efi);
    let deadline = console.server.next_deadline().unwrap();
    assert_eq!(deadline, console.now + Duration::from_secs(60));
    console.wait(30);
    assert_eq!(flags(&mut console)[0], 0xa0);
    console.wait(30);
    assert_eq!(flags(&mut console)[0], 0x20, "no longer valid");
    assert_eq!(console.server.chassis.boot().0, None);
    set(&mut console, &[3, 0x08]);
    set(&mut console, &network_by_efi);
    for _ in 0..3 {
        console.wait(40);
        assert_eq!(flags(&mut console)[0], 0xa0, "the console has forbidden to forget");
    }
    assert_eq!(console.code(0x00, 0x08, &[5, 0x80, 0x28, 0, 0, 0]), Some(code::INVALID_FIELD));
    assert_eq!(console.code(0x00, 0x08, &[5, 0x80, 0x04]), Some(code::LENGTH));
    assert_eq!(console.code(0x00, 0x09, &[99, 0, 0]), Some(code::NO_PARAMETER));
}

#[test]
fn an_override_of_another_face_is_shown_and_taken_back() {
    let mut console = Console::logged_in("lenovo");
    let flags = |console: &mut Console| console.run(0x00, 0x09, &[5, 0, 0]).unwrap().1[2..].to_vec();
    let check = |console: &mut Console, target, persistent, uefi, expected: [u8; 2]| {
        let set = BootOverride { target, persistent, uefi, http_uri: None };
        console.server.chassis.set_boot(Some(set));
        assert_eq!(flags(console)[..2], expected, "{target}");
    };
    check(&mut console, BootTarget::Http, false, true, [0xa0, 0x04]);
    check(&mut console, BootTarget::Disk, true, false, [0xc0, 0x08]);
    check(&mut console, BootTarget::Setup, false, false, [0x80, 0x18]);
    assert_eq!(console.code(0x00, 0x08, &[5, 0, 0, 0, 0, 0]), Some(0));
    assert_eq!(console.server.chassis.boot().0, None);
}

#[test]
fn only_one_session_sets_boot_options_at_a_time() {
    let mut console = Console::logged_in("dell");
    assert_eq!(console.code(0x00, 0x08, &[0, 1]), Some(0));
    console.login("root", "calvin", ADMINISTRATOR).unwrap();
    assert_eq!(console.code(0x00, 0x08, &[0, 1]), Some(code::IN_PROGRESS));
    console.wait(59);
    assert_eq!(console.code(0x00, 0x08, &[0, 1]), Some(code::IN_PROGRESS));
    console.wait(1);
    assert_eq!(console.code(0x00, 0x08, &[0, 1]), Some(0), "the other session has ended");
}

#[test]
fn power_commands_do_what_the_vendor_does_when_it_is_off() {
    let check = |vendor: &str, control: u8, expected: (u8, bool)| {
        let mut console = Console::logged_in(vendor);
        let code = console.code(0x00, 0x02, &[control]).unwrap();
        assert_eq!((code, console.server.chassis.is_on()), expected, "{vendor} {control}");
    };
    check("dell", 2, (code::NOT_NOW, false));
    check("dell", 3, (code::NOT_NOW, false));
    check("dell", 5, (code::NOT_NOW, false));
    check("dell", 0, (0, false));
    check("dell", 1, (0, true));
    check("dell", 9, (code::INVALID_FIELD, false));
    check("supermicro", 2, (0, true));
    check("openbmc", 3, (0, true));
}

#[test]
fn faults_do_what_they_say() {
    let mut console = Console::logged_in("dell");
    console.fault(Fault::nth(Selector::PowerReads, Action::LieAboutPower, 1));
    assert_eq!(console.run(0x00, 0x01, &[]).unwrap().1[0] & 1, 1);
    assert_eq!(console.run(0x00, 0x01, &[]).unwrap().1[0] & 1, 0);
    console.fault(Fault::nth(Selector::PowerWrites, Action::AckWithoutApplying, 1));
    assert_eq!(console.code(0x00, 0x02, &[1]), Some(0));
    assert!(!console.server.chassis.is_on());
    console.fault(Fault::nth(Selector::PowerWrites, Action::DropAnswer, 1));
    assert_eq!(console.code(0x00, 0x02, &[1]), None);
    assert!(console.server.chassis.is_on(), "done, although nobody heard of it");
    console.fault(Fault::nth(Selector::Commands, Action::Refuse(0xc0), 2));
    let codes = [0; 3].map(|_| console.code(0x06, 0x01, &[]).unwrap());
    assert_eq!(codes, [0, 0xc0, 0]);
    console.fault(Fault::nth(Selector::Commands, Action::Duplicate, 1));
    console.fault(Fault::nth(Selector::Commands, Action::Delay(Duration::from_secs(3)), 1));
    let packet = console.packet(0x06, 0x01, &[]);
    let answers = console.send(&packet);
    assert_eq!((answers.len(), answers[0].after), (2, Duration::from_secs(3)));
    console.fault(Fault::always(Selector::OpenSession, Action::SessionTableFull));
    assert_eq!(console.open(), Err(0x01));
    console.fault(Fault::always(Selector::AccountWrites, Action::AckWithoutApplying));
    assert_eq!(console.code(0x06, 0x47, &[0x82, 0]), Some(0), "disable user 2");
    assert!(console.server.users().user(2).unwrap().enabled);
    console.fault(Fault::nth(Selector::Ping, Action::Nonsense, 1));
    let ping = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 9, 0, 0];
    let answer = console.send(&ping).remove(0).bytes;
    assert_eq!((answer[..4].to_vec(), answer != wire::pong(9)), (vec![6, 0, 0xff, 7], true));
    assert_eq!(console.send(&ping)[0].bytes, wire::pong(9));
    console.fault(Fault::black_hole());
    assert!(console.send(&ping).is_empty() && console.code(0x06, 0x01, &[]).is_none());
}

#[test]
fn the_same_seed_and_the_same_packets_give_the_same_answers() {
    let run = || {
        let mut console = Console::logged_in("hpe");
        let packet = console.packet(0x06, 0x01, &[]);
        (console.id, console.send(&packet))
    };
    assert_eq!(run(), run());
}

#[test]
fn a_removed_user_does_not_come_back_and_a_session_ends_with_a_reset() {
    let mut console = Console::logged_in("dell");
    let access = Access { privilege: Privilege::Administrator, messaging: true, link: true, callback_only: false };
    {
        let mut users = console.server.users();
        users.rename(4, "second").unwrap();
        users.set_password(4, b"other", PasswordForm::Twenty).unwrap();
        users.set_access(4, access).unwrap();
        users.enable(4, true).unwrap();
    }
    console.server.chassis.power_on(Cause::Button);
    console.login("second", "other", ADMINISTRATOR).unwrap();
    assert_eq!(console.code(0x06, 0x45, &[&[4][..], &[0; 16]].concat()), Some(0));
    assert_eq!(console.code(0x06, 0x02, &[]), Some(0), "a session outlives its user");
    assert_eq!(console.server.session_count(), 0);
    assert_eq!(console.login("second", "other", ADMINISTRATOR), Err(0x0d));
    assert!(console.server.chassis.is_on(), "the chassis does not notice a reset of its BMC");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_packets_never_panic(packets in prop::collection::vec(any::<(bool, u8, Vec<u8>)>(), 0..20)) {
        let mut console = Console::new("dell");
        for (framed, kind, bytes) in packets {
            let packet = if framed { wire::plus(kind, 0, 0, &bytes) } else { bytes };
            console.send(&packet);
        }
    }

    #[test]
    fn mutated_packets_never_panic_and_change_nothing(at in 0_usize..200, bit in 0_u8..8, cut in 0_usize..100) {
        let mut console = Console::logged_in("hpe");
        let packet = console.packet(0x00, 0x02, &[1]);
        let mut mutated = packet.clone();
        // From the session header on: what is before is not covered by the code.
        let at = wire::SIGNED_FROM + at % (packet.len() - wire::SIGNED_FROM);
        mutated[at] ^= 1 << bit;
        console.send(&mutated);
        console.send(&packet[..cut % packet.len()]);
        prop_assert!(!console.server.chassis.is_on());
    }

    #[test]
    fn any_command_with_any_data_gets_an_answer(netfn in 0_u8..0x20, command: u8, data: Vec<u8>) {
        let mut console = Console::logged_in("lenovo");
        // Requests are even; Cold Reset and Close Session end the session, so that nothing is answered after them.
        let netfn = netfn & 0x3e;
        prop_assume!(netfn != 6 || ![0x3c, 0x02].contains(&command));
        prop_assert!(console.run(netfn, command, &data).is_some());
        for (netfn, command) in [(6, 0x43), (6, 0x45), (6, 0x47), (0, 8), (0, 9), (0x0c, 1), (0x0c, 2), (0x0a, 0x11), (6, 0x40)] {
            prop_assert!(console.run(netfn, command, &data).is_some());
        }
    }

    #[test]
    fn mutated_handshakes_never_panic(kind in prop::sample::select(vec![0x10_u8, 0x12, 0x14]), payload: Vec<u8>, fill: u8) {
        let mut console = Console::new("openbmc");
        let id = console.open().unwrap();
        let mut payload = payload;
        payload.resize(payload.len().max(8), fill);
        payload[4..8].copy_from_slice(&id.to_le_bytes());
        console.bare(kind, &payload);
        payload.resize(28 + usize::from(fill % 24), fill % 20);
        console.bare(kind, &payload);
    }
}
