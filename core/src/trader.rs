//! The rule strategy: slots of a rule program turned into orders (SEMANTICS sections 4 and 9).

mod steps;

pub use steps::SignalSteps;

use crate::clock::Place;
use crate::context::{Context, Target};
use crate::data::{AssetView, BarAt, Framed};
use crate::error::{EngineError, RuleError};
use crate::model::{
    OrderKind, OrderRequest, OrderTag, Protection, ProtectionLevel, Side, Size, TimeInForce, TrailOn,
    TrailingSpec,
};
use crate::portfolio::Portfolio;
use crate::rules::{BoundSlot, Program, SlotDef, SlotKind};
use crate::strategy::{Strategy, StrategyFailure};
use crate::units::{InstrumentIx, OrderId};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What an entry signal does to a position of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOpposite {
    Close,
    Reverse,
}

/// A price at which an entry waits, as an expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntrySpec {
    Limit(String),
    Stop(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeKind {
    #[default]
    Qty,
    Value,
    PctEquity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeAt {
    #[default]
    Decision,
    Fill,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeSpec {
    pub kind: SizeKind,
    pub value: String,
    #[serde(default)]
    pub at: SizeAt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LevelKind {
    Pct,
    Abs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferencePrice {
    #[default]
    Fill,
    Signal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelSpec {
    pub kind: LevelKind,
    pub value: String,
    #[serde(default)]
    pub from: ReferencePrice,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrailSpec {
    pub kind: LevelKind,
    pub value: String,
    #[serde(default)]
    pub on: TrailOn,
}

/// When weights are traded: on steps `offset, offset + every, ...` of the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebalanceSpec {
    pub every: String,
    #[serde(default)]
    pub top: Option<String>,
    #[serde(default)]
    pub offset: Option<String>,
}

/// The slots of a rule strategy; expressions are texts of the rule language.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSpec {
    pub enter: Option<String>,
    pub exit: Option<String>,
    pub enter_short: Option<String>,
    pub exit_short: Option<String>,
    pub on_opposite: Option<OnOpposite>,
    pub entry: Option<EntrySpec>,
    pub entry_short: Option<EntrySpec>,
    pub valid_bars: Option<String>,
    pub size: Option<SizeSpec>,
    pub stop_loss: Option<LevelSpec>,
    pub take_profit: Option<LevelSpec>,
    pub trailing: Option<TrailSpec>,
    pub max_bars: Option<String>,
    pub weights: Option<String>,
    pub rebalance: Option<RebalanceSpec>,
}

/// The slots that have a column a bar, in the order a trader wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Enter,
    Exit,
    EnterShort,
    ExitShort,
    LongPrice,
    ShortPrice,
    Weights,
}

/// Number of kinds of columns.
pub const N_COLUMNS: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    ValidBars,
    Size,
    StopLoss,
    TakeProfit,
    Trailing,
    MaxBars,
    Every,
    Top,
    Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Column(Column),
    Scalar(Scalar),
}

/// A rule strategy compiled for a set of columns.
#[derive(Debug, Clone)]
pub struct CompiledRules {
    spec: RuleSpec,
    program: Program,
    slots: Vec<Slot>,
    /// Sessions and clock that coarse bars go by.
    place: Option<Place>,
}

impl CompiledRules {
    /// Parses every slot; `params` name the columns of the parameter matrix, `extra` the panel's further columns.
    pub fn compile(spec: &RuleSpec, params: &[&str], extra: &[&str]) -> Result<Self, EngineError> {
        check_shape(spec)?;
        Self::compile_slots(spec, params, extra, true)
    }

    /// Parses the numbers only; the columns come from elsewhere, their slots say no more than that they exist.
    pub fn compile_given(spec: &RuleSpec, params: &[&str]) -> Result<Self, EngineError> {
        check_shape(spec)?;
        Self::compile_numbers(spec, params)
    }

    /// Parses the numbers of settings whose columns are not known yet.
    pub fn compile_numbers(spec: &RuleSpec, params: &[&str]) -> Result<Self, EngineError> {
        Self::compile_slots(spec, params, &[], false)
    }

    fn compile_slots(
        spec: &RuleSpec,
        params: &[&str],
        extra: &[&str],
        has_columns: bool,
    ) -> Result<Self, EngineError> {
        let mut slots = Vec::new();
        let mut defs = Vec::new();
        let mut add = |slot, name, text: &Option<String>| {
            if let Some(text) = text
                && (has_columns || matches!(slot, Slot::Scalar(_)))
            {
                slots.push(slot);
                defs.push((name, slot, text.clone()));
            }
        };
        add(Slot::Column(Column::Enter), "enter", &spec.enter);
        add(Slot::Column(Column::Exit), "exit", &spec.exit);
        add(Slot::Column(Column::EnterShort), "enter_short", &spec.enter_short);
        add(Slot::Column(Column::ExitShort), "exit_short", &spec.exit_short);
        add(Slot::Column(Column::LongPrice), "entry", &entry_text(&spec.entry));
        add(Slot::Column(Column::ShortPrice), "entry_short", &entry_text(&spec.entry_short));
        add(Slot::Column(Column::Weights), "weights", &spec.weights);
        add(Slot::Scalar(Scalar::ValidBars), "valid_bars", &spec.valid_bars);
        add(Slot::Scalar(Scalar::Size), "size", &spec.size.as_ref().map(|s| s.value.clone()));
        add(Slot::Scalar(Scalar::StopLoss), "stop_loss", &spec.stop_loss.as_ref().map(|s| s.value.clone()));
        add(
            Slot::Scalar(Scalar::TakeProfit),
            "take_profit",
            &spec.take_profit.as_ref().map(|s| s.value.clone()),
        );
        add(Slot::Scalar(Scalar::Trailing), "trailing", &spec.trailing.as_ref().map(|s| s.value.clone()));
        add(Slot::Scalar(Scalar::MaxBars), "max_bars", &spec.max_bars);
        let rebalance = spec.rebalance.as_ref();
        add(Slot::Scalar(Scalar::Every), "rebalance.every", &rebalance.map(|r| r.every.clone()));
        add(Slot::Scalar(Scalar::Top), "rebalance.top", &rebalance.and_then(|r| r.top.clone()));
        add(Slot::Scalar(Scalar::Offset), "rebalance.offset", &rebalance.and_then(|r| r.offset.clone()));
        let defs: Vec<SlotDef<'_>> =
            defs.iter().map(|(name, slot, text)| SlotDef { name, kind: slot_kind(*slot), text }).collect();
        let program = Program::compile(&defs, params, extra)?;
        Ok(Self { spec: spec.clone(), program, slots, place: None })
    }

    /// The same rules where a market is.
    pub fn at(self, place: Option<Place>) -> Self {
        Self { place, ..self }
    }

    /// The bars of an instrument with the coarse bars that the rules read.
    pub fn source<'v>(&self, view: AssetView<'v>) -> Framed<'v> {
        Framed::new(view, self.program.frequencies(), self.place.as_ref())
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The columns this strategy has, with their places among the bound slots.
    pub fn columns(&self) -> impl Iterator<Item = (usize, Column)> + '_ {
        self.slots.iter().enumerate().filter_map(|(ix, slot)| match slot {
            Slot::Column(column) => Some((ix, *column)),
            Slot::Scalar(_) => None,
        })
    }

    /// The numbers of one trial, from its bound slots.
    pub fn numbers(&self, bound: &[BoundSlot]) -> Result<RuleNumbers, RuleError> {
        let value = |wanted: Scalar| {
            let ix = self.slots.iter().position(|slot| *slot == Slot::Scalar(wanted))?;
            match bound.get(ix) {
                Some(BoundSlot::Scalar(value)) => Some(*value),
                _ => None,
            }
        };
        let spec = &self.spec;
        let level = |kind: LevelKind, v: f64| match kind {
            LevelKind::Pct => ProtectionLevel::Pct(v),
            LevelKind::Abs => ProtectionLevel::Abs(v),
        };
        let size = match (&spec.size, value(Scalar::Size)) {
            (Some(size), Some(v)) => {
                positive("size", v)?;
                SizeRule { kind: size.kind, at: size.at, value: v }
            }
            _ => SizeRule { kind: SizeKind::PctEquity, at: SizeAt::Fill, value: 1.0 },
        };
        let mut numbers = RuleNumbers {
            size,
            valid_bars: whole("valid_bars", value(Scalar::ValidBars), 1.0)?,
            max_bars: whole("max_bars", value(Scalar::MaxBars), 1.0)?,
            stop_loss: None,
            take_profit: None,
            trailing: None,
            every: whole("rebalance.every", value(Scalar::Every), 1.0)?.unwrap_or(1),
            top: whole("rebalance.top", value(Scalar::Top), 0.0)?,
            offset: whole("rebalance.offset", value(Scalar::Offset), 0.0)?.unwrap_or(0),
        };
        if let (Some(stop), Some(v)) = (&spec.stop_loss, value(Scalar::StopLoss)) {
            positive("stop_loss", v)?;
            numbers.stop_loss = Some((level(stop.kind, v), stop.from));
        }
        if let (Some(target), Some(v)) = (&spec.take_profit, value(Scalar::TakeProfit)) {
            positive("take_profit", v)?;
            numbers.take_profit = Some((level(target.kind, v), target.from));
        }
        if let (Some(trail), Some(v)) = (&spec.trailing, value(Scalar::Trailing)) {
            positive("trailing", v)?;
            numbers.trailing = Some(TrailingSpec { level: level(trail.kind, v), on: trail.on });
        }
        Ok(numbers)
    }
}

fn entry_text(entry: &Option<EntrySpec>) -> Option<String> {
    entry.as_ref().map(|entry| match entry {
        EntrySpec::Limit(text) | EntrySpec::Stop(text) => text.clone(),
    })
}

fn slot_kind(slot: Slot) -> SlotKind {
    match slot {
        Slot::Column(Column::Enter | Column::Exit | Column::EnterShort | Column::ExitShort) => SlotKind::Bool,
        Slot::Column(Column::LongPrice | Column::ShortPrice | Column::Weights) => SlotKind::Num,
        Slot::Scalar(_) => SlotKind::Scalar,
    }
}

/// Refuses combinations that mean nothing.
fn check_shape(spec: &RuleSpec) -> Result<(), EngineError> {
    let refuse = |message: &str| Err(EngineError::Spec(format!("strategy.rules: {message}")));
    let trades_signals = spec.enter.is_some() || spec.enter_short.is_some();
    if spec.weights.is_some() {
        let signal_slots = trades_signals
            || spec.exit.is_some()
            || spec.exit_short.is_some()
            || spec.entry.is_some()
            || spec.entry_short.is_some()
            || spec.size.is_some()
            || spec.stop_loss.is_some()
            || spec.take_profit.is_some()
            || spec.trailing.is_some()
            || spec.max_bars.is_some();
        if signal_slots {
            return refuse("weights stand alone: remove the other slots, or weights");
        }
    } else if !trades_signals {
        return refuse("one of enter, enter_short or weights is needed");
    } else if spec.rebalance.is_some() {
        return refuse("rebalance belongs to weights");
    }
    if spec.exit.is_some() && spec.enter.is_none() {
        return refuse("exit without enter");
    }
    if spec.exit_short.is_some() && spec.enter_short.is_none() {
        return refuse("exit_short without enter_short");
    }
    if spec.entry.is_some() && spec.enter.is_none() {
        return refuse("entry without enter");
    }
    if spec.entry_short.is_some() && spec.enter_short.is_none() {
        return refuse("entry_short without enter_short");
    }
    if spec.valid_bars.is_some() && spec.entry.is_none() && spec.entry_short.is_none() {
        return refuse("valid_bars belongs to a limit or stop entry");
    }
    if spec.on_opposite.is_some() && (spec.enter.is_none() || spec.enter_short.is_none()) {
        return refuse("on_opposite needs both enter and enter_short");
    }
    Ok(())
}

fn positive(slot: &str, value: f64) -> Result<(), RuleError> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(RuleError::Type {
            slot: slot.to_owned(),
            message: format!("must be finite and above zero, got {value}"),
        })
    }
}

