//! RAKP 1 to 4 (IPMI 2.0 13.20 to 13.23) without the network: what the console sends, and what the answers must prove.

use farrier_common::secret::random_bytes;
use farrier_ipmi::users::ADMINISTRATOR;

use super::{super::super::Login, SessionError, Suite, suite::Keys};

pub(super) const FIRST: &str = "RAKP 1";
pub(super) const THIRD: &str = "RAKP 3";

/// Bit of the role byte: look the user up by name alone, not by name and privilege.
const NAME_ONLY: u8 = 0x10;
const ROLE: u8 = NAME_ONLY | ADMINISTRATOR;

/// What Open Session agreed on.
pub(super) struct Ids {
    pub(super) suite: Suite,
    pub(super) own: u32,
    pub(super) bmc: u32,
}

/// The console's side of one exchange.
pub(super) struct Console<'a> {
    ids: &'a Ids,
    password: &'a [u8],
    random: [u8; 16],
    /// Role, length of the name, name: as the proofs have them.
    who: Vec<u8>,
}

/// What follows from a RAKP 2 that proved the password.
pub(super) struct Proven {
    pub(super) keys: Keys,
    guid: [u8; 16],
    /// The message to send next, but for its tag.
    pub(super) third: Vec<u8>,
}

impl<'a> Console<'a> {
    pub(super) fn new(login: &'a Login, ids: &'a Ids) -> Result<Self, SessionError> {
        let name = login.username.as_bytes();
        let length = u8::try_from(name.len())
            .ok()
            .filter(|length| *length <= 16)
            .ok_or_else(|| SessionError::BadLogin("the user name is longer than 16 bytes".into()))?;
        let who = [&[ROLE, length], name].concat();
        Ok(Self { ids, password: login.password.expose().as_bytes(), random: random_bytes(), who })
    }

    /// RAKP 1, but for its tag.
    pub(super) fn first(&self) -> Vec<u8> {
        let (role, name) = self.who.split_at(1);
        [&[0; 4], &self.ids.bmc.to_le_bytes()[..], &self.random, role, &[0, 0], name].concat()
    }

    /// Looks whether a RAKP 2 proves that the BMC knows the password.
    pub(super) fn second(&self, answer: &[u8]) -> Result<Proven, SessionError> {
        let Ids { suite, own, bmc } = *self.ids;
        let (own, bmc) = (own.to_le_bytes(), bmc.to_le_bytes());
        let malformed = |detail| SessionError::Malformed { what: FIRST, detail };
        let fields = Second::of(answer, suite).ok_or_else(|| malformed("the answer is too short"))?;
        if fields.session != own {
            return Err(malformed("the answer is for another session"));
        }
        let proof: [&[u8]; 6] = [&own, &bmc, &self.random, fields.random, fields.guid, &self.who];
        if !suite.verifies(self.password, &proof, fields.check, suite.digest_length()) {
            return Err(SessionError::BadLogin(
                "wrong user name or password (the BMC proves another password in RAKP 2)".into(),
            ));
        }
        let third = suite.hmac(self.password, &[fields.random, &own, &self.who]);
        Ok(Proven {
            keys: Keys::derive(suite, self.password, &self.random, fields.random, &self.who),
            guid: *fields.guid,
            third: [&[0; 4], &bmc[..], &third].concat(),
        })
    }

    /// Looks whether a RAKP 4 proves that the BMC has the session's key.
    pub(super) fn fourth(&self, proven: &Proven, answer: &[u8]) -> Result<(), SessionError> {
        let Ids { suite, own, bmc } = *self.ids;
        let malformed = |detail| SessionError::Malformed { what: THIRD, detail };
        let (head, check) = answer.split_first_chunk::<8>().ok_or_else(|| malformed("the answer is too short"))?;
        let [_, _, _, _, session @ ..] = *head;
        if session != own.to_le_bytes() {
            return Err(malformed("the answer is for another session"));
        }
        // Some BMCs send the whole digest, some a padded one: what counts is its beginning.
        let check = check.get(..suite.check_length()).ok_or_else(|| malformed("the answer is too short"))?;
        let proof: [&[u8]; 3] = [&self.random, &bmc.to_le_bytes(), &proven.guid];
        if suite.verifies(&proven.keys.session, &proof, check, suite.check_length()) {
            return Ok(());
        }
        Err(SessionError::BadLogin("the BMC does not prove the session key in RAKP 4 (is a BMC key, Kg, set?)".into()))
    }
}

/// The fields of RAKP 2.
struct Second<'a> {
    session: [u8; 4],
    random: &'a [u8; 16],
    guid: &'a [u8; 16],
    check: &'a [u8],
}

impl<'a> Second<'a> {
    fn of(answer: &'a [u8], suite: Suite) -> Option<Self> {
        let (head, rest) = answer.split_first_chunk::<8>()?;
        let [_, _, _, _, session @ ..] = *head;
        let (random, rest) = rest.split_first_chunk::<16>()?;
        let (guid, rest) = rest.split_first_chunk::<16>()?;
        Some(Self { session, random, guid, check: rest.get(..suite.digest_length())? })
    }
}
