//! Programs with their parameters substituted, gathered into one graph.

use super::ast::{ArithmeticOp, CompareOp, LogicOp};
use super::functions::{ArgDef, ArgKind, Function, FunctionDef};
use super::graph::{
    BatchGraph, BoundSlot, MacdOut, Node, NodeIx, Op, RangeFn, SeriesName, StochOut, WindowFn,
};
use super::kernels::{BinaryOp, UnaryOp, picked};
use super::program::{Expr, ExprKind, Program, Slot, SlotKind};
use super::relation::Relations;
use crate::error::RuleError;
use crate::indicators::{MacdPeriods, Period, StochPeriods, Truth};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Finds faults that no parameter value can mend, such as `sma(close, 0)`.
pub(super) fn check_fixed(program: &Program) -> Result<(), RuleError> {
    let mut builder = Builder::new(program);
    builder.bind_fixed()?;
    for slot in program.slots.iter().filter(|slot| program.exprs[slot.root].is_fixed) {
        builder.slot(slot)?;
    }
    Ok(())
}

pub(super) fn bind(program: &Program, rows: &[&[f64]]) -> BatchGraph {
    let mut builder = Builder::new(program);
    let fixed = builder.bind_fixed();
    let mut slots = Vec::with_capacity(rows.len() * program.slots.len());
    let mut trials = Vec::with_capacity(rows.len());
    for row in rows {
        let start = slots.len();
        let outcome = fixed.clone().and_then(|()| builder.trial(row, &mut slots));
        trials.push(match outcome {
            Ok(()) => Ok(start),
            Err(error) => {
                slots.truncate(start);
                Err(Box::new(error))
            }
        });
    }
    for slot in &slots {
        if let BoundSlot::Series(root) = slot {
            builder.count_use(*root);
        }
    }
    BatchGraph {
        next_average: next_averages(&builder.nodes),
        nodes: builder.nodes,
        uses: builder.uses,
        ranked: builder.ranked,
        frequencies: program.frequencies.clone(),
        series: program.series.iter().map(|name| SeriesName::of(name)).collect(),
        n_slots: program.slots.len(),
        slots,
        trials,
        no_such_trial: RuleError::Type {
            slot: "batch".to_string(),
            message: "holds no such trial".to_string(),
        },
    }
}

fn next_averages(nodes: &[Node]) -> Vec<Option<NodeIx>> {
    let mut next = vec![None; nodes.len()];
    // The last one so far of each column.
    let mut last: Vec<Option<usize>> = vec![None; nodes.len()];
    for (ix, node) in nodes.iter().enumerate() {
        if let (Op::Window(WindowFn::Sma, _), [x]) = (node.op, node.args())
            && let Some(before) = last[x.ix()].replace(ix)
        {
            next[before] = Some(NodeIx(ix as u32));
        }
    }
    next
}

struct Builder<'a> {
    program: &'a Program,
    used_params: Vec<usize>,
    /// The node of each expression: of the trial at hand, or of all trials if it is fixed.
    bound: Vec<NodeIx>,
    /// The arguments of the call at hand, kept for its memory.
    args: Vec<NodeIx>,
    nodes: Vec<Node>,
    uses: Vec<u32>,
    ranked: Vec<bool>,
    /// The bars that the expression at hand is evaluated on.
    space: u8,
    known: HashMap<Node, NodeIx, BuildHasherDefault<Mixer>>,
}

impl<'a> Builder<'a> {
    fn new(program: &'a Program) -> Self {
        let used = |p: &usize| program.exprs.iter().any(|e| matches!(e.kind, ExprKind::Param(q) if q == *p));
        Self {
            program,
            used_params: (0..program.params.len()).filter(used).collect(),
            bound: vec![NodeIx(0); program.exprs.len()],
            args: Vec::new(),
            nodes: Vec::new(),
            uses: Vec::new(),
            ranked: Vec::new(),
            space: 0,
            known: HashMap::default(),
        }
    }

    fn bind_fixed(&mut self) -> Result<(), RuleError> {
        self.bind_where(true, &[])
    }

    /// Binds the expressions that are, or are not, the same for every trial.
    fn bind_where(&mut self, is_fixed: bool, row: &[f64]) -> Result<(), RuleError> {
        let program = self.program;
        for (ix, expr) in program.exprs.iter().enumerate() {
            if expr.is_fixed == is_fixed {
                self.bound[ix] = self.expr(expr, row)?;
            }
        }
        Ok(())
    }

