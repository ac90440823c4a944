"""Lists machines over the API as a program in another language would: TLS, a bearer token, and nothing but what the
server says of itself through gRPC reflection. Prints one JSON object.

usage: list_machines.py HOST:PORT CA_FILE TOKEN_FILE
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SECONDS = 60


def main(server, ca_file, token_file):
    with open(ca_file, "rb") as ca, open(token_file, encoding="ascii") as token:
        tls = grpc.ssl_channel_credentials(ca.read())
        bearer = grpc.access_token_call_credentials(token.read().strip())
    channel = grpc.secure_channel(server, grpc.composite_channel_credentials(tls, bearer))
    grpc.channel_ready_future(channel).result(timeout=SECONDS)

    reflection = ProtoReflectionDescriptorDatabase(channel)
    services = sorted(reflection.get_services())
    pool = descriptor_pool.DescriptorPool(reflection)
    method = pool.FindServiceByName("farrier.v1.Machines").FindMethodByName("ListMachines")
    request = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    call = channel.unary_unary(
        "/farrier.v1.Machines/ListMachines",
        request_serializer=request.SerializeToString,
        response_deserializer=answer.FromString,
    )
    listed = json_format.MessageToDict(call(request(), timeout=SECONDS), preserving_proto_field_name=True)
    print(json.dumps({"services": services, "machines": listed.get("machines", [])}))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
