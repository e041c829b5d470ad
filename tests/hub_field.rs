//! Servers, caches and names as people meet them: what docs/compatibility.md says of the Hub.
#![cfg(feature = "hub")]

#[path = "support/downloads.rs"]
#[allow(dead_code)]
mod downloads;
#[path = "support/storage.rs"]
#[allow(dead_code)]
mod stored;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use downloads::hub_server::{At, Fault, HubServer, Repo};
use downloads::plain::{blobs, check_snapshots, files, server};
use downloads::{ID, noise, options, pull};
use mlx_engine::ErrorKind;
use mlx_engine::hub::{self, Client, Download, DownloadRequest, HubOptions, SearchQuery, Storage, Token, WhatIsWrong};
use stored::{import, problems, quiet, tiny};
use support::TempDir;

const ALWAYS: u32 = u32::MAX;

fn root(cache: &Path) -> PathBuf {
    cache.join("models--org--model")
}

/// Several pages, however the next one is named.
#[test]
fn every_page_of_a_list_comes() {
    for link in [
        "<PATH?QUERY>; rel=\"next\"",
        "<http://hub.example:81PATH?QUERY>; rel=\"next\"",
        "<HOSTPATH?QUERY>; rel=next",
        "<HOSTPATH?QUERY>; rel = \"next\"",
        "<HOSTPATH?QUERY>; REL=\"Next\"",
        "<?QUERY>; title=\"a, b; c\"; rel=\"last next\"",
        "<HOSTPATH?cursor=0>; rel=\"first\", <HOSTPATH?QUERY>;rel=\"next\"",
    ] {
        let (server, cache) = (server(), TempDir::new("field"));
        server.fault(At::Api, Fault::Link(link.into()), ALWAYS);
        pull(options(&server, cache.path())).unwrap_or_else(|e| panic!("{link}: {e}"));
        check_snapshots(cache.path(), true);
        let client = Client::new(options(&server, cache.path())).unwrap();
        let found = client.search(&SearchQuery { library: String::new(), ..Default::default() }, &|_| true).unwrap();
        assert_eq!(found.models.len(), 1);
    }
    for link in
        ["<HOST/elsewhere?QUERY>; rel=next", "<ftp://hub.example/PATH?QUERY>; rel=\"next\"", "<HOSTPATH>; rel=next"]
    {
        let (server, cache) = (server(), TempDir::new("field"));
        server.fault(At::Api, Fault::Link(link.into()), ALWAYS);
        let error = pull(options(&server, cache.path())).unwrap_err();
        assert!(error.kind() == ErrorKind::Network && error.message().contains("next page"), "{link}: {error}");
        assert!(!root(cache.path()).join("trees").exists());
    }
}

#[test]
fn search_follows_pages_in_every_form() {
    let repos = || (0..7).map(|i| Repo::new(&format!("org/model-{i}"), &files()[..1])).collect();
    let query = SearchQuery { library: String::new(), ..Default::default() };
    for link in ["<?QUERY>; rel=next", "<http://hub.example/api/models?QUERY>; REL = \"next\""] {
        let (server, cache) = (HubServer::start(repos()), TempDir::new("field"));
        server.fault(At::Api, Fault::Link(link.into()), ALWAYS);
        let client = Client::new(options(&server, cache.path())).unwrap();
        assert_eq!(client.search(&query, &|_| true).unwrap().models.len(), 7, "{link}");
    }
    let (server, cache) = (HubServer::start(repos()), TempDir::new("field"));
    server.fault(At::Api, Fault::Link("<HOST/login?QUERY>; rel=next".into()), ALWAYS);
    let error = Client::new(options(&server, cache.path())).unwrap().search(&query, &|_| true).unwrap_err();
    assert!(error.message().contains("next page"), "{error}");
}

