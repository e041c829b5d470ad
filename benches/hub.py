"""Downloads beside huggingface_hub: the same server on loopback, the same run, in turns.

    python benches/hub.py PATH_TO_hub-server PATH_TO_mlxe [--case plain ..] [--rounds 5] [--size 1000000000] [--folder DIR]

For each round: seconds, CPU seconds (user and system) and peak resident memory of a whole process that downloads one
model of one large file, from the system's accounting of that process. Python's start and imports are counted and also
shown by themselves, as a process that imports and does nothing. The cases: plain HTTP, which the reference does with one
stream a file; the same bytes from Xet storage, in chunks that the server packs in all three ways in turns (hf_xet); plain
HTTP with each connection limited to 20 MB/s. Prints the table of docs/benchmarks.md.

The files lie in `--folder`, else where temporary files do. On a disk the time that the kernel takes to write back what a
process has written counts as that process's, if it waits for it: mlxe does before it shows a file, the reference does not.
In a tmpfs (/dev/shm) nothing is written back.
"""

import argparse
import hashlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

PLAIN, XET = "org/bench", "org/bench-xet"
# Name, repository, bytes a second of each connection (0: no limit).
CASES = {"plain": ("plain HTTP", PLAIN, 0), "xet": ("Xet storage", XET, 0),
         "slow": ("20 MB/s a connection", PLAIN, 20_000_000)}
PYTHON = """
import sys
from huggingface_hub import snapshot_download
if len(sys.argv) > 1:
    snapshot_download(sys.argv[2], cache_dir=sys.argv[1])
"""


def measure(command, env):
    """Runs a process: seconds, user and system CPU seconds, peak resident megabytes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} failed")
    return time.perf_counter() - start, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1000


def touch(root, size):
    """Makes a virtual machine have as much free memory as a run takes: what its host has to find first costs whoever
    writes there first several times the copy."""
    os.sync()
    with open(root / "touched", "wb") as out:
        for _ in range(size // 1_000_000):
            out.write(bytes(1_000_000))
    os.unlink(root / "touched")


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def checksum(size):
    """CPU seconds of SHA-256 alone."""
    sum, piece, start = hashlib.sha256(), os.urandom(1_000_000), time.process_time()
    for _ in range(size // 1_000_000):
        sum.update(piece)
    return time.process_time() - start


def cpu(runs):
    user, system = (statistics.median(r[i] for r in runs) for i in (1, 2))
    return f"{spread([r[1] + r[2] for r in runs])} = {user:.2f} + {system:.2f}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("mlxe")
    parser.add_argument("--case", action="append", choices=CASES, help="all of them if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1_000_000_000)
    parser.add_argument("--folder", help="where the server's and the downloaded files lie")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder)
        (root / "model").mkdir()
        (root / "model/config.json").write_text('{"model_type": "llama"}')
        with open(root / "model/model.safetensors", "wb") as out:
            for _ in range(args.size // 1_000_000):
                out.write(os.urandom(1_000_000))
        cases = args.case or list(CASES)
        repositories = {CASES[case][1] for case in cases}
        server = subprocess.Popen([args.server, *(f"{id}={root / 'model'}" for id in repositories)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        env |= {"HF_ENDPOINT": server.stdout.readline().strip(), "HF_HOME": str(root / "home"),
                "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

        def pull(command, cache):
            touch(root, args.size)
            result = measure(command, env | {"HF_HUB_CACHE": str(cache)})
            for left in (cache, root / "home"):
                shutil.rmtree(left, ignore_errors=True)
            return result

        name = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")),
                    platform.machine())
        size = f"{args.size / 1e9:g} GB"
        print(f"{name}, {os.cpu_count()} cores; huggingface_hub {version('huggingface_hub')}, "
              f"hf-xet {version('hf-xet')}, Python {platform.python_version()}. {size} over loopback. Median "
              f"(least..most) of the rounds.\n")
        print("| | client | seconds | CPU seconds = user + system | ratio of CPU | peak MB |")
        print("| --- | --- | --- | --- | --- | --- |")
        for what, id, rate in (CASES[case] for case in cases):
            print(f"rate {rate}", file=server.stdin, flush=True)
            rounds = [(pull([args.mlxe, "pull", id, "--json"], root / "ours"),
                       pull([sys.executable, "-c", PYTHON, str(root / "theirs"), id], root / "theirs"))
                      for _ in range(args.rounds)]
            ours, theirs = zip(*rounds)
            total = lambda runs: statistics.median(r[1] + r[2] for r in runs)
            for client, runs, ratio in (("mlxe", ours, f"{total(ours) / total(theirs):.2f}"),
                                        ("huggingface_hub", theirs, "")):
                print(f"| {what} | {client} | {spread([r[0] for r in runs])} | {cpu(runs)} | {ratio} "
                      f"| {statistics.median(r[3] for r in runs):.0f} |", flush=True)
        idle = [measure([args.mlxe, "--version"], env) for _ in range(5)]
        bare = [measure([sys.executable, "-c", PYTHON], env) for _ in range(5)]
        print(f"\nA process that does nothing: mlxe {cpu(idle)} CPU seconds, {statistics.median(r[3] for r in idle):.0f} "
              f"MB; huggingface_hub imported {cpu(bare)}, {statistics.median(r[3] for r in bare):.0f} MB.")
        print(f"SHA-256 of that much, which mlxe checks and huggingface_hub does not: {checksum(args.size):.2f} CPU seconds "
              f"(hashlib).")
        server.kill()


if __name__ == "__main__":
    main()
