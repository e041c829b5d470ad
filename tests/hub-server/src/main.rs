//! Serves folders as models of a Hub on loopback until standard input ends.
//!
//! `hub-server [--rate BYTES_PER_SECOND] [--token TOKEN] [--xet-chunks N] ID=FOLDER...` prints its address. With a token the ids that end
//! in `-private` can be read with it only; those that end in `-gated` cannot be read at all; large files of those that end
//! in `-xet` are in Xet storage as well, with 1024 or `--xet-chunks` chunks a xorb. A file `ID.card.json` in the
//! current folder, with `_` for `/`, is what the list of models says of a model. Lines on standard input: `rate N` limits
//! each connection, `drop N` makes the next N large answers end in the middle, `forbid N` refuses the next N large files
//! that are asked for over plain HTTP.

#[path = "../../support/hub_server.rs"]
#[allow(dead_code)]
mod hub_server;

use hub_server::{At, Fault, HubServer, Repo};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut rate, mut token, mut xet_chunks, mut repos) = (0, String::new(), 1024, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rate" => rate = arguments.next().and_then(|r| r.parse().ok()).expect("--rate N"),
            "--token" => token = arguments.next().expect("--token TOKEN"),
            "--xet-chunks" => xet_chunks = arguments.next().and_then(|n| n.parse().ok()).expect("--xet-chunks N"),
            other => {
                let (id, folder) = other.split_once('=').expect("ID=FOLDER");
                let card = std::fs::read(format!("{}.card.json", id.replace('/', "_"))).ok();
                let card = card.map_or(serde_json::json!({}), |c| serde_json::from_slice(&c).expect("a card is JSON"));
                let repo = Repo::from_folder(id, folder.as_ref()).card(card);
                repos.push(match () {
                    () if id.ends_with("-private") => repo.private(&token),
                    () if id.ends_with("-gated") => repo.gated(),
                    () if id.ends_with("-xet") => repo.xet(xet_chunks),
                    () => repo,
                });
            }
        }
    }
    let server = HubServer::start(repos);
    server.set_rate(rate);
    println!("{}", server.endpoint);
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match line.split_once(' ').map(|(word, n)| (word, n.parse::<u64>())) {
            Some(("rate", Ok(n))) => server.set_rate(n),
            Some(("drop", Ok(n))) => server.fault(At::Storage, Fault::Truncate(100_000), n as u32),
            Some(("forbid", Ok(n))) => server.fault(At::Storage, Fault::Status(403, None), n as u32),
            _ => eprintln!("hub-server: {line:?}?"),
        }
    }
}
