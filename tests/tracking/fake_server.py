"""A server that takes runs as Weights & Biases does, and keeps what it was sent."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeServer:
    """Attributes: `url`; `runs`, variables of each run by id; `files`, by name; `streams`."""

    def __init__(self):
        self.runs, self.files, self.streams, self.refuse = {}, {}, [], False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, body, status=200):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def body(self):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def do_GET(self):
                self.answer({})

            def do_PUT(self):
                outer.files[self.path.removeprefix("/up/")] = self.body()
                self.answer({})

            def do_POST(self):
                body = self.body()
                if self.path != "/graphql":
                    outer.streams.append((self.path, json.loads(body)))
                    self.answer({})
                elif outer.refuse:
                    self.answer({"errors": [{"message": "permission denied"}]}, 403)
                else:
                    question = json.loads(body)
                    self.answer({"data": outer.data(question["query"], question["variables"])})

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # wandb ends its connections without a word
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def data(self, query, variables):
        if "upsertBucket(" in query:
            self.runs.setdefault(variables["name"], {}).update(
                {key: value for key, value in variables.items() if value is not None}
            )
            project = {"id": "1", "name": variables["project"] or "test"}
            project["entity"] = {"id": "2", "name": variables["entity"] or "me"}
            names = {"id": "3", "name": variables["name"], "displayName": "n", "project": project}
            empty = {"description": None, "config": "{}", "sweepName": None}
            return {"upsertBucket": {"bucket": names | empty, "inserted": True}}
        if "createRunFiles(" in query:
            files = [{"name": x, "uploadUrl": f"{self.url}/up/{x}"} for x in variables["files"]]
            return {"createRunFiles": {"runID": "3", "uploadHeaders": [], "files": files}}
        if "createArtifact(" in query:
            sequence = {"latestArtifact": None}
            artifact = {"id": "4", "state": "COMMITTED", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        return {}


@contextmanager
def fake_server():
    server = FakeServer()
    thread = threading.Thread(target=server.http.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()
