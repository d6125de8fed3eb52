//! What a strategy may see and do.

use crate::clock::{Clock, Place, Timers, When};
use crate::data::{AssetView, BarAt, CoarseFrame, Framed, Frequency};
use crate::error::TimerError;
use crate::execution::OrderBook;
use crate::market::{Contract, Market};
use crate::model::{Amendment, Order, OrderRequest, OrderTag, Side, Size, Tick};
use crate::portfolio::Portfolio;
use crate::units::{InstrumentIx, OrderId, StrategyIx};

/// What a strategy asked for during a callback, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    Submit(OrderId),
    Cancel(OrderId),
    Amend(OrderId, Amendment),
}

/// A position to move to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    Qty(f64),
    Value(f64),
    /// Share of equity.
    Pct(f64),
}

/// State shared by the callbacks of one step.
#[derive(Debug, Default)]
pub struct Outbox {
    pub commands: Vec<Command>,
    targets: Vec<(InstrumentIx, Target, OrderTag)>,
}

impl Outbox {
    pub fn reset(&mut self) {
        self.commands.clear();
        self.targets.clear();
    }
}

/// The view of one callback.
#[derive(Debug)]
pub struct Context<'a> {
    pub clock: Clock,
    pub views: &'a [AssetView<'a>],
    /// Row of the newest bar of each instrument and the step it came at.
    pub newest: &'a [NewestBar],
    /// The positions that the strategy sees as its own: those of the account, or of its sleeve.
    pub portfolio: &'a Portfolio,
    /// The account itself.
    pub account: &'a Portfolio,
    /// Positions by strategy where several share the account.
    pub sleeves: &'a [Portfolio],
    /// Which of the strategies looks.
    pub owner: StrategyIx,
    pub market: &'a Market,
    /// The rules of every instrument.
    pub contracts: &'a [Contract],
    /// Equity at the last mark.
    pub equity: f64,
    pub book: &'a mut OrderBook,
    pub outbox: &'a mut Outbox,
    pub timers: &'a mut Timers,
    /// Coarse bars of each instrument; none where the strategy reads no other frequency.
    pub frames: &'a [Framed<'a>],
    /// Sessions and clock of the market, where they are known.
    pub place: Option<&'a Place>,
}

/// The newest bar of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewestBar {
    pub row: u32,
    pub step: u32,
}

impl NewestBar {
    /// Before the first bar.
    pub const NONE: Self = Self { row: u32::MAX, step: u32::MAX };
}

/// Stands for the number of an order that is not the strategy's: numbers start at one.
const NO_ORDER: OrderId = OrderId(0);