#[test]
fn a_list_that_was_cut_short_heals() {
    let (server, cache) = (server(), TempDir::new("field"));
    let snapshot = pull(options(&server, cache.path())).unwrap();
    let list = root(cache.path()).join("trees").join(format!("{}.json", server.repo(ID).commit()));
    let whole = fs::read(&list).unwrap();
    for lost in ["tokenizer.json", "model-00002-of-00002.safetensors", "config.json", "chat_template.jinja"] {
        let mut json: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        json["files"].as_object_mut().unwrap().remove(lost).unwrap();
        fs::write(&list, json.to_string()).unwrap();
        fs::remove_file(snapshot.join(lost)).unwrap();
        pull(options(&server, cache.path())).unwrap_or_else(|e| panic!("{lost}: {e}"));
        check_snapshots(cache.path(), true);
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&fs::read(&list).unwrap()).unwrap()["files"][lost]["size"],
            serde_json::from_slice::<serde_json::Value>(&whole).unwrap()["files"][lost]["size"]
        );
    }
    // A server whose list lacks what it says the model has.
    let cache = TempDir::new("field");
    server.fault(At::Api, Fault::Without("tokenizer.json".into()), ALWAYS);
    let error = pull(options(&server, cache.path())).unwrap_err();
    assert!(error.message().contains("tokenizer.json") && error.kind() == ErrorKind::Network, "{error}");
}

/// A load looks at the cache first, where all files of a list that was cut short may be.
#[test]
fn a_load_asks_for_the_list_again_where_there_is_no_tokenizer() {
    let (server, cache) = (server(), TempDir::new("field"));
    let snapshot = pull(options(&server, cache.path())).unwrap();
    let commit = server.repo(ID).commit().to_owned();
    let list = root(cache.path()).join("trees").join(format!("{commit}.json"));
    let whole = fs::read(&list).unwrap();
    let cut = || {
        let mut json: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        for (name, _) in files().iter().filter(|(name, _)| name.starts_with("tokenizer") || name.ends_with(".model")) {
            if json["files"].as_object_mut().unwrap().remove(*name).is_some() {
                _ = fs::remove_file(snapshot.join(name));
            }
        }
        fs::write(&list, json.to_string()).unwrap();
    };
    let load = |options: HubOptions| {
        let request = DownloadRequest { cached_will_do: true, ..DownloadRequest::new(ID, None) };
        Download::start(options, request).unwrap().wait()
    };
    let complete = || hub::complete_with_tokenizer(cache.path(), ID, None).unwrap();
    assert_eq!(complete(), Some(snapshot.clone()));
    cut();
    assert_eq!(complete(), None);
    assert_eq!(load(options(&server, cache.path())).unwrap(), snapshot);
    check_snapshots(cache.path(), true);
    assert_eq!(complete(), Some(snapshot.clone()));
    // Where nobody can be asked, what is known to be needed is there.
    cut();
    server.fault(At::Api, Fault::Status(404, None), ALWAYS);
    assert_eq!(load(options(&server, cache.path())).unwrap(), snapshot);
    assert_eq!(load(HubOptions { offline: true, ..options(&server, cache.path()) }).unwrap(), snapshot);
    assert!(pull(options(&server, cache.path())).is_err());
    // That is no excuse for weights that are missing.
    fs::remove_file(snapshot.join("model-00002-of-00002.safetensors")).unwrap();
    assert!(load(options(&server, cache.path())).is_err());
}

