//! The rows.

use super::{
    Call,
    Need::{self, Held, Himself, His, Seen, Token, Verb},
};
use crate::domain::{lifecycle::Event as E, user::Role};

const ADMIN: Need = Need::Role(Role::Admin);
const USER: Need = Need::Role(Role::User);

const fn reads(service: &'static str, name: &'static str, need: Need) -> Call {
    Call { service, name, need, changes: false }
}

const fn changes(service: &'static str, name: &'static str, need: Need) -> Call {
    Call { service, name, need, changes: true }
}

/// THE table, by service as the contract has them.
#[rustfmt::skip]
pub const CALLS: &[Call] = &[
    reads  ("Audit",      "ListAuditEntries",          ADMIN),

    reads  ("Bmcs",       "GetBmc",                    Seen),
    reads  ("Bmcs",       "ListBmcEvents",             ADMIN),
    changes("Bmcs",       "ProbeBmc",                  ADMIN),
    changes("Bmcs",       "RotateBmcPassword",         ADMIN),
    changes("Bmcs",       "RevealBmcPassword",         ADMIN),
    changes("Bmcs",       "SetBmc",                    ADMIN),
    changes("Bmcs",       "ResetBmc",                  ADMIN),
    reads  ("Bmcs",       "GetBiosSettings",           ADMIN),
    changes("Bmcs",       "SetBiosSettings",           ADMIN),

    reads  ("Events",     "ListEvents",                Token),
    reads  ("Events",     "WatchEvents",               Token),

    reads  ("Images",     "GetImage",                  Token),
    reads  ("Images",     "ListImages",                Token),
    reads  ("Images",     "UploadBlob",                ADMIN),
    changes("Images",     "CreateImage",               ADMIN),

    reads  ("Machines",   "GetMachine",                Seen),
    reads  ("Machines",   "ListMachines",              Token),
    changes("Machines",   "CreateMachine",             Verb(E::Add)),
    changes("Machines",   "AddLiveMachine",            Verb(E::AddLive)),
    changes("Machines",   "UpdateMachine",             Held),
    changes("Machines",   "CommissionMachine",         Verb(E::Commission)),
    changes("Machines",   "TestMachine",               Verb(E::Test)),
    changes("Machines",   "AllocateMachine",           Verb(E::Allocate)),
    changes("Machines",   "AllocateMachines",          USER),
    changes("Machines",   "DeployMachine",             Verb(E::Deploy)),
    changes("Machines",   "ReleaseMachine",            Verb(E::Release)),
    changes("Machines",   "AbortMachine",              Verb(E::Abort)),
    changes("Machines",   "RescueMachine",             Verb(E::Rescue)),
    changes("Machines",   "ExitRescueMachine",         Verb(E::ExitRescue)),
    changes("Machines",   "MarkBrokenMachine",         Verb(E::MarkBroken)),
    changes("Machines",   "MarkFixedMachine",          Verb(E::MarkFixed)),
    changes("Machines",   "OverrideFailedTestMachine", Verb(E::OverrideFailedTest)),
    changes("Machines",   "LockMachine",               Held),
    changes("Machines",   "UnlockMachine",             Held),
    changes("Machines",   "ConfigureMachine",          Held),
    changes("Machines",   "CloneMachine",              ADMIN),
    changes("Machines",   "DeleteMachine",             ADMIN),
    changes("Machines",   "BulkMachines",              USER),
    changes("Machines",   "PowerMachine",              Held),
    changes("Machines",   "TellPower",                 Held),
    reads  ("Machines",   "ExplainMachine",            Seen),
    reads  ("Machines",   "ListScriptResults",         Seen),

    reads  ("Operations", "GetOperation",              His),
    reads  ("Operations", "ListOperations",            Token),
    changes("Operations", "CancelOperation",           USER),

    reads  ("Pools",      "GetPool",                   His),
    reads  ("Pools",      "ListPools",                 Token),
    changes("Pools",      "CreatePool",                ADMIN),
    changes("Pools",      "UpdatePool",                ADMIN),
    changes("Pools",      "DeletePool",                ADMIN),
    changes("Pools",      "GrantPool",                 ADMIN),
    changes("Pools",      "RevokePool",                ADMIN),

    reads  ("Projects",   "GetProject",                His),
    reads  ("Projects",   "ListProjects",              Token),
    changes("Projects",   "CreateProject",             ADMIN),
    changes("Projects",   "UpdateProject",             ADMIN),
    changes("Projects",   "DeleteProject",             ADMIN),
    changes("Projects",   "AddProjectMember",          ADMIN),
    changes("Projects",   "RemoveProjectMember",       ADMIN),

    reads  ("Racks",      "GetRack",                   Token),
    reads  ("Racks",      "ListRacks",                 Token),
    changes("Racks",      "CreateJoinToken",           ADMIN),

    reads  ("Scripts",    "GetScript",                 Token),
    reads  ("Scripts",    "ListScripts",               Token),
    changes("Scripts",    "CreateScript",              ADMIN),
    changes("Scripts",    "DeleteScript",              ADMIN),

    reads  ("Subnets",    "GetSubnet",                 Token),
    reads  ("Subnets",    "ListSubnets",               Token),
    changes("Subnets",    "CreateSubnet",              ADMIN),

    reads  ("Users",      "WhoAmI",                    Token),
    reads  ("Users",      "ListUsers",                 Token),
    changes("Users",      "CreateUser",                ADMIN),
    changes("Users",      "UpdateUser",                ADMIN),
    reads  ("Users",      "ListSshKeys",               Himself),
    changes("Users",      "AddSshKey",                 Himself),
    changes("Users",      "DeleteSshKey",              Himself),

    reads  ("Tokens",     "ListTokens",                Himself),
    changes("Tokens",     "CreateToken",               Himself),
    changes("Tokens",     "RevokeToken",               Himself),
];
