//! Random numbers from a seed, the same on every machine.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): number `i` is a
/// hash of `seed + i`, so a seed is all the state there is.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

/// The golden ratio as a fraction of 2^64: what the counter grows by.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, but not including, 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A whole number below `n`; 0 for `n = 0`.
    pub fn below(&mut self, n: usize) -> usize {
        // The high half of a product: its bias is below n / 2^64.
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Two independent numbers of the standard normal distribution, by Marsaglia's polar method.
    pub fn normals(&mut self) -> (f64, f64) {
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                let factor = (-2.0 * libm::log(square) / square).sqrt();
                return (x * factor, y * factor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation (Vigna, `splitmix64.c`) for the seed 1234567.
    #[test]
    fn known_numbers() {
        let mut random = Random::new(1_234_567);
        let wanted = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(wanted, std::array::from_fn(|_| random.bits()));
    }

    #[test]
    fn moments() {
        let (mut random, n) = (Random::new(3), 100_000);
        let pairs: Vec<_> = (0..n).map(|_| random.normals()).collect();
        let mean =
            |f: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|&(x, y)| f(x, y)).sum::<f64>() / f64::from(n);
        // Five standard errors of each mean.
        let bound = |variance: f64| 5.0 * (variance / f64::from(n)).sqrt();
        assert!(mean(&|x, _| x).abs() < bound(1.0));
        assert!((mean(&|_, y| y * y) - 1.0).abs() < bound(2.0));
        assert!((mean(&|x, _| x.powi(4)) - 3.0).abs() < bound(96.0));
        assert!(mean(&|x, y| x * y).abs() < bound(1.0));
        let whole: Vec<_> = (0..n).map(|_| random.below(7)).collect();
        for value in 0..7 {
            let share = whole.iter().filter(|&&x| x == value).count() as f64 / f64::from(n);
            assert!((share - 1.0 / 7.0).abs() < bound(6.0 / 49.0));
        }
    }
}
