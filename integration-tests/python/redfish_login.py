"""Logs in to a Redfish service with the DMTF's client, by a session; prints the accounts' roles and the power as JSON.

usage: redfish_login.py URL USER PASSWORD
"""

import json
import sys

import redfish

LIMIT = 20


def main():
    url, user, password = sys.argv[1:]
    client = redfish.redfish_client(base_url=url, username=user, password=password, timeout=LIMIT)
    client.login(auth="session")
    try:
        accounts = members(client, "/redfish/v1/AccountService/Accounts")
        systems = members(client, "/redfish/v1/Systems")
    finally:
        client.logout()
    roles = {account["UserName"]: account["RoleId"] for account in accounts if account["UserName"]}
    print(json.dumps({"roles": roles, "power": systems[0]["PowerState"]}))


def members(client, collection):
    return [read(client, member["@odata.id"]) for member in read(client, collection)["Members"]]


def read(client, path):
    answer = client.get(path)
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {answer.text}")
    return answer.dict


main()
