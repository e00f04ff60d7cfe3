"""nginx doing as little as it can: it answers from its configuration, or passes on."""

from processes import Process, Processes, program

# Bodies of the bench stay in memory, as they do in the gateway.
BODY = "2m"


def start(processes: Processes, name: str, http: str, ports: list) -> Process:
    """With these blocks, as soon as it accepts on these ports."""
    prefix = processes.folder / name
    prefix.mkdir()
    (prefix / "nginx.conf").write_text(f"""
daemon off; worker_processes 2; pid {prefix}/nginx.pid; error_log stderr warn; events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 100000000; default_type application/json;
    client_max_body_size {BODY}; client_body_buffer_size {BODY};
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    {http}
}}""")
    nginx = processes.run(name, [program("nginx"), "-e", "stderr", "-p", prefix, "-c", prefix / "nginx.conf"])
    for port in ports:
        nginx.wait_until_accepting(port)
    return nginx


def static(port: int, lengths: list) -> str:
    """Answers /N with N bytes, whatever it is asked: a server can hardly do less."""
    # No word of its configuration may be longer than 4 kB.
    answers = "\n".join(f"location = /{n} {{ return 200 '{'${kilo}' * (n // 1000)}{'x' * (n % 1000)}'; }}" for n in sorted(set(lengths)))
    return f"""
    map "" $kilo {{ default '{'x' * 1000}'; }}
    server {{ listen 127.0.0.1:{port}; {answers} }}"""


def proxy(name: str, port: int, url: str) -> str:
    """Passes everything on to there, over kept connections."""
    return f"""
    upstream {name} {{ server {url.split('/')[2]}; keepalive 256; keepalive_requests 100000000; }}
    server {{ listen 127.0.0.1:{port}; location / {{
        proxy_pass http://{name}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host 127.0.0.1; }} }}"""
