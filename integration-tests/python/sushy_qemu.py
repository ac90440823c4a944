"""OpenStack's Redfish emulator as the BMC of a machine of the lab: its own main program, with a driver that drives QEMU.

usage: sushy_qemu.py CONFIG

CONFIG is a configuration of sushy-emulator with two more values: LAB_USERS (names and passwords) and LAB_MACHINE (name,
uuid, mac, uefi, memory_mib and control: the socket of the machine's owner, which speaks the protocol of ipmi_sim).
"""

import socket
import sys

import bcrypt
from sushy_tools import error
from sushy_tools.emulator import main
from sushy_tools.emulator.resources.systems.base import AbstractSystemsDriver

LIMIT = 30
DEVICES = {"Pxe": "pxe", "Hdd": "default"}
RESETS = {
    "On": "power 1",
    "ForceOn": "power 1",
    "ForceOff": "power 0",
    "GracefulShutdown": "shutdown 1",
    "GracefulRestart": "reset 1",
    "ForceRestart": "reset 1",
}


class Lab(AbstractSystemsDriver):
    """One system: the machine of the lab."""

    def __init__(self, machine):
        super().__init__()
        self.machine = machine

    def ask(self, line):
        with socket.socket(socket.AF_UNIX) as owner:
            owner.settimeout(LIMIT)
            owner.connect(self.machine["control"])
            owner.sendall(line.encode())
            owner.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: owner.recv(4096), b"")).decode()
        if answer.startswith("error:"):
            raise error.FishyError(answer)
        return dict(told.split(":", 1) for told in answer.split())

    @property
    def driver(self):
        return "<farrier-lab>"

    @property
    def systems(self):
        return [self.machine["uuid"]]

    def uuid(self, identity):
        if identity == self.machine["name"]:
            raise error.AliasAccessError(self.machine["uuid"])
        if identity != self.machine["uuid"]:
            raise error.NotFound(f"no system {identity}")
        return identity

    def name(self, identity):
        return self.uuid(identity) and self.machine["name"]

    def get_power_state(self, identity):
        return "On" if self.ask("get power")["power"] == "1" else "Off"

    def set_power_state(self, identity, state):
        if state not in RESETS:
            raise error.NotSupportedError(state)
        self.ask(f"set {RESETS[state]}")

    def get_boot_device(self, identity):
        word = self.ask("get boot")["boot"]
        return next((device for device, theirs in DEVICES.items() if theirs == word), None)

    def set_boot_device(self, identity, boot_source):
        if boot_source not in DEVICES:
            raise error.NotSupportedError(boot_source)
        self.ask(f"set boot {DEVICES[boot_source]}")

    def get_boot_mode(self, identity):
        return "UEFI" if self.machine["uefi"] else "Legacy"

    def set_boot_mode(self, identity, boot_mode):
        if boot_mode != self.get_boot_mode(identity):
            raise error.NotSupportedError(boot_mode)

    def get_total_memory(self, identity):
        return self.machine["memory_mib"] / 1024

    def get_nics(self, identity):
        return [{"id": self.machine["mac"], "mac": self.machine["mac"]}]


def serve(config):
    main.app.config.from_pyfile(config)
    with open(main.app.config["SUSHY_EMULATOR_AUTH_FILE"], "w", encoding="utf-8") as file:
        for name, password in main.app.config["LAB_USERS"].items():
            # As few rounds as there are: a request is not to cost more than the power does.
            file.write(f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n")
    lab = Lab(main.app.config["LAB_MACHINE"])
    type(main.app).systems = property(lambda _: lab)
    sys.argv = ["sushy-emulator", "--config", config]
    return main.main()


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1]))