impl Context<'_> {
    /// The view of one of several strategies; its targets are resolved when the callback returns.
    pub(crate) fn as_member<R>(
        &mut self,
        owner: StrategyIx,
        callback: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        let mut own = Context {
            portfolio: self.sleeves.get(owner.ix()).unwrap_or(self.account),
            owner,
            book: &mut *self.book,
            outbox: &mut *self.outbox,
            timers: &mut *self.timers,
            ..*self
        };
        let result = callback(&mut own);
        own.resolve_targets();
        result
    }

    fn owned(&self, id: OrderId) -> Option<&Order> {
        self.book.get(id).filter(|order| order.owner == self.owner)
    }

    pub fn n_instruments(&self) -> usize {
        self.views.len()
    }

    /// Units held, negative when short.
    #[inline]
    pub fn position(&self, instrument: InstrumentIx) -> f64 {
        self.portfolio.position(instrument).qty()
    }

    /// Row of the newest bar of an instrument; none before its first.
    pub fn newest_row(&self, instrument: InstrumentIx) -> Option<u32> {
        let newest = self.newest[instrument.ix()];
        (newest != NewestBar::NONE).then_some(newest.row)
    }

    /// A tick that `on_tick` is called for, with its numbers.
    pub fn tick(&self, at: BarAt) -> Tick {
        self.views[at.instrument.ix()].tick(at.row as usize)
    }

    /// Row of the bar of an instrument at this very step.
    pub fn row_now(&self, instrument: InstrumentIx) -> Option<u32> {
        let newest = self.newest[instrument.ix()];
        (newest != NewestBar::NONE && newest.step == self.clock.step).then_some(newest.row)
    }

    /// Asks for an order. Risk answers after the callbacks of this step; a refusal comes back as a report.
    #[inline]
    pub fn submit(&mut self, request: OrderRequest) -> OrderId {
        let id = self.book.enter(self.owner, request, self.clock.ts, None);
        self.outbox.commands.push(Command::Submit(id));
        id
    }

    /// Takes an order back; one that does not work any more is left as it is.
    pub fn cancel(&mut self, id: OrderId) {
        let id = self.owned(id).map_or(NO_ORDER, |order| order.id);
        self.outbox.commands.push(Command::Cancel(id));
    }

    /// Changes prices or quantity of a working order from the next bar on. A refusal comes back as a report and leaves
    /// the order as it is.
    pub fn amend(&mut self, id: OrderId, amendment: Amendment) {
        let id = self.owned(id).map_or(NO_ORDER, |order| order.id);
        self.outbox.commands.push(Command::Amend(id, amendment));
    }

    /// Moves a position to a target when this callback returns: all targets of one callback are resolved at this close
    /// and equity, excluding costs, reductions first.
    pub fn target(&mut self, instrument: InstrumentIx, target: Target, tag: OrderTag) {
        self.outbox.targets.push((instrument, target, tag));
    }

    /// An order of this strategy.
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.owned(id)
    }

    /// Whether an order still waits.
    pub fn is_working(&self, id: OrderId) -> bool {
        self.order(id).is_some_and(|order| !order.status.is_final())
    }

    /// Whether a market order of the instrument waits for a bar, or was asked for at this step.
    pub fn has_pending_market(&self, instrument: InstrumentIx) -> bool {
        self.pending_qty(instrument).is_some()
    }

    /// Signed units of the market orders of an instrument that wait or were asked for at this step.
    fn pending_qty(&self, instrument: InstrumentIx) -> Option<f64> {
        let asked = self.outbox.commands.iter().filter_map(|command| match command {
            Command::Submit(id) => Some(*id),
            Command::Cancel(_) | Command::Amend(..) => None,
        });
        let waiting = self.book.pending.iter().copied().chain(self.book.closing.iter().map(|c| c.order));
        let mut total = None;
        for order in waiting.chain(asked).filter_map(|id| self.owned(id)) {
            if order.request.instrument == instrument && order.request.kind.price().is_none() {
                let qty = if order.qty > 0.0 { order.remaining() } else { asked_qty(order.request.size) };
                *total.get_or_insert(0.0) += order.request.side.sign() * qty;
            }
        }
        total
    }

    /// Sets a timer: `on_timer` is called at the first step that is not before a due time.
    pub fn schedule(&mut self, name: &str, when: When, priority: i32) -> Result<(), TimerError> {
        self.timers.set(self.owner, name, when, priority, &self.clock, self.place)
    }

    /// Takes a timer back.
    pub fn cancel_timer(&mut self, name: &str) -> Result<(), TimerError> {
        self.timers.cancel(self.owner, name)
    }

    /// Coarse bars of an instrument with the number of those that are complete now; none for a frequency that is not
    /// among those of the strategy.
    pub fn coarse(
        &self,
        instrument: InstrumentIx,
        frequency: Frequency,
    ) -> Option<(&CoarseFrame<'_>, usize)> {
        let frame = self.frames.get(instrument.ix())?.frame(frequency)?;
        Some((frame, self.newest_row(instrument).map_or(0, |row| frame.n_complete_at(row))))
    }

    /// Whether the market is in a session now; none where its sessions are not known.
    pub fn is_session_open(&self) -> Option<bool> {
        Some(self.place?.schedule()?.is_open(self.clock.now))
    }

    /// Turns the targets of a callback into market orders, reductions first.
    #[inline]
    pub(crate) fn resolve_targets(&mut self) {
        if !self.outbox.targets.is_empty() {
            self.submit_targets();
        }
    }

    fn submit_targets(&mut self) {
        let targets = std::mem::take(&mut self.outbox.targets);
        let mut openings = Vec::new();
        for &(instrument, target, tag) in &targets {
            let held = self.position(instrument) + self.pending_qty(instrument).unwrap_or(0.0);
            let wanted = self.target_qty(instrument, target);
            let request =
                |side, qty| OrderRequest { tag, ..OrderRequest::market(instrument, side, Size::Qty(qty)) };
            if wanted.is_nan() {
                self.submit(request(Side::Buy, wanted)); // refused by risk: a bad quantity
                continue;
            }
            let crosses = held != 0.0 && wanted != 0.0 && (held > 0.0) != (wanted > 0.0);
            let side = if wanted > held { Side::Buy } else { Side::Sell };
            if crosses {
                self.submit(request(side, held.abs()));
                openings.push(request(side, wanted.abs()));
            } else if wanted.abs() < held.abs() {
                self.submit(request(side, (held - wanted).abs()));
            } else if wanted != held {
                openings.push(request(side, (wanted - held).abs()));
            }
        }
        for request in openings {
            self.submit(request);
        }
        self.outbox.targets = targets;
        self.outbox.targets.clear();
    }

    fn target_qty(&self, instrument: InstrumentIx, target: Target) -> f64 {
        let contract = &self.contracts[instrument.ix()];
        let unit = self.portfolio.last_close(instrument) * self.portfolio.point_value(instrument);
        let lot = contract.lots.lot;
        let floored = |qty: f64| if lot > 0.0 { (qty.abs() / lot).floor() * lot * qty.signum() } else { qty };
        match target {
            Target::Qty(qty) => qty,
            Target::Value(value) => floored(value / unit),
            Target::Pct(share) => floored(share * self.equity / unit),
        }
    }
}

fn asked_qty(size: Size) -> f64 {
    match size {
        Size::Qty(qty) => qty,
        // Not known before risk resolves it; a target beside it starts from what is held.
        Size::Value(_) | Size::PctEquity(_) | Size::BudgetAtFill(_) => 0.0,
    }
}
