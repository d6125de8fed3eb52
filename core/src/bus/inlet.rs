//! The way in for events from other threads: two bounded `std::sync::mpsc` channels, one a lane.
//!
//! Control never queues behind market data. A full lane makes its senders wait, or says so; once the engine takes no
//! more events a sender gets its event back. What was sent before is handled or handed back by [`Outlet::close`].

use crate::error::DataError;
use crate::event::{Event, Lane};
use crate::model::{Amendment, GatewayReport, OrderRequest, Step};
use crate::units::OrderId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use thiserror::Error;

/// Why an event did not get in; the event comes back with the reason.
#[derive(Debug, PartialEq, Error)]
pub enum InletError {
    #[error("the session has ended and takes no more events")]
    Closed(Box<Event>),
    #[error("{bound} events wait in the lane already")]
    Full { event: Box<Event>, bound: usize },
    #[error("instrument {instrument} is not one of the {n} of the session")]
    UnknownInstrument { instrument: u32, n: usize },
    #[error(transparent)]
    Data(#[from] DataError),
}

/// How many events may wait in each lane; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub control: usize,
    pub data: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { control: 1024, data: 256 }
    }
}

/// What both ends know of the connection.
#[derive(Debug)]
struct Gate {
    is_open: AtomicBool,
    /// Senders between their look at the gate and the end of their send.
    n_sending: AtomicUsize,
    symbols: Arc<[String]>,
    n_extra: usize,
    bounds: Bounds,
}

/// A handle to a running session; clones may be used from any number of threads.
#[derive(Debug, Clone)]
pub struct Inlet {
    control: SyncSender<Event>,
    data: SyncSender<Event>,
    /// Holds one token while something may wait: wakes the session.
    bell: SyncSender<()>,
    gate: Arc<Gate>,
}

/// The session's end.
#[derive(Debug)]
pub struct Outlet {
    control: Receiver<Event>,
    data: Receiver<Event>,
    bell: Receiver<()>,
    gate: Arc<Gate>,
}

/// Makes the two ends for a session over these symbols whose bars have so many further columns.
pub fn inlet(symbols: Arc<[String]>, n_extra: usize, bounds: Bounds) -> (Inlet, Outlet) {
    let bounds = Bounds { control: bounds.control.max(1), data: bounds.data.max(1) };
    let (control, control_out) = sync_channel(bounds.control);
    let (data, data_out) = sync_channel(bounds.data);
    let (bell, bell_out) = sync_channel(1);
    let gate =
        Gate { is_open: AtomicBool::new(true), n_sending: AtomicUsize::new(0), symbols, n_extra, bounds };
    let gate = Arc::new(gate);
    let outlet = Outlet { control: control_out, data: data_out, bell: bell_out, gate: Arc::clone(&gate) };
    (Inlet { control, data, bell, gate }, outlet)
}

impl Inlet {
    /// Hands in market data; waits while the data lane is full.
    pub fn step(&self, step: Step) -> Result<(), InletError> {
        step.check(&self.gate.symbols, self.gate.n_extra)?;
        self.send(Event::Step(step))
    }

    /// As `step`, but a full lane is an error.
    pub fn try_step(&self, step: Step) -> Result<(), InletError> {
        step.check(&self.gate.symbols, self.gate.n_extra)?;
        self.try_send(Event::Step(step))
    }

    /// Ends the session after the market data that came before.
    pub fn finish(&self) -> Result<(), InletError> {
        self.step(Step::END)
    }

    /// Hands in an order; risk looks at it as at one of the strategy.
    pub fn submit(&self, request: OrderRequest) -> Result<(), InletError> {
        let n = self.gate.symbols.len();
        if request.instrument.ix() >= n {
            return Err(InletError::UnknownInstrument { instrument: request.instrument.0, n });
        }
        self.send(Event::Submit(Box::new(request)))
    }

    pub fn cancel(&self, order: OrderId) -> Result<(), InletError> {
        self.send(Event::CancelRequest(order))
    }

