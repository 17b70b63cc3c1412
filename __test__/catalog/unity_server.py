"""Unity Catalog's interface on a loopback port, as far as kafka2delta uses it.

Every request and every answer goes through the models that Unity Catalog's authors generate from the published description of
the interface (`unitycatalog-client`): what they refuse, or what is lost on the way through them, is status 400. The first line
that is printed is the port; then each line on standard input is something that is done by hand, and one line answers it.
"""

import base64
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

from unitycatalog.client.models.create_schema import CreateSchema
from unitycatalog.client.models.create_table import CreateTable
from unitycatalog.client.models.generate_temporary_path_credential import GenerateTemporaryPathCredential
from unitycatalog.client.models.generate_temporary_table_credential import GenerateTemporaryTableCredential
from unitycatalog.client.models.schema_info import SchemaInfo
from unitycatalog.client.models.table_info import TableInfo
from unitycatalog.client.models.temporary_credentials import TemporaryCredentials

BASE = "/api/2.1/unity-catalog/"
CATALOG, TOKEN, CLIENT = "main", "a-token", ("client", "client-secret")

schemas, tables, tokens, problems, given = {}, {}, {TOKEN}, [], []
# Seconds of the credentials for files.
lives = [3600]
gateway = []


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code = status, code


def through(model, value):
    """The value, if the model takes all of it."""
    back = json.loads(json.dumps(model.from_dict(value).to_dict(), default=str))
    if back != value:
        raise ValueError(f"{model.__name__} has no such fields or values: {value} became {back}")
    return value


def names(full_name, count):
    parts = full_name.split(".")
    if len(parts) != count or parts[0] != CATALOG:
        raise Refused(404, "CATALOG_NOT_FOUND", f"there is no {full_name}")
    return ".".join(parts)


def create_schema(body):
    through(CreateSchema, body)
    name = names(f"{body['catalog_name']}.{body['name']}", 2)
    if name in schemas:
        raise Refused(400, "SCHEMA_ALREADY_EXISTS", f"{name} is there")
    schemas[name] = {**body, "full_name": name, "schema_id": f"id-of-{name}"}
    return through(SchemaInfo, schemas[name])


def create_table(body):
    through(CreateTable, body)
    name = names(f"{body['catalog_name']}.{body['schema_name']}.{body['name']}", 3)
    if f"{body['catalog_name']}.{body['schema_name']}" not in schemas:
        raise Refused(404, "SCHEMA_NOT_FOUND", f"there is no schema of {name}")
    if name in tables:
        raise Refused(400, "TABLE_ALREADY_EXISTS", f"{name} is there")
    # The server keeps a property in varchar(255).
    if any(len(value) > 255 for value in body.get("properties", {}).values()):
        raise Refused(500, "INTERNAL", "a value is too long for its column")
    tables[name] = {**body, "table_id": f"id-of-{name}", "created_at": 1}
    return through(TableInfo, tables[name])


def found(kind, name, model):
    if name not in kind:
        raise Refused(404, f"{'TABLE' if model is TableInfo else 'SCHEMA'}_NOT_FOUND", f"there is no {name}")
    return through(model, kind[name])


def delete_table(name):
    found(tables, name, TableInfo)
    del tables[name]
    return {}


def make_user(access, secret):
    """A user of the S3 server, who may do all until the credentials end."""

    def administer(*arguments):
        subprocess.run([*gateway, *arguments], check=True, stdout=subprocess.DEVNULL)

    administer("create-user", "--access", access, "--secret", secret, "--role", "admin")
    end = threading.Timer(lives[0], administer, ["delete-user", "--access", access])
    end.daemon = True
    end.start()


def credentials(what):
    """Of a number of their own each time, with their end."""
    given.append(what)
    aws = {"access_key_id": f"id-{len(given)}", "secret_access_key": "a-key"}
    if gateway:
        make_user(aws["access_key_id"], aws["secret_access_key"])
    else:
        aws["session_token"] = f"session-{len(given)}"
    ends_at = int((time.time() + lives[0]) * 1000)
    return through(TemporaryCredentials, {"aws_temp_credentials": aws, "expiration_time": ends_at})


def table_credentials(body):
    through(GenerateTemporaryTableCredential, body)
    if body["table_id"] not in [table["table_id"] for table in tables.values()]:
        raise Refused(404, "TABLE_NOT_FOUND", f"there is no table {body['table_id']}")
    return credentials(["table", body["table_id"], body["operation"]])


def path_credentials(body):
    through(GenerateTemporaryPathCredential, body)
    return credentials(["path", body["url"], body["operation"]])


def answer(method, path, body):
    """By the description's operations: any other is one that it does not have."""
    kind, _, name = path.partition("/")
    if (method, path) == ("POST", "schemas"):
        return create_schema(body)
    if (method, path) == ("POST", "tables"):
        return create_table(body)
    if (method, path) == ("POST", "temporary-table-credentials"):
        return table_credentials(body)
    if (method, path) == ("POST", "temporary-path-credentials"):
        return path_credentials(body)
    if (method, kind) == ("GET", "schemas"):
        return found(schemas, names(unquote(name), 2), SchemaInfo)
    if (method, kind) == ("GET", "tables"):
        return found(tables, names(unquote(name), 3), TableInfo)
    if (method, kind) == ("DELETE", "tables"):
        return delete_table(names(unquote(name), 3))
    raise ValueError(f"the description has no {method} {path}")


class Handler(BaseHTTPRequestHandler):
    def handle_one(self):
        text = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        path = urlparse(self.path).path
        try:
            if path == "/oidc/v1/token":
                self.send(200, self.token(text))
                return
            if self.headers.get("authorization", "").removeprefix("Bearer ") not in tokens:
                raise Refused(401, "UNAUTHENTICATED", "the token is not valid")
            self.send(200, answer(self.command, path.removeprefix(BASE), json.loads(text or "{}")))
        except Refused as refused:
            self.send(refused.status, {"error_code": refused.code, "message": str(refused)})
        except Exception as error:  # noqa: BLE001
            problems.append(f"{self.command} {path}: {error}")
            self.send(400, {"error_code": "INVALID_ARGUMENT", "message": str(error)})

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = handle_one

    def token(self, text):
        given = base64.b64decode(self.headers["authorization"].removeprefix("Basic ")).decode()
        form = {name: values[0] for name, values in parse_qs(text).items()}
        if given != ":".join(CLIENT) or form.get("grant_type") != "client_credentials" or not form.get("scope"):
            raise Refused(401, "invalid_client", "no such client")
        tokens.add(f"token-{len(tokens)}")
        return {"access_token": f"token-{len(tokens) - 1}", "token_type": "Bearer", "expires_in": 3600}

    def send(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_port}), flush=True)

for line in sys.stdin:
    call = json.loads(line)
    if call["do"] == "get":
        told = tables.get(call["name"])
    elif call["do"] == "drop":
        told = tables.pop(call["name"])
    elif call["do"] == "create":
        told = create_table(call["with"])
    elif call["do"] == "lives":
        lives[0], told = call["seconds"], None
    elif call["do"] == "gateway":
        gateway[:], told = call["command"], None
    elif call["do"] == "given":
        told = given
    elif call["do"] == "forget tokens":
        tokens.clear()
        told = None
    else:
        told = problems
    print(json.dumps({"ok": told}), flush=True)
