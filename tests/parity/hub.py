"""The tests' Hub server and our cache, checked with the official Python client.

    python tests/parity/hub.py PATH_TO_hub-server PATH_TO_mlxe

1. The client finds everything as at the real Hub: information, listing over several pages, small and large files,
   ranges, the right exceptions for what is absent, private or gated, and it recovers from broken connections.
2. It finds offline what mlxe downloads, byte for byte, and downloads nothing again.
3. mlxe finds offline what the client downloads.
4. hf_xet and mlxe download from the server's Xet storage, and only from there.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path

SERVER, MLXE = (str(Path(p).resolve()) for p in sys.argv[1:3])
FOLDER = tempfile.TemporaryDirectory()
ROOT = Path(FOLDER.name)

generator = random.Random(1)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": generator.randbytes(70_000),
    "additional_chat_templates/tool use.jinja": b"{{ tools }}",
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors",
                                                               "b": "model-00002-of-00002.safetensors"}}).encode(),
    "model-00001-of-00002.safetensors": generator.randbytes(9_000_001),
    "model-00002-of-00002.safetensors": b"",
    "README.md": b"# A model\n",
}
# Compresses, begins as the first shard does, and ends with that again.
same_as_first = FILES["model-00001-of-00002.safetensors"][:622_290]
FILES["model-00002-of-00002.safetensors"] = (
    same_as_first + array("f", (generator.uniform(0.5, 1) for _ in range(700_000))).tobytes() + same_as_first)
CARDS = {
    "org/open": {"downloads": 500, "likes": 7, "library_name": "mlx", "pipeline_tag": "text-generation",
                 "tags": ["mlx", "license:mit", "en"], "config": {"model_type": "llama"},
                 "safetensors": {"parameters": {"BF16": 1000}, "total": 1000}, "cardData": {"license": "mit"}},
    "org/some-gated": {"downloads": 900, "library_name": "mlx", "tags": ["mlx"]},
    "org/plain": {"downloads": 100, "tags": ["pytorch"]},
    "other/one": {"downloads": 50, "library_name": "mlx", "tags": ["mlx"]},
}
for name, card in CARDS.items():
    (ROOT / (name.replace("/", "_") + ".card.json")).write_text(json.dumps(card))
for name, data in FILES.items():
    path = ROOT / "model" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
NEEDED = [n for n in FILES if n != "README.md"]

server = subprocess.Popen(
    [SERVER, "--token", "hf_right", "--xet-chunks", "40",
     *(f"{name}={ROOT / 'model'}" for name in (*CARDS, "org/some-private", "away/large-xet"))],
    cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
ENDPOINT = server.stdout.readline().strip()
os.environ |= {"HF_ENDPOINT": ENDPOINT, "HF_HOME": str(ROOT / "home"), "HF_HUB_DISABLE_TELEMETRY": "1",
               "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_HUB_DISABLE_XET": "1"}
for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
    os.environ.pop(name, None)

import huggingface_hub  # noqa: E402  reads the environment
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download  # noqa: E402
from huggingface_hub.errors import (EntryNotFoundError, GatedRepoError, RepositoryNotFoundError,  # noqa: E402
                                    RevisionNotFoundError)


def check(condition, what):
    if not condition:
        raise SystemExit(f"FAILED: {what}")
    print("ok:", what)


def raises(kind, call, what):
    try:
        call()
    except kind:
        return check(True, what)
    except Exception as error:  # noqa: BLE001
        return check(False, f"{what}: {type(error).__name__}: {error}")
    check(False, f"{what}: no exception")


def same(folder, names, what):
    check(all((Path(folder) / n).read_bytes() == FILES[n] for n in names), what)


def mlxe(cache, *more, offline=False, name="org/open"):
    env = os.environ | {"HF_HUB_CACHE": str(cache)} | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    out = subprocess.run([MLXE, "pull", name, "--json", *more], env=env, capture_output=True, text=True)
    return out, json.loads(out.stdout.splitlines()[-1]) if out.returncode == 0 else None


# 1. The server.
api = HfApi()
info = api.model_info("org/open")
check(info.sha and {s.rfilename for s in info.siblings} == set(FILES), "model_info names all files")
tree = {f.path: f for f in api.list_repo_tree("org/open", recursive=True)}
check(set(tree) == set(FILES), "the listing over several pages is complete")
sums = {n: hashlib.sha256(d).hexdigest() for n, d in FILES.items() if n.endswith(".safetensors")}
check(all(tree[n].lfs.sha256 == s and tree[n].lfs.size == len(FILES[n]) for n, s in sums.items()), "LFS checksums")
git = {n: hashlib.sha1(b"blob %d\0" % len(d) + d).hexdigest() for n, d in FILES.items() if n not in sums}
check(all(tree[n].blob_id == s for n, s in git.items()), "git checksums")
for name in FILES:
    meta = get_hf_file_metadata(hf_hub_url("org/open", name))
    check((meta.etag, meta.size, meta.commit_hash) == (sums.get(name) or git[name], len(FILES[name]), info.sha),
          f"HEAD of {name}")
same(snapshot_download("org/open", cache_dir=ROOT / "python"), FILES, "snapshot_download")
for revision in ("v1.0", "refs/pr/1", info.sha):
    same(snapshot_download("org/open", revision=revision, cache_dir=ROOT / "python"), FILES, f"revision {revision}")
server.stdin.write("drop 2\n")
server.stdin.flush()
path = hf_hub_download("org/open", "model-00001-of-00002.safetensors", cache_dir=ROOT / "broken")
check(Path(path).read_bytes() == FILES["model-00001-of-00002.safetensors"], "a broken connection is resumed by range")
raises(RepositoryNotFoundError, lambda: api.model_info("org/absent"), "RepositoryNotFoundError")
raises(RevisionNotFoundError, lambda: api.model_info("org/open", revision="v9"), "RevisionNotFoundError")
raises(EntryNotFoundError, lambda: hf_hub_download("org/open", "x.json", cache_dir=ROOT / "x"), "EntryNotFoundError")
raises(RepositoryNotFoundError, lambda: api.model_info("org/some-private", token="hf_wrong"), "private, wrong token")
check(api.model_info("org/some-private", token="hf_right").private, "private, right token")
raises(GatedRepoError, lambda: hf_hub_download("org/some-gated", "config.json", token="hf_right", cache_dir=ROOT / "x"),
       "GatedRepoError")


def listed(**query):
    return [m.id for m in api.list_models(**query)]


check(listed(sort="downloads") == ["org/some-gated", "org/open", "org/plain", "other/one", "away/large-xet"],
      "list_models, two pages")
check(listed(filter="mlx", author="org", sort="downloads") == ["org/some-gated", "org/open"], "its filter and author")
check(listed(filter=["mlx", "license:mit"], pipeline_tag="text-generation", search="OPEN") == ["org/open"], "its search")
check(listed(gated=True) == ["org/some-gated"] and "org/open" in listed(gated=False), "its gated")
check(listed(sort="downloads", limit=2) == ["org/some-gated", "org/open"], "its limit")
first = next(api.list_models(search="open", expand=["config", "safetensors", "downloads", "gated"]))
check((first.config, first.safetensors.total, first.downloads, first.gated, first.tags)
      == ({"model_type": "llama"}, 1000, 500, False, None), "expand gives what was asked for and no more")
env = os.environ | {"HF_HUB_CACHE": str(ROOT / "search")}
for ours, theirs in ((["--author", "org"], {"author": "org"}), (["--gated", "false"], {"gated": False}),
                     (["open", "--licence", "mit", "--task", "text-generation"],
                      {"search": "open", "filter": ["mlx", "license:mit"], "pipeline_tag": "text-generation"})):
    out = subprocess.run([MLXE, "search", "--json", *ours], env=env, capture_output=True, text=True)
    found = [m["id"] for m in json.loads(out.stdout)["models"]] if out.returncode == 0 else out.stderr
    check(found == listed(**{"filter": "mlx", "sort": "downloads"} | theirs), f"mlxe search {ours} finds the same {found}")

# 2. Python reads what mlxe has downloaded.
out, done = mlxe(ROOT / "ours")
check(done is not None, f"mlxe pull {out.stderr}")
same(done["directory"], NEEDED, "mlxe's files")
patterns = ["*.json", "*.safetensors", "*.jinja"]
folder = snapshot_download("org/open", cache_dir=ROOT / "ours", local_files_only=True, allow_patterns=patterns)
check(Path(folder).resolve() == Path(done["directory"]).resolve(), "snapshot_download finds it offline")
for name in NEEDED:
    path = Path(hf_hub_download("org/open", name, cache_dir=ROOT / "ours", local_files_only=True))
    check(path.read_bytes() == FILES[name], f"hf_hub_download finds {name} offline")
blobs = ROOT / "ours/models--org--open/blobs"
before = {p.name: p.stat().st_mtime_ns for p in blobs.iterdir()}
same(snapshot_download("org/open", cache_dir=ROOT / "ours", allow_patterns=patterns), NEEDED, "online as well")
check({p.name: p.stat().st_mtime_ns for p in blobs.iterdir()} == before, "nothing was downloaded again")
cached = huggingface_hub.scan_cache_dir(ROOT / "ours")
check(not cached.warnings and [r.repo_id for r in cached.repos] == ["org/open"], f"scan_cache_dir {cached.warnings}")
check(cached.size_on_disk == sum(len(FILES[n]) for n in NEEDED), "its sizes")

# 3. mlxe reads what Python has downloaded.
out, done = mlxe(ROOT / "python", offline=True)
check(done is not None, f"mlxe finds Python's download offline {out.stderr}")
same(done["directory"], NEEDED, "Python's files")
before = {p.name for p in (ROOT / "python/models--org--open/blobs").iterdir()}
check(mlxe(ROOT / "python")[1] is not None, "online as well")
check({p.name for p in (ROOT / "python/models--org--open/blobs").iterdir()} == before, "nothing was downloaded again")

# 4. Xet storage. Whether it is used is read from the environment when the client is imported.
server.stdin.write("forbid 1000000\n")
server.stdin.flush()
os.environ["HF_HUB_DISABLE_XET"] = "0"
pull = f"from huggingface_hub import snapshot_download as s; print(s('away/large-xet', cache_dir={str(ROOT / 'xet')!r}))"
out = subprocess.run([sys.executable, "-c", pull], capture_output=True, text=True)
check(out.returncode == 0, f"hf_xet downloads from Xet storage {out.stderr[-2000:]}")
same(out.stdout.splitlines()[-1], FILES, "its files")
out, done = mlxe(ROOT / "ours-xet", name="away/large-xet")
check(done is not None, f"mlxe downloads from Xet storage {out.stderr}")
same(done["directory"], NEEDED, "mlxe's files")
os.environ["HF_HUB_DISABLE_XET"] = "1"
out, done = mlxe(ROOT / "plain", name="away/large-xet")
check(done is None and "403" in out.stderr, "without Xet storage neither could")
server.kill()
print(f"all good, huggingface_hub {huggingface_hub.__version__}")
