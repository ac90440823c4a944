//! What an answer is about, for the audit of requests that leave it open: "any machine", "a name of your choice", "mine".

use farrier_proto::v1;

/// An answer that tells what it is about.
pub(super) trait Named {
    /// Names or ids, for people.
    fn named(&self) -> String;
}

macro_rules! named {
    ($($answer:ident $field:ident,)*) => { $(
        impl Named for v1::$answer {
            fn named(&self) -> String {
                self.$field.clone()
            }
        }
    )* };
}

named! {
    Bmc machine,
    RevealBmcPasswordResponse username,
    DeleteMachineResponse machine_name,
    Image name,
    Machine name,
    Operation id,
    Pool name,
    Project name,
    Script name,
    SshKey user,
    Subnet name,
    Token user,
    User name,
}

fn machines<'a>(all: impl Iterator<Item = &'a Option<v1::Machine>>) -> String {
    all.flatten().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ")
}

impl Named for v1::AddLiveMachineResponse {
    fn named(&self) -> String {
        machines([&self.machine].into_iter())
    }
}

impl Named for v1::AllocateMachinesResponse {
    fn named(&self) -> String {
        machines(self.results.iter().map(|r| &r.machine))
    }
}

impl Named for v1::CloneMachineResponse {
    fn named(&self) -> String {
        machines(self.results.iter().map(|r| &r.machine))
    }
}

impl Named for v1::BulkMachinesResponse {
    fn named(&self) -> String {
        self.operation.as_ref().map(Named::named).unwrap_or_default()
    }
}

/// A token names nothing: the rack that it is for does, and the request has that.
impl Named for v1::CreateJoinTokenResponse {
    fn named(&self) -> String {
        String::new()
    }
}
