//! One notation for equal programs.

use super::program::{ExprIx, ExprKind, Program};
use std::fmt::Write;

/// One line per slot: its name and its expression with parentheses around every operator.
pub(super) fn of_program(program: &Program) -> String {
    let mut text = String::new();
    for slot in &program.slots {
        text.push_str(&slot.name);
        text.push_str(" = ");
        write_expr(program, slot.root, &mut text);
        text.push('\n');
    }
    text
}

/// Recurses no deeper than the parser allows a tree to be.
fn write_expr(program: &Program, ix: ExprIx, text: &mut String) {
    match &program.exprs[ix].kind {
        // Writing to a String does not fail.
        ExprKind::Number(value) => _ = write!(text, "{value:?}"),
        ExprKind::Bool(value) => _ = write!(text, "{value}"),
        ExprKind::BarIndex => text.push_str(super::BAR_INDEX),
        ExprKind::Series(series) => {
            text.push_str(program.series.get(*series as usize).map_or("", String::as_str));
        }
        ExprKind::Param(param) => text.push_str(program.params.get(*param).map_or("", String::as_str)),
        ExprKind::Negate(a) => write_list(program, "(-", &[*a], "", text),
        ExprKind::Not(a) => write_list(program, "(not ", &[*a], "", text),
        ExprKind::Arithmetic(op, a, b) => write_list(program, "(", &[*a, *b], op.symbol(), text),
        ExprKind::Logic(op, a, b) => write_list(program, "(", &[*a, *b], op.symbol(), text),
        ExprKind::Compare { ops, operands } => {
            text.push('(');
            for (i, &a) in operands.iter().enumerate() {
                if let Some(op) = i.checked_sub(1).and_then(|k| ops.get(k)) {
                    _ = write!(text, " {} ", op.symbol());
                }
                write_expr(program, a, text);
            }
            text.push(')');
        }
        ExprKind::On { space, x } => {
            let frequency = program.frequencies.get(usize::from(*space).wrapping_sub(1));
            // Writing to a String does not fail.
            _ = write!(text, "{}(\"", super::ON);
            if let Some(frequency) = frequency {
                _ = write!(text, "{frequency}");
            }
            text.push_str("\", ");
            write_expr(program, *x, text);
            text.push(')');
        }
        ExprKind::Call { def, args } => {
            text.push_str(def.name);
            text.push('(');
            for (i, &a) in args.iter().enumerate() {
                if i > 0 {
                    text.push_str(", ");
                }
                write_expr(program, a, text);
            }
            text.push(')');
        }
    }
}

fn write_list(program: &Program, open: &str, operands: &[ExprIx], symbol: &str, text: &mut String) {
    text.push_str(open);
    for (i, &a) in operands.iter().enumerate() {
        if i > 0 {
            _ = write!(text, " {symbol} ");
        }
        write_expr(program, a, text);
    }
    text.push(')');
}
