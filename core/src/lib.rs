//! The AKQuant Dist engine: one event loop for every kind of strategy, batches of it over shared data.
//!
//! Modules stand in reading order; a module uses only modules above it.

pub mod units;

pub mod error;

mod wide;

pub mod model;

pub mod event;

pub mod bus;

pub mod clock;

pub mod data;

pub mod market;

pub mod execution;

pub mod portfolio;

pub mod sleeves;

pub mod risk;

pub mod indicators;

pub mod context;

pub mod strategy;

pub mod registry;

pub mod strategies;

pub mod ensemble;

pub mod rules;

pub mod trader;

pub mod signals;

pub mod engine;

pub mod analysis;

pub mod plan;

pub mod batch;

pub mod several;

pub mod search;

#[cfg(feature = "python")]
#[expect(clippy::needless_pass_by_value, reason = "arguments from Python are handed over by value")]
mod py;
