//! What the run leaves in the audit: one row for each mutation that was carried out, however often it was asked for while the
//! region died, and none for anything else.

use std::collections::{BTreeMap, BTreeSet};

use farrier_common::id::MachineId;
use farrier_proto::v1::{self, MutationOptions};
use prost::Message;

use crate::{
    requests::{Head, with},
    run::{Record, Run},
};

/// What a request was about that did not say it: a machine that was chosen, a key of the caller's own.
fn chosen(method: &str, answer: &[u8]) -> String {
    match method {
        "AllocateMachine" => v1::Machine::decode(answer).unwrap().name,
        "AllocateMachines" => {
            let all = v1::AllocateMachinesResponse::decode(answer).unwrap().results;
            all.into_iter().map(|r| r.machine.unwrap().name).collect::<Vec<_>>().join(", ")
        }
        "AddSshKey" => v1::SshKey::decode(answer).unwrap().user,
        other => panic!("{other} was asked for without a name"),
    }
}

impl Run {
    /// The whole audit, the newest first, read in pages.
    pub(crate) async fn audit(&self) -> Vec<v1::AuditEntry> {
        let (mut all, mut page_token): (Vec<v1::AuditEntry>, String) = (Vec::new(), String::new());
        loop {
            let page = Some(v1::PageRequest { page_size: 9, page_token });
            let ask = v1::ListAuditEntriesRequest { page, ..Default::default() }.encode_to_vec();
            let answer = self.until_answered("farrier.v1.Audit/ListAuditEntries", &self.admin, &ask).await;
            let answer = v1::ListAuditEntriesResponse::decode(answer.as_slice()).unwrap();
            all.extend(answer.entries);
            assert_eq!(answer.revision, all[0].number);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                assert!(all.is_sorted_by(|a, b| a.number > b.number));
                return all;
            }
        }
    }

    /// Asks for everything once more, under new request ids: tells what was done, and how much was refused.
    pub(crate) async fn anew(&self) -> (Vec<Record>, usize) {
        let (mut done, mut refused) = (Vec::new(), 0);
        for record in self.done() {
            let request_id = MachineId::generate().to_string();
            let comment = format!("{request_id} anew");
            let request = with(&record.request, MutationOptions { request_id, comment, ..MutationOptions::default() });
            match self.call(&record.method, &record.token, &request).await {
                Ok(answer) => done.push(Record { request, answer, ..record }),
                Err(_) => refused += 1,
            }
        }
        (done, refused)
    }

    /// Each of `done` has its row, and besides there are only those of the machines of bulk calls, each machine's once.
    pub(crate) fn is_audited(&self, audit: &[v1::AuditEntry], done: &[Record]) {
        let (given, asked): (Vec<_>, Vec<_>) = audit.iter().partition(|e| e.peer.starts_with("operation "));
        let rows: BTreeMap<&str, &v1::AuditEntry> = asked.iter().map(|e| (e.request_id.as_str(), *e)).collect();
        assert_eq!(rows.len(), asked.len(), "a request has two rows");
        for record in done {
            let head = Head::decode(record.request.as_slice()).unwrap();
            let options = head.options.unwrap();
            let row = rows.get(options.request_id.as_str()).unwrap_or_else(|| panic!("{} has no row", record.method));
            let method = record.method.rsplit('/').next().unwrap();
            let user = if record.token == self.admin { "admin" } else { "ulf" };
            let target = if head.target.is_empty() { chosen(method, &record.answer) } else { head.target };
            assert!(!target.is_empty(), "{method}: nobody can tell what was changed");
            let told = (row.user.as_str(), row.method.as_str(), row.target.as_str(), row.comment.as_str());
            assert_eq!(told, (user, method, target.as_str(), options.comment.as_str()));
            assert!(row.peer.starts_with("127.0.0.1:") && row.at.is_some(), "{row:?}");
        }
        assert_eq!(asked.len(), done.len(), "a row for what was not done");

        let begun: BTreeSet<&str> = given.iter().map(|e| e.request_id.as_str()).collect();
        assert_eq!(begun.len(), given.len(), "a machine of a bulk call has two rows");
        assert!(given.iter().all(|e| e.user == "admin" && e.method == "BulkMachines" && e.target.starts_with('m')));
        assert!(given.len() >= 4, "{}", given.len());
    }
}
