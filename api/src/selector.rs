//! The selector language of Calico: `all()`, `has(rack)`, `rack == 'a' && !(edge in {'x', 'y'})`.
//!
//! Grammar, loosest binding first: `||`, `&&`, `!`, then a term: `all()`, `global()`, `has(label)`, `label == 'v'`,
//! `label != 'v'`, `label in {'v', …}`, `label not in {'v', …}`, `label contains 'v'`, `label starts with 'v'`,
//! `label ends with 'v'`, or a selector in parentheses. The empty text selects everything.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while1};
use nom::character::complete::{char, multispace0, multispace1};
use nom::combinator::{all_consuming, map, value};
use nom::error::Error;
use nom::multi::{separated_list0, separated_list1};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

/// Deepest nesting of parentheses and negations that is read: deeper texts are refused, not recursed into.
const MAX_DEPTH: usize = 64;

/// A parsed selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    expression: Expression,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    All,
    Has(String),
    Equals(String, String),
    In(String, Vec<String>),
    Contains(String, String),
    StartsWith(String, String),
    EndsWith(String, String),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text stops making sense at some point.
    #[error(
        "selector '{text}' cannot be read from '{rest}' on: write for example all(), has(rack) or rack == 'a'"
    )]
    Syntax {
        /// The whole text.
        text: String,
        /// From where on it is not understood.
        rest: String,
    },
    /// Too many parentheses or negations inside each other.
    #[error("selector '{text}' is nested more than 64 deep")]
    TooDeep {
        /// The whole text.
        text: String,
    },
}

impl Selector {
    /// Whether labels satisfy the selector. `!=` and `not in` hold for a label that is absent, as in Calico.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.expression.matches(labels)
    }
}

impl Expression {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let with = |label: &String, test: &dyn Fn(&str) -> bool| labels.get(label).is_some_and(|v| test(v));
        match self {
            Self::All => true,
            Self::Has(label) => labels.contains_key(label),
            Self::Equals(label, wanted) => with(label, &|v| v == wanted),
            Self::In(label, wanted) => with(label, &|v| wanted.iter().any(|w| w == v)),
            Self::Contains(label, part) => with(label, &|v| v.contains(part.as_str())),
            Self::StartsWith(label, part) => with(label, &|v| v.starts_with(part.as_str())),
            Self::EndsWith(label, part) => with(label, &|v| v.ends_with(part.as_str())),
            Self::Not(inner) => !inner.matches(labels),
            Self::And(parts) => parts.iter().all(|p| p.matches(labels)),
            Self::Or(parts) => parts.iter().any(|p| p.matches(labels)),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self { text: text.to_owned(), expression: Expression::All });
        }
        if depth(text) > MAX_DEPTH {
            return Err(SelectorError::TooDeep { text: text.to_owned() });
        }
        match all_consuming(delimited(multispace0, or, multispace0)).parse(text) {
            Ok((_, expression)) => Ok(Self { text: text.to_owned(), expression }),
            Err(error) => {
                let rest = match error {
                    nom::Err::Error(e) | nom::Err::Failure(e) => e.input.to_owned(),
                    nom::Err::Incomplete(_) => String::new(),
                };
                Err(SelectorError::Syntax { text: text.to_owned(), rest })
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An upper bound of the recursion that reading the text can cause.
fn depth(text: &str) -> usize {
    let (mut now, mut most, mut negations) = (0_usize, 0, 0);
    for c in text.chars() {
        match c {
            '(' => {
                now += 1;
                most = most.max(now);
            }
            ')' => now = now.saturating_sub(1),
            '!' => negations += 1,
            _ => {}
        }
    }
    most + negations
}

fn or(input: &str) -> IResult<&str, Expression> {
    map(separated_list1(operator("||"), and), |parts| one_or(parts, Expression::Or)).parse(input)
}

fn and(input: &str) -> IResult<&str, Expression> {
    map(separated_list1(operator("&&"), not), |parts| one_or(parts, Expression::And)).parse(input)
}

fn one_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            many(parts)
        }
        None => Expression::All,
    }
}

fn not(input: &str) -> IResult<&str, Expression> {
    alt((map(preceded((char('!'), multispace0), not), |e| Expression::Not(Box::new(e))), term)).parse(input)
}

