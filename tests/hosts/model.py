"""A model that is none: it notes what it is asked, and answers the Responses API with what it was told to."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def call(tool: str, arguments: dict) -> dict:
    """The model wants a tool called; it calls each once, so the name makes the ids."""
    return {"type": "function_call", "id": f"fc_{tool}", "call_id": f"call_{tool}", "name": tool,
            "arguments": json.dumps(arguments)}


def say(text: str) -> dict:
    """The model has an answer."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


class Model:
    """Serves on `url` while it is entered. `turn` makes the next output of a request; without one all are refused."""

    def __init__(self, turn=None):
        self.turn, self.asked = turn, []

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, asked: dict):
        self.asked.append(asked)
        if self.turn is None:
            return 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "this is a stub"}}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "input_tokens_details": {"cached_tokens": 0},
                 "output_tokens_details": {"reasoning_tokens": 0}}
        return 200, {"id": "resp_1", "object": "response", "created_at": 0, "status": "completed", "model": "stub",
                     "output": [self.turn(asked)], "parallel_tool_calls": False, "tool_choice": "auto", "tools": [],
                     "usage": usage}

    def handler(self):
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, answer = model.answer(json.loads(body or b"{}"))
                self.reply(status, json.dumps(answer).encode())

            def do_GET(self):
                self.reply(404, b"{}")

            def reply(self, status, body):
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler
