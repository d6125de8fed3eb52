//! Tokens to tree, by precedence climbing.
//!
//! From loose to tight: `or`, `and`, `not`, comparisons (which chain), `+ -`, `* / %`, unary `-`. Depth is limited, so
//! no text can exhaust the stack here or in a later pass.

use super::ast::{ArithmeticOp, Ast, AstIx, AstKind, AstNode, CompareOp, LogicOp};
use super::lexer::{Fault, Token, TokenKind, WORDS, tokens};

/// Longest way down a tree. Every pass after the parser may recurse this deep.
pub(super) const MAX_DEPTH: usize = 200;

/// Open parentheses, calls and prefix operators at one place; twice the depth, since a tree is printed with
/// parentheses around each operator and must be readable again.
const MAX_NESTING: usize = 2 * MAX_DEPTH + 16;

/// Bytes of one text.
const MAX_LENGTH: usize = 100_000;

const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARE: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const NEGATE: u8 = 7;

/// Reads one expression; its root is the last node.
pub(super) fn parse(text: &str) -> Result<Ast<'_>, Fault> {
    if text.len() > MAX_LENGTH {
        return Err(Fault { column: 1, message: format!("the text is longer than {MAX_LENGTH} bytes") });
    }
    if text.trim().is_empty() {
        return Err(Fault { column: 1, message: "an expression is expected, the text is empty".to_string() });
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, ast: Ast::default(), nesting: 0 };
    parser.expression(OR)?;
    let next = parser.peek();
    if next.kind == TokenKind::End {
        Ok(parser.ast)
    } else {
        Err(unexpected(&next, "an operator or the end"))
    }
}

struct Parser<'a> {
    /// Ends with an end token, which is never passed.
    tokens: Vec<Token<'a>>,
    at: usize,
    ast: Ast<'a>,
    nesting: usize,
}

