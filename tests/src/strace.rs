//! Reads what `strace -f -y` wrote, and says whether a PUBACK left before the sync of its message had returned.

use std::collections::HashMap;

/// One system call. `start` and `end` are line numbers of the trace: a call that another thread interrupted in the output
/// has two lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    /// Everything between the parentheses.
    pub args: String,
    /// -1 for an error and for what is no number.
    pub result: i64,
    pub start: usize,
    pub end: usize,
}

impl Call {
    /// The descriptor that is the first argument, and its path as `-y` shows it.
    fn file(&self) -> Option<(i64, &str)> {
        let digits = self.args.find(|character: char| !character.is_ascii_digit()).unwrap_or(self.args.len());
        let number = self.args[..digits].parse().ok()?;
        let path = self.args[digits..].strip_prefix('<').and_then(|rest| rest.split_once('>'));
        Some((number, path.map_or("", |(path, _)| path)))
    }
}

/// Where in the trace a message became durable and where its PUBACK was handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckOrder {
    pub packet_id: u16,
    pub synced: usize,
    pub acked: usize,
}

/// All calls that returned, in the order in which they began.
pub fn parse_strace(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
    for (line_no, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (line_no, beginning));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let ending = resumed.split_once("resumed>").map_or("", |(_, ending)| ending);
            if let Some((start, beginning)) = unfinished.remove(thread) {
                calls.extend(parse_call(&format!("{}{ending}", beginning.trim_end()), start, line_no));
            }
        } else {
            calls.extend(parse_call(rest, line_no, line_no));
        }
    }
    calls.sort_by_key(|call| call.start);
    calls
}

fn parse_call(text: &str, start: usize, end: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    // Payloads may contain this text, too; the result stands behind the last one.
    let (args, result) = rest.rsplit_once(") = ").or_else(|| {
        let (args, result) = rest.rsplit_once(" = ")?;
        Some((args.trim_end().strip_suffix(')')?, result))
    })?;
    let result = result.split(['<', ' ']).next().unwrap_or_default().parse().unwrap_or(-1);
    Some(Call { name: name.to_owned(), args: args.to_owned(), result, start, end })
}

/// Finds for each (marker in the payload, packet id) the sync of the journal frame with that payload and the PUBACK with
/// that id, and demands that the first one returned before the second one was called.
pub fn check_ack_order(calls: &[Call], messages: &[(&[u8], u16)]) -> Result<Vec<AckOrder>, String> {
    messages.iter().map(|(marker, packet_id)| check_message(calls, marker, *packet_id)).collect()
}

fn check_message(calls: &[Call], marker: &[u8], packet_id: u16) -> Result<AckOrder, String> {
    let synced = synced_at(calls, marker)?;
    let [high, low] = packet_id.to_be_bytes();
    let acked = calls
        .iter()
        .find(|call| {
            let is_send = matches!(call.name.as_str(), "write" | "writev" | "sendto" | "sendmsg" | "send");
            is_send && !is_journal(call) && contains(&strings(&call.args), &[0x40, 2, high, low])
        })
        .ok_or_else(|| format!("no PUBACK of packet {packet_id} is in the trace"))?
        .start;
    if acked <= synced {
        return Err(format!(
            "the PUBACK of packet {packet_id} left in line {acked}, its sync returned in line {synced}"
        ));
    }
    Ok(AckOrder { packet_id, synced, acked })
}

fn is_journal(call: &Call) -> bool {
    call.file().is_some_and(|(_, path)| path.contains("/journal/"))
}

