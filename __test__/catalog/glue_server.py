"""moto's Glue on a loopback port, with credentials that it checks; what is done by hand comes as JSON lines.

The first line that is printed says where the server is and what it takes. Then each line on standard input is a call of
Glue's, {"do": "get_table", "with": {...}}, and one line answers it.
"""

import json
import os
import sys

# Before the import: users are made without credentials, everything after that needs them.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "3"

import boto3  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
_, port = server.get_host_and_port()
endpoint = f"http://127.0.0.1:{port}"

iam = boto3.client(
    "iam", endpoint_url=endpoint, region_name="eu-central-1", aws_access_key_id="none", aws_secret_access_key="none"
)
iam.create_user(UserName="stream")
policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "glue:*", "Resource": "*"}]}
iam.put_user_policy(UserName="stream", PolicyName="glue", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="stream")["AccessKey"]

login = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
glue = boto3.client("glue", endpoint_url=endpoint, region_name="eu-central-1", **login)
print(json.dumps({"port": port, "accessKeyId": key["AccessKeyId"], "secretAccessKey": key["SecretAccessKey"]}), flush=True)

for line in sys.stdin:
    call = json.loads(line)
    try:
        answer = {"ok": getattr(glue, call["do"])(**call["with"])}
    except glue.exceptions.EntityNotFoundException:
        answer = {"ok": None}
    except Exception as error:  # noqa: BLE001
        answer = {"error": repr(error)}
    print(json.dumps(answer, default=str), flush=True)
server.stop()
