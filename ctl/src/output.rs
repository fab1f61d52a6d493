//! One answer in the form that was asked for.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;
use crate::table::Table;

/// How to print an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    #[value(alias = "ps")]
    Table,
    /// The same with more columns
    Wide,
    /// The whole document
    Json,
    /// The whole document
    Yaml,
    /// Names only, one a line
    Name,
}

/// An answer: a document, and its shorter forms.
pub(crate) trait Answer: Serialize {
    /// The text for people.
    fn text(&self, wide: bool) -> Vec<Section>;
    /// What names the things in the answer.
    fn names(&self) -> Vec<String>;
}

/// A part of the text for people; parts are set apart by an empty line.
pub(crate) enum Section {
    /// Columns.
    Table(Table),
    /// Columns under a headline.
    Titled(String, Table),
    /// Words.
    Text(String),
}

/// Prints an answer on the standard output.
pub(crate) fn print(answer: &impl Answer, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Table => sections(&answer.text(false)),
        Format::Wide => sections(&answer.text(true)),
        Format::Json => json(answer)?,
        Format::Yaml => serde_saphyr::to_string(answer)
            .map_err(|error| Failure::Write { format: "YAML", reason: error.to_string() })?,
        Format::Name => answer.names().into_iter().map(|name| name + "\n").collect(),
    };
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

fn json(answer: &impl Answer) -> Result<String, Failure> {
    serde_json::to_string_pretty(answer)
        .map(|text| text + "\n")
        .map_err(|error| Failure::Write { format: "JSON", reason: error.to_string() })
}

fn sections(sections: &[Section]) -> String {
    let parts: Vec<String> = sections
        .iter()
        .map(|section| match section {
            Section::Table(table) => table.render(),
            Section::Titled(title, table) => format!("{title}\n{}", table.render()),
            Section::Text(text) => format!("{}\n", text.trim_end()),
        })
        .collect();
    parts.join("\n")
}