fn term(input: &str) -> IResult<&str, Expression> {
    alt((
        delimited((char('('), multispace0), or, (multispace0, char(')'))),
        value(Expression::All, call("all", multispace0)),
        value(Expression::All, call("global", multispace0)),
        map(call("has", delimited(multispace0, label, multispace0)), Expression::Has),
        comparison,
    ))
    .parse(input)
}

fn comparison(input: &str) -> IResult<&str, Expression> {
    let (input, name) = label(input)?;
    let (input, _) = multispace0(input)?;
    let n = || name.clone();
    alt((
        map(preceded(operator("=="), quoted), |v| Expression::Equals(n(), v)),
        map(preceded(operator("!="), quoted), |v| Expression::Not(Box::new(Expression::Equals(n(), v)))),
        map(preceded((tag("not"), multispace1, tag("in"), multispace0), set), |v| {
            Expression::Not(Box::new(Expression::In(n(), v)))
        }),
        map(preceded((tag("in"), multispace0), set), |v| Expression::In(n(), v)),
        map(preceded((tag("contains"), multispace0), quoted), |v| Expression::Contains(n(), v)),
        map(preceded((tag("starts"), multispace1, tag("with"), multispace0), quoted), |v| {
            Expression::StartsWith(n(), v)
        }),
        map(preceded((tag("ends"), multispace1, tag("with"), multispace0), quoted), |v| {
            Expression::EndsWith(n(), v)
        }),
    ))
    .parse(input)
}

fn operator<'a>(text: &'static str) -> impl Parser<&'a str, Output = &'a str, Error = Error<&'a str>> {
    delimited(multispace0, tag(text), multispace0)
}

fn call<'a, P, O>(name: &'static str, inner: P) -> impl Parser<&'a str, Output = O, Error = Error<&'a str>>
where
    P: Parser<&'a str, Output = O, Error = Error<&'a str>>,
{
    delimited((tag(name), multispace0, char('(')), inner, char(')'))
}

fn label(input: &str) -> IResult<&str, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    map(take_while1(allowed), str::to_owned).parse(input)
}

fn quoted(input: &str) -> IResult<&str, String> {
    let single = delimited(char('\''), take_till(|c| c == '\''), char('\''));
    let double = delimited(char('"'), take_till(|c| c == '"'), char('"'));
    map(alt((single, double)), str::to_owned).parse(input)
}

fn set(input: &str) -> IResult<&str, Vec<String>> {
    delimited((char('{'), multispace0), separated_list0(operator(","), quoted), (multispace0, char('}')))
        .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn selectors_choose_as_their_words_say() {
        let node = labels(&[("rack", "a"), ("kubernetes.io/os", "linux")]);
        for (text, want) in [
            ("", true),
            ("all()", true),
            ("rack == 'a'", true),
            ("rack=='b'", false),
            ("rack != \"b\"", true),
            ("zone != 'x'", true),
            ("has(rack)", true),
            ("!has(rack)", false),
            ("! has( zone )", true),
            ("rack in {'a', 'b'}", true),
            ("rack in {}", false),
            ("rack not in {'a','b'}", false),
            ("zone not in {'a'}", true),
            ("kubernetes.io/os contains 'inu'", true),
            ("kubernetes.io/os starts with 'lin' && kubernetes.io/os ends with 'x'", true),
            ("has(zone) || rack == 'a' && has(edge)", false),
            ("(has(zone) || rack == 'a') && !has(edge)", true),
            ("all() && !(rack == 'a')", false),
        ] {
            let selector: Selector = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(selector.matches(&node), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_says_from_where_on() {
        for text in
            ["rack ==", "rack = 'a'", "has()", "(all()", "all() &&", "rack == 'a", "rack == 'a' has(b)"]
        {
            assert!(matches!(text.parse::<Selector>(), Err(SelectorError::Syntax { .. })), "{text}");
        }
        let error = "rack == 'a' zone".parse::<Selector>().unwrap_err().to_string();
        assert!(error.contains("zone"), "{error}");
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_recursed_into() {
        let text = format!("{}all(){}", "(".repeat(5000), ")".repeat(5000));
        assert!(matches!(text.parse::<Selector>(), Err(SelectorError::TooDeep { .. })));
        assert!(matches!("!".repeat(500).parse::<Selector>(), Err(SelectorError::TooDeep { .. })));
    }
}
