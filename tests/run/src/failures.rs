//! Which tests failed, and what they said, out of the log of a test run.
//!
//! With `--no-fail-fast` the end of such a log is about programs that came long after the one that failed, so that its last
//! lines explain nothing.

/// Lines shown of what one failed test printed: from its panic on, or else its last ones.
const LINES_EACH: usize = 25;
/// Failed tests shown with what they printed; of further ones only the names.
const SHOWN: usize = 4;

/// One failed test.
#[derive(Debug, PartialEq, Eq)]
struct Failure<'a> {
    name: &'a str,
    printed: Vec<&'a str>,
}

/// The failed tests of a log, in their order, as text for a person; nothing if the log names none.
pub(crate) fn explain(log: &str) -> Option<String> {
    let failures = read(log);
    if failures.is_empty() {
        return None;
    }
    let mut text = Vec::new();
    for Failure { name, printed } in failures.iter().take(SHOWN) {
        text.push(format!("failed: {name}"));
        let panic = printed.iter().position(|line| line.contains("panicked at"));
        let first = panic.unwrap_or(printed.len().saturating_sub(LINES_EACH));
        let shown = printed.iter().skip(first).take(LINES_EACH);
        text.extend(shown.map(|line| format!("    {line}")));
        if printed.len() > LINES_EACH {
            text.push(format!("    ({LINES_EACH} of {} lines; the others are in the log)", printed.len()));
        }
    }
    text.extend(failures.iter().skip(SHOWN).map(|failure| format!("failed: {}", failure.name)));
    Some(text.join("\n"))
}

/// Reads `test NAME ... FAILED` lines and the parts headed `---- NAME stdout ----`.
fn read(log: &str) -> Vec<Failure<'_>> {
    let mut failures: Vec<Failure<'_>> = Vec::new();
    let mut open: Option<usize> = None;
    for line in log.lines() {
        if let Some(name) = failed_line(line) {
            failures.push(Failure { name, printed: Vec::new() });
        } else if let Some(name) = heading(line) {
            // Two programs may have tests of one name: the last is the one that is being told of.
            open = failures.iter().rposition(|failure| failure.name == name);
        } else if ends_the_parts(line) {
            open = None;
        } else if let Some(failure) = open.and_then(|at| failures.get_mut(at)) {
            failure.printed.push(line);
        }
    }
    for failure in &mut failures {
        while failure.printed.last().is_some_and(|line| line.trim().is_empty()) {
            failure.printed.pop();
        }
    }
    failures
}

/// The name in `test NAME ... FAILED`; what follows the verdict, such as a time, does not matter.
fn failed_line(line: &str) -> Option<&str> {
    let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    verdict.starts_with("FAILED").then_some(name)
}

fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// The list of names below the parts, and the result of the whole program.
fn ends_the_parts(line: &str) -> bool {
    line == "failures:" || line.starts_with("test result: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
running 3 tests
test a::fine ... ok
test b::broken ... FAILED
test c::slow ... FAILED <12.1s>

failures:

---- b::broken stdout ----
thread 'b::broken' panicked at src/b.rs:7:9:
left: 1
right: 2

---- c::slow stdout ----
out of patience


failures:
    b::broken
    c::slow

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running unittests src/lib.rs (target/debug/deps/other)

running 1 test
test d::fine ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn failed_tests_are_told_with_what_they_printed_and_nothing_else_is() {
        let text = explain(LOG).unwrap();
        let wanted = "failed: b::broken\n    thread 'b::broken' panicked at src/b.rs:7:9:\n    left: 1\n    right: 2\n\
                      failed: c::slow\n    out of patience";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_log_without_failed_tests_explains_nothing() {
        assert_eq!(explain("error[E0308]: mismatched types\ntest x ... ok\n"), None);
    }

    #[test]
    fn of_a_long_story_the_panic_or_the_end_is_shown_and_of_many_failures_the_names() {
        let lines: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let mut log: String = (0..6).map(|n| format!("test t{n} ... FAILED\n")).collect();
        log += &format!("failures:\n---- t0 stdout ----\n{lines}failures:\n");
        log += &format!("failures:\n---- t1 stdout ----\nthread 't1' panicked at b.rs\n{lines}failures:\n");
        let text = explain(&log).unwrap();
        let (first, second) = text.split_once("failed: t1").unwrap();
        assert!(first.contains("line 75\n") && !first.contains("line 74\n"), "{first}");
        assert!(first.contains("(25 of 100 lines"), "{first}");
        assert!(second.contains("panicked") && second.contains("line 23\n") && !second.contains("line 24\n"));
        assert!(text.ends_with("failed: t3\nfailed: t4\nfailed: t5"), "{text}");
    }
}
