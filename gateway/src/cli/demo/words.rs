//! How the demo writes numbers and sentences.

/// Longest line of prose and tables. Commands and addresses stay whole, so that they can be copied.
pub(super) const COLUMNS_MAX: usize = 78;

/// `1234567` → `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 message`, `12 messages`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// `850 µs`, `2.1 ms`, `1.4 s`.
pub(super) fn latency(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// `7 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Sentences on lines of at most [`COLUMNS_MAX`] characters, each line behind `indent`. A word that is longer has a line of its own.
pub(super) fn wrapped(text: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column == 0 {
            out.push_str(indent);
        } else if column + 1 + length > COLUMNS_MAX {
            out.push('\n');
            out.push_str(indent);
            column = 0;
        } else {
            out.push(' ');
            column += 1;
        }
        if column == 0 {
            column = indent.chars().count();
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// At most [`COLUMNS_MAX`] characters of a line, an ellipsis in place of what is cut off.
pub(super) fn cut(line: &str) -> String {
    if line.chars().count() <= COLUMNS_MAX {
        return line.to_owned();
    }
    line.chars().take(COLUMNS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([grouped(0), grouped(999), grouped(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([counted(1, "row"), counted(1200, "row")], ["1 row", "1,200 rows"]);
        assert_eq!([latency(850), latency(2_149), latency(1_400_000)], ["850 µs", "2.1 ms", "1.4 s"]);
        assert_eq!([duration(7), duration(200), duration(7_500)], ["7 s", "3 min 20 s", "2 h 5 min"]);
    }

    #[test]
    fn prose_breaks_between_words_at_the_limit() {
        let text = "Trạm ".repeat(60);
        let lines = wrapped(&text, "  ");
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS_MAX && line.starts_with("  Trạm")));
        assert!(lines.lines().next().is_some_and(|line| line.chars().count() > COLUMNS_MAX - 5), "{lines}");
        assert_eq!(lines.split_whitespace().count(), 60);
        let long = "x".repeat(100);
        assert_eq!(wrapped(&format!("a {long} b"), ""), format!("a\n{long}\nb"));
        assert_eq!(cut(&long).chars().count(), COLUMNS_MAX);
        assert_eq!(cut("đủ ngắn"), "đủ ngắn");
    }
}
