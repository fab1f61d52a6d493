//! Tables as `calicoctl` and `kubectl` print them: upper-case headers, no lines, never wrapped, so that a pipe gets
//! the same columns as a terminal does.
//!
//! Colour is put on after the layout: an escape sequence inside a cell would count as width. The stream that prints
//! drops the colour where there is no terminal.

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, presets};

/// Blanks between two columns.
const GAP: u16 = 3;

/// How a cell is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// No more than what it says.
    Plain,
    /// As it should be.
    Good,
    /// On its way, or worth a look.
    Unsure,
    /// Wrong.
    Bad,
}

impl Tone {
    fn style(self) -> Option<Style> {
        match self {
            Self::Plain => None,
            Self::Good => Some(AnsiColor::Green.on_default()),
            Self::Unsure => Some(AnsiColor::Yellow.on_default()),
            Self::Bad => Some(AnsiColor::Red.on_default()),
        }
    }
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell with a tone.
    pub(crate) fn toned(text: impl ToString, tone: Tone) -> Self {
        Self { text: shown(&text.to_string()), tone }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// Makes a text fit for one line of a terminal: what a peer wrote into a NOTIFICATION must not move the cursor.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Rows under headers.
#[derive(Debug)]
pub(crate) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(headers: impl IntoIterator<Item = &'static str>) -> Self {
        Self { headers: headers.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are headers.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, with colours.
    pub(crate) fn render(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.headers.iter().copied());
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| comfy_table::Cell::new(&cell.text)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        let widths = table.column_max_content_widths();
        let mut text = String::new();
        for (number, line) in table.lines().enumerate() {
            let line = line.trim_end();
            match number.checked_sub(1).and_then(|row| self.rows.get(row)) {
                Some(row) => text.push_str(&coloured(line, row, &widths)),
                None => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }
}

fn coloured(line: &str, row: &[Cell], widths: &[u16]) -> String {
    let mut out = String::new();
    let mut rest = line;
    for (cell, width) in row.iter().zip(widths) {
        let Some((text, after)) = rest.split_at_checked(cell.text.len()) else { break };
        match cell.tone.style() {
            Some(style) => out.push_str(&format!("{style}{text}{style:#}")),
            None => out.push_str(text),
        }
        // The blanks up to the next column, one byte each; the layout counts what is seen, so they are counted here.
        let blanks = (after.len() - after.trim_start_matches(' ').len()).min(usize::from(width + GAP));
        out.push_str(&after[..blanks]);
        rest = &after[blanks..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "STATE", "NOTE"]);
        table.row(["node-1".into(), Cell::toned("up", Tone::Good), "".into()]);
        table.row(["n".into(), Cell::toned("down", Tone::Bad), "no\nroute\u{1b}[2J".into()]);
        table
    }

    #[test]
    fn columns_stand_three_blanks_apart_and_lines_end_with_their_text() {
        let plain = anstream::adapter::strip_str(&table().render()).to_string();
        assert_eq!(plain, "NAME     STATE   NOTE\nnode-1   up\nn        down    no route [2J\n");
    }

    #[test]
    fn colour_is_on_the_toned_cell_alone() {
        let text = table().render();
        assert!(text.contains("node-1   \u{1b}[32mup\u{1b}[0m\n"), "{text:?}");
    }

    #[test]
    fn an_empty_cell_does_not_shift_the_colour() {
        let mut table = Table::new(["A", "B", "C"]);
        table.row(["".into(), "".into(), Cell::toned("x", Tone::Bad)]);
        table.row(["long".into(), "longer".into(), "y".into()]);
        let text = table.render();
        assert!(text.contains("\u{1b}[31mx\u{1b}[0m"), "{text:?}");
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            plain.lines().nth(1).unwrap().find('x'),
            plain.lines().nth(2).unwrap().find('y'),
            "{plain}"
        );
    }
}