fn whole(slot: &str, value: Option<f64>, least: f64) -> Result<Option<u32>, RuleError> {
    match value {
        None => Ok(None),
        Some(v) if v.fract() == 0.0 && v >= least && v <= f64::from(u32::MAX) => Ok(Some(v as u32)),
        Some(v) => Err(RuleError::Type {
            slot: slot.to_owned(),
            message: format!("must be a whole number of at least {least}, got {v}"),
        }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct SizeRule {
    kind: SizeKind,
    at: SizeAt,
    value: f64,
}

/// The numbers of one trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RuleNumbers {
    size: SizeRule,
    valid_bars: Option<u32>,
    max_bars: Option<u32>,
    stop_loss: Option<(ProtectionLevel, ReferencePrice)>,
    take_profit: Option<(ProtectionLevel, ReferencePrice)>,
    trailing: Option<TrailingSpec>,
    every: u32,
    top: Option<u32>,
    offset: u32,
}

impl RuleNumbers {
    /// The first step from `step` on at which weights are traded.
    fn next_rebalance(&self, step: u32) -> u32 {
        match step.checked_sub(self.offset) {
            None => self.offset,
            Some(since) => step.saturating_add((self.every - since % self.every) % self.every),
        }
    }
}

/// The columns of one instrument, by row of its own series.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuleColumns<'a> {
    pub enter: Option<&'a [u8]>,
    pub exit: Option<&'a [u8]>,
    pub enter_short: Option<&'a [u8]>,
    pub exit_short: Option<&'a [u8]>,
    pub long_price: Option<&'a [f64]>,
    pub short_price: Option<&'a [f64]>,
    pub weights: Option<&'a [f64]>,
}

/// The limit or stop entries of a trader that wait, by instrument.
#[derive(Debug, Default)]
pub struct WaitingEntries(Vec<Option<OrderId>>);

/// Trades the columns of one trial.
#[derive(Debug)]
pub struct RuleTrader<'a> {
    rules: &'a CompiledRules,
    numbers: RuleNumbers,
    columns: &'a [RuleColumns<'a>],
    /// The bars to look at; none: all of them.
    signals: Option<&'a SignalSteps>,
    /// The limit or stop entry that waits, by instrument.
    entries: Vec<Option<OrderId>>,
    ranked: Vec<(InstrumentIx, f64)>,
}

