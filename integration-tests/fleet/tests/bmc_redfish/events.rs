//! Event logs of simulated BMCs of every vendor.

use farrier_common::hardware::EventSeverity;
use farrier_rack::bmc::Capability;

use crate::{Bmc, bmcs};

pub(crate) const VENDORS: [&str; 5] = ["dell", "hpe", "supermicro", "lenovo", "openbmc"];

#[tokio::test]
async fn the_event_log_is_found_wherever_it_is() {
    for (number, vendor) in VENDORS.iter().enumerate() {
        let bmc = Bmc::known(vendor, 200 + u8::try_from(number).unwrap()).await;
        let probe = bmcs().probe(&bmc.login).await.unwrap();
        assert!(probe.capabilities.contains(&Capability::EventLog), "{vendor}: {probe:?}");
        assert_eq!(bmcs().events(&bmc.login, 50).await.unwrap().events, [], "{vendor}");
        for (sensor, event) in [(0x12, 0x6f), (0x40, 0x6f), (0x40, 0xef)] {
            let record = [0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 0x0c, sensor, event, 1, 0xff, 0xff];
            bmc.made.chassis.log().add(record, 1_700_000_000 + u32::from(sensor)).unwrap();
        }
        let log = bmcs().events(&bmc.login, 50).await.unwrap();
        let told: Vec<_> = log.events.iter().map(|e| (e.id.as_str(), e.severity)).collect();
        let (bad, good) = (Some(EventSeverity::Critical), Some(EventSeverity::Ok));
        assert_eq!((told, log.more), (vec![("3", good), ("2", bad), ("1", bad)], false), "{vendor}");
        assert_eq!(log.events[2].text, "Sensor 18 of type 12 reports: 01 ff ff", "{vendor}");
        assert_eq!(log.events[2].at.unwrap().timestamp(), 1_700_000_018, "{vendor}");
        assert!(log.name.contains("/LogServices/"), "{vendor}: {}", log.name);
        let one = bmcs().events(&bmc.login, 1).await.unwrap();
        assert_eq!((one.events[0].id.as_str(), one.events.len(), one.more), ("3", 1, true), "{vendor}");
    }
}
