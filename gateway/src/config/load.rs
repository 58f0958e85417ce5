//! From the four sources to a [`Config`].

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};
use super::kind::{Kind, Typed, ValueRefusal};
use super::settings::{Config, Section, sections};
use super::suggest::nearest;

/// `SENSOR_GATEWAY_MQTT__LISTEN` is `mqtt.listen`, `SENSOR_GATEWAY_DATA_DIR` is `data_dir`.
pub const ENVIRONMENT_PREFIX: &str = "SENSOR_GATEWAY_";

/// Longest piece of a wrong value that an error shows.
const FOUND_CHARACTERS_MAX: usize = 60;

/// What was typed, as text.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// What a command takes in place of the default of a setting, weaker than all that was typed: key, value.
    pub defaults: Vec<(&'static str, String)>,
    /// Name (for errors) and content of the configuration file.
    pub file: Option<(String, String)>,
    /// Variables of the environment; those without [`ENVIRONMENT_PREFIX`] are passed over.
    pub environment: Vec<(String, String)>,
    /// `section.key=value`, in the order of the command line.
    pub set: Vec<String>,
    /// Options with a name of their own: option, key, value.
    pub options: Vec<(&'static str, &'static str, String)>,
}

/// Checks all sources and puts them together.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let sections = sections();
    let mut reader = Reader { sections: &sections, entries: BTreeMap::new(), problems: Vec::new() };
    for (key, value) in &sources.defaults {
        reader.insert(key, Origin::Command, Typed::Untyped(value.clone()), quoted(value));
    }
    if let Some((name, text)) = &sources.file {
        reader.read_file(name, text);
    }
    for (variable, value) in &sources.environment {
        reader.read_variable(variable, value);
    }
    for assignment in &sources.set {
        reader.read_assignment(assignment);
    }
    for (option, key, value) in &sources.options {
        reader.insert(key, Origin::Option(option), Typed::Untyped(value.clone()), quoted(value));
    }
    let config = Config::read(&mut reader);
    if reader.problems.is_empty() {
        let together = config.check_together(&reader);
        reader.problems.extend(together);
    }
    if reader.problems.is_empty() { Ok(config) } else { Err(ConfigError { problems: reader.problems }) }
}

/// Where a value was typed.
#[derive(Clone, Debug)]
enum Origin {
    Command,
    File { name: String, line: usize },
    Variable(String),
    Set,
    Option(&'static str),
}

impl Origin {
    fn of(&self, key: &str) -> String {
        match self {
            Self::Command => format!("{key} (by default of this command)"),
            Self::File { name, line } => format!("{name}:{line}: {key}"),
            Self::Variable(variable) => variable.clone(),
            Self::Set => format!("--set {key}"),
            Self::Option(option) => (*option).to_owned(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    typed: Typed,
    /// The value as it stands in its source.
    found: String,
}

/// All entries by setting, the one in force last; collects what is wrong.
pub(super) struct Reader<'a> {
    sections: &'a [Section],
    entries: BTreeMap<String, Vec<Entry>>,
    problems: Vec<Problem>,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reader").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Reader<'_> {
    /// The value in force, or the default. Wrong entries become problems, also those that are overridden.
    pub(super) fn value<T: Clone>(&mut self, key: &str, kind: &Kind<T>) -> T {
        let mut value = kind.default.clone();
        for entry in self.entries.get(key).into_iter().flatten() {
            match (kind.read)(&entry.typed) {
                Ok(read) => value = read,
                Err(refusal) => self.problems.push(Problem {
                    origin: entry.origin.of(key),
                    sentence: match refusal {
                        ValueRefusal::NotExpected => {
                            format!("expected {}, found {}", kind.expected, entry.found)
                        }
                        ValueRefusal::Sentence(sentence) => sentence,
                    },
                }),
            }
        }
        value
    }

    /// Where the value in force was typed.
    pub(super) fn origin(&self, key: &str) -> String {
        match self.entries.get(key).and_then(|entries| entries.last()) {
            Some(entry) => entry.origin.of(key),
            None => format!("{key} (by default)"),
        }
    }

    fn problem(&mut self, origin: String, sentence: String) {
        self.problems.push(Problem { origin, sentence });
    }

    fn is_section(&self, name: &str) -> bool {
        !name.is_empty() && self.sections.iter().any(|section| section.name == name)
    }

    /// A section, or a setting that stands before the first one.
    fn is_known(&self, name: &str) -> bool {
        self.is_section(name) || self.keys().any(|key| key == name)
    }

    fn keys(&self) -> impl Iterator<Item = String> {
        self.sections.iter().flat_map(|section| section.settings.iter().map(super::Setting::path))
    }

    fn insert(&mut self, key: &str, origin: Origin, typed: Typed, found: String) {
        if self.keys().any(|known| known == key) {
            self.entries.entry(key.to_owned()).or_default().push(Entry { origin, typed, found });
        } else {
            self.unknown(origin.of(key), "setting", key, self.keys().collect());
        }
    }

    fn unknown(&mut self, origin: String, what: &str, name: &str, known: Vec<String>) {
        let hint = match nearest(name, &known) {
            Some(near) => format!("did you mean {near}?"),
            None => "`sensor-gateway config reference` lists all".to_owned(),
        };
        self.problem(origin, format!("unknown {what}; {hint}"));
    }

    fn read_file(&mut self, name: &str, text: &str) {
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                let sentence = error.message().replace('\n', "; ");
                return self.problem(format!("{name}:{line}"), format!("not valid TOML: {sentence}"));
            }
        };
        // The parser orders by name; people read from the top.
        let mut items: Vec<_> = table.iter().collect();
        items.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in items {
            let origin = |at: usize| Origin::File { name: name.to_owned(), line: line_of(text, at) };
            let key_origin = origin(key.span().start);
            match value.get_ref() {
                DeValue::Table(section) if self.is_section(key.get_ref()) => {
                    let mut items: Vec<_> = section.iter().collect();
                    items.sort_by_key(|(key, _)| key.span().start);
                    for (inner, value) in items {
                        let path = format!("{}.{}", key.get_ref(), inner.get_ref());
                        let (typed, found) = typed(value.get_ref(), text, value.span());
                        self.insert(&path, origin(inner.span().start), typed, found);
                    }
                }
                DeValue::Table(_) | DeValue::Array(_) if !self.is_known(key.get_ref()) => {
                    let known = self.sections.iter().map(|section| section.name.to_owned()).collect();
                    self.unknown(key_origin.of(key.get_ref()), "section", key.get_ref(), known);
                }
                _ if self.is_section(key.get_ref()) => {
                    let sentence = format!("expected a section [{}] with settings in it", key.get_ref());
                    self.problem(key_origin.of(key.get_ref()), sentence);
                }
                value_ref => {
                    let (typed, found) = typed(value_ref, text, value.span());
                    self.insert(key.get_ref(), key_origin, typed, found);
                }
            }
        }
    }

