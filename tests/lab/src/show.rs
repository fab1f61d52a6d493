//! What people see: the steps with their times, the tables, the hints.

mod tables;

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Instant;

pub use tables::render;

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

/// Prints steps as they go: on a terminal at their begin too, elsewhere a line at their end.
#[derive(Debug)]
pub struct Steps {
    terminal: bool,
    current: Mutex<Option<(String, Instant)>>,
}

impl Default for Steps {
    fn default() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), current: Mutex::new(None) }
    }
}

impl Steps {
    fn end(&self, mark: &str, colour: anstyle::AnsiColor) {
        let Ok(mut current) = self.current.lock() else { return };
        let Some((what, begin)) = current.take() else { return };
        let seconds = begin.elapsed().as_secs_f32();
        let style = colour.on_default();
        let back = if self.terminal { "\r\x1b[K" } else { "" };
        print(&format!("{back}  {style}{mark}{style:#} {what:<74} {seconds:>5.1} s\n"));
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
        self.end("✓", anstyle::AnsiColor::Green);
    }

    fn failed(&self) {
        self.end("✗", anstyle::AnsiColor::Red);
    }

    fn notice(&self, what: &str) {
        let style = anstyle::AnsiColor::Yellow.on_default();
        print(&format!("  {style}!{style:#} {what}\n"));
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

/// Writes to the terminal, without colours where it is none.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    // A reader that went away (`| head`) must not end the lab half way.
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}