impl<'a> RuleTrader<'a> {
    pub fn new(rules: &'a CompiledRules, numbers: RuleNumbers, columns: &'a [RuleColumns<'a>]) -> Self {
        let entries = vec![None; columns.len()];
        Self { rules, numbers, columns, signals: None, entries, ranked: Vec::new() }
    }

    /// A trader that goes on where another over the same columns stopped.
    pub fn resumed(self, waiting: WaitingEntries) -> Self {
        Self { entries: waiting.0, ..self }
    }

    /// What a trader has to remember between two parts of a run.
    pub fn into_waiting(self) -> WaitingEntries {
        WaitingEntries(self.entries)
    }

    /// Whether a bar without a signal changes nothing.
    pub fn decides_by_signals(&self) -> bool {
        self.rules.spec.weights.is_none() && self.numbers.max_bars.is_none()
    }

    /// Looks at the bars of these signals only, which are those of its columns. For a trader that decides by signals.
    pub fn seeing(self, signals: &'a SignalSteps) -> Self {
        Self { signals: self.decides_by_signals().then_some(signals), ..self }
    }

    fn close_position(ctx: &mut Context<'_>, instrument: InstrumentIx, held: f64, tag: OrderTag) {
        let side = if held > 0.0 { Side::Sell } else { Side::Buy };
        let request = OrderRequest::market(instrument, side, Size::Qty(held.abs()));
        ctx.submit(OrderRequest { tag, ..request });
    }

    fn open_position(&mut self, ctx: &mut Context<'_>, bar: BarAt, side: Side) {
        let row = bar.row as usize;
        let columns = &self.columns[bar.instrument.ix()];
        let (entry, price) = match side {
            Side::Buy => (&self.rules.spec.entry, columns.long_price),
            Side::Sell => (&self.rules.spec.entry_short, columns.short_price),
        };
        let kind = match (entry, price) {
            (Some(entry), Some(price)) => {
                let price = price[row];
                if price.is_nan() {
                    return; // an undefined price is no entry
                }
                match entry {
                    EntrySpec::Limit(_) => OrderKind::Limit(price),
                    EntrySpec::Stop(_) => OrderKind::Stop(price),
                }
            }
            _ => OrderKind::Market,
        };
        let close = ctx.views[bar.instrument.ix()].close[row];
        let numbers = &self.numbers;
        let reference = |from: ReferencePrice| (from == ReferencePrice::Signal).then_some(close);
        let protection = Protection {
            stop_loss: numbers.stop_loss.map(|(level, from)| (level, reference(from))),
            take_profit: numbers.take_profit.map(|(level, from)| (level, reference(from))),
            trailing: numbers.trailing,
        };
        let size = match (numbers.size.kind, numbers.size.at) {
            (SizeKind::Qty, _) => Size::Qty(numbers.size.value),
            (SizeKind::Value, SizeAt::Decision) => Size::Value(numbers.size.value),
            (SizeKind::PctEquity, SizeAt::Decision) => Size::PctEquity(numbers.size.value),
            (SizeKind::Value, SizeAt::Fill) => Size::BudgetAtFill(numbers.size.value),
            (SizeKind::PctEquity, SizeAt::Fill) => Size::BudgetAtFill(numbers.size.value * ctx.equity),
        };
        let tif = match numbers.valid_bars {
            Some(n) if kind != OrderKind::Market => TimeInForce::Bars(n),
            _ => TimeInForce::Gtc,
        };
        let request = OrderRequest::market(bar.instrument, side, size);
        let id = ctx.submit(OrderRequest { kind, tif, protection, tag: OrderTag::Entry, ..request });
        self.entries[bar.instrument.ix()] = (kind != OrderKind::Market).then_some(id);
    }
}

/// What rules see of an asset: its own bars, never padding.
#[inline]
fn is_set(column: Option<&[u8]>, row: usize) -> bool {
    column.is_some_and(|c| c[row] != 0)
}

/// Rows that are looked at together: whole registers on every machine.
const BLOCK: usize = 32;

/// Position of the first condition that holds; the length for none.
fn first_set(column: &[u8]) -> usize {
    let blocks = column.as_chunks::<BLOCK>().0;
    let quiet = blocks.iter().take_while(|block| block.iter().fold(0, |any, b| any | b) == 0).count() * BLOCK;
    quiet + column[quiet..].iter().take_while(|&&b| b == 0).count()
}

/// The first of these rows at which one of two columns is set, their end for none.
fn first_of(own: Option<&[u8]>, other: Option<&[u8]>, rows: Range<u32>) -> u32 {
    let (start, mut end) = (rows.start as usize, rows.end as usize);
    for column in [own, other].into_iter().flatten() {
        end = start + first_set(&column[start..end]);
    }
    end as u32
}

impl Strategy for RuleTrader<'_> {
    const WANTS_REPORTS: bool = false;
    const WANTS_CLOCK: bool = false;
    const WANTS_STEPS: bool = false;