/// The Python libraries take the length of `{etag}.incomplete` for what is there.
#[test]
fn unfinished_files_have_a_name_of_our_own_and_those_of_python_are_taken_over() {
    let (server, cache) = (server(), TempDir::new("field"));
    server.fault(At::Storage, Fault::Truncate(1000), ALWAYS);
    pull(options(&server, cache.path())).unwrap_err();
    server.set_faults(Vec::new());
    let weights = &files()[6].1;
    let names = blobs(cache.path());
    let etag = names.iter().find_map(|n| n.strip_suffix(".mlxe.incomplete")).unwrap().to_owned();
    assert!(names.iter().all(|n| *n != format!("{etag}.incomplete")), "{names:?}");
    pull(options(&server, cache.path())).unwrap();
    let sums: Vec<String> = blobs(cache.path()).into_iter().filter(|n| n.len() == 64).collect();
    let large = |name: &String| {
        fs::metadata(root(cache.path()).join("blobs").join(name)).unwrap().len() == weights.len() as u64
    };
    let etag = sums.iter().find(|n| large(n)).unwrap();
    // Appended by 0.36 to 1.17, and by later ones under a name of their own.
    for name in [format!("{etag}.incomplete"), format!("{etag}.0123abcd.incomplete")] {
        let cache = TempDir::new("field");
        let folder = root(cache.path()).join("blobs");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&name), &weights[..5 << 20]).unwrap();
        server.forget();
        pull(options(&server, cache.path())).unwrap();
        check_snapshots(cache.path(), true);
        assert!(server.sent() < 4 << 20, "{name}: {} bytes", server.sent());
        assert!(blobs(cache.path()).iter().all(|n| !n.contains("incomplete")), "{:?}", blobs(cache.path()));
    }
    // Holes are no bytes, and what is wrong is fetched again.
    for wrong in [false, true] {
        let cache = TempDir::new("field");
        let folder = root(cache.path()).join("blobs");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{etag}.incomplete"));
        if wrong {
            fs::write(&path, vec![7; 1 << 20]).unwrap();
        } else {
            fs::File::create(&path).unwrap().set_len(weights.len() as u64).unwrap();
        }
        pull(options(&server, cache.path())).unwrap();
        check_snapshots(cache.path(), true);
    }
    // Whatever ours was, another program has brought the file meanwhile.
    let cache = TempDir::new("field");
    pull(options(&server, cache.path())).unwrap();
    fs::write(root(cache.path()).join("blobs").join(format!("{etag}.mlxe.incomplete")), "half").unwrap();
    pull(options(&server, cache.path())).unwrap();
    assert!(blobs(cache.path()).iter().all(|n| !n.contains("incomplete")));
}

#[test]
fn a_server_that_takes_few_connections_gets_few() {
    for limit in [1, 2] {
        let (server, cache) = (server(), TempDir::new("field"));
        server.set_rate(6 << 20);
        server.set_limit(limit);
        pull(HubOptions { connections: 8, retries: 2, ..options(&server, cache.path()) }).unwrap();
        check_snapshots(cache.path(), true);
        assert!(server.faulted() > 0);
    }
}

#[test]
fn compressed_answers_are_unpacked() {
    for at in [At::Api, At::Resolve, At::Storage] {
        let (server, cache) = (server(), TempDir::new("field"));
        server.fault(at, Fault::Encoded("gzip"), ALWAYS);
        pull(options(&server, cache.path())).unwrap_or_else(|e| panic!("{at:?}: {e}"));
        check_snapshots(cache.path(), true);
        let (server, cache) = (downloads::plain::server(), TempDir::new("field"));
        server.fault(at, Fault::Encoded("br"), ALWAYS);
        let error = pull(options(&server, cache.path())).unwrap_err();
        assert!(
            error.message().contains("Content-Encoding \"br\"") && !error.message().contains("attempts"),
            "{error}"
        );
        check_snapshots(cache.path(), false);
    }
}

#[test]
fn redirects_may_be_written_carelessly() {
    for (prefix, query) in
        [("the mirror", "x=1"), ("näher dran", "x=1"), ("here", "next=https://elsewhere.example/x"), ("模型", "n=a b")]
    {
        let (server, cache) = (server(), TempDir::new("field"));
        for at in [At::Api, At::Resolve] {
            server.fault(at, Fault::Via(prefix, query), 2);
        }
        pull(options(&server, cache.path())).unwrap_or_else(|e| panic!("{prefix}: {e}"));
        check_snapshots(cache.path(), true);
    }
}

