//! As much of an HTTP client as the portal needs: GET on the loopback address, with a time limit.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest answer that is read.
const MAX_BODY: u64 = 4 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

/// A connection that can be used again.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks for a path and reads the whole answer.
    pub fn get(&mut self, path: &str, keep_alive: bool) -> io::Result<Response> {
        self.ask(path, keep_alive)?;
        self.answer()
    }

    /// Asks for a path.
    pub fn ask(&mut self, path: &str, keep_alive: bool) -> io::Result<()> {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// Reads the whole answer.
    pub fn answer(&mut self) -> io::Result<Response> {
        let mut line = String::new();
        self.line(&mut line)?;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
        let status = line.split_whitespace().nth(1).and_then(|s| s.parse().ok()).ok_or_else(invalid)?;
        let (mut length, mut chunked) = (None, false);
        loop {
            self.line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse::<u64>().ok(),
                "transfer-encoding" => chunked = value.to_ascii_lowercase().contains("chunked"),
                _ => {}
            }
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                self.line(&mut line)?;
                let size = u64::from_str_radix(line.trim(), 16).map_err(|_| invalid())?;
                (&mut self.stream).take(size.min(MAX_BODY)).read_to_end(&mut body)?;
                self.line(&mut line)?;
                if size == 0 || body.len() as u64 > MAX_BODY {
                    break;
                }
            }
        } else {
            (&mut self.stream).take(length.unwrap_or(MAX_BODY).min(MAX_BODY)).read_to_end(&mut body)?;
        }
        Ok(Response { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn line(&mut self, line: &mut String) -> io::Result<()> {
        line.clear();
        let read = (&mut self.stream).take(16 << 10).read_line(line)?;
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<Response> {
    Client::connect(address, timeout)?.get(path, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answer(text: &'static str) -> io::Result<Response> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = [0; 1024];
            let _ = stream.read(&mut seen).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
        });
        let response = get(address, "/", Duration::from_secs(5));
        server.join().unwrap();
        response
    }

    #[test]
    fn answers_with_a_length_in_chunks_and_until_the_end() {
        let body = |text| answer(text).unwrap().body;
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more"), "hi");
        assert_eq!(body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "hi");
        assert_eq!(body("HTTP/1.1 404 No\r\n\r\nall of it"), "all of it");
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(answer("hello\r\n").is_err());
        assert!(answer("").is_err());
    }
}