    #[inline]
    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        let row = bar.row as usize;
        let columns = self.columns[bar.instrument.ix()];
        let (enter, exit) = (is_set(columns.enter, row), is_set(columns.exit, row));
        let (enter_short, exit_short) = (is_set(columns.enter_short, row), is_set(columns.exit_short, row));
        let held = ctx.position(bar.instrument);
        if held == 0.0 {
            let long = enter && !exit;
            let short = enter_short && !exit_short;
            if long == short {
                return Ok(()); // neither, or a contradiction
            }
            let entry = self.entries[bar.instrument.ix()];
            if entry.is_some_and(|id| ctx.is_working(id)) || ctx.has_pending_market(bar.instrument) {
                return Ok(());
            }
            self.open_position(ctx, bar, if long { Side::Buy } else { Side::Sell });
            return Ok(());
        }
        let (exit, opposite) = if held > 0.0 { (exit, enter_short) } else { (exit_short, enter) };
        let opposite = opposite.then_some(self.rules.spec.on_opposite).flatten();
        let is_old = || {
            let entry_row = ctx.portfolio.position(bar.instrument).entry_row();
            matches!((self.numbers.max_bars, entry_row), (Some(n), Some(first)) if bar.row - first >= n)
        };
        if !(exit || opposite.is_some() || is_old()) || ctx.has_pending_market(bar.instrument) {
            return Ok(());
        }
        let tag = if exit || opposite.is_some() { OrderTag::Exit } else { OrderTag::MaxBars };
        Self::close_position(ctx, bar.instrument, held, tag);
        let blocked = if held > 0.0 { exit_short } else { is_set(columns.exit, row) };
        if opposite == Some(OnOpposite::Reverse) && !blocked {
            self.open_position(ctx, bar, if held > 0.0 { Side::Sell } else { Side::Buy });
        }
        Ok(())
    }

    fn bars_to_see<'b>(&'b self, step: u32, bars: &'b [BarAt]) -> &'b [BarAt] {
        self.signals.map_or(bars, |signals| signals.at(step))
    }

    fn next_look(&mut self, portfolio: &Portfolio, step: u32, rows: Range<u32>) -> u32 {
        if self.rules.spec.weights.is_some() {
            let due = self.numbers.next_rebalance(step);
            return rows.end.min(rows.start.saturating_add(due - step));
        }
        let [columns] = self.columns else { return rows.start };
        let position = portfolio.position(InstrumentIx(0));
        let held = position.qty();
        let (own, other) = if held == 0.0 {
            (columns.enter, columns.enter_short)
        } else {
            let (exit, opposite) = if held > 0.0 {
                (columns.exit, columns.enter_short)
            } else {
                (columns.exit_short, columns.enter)
            };
            (exit, opposite.filter(|_| self.rules.spec.on_opposite.is_some()))
        };
        let mut next = first_of(own, other, rows);
        if let (Some(n), Some(first)) = (self.numbers.max_bars, position.entry_row()) {
            next = next.min(first.saturating_add(n));
        }
        next
    }

    #[inline]
    fn wants_bars(&self, step: u32) -> bool {
        self.rules.spec.weights.is_some() && self.numbers.next_rebalance(step) == step
    }

    fn on_bars(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) -> Result<(), StrategyFailure> {
        if !self.wants_bars(ctx.clock.step) {
            return Ok(());
        }
        self.ranked.clear();
        for bar in bars {
            let weight = self.columns[bar.instrument.ix()].weights.map_or(f64::NAN, |w| w[bar.row as usize]);
            self.ranked.push((bar.instrument, if weight.is_nan() { 0.0 } else { weight }));
        }
        if let Some(top) = self.numbers.top {
            // A stable sort keeps panel order among equals.
            self.ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
            for (_, weight) in self.ranked.iter_mut().skip(top as usize) {
                *weight = 0.0;
            }
            self.ranked.sort_by_key(|(instrument, _)| *instrument);
        }
        for &(instrument, weight) in &self.ranked {
            ctx.target(instrument, Target::Pct(weight), OrderTag::Rebalance);
        }
        Ok(())
    }
}