    pub fn amend(&self, order: OrderId, amendment: Amendment) -> Result<(), InletError> {
        self.send(Event::AmendRequest(order, amendment))
    }

    pub fn cancel_all(&self) -> Result<(), InletError> {
        self.send(Event::CancelAll)
    }

    /// Lets only orders pass that reduce a position, from now until `resume`.
    pub fn halt(&self) -> Result<(), InletError> {
        self.send(Event::Halt)
    }

    pub fn resume(&self) -> Result<(), InletError> {
        self.send(Event::Resume)
    }

    /// Ends the session at once, after the control events that came before: market data that wait are handed back.
    pub fn stop(&self) -> Result<(), InletError> {
        self.send(Event::Stop)
    }

    /// Hands in what a gateway says; waits while the control lane is full, so not for the session's own thread.
    pub fn report(&self, report: GatewayReport) -> Result<(), InletError> {
        self.send(Event::GatewayReport(report))
    }

    /// As `report`, but a full lane is an error: for a gateway that answers in the session's own thread.
    pub fn try_report(&self, report: GatewayReport) -> Result<(), InletError> {
        self.try_send(Event::GatewayReport(report))
    }

    fn send(&self, event: Event) -> Result<(), InletError> {
        self.pass(event, |channel, event| {
            channel.send(event).map_err(|back| InletError::Closed(Box::new(back.0)))
        })
    }

    fn try_send(&self, event: Event) -> Result<(), InletError> {
        let bound = match event.lane() {
            Lane::Control => self.gate.bounds.control,
            Lane::Data => self.gate.bounds.data,
        };
        self.pass(event, |channel, event| {
            channel.try_send(event).map_err(|back| match back {
                TrySendError::Full(event) => InletError::Full { event: Box::new(event), bound },
                TrySendError::Disconnected(event) => InletError::Closed(Box::new(event)),
            })
        })
    }

    fn pass(
        &self,
        event: Event,
        send: impl FnOnce(&SyncSender<Event>, Event) -> Result<(), InletError>,
    ) -> Result<(), InletError> {
        self.gate.n_sending.fetch_add(1, Ordering::SeqCst);
        let outcome = if self.gate.is_open.load(Ordering::SeqCst) {
            let channel = if event.lane() == Lane::Data { &self.data } else { &self.control };
            send(channel, event)
        } else {
            Err(InletError::Closed(Box::new(event)))
        };
        self.gate.n_sending.fetch_sub(1, Ordering::SeqCst);
        // A token that is there already wakes the session as well.
        let _ = self.bell.try_send(());
        outcome
    }
}

/// What a wait ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Something may have arrived.
    Rung,
    TimedOut,
    /// No inlet is left that could send.
    Deserted,
}

impl Outlet {
    /// A control event that has arrived.
    pub fn control(&self) -> Option<Event> {
        self.control.try_recv().ok()
    }

    /// Market data that have arrived.
    pub fn data(&self) -> Option<Event> {
        self.data.try_recv().ok()
    }

    /// Waits until something may have arrived.
    pub fn wait(&self, at_most: Duration) -> Wake {
        match self.bell.recv_timeout(at_most) {
            Ok(()) => Wake::Rung,
            Err(RecvTimeoutError::Timeout) => Wake::TimedOut,
            Err(RecvTimeoutError::Disconnected) => Wake::Deserted,
        }
    }

    /// Shuts the gate and returns the events that had passed it and were not taken, control first.
    pub fn close(self) -> Vec<Event> {
        self.gate.is_open.store(false, Ordering::SeqCst);
        let (mut control, mut data) = (Vec::new(), Vec::new());
        loop {
            // Read first: a send that has ended is in the channel by then.
            let none_is_sending = self.gate.n_sending.load(Ordering::SeqCst) == 0;
            control.extend(self.control.try_iter());
            data.extend(self.data.try_iter());
            if none_is_sending {
                control.append(&mut data);
                return control;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.gate.is_open.store(false, Ordering::SeqCst);
    }
}
