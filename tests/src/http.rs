//! The smallest HTTP client that will do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::DEADLINE;

/// Status and body of `GET path`.
pub fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = request(address, path).unwrap_or_else(|error| panic!("GET http://{address}{path}: {error}"));
    parse_answer(&answer)
        .unwrap_or_else(|| panic!("GET http://{address}{path}: not an HTTP answer: {answer:?}"))
}

/// The same where the gateway may be ending; `None` = no whole answer.
pub fn try_http_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    parse_answer(&request(address, path).ok()?)
}

fn request(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse_answer(answer: &[u8]) -> Option<(u16, String)> {
    let head_len = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = str::from_utf8(&answer[..head_len]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = &answer[head_len + 4..];
    let chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = if chunked { join_chunks(body)? } else { body.to_vec() };
    Some((status, String::from_utf8(body).ok()?))
}

fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_len = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = str::from_utf8(&rest[..line_len]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[line_len + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_chunked_answers_are_read() {
        assert_eq!(parse_answer(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello"), Some((200, "hello".to_owned())));
        let chunked =
            b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\n, w\r\n0\r\n\r\n";
        assert_eq!(parse_answer(chunked), Some((503, "hello, w".to_owned())));
        assert_eq!(parse_answer(&chunked[..chunked.len() - 8]), None);
        assert_eq!(parse_answer(b"HTTP/1.1"), None);
    }
}
