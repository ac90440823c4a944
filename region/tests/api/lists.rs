//! Lists of machines.

use farrier_proto::v1::{self, MachineView, Role};
use farrier_region::domain::{lifecycle::Event, machine::Hardware};
use tonic::Code;

use crate::site::{Machines, Site, by, options, refused};

async fn site(count: u8) -> (Site, Machines) {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    for n in 0..count {
        site.machine(&format!("m{n}"), n + 2).await;
    }
    let machines = Machines::new(site.channel.clone());
    (site, machines)
}

fn list(filter: &str, order_by: &str) -> v1::ListMachinesRequest {
    v1::ListMachinesRequest { filter: filter.to_owned(), order_by: order_by.to_owned(), ..Default::default() }
}

fn names(list: &v1::ListMachinesResponse) -> Vec<&str> {
    list.machines.iter().map(|m| m.name.as_str()).collect()
}

#[tokio::test]
async fn a_list_is_filtered_ordered_and_paged_at_the_first_pages_revision() {
    let (site, mut machines) = site(5).await;
    site.engine("m3", Some(Event::Done), |_| {}).await;
    let ask = |token: &str| {
        let page = Some(v1::PageRequest { page_size: 2, page_token: token.to_owned() });
        v1::ListMachinesRequest { page, ..list("state=commissioning AND rack=r1", "name desc") }
    };
    let first = machines.list_machines(by(&site.admin, ask(""))).await.unwrap().into_inner();
    assert_eq!(names(&first), ["m4", "m2"]);
    assert_eq!(first.revision, site.app.store.event_revision().await.unwrap());
    site.engine("m0", Some(Event::Done), |_| {}).await;
    let second = machines.list_machines(by(&site.admin, ask(&first.next_page_token))).await.unwrap().into_inner();
    assert_eq!((names(&second), second.next_page_token.as_str()), (vec!["m1"], ""));
    assert_eq!(second.revision, first.revision, "of the first page, also when more has happened");

    // A token is of its list and of no other.
    let page = ask(&first.next_page_token).page;
    for other in [list("state=commissioning", "name desc"), list("state=commissioning AND rack=r1", "name")] {
        let other = v1::ListMachinesRequest { page: page.clone(), ..other };
        let status = refused(machines.list_machines(by(&site.admin, other)).await, Code::InvalidArgument);
        assert!(status.message().starts_with("page.page_token: was given for another filter"), "{status:?}");
    }
    let stranger = v1::ListMachinesRequest {
        page: Some(v1::PageRequest { page_token: "eHg".to_owned(), ..Default::default() }),
        ..list("", "")
    };
    refused(machines.list_machines(by(&site.admin, stranger)).await, Code::InvalidArgument);
}

#[tokio::test]
async fn the_locked_are_found() {
    let (site, mut machines) = site(3).await;
    let verb = || v1::MachineVerbRequest { options: options(), machine: "m1".to_owned(), ..Default::default() };
    machines.lock_machine(by(&site.admin, verb())).await.unwrap();
    let listed = async |filter: &str| {
        let listed = Machines::new(site.channel.clone()).list_machines(by(&site.admin, list(filter, ""))).await;
        names(&listed.unwrap().into_inner()).join(" ")
    };
    assert_eq!((listed("locked=true").await, listed("locked=false").await), ("m1".to_owned(), "m0 m2".to_owned()));
    machines.unlock_machine(by(&site.admin, verb())).await.unwrap();
    assert_eq!(listed("locked=true").await, "");
}

#[tokio::test]
async fn a_filter_or_order_that_cannot_be_names_its_field() {
    let (site, mut machines) = site(0).await;
    for (request, text) in [
        (list("stat=new", ""), "filter: unknown field \"stat\" at 1; fields are: id, name, "),
        (list("", "age"), "order_by: \"age\" is not one of id, name, "),
        (v1::ListMachinesRequest { view: 7, ..Default::default() }, "view: must be one of: basic, full"),
        (v1::ListMachinesRequest { states: vec![99], ..Default::default() }, "states: must be one of: new, "),
    ] {
        let status = refused(machines.list_machines(by(&site.admin, request)).await, Code::InvalidArgument);
        assert!(status.message().starts_with(text), "{status:?}");
    }
}

#[tokio::test]
async fn a_view_says_how_much_of_a_machine_is_told() {
    let (site, mut machines) = site(1).await;
    let hardware = Hardware { vendor: "Dell".to_owned(), cpu_cores: 8, ..Hardware::default() };
    site.engine("m0", None, |c| c.machine.details.hardware = Some(hardware.clone())).await;
    for (view, of_list, of_get) in
        [(MachineView::Unspecified, false, true), (MachineView::Basic, false, false), (MachineView::Full, true, true)]
    {
        let view = view.into();
        // Also when the filter needed what the view leaves out.
        for filter in ["", "cpu_cores=8"] {
            let request = v1::ListMachinesRequest { view, ..list(filter, "") };
            let listed =
                machines.list_machines(by(&site.admin, request)).await.unwrap().into_inner().machines.remove(0);
            assert_eq!(listed.labels.len(), 8);
            assert_eq!(listed.status.unwrap().hardware.is_some(), of_list, "{view} {filter}");
        }
        let request = v1::GetMachineRequest { machine: "m0".to_owned(), view };
        let got = machines.get_machine(by(&site.admin, request)).await.unwrap().into_inner();
        assert_eq!(got.status.unwrap().hardware.is_some(), of_get, "{view}");
    }
}

#[tokio::test]
async fn a_filter_shows_nobody_more_than_he_may_see() {
    let (site, mut machines) = site(1).await;
    let ulf = site.user("ulf", Role::User).await;
    let met = machines.list_machines(by(&ulf, list("state=new OR name=*", ""))).await.unwrap().into_inner();
    assert_eq!(names(&met), ["m0"]);
    let new = v1::ListMachinesRequest { states: vec![v1::MachineState::New.into()], ..Default::default() };
    let met = machines.list_machines(by(&ulf, new)).await.unwrap().into_inner();
    assert!(met.machines.is_empty());
}
