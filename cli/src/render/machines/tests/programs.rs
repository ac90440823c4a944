//! What programs get, as JSON.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "the golden text is long")]
fn a_machine_for_programs() {
    expect![[r#"
        {
          "machines": [
            {
              "agent_heard_at": null,
              "architecture": "amd64",
              "bmc": {
                "address": "10.9.0.7",
                "certificate_sha256": null,
                "facts": null,
                "managed_account": true,
                "port": 0,
                "protocol": "ipmi",
                "system": null,
                "username": "farrier",
                "webhook": null
              },
              "created_at": "2027-01-14T07:00:00Z",
              "deadline": "2027-01-15T08:58:45Z",
              "etag": "17",
              "firmware": "uefi",
              "hardware": {
                "cpu_cores": 16,
                "cpu_model": "ACME Core",
                "disks": [
                  {
                    "bus": "nvme",
                    "discard": true,
                    "model": "ACME Turbo 512",
                    "name": "nvme0n1",
                    "rotational": false,
                    "serial": "D1",
                    "size_bytes": 549755813888
                  },
                  {
                    "bus": "nvme",
                    "discard": false,
                    "model": "ACME Turbo 512",
                    "name": "sda",
                    "rotational": true,
                    "serial": "D2",
                    "size_bytes": 549755813888
                  }
                ],
                "firmware_version": "2.1",
                "gpus": [],
                "memory_bytes": 68719476736,
                "nics": [
                  {
                    "carrier": true,
                    "driver": "virtio_net",
                    "mac": "52:54:00:00:00:01",
                    "name": "eth0",
                    "speed_mbps": 25000
                  },
                  {
                    "carrier": false,
                    "driver": "virtio_net",
                    "mac": "52:54:00:00:00:02",
                    "name": "eth1",
                    "speed_mbps": 25000
                  }
                ],
                "product": "R1\u001b[2J",
                "serial": "SN7",
                "uuid": "4c4c4544-0000-2010-8020-80c04f202020",
                "vendor": "ACME"
              },
              "id": "0199a0f2-0000-7000-8000-000000000001",
              "image": "debian-13",
              "interfaces": [
                {
                  "address": "10.77.0.20",
                  "boot": true,
                  "mac": "52:54:00:00:00:01"
                }
              ],
              "labels": {
                "zone": "a"
              },
              "last_erase": [
                {
                  "disk_name": "nvme0n1",
                  "disk_serial": "D1",
                  "finished_at": "2027-01-15T06:00:00Z",
                  "method": "discard",
                  "sampled_bytes": 570425344,
                  "size_bytes": 549755813888
                }
              ],
              "lease_expires_at": null,
              "lock": null,
              "manual": false,
              "name": "n1",
              "network": null,
              "notes": null,
              "owner": "ann",
              "phase": "booting",
              "pool": null,
              "power": "on",
              "power_observed_at": "2027-01-15T07:59:56Z",
              "rack": "r1",
              "reason": "waits for the agent to say hello",
              "rescue_address": null,
              "rescue_from": null,
              "rescue_host_key": null,
              "script_results": [],
              "since": "2027-01-15T07:58:45Z",
              "state": "deploying",
              "storage": null,
              "tags": [],
              "updated_at": "2027-01-15T07:59:57Z",
              "zone": null
            }
          ],
          "revision": 41
        }"#]]
    .assert_eq(&format!("{:#}", list_json(&[busy()], 41)));
    expect![[r#"
        {
          "agent_heard_at": null,
          "architecture": null,
          "bmc": null,
          "created_at": null,
          "deadline": null,
          "etag": "",
          "firmware": null,
          "hardware": null,
          "id": "0199",
          "image": null,
          "interfaces": [],
          "labels": {},
          "last_erase": [],
          "lease_expires_at": null,
          "lock": null,
          "manual": false,
          "name": "n2",
          "network": null,
          "notes": null,
          "owner": null,
          "phase": null,
          "pool": null,
          "power": null,
          "power_observed_at": null,
          "rack": null,
          "reason": null,
          "rescue_address": null,
          "rescue_from": null,
          "rescue_host_key": null,
          "script_results": [],
          "since": null,
          "state": null,
          "storage": null,
          "tags": [],
          "updated_at": null,
          "zone": null
        }"#]]
    .assert_eq(&format!("{:#}", json(&bare())));
}