#[test]
fn rate_limits_are_waited_for() {
    let (server, cache) = (server(), TempDir::new("field"));
    let headers = vec![
        ("RateLimit", "\"api\";r=0;t=1".to_owned()),
        ("RateLimit-Policy", "\"fixed window\";\"api\";q=500;w=300".to_owned()),
    ];
    server.fault(At::Api, Fault::Says(429, headers, String::new()), 1);
    let start = Instant::now();
    pull(options(&server, cache.path())).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_captive_portal_is_said_at_once() {
    let html = || vec![("Content-Type", "text/html; charset=utf-8".to_owned())];
    let page = "<!DOCTYPE html><html><body>Welcome to the hotel</body></html>";
    for at in [At::Api, At::Resolve, At::Storage] {
        for status in [200, 511] {
            let (server, cache) = (server(), TempDir::new("field"));
            server.fault(at, Fault::Says(status, html(), page.into()), ALWAYS);
            let error = pull(options(&server, cache.path())).unwrap_err();
            let text = error.to_string();
            assert!(error.kind() == ErrorKind::Network && text.contains("captive portal"), "{at:?}: {text}");
            assert!(!text.contains("attempts"), "{at:?}: {text}");
            check_snapshots(cache.path(), false);
        }
    }
}

#[test]
fn a_refused_token_is_not_an_absent_model() {
    let (server, cache) = (server(), TempDir::new("field"));
    let words = r#"{"error": "User Access Token \"laptop\" is expired (hf_old)"}"#;
    server.fault(At::Api, Fault::Says(401, Vec::new(), words.into()), ALWAYS);
    let token = Token::new("hf_old").unwrap();
    let error = pull(HubOptions { token, ..options(&server, cache.path()) }).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("is expired") && !text.contains("does not exist") && !text.contains("hf_old"), "{text}");
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
}

