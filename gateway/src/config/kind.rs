//! Kinds of settings: default, limits, how a typed value becomes a checked one.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// A value as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A TOML integer; `None` where it is beyond any limit.
    Integer(Option<i128>),
    /// A TOML string.
    Text(String),
    /// A TOML array of strings.
    Texts(Vec<String>),
    /// From the environment or the command line, where nothing has a type.
    Untyped(String),
    /// A TOML value of another type.
    Other,
}

/// Why a value was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValueRefusal {
    /// It is not what [`Kind::expected`] says.
    NotExpected,
    /// It is, and may not be used all the same.
    Sentence(String),
}

type Read<T> = Box<dyn Fn(&Typed) -> Result<T, ValueRefusal>>;

pub(super) struct Kind<T> {
    pub(super) default: T,
    /// The default as it is written in TOML.
    pub(super) default_toml: String,
    /// Follows the word "expected".
    pub(super) expected: String,
    pub(super) read: Read<T>,
}

impl<T: fmt::Debug> fmt::Debug for Kind<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Kind")
            .field("default", &self.default)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// A whole number within limits.
pub(super) fn integer<T>(default: T, limits: RangeInclusive<T>) -> Kind<T>
where
    T: TryFrom<i128> + PartialOrd + Display + Copy + 'static,
{
    Kind {
        default,
        default_toml: default.to_string(),
        expected: format!("a whole number from {} to {}", limits.start(), limits.end()),
        read: Box::new(move |typed| within(typed, &limits)),
    }
}

/// A number of bytes that is a multiple of 4096.
pub(super) fn blocks(default: u64, limits: RangeInclusive<u64>) -> Kind<u64> {
    Kind {
        default,
        default_toml: default.to_string(),
        expected: format!("a multiple of 4096 from {} to {}", limits.start(), limits.end()),
        read: Box::new(move |typed| {
            within(typed, &limits)
                .and_then(|bytes| if bytes % 4096 == 0 { Ok(bytes) } else { Err(ValueRefusal::NotExpected) })
        }),
    }
}

fn within<T: TryFrom<i128> + PartialOrd>(
    typed: &Typed,
    limits: &RangeInclusive<T>,
) -> Result<T, ValueRefusal> {
    let number = match typed {
        Typed::Integer(number) => *number,
        Typed::Untyped(text) => text.parse().ok(),
        Typed::Text(_) | Typed::Texts(_) | Typed::Other => None,
    };
    number
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| limits.contains(number))
        .ok_or(ValueRefusal::NotExpected)
}

/// An address that only this machine reaches: there is no authentication yet (promise P7).
pub(super) fn loopback_address(port: u16) -> Kind<SocketAddr> {
    let default = SocketAddr::from(([127, 0, 0, 1], port));
    Kind {
        default,
        default_toml: format!("{:?}", default.to_string()),
        expected: format!("an address like {:?}", default.to_string()),
        read: Box::new(|typed| {
            let address: SocketAddr = text(typed)?.parse().map_err(|_| ValueRefusal::NotExpected)?;
            if address.ip().to_canonical().is_loopback() {
                Ok(address)
            } else {
                Err(ValueRefusal::Sentence(format!(
                    "other machines could reach {address}, and this build has no authentication yet: \
                     listen on 127.0.0.1 or [::1]"
                )))
            }
        }),
    }
}

/// The path of a directory.
pub(super) fn directory(default: &str) -> Kind<PathBuf> {
    Kind {
        default: PathBuf::from(default),
        default_toml: format!("{default:?}"),
        expected: "the path of a directory".to_owned(),
        read: Box::new(|typed| match text(typed)? {
            "" => Err(ValueRefusal::NotExpected),
            path if path.contains('\0') => Err(ValueRefusal::NotExpected),
            path => Ok(PathBuf::from(path)),
        }),
    }
}

/// The path of a file; empty = none.
pub(super) fn optional_file() -> Kind<PathBuf> {
    Kind {
        default: PathBuf::new(),
        default_toml: "\"\"".to_owned(),
        expected: "the path of a file, or nothing".to_owned(),
        read: Box::new(|typed| match text(typed)? {
            path if path.contains('\0') => Err(ValueRefusal::NotExpected),
            path => Ok(PathBuf::from(path)),
        }),
    }
}

/// The path of a directory; empty = none.
pub(super) fn optional_directory() -> Kind<PathBuf> {
    Kind { expected: "the path of a directory, or nothing".to_owned(), ..optional_file() }
}

/// A list of texts that are each read on their own; from environment and command line with commas between them.
pub(super) fn list<T>(expected: &str, entries_max: usize) -> Kind<Vec<T>>
where
    T: FromStr<Err = String> + 'static,
{
    Kind {
        default: Vec::new(),
        default_toml: "[]".to_owned(),
        expected: format!("a list of texts, {expected}, {entries_max} at most"),
        read: Box::new(move |typed| {
            let entries: Vec<&str> = match typed {
                Typed::Texts(texts) => texts.iter().map(String::as_str).collect(),
                Typed::Untyped(text) => untyped_entries(text),
                Typed::Text(_) | Typed::Integer(_) | Typed::Other => return Err(ValueRefusal::NotExpected),
            };
            if entries.len() > entries_max {
                return Err(ValueRefusal::NotExpected);
            }
            entries.into_iter().map(str::parse).collect::<Result<_, _>>().map_err(ValueRefusal::Sentence)
        }),
    }
}

/// `a, b`, or as in TOML: `["a", "b"]`.
fn untyped_entries(text: &str) -> Vec<&str> {
    let inner = text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let entries = inner.split(',').map(|entry| {
        let entry = entry.trim();
        entry.strip_prefix('"').and_then(|entry| entry.strip_suffix('"')).unwrap_or(entry)
    });
    entries.filter(|entry| !entry.is_empty()).collect()
}

fn text(typed: &Typed) -> Result<&str, ValueRefusal> {
    match typed {
        Typed::Text(text) | Typed::Untyped(text) => Ok(text),
        Typed::Integer(_) | Typed::Texts(_) | Typed::Other => Err(ValueRefusal::NotExpected),
    }
}
