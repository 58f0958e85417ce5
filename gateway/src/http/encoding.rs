//! Whole answers on their way out: ETag and 304, gzip.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use xxhash_rust::xxh3::xxh3_64;

/// Shorter answers are not worth it.
const GZIP_BYTES_MIN: usize = 1 << 10;
/// Of 9: most of the gain for little time.
const GZIP_LEVEL: u32 = 4;

/// What the client said about the form of the answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) gzip: bool,
    none_match: Vec<String>,
}

impl Wanted {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let texts = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        Self {
            gzip: texts(header::ACCEPT_ENCODING).flat_map(|text| text.split(',')).any(is_gzip),
            none_match: texts(header::IF_NONE_MATCH)
                .flat_map(|text| text.split(','))
                .map(|tag| opaque(tag).to_owned())
                .collect(),
        }
    }

    fn has(&self, tag: &str) -> bool {
        self.none_match.iter().any(|held| held == "*" || held == opaque(tag))
    }
}

/// A coding that a client lists, with or without a weight.
fn is_gzip(coding: &str) -> bool {
    let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
    let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.trim().parse() == Ok(0.0_f32));
    matches!(name.trim(), "gzip" | "x-gzip" | "*") && !refused
}

/// The tag without its mark for weakness, for that is how If-None-Match compares.
fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// An answer that never changes: its tag and its compressed form are made once.
#[derive(Debug)]
pub(super) struct Lasting {
    content_type: &'static str,
    tag: String,
    plain: Bytes,
    zipped: Option<Bytes>,
}

impl Lasting {
    pub(super) fn new(content_type: &'static str, plain: Bytes) -> Self {
        Self { content_type, tag: tag_of(&plain), zipped: gzip(&plain), plain }
    }

    /// The answer, or 304 where the client has it already.
    pub(super) fn answer(&self, wanted: &Wanted) -> Response<Body> {
        response(wanted, self.content_type, &self.tag, self.plain.clone(), |_| self.zipped.clone())
    }
}

/// The answer, or 304 where the client has it already.
pub(super) fn whole(wanted: &Wanted, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let tag = tag_of(&body);
    response(wanted, content_type, &tag, body.into(), gzip)
}

/// Weak: the same for the plain and the compressed form.
fn tag_of(body: &[u8]) -> String {
    format!("W/\"{:016x}\"", xxh3_64(body))
}

fn response(
    wanted: &Wanted,
    content_type: &'static str,
    tag: &str,
    body: Bytes,
    zip: impl FnOnce(&[u8]) -> Option<Bytes>,
) -> Response<Body> {
    let unchanged = wanted.has(tag);
    let zipped = if !unchanged && wanted.gzip { zip(&body) } else { None };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    if unchanged {
        headers.remove(header::CONTENT_TYPE);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if let Some(zipped) = zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        *response.body_mut() = Body::from(zipped);
    } else {
        *response.body_mut() = Body::from(body);
    }
    response
}

/// `None` where it is not worth it.
fn gzip(body: &[u8]) -> Option<Bytes> {
    if body.len() < GZIP_BYTES_MIN {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(GZIP_LEVEL));
    encoder.write_all(body).and_then(|()| encoder.finish()).ok().map(Bytes::from)
}

/// Writes through, or compresses on the way.
pub(super) enum Encoder<W: Write> {
    Plain(W),
    Gzip(Box<GzEncoder<W>>),
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(gzip: bool, writer: W) -> Self {
        if gzip {
            Self::Gzip(Box::new(GzEncoder::new(writer, Compression::new(GZIP_LEVEL))))
        } else {
            Self::Plain(writer)
        }
    }

    /// Writes what is held back, and gives the writer; `None` where that failed (then nobody listens any more).
    pub(super) fn finish(self) -> Option<W> {
        match self {
            Self::Plain(writer) => Some(writer),
            Self::Gzip(encoder) => encoder.finish().ok(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(writer) => writer.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(writer) => writer.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_gzip;

    #[test]
    fn a2_5_gzip_is_used_where_it_is_not_refused() {
        for coding in ["gzip", " gzip ", "gzip;q=0.5", "*", "x-gzip"] {
            assert!(is_gzip(coding), "{coding}");
        }
        for coding in ["", "br", "gzip;q=0", "gzip; q=0.0", "identity"] {
            assert!(!is_gzip(coding), "{coding}");
        }
    }
}