    fn trial(&mut self, row: &[f64], slots: &mut Vec<BoundSlot>) -> Result<(), RuleError> {
        let n_params = self.program.params.len();
        if row.len() != n_params {
            let message = format!("expected {n_params} values, got {}", row.len());
            return Err(RuleError::Type { slot: "parameters".to_string(), message });
        }
        if let Some(&bad) = self.used_params.iter().find(|&&p| !row[p].is_finite()) {
            return Err(RuleError::BadParameter {
                name: self.program.params[bad].clone(),
                rule: "must be finite",
            });
        }
        self.bind_where(false, row)?;
        for slot in &self.program.slots {
            slots.push(self.slot(slot)?);
        }
        Ok(())
    }

    fn slot(&self, slot: &Slot) -> Result<BoundSlot, RuleError> {
        let root = self.bound[slot.root];
        match (self.constant(root), slot.kind) {
            (Some(value), SlotKind::Scalar) if value.is_nan() => {
                let message = "is undefined with these parameters".to_string();
                Err(RuleError::Type { slot: slot.name.clone(), message })
            }
            (Some(value), _) => Ok(BoundSlot::Scalar(value)),
            (None, _) => Ok(BoundSlot::Series(root)),
        }
    }

    fn expr(&mut self, expr: &Expr, row: &[f64]) -> Result<NodeIx, RuleError> {
        self.space = expr.space;
        Ok(match &expr.kind {
            ExprKind::Number(value) => self.number(*value),
            ExprKind::Bool(value) => self.truth(Truth::of(*value)),
            ExprKind::BarIndex => self.intern(Op::BarIndex, &[]),
            ExprKind::Series(series) => self.intern(Op::Series(*series), &[]),
            ExprKind::Param(param) => self.number(row.get(*param).copied().unwrap_or(f64::NAN)),
            ExprKind::Negate(a) => self.unary(UnaryOp::Negate, self.bound[*a]),
            ExprKind::Not(a) => self.negated(self.bound[*a]),
            ExprKind::Arithmetic(op, a, b) => {
                let op = match op {
                    ArithmeticOp::Add => BinaryOp::Add,
                    ArithmeticOp::Sub => BinaryOp::Sub,
                    ArithmeticOp::Mul => BinaryOp::Mul,
                    ArithmeticOp::Div => BinaryOp::Div,
                    ArithmeticOp::Rem => BinaryOp::Rem,
                };
                self.binary(op, self.bound[*a], self.bound[*b])
            }
            ExprKind::Logic(op, a, b) => self.logic(*op, self.bound[*a], self.bound[*b]),
            ExprKind::Compare { ops, operands } => {
                let mut all = self.truth(Truth::TRUE);
                for (&op, pair) in ops.iter().zip(operands.windows(2)) {
                    let (a, b) = (self.bound[pair[0]], self.bound[pair[1]]);
                    let one = match (self.constant(a), self.constant(b)) {
                        (Some(a), Some(b)) => self.truth(op.apply(a, b)),
                        _ => self.test(op, a, b),
                    };
                    all = self.logic(LogicOp::And, all, one);
                }
                all
            }
            ExprKind::On { space, x } => {
                let inner = self.bound[*x];
                let node = &self.nodes[inner.ix()];
                match node.op {
                    Op::Const(_) | Op::Truth(_) => inner,
                    op if op.is_condition() => self.intern(Op::OnTruths(*space), &[inner]),
                    _ => self.intern(Op::OnNums(*space), &[inner]),
                }
            }
            ExprKind::Call { def, args } => {
                let mut nodes = std::mem::take(&mut self.args);
                nodes.clear();
                nodes.extend(args.iter().map(|&a| self.bound[a]));
                let call = Call { def, args: &nodes, slot: self.program.slot_name(expr.slot_ix) };
                let made = self.call(&call);
                self.args = nodes;
                made?
            }
        })
    }

