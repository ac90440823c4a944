"""Drives one Redfish service with OpenStack's client; prints what it saw as JSON.

usage: sushy_drive.py URL USER PASSWORD basic|session [SYSTEM]
"""

import json
import sys
import time

import sushy
from sushy import auth

LIMIT = 30


def until(system, wanted):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        system.refresh(force=True)
        if system.power_state == wanted:
            return
        time.sleep(0.05)
    raise SystemExit(f"power is {system.power_state}, not {wanted}")


def patiently(act):
    """Some BMCs want a rest after a change of power."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            return act()
        except sushy.exceptions.HTTPError as error:
            if error.status_code != 409 or time.monotonic() > end:
                raise
            time.sleep(0.2)


def main():
    url, user, password, kind = sys.argv[1:5]
    login = {"basic": auth.BasicAuth, "session": auth.SessionAuth}[kind](user, password)
    root = sushy.Sushy(url, auth=login, verify=False)
    # sushy-emulator knows its systems by name; ours has one.
    system = root.get_system_collection().get_members()[0]
    seen = {"manufacturer": system.manufacturer, "uuid": system.uuid, "serial": system.serial_number}
    seen["before"] = str(system.power_state)
    system.set_system_boot_options(sushy.BootSource.PXE, sushy.BootSourceOverrideEnabled.ONCE,
                                   sushy.BootSourceOverrideMode.UEFI)
    system.refresh(force=True)
    seen["target"] = str(system.boot["target"])
    seen["enabled"] = str(system.boot["enabled"])
    seen["mode"] = str(system.boot["mode"])
    system.reset_system(sushy.RESET_ON)
    until(system, sushy.PowerState.ON)
    seen["after"] = str(system.power_state)
    seen["resets"] = sorted(str(v) for v in system.get_allowed_reset_system_values())
    seen["macs"] = sorted(system.ethernet_interfaces.summary)
    if len(sys.argv) <= 5:
        extras(root, system, seen)
    patiently(lambda: system.reset_system(sushy.RESET_FORCE_OFF))
    until(system, sushy.PowerState.OFF)
    if kind == "session":
        login.close()
    print(json.dumps(seen))


def extras(root, system, seen):
    """What sushy-emulator's fake driver has not."""
    name, value = sorted((k, v) for k, v in system.bios.attributes.items() if isinstance(v, str))[0]
    system.bios.set_attribute(name, value + "X")
    seen["bios"] = name
    seen["secure_boot"] = str(system.secure_boot.mode)
    manager = root.get_manager_collection().get_members()[0]
    seen["firmware"] = manager.firmware_version
    seen["chassis"] = str(root.get_chassis_collection().get_members()[0].chassis_type)
    seen["sessions"] = len(root.get_session_service().sessions.get_members())


main()