#[test]
fn damaged_files_of_a_snapshot_without_links_are_replaced() {
    let (server, cache) = (server(), TempDir::new("field"));
    let snapshot = pull(options(&server, cache.path())).unwrap();
    let blob_folder = root(cache.path()).join("blobs");
    let plain = |name: &str, bytes: &[u8], keep_blob: bool| {
        let path = snapshot.join(name);
        let blob = fs::canonicalize(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        if !keep_blob && blob.starts_with(fs::canonicalize(&blob_folder).unwrap()) {
            fs::remove_file(blob).unwrap();
        }
    };
    for keep_blob in [true, false] {
        for (name, whole) in files().into_iter().filter(|(n, b)| downloads::plain::needed(n) && b.len() > 1) {
            plain(name, &whole[..whole.len() / 2], keep_blob);
            let offline = HubOptions { offline: true, ..options(&server, cache.path()) };
            assert_eq!(pull(offline).unwrap_err().kind(), ErrorKind::NotFound, "{name}");
            pull(options(&server, cache.path())).unwrap();
            check_snapshots(cache.path(), true);
        }
    }
    // The same size, in a file that people edit.
    let mut config = files()[0].1.clone();
    config[20] ^= 1;
    plain("config.json", &config, false);
    pull(options(&server, cache.path())).unwrap();
    check_snapshots(cache.path(), true);
}

#[test]
fn pointers_of_git_lfs_are_not_what_was_asked_for() {
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 6291456\n", "a".repeat(64));
    // In place of the file.
    let (server, cache) = (server(), TempDir::new("field"));
    server.fault(At::Storage, Fault::Says(200, Vec::new(), pointer.clone()), ALWAYS);
    let error = pull(options(&server, cache.path())).unwrap_err();
    assert!(error.message().contains("Git LFS pointer") && !error.message().contains("attempts"), "{error}");
    check_snapshots(cache.path(), false);
    // As what the list says: small files and large ones.
    for name in ["model.safetensors", "tokenizer.json"] {
        let mut all = vec![("config.json", files()[0].1.clone()), ("model.safetensors", noise(1000, 1))];
        all.retain(|(n, _)| *n != name);
        all.push((name, pointer.clone().into_bytes()));
        let (server, cache) = (HubServer::start(vec![Repo::new(ID, &all)]), TempDir::new("field"));
        let error = pull(options(&server, cache.path())).unwrap_err();
        assert!(error.message().contains("Git LFS pointer") && error.message().contains(name), "{error}");
        assert_eq!(hub::complete_snapshot(cache.path(), ID, None).unwrap(), None);
    }
    // Cloned without Git LFS.
    let cache = TempDir::new("field");
    let snapshot = root(cache.path()).join("snapshots/0123abc");
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(snapshot.join("config.json"), "{\"model_type\": \"llama\"}").unwrap();
    for (weights, whole) in [(pointer.as_bytes(), false), (&8u64.to_le_bytes()[..], false), (&[][..], false)] {
        fs::write(snapshot.join("model.safetensors"), weights).unwrap();
        let found = hub::complete_snapshot(cache.path(), ID, Some("0123abc")).unwrap();
        assert_eq!(found.is_some(), whole, "{weights:?}");
    }
    fs::copy(tiny().join("model.safetensors"), snapshot.join("model.safetensors")).unwrap();
    assert!(hub::complete_snapshot(cache.path(), ID, Some("0123abc")).unwrap().is_some());
    let file = fs::File::options().write(true).open(snapshot.join("model.safetensors")).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    assert!(hub::complete_snapshot(cache.path(), ID, Some("0123abc")).unwrap().is_none());
}

#[test]
fn models_are_named_as_people_paste_them() {
    let (server, cache) = (server(), TempDir::new("field"));
    let commit = server.repo(ID).commit().to_owned();
    let own = format!("{}/org/model/tree/main", server.endpoint);
    for name in [
        "https://huggingface.co/org/model/tree/main",
        "https://huggingface.co/org/model",
        "hf://org/model",
        "org/model@v1.0",
        "https://huggingface.co/org/model/blob/refs%2Fpr%2F1/config.json",
        &own,
    ] {
        let request = DownloadRequest::new(name, None);
        let snapshot = Download::start(options(&server, cache.path()), request).unwrap().wait().unwrap();
        assert!(snapshot.ends_with(format!("models--org--model/snapshots/{commit}")), "{name}");
    }
    let client = Client::new(options(&server, cache.path())).unwrap();
    assert!(client.inspect("hf://datasets/org/model", None).unwrap_err().message().contains("dataset"));
    let storage = Storage::new(cache.path());
    assert_eq!(storage.info("hf://org/model").unwrap().id, ID);
    assert!(hub::complete_snapshot(cache.path(), "org/model@refs/pr/1", None).unwrap().is_some());
    for bad in ["https://example.com/org/model", "org/mo--del", "models--org--model"] {
        let request = DownloadRequest::new(bad, None);
        let error = Download::start(options(&server, cache.path()), request).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}: {error}");
    }
}

#[test]
fn files_that_no_model_needs_may_have_any_name() {
    let mut all = files();
    let long = format!("{}.png", "x".repeat(252));
    all.extend([("runs/12:30:00.png", noise(9, 1)), ("tab\there.png", noise(9, 2)), ("back\\slash.png", noise(9, 3))]);
    all.push((&long, noise(9, 4)));
    let deep = format!("{}file.txt", "deep/".repeat(40));
    all.push((&deep, noise(9, 5)));
    let (server, cache) = (HubServer::start(vec![Repo::new(ID, &all)]), TempDir::new("field"));
    pull(options(&server, cache.path())).unwrap();
    check_snapshots(cache.path(), true);
}

