//! An HTTP server on loopback with the faults of real ones.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The response to one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends the file and respects ranges and `If-Range`.
    Give,
    /// Sends the file and ignores ranges.
    GiveWhole,
    /// Sends the file as a web page.
    GiveAsPage,
    /// Announces all of the file and closes after so many bytes.
    Cut(usize),
    /// Announces so many bytes more than it sends, and closes.
    Overstate(usize),
    /// Announces only so many bytes.
    Understate(usize),
    /// Sends so many bytes and nothing more.
    Stall(usize),
    /// Sends other content.
    Instead(Vec<u8>),
    /// Sends a status and a page.
    Status(u16),
    /// Sends a page with status 200.
    Page,
    /// Redirects to a URL.
    Redirect(String),
    /// Redirects to itself.
    Loop,
    /// Replaces the file by another one with another tag, then sends it.
    Change(Vec<u8>),
}

#[derive(Debug)]
struct State {
    file: Vec<u8>,
    tag: u32,
    acts: Vec<Act>,
    asked: Vec<Asked>,
    /// Files by path, of a server that has several.
    site: BTreeMap<String, Vec<u8>>,
}

/// One received request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its `Range`.
    pub range: Option<String>,
    /// Its `If-Range`.
    pub if_range: Option<String>,
}

/// The server. Its thread ends with the process.
#[derive(Debug, Clone)]
pub struct Server {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl Server {
    /// Serves `file` with one of `acts` per request; the last one is repeated.
    pub fn start(file: &[u8], acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            state: Arc::new(Mutex::new(State {
                file: file.to_vec(),
                tag: 1,
                acts: acts.to_vec(),
                asked: Vec::new(),
                site: BTreeMap::new(),
            })),
            port: listener.local_addr().unwrap().port(),
        };
        let clone = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = clone.clone();
                std::thread::spawn(move || server.answer(stream));
            }
        });
        server
    }

    /// Serves several files, each by its path; any other path has status 404.
    pub fn site() -> Self {
        let server = Self::start(b"", &[Act::Give]);
        server.put("/", b"<html></html>");
        server
    }

    /// Adds or replaces a file of a server with several.
    pub fn put(&self, path: &str, file: &[u8]) {
        self.state.lock().unwrap().site.insert(path.to_owned(), file.to_vec());
    }

    /// The URL of a path.
    pub fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/image", self.port)
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    fn answer(&self, stream: TcpStream) {
        let (mut asked, mut path) = (Asked::default(), String::new());
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let Ok(line) = line else { return };
            if let Some((_, rest)) = line.split_once("GET ") {
                rest.split(' ').next().unwrap_or_default().clone_into(&mut path);
            }
            match line.to_ascii_lowercase().split_once(": ") {
                Some(("range", _)) => asked.range = line.split_once(": ").map(|(_, value)| value.to_owned()),
                Some(("if-range", _)) => asked.if_range = line.split_once(": ").map(|(_, value)| value.to_owned()),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let (act, file, tag) = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(asked.clone());
            let act = if state.acts.len() > 1 {
                state.acts.remove(0)
            } else {
                state.acts[0].clone()
            };
            if let Act::Change(file) = &act {
                state.file.clone_from(file);
                state.tag += 1;
            }
            if state.site.is_empty() {
                (act, state.file.clone(), state.tag)
            } else {
                match state.site.get(&path) {
                    Some(file) => (Act::Give, file.clone(), state.tag),
                    None => (Act::Status(404), Vec::new(), state.tag),
                }
            }
        };
        // A client that stops closes the connection, which is no error of the server.
        let _ = respond(stream, &act, &file, tag, &asked, &self.url());
    }
}

fn respond(mut stream: TcpStream, act: &Act, file: &[u8], tag: u32, asked: &Asked, url: &str) -> std::io::Result<()> {
    let tag = format!("\"{tag}\"");
    let mut head = |status: &str, length: usize, more: &str| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n"
        )
    };
    let tagged = format!("ETag: {tag}\r\nAccept-Ranges: bytes\r\n");
    match act {
        Act::Give | Act::Change(_) => {
            let from = asked.range.as_ref().and_then(|range| {
                let same = asked.if_range.as_ref().is_none_or(|found| *found == tag);
                let from = range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()?;
                same.then_some(from)
            });
            match from {
                Some(from) if from >= file.len() => head(
                    "416 Range Not Satisfiable",
                    0,
                    &format!("Content-Range: bytes */{}\r\n", file.len()),
                ),
                Some(from) => {
                    let range = format!(
                        "Content-Range: bytes {from}-{}/{}\r\n{tagged}",
                        file.len() - 1,
                        file.len()
                    );
                    head("206 Partial Content", file.len() - from, &range)?;
                    stream.write_all(&file[from..])
                }
                None => {
                    head("200 OK", file.len(), &tagged)?;
                    stream.write_all(file)
                }
            }
        }
        Act::GiveWhole => {
            head("200 OK", file.len(), "")?;
            stream.write_all(file)
        }
        Act::GiveAsPage => {
            head("200 OK", file.len(), "Content-Type: text/html; charset=UTF-8\r\n")?;
            stream.write_all(file)
        }
        Act::Cut(at) => {
            head("200 OK", file.len(), &tagged)?;
            stream.write_all(&file[..*at])
        }
        Act::Overstate(by) => {
            head("200 OK", file.len() + by, "")?;
            stream.write_all(file)
        }
        Act::Understate(length) => {
            head("200 OK", *length, "")?;
            stream.write_all(file)
        }
        Act::Stall(at) => {
            head("200 OK", file.len(), &tagged)?;
            stream.write_all(&file[..*at])?;
            stream.flush()?;
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        }
        Act::Instead(other) => {
            head("200 OK", other.len(), "")?;
            stream.write_all(other)
        }
        Act::Status(status) => {
            head(&format!("{status} No"), 4, "Content-Type: text/html\r\n")?;
            stream.write_all(b"<p>\n")
        }
        Act::Page => {
            let page = b"<!DOCTYPE html><p>please log in</p>";
            head("200 OK", page.len(), "Content-Type: text/html; charset=utf-8\r\n")?;
            stream.write_all(page)
        }
        Act::Redirect(to) => head("302 Found", 0, &format!("Location: {to}\r\n")),
        Act::Loop => head("302 Found", 0, &format!("Location: {url}\r\n")),
    }
}