    fn call(&mut self, call: &Call<'_>) -> Result<NodeIx, RuleError> {
        for (i, arg) in call.def.args.iter().enumerate().filter(|(_, arg)| arg.kind == ArgKind::Constant) {
            let value = self.constant(call.arg(i)).unwrap_or(f64::NAN);
            if !value.is_finite() {
                return Err(call.bad(arg, value));
            }
        }
        Ok(match call.def.function {
            Function::Abs => self.unary(UnaryOp::Abs, call.arg(0)),
            Function::Ceil => self.unary(UnaryOp::Ceil, call.arg(0)),
            Function::Exp => self.unary(UnaryOp::Exp, call.arg(0)),
            Function::Floor => self.unary(UnaryOp::Floor, call.arg(0)),
            Function::Log => self.unary(UnaryOp::Log, call.arg(0)),
            Function::Sign => self.unary(UnaryOp::Sign, call.arg(0)),
            Function::Sqrt => self.unary(UnaryOp::Sqrt, call.arg(0)),
            Function::Pow => self.binary(BinaryOp::Pow, call.arg(0), call.arg(1)),
            Function::Min => self.fold(BinaryOp::Min, call.args),
            Function::Max => self.fold(BinaryOp::Max, call.args),
            Function::Clip => {
                let raised = self.binary(BinaryOp::Max, call.arg(0), call.arg(1));
                self.binary(BinaryOp::Min, raised, call.arg(2))
            }
            Function::IfElse => self.if_else(call.arg(0), call.arg(1), call.arg(2)),
            Function::CrossAbove => self.cross(CompareOp::Le, CompareOp::Gt, call),
            Function::CrossBelow => self.cross(CompareOp::Ge, CompareOp::Lt, call),
            Function::BarsSince => self.bars_since(call.arg(0)),
            Function::Rank => self.intern(Op::Rank, &[call.arg(0)]),
            Function::Shift => match self.bars(call, 1)? {
                0 => call.arg(0),
                n => self.intern(Op::Shift(n), &[call.arg(0)]),
            },
            Function::Dema => self.window(WindowFn::Dema, call)?,
            Function::Ema => self.window(WindowFn::Ema, call)?,
            Function::Highest => self.window(WindowFn::Highest, call)?,
            Function::Hma => self.window(WindowFn::Hma, call)?,
            Function::Lowest => self.window(WindowFn::Lowest, call)?,
            Function::Mom => self.window(WindowFn::Mom, call)?,
            Function::Roc => self.window(WindowFn::Roc, call)?,
            Function::Rocp => self.window(WindowFn::Rocp, call)?,
            Function::Rsi => self.window(WindowFn::Rsi, call)?,
            Function::Sma | Function::BbandsMiddle => self.window(WindowFn::Sma, call)?,
            Function::Stddev => self.window(WindowFn::Stddev, call)?,
            Function::Sum => self.window(WindowFn::Sum, call)?,
            Function::Tema => self.window(WindowFn::Tema, call)?,
            Function::Trix => self.window(WindowFn::Trix, call)?,
            Function::Wma => self.window(WindowFn::Wma, call)?,
            Function::BbandsUpper => self.band(call, 1.0)?,
            Function::BbandsLower => self.band(call, -1.0)?,
            Function::Zscore => {
                let mean = self.window(WindowFn::Sma, call)?;
                let deviation = self.window(WindowFn::Stddev, call)?;
                self.intern(Op::Score, &[call.arg(0), mean, deviation])
            }
            Function::Macd => self.macd(MacdOut::Line, call)?,
            Function::MacdSignal => self.macd(MacdOut::Signal, call)?,
            Function::MacdHist => {
                let line = self.macd(MacdOut::Line, call)?;
                let signal = self.macd(MacdOut::Signal, call)?;
                self.binary(BinaryOp::Sub, line, signal)
            }
            Function::Adx => self.range(RangeFn::Adx, call)?,
            Function::Atr => self.range(RangeFn::Atr, call)?,
            Function::Cci => self.range(RangeFn::Cci, call)?,
            Function::MinusDi => self.range(RangeFn::MinusDi, call)?,
            Function::PlusDi => self.range(RangeFn::PlusDi, call)?,
            Function::Willr => self.range(RangeFn::Willr, call)?,
            Function::Natr => {
                let atr = self.range(RangeFn::Atr, call)?;
                let close = self.column("close");
                self.intern(Op::Percent, &[atr, close])
            }
            Function::Tr => {
                let bars = self.bar_columns();
                self.intern(Op::TrueRange, &bars)
            }
            Function::StochK => self.stoch(StochOut::K, call)?,
            Function::StochD => self.stoch(StochOut::D, call)?,
            Function::AroonUp => {
                let n = self.period(call, 0)?;
                let high = self.column("high");
                self.intern(Op::Window(WindowFn::AroonUp, n), &[high])
            }
            Function::AroonDown => {
                let n = self.period(call, 0)?;
                let low = self.column("low");
                self.intern(Op::Window(WindowFn::AroonDown, n), &[low])
            }
            Function::Obv => {
                let (close, volume) = (self.column("close"), self.column("volume"));
                self.intern(Op::Obv, &[close, volume])
            }
            Function::Mfi => {
                let n = self.period(call, 0)?;
                let [high, low, close] = self.bar_columns();
                let volume = self.column("volume");
                self.intern(Op::Mfi(n), &[high, low, close, volume])
            }
        })
    }

