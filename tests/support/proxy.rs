//! A proxy on loopback that makes tunnels (`CONNECT`), with or without a password.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The proxy; its thread ends with the process.
pub struct TestProxy {
    pub address: String,
    tunnels: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    /// `credentials`, if given, is what `Proxy-Authorization` must say.
    pub fn start(credentials: Option<&'static str>) -> TestProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tunnels: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = tunnels.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = seen.clone();
                thread::spawn(move || tunnel(stream, credentials, &seen));
            }
        });
        TestProxy { address, tunnels }
    }

    /// Where tunnels led to.
    pub fn tunnels(&self) -> Vec<String> {
        self.tunnels.lock().unwrap().clone()
    }
}

fn tunnel(mut client: TcpStream, credentials: Option<&str>, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0..=2 => break,
            _ => head.push(line.trim_end().to_owned()),
        }
    }
    let said = head.iter().find_map(|h| h.strip_prefix("Proxy-Authorization: "));
    if credentials.is_some() && said != credentials {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    }
    let Some(target) = head.first().and_then(|l| l.strip_prefix("CONNECT ")?.split(' ').next()) else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
    };
    seen.lock().unwrap().push(target.to_owned());
    let server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (from, to) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || copy(from, to));
    copy(reader, server)?;
    back.join().unwrap()
}

/// Until one side has had enough.
fn copy(mut from: impl Read, mut to: TcpStream) -> io::Result<()> {
    let result = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    result.map(drop)
}
