//! What people see: the steps with their times, the tables, the hints.

mod matrix;
mod tables;

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Instant;

use serde::Serialize;

pub use tables::render;
pub(crate) use tables::table;

/// Told of each step of a lab.
pub trait Progress: Send + Sync {
    /// A step begins.
    fn begin(&self, what: &str);
    /// It is done.
    fn done(&self);
    /// It failed; the error comes on its own way.
    fn failed(&self);
    /// Something one should know, between steps.
    fn notice(&self, what: &str);
}

/// A step that is over.
#[derive(Debug, Clone, Serialize)]
pub struct StepTime {
    /// What was done.
    pub step: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether it succeeded.
    pub good: bool,
}

/// Prints steps as they go: on a terminal at their begin too, elsewhere a line at their end. Remembers their times.
#[derive(Debug)]
pub struct Steps {
    terminal: bool,
    quiet: bool,
    current: Mutex<Option<(String, Instant)>>,
    past: Mutex<Vec<StepTime>>,
    notices: Mutex<Vec<String>>,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            quiet: false,
            current: Mutex::default(),
            past: Mutex::default(),
            notices: Mutex::default(),
        }
    }
}

impl Steps {
    /// Prints nothing, and only remembers: for output that is a document.
    pub fn quiet() -> Self {
        Self { quiet: true, terminal: false, ..Self::default() }
    }

    /// The steps so far.
    pub fn past(&self) -> Vec<StepTime> {
        self.past.lock().map(|past| past.clone()).unwrap_or_default()
    }

    /// What was to be known.
    pub fn notices(&self) -> Vec<String> {
        self.notices.lock().map(|notices| notices.clone()).unwrap_or_default()
    }

    fn end(&self, good: bool) {
        let Ok(mut current) = self.current.lock() else { return };
        let Some((step, begin)) = current.take() else { return };
        let seconds = begin.elapsed().as_secs_f64();
        if !self.quiet {
            let (mark, colour) =
                if good { ("✓", anstyle::AnsiColor::Green) } else { ("✗", anstyle::AnsiColor::Red) };
            let style = colour.on_default();
            let back = if self.terminal { "\r\x1b[K" } else { "" };
            print(&format!("{back}  {style}{mark}{style:#} {step:<74} {seconds:>5.1} s\n"));
        }
        if let Ok(mut past) = self.past.lock() {
            past.push(StepTime { step, seconds: (seconds * 1000.0).round() / 1000.0, good });
        }
    }
}

impl Progress for Steps {
    fn begin(&self, what: &str) {
        if self.terminal {
            print(&format!("  … {what}"));
        }
        if let Ok(mut current) = self.current.lock() {
            *current = Some((what.to_owned(), Instant::now()));
        }
    }

    fn done(&self) {
        self.end(true);
    }

    fn failed(&self) {
        self.end(false);
    }

    fn notice(&self, what: &str) {
        if !self.quiet {
            let style = anstyle::AnsiColor::Yellow.on_default();
            print(&format!("  {style}!{style:#} {what}\n"));
        }
        if let Ok(mut notices) = self.notices.lock() {
            notices.push(what.to_owned());
        }
    }
}

/// Says nothing: for tests, whose errors tell enough.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str) {}

    fn done(&self) {}

    fn failed(&self) {}

    fn notice(&self, _what: &str) {}
}

/// Breaks a list at its commas, into lines of at most 100 columns.
pub fn folded(list: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for part in list.split_inclusive(", ") {
        let length = part.chars().count();
        if column > 0 && column + part.trim_end().chars().count() > usize::from(tables::WIDTH) {
            text.truncate(text.trim_end().len());
            text.push('\n');
            column = 0;
        }
        text.push_str(part);
        column += length;
    }
    text
}

/// Says a line that stands for the one before: over it on a terminal, elsewhere below it, and only if it differs.
pub fn replace(before: &str, line: &str) -> String {
    if before != line {
        let text =
            if std::io::stdout().is_terminal() { format!("\r\x1b[K{line}") } else { format!("{line}\n") };
        print(&text);
    }
    line.to_owned()
}

/// Writes to the terminal, without colours where it is none.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    // A reader that went away (`| head`) must not end the lab half way.
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_broken_at_its_commas() {
        let part = "x".repeat(40);
        assert_eq!(folded(&part), part);
        let three = folded(&[part.as_str(); 3].join(", "));
        assert_eq!(three, format!("{part}, {part},\n{part}"));
    }
}