#[test]
fn refs_may_be_empty_dangling_and_in_each_others_way() {
    let (server, cache) = (server(), TempDir::new("field"));
    let refs = root(cache.path()).join("refs");
    let snapshot = pull(options(&server, cache.path())).unwrap();
    let download = |revision: &str| {
        Download::start(options(&server, cache.path()), DownloadRequest::new(ID, Some(revision.into()))).unwrap().wait()
    };
    let offline = |revision: &str| {
        let offline = HubOptions { offline: true, ..options(&server, cache.path()) };
        Download::start(offline, DownloadRequest::new(ID, Some(revision.into()))).unwrap().wait()
    };
    // `refs` is taken as a file, where `refs/pr/1` wants a folder.
    fs::write(refs.join("refs"), "fedcba").unwrap();
    assert_eq!(download("refs/pr/1").unwrap(), snapshot);
    assert_eq!(offline("refs/pr/1").unwrap(), snapshot);
    assert_eq!(fs::read_to_string(refs.join("refs")).unwrap(), "fedcba");
    // And the other way round.
    fs::create_dir_all(refs.join("v1.0/rc")).unwrap();
    assert_eq!(download("v1.0").unwrap(), snapshot);
    assert_eq!(offline("v1.0").unwrap(), snapshot);
    let storage = Storage::new(cache.path());
    let known = storage.info(ID).unwrap().revisions.remove(0).refs;
    assert!(known.contains(&"v1.0".to_owned()) && known.contains(&"refs/pr/1".to_owned()), "{known:?}");
    // A full disk leaves empty files, and snapshots go.
    fs::write(refs.join("main"), "").unwrap();
    assert_eq!(offline("main").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(storage.list().unwrap().len(), 1);
    assert_eq!(download("main").unwrap(), snapshot);
    fs::write(refs.join("main"), "0".repeat(40)).unwrap();
    assert_eq!(download("main").unwrap(), snapshot);
    assert_eq!(offline("main").unwrap(), snapshot);
    // A branch that is called like a file on its way.
    fs::write(refs.join("v2.1.2.tmp"), server.repo(ID).commit()).unwrap();
    storage.verify(Some(ID), true, &mut quiet).unwrap();
    assert!(refs.join("v2.1.2.tmp").exists());
}

/// Names under which files are in use, and which `verify --fix` must see.
#[test]
fn what_is_in_use_under_any_name_is_not_removed() {
    type Change = fn(&Path, &Path);
    let cases: [(&str, Change); 8] = [
        ("a model's folder elsewhere", |cache, _| {
            let (here, there) = (cache.join("models--a--b"), cache.join("elsewhere"));
            fs::rename(&here, &there).unwrap();
            symlink("elsewhere", &here).unwrap();
        }),
        ("blobs elsewhere", |cache, _| {
            fs::rename(cache.join("models--a--b/blobs"), cache.join("all-blobs")).unwrap();
            symlink("../all-blobs", cache.join("models--a--b/blobs")).unwrap();
        }),
        ("each blob elsewhere, as the Python libraries share them", |cache, _| {
            let store = cache.join("blobs/ab");
            fs::create_dir_all(&store).unwrap();
            for blob in fs::read_dir(cache.join("models--a--b/blobs")).unwrap().map(|e| e.unwrap().path()) {
                let name = blob.file_name().unwrap();
                fs::rename(&blob, store.join(name)).unwrap();
                symlink(Path::new("../../blobs/ab").join(name), &blob).unwrap();
            }
        }),
        ("a snapshot's folder elsewhere", |cache, snapshot| {
            fs::rename(snapshot, cache.join("models--a--b/kept")).unwrap();
            symlink("../kept", snapshot).unwrap();
            // Its links lead up from where it was.
            fs::create_dir_all(cache.join("models--a--b/snapshots/other")).unwrap();
            let kept = cache.join("models--a--b/kept");
            for link in fs::read_dir(&kept).unwrap().map(|e| e.unwrap().path()) {
                let name = fs::read_link(&link).unwrap().file_name().unwrap().to_owned();
                fs::remove_file(&link).unwrap();
                symlink(Path::new("../blobs").join(name), &link).unwrap();
            }
        }),
        ("hard links in the snapshot", |_, snapshot| {
            for link in fs::read_dir(snapshot).unwrap().map(|e| e.unwrap().path()) {
                let blob = fs::canonicalize(&link).unwrap();
                fs::remove_file(&link).unwrap();
                fs::hard_link(blob, &link).unwrap();
            }
        }),
        ("files deep down", |cache, snapshot| {
            let folder = snapshot.join("deep/".repeat(60));
            fs::create_dir_all(&folder).unwrap();
            let blob = cache.join("models--a--b/blobs/ce013625030ba8dba906f756967f9e9ca394464a");
            fs::write(&blob, "hello\n").unwrap();
            symlink(fs::canonicalize(blob).unwrap(), folder.join("hello.txt")).unwrap();
        }),
        ("another model's link", |cache, _| {
            let other = cache.join("models--c--d/snapshots/0123");
            fs::create_dir_all(&other).unwrap();
            let blob = cache.join("models--a--b/blobs/ce013625030ba8dba906f756967f9e9ca394464a");
            fs::write(&blob, "hello\n").unwrap();
            symlink("../../../models--a--b/blobs/ce013625030ba8dba906f756967f9e9ca394464a", other.join("hello.txt"))
                .unwrap();
        }),
        ("a hard link outside", |cache, _| {
            let blob = cache.join("models--a--b/blobs/ce013625030ba8dba906f756967f9e9ca394464a");
            fs::write(cache.join("hello.txt"), "hello\n").unwrap();
            fs::hard_link(cache.join("hello.txt"), blob).unwrap();
        }),
    ];
    for (what, change) in cases {
        let cache = TempDir::new("field");
        let storage = Storage::new(cache.path());
        import(&storage, &tiny(), "a/b", false).unwrap();
        let snapshot = hub::complete_snapshot(cache.path(), "a/b", None).unwrap().unwrap();
        change(cache.path(), &snapshot);
        let blob_names = || {
            let all = fs::read_dir(cache.path().join("models--a--b/blobs")).unwrap();
            let mut all: Vec<_> = all.map(|e| e.unwrap().file_name()).collect();
            all.sort();
            all
        };
        let before = blob_names();
        let found = storage.verify(Some("a/b"), true, &mut quiet).unwrap();
        assert_eq!(blob_names(), before, "{what}: {:?}", found.problems);
        assert!(
            found.problems.iter().all(|p| p.problem == WhatIsWrong::Missing && p.file.contains("other")),
            "{what}: {:?}",
            found.problems
        );
        assert!(hub::complete_snapshot(cache.path(), "a/b", None).unwrap().is_some(), "{what}");
        for file in files_of(&snapshot) {
            fs::read(&file).unwrap_or_else(|e| panic!("{what}: {}: {e}", file.display()));
        }
    }
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| !p.is_dir()).collect()
}