enum Infix {
    Arithmetic(ArithmeticOp),
    Logic(LogicOp),
    Compare(CompareOp),
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).cloned().unwrap_or(Token { kind: TokenKind::End, column: 0 })
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += usize::from(token.kind != TokenKind::End);
        token
    }

    fn accept(&mut self, symbol: &'static str) -> bool {
        let found = self.peek().kind == TokenKind::Symbol(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), Fault> {
        if self.accept(symbol) { Ok(()) } else { Err(unexpected(&self.peek(), &format!("'{symbol}'"))) }
    }

    fn add(&mut self, kind: AstKind<'a>, column: usize) -> Result<AstIx, Fault> {
        // Long chains and argument lists become towers of pairs later, so their length counts as depth.
        let (below, own) = match &kind {
            AstKind::Number(_) | AstKind::Bool(_) | AstKind::Name(_) | AstKind::Text(_) => (0, 1),
            AstKind::Negate(a) | AstKind::Not(a) => (self.depth(*a), 1),
            AstKind::Arithmetic(_, a, b) | AstKind::Logic(_, a, b) => (self.depth(*a).max(self.depth(*b)), 1),
            AstKind::Compare { ops, operands } => {
                (operands.iter().map(|a| self.depth(*a)).max().unwrap_or(0), ops.len())
            }
            AstKind::Call { positional, keyword, .. } => {
                let all = positional.iter().chain(keyword.iter().map(|(_, _, a)| a));
                (all.map(|a| self.depth(*a)).max().unwrap_or(0), positional.len().saturating_sub(3).max(1))
            }
        };
        if below + own > MAX_DEPTH {
            return Err(too_deep(column));
        }
        self.ast.nodes.push(AstNode { kind, column, depth: below + own });
        Ok(self.ast.nodes.len() - 1)
    }

    fn depth(&self, ix: AstIx) -> usize {
        self.ast.nodes.get(ix).map_or(0, |node| node.depth)
    }

    /// An expression whose operators bind at least as tightly as `least`.
    fn expression(&mut self, least: u8) -> Result<AstIx, Fault> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(too_deep(self.peek().column));
        }
        let mut left = self.operand()?;
        while let Some((infix, strength)) = infix(&self.peek().kind)
            && strength >= least
        {
            let column = self.next().column;
            left = match infix {
                Infix::Arithmetic(op) => {
                    let right = self.expression(strength + 1)?;
                    self.add(AstKind::Arithmetic(op, left, right), column)?
                }
                Infix::Logic(op) => {
                    let right = self.expression(strength + 1)?;
                    self.add(AstKind::Logic(op, left, right), column)?
                }
                Infix::Compare(op) => self.comparison(left, op, column)?,
            };
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn comparison(&mut self, left: AstIx, op: CompareOp, column: usize) -> Result<AstIx, Fault> {
        let mut ops = vec![op];
        let mut operands = vec![left, self.expression(COMPARE + 1)?];
        while let Some((Infix::Compare(op), _)) = infix(&self.peek().kind) {
            self.next();
            ops.push(op);
            operands.push(self.expression(COMPARE + 1)?);
        }
        self.add(AstKind::Compare { ops, operands }, column)
    }

    fn operand(&mut self) -> Result<AstIx, Fault> {
        let token = self.next();
        let column = token.column;
        match token.kind {
            TokenKind::Number(value) => self.add(AstKind::Number(value), column),
            TokenKind::Text(text) => self.add(AstKind::Text(text), column),
            TokenKind::Symbol("-") => {
                let inner = self.expression(NEGATE)?;
                self.add(AstKind::Negate(inner), column)
            }
            TokenKind::Symbol("(") => {
                let inner = self.expression(OR)?;
                self.expect(")")?;
                Ok(inner)
            }
            TokenKind::Name("not") => {
                let inner = self.expression(NOT)?;
                self.add(AstKind::Not(inner), column)
            }
            TokenKind::Name("true") => self.add(AstKind::Bool(true), column),
            TokenKind::Name("false") => self.add(AstKind::Bool(false), column),
            TokenKind::Name(name) if !WORDS.contains(&name) => {
                if self.accept("(") {
                    self.call(name, column)
                } else {
                    self.add(AstKind::Name(name), column)
                }
            }
            _ => Err(unexpected(&token, "a number, a name or '('")),
        }
    }

    /// The arguments after the opening parenthesis: positional ones, then `name=value`.
    fn call(&mut self, function: &'a str, column: usize) -> Result<AstIx, Fault> {
        let mut positional = Vec::new();
        let mut keyword: Vec<(&'a str, usize, AstIx)> = Vec::new();
        let mut is_closed = self.accept(")");
        while !is_closed {
            let first = self.peek();
            let assigns = self.tokens.get(self.at + 1).is_some_and(|t| t.kind == TokenKind::Symbol("="));
            match first.kind {
                TokenKind::Name(name) if assigns => {
                    self.at += 2;
                    let value = self.expression(OR)?;
                    keyword.push((name, first.column, value));
                }
                _ if keyword.is_empty() => positional.push(self.expression(OR)?),
                _ => {
                    let message = "an argument without a name follows one with a name".to_string();
                    return Err(Fault { column: first.column, message });
                }
            }
            if self.accept(")") {
                is_closed = true;
            } else if !self.accept(",") {
                return Err(unexpected(&self.peek(), "',' or ')'"));
            }
        }
        self.add(AstKind::Call { function, positional, keyword }, column)
    }
}

fn infix(kind: &TokenKind<'_>) -> Option<(Infix, u8)> {
    Some(match *kind {
        TokenKind::Name("or") => (Infix::Logic(LogicOp::Or), OR),
        TokenKind::Name("and") => (Infix::Logic(LogicOp::And), AND),
        TokenKind::Symbol("+") => (Infix::Arithmetic(ArithmeticOp::Add), SUM),
        TokenKind::Symbol("-") => (Infix::Arithmetic(ArithmeticOp::Sub), SUM),
        TokenKind::Symbol("*") => (Infix::Arithmetic(ArithmeticOp::Mul), PRODUCT),
        TokenKind::Symbol("/") => (Infix::Arithmetic(ArithmeticOp::Div), PRODUCT),
        TokenKind::Symbol("%") => (Infix::Arithmetic(ArithmeticOp::Rem), PRODUCT),
        TokenKind::Symbol(symbol) => (Infix::Compare(CompareOp::of_symbol(symbol)?), COMPARE),
        _ => return None,
    })
}

fn unexpected(token: &Token<'_>, wanted: &str) -> Fault {
    let message = match token.kind {
        TokenKind::End => format!("the text ends where {wanted} is expected"),
        TokenKind::Number(value) => format!("unexpected {value}, {wanted} is expected"),
        TokenKind::Name(name) | TokenKind::Text(name) => format!("unexpected {name:?}, {wanted} is expected"),
        TokenKind::Symbol("=") => "unexpected \"=\", equality is written \"==\"".to_string(),
        TokenKind::Symbol(symbol) => format!("unexpected {symbol:?}, {wanted} is expected"),
    };
    Fault { column: token.column, message }
}

fn too_deep(column: usize) -> Fault {
    Fault { column, message: format!("the expression is nested deeper than {MAX_DEPTH} levels") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn faults_point_at_the_place() {
        for (text, column, part) in [
            ("", 1, "empty"),
            ("  ", 1, "empty"),
            ("close >", 8, "ends where"),
            ("(close", 7, "')'"),
            ("close = 3", 7, "\"==\""),
            ("sma(close 3)", 11, "','"),
            ("sma(x=1, 2)", 10, "without a name"),
            ("close close", 7, "an operator"),
            ("a and or b", 7, "'('"),
            ("sma(,)", 5, "'('"),
        ] {
            let fault = parse(text).expect_err(text);
            assert_eq!(fault.column, column, "{text}: {fault:?}");
            assert!(fault.message.contains(part), "{text}: {fault:?}");
        }
    }

    #[test]
    fn depth_is_limited() {
        for text in ["(".repeat(50_000), "-".repeat(50_000), "not ".repeat(20_000), "abs(".repeat(20_000)] {
            assert!(parse(&text).expect_err("too deep").message.contains("nested deeper"));
        }
        for text in [format!("max(1{})", ", 1".repeat(20_000)), format!("1{}", " < 1".repeat(20_000))] {
            assert!(parse(&text).expect_err("too long").message.contains("nested deeper"));
        }
        assert!(parse(&format!("max(1{})", ", 1".repeat(150))).is_ok());
        let long_sum = format!("close{}", " + 1".repeat(MAX_DEPTH));
        assert!(parse(&long_sum).expect_err("too deep").message.contains("nested deeper"));
        assert!(parse(&format!("close{}", " + 1".repeat(MAX_DEPTH - 1))).is_ok());
        assert!(parse(&"1".repeat(MAX_LENGTH + 1)).expect_err("too long").message.contains("longer"));
    }

    proptest! {
        #[test]
        fn never_panics_on_any_text(text in ".{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn never_panics_on_tokens(parts in prop::collection::vec(prop::sample::select(vec![
            "(", ")", ",", "=", "==", "<", "-", "+", "*", "%", "and", "or", "not", "true", "sma", "close", "1", "1e", ".", " ",
        ]), 0..400)) {
            let _ = parse(&parts.join(" "));
        }
    }
}
