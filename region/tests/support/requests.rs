//! Requests as bytes.

use farrier_proto::v1::MutationOptions;
use prost::Message;

/// Mutations that the run in `tests/replay` leaves out, each with the reason. `tests/api/audit.rs` has them. What is not built
/// needs none.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    ("farrier.v1.Bmcs/ProbeBmc", "succeeds only with a rack and a BMC; the fleet's tests have both"),
    ("farrier.v1.Bmcs/SetBmc", "the same"),
    ("farrier.v1.Bmcs/RotateBmcPassword", "the same"),
    ("farrier.v1.Bmcs/RevealBmcPassword", "the same; and its answer is not kept, because it holds a password"),
    ("farrier.v1.Bmcs/ResetBmc", "the same"),
    ("farrier.v1.Bmcs/SetBiosSettings", "the same as ProbeBmc"),
    ("farrier.v1.Machines/PowerMachine", "succeeds only with a rack and a BMC; the fleet's scenarios have both"),
    ("farrier.v1.Machines/TellPower", "wants a machine that people switch; tests/api/manual.rs repeats it"),
    ("farrier.v1.Machines/CloneMachine", "wants machines with an inventory; tests/api/layouts.rs repeats it"),
    ("farrier.v1.Machines/RescueMachine", "wants a machine that boots; the fleet's scenarios have them"),
    ("farrier.v1.Machines/ExitRescueMachine", "the same"),
];

/// What most requests begin with.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Head {
    #[prost(message, optional, tag = "1")]
    pub(crate) options: Option<MutationOptions>,
    /// Name or id of what is to be changed.
    #[prost(string, tag = "2")]
    pub(crate) target: String,
}

/// The request with more in its options: what comes twice is merged.
pub(crate) fn with(request: &[u8], options: MutationOptions) -> Vec<u8> {
    let more = Head { options: Some(options), target: String::new() };
    [request, &more.encode_to_vec()].concat()
}