/// Mirrors name files by ETags that are no checksums, or others than the Hub's.
#[test]
fn blobs_with_other_names_are_not_damaged() {
    let cache = TempDir::new("field");
    let storage = Storage::new(cache.path());
    for listed in [true, false] {
        import(&storage, &tiny(), "a/b", false).unwrap();
        let snapshot = hub::complete_snapshot(cache.path(), "a/b", None).unwrap().unwrap();
        for (i, link) in files_of(&snapshot).iter().enumerate() {
            let blob = fs::canonicalize(link).unwrap();
            let other = format!("{i:040x}");
            fs::rename(&blob, blob.with_file_name(&other)).unwrap();
            fs::remove_file(link).unwrap();
            symlink(Path::new("../../blobs").join(other), link).unwrap();
        }
        if !listed {
            fs::remove_dir_all(cache.path().join("models--a--b/trees")).unwrap();
        }
        assert_eq!(problems(&storage, "a/b"), []);
        storage.verify(None, true, &mut quiet).unwrap();
        assert!(hub::complete_snapshot(cache.path(), "a/b", None).unwrap().is_some());
        if listed {
            // The list knows the right checksum.
            let path = fs::canonicalize(snapshot.join("model.safetensors")).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(problems(&storage, "a/b"), [WhatIsWrong::Checksum]);
        }
        storage.remove("a/b", None).unwrap();
    }
}