    fn window(&mut self, function: WindowFn, call: &Call<'_>) -> Result<NodeIx, RuleError> {
        let n = self.period(call, 1)?;
        Ok(self.intern(Op::Window(function, n), &[call.arg(0)]))
    }

    fn range(&mut self, function: RangeFn, call: &Call<'_>) -> Result<NodeIx, RuleError> {
        let n = self.period(call, 0)?;
        let bars = self.bar_columns();
        Ok(self.intern(Op::Range(function, n), &bars))
    }

    fn band(&mut self, call: &Call<'_>, sign: f64) -> Result<NodeIx, RuleError> {
        let mean = self.window(WindowFn::Sma, call)?;
        let deviation = self.window(WindowFn::Stddev, call)?;
        let k = self.constant(call.arg(2)).unwrap_or(f64::NAN);
        Ok(self.intern(Op::Band((sign * k).to_bits()), &[mean, deviation]))
    }

    fn macd(&mut self, out: MacdOut, call: &Call<'_>) -> Result<NodeIx, RuleError> {
        let (one, other) = (self.period(call, 1)?, self.period(call, 2)?);
        let signal = self.period(call, 3)?;
        let periods = MacdPeriods { fast: one.min(other), slow: one.max(other), signal };
        Ok(self.intern(Op::Macd(out, periods), &[call.arg(0)]))
    }

    fn stoch(&mut self, out: StochOut, call: &Call<'_>) -> Result<NodeIx, RuleError> {
        let fast_k = self.period(call, 0)?;
        let (slow_k, slow_d) = (self.period(call, 1)?, self.period(call, 2)?);
        let bars = self.bar_columns();
        Ok(self.intern(Op::Stoch(out, StochPeriods { fast_k, slow_k, slow_d }), &bars))
    }

    /// The columns that range indicators read: high, low, close.
    fn bar_columns(&mut self) -> [NodeIx; 3] {
        ["high", "low", "close"].map(|name| self.column(name))
    }

    /// A column that a function reads without being given it; the program has listed it among its series.
    fn column(&mut self, name: &str) -> NodeIx {
        match self.program.series.iter().position(|s| s == name) {
            Some(ix) => self.intern(Op::Series(ix as u32), &[]),
            None => self.number(f64::NAN),
        }
    }

    /// A number of bars, as long as it is one.
    fn bars(&self, call: &Call<'_>, i: usize) -> Result<u32, RuleError> {
        let value = self.constant(call.arg(i)).unwrap_or(f64::NAN);
        let arg = call.def.args.get(i).ok_or_else(|| call.bad(&MISSING, value))?;
        arg.kind.bars(value).ok_or_else(|| call.bad(arg, value))
    }

    fn period(&self, call: &Call<'_>, i: usize) -> Result<Period, RuleError> {
        let n_bars = self.bars(call, i)?;
        Period::new(n_bars).map_err(|fault| call.bad(call.def.args.get(i).unwrap_or(&MISSING), fault.value))
    }

    fn cross(&mut self, before: CompareOp, now: CompareOp, call: &Call<'_>) -> NodeIx {
        let (a, b) = (call.arg(0), call.arg(1));
        if self.constant(a).is_some() && self.constant(b).is_some() {
            // Neither of two constants ever crosses the other.
            return self.truth(Truth::FALSE);
        }
        let (relation, is_mirrored) = self.relation(a, b);
        let [before, now] = [before, now].map(|op| sided(op, is_mirrored));
        self.intern(Op::Cross(before, now), &[relation])
    }

    fn test(&mut self, op: CompareOp, a: NodeIx, b: NodeIx) -> NodeIx {
        let (relation, is_mirrored) = self.relation(a, b);
        self.intern(Op::Test(sided(op, is_mirrored)), &[relation])
    }

    /// One node for both orders of the same two numbers, and whether it has them the other way round.
    fn relation(&mut self, a: NodeIx, b: NodeIx) -> (NodeIx, bool) {
        let is_mirrored = b < a;
        let pair = if is_mirrored { [b, a] } else { [a, b] };
        (self.intern(Op::Relation, &pair), is_mirrored)
    }

    fn bars_since(&mut self, condition: NodeIx) -> NodeIx {
        match self.nodes[condition.ix()].op {
            Op::Truth(Truth::TRUE) => self.number(0.0),
            Op::Truth(_) => self.number(f64::NAN),
            _ => self.intern(Op::BarsSince, &[condition]),
        }
    }

