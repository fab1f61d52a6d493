//! What is wrong with a file, and where.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A mistake at a place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From which byte to which.
    pub at: Range<usize>,
    /// What is wrong there and what would be right.
    pub what: String,
}

/// Why a configuration file is refused: where, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("reading the configuration file {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {}{what}", path.display(), if field.is_empty() { String::new() } else { format!("{field}: ") })]
    Mistaken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field, such as `peer[2].hold-time`: lists count from 1. Empty for the file as a whole.
        field: String,
        /// What is wrong and what would be right.
        what: String,
    },
}

impl FileError {
    pub(super) fn new(path: &Path, text: &str, mistake: Mistake) -> Self {
        let before = text.get(..mistake.at.start.min(text.len())).unwrap_or(text);
        FileError::Mistaken {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            field: field_at(text, &mistake.at),
            what: mistake.what,
        }
    }
}

impl Mistake {
    pub(crate) fn new(at: Range<usize>, what: impl Into<String>) -> Self {
        Mistake { at, what: what.into() }
    }

    pub(super) fn from_toml(error: &toml::de::Error) -> Self {
        let at = error.span().unwrap_or(0..0);
        Mistake { at, what: unknown_field(error.message()).unwrap_or_else(|| error.message().to_owned()) }
    }
}

/// Says of an unknown field which one may be meant. serde tells the names between backticks: the found one first, then
/// those it knows.
fn unknown_field(message: &str) -> Option<String> {
    let names = message.strip_prefix("unknown field ")?;
    let mut names = names.split('`').skip(1).step_by(2);
    let found = names.next()?;
    let known: Vec<&str> = names.collect();
    let meant = match nearest(found, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("the keys here are: {}", known.join(", ")),
    };
    Some(format!("there is no key `{found}`: {meant}"))
}

/// The known name that the found one may be a slip of.
pub(crate) fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|name| (strsim::damerau_levenshtein(found, name), name));
    let (distance, name) = scored.min()?;
    (distance <= (found.chars().count() / 3).max(1)).then_some(name)
}

/// The path of the deepest key or value around a place.
fn field_at(text: &str, at: &Range<usize>) -> String {
    let Ok(table) = DeTable::parse(text) else { return String::new() };
    let mut path = String::new();
    in_table(table.get_ref(), at, &mut path);
    path
}

fn in_table(table: &DeTable<'_>, at: &Range<usize>, path: &mut String) -> bool {
    for (key, value) in table {
        let mut inner = path.clone();
        if !inner.is_empty() {
            inner.push('.');
        }
        inner.push_str(key.get_ref());
        // A table's own span may be its header alone, so what lies inside is asked first.
        if in_value(value, at, &mut inner) || covers(&key.span(), at) {
            *path = inner;
            return true;
        }
    }
    false
}

fn in_value(value: &Spanned<DeValue<'_>>, at: &Range<usize>, path: &mut String) -> bool {
    let inside = match value.get_ref() {
        DeValue::Table(table) => in_table(table, at, path),
        DeValue::Array(elements) => elements.iter().enumerate().any(|(place, element)| {
            let mut inner = format!("{path}[{}]", place + 1);
            let found = in_value(element, at, &mut inner);
            if found {
                *path = inner;
            }
            found
        }),
        _ => false,
    };
    inside || covers(&value.span(), at)
}

fn covers(span: &Range<usize>, at: &Range<usize>) -> bool {
    span.start <= at.start && at.start < span.end.max(span.start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Source;

    fn refused(text: &str) -> String {
        Source::new(Path::new("bgpd.toml"), text).parse().unwrap_err().to_string()
    }

    const HEAD: &str = "[speaker]\nas = 1\nrouter-id = \"1.1.1.1\"\n";

    #[test]
    fn a_misspelt_key_is_refused_with_the_one_that_is_meant() {
        let said = refused(&format!("{HEAD}[[peer]]\naddress = \"10.0.0.2\"\nas = 2\nhold-tiem = 9\n"));
        assert_eq!(
            said,
            "bgpd.toml:7: peer[1].hold-tiem: there is no key `hold-tiem`: did you mean `hold-time`?"
        );
        let said = refused(&format!("{HEAD}frobnicate = true\n"));
        assert!(
            said.starts_with(
                "bgpd.toml:4: speaker.frobnicate: there is no key `frobnicate`: the keys here are: as, "
            ),
            "{said}"
        );
        let said = refused(&format!("{HEAD}[peers]\n"));
        assert_eq!(said, "bgpd.toml:4: peers: there is no key `peers`: did you mean `peer`?");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_by_line_and_field() {
        let said = refused("[speaker]\nas = \"one\"\nrouter-id = \"1.1.1.1\"\n");
        assert!(said.starts_with("bgpd.toml:2: speaker.as: "), "{said}");
        let said = refused(&format!(
            "{HEAD}[[peer]]\naddress = \"10.0.0.2\"\nas = 2\n[[peer]]\naddress = \"10.0.0.300\"\nas = 3\n"
        ));
        assert_eq!(
            said,
            "bgpd.toml:8: peer[2].address: `10.0.0.300` is no IP address: write for example 192.0.2.1 or 2001:db8::1"
        );
        let said = refused(&format!(
            "{HEAD}[[policy]]\nname = \"p\"\ndefault = \"reject\"\n[[policy.rule]]\nprefixes = [\n  \"10.0.0.0/8\",\n  \"10.0.0.0/8 le 7\",\n]\naction = \"accept\"\n"
        ));
        assert!(said.starts_with("bgpd.toml:10: policy[1].rule[1].prefixes[2]: "), "{said}");
    }

    #[test]
    fn a_missing_value_names_its_table() {
        let said = refused(&format!("{HEAD}[[peer]]\naddress = \"10.0.0.2\"\n"));
        assert_eq!(said, "bgpd.toml:4: peer[1]: missing field `as`");
    }

    #[test]
    fn text_that_is_no_toml_is_told_by_line() {
        assert!(refused("[speaker]\nas = = 1\n").starts_with("bgpd.toml:2: "));
    }
}
