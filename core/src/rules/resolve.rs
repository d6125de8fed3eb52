//! Names looked up, arguments put in order, types checked.

use super::ast::{Ast, AstIx, AstKind};
use super::functions::{self, ArgKind, Function, FunctionDef};
use super::lexer::Fault;
use super::names::suggestion;
use super::program::{Expr, ExprIx, ExprKind, Program, Slot, SlotDef, SlotKind};
use super::{BAR_INDEX, ON, STANDARD_SERIES, parser};
use crate::data::Frequency;
use crate::error::RuleError;

/// Reads one slot into the program.
pub(super) fn add_slot(program: &mut Program, slot: &SlotDef<'_>, extra: &[&str]) -> Result<(), RuleError> {
    let place = Place { slot: slot.name, text: slot.text };
    let ast = parser::parse(slot.text).map_err(|fault| place.syntax(fault))?;
    let slot_ix = program.slots.len();
    let mut resolver = Resolver {
        program,
        place,
        extra,
        slot_ix,
        found: Vec::with_capacity(ast.nodes.len()),
        spaces: Vec::new(),
    };
    resolver.spaces = resolver.spaces_of(&ast)?;
    let root = resolver.all(&ast)?;
    resolver.check_root(root, slot.kind)?;
    program.slots.push(Slot { name: slot.name.to_string(), kind: slot.kind, root });
    Ok(())
}

/// What every message names.
#[derive(Clone, Copy)]
struct Place<'a> {
    slot: &'a str,
    text: &'a str,
}

impl Place<'_> {
    fn syntax(self, fault: Fault) -> RuleError {
        RuleError::Syntax {
            slot: self.slot.to_string(),
            text: excerpt(self.text),
            column: fault.column,
            message: fault.message,
        }
    }

    fn type_error(self, column: usize, message: &str) -> RuleError {
        let message = format!("{message} at column {column} of {:?}", excerpt(self.text));
        RuleError::Type { slot: self.slot.to_string(), message }
    }

    fn unknown(self, column: usize, what: &'static str, name: &str, hint: &str) -> RuleError {
        let hint = format!(" at column {column} of {:?}{hint}", excerpt(self.text));
        RuleError::UnknownName { slot: self.slot.to_string(), what, name: excerpt(name), hint }
    }
}

/// The text itself, or its beginning when it would flood a message.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 400;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

struct Resolver<'a> {
    program: &'a mut Program,
    place: Place<'a>,
    extra: &'a [&'a str],
    slot_ix: usize,
    /// The expression of each tree node so far.
    found: Vec<ExprIx>,
    /// For each tree node, the bars that it is evaluated on.
    spaces: Vec<u8>,
}

/// The frequency and the expression of an `on(...)`, where both are there.
fn on_parts(kind: &AstKind<'_>) -> Option<[AstIx; 2]> {
    match kind {
        AstKind::Call { function, positional, keyword } if *function == ON && keyword.is_empty() => {
            <[AstIx; 2]>::try_from(positional.as_slice()).ok()
        }
        _ => None,
    }
}

