"""A Hugging Face hub on loopback: what pushing and loading a task ask of it."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading

ADDRESS = "https://huggingface.co"  # that its library takes for a hub's


class FakeHub:
    """Repositories as dicts of files; every commit replaces what it names.

    Attributes:
        files: dict from repository to a dict from path to bytes.
        refuse: whether every commit is refused.
    """

    def __init__(self):
        self.files = {}
        self.refuse = False

    def sha(self, repository):
        """The present commit."""
        digest = hashlib.sha1()
        for path, data in sorted(self.files[repository].items()):
            digest.update(path.encode() + data)
        return digest.hexdigest()

    def post(self, path, body):
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.files.setdefault(name, {})
            return {"url": f"{ADDRESS}/{name}"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        repository, verb = re.match(r"/api/models/(.+?/.+?)/(\w+)/", path).groups()
        if verb == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            return {"files": [self._upload(file) for file in files]}
        if self.refuse:
            return None
        entries = map(json.loads, body.splitlines())
        for value in (e["value"] for e in entries if e["key"] == "file"):
            data = base64.b64decode(value["content"])
            self.files[repository][value["path"]] = data
        return {
            "commitOid": self.sha(repository),
            "commitUrl": f"{ADDRESS}/{repository}",
        }

    def _upload(self, path):
        return {"path": path, "uploadMode": "regular", "shouldIgnore": False}

    def get(self, path):
        """JSON, or `(bytes, commit)` of a file, or None."""
        match = re.match(r"/(.+?/.+?)/resolve/.+?/(.+)", path)
        if match and match[2] in self.files.get(match[1], {}):
            return self.files[match[1]][match[2]], self.sha(match[1])
        match = re.match(r"/api/models/([^/]+/[^/?]+)(/tree)?", path)
        if not match or match[1] not in self.files:
            return None
        if match[2]:
            return [
                {"type": "file", "oid": "0", "size": len(data), "path": name}
                for name, data in self.files[match[1]].items()
            ]
        return {"id": match[1], "sha": self.sha(match[1]), "siblings": []}


@contextlib.contextmanager
def serve(hub):
    """Serves a `FakeHub`; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers.get("Content-Length") or 0)
            self._send(hub.post(self.path, self.rfile.read(size)))

        def do_GET(self):
            self._send(hub.get(self.path))

        do_HEAD = do_GET

        def _send(self, found):
            data, commit = found if isinstance(found, tuple) else (None, None)
            if found is None:
                data = b'{"error": "no"}'
            elif data is None:
                data = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(data)))
            if commit:
                self.send_header("X-Repo-Commit", commit)
                self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            else:
                self.send_header("Content-Type", "application/json")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
