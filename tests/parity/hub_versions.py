"""One cache, shared by mlxe and a version of huggingface_hub, in both directions, with clients that are killed.

    python tests/parity/hub_versions.py PATH_TO_hub-server PATH_TO_mlxe

Run by a Python that has the version. For each order: the first client is killed in the middle of a large file, the second goes
on, and whatever either publishes is right. Then each finds offline what the other has downloaded.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import huggingface_hub

SERVER, MLXE = (str(Path(p).resolve()) for p in sys.argv[1:3])
VERSION = huggingface_hub.__version__
FOLDER = tempfile.TemporaryDirectory()
ROOT = Path(FOLDER.name)
# Python writes 10 MB at once.
SIZE = 25_000_003


def weights(size):
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + random.Random(1).randbytes(size)


FILES = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": random.Random(2).randbytes(50_000),
         "model.safetensors": weights(SIZE)}
for name, data in FILES.items():
    (ROOT / "model").mkdir(exist_ok=True)
    (ROOT / "model" / name).write_bytes(data)
ETAG = hashlib.sha256(FILES["model.safetensors"]).hexdigest()

server = subprocess.Popen([SERVER, f"org/model={ROOT / 'model'}"], cwd=ROOT,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
# By another name than its storage: 1.x follows redirects within a host to the end, where the Hub's headers are not.
ENDPOINT = server.stdout.readline().strip().replace("127.0.0.1", "localhost")
ENV = os.environ | {"HF_ENDPOINT": ENDPOINT, "HF_HOME": str(ROOT / "home"),
                    "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1",
                    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
    ENV.pop(name, None)


def check(condition, what):
    if not condition:
        server.kill()
        raise SystemExit(f"FAILED with huggingface_hub {VERSION}: {what}")
    print("ok:", what)


def rate(bytes_per_second):
    server.stdin.write(f"rate {bytes_per_second}\n")
    server.stdin.flush()
    time.sleep(0.1)


def ours(cache, model="org/model"):
    return [MLXE, "pull", model, "--json"], ENV | {"HF_HUB_CACHE": str(cache)}


def theirs(cache, model="org/model"):
    code = f"from huggingface_hub import snapshot_download as s; print(s({model!r}, cache_dir={str(cache)!r}))"
    return [sys.executable, "-c", code], ENV


def run(client, cache, offline=False):
    command, env = client(cache)
    out = subprocess.run(command, env=env | ({"HF_HUB_OFFLINE": "1"} if offline else {}), capture_output=True, text=True)
    check(out.returncode == 0, f"{client.__name__} works {out.stderr[-2000:] if out.returncode else ''}")


def partial(cache):
    """Bytes on the disk of files on their way."""
    held = 0
    for path in (cache / "models--org--model/blobs").glob("*.incomplete"):
        try:
            held += path.stat().st_blocks * 512
        except FileNotFoundError:
            pass
    return held


def kill(client, cache):
    # Ours has several connections.
    rate(500_000 if client is ours else 4_000_000)
    command, env = client(cache)
    child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.time() + 60
    while partial(cache) < SIZE // 4:
        check_alive = child.poll() is None and time.time() < until
        if not check_alive:
            check(False, f"{client.__name__} could be killed in the middle")
        time.sleep(0.02)
    time.sleep(0.6)
    child.send_signal(signal.SIGKILL)
    child.wait()
    rate(0)


def right(cache, what):
    blobs = cache / "models--org--model/blobs"
    for blob in blobs.iterdir():
        if len(blob.name) == 64:
            check(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, f"{what}: the blob is right")
    for snapshot in (cache / "models--org--model/snapshots").iterdir():
        check(all((snapshot / n).read_bytes() == d for n, d in FILES.items()), f"{what}: the snapshot is right")


for first, second in ((ours, theirs), (theirs, ours), (ours, ours)):
    what = f"{second.__name__} after {first.__name__} was killed"
    cache = ROOT / what.replace(" ", "-")
    kill(first, cache)
    names = [p.name for p in (cache / "models--org--model/blobs").iterdir()]
    if first is ours:
        check(f"{ETAG}.incomplete" not in names, f"no name of Python's is used {names}")
    run(second, cache)
    right(cache, what)
    # And once more the other way round, with whatever is left.
    run(first, cache)
    right(cache, what)
    verified = subprocess.run([MLXE, "verify", "--json"], env=ENV | {"HF_HUB_CACHE": str(cache)}, capture_output=True, text=True)
    check(verified.returncode == 0, f"{what}: verified {verified.stdout[-500:] if verified.returncode else ''}")

cache = ROOT / "both"
for first, second in ((ours, theirs), (theirs, ours)):
    run(first, cache / first.__name__)
    run(second, cache / first.__name__, offline=True)
    subprocess.run([MLXE, "verify", "--fix"], env=ENV | {"HF_HUB_CACHE": str(cache / first.__name__)}, check=True,
                   capture_output=True)
    right(cache / first.__name__, f"{second.__name__} offline after {first.__name__}, and verify --fix")

# Both at once.
rate(8_000_000)
children = [subprocess.Popen(c[0], env=c[1], stdout=subprocess.DEVNULL) for c in (ours(ROOT / "once"), theirs(ROOT / "once"))]
check(all(child.wait(120) == 0 for child in children), "both at once")
right(ROOT / "once", "both at once")
server.kill()
print(f"all good with huggingface_hub {VERSION}")
