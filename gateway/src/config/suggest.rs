//! The nearest known name for one that is not known.

/// Nothing that long is a typing error, and comparing costs the product of both lengths.
const UNKNOWN_BYTES_MAX: usize = 200;

/// A name that is at most a third wrong, or that has the same last part in another section.
pub(super) fn nearest<'a>(unknown: &str, known: &'a [String]) -> Option<&'a str> {
    if unknown.len() > UNKNOWN_BYTES_MAX {
        return None;
    }
    let unknown = unknown.to_ascii_lowercase();
    let last_part = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |name: &String| {
        if last_part(name) == last_part(&unknown) { 1 } else { edits(&unknown, name) }
    };
    known
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| (distance(name), name))
        .filter(|(distance, _)| *distance <= (unknown.len() / 3).clamp(1, 6))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.as_str())
}

/// How many characters must be put in, taken out or changed (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a_char) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b_char) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a_char != *b_char);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
