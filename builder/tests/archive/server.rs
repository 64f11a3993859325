//! A server on the loopback that gives the answer a test wants, however bad.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What the server does with a request.
pub enum Answer {
    /// The bytes, or the range of them that was asked for.
    Bytes(Vec<u8>),
    /// All bytes, whatever range was asked for.
    Whole(Vec<u8>),
    /// Says all, sends this many, and closes.
    Cut(Vec<u8>, usize),
    /// Says all, sends this many, and then nothing until the test ends.
    Stall(Vec<u8>, usize),
    /// All bytes in pieces, each after a pause.
    Slow(Vec<u8>, Duration),
    /// Another range than the one asked for.
    WrongRange(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Exactly these bytes, the head among them.
    Raw(Vec<u8>),
    /// Nothing at all.
    Close,
    /// Not even a head until the test ends.
    Silence,
    /// These bytes, and then the last of them for as long as somebody listens.
    Endless(Vec<u8>),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// The first byte asked for.
    pub from: Option<usize>,
    /// How often the path was asked for before.
    pub before: usize,
    /// The server's own name.
    pub host: String,
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    requests: Mutex<Vec<Request>>,
    closed: AtomicBool,
    closing: (Mutex<bool>, Condvar),
}

impl Server {
    pub fn new(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let closing = (Mutex::new(false), Condvar::new());
        let state = Arc::new(State { requests: Mutex::default(), closed: AtomicBool::new(false), closing });
        let (shared, handler): (_, Arc<Handler>) = (state.clone(), Arc::new(handler));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten().take_while(|_| !shared.closed.load(Ordering::SeqCst)) {
                let (shared, handler) = (shared.clone(), handler.clone());
                std::thread::spawn(move || shared.serve(stream, &*handler));
            }
        });
        Server { address, state }
    }

    /// Serves files by path.
    pub fn of_files(files: HashMap<String, Vec<u8>>) -> Self {
        Self::new(move |request| match files.get(&request.path) {
            Some(bytes) => Answer::Bytes(bytes.clone()),
            None => Answer::Status(404),
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        *self.state.closing.0.lock().unwrap() = true;
        self.state.closing.1.notify_all();
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    /// One request per connection.
    fn serve(&self, mut stream: TcpStream, handler: &Handler) {
        let Some((path, from)) = read(&stream) else { return };
        let request = {
            let mut requests = self.requests.lock().unwrap();
            let before = requests.iter().filter(|request| request.path == path).count();
            let host = stream.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
            requests.push(Request { path, from, before, host });
            requests.last().unwrap().clone()
        };
        // The client may have gone by now: that is its affair.
        let _ = self.answer(&mut stream, handler(&request), from);
    }

    fn answer(&self, stream: &mut TcpStream, answer: Answer, from: Option<usize>) -> std::io::Result<()> {
        match answer {
            Answer::Bytes(bytes) => match from.filter(|from| *from < bytes.len()) {
                Some(from) => {
                    let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                    head(stream, "206 Partial Content", bytes.len() - from, &range)?;
                    stream.write_all(&bytes[from..])
                }
                None => whole(stream, &bytes, bytes.len()),
            },
            Answer::Whole(bytes) => whole(stream, &bytes, bytes.len()),
            Answer::Cut(bytes, length) => whole(stream, &bytes, length),
            Answer::Stall(bytes, length) => {
                whole(stream, &bytes, length)?;
                self.pause(Duration::from_secs(600));
                Ok(())
            }
            Answer::Slow(bytes, pause) => {
                head(stream, "200 OK", bytes.len(), "")?;
                for piece in bytes.chunks(bytes.len().div_ceil(8)) {
                    self.pause(pause);
                    stream.write_all(piece)?;
                }
                Ok(())
            }
            Answer::WrongRange(bytes) => {
                let range = format!("Content-Range: bytes 0-{}/{}\r\n", bytes.len() - 1, bytes.len());
                head(stream, "206 Partial Content", bytes.len(), &range)?;
                stream.write_all(&bytes)
            }
            Answer::Status(code) => head(stream, &format!("{code} as told"), 0, ""),
            Answer::Raw(bytes) => stream.write_all(&bytes),
            Answer::Close => Ok(()),
            Answer::Silence => {
                self.pause(Duration::from_secs(600));
                Ok(())
            }
            Answer::Endless(bytes) => {
                stream.write_all(&bytes)?;
                let more = [*bytes.last().unwrap_or(&0); 1 << 14];
                while !self.closed.load(Ordering::SeqCst) {
                    stream.write_all(&more)?;
                }
                Ok(())
            }
            Answer::Redirect(to) => head(stream, "302 Found", 0, &format!("Location: {to}\r\n")),
        }
    }

    /// Waits, but not beyond the test's end.
    fn pause(&self, pause: Duration) {
        let closing = self.closing.0.lock().unwrap();
        let _ = self.closing.1.wait_timeout_while(closing, pause, |closing| !*closing).unwrap();
    }
}

fn whole(stream: &mut TcpStream, bytes: &[u8], length: usize) -> std::io::Result<()> {
    head(stream, "200 OK", bytes.len(), "")?;
    stream.write_all(&bytes[..length])
}

fn head(stream: &mut TcpStream, status: &str, length: usize, more: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n")
}

/// The path and the first byte asked for.
fn read(stream: &TcpStream) -> Option<(String, Option<usize>)> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut from = None;
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let line = line.to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    Some((path, from))
}