impl Resolver<'_> {
    /// Adds all nodes in order, so that operands come before what is made of them; gives the root.
    fn all(&mut self, ast: &Ast<'_>) -> Result<ExprIx, RuleError> {
        let mut last = 0;
        for node in &ast.nodes {
            last = self.node(ast, &node.kind, node.column)?;
            self.found.push(last);
        }
        Ok(last)
    }

    /// Hands the frequency of each `on(...)` down to what it is applied to; what is made stands after its parts.
    fn spaces_of(&mut self, ast: &Ast<'_>) -> Result<Vec<u8>, RuleError> {
        let mut spaces = vec![0; ast.nodes.len()];
        let mut named = vec![false; ast.nodes.len()];
        for (ix, node) in ast.nodes.iter().enumerate().rev() {
            let own = spaces[ix];
            if let Some([frequency, x]) = on_parts(&node.kind) {
                if own != 0 {
                    return Err(self.place.type_error(node.column, "on does not stand inside another on"));
                }
                spaces[x] = self.space(ast, frequency)?;
                named[frequency] = true;
                continue;
            }
            if matches!(&node.kind, AstKind::Call { function, .. } if *function == ON) {
                return Err(self.bad_on(node.column));
            }
            let mut hand = |a: AstIx| spaces[a] = own;
            match &node.kind {
                AstKind::Text(text) if !named[ix] => {
                    let message =
                        format!("{text:?} in quotes is a frequency, which stands only in {ON}(\"1d\", x)");
                    return Err(self.place.syntax(Fault { column: node.column, message }));
                }
                AstKind::Number(_) | AstKind::Bool(_) | AstKind::Name(_) | AstKind::Text(_) => {}
                AstKind::Negate(a) | AstKind::Not(a) => hand(*a),
                AstKind::Arithmetic(_, a, b) | AstKind::Logic(_, a, b) => [*a, *b].into_iter().for_each(hand),
                AstKind::Compare { operands, .. } => operands.iter().copied().for_each(hand),
                AstKind::Call { positional, keyword, .. } => {
                    let named = keyword.iter().map(|(_, _, a)| *a);
                    positional.iter().copied().chain(named).for_each(hand);
                }
            }
        }
        Ok(spaces)
    }

    fn bad_on(&self, column: usize) -> RuleError {
        let message = format!("{ON} takes a frequency and an expression: {ON}(\"1d\", sma(close, 20))");
        self.place.syntax(Fault { column, message })
    }

    /// The place of a frequency among those of the program, from 1.
    fn space(&mut self, ast: &Ast<'_>, node: AstIx) -> Result<u8, RuleError> {
        let column = ast.nodes[node].column;
        let AstKind::Text(text) = ast.nodes[node].kind else {
            let message = format!("the frequency of {ON} is written in quotes, such as \"1d\"");
            return Err(self.place.syntax(Fault { column, message }));
        };
        let fault = |message: String| self.place.syntax(Fault { column, message });
        let frequency = Frequency::parse(text).map_err(|error| fault(error.to_string()))?;
        let known = &mut self.program.frequencies;
        let at = known.iter().position(|f| *f == frequency).unwrap_or_else(|| {
            known.push(frequency);
            known.len() - 1
        });
        u8::try_from(at + 1).map_err(|_| fault("more than 255 frequencies".to_owned()))
    }

    /// An expression of coarse bars; its value is undefined until the first of them is complete.
    fn on(&mut self, ast: &Ast<'_>, [_, node]: [AstIx; 2]) -> Result<ExprIx, RuleError> {
        let x = self.found[node];
        let Expr { is_condition, is_scalar, is_fixed, .. } = self.program.exprs[x];
        if is_scalar {
            let message = format!("x of {ON} must be a series, got a constant");
            return Err(self.place.type_error(ast.nodes[node].column, &message));
        }
        Ok(self.leaf(ExprKind::On { space: self.spaces[node], x }, is_condition, false, is_fixed))
    }

    fn node(&mut self, ast: &Ast<'_>, kind: &AstKind<'_>, column: usize) -> Result<ExprIx, RuleError> {
        Ok(match kind {
            AstKind::Number(value) => self.number(*value),
            AstKind::Bool(value) => self.leaf(ExprKind::Bool(*value), true, true, true),
            AstKind::Name(name) => self.name(name, column)?,
            // The frequency of an `on`, which is known already; nothing reads it.
            AstKind::Text(_) => self.number(0.0),
            AstKind::Negate(a) => {
                let a = self.wanted(ast, *a, false, "the operand of '-'")?;
                self.made_of(ExprKind::Negate(a), false, &[a])
            }
            AstKind::Not(a) => {
                let a = self.wanted(ast, *a, true, "the operand of 'not'")?;
                self.made_of(ExprKind::Not(a), true, &[a])
            }
            AstKind::Arithmetic(op, a, b) => {
                let [left, right] = sides(op.symbol());
                let (a, b) = (self.wanted(ast, *a, false, &left)?, self.wanted(ast, *b, false, &right)?);
                self.made_of(ExprKind::Arithmetic(*op, a, b), false, &[a, b])
            }
            AstKind::Logic(op, a, b) => {
                let [left, right] = sides(op.symbol());
                let (a, b) = (self.wanted(ast, *a, true, &left)?, self.wanted(ast, *b, true, &right)?);
                self.made_of(ExprKind::Logic(*op, a, b), true, &[a, b])
            }
            AstKind::Compare { ops, operands } => {
                let mut checked = Vec::with_capacity(operands.len());
                for (i, &a) in operands.iter().enumerate() {
                    let symbol = ops.get(i.saturating_sub(1)).map_or("<", |op| op.symbol());
                    let [left, right] = sides(symbol);
                    checked.push(self.wanted(ast, a, false, if i == 0 { &left } else { &right })?);
                }
                self.made_of(
                    ExprKind::Compare { ops: ops.clone(), operands: checked.clone() },
                    true,
                    &checked,
                )
            }
            AstKind::Call { function, .. } if *function == ON => match on_parts(kind) {
                Some(parts) => self.on(ast, parts)?,
                None => return Err(self.bad_on(column)),
            },
            AstKind::Call { function, positional, keyword } => {
                self.call(ast, function, positional, keyword, column)?
            }
        })
    }

    fn number(&mut self, value: f64) -> ExprIx {
        self.leaf(ExprKind::Number(value), false, true, true)
    }

    fn leaf(&mut self, kind: ExprKind, is_condition: bool, is_scalar: bool, is_fixed: bool) -> ExprIx {
        let slot_ix = self.slot_ix;
        let space = self.spaces.get(self.found.len()).copied().unwrap_or(0);
        self.program.exprs.push(Expr { kind, is_condition, is_scalar, is_fixed, space, slot_ix });
        self.program.exprs.len() - 1
    }

    /// An operation on each bar alone: a scalar if all its operands are.
    fn made_of(&mut self, kind: ExprKind, is_condition: bool, operands: &[ExprIx]) -> ExprIx {
        let is_scalar = operands.iter().all(|&a| self.program.exprs[a].is_scalar);
        let is_fixed = operands.iter().all(|&a| self.program.exprs[a].is_fixed);
        self.leaf(kind, is_condition, is_scalar, is_fixed)
    }

    fn name(&mut self, name: &str, column: usize) -> Result<ExprIx, RuleError> {
        if let Some(ix) = self.program.params.iter().position(|p| p == name) {
            return Ok(self.leaf(ExprKind::Param(ix), false, true, false));
        }
        if name == BAR_INDEX {
            return Ok(self.leaf(ExprKind::BarIndex, false, false, true));
        }
        if STANDARD_SERIES.contains(&name) || self.extra.contains(&name) {
            let ix = self.series_ix(name);
            return Ok(self.leaf(ExprKind::Series(ix), false, false, true));
        }
        if name == ON {
            let message = format!("{ON} needs its arguments: {ON}(\"1d\", sma(close, 20))");
            return Err(self.place.syntax(Fault { column, message }));
        }
        if let Some(def) = functions::find(name) {
            let message = format!("{name} is a function and needs its arguments: {}", def.signature());
            return Err(self.place.syntax(Fault { column, message }));
        }
        let hint = suggestion(name, self.known_names());
        let hint = if hint.is_empty() { self.list_of_names() } else { hint };
        Err(self.place.unknown(column, "name", name, &hint))
    }

    fn series_ix(&mut self, name: &str) -> u32 {
        let known = self.program.series.iter().position(|s| s == name);
        let ix = known.unwrap_or_else(|| {
            self.program.series.push(name.to_string());
            self.program.series.len() - 1
        });
        ix as u32
    }

    /// Names that can stand without parentheses first, so that they win a tie.
    fn known_names(&self) -> impl Iterator<Item = &str> {
        self.bare_names().chain(functions::names())
    }

    fn bare_names(&self) -> impl Iterator<Item = &str> {
        let params = self.program.params.iter().map(String::as_str);
        STANDARD_SERIES.into_iter().chain([BAR_INDEX]).chain(self.extra.iter().copied()).chain(params)
    }

    fn list_of_names(&self) -> String {
        let all: Vec<&str> = self.bare_names().take(30).collect();
        format!(" (known: {})", all.join(", "))
    }

    fn call(
        &mut self,
        ast: &Ast<'_>,
        function: &str,
        positional: &[AstIx],
        keyword: &[(&str, usize, AstIx)],
        column: usize,
    ) -> Result<ExprIx, RuleError> {
        let def = functions::find(function).ok_or_else(|| self.not_a_function(function, column))?;
        if def.function == Function::Rank && self.spaces[self.found.len()] != 0 {
            let message = format!("rank compares assets bar by bar, so it does not stand inside {ON}");
            return Err(self.place.type_error(column, &message));
        }
        let written = self.in_order(def, positional, keyword)?;
        let mut args = Vec::with_capacity(written.len());
        for (i, node) in written.iter().enumerate() {
            let arg = def.args.get(i).or(def.args.last()).ok_or_else(|| self.arity(def, written.len()))?;
            args.push(match (*node, arg.default) {
                (Some(node), _) => self.argument(ast, def, arg.name, arg.kind, node)?,
                (None, Some(default)) => self.number(default),
                (None, None) => return Err(self.arity(def, positional.len() + keyword.len())),
            });
        }
        for column in def.function.reads() {
            self.series_ix(column);
        }
        let exprs = &self.program.exprs;
        let is_fixed = args.iter().all(|&a| exprs[a].is_fixed);
        let is_elementwise = !def.args.is_empty()
            && def.args.iter().all(|a| matches!(a.kind, ArgKind::Number | ArgKind::Condition))
            && def.function != Function::BarsSince;
        let is_scalar = is_elementwise && args.iter().all(|&a| exprs[a].is_scalar);
        let is_cross = matches!(def.function, Function::CrossAbove | Function::CrossBelow);
        if is_cross && is_scalar {
            let message = format!("{function} needs a series on at least one side, both are constant");
            return Err(self.place.type_error(column, &message));
        }
        Ok(self.leaf(ExprKind::Call { def, args }, is_cross, is_scalar, is_fixed))
    }

    /// The arguments in the order of the definition; nothing for one that was left out.
    fn in_order(
        &self,
        def: &'static FunctionDef,
        positional: &[AstIx],
        keyword: &[(&str, usize, AstIx)],
    ) -> Result<Vec<Option<AstIx>>, RuleError> {
        let n_given = positional.len() + keyword.len();
        if positional.len() > def.args.len() && !def.is_variadic {
            return Err(self.arity(def, n_given));
        }
        let mut ordered: Vec<Option<AstIx>> = positional.iter().copied().map(Some).collect();
        ordered.resize(positional.len().max(def.args.len()), None);
        for &(name, column, node) in keyword {
            let Some(ix) = def.args.iter().position(|a| a.name == name) else {
                let hint = suggestion(name, def.args.iter().map(|a| a.name));
                let hint = format!("{hint} ({})", def.signature());
                return Err(self.place.unknown(column, "argument", name, &hint));
            };
            if ordered[ix].replace(node).is_some() {
                let message = format!("argument {name:?} of {} is given twice", def.name);
                return Err(self.place.syntax(Fault { column, message }));
            }
        }
        Ok(ordered)
    }

    /// An argument of the kind that the function takes.
    fn argument(
        &self,
        ast: &Ast<'_>,
        def: &FunctionDef,
        name: &str,
        kind: ArgKind,
        node: AstIx,
    ) -> Result<ExprIx, RuleError> {
        let what = format!("{} of {}", name, def.name);
        let ix = self.wanted(ast, node, kind == ArgKind::Condition, &what)?;
        let is_scalar = self.program.exprs[ix].is_scalar;
        let column = ast.nodes[node].column;
        match kind {
            ArgKind::Period | ArgKind::Lag | ArgKind::Constant if !is_scalar => {
                let message = format!("{what} must be made of parameters and numbers only");
                Err(self.place.type_error(column, &message))
            }
            ArgKind::Series if is_scalar => {
                let message = format!("{what} must be a series, got a constant ({})", def.signature());
                Err(self.place.type_error(column, &message))
            }
            _ => Ok(ix),
        }
    }

    /// The expression of a tree node, if it is a condition where one is wanted and a number where not.
    fn wanted(&self, ast: &Ast<'_>, node: AstIx, condition: bool, what: &str) -> Result<ExprIx, RuleError> {
        let ix = self.found[node];
        if self.program.exprs[ix].is_condition == condition {
            return Ok(ix);
        }
        let message = if condition {
            format!("{what} must be a condition, got a number")
        } else {
            format!("{what} must be a number, got a condition")
        };
        Err(self.place.type_error(ast.nodes[node].column, &message))
    }

    fn check_root(&self, root: ExprIx, kind: SlotKind) -> Result<(), RuleError> {
        let expr = &self.program.exprs[root];
        let message = match kind {
            SlotKind::Bool if !expr.is_condition => "must be a condition, got a number",
            SlotKind::Num | SlotKind::Scalar if expr.is_condition => "must be a number, got a condition",
            SlotKind::Scalar if !expr.is_scalar => "must be made of parameters and numbers only",
            _ => return Ok(()),
        };
        Err(self.place.type_error(1, message))
    }

    fn not_a_function(&self, name: &str, column: usize) -> RuleError {
        if self.bare_names().any(|known| known == name) {
            let what = if self.program.params.iter().any(|p| p == name) { "parameter" } else { "series" };
            let message =
                format!("{name} is a {what}, not a function; a value of n bars ago is shift({name}, n)");
            return self.place.syntax(Fault { column, message });
        }
        self.place.unknown(column, "function", name, &suggestion(name, functions::names().chain([ON])))
    }

    fn arity(&self, def: &FunctionDef, got: usize) -> RuleError {
        let least = def.args.iter().filter(|a| a.default.is_none()).count();
        let most = def.args.len();
        let count = match (least == most, def.is_variadic) {
            (_, true) => format!("at least {least} arguments"),
            (true, _) if most == 1 => "1 argument".to_string(),
            (true, _) => format!("{most} arguments"),
            (false, _) => format!("{least} to {most} arguments"),
        };
        RuleError::Arity {
            slot: self.place.slot.to_string(),
            function: def.name.to_string(),
            expected: format!("{count}, {}", def.signature()),
            got,
        }
    }
}

fn sides(symbol: &str) -> [String; 2] {
    [format!("the left side of '{symbol}'"), format!("the right side of '{symbol}'")]
}