    /// Two underscores make a setting, so a typing error is told. Other variables with the prefix may belong to somebody
    /// else (Kubernetes sets `SENSOR_GATEWAY_SERVICE_HOST` for a service of that name).
    fn read_variable(&mut self, variable: &str, value: &str) {
        let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { return };
        let key = name.replacen("__", ".", 1).to_ascii_lowercase();
        if name.contains("__") || self.keys().any(|known| known == key) {
            let origin = Origin::Variable(variable.to_owned());
            self.insert(&key, origin, Typed::Untyped(value.to_owned()), quoted(value));
            return;
        }
        // `SENSOR_GATEWAY_MQTT_LISTEN` is nobody else's.
        let bare = |text: &str| text.replace(['.', '_'], "");
        let meant = self.keys().find(|known| bare(known) == bare(&key)).map(|known| known.replace('.', "__"));
        if let Some(meant) = meant {
            let meant = meant.to_ascii_uppercase();
            self.problem(
                variable.to_owned(),
                format!("unknown setting; did you mean {ENVIRONMENT_PREFIX}{meant}?"),
            );
        }
    }

    fn read_assignment(&mut self, assignment: &str) {
        match assignment.split_once('=') {
            Some((key, value)) => {
                let value = value.trim();
                // A value may be quoted like in the file.
                let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
                self.insert(key.trim(), Origin::Set, Typed::Untyped(bare.to_owned()), quoted(bare));
            }
            None => self.problem(
                "--set".to_owned(),
                format!("expected section.key=value, found {}", quoted(assignment)),
            ),
        }
    }
}

fn typed(value: &DeValue<'_>, text: &str, span: Range<usize>) -> (Typed, String) {
    let typed = match value {
        DeValue::Integer(integer) => {
            Typed::Integer(i128::from_str_radix(integer.as_str(), integer.radix()).ok())
        }
        DeValue::String(string) => Typed::Text(string.as_ref().to_owned()),
        DeValue::Array(array) => {
            let texts = array.iter().map(|entry| match entry.get_ref() {
                DeValue::String(string) => Some(string.as_ref().to_owned()),
                _ => None,
            });
            texts.collect::<Option<_>>().map_or(Typed::Other, Typed::Texts)
        }
        _ => Typed::Other,
    };
    (typed, shortened(text.get(span).unwrap_or_default()))
}

fn quoted(value: &str) -> String {
    shortened(&format!("{value:?}"))
}

fn shortened(found: &str) -> String {
    let line = found.lines().next().unwrap_or_default();
    if line.len() == found.len() && line.chars().count() <= FOUND_CHARACTERS_MAX {
        return line.to_owned();
    }
    line.chars().take(FOUND_CHARACTERS_MAX).chain("…".chars()).collect()
}

/// Lines count from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}