#[test]
fn only_what_is_freed_counts_as_freed() {
    let (cache, source) = (TempDir::new("field"), TempDir::new("source"));
    stored::write_model(source.path(), 2);
    let storage = Storage::new(cache.path());
    // The weights stay under the name that they had.
    import(&storage, source.path(), "a/linked", true).unwrap();
    assert!(storage.info("a/linked").unwrap().bytes > 2 << 20);
    let freed = storage.remove("a/linked", None).unwrap().bytes;
    assert!(freed > 0 && freed < 1 << 20, "{freed}");
    import(&storage, source.path(), "a/copied", false).unwrap();
    fs::rename(cache.path().join("models--a--copied"), source.path().join("elsewhere")).unwrap();
    symlink(source.path().join("elsewhere"), cache.path().join("models--a--copied")).unwrap();
    assert!(storage.info("a/copied").unwrap().bytes > 2 << 20);
    assert_eq!(storage.remove("a/copied", None).unwrap().bytes, 0);
    assert!(source.path().join("elsewhere/refs/main").exists() && storage.list().unwrap().is_empty());
}

#[test]
fn moved_models_keep_what_their_links_lead_to() {
    let (cache, to) = (TempDir::new("field"), TempDir::new("to"));
    let storage = Storage::new(cache.path());
    for id in ["a/shared", "a/linked"] {
        import(&storage, &tiny(), id, false).unwrap();
    }
    let store = cache.path().join("blobs/ab");
    fs::create_dir_all(&store).unwrap();
    for blob in files_of(&cache.path().join("models--a--shared/blobs")) {
        let name = blob.file_name().unwrap();
        fs::rename(&blob, store.join(name)).unwrap();
        symlink(Path::new("../../blobs/ab").join(name), &blob).unwrap();
    }
    fs::rename(cache.path().join("models--a--linked"), cache.path().join("elsewhere")).unwrap();
    symlink("elsewhere", cache.path().join("models--a--linked")).unwrap();
    let moved = storage.relocate(to.path(), &mut quiet).unwrap();
    assert_eq!(moved.moved.len(), 2);
    for id in ["a/shared", "a/linked"] {
        assert!(hub::complete_snapshot(to.path(), id, None).unwrap().is_some(), "{id}");
        assert_eq!(problems(&Storage::new(to.path()), id), [], "{id}");
    }
}

/// Somebody else has the lock of a blob, or the model.
#[test]
fn waiting_for_another_process_is_said() {
    let (server, cache) = (server(), TempDir::new("field"));
    pull(options(&server, cache.path())).unwrap();
    let etag = blobs(cache.path()).into_iter().find(|n| n.len() == 64).unwrap();
    let fresh = TempDir::new("field");
    let locks = fresh.path().join(".locks/models--org--model");
    fs::create_dir_all(&locks).unwrap();
    for (name, words) in
        [(format!("{etag}.lock"), "safetensors is being downloaded"), ("mlx-engine.lock".into(), "org/model")]
    {
        let lock = fs::File::create(locks.join(name)).unwrap();
        lock.lock().unwrap();
        let download = Download::start(options(&server, fresh.path()), DownloadRequest::new(ID, None)).unwrap();
        let start = Instant::now();
        let waiting = loop {
            if let Some(waiting) = download.progress().waiting {
                break waiting;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", download.progress());
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(waiting.contains(words) && waiting.contains("another process"), "{waiting}");
        lock.unlock().unwrap();
        download.wait().unwrap();
        assert_eq!(download.progress().waiting, None);
    }
}
