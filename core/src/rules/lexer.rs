//! Text to tokens.

/// One token and the column it starts at, counted in characters from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'a> {
    pub kind: TokenKind<'a>,
    pub column: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TokenKind<'a> {
    Number(f64),
    Name(&'a str),
    Symbol(&'static str),
    /// Between quotes of either kind.
    Text(&'a str),
    End,
}

/// What is wrong and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub column: usize,
    pub message: String,
}

/// Words that are operators or constants and therefore no names.
pub(super) const WORDS: [&str; 5] = ["and", "or", "not", "true", "false"];

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 15] = ["<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",", "="];

/// What people write out of habit, and what to write here.
const HABITS: [(&str, &str); 8] = [
    ("&&", "write 'and'"),
    ("||", "write 'or'"),
    ("&", "write 'and'"),
    ("|", "write 'or'"),
    ("!", "write 'not'"),
    ("~", "write 'not'"),
    ("^", "write pow(x, y)"),
    ("[", "the value n bars ago is shift(x, n)"),
];

/// Ends with an [`TokenKind::End`] token.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut column = 1;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            column += 1;
            continue;
        }
        let (kind, n_bytes) = token(rest, first).map_err(|message| Fault { column, message })?;
        found.push(Token { kind, column });
        column += rest[..n_bytes].chars().count();
        rest = &rest[n_bytes..];
    }
    found.push(Token { kind: TokenKind::End, column });
    Ok(found)
}

/// The token at the start of the text and its length in bytes.
fn token(rest: &str, first: char) -> Result<(TokenKind<'_>, usize), String> {
    let follows = rest[first.len_utf8()..].chars().next();
    if first.is_ascii_digit() || (first == '.' && follows.is_some_and(|c| c.is_ascii_digit())) {
        return number(rest);
    }
    if is_name_start(first) {
        let n_bytes = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
        return Ok((TokenKind::Name(&rest[..n_bytes]), n_bytes));
    }
    if first == '"' || first == '\'' {
        let inner = &rest[1..];
        let end = inner.find(first).ok_or_else(|| format!("the quote {first} is not closed"))?;
        return Ok((TokenKind::Text(&inner[..end]), end + 2));
    }
    if let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
        if *symbol == "*" && rest.starts_with("**") {
            return Err("unexpected \"**\", write pow(x, y)".to_string());
        }
        return Ok((TokenKind::Symbol(symbol), symbol.len()));
    }
    match HABITS.iter().find(|(habit, _)| rest.starts_with(habit)) {
        Some((habit, advice)) => Err(format!("unexpected {habit:?}, {advice}")),
        None => Err(format!("unexpected character {first:?}")),
    }
}

/// A number: digits with an optional fraction and exponent; underscores may group digits.
fn number(rest: &str) -> Result<(TokenKind<'_>, usize), String> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| {
        let n = bytes[from..].iter().take_while(|b| b.is_ascii_digit() || **b == b'_').count();
        from + n
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1 + sign);
        }
    }
    let written = &rest[..end];
    if let Some(next) = rest[end..].chars().next()
        && (is_name_part(next) || next == '.')
    {
        return Err(format!("{:?} is not a number", format!("{written}{next}")));
    }
    match written.replace('_', "").parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((TokenKind::Number(value), end)),
        Ok(_) => Err(format!("{written} is too large")),
        Err(_) => Err(format!("{written:?} is not a number")),
    }
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_name_part(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether a text can stand as a name in a rule.
pub(super) fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(is_name_start) && text.chars().all(is_name_part) && !WORDS.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind<'_>> {
        tokens(text).expect("the text is well formed").into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn numbers_in_every_notation() {
        let n = TokenKind::Number;
        let expected = [n(1.0), n(0.5), n(2.5), n(1e-3), n(1000.0), n(3.0), TokenKind::End];
        assert_eq!(kinds("1 .5 2.50 1e-3 1_000 3."), expected);
    }

    #[test]
    fn columns_count_characters() {
        let found = tokens("收盘 <= x").expect("well formed");
        assert_eq!(found.iter().map(|t| t.column).collect::<Vec<_>>(), [1, 4, 7, 8]);
        assert_eq!(found[1].kind, TokenKind::Symbol("<="));
    }

    #[test]
    fn habits_get_advice() {
        for (text, advice) in
            [("a && b", "write 'and'"), ("!a", "write 'not'"), ("close[1]", "shift"), ("a**2", "pow")]
        {
            let fault = tokens(text).expect_err("not of this language");
            assert!(fault.message.contains(advice), "{fault:?}");
        }
        assert_eq!(tokens("a $").expect_err("unknown character").column, 3);
        assert!(tokens("1x").is_err() && tokens("1.2.3").is_err() && tokens("1e999").is_err());
    }
}