    fn if_else(&mut self, condition: NodeIx, a: NodeIx, b: NodeIx) -> NodeIx {
        match self.nodes[condition.ix()].op {
            Op::Truth(Truth::TRUE) => a,
            Op::Truth(Truth::FALSE) => b,
            Op::Truth(undefined) => self.number(picked(undefined, 0.0, 0.0)),
            _ => self.intern(Op::IfElse, &[condition, a, b]),
        }
    }

    fn unary(&mut self, op: UnaryOp, a: NodeIx) -> NodeIx {
        match self.constant(a) {
            Some(a) => self.number(op.apply(a)),
            None => self.intern(Op::Unary(op), &[a]),
        }
    }

    fn binary(&mut self, op: BinaryOp, a: NodeIx, b: NodeIx) -> NodeIx {
        match (self.constant(a), self.constant(b)) {
            (Some(a), Some(b)) => self.number(op.apply(a, b)),
            _ => self.intern(Op::Binary(op), &[a, b]),
        }
    }

    fn fold(&mut self, op: BinaryOp, args: &[NodeIx]) -> NodeIx {
        let mut rest = args.iter().copied();
        let first = rest.next().unwrap_or_else(|| self.number(f64::NAN));
        rest.fold(first, |a, b| self.binary(op, a, b))
    }

    fn logic(&mut self, op: LogicOp, a: NodeIx, b: NodeIx) -> NodeIx {
        // The value that decides alone, and the one that changes nothing.
        let (decides, neutral, node) = match op {
            LogicOp::And => (Truth::FALSE, Truth::TRUE, Op::And),
            LogicOp::Or => (Truth::TRUE, Truth::FALSE, Op::Or),
        };
        for (one, other) in [(a, b), (b, a)] {
            match self.nodes[one.ix()].op {
                Op::Truth(value) if value == decides => return one,
                Op::Truth(value) if value == neutral => return other,
                _ => {}
            }
        }
        // Both undefined, which is the only constant left.
        if a == b { a } else { self.intern(node, &[a, b]) }
    }

    fn negated(&mut self, a: NodeIx) -> NodeIx {
        match self.nodes[a.ix()].op {
            Op::Truth(value) => self.truth(value.negated()),
            _ => self.intern(Op::Not, &[a]),
        }
    }

    fn number(&mut self, value: f64) -> NodeIx {
        // One NaN, whatever made it.
        let value = if value.is_nan() { f64::NAN } else { value };
        self.intern(Op::Const(value.to_bits()), &[])
    }

    fn truth(&mut self, value: Truth) -> NodeIx {
        self.intern(Op::Truth(value), &[])
    }

    fn constant(&self, ix: NodeIx) -> Option<f64> {
        match self.nodes[ix.ix()].op {
            Op::Const(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    /// The node for an operation, made only if there is none yet.
    fn intern(&mut self, op: Op, args: &[NodeIx]) -> NodeIx {
        // Constants are the same on all bars.
        let space = if matches!(op, Op::Const(_) | Op::Truth(_)) { 0 } else { self.space };
        let node = Node::new(op, space, args);
        let next = NodeIx(self.nodes.len() as u32);
        let ix = *self.known.entry(node).or_insert(next);
        if ix == next {
            let below = args.iter().any(|a| self.ranked[a.ix()]);
            self.nodes.push(node);
            self.uses.push(0);
            self.ranked.push(op == Op::Rank || below);
            for &arg in args {
                self.count_use(arg);
            }
        }
        ix
    }

    fn count_use(&mut self, ix: NodeIx) {
        let uses = &mut self.uses[ix.ix()];
        *uses = uses.saturating_add(1);
    }
}

fn sided(op: CompareOp, is_mirrored: bool) -> Relations {
    let relations = Relations::of(op);
    if is_mirrored { relations.mirrored() } else { relations }
}

/// Stands for an argument that the definition lacks, which no call has.
const MISSING: ArgDef = ArgDef { name: "argument", kind: ArgKind::Period, default: None };

/// A function with the nodes of its arguments.
struct Call<'a> {
    def: &'static FunctionDef,
    args: &'a [NodeIx],
    slot: &'a str,
}

impl Call<'_> {
    /// The resolver has put one node per argument of the definition.
    fn arg(&self, i: usize) -> NodeIx {
        self.args[i]
    }

    fn bad(&self, arg: &ArgDef, value: f64) -> RuleError {
        RuleError::BadArgument {
            slot: self.slot.to_string(),
            function: self.def.name,
            argument: arg.name,
            rule: arg.kind.rule(),
            value,
        }
    }
}

/// A quick hash of a few words, for keys that nobody chooses to collide.
#[derive(Default)]
struct Mixer(u64);

impl Mixer {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value as u64);
    }

    /// The multiplication moves information upwards, and tables look at the lowest bits too.
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