/// The line in which the frame with `marker` was durable.
fn synced_at(calls: &[Call], marker: &[u8]) -> Result<usize, String> {
    let name = String::from_utf8_lossy(marker).into_owned();
    let write = calls
        .iter()
        .find(|call| {
            call.name.starts_with("pwrite")
                && is_journal(call)
                && call.result > 0
                && contains(&strings(&call.args), marker)
        })
        .ok_or_else(|| format!("no write of {name} into the journal is in the trace"))?;
    let (descriptor, _) = write.file().ok_or_else(|| format!("the write of {name} has no descriptor"))?;
    let opened = calls
        .iter()
        .rev()
        .find(|call| call.name.starts_with("open") && call.result == descriptor && call.end < write.start);
    let flags = opened.map_or("", |call| call.args.rsplit_once('"').map_or("", |(_, flags)| flags));
    if flags.contains("O_DSYNC") || flags.contains("O_SYNC") {
        return Ok(write.end);
    }
    calls
        .iter()
        .find(|call| {
            matches!(call.name.as_str(), "fdatasync" | "fsync")
                && call.start > write.end
                && call.result == 0
                && call.file().is_some_and(|(other, _)| other == descriptor)
        })
        .map(|call| call.end)
        .ok_or_else(|| format!("the write of {name} was never synced"))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The bytes of all quoted strings, with C's escapes undone.
fn strings(args: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = args.as_bytes();
    let mut quoted = false;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                let digits = rest.iter().take(3).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
                if digits > 0 {
                    let value =
                        rest[..digits].iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                    bytes.push(value as u8);
                    rest = &rest[digits..];
                } else if let Some((&escaped, tail)) = rest.split_first() {
                    bytes.push(match escaped {
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'v' => 0x0b,
                        b'f' => 0x0c,
                        other => other,
                    });
                    rest = tail;
                }
            }
            byte if quoted => bytes.push(byte),
            _ => {}
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str =
        r#"10 openat(AT_FDCWD, "/d/journal/1.seg", O_RDWR|O_DSYNC|O_DIRECT|O_CLOEXEC) = 9</d/journal/1.seg>"#;
    const OPEN_CACHED: &str =
        r#"10 openat(AT_FDCWD, "/d/journal/1.seg", O_RDWR|O_CLOEXEC) = 9</d/journal/1.seg>"#;
    const WRITE: &str = r#"11 pwritev(9</d/journal/1.seg>, [{iov_base="SGfr\0\1x-marker-1y", iov_len=4096}], 1, 4096) = 4096"#;
    const WRITE_BEGINS: &str = r#"11 pwritev(9</d/journal/1.seg>, [{iov_base="SGfr\0x-marker-1y", iov_len=4096}], 1, 4096 <unfinished ...>"#;
    const WRITE_ENDS: &str = "11 <... pwritev resumed>)        = 4096";
    const SYNC: &str = "11 fdatasync(9</d/journal/1.seg>)      = 0";
    const ACK: &str =
        r#"12 sendto(14<TCP:[127.0.0.1:1->127.0.0.1:2]>, "@\2\0\7", 4, MSG_NOSIGNAL, NULL, 0) = 4"#;

    fn check(lines: &[&str]) -> Result<Vec<AckOrder>, String> {
        check_ack_order(&parse_strace(&lines.join("\n")), &[(b"marker-1", 7)])
    }

    #[test]
    fn an_ack_behind_its_sync_is_right() {
        let right = AckOrder { packet_id: 7, synced: 1, acked: 2 };
        assert_eq!(check(&[OPEN, WRITE, ACK]), Ok(vec![right]));
        assert_eq!(
            check(&[OPEN_CACHED, WRITE, SYNC, ACK]),
            Ok(vec![AckOrder { synced: 2, acked: 3, ..right }])
        );
        let interrupted = [OPEN, WRITE_BEGINS, "13 close(3) = 0", WRITE_ENDS, ACK];
        assert_eq!(check(&interrupted), Ok(vec![AckOrder { synced: 3, acked: 4, ..right }]));
    }

    #[test]
    fn an_ack_before_its_sync_is_found() {
        for lines in [
            &[OPEN, ACK, WRITE][..],
            &[OPEN, WRITE_BEGINS, ACK, WRITE_ENDS],
            &[OPEN_CACHED, WRITE, ACK, SYNC],
        ] {
            assert!(check(lines).is_err_and(|sentence| sentence.contains("left in line")), "{lines:?}");
        }
    }

    #[test]
    fn what_is_missing_is_an_error() {
        assert!(check(&[OPEN, WRITE]).is_err_and(|sentence| sentence.contains("no PUBACK")));
        assert!(check(&[OPEN, ACK]).is_err_and(|sentence| sentence.contains("no write")));
        assert!(check(&[OPEN_CACHED, WRITE, ACK]).is_err_and(|sentence| sentence.contains("never synced")));
        let other_id = ACK.replace(r"\7", r"\10");
        assert!(check(&[OPEN, WRITE, &other_id]).is_err_and(|sentence| sentence.contains("no PUBACK")));
    }
}
