//! As much HTTP/1.1 as downloads need: GET and HEAD, one byte range, one answer per connection.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::fault::Faults;
use super::{Content, Shared};

/// Bytes read and written at a time.
const CHUNK: usize = 64 * 1024;
/// A client that says nothing for this long is let go.
const IDLE: Duration = Duration::from_secs(30);

/// One request as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path without query.
    pub path: String,
    /// The query without `?`, empty when there is none.
    pub query: String,
    /// The value of the `Range` header.
    pub range: Option<String>,
    /// The value of the `User-Agent` header.
    pub agent: Option<String>,
    /// The status it was answered with.
    pub status: u16,
}

/// Answers one connection.
pub fn serve(stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_read_timeout(Some(IDLE));
    // A client that went away in the middle is what many tests are about, not an error.
    let _ = answer(stream, shared);
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn answer(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(mut request) = read_request(stream)? else {
        return Ok(());
    };
    let (content, mut faults, date, location) = {
        let state = shared.state();
        let mut faults = Faults::default();
        for (_, fault) in state
            .faults
            .iter()
            .filter(|(prefix, _)| request.path.starts_with(prefix))
        {
            faults.add(*fault);
        }
        faults.add_query(&request.query);
        let location = state.redirects.get(&request.path).cloned();
        let content = state.find(&request.path);
        (content, faults, state.date.clone(), location)
    };
    if location.is_some() {
        faults.status = Some(302);
    }
    std::thread::sleep(faults.delay);
    if faults.refuse {
        return Ok(());
    }
    let supported = matches!(request.method.as_str(), "GET" | "HEAD");
    let mut body = match &content {
        Some(content) if supported && faults.status.is_none() => Some(Body::open(content)?),
        _ => None,
    };
    let total = body.as_ref().map_or(0, |body| body.size);
    let range = request
        .range
        .as_deref()
        .filter(|_| !faults.no_range)
        .map(|text| parse(text, total));
    let (status, start, end) = match (faults.status, supported, &body, range) {
        (Some(status), ..) => (status, 0, 0),
        (_, false, ..) => (405, 0, 0),
        (_, _, None, _) => (404, 0, 0),
        (_, _, Some(_), None) => (200, 0, total),
        (_, _, Some(_), Some(Some((start, end)))) => (206, start, end),
        (_, _, Some(_), Some(None)) => (416, 0, 0),
    };
    request.status = status;
    let head_only = request.method == "HEAD";
    shared.state().requests.push(request);

    let mut head = format!(
        "HTTP/1.1 {status} {}\r\nConnection: close\r\n",
        reason(status)
    );
    head += &format!(
        "Content-Length: {}\r\nAccept-Ranges: bytes\r\n",
        end - start
    );
    if let Some(date) = date {
        head += &format!("Date: {date}\r\n");
    }
    if let Some(location) = location {
        head += &format!("Location: {location}\r\n");
    }
    match status {
        206 => head += &format!("Content-Range: bytes {start}-{}/{total}\r\n", end - 1),
        416 => head += &format!("Content-Range: bytes */{total}\r\n"),
        _ => {}
    }
    let mut stream = stream;
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    match &mut body {
        Some(body) if !head_only && end > start => send(stream, body, (start, end), faults, shared),
        _ => Ok(()),
    }
}

/// Sends the bytes of a range as the faults allow.
fn send(
    mut stream: &TcpStream,
    body: &mut Body<'_>,
    (start, end): (u64, u64),
    faults: Faults,
    shared: &Shared,
) -> io::Result<()> {
    let stop = start + faults.truncate.or(faults.stall).unwrap_or(u64::MAX - start);
    let chunk = faults.rate.map_or(CHUNK, |rate| small_chunk(rate / 10));
    let mut buffer = vec![0; chunk];
    let began = Instant::now();
    let mut at = start;
    body.seek(start)?;
    while at < end.min(stop) && !shared.stopped() {
        let want = usize::try_from(end.min(stop) - at)
            .unwrap_or(chunk)
            .min(chunk);
        body.read_exact(&mut buffer[..want])?;
        if let Some(offset) = faults.corrupt
            && (at..at + want as u64).contains(&offset)
        {
            buffer[usize::try_from(offset - at).unwrap_or(0)] ^= 0xff;
        }
        stream.write_all(&buffer[..want])?;
        at += want as u64;
        if let Some(rate) = faults.rate {
            let due = Duration::from_millis((at - start).saturating_mul(1000) / rate);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    if faults.stall.is_some() && at < end {
        while !shared.stopped() && is_open(stream) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn small_chunk(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(CHUNK).clamp(1, CHUNK)
}

/// False once the client has closed its side.
fn is_open(stream: &TcpStream) -> bool {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(10)));
    !matches!(stream.peek(&mut [0]), Ok(0))
}

fn read_request(stream: &TcpStream) -> io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream.take(64 * 1024));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        range: None,
        agent: None,
        status: 0,
    };
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            return Ok(Some(request));
        }
        let Some((name, value)) = header.split_once(':') else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.trim().to_owned()),
            "user-agent" => request.agent = Some(value.trim().to_owned()),
            _ => {}
        }
    }
}

/// The bytes `[start, end)` a range header names; none when it cannot be satisfied.
fn parse(header: &str, total: u64) -> Option<(u64, u64)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.checked_add(1)?.min(total)),
        (Ok(first), Err(_)) if last.is_empty() => (first, total),
        (Err(_), Ok(suffix)) if first.is_empty() => (total.saturating_sub(suffix), total),
        _ => return None,
    };
    (start < end).then_some((start, end))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "As Asked",
    }
}

/// An opened content.
struct Body<'a> {
    size: u64,
    source: Source<'a>,
}

enum Source<'a> {
    File(File),
    Bytes(io::Cursor<&'a [u8]>),
}

impl<'a> Body<'a> {
    fn open(content: &'a Content) -> io::Result<Self> {
        match content {
            Content::File(path) => {
                let file = File::open(path)?;
                Ok(Self {
                    size: file.metadata()?.len(),
                    source: Source::File(file),
                })
            }
            Content::Bytes(bytes) => Ok(Self {
                size: bytes.len() as u64,
                source: Source::Bytes(io::Cursor::new(bytes)),
            }),
        }
    }

    fn seek(&mut self, offset: u64) -> io::Result<()> {
        match &mut self.source {
            Source::File(file) => file.seek(SeekFrom::Start(offset)).map(drop),
            Source::Bytes(bytes) => bytes.seek(SeekFrom::Start(offset)).map(drop),
        }
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match &mut self.source {
            Source::File(file) => file.read_exact(buffer),
            Source::Bytes(bytes) => bytes.read_exact(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn ranges() {
        let table = [
            ("bytes=0-9", Some((0, 10))),
            ("bytes=90-", Some((90, 100))),
            ("bytes=90-900", Some((90, 100))),
            ("bytes=-5", Some((95, 100))),
            ("bytes=100-", None),
            ("bytes=5-4", None),
            ("bytes=-", None),
            ("lines=1-2", None),
        ];
        for (header, expected) in table {
            assert_eq!(parse(header, 100), expected, "{header}");
        }
    }
}
