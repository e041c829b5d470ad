"""Downloads beside huggingface_hub: the same server on loopback, the same run, in turns.

    python benches/hub.py PATH_TO_hub-server PATH_TO_mlxe [--rounds 5] [--size 1000000000]

For each round: seconds, CPU seconds (user + system) and peak resident memory of a whole process that downloads one
model of one large file, from the system's accounting of that process. Python's start and imports are counted and also
shown by themselves, as a process that imports and does nothing. First over plain HTTP, which the reference does with one
stream a file, then from Xet storage, the same bytes in chunks that the server packs in all three ways in turns (hf_xet).
Then once more over plain HTTP with each connection limited to 20 MB/s.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLAIN, XET = "org/bench", "org/bench-xet"
PYTHON = """
import sys
from huggingface_hub import snapshot_download
if len(sys.argv) > 1:
    snapshot_download(sys.argv[2], cache_dir=sys.argv[1])
"""


def measure(command, env):
    """Runs a process: seconds, CPU seconds, peak resident bytes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("mlxe")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1_000_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "model").mkdir()
        (root / "model/config.json").write_text('{"model_type": "llama"}')
        with open(root / "model/model.safetensors", "wb") as out:
            for _ in range(args.size // 1_000_000):
                out.write(os.urandom(1_000_000))
        server = subprocess.Popen([args.server, *(f"{id}={root / 'model'}" for id in (PLAIN, XET))], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        endpoint = server.stdout.readline().strip()
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(root / "home"),
                "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

        def pull(command, cache):
            shutil.rmtree(cache, ignore_errors=True)
            os.sync()
            result = measure(command, env | {"HF_HUB_CACHE": str(cache)})
            shutil.rmtree(cache)
            shutil.rmtree(root / "home", ignore_errors=True)
            return result

        ours = lambda id: pull([args.mlxe, "pull", id, "--json"], root / "ours")
        theirs = lambda id: pull([sys.executable, "-c", PYTHON, str(root / "theirs"), id], root / "theirs")

        def compare(name, rounds, id=PLAIN):
            rows = []
            for _ in range(rounds):
                rows.append((ours(id), theirs(id)))
            print(name)
            for i, (what, unit) in enumerate((("wall", 1), ("cpu", 1), ("peak memory", 1e6))):
                a = [r[0][i] / unit for r in rows]
                b = [r[1][i] / unit for r in rows]
                spread = lambda v: f"{statistics.median(v):8.2f} ({min(v):.2f}..{max(v):.2f})"
                ratio = statistics.median(a) / statistics.median(b)
                print(f"  {what:12} mlxe {spread(a)}   huggingface_hub {spread(b)}   ratio {ratio:.2f}", flush=True)
            return rows

        compare(f"{args.size / 1e9:.2f} GB over loopback (s, s, MB)", args.rounds)
        compare("the same from Xet storage", args.rounds, XET)
        idle = [measure([args.mlxe, "--version"], env) for _ in range(5)]
        bare = [measure([sys.executable, "-c", PYTHON], env) for _ in range(5)]
        median = lambda rows, i: statistics.median(r[i] for r in rows)
        print(f"doing nothing: mlxe {median(idle, 1):.3f} s CPU, {median(idle, 2) / 1e6:.1f} MB; "
              f"huggingface_hub imported {median(bare, 1):.2f} s CPU, {median(bare, 2) / 1e6:.1f} MB", flush=True)
        server.stdin.write("rate 20000000\n")
        server.stdin.flush()
        compare("each connection limited to 20 MB/s", 1)
        server.kill()


if __name__ == "__main__":
    main()
