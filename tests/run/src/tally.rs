//! Sums up test results from what test programs print.

use std::fmt;

/// Tests passed, failed and left out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Adds every `test result:` line of a log.
    pub(crate) fn read(log: &str) -> Self {
        let mut sum = Self::default();
        for line in log.lines() {
            let Some((_, counts)) = line.split_once("test result: ") else { continue };
            let counts = counts.split_once(". ").map_or(counts, |(_verdict, rest)| rest);
            for count in counts.split("; ") {
                let mut words = count.split_whitespace();
                let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
                let Ok(number) = number.parse::<u64>() else { continue };
                match what {
                    "passed" => sum.passed += number,
                    "failed" => sum.failed += number,
                    "ignored" => sum.skipped += number,
                    _ => {} // "measured" and "filtered out" are no verdicts
                }
            }
        }
        sum
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_line_of_a_log_is_added() {
        let log = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s\n\
            test result: FAILED. 3 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";
        assert_eq!(Tally::read(log), Tally { passed: 5, failed: 1, skipped: 4 });
    }

    #[test]
    fn other_lines_count_for_nothing() {
        assert_eq!(Tally::read("test wire::open ... ok\n12 passed; 3 failed\n"), Tally::default());
    }

    #[test]
    fn the_last_line_tells_skipped_tests_only_when_there_are_some() {
        assert_eq!(Tally { passed: 5, failed: 0, skipped: 0 }.to_string(), "5 passed, 0 failed");
        assert_eq!(Tally { passed: 5, failed: 1, skipped: 4 }.to_string(), "5 passed, 1 failed, 4 skipped");
    }
}
