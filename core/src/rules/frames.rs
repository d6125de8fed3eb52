//! Bars and coarse bars as columns of rules.

use super::SeriesSource;
use crate::data::{CoarseFrame, Framed, Frequency};

impl SeriesSource for Framed<'_> {
    fn len(&self) -> usize {
        self.view.len()
    }

    fn column(&self, name: &str) -> Option<&[f64]> {
        self.view.named(name)
    }

    fn frame(&self, frequency: Frequency) -> Option<&CoarseFrame<'_>> {
        Framed::frame(self, frequency)
    }
}

impl SeriesSource for CoarseFrame<'_> {
    fn len(&self) -> usize {
        self.bars.len()
    }

    fn column(&self, name: &str) -> Option<&[f64]> {
        self.named(name)
    }
}
