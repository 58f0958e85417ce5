//! Names and values out of a query string. What is not what it should be is told, not guessed.

use axum::http::StatusCode;

use super::problem::Problem;
use crate::parameters::BadParameter;

/// Pairs that are read; no question has as many.
const PAIRS_MAX: usize = 64;
/// Characters of a wrong piece that an error shows.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// `a=1&b=2` with `+` for a blank and `%` escapes of UTF-8.
pub(super) fn parse(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let pieces: Vec<&str> = query.split('&').filter(|piece| !piece.is_empty()).take(PAIRS_MAX + 1).collect();
    if pieces.len() > PAIRS_MAX {
        let detail = format!("the query has more than {PAIRS_MAX} parameters");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail));
    }
    pieces
        .into_iter()
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            let name = decode(name, true).map_err(|sentence| BadParameter::new(&shown(name), sentence))?;
            let value = decode(value, true).map_err(|sentence| BadParameter::new(&name, sentence))?;
            Ok((name, value))
        })
        .collect()
}

/// One part of a path.
pub(super) fn path_part(name: &str, part: &str) -> Result<(String, String), BadParameter> {
    let value = decode(part, false).map_err(|sentence| BadParameter::new(name, sentence))?;
    Ok((name.to_owned(), value))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS_MAX).collect()
}

fn decode(text: &str, plus_is_blank: bool) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_blank => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                    return Err(format!(
                        "% must be followed by two hexadecimal digits, found {:?}",
                        shown(text)
                    ));
                };
                (16 * high + low) as u8
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("it is not UTF-8: {:?}", shown(text)))?;
    if text.contains('\0') {
        return Err("it has the character NUL".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::parse;

    /// Sentence and parameter of a refusal.
    type Refused = (String, Option<String>);

    fn pairs(query: &str) -> Result<Vec<(String, String)>, Refused> {
        parse(query).map_err(|problem| (problem.detail, problem.parameter))
    }

    #[test]
    fn a2_5_names_and_values_are_decoded() {
        let wanted = [("q", "Đồ Sơn"), ("a b", "x=y"), ("flag", ""), ("", "v")];
        let wanted: Vec<_> =
            wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(pairs("q=%C4%90%E1%BB%93+S%c6%a1n&&a%20b=x=y&flag&=v"), Ok(wanted));
        assert_eq!(pairs(""), Ok(Vec::new()));
    }

    #[test]
    fn a2_5_bad_escapes_name_the_parameter() {
        for query in ["q=%", "q=%4", "q=%zz", "q=%+1", "q=%C4", "q=%ff%fe", "q=a%00b"] {
            let (detail, parameter) = pairs(query).unwrap_err();
            assert_eq!(parameter.as_deref(), Some("q"), "{query}: {detail}");
        }
        assert_eq!(pairs("%ff=1").unwrap_err().1.as_deref(), Some("%ff"));
        assert!(pairs(&"a=1&".repeat(65)).unwrap_err().0.contains("more than 64"));
    }
}
